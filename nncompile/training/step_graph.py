"""The graph of a step: the gradient of a loss, and the update of each parameter.

graph step(%x: f32[B, 4], %target: f32[B, 2], %lr: f32[]) -> f32[] {
&weight: f32[2, 4]
...
%9: f32[2, 4] = mul(%8, %lr)       # weight update
%10: f32[2, 4] = sub(&weight, %9)  # weight update
&weight = %10
return %4
}
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import ir
from ir import Error, Graph, Node, TensorType, Value, Where
from ir.graph import substitute
from ir.records import dataclass, replace
from ir.rewrite import remove_dead
from nncompile.array import Array
from nncompile.array.dispatch import current
from nncompile.array.gradients import no_grad
from nncompile.array.recording import Recorder
from nncompile.array.tape import bare
from nncompile.errors import InputError
from nncompile.optim.rule import Rule
from nncompile.trace import Traced
from nncompile.training.table_rows import TableRows, is_sparse, rows_of


@dataclass(frozen=True, eq=False)
class Trained:
    """A parameter that a step changes.

    array: the parameter; name: its path in the model; group: the number of its group in the
    optimizer; slots: the names of the arrays of its state; by_rows: whether it is a table of which
    a step changes the rows alone that it looks up.
    """

    array: Array
    name: str
    group: int
    slots: tuple[str, ...]
    by_rows: bool


@dataclass(frozen=True)
class StepGraph:
    """The graph of a step, and what its inputs are.

    inputs:  how many inputs come from the caller. They are followed by
    draws:   whether there is a seed, and the number of the draw, i64[2]; then by
    numbers: of each, the group, the name and the element type; they are arrays without dimensions.
    states:  then come the states, of each the number of its parameter and the name of the slot; ""
             is the parameter itself, SUM what its gradients are accumulated in, and BUFFER the
             buffer of that number.
    """

    graph: Graph
    inputs: int
    draws: bool
    numbers: tuple[tuple[int, str, str], ...]
    states: tuple[tuple[int, str], ...]


SUM, BUFFER = "accumulated", "buffer"


def trained_parameters(traced: Traced, optimizer: Rule, accumulates: bool
                       ) -> list[tuple[Trained, Value]]:
    """Returns the parameters of the optimizer that the loss depends on, with their values.

    accumulates: whether gradients are added to those of steps before, which are of all rows.
    Raises InputError where there is none, where the forward has read the numbers of one, and where
    the optimizer does not take a gradient of its kind, a sparse or a dense one.
    """
    graph = traced.graph
    values = {id(array): value for value, array in graph.data.items()}
    read = {reading.name: reading.where for reading in graph.readings}
    found = []
    for number, group in enumerate(optimizer.param_groups):
        on = optimizer.switches(group)
        for p in group["params"]:
            value = values.get(id(bare(p._payload)))
            if value is None or not p.requires_grad or value.kind != "parameter":
                continue
            if value.name in read:
                raise InputError(f"the forward reads the numbers of {value.name}, which a step "
                                 f"changes, so that it would become another{read[value.name].note}")
            sparse = is_sparse(value, traced) and optimizer.takes_rows(on)
            if not sparse:
                optimizer.check_dense()
            elif accumulates and optimizer.needs_rows:
                raise InputError(f"accumulate= adds up dense gradients, and {value.name} has sparse"
                                 f" ones, which {type(optimizer).__name__} needs: give a step a "
                                 "larger batch, or accumulate with loss.backward()")
            by_rows = sparse and not accumulates
            found.append((Trained(p, value.name, number, optimizer.slots(on, p), by_rows), value))
    if not found:
        raise InputError("the loss depends on no parameter of the optimizer that requires a "
                         "gradient: is it made of model.parameters() of this model?")
    return found


def step_graph(name: str, traced: Traced, optimizer: Rule,
               trained: Sequence[tuple[Trained, Value]], clip_norm: float | None = None,
               share: float = 1.0, applies: bool = True, accumulates: bool = False) -> StepGraph:
    """Returns the graph of a step, of this name.

    traced:      the graph whose first output is the loss.
    clip_norm:   the most that the norm of all gradients together may be.
    share:       what gradients are multiplied by.
    applies:     whether the parameters are updated; otherwise gradients are only accumulated.
    accumulates: whether gradients are added to those of steps before.
    Raises InputError where the loss is no scalar of floats.
    """
    loss = traced.graph
    returned = loss.outputs[:len(loss.outputs) - len(traced.kept)]
    if len(returned) != 1 or returned[0].type.shape or returned[0].type.dtype not in ir.FLOATS:
        got = ", ".join(str(v.type) for v in returned)
        raise InputError(f"a step needs a loss, one number, and gets {got}: give loss= what makes "
                         "one of the model's output, with a reduction such as mean")
    gradient = ir.gradient(loss, of=0, wrt=[value for _, value in trained])
    changed = (*(value for _, value in trained), *traced.kept)
    states = {value: Value(value.type, "state", value.name) for value in changed}
    recorder = _Updates(name, gradient, states)
    with no_grad():
        recorder.run(lambda: _record(
            recorder, gradient.outputs[len(loss.outputs):], traced, optimizer, trained, states,
            clip_norm, share, applies, accumulates))
    for number, value in enumerate(traced.kept):
        recorder.write((number, BUFFER), states[value], Array(loss.outputs[1 + number]))
    return StepGraph(recorder.graph(returned[0]), len(loss.inputs) - traced.draws, traced.draws,
                     tuple(recorder.scalars), tuple(recorder.written))


def _record(recorder: _Updates, found: Sequence[Value], traced: Traced, optimizer: Rule,
            trained: Sequence[tuple[Trained, Value]], states: Mapping[Value, Value],
            clip_norm: float | None, share: float, applies: bool, accumulates: bool) -> None:
    """Records what becomes of the gradients that were found.

    Tables are read before anything is written, and their rows are written last: a wrong index is
    found by who reads, and then nothing may have changed.
    """
    rows = _rows(recorder, found, traced, trained)
    gradients: list[Any] = [rows[i].sums if i in rows else Array(v) for i, v in enumerate(found)]
    gradients = [g if share == 1.0 else g * share for g in gradients]
    sums: list[Value] = []
    if accumulates:
        for i, (each, value) in enumerate(trained):
            recorder.about = f"{each.name} accumulate"
            sums.append(recorder.state(each, SUM, value.type))
            gradients[i] = Array(sums[-1]) + gradients[i]
    if applies and clip_norm is not None:
        from nncompile.nn.utils.clip_grad import clip_factor, norm_of  # which few steps need

        recorder.about = "clip_norm"
        factor = clip_factor(norm_of(gradients, 2.0), clip_norm)
        gradients = [g * factor for g in gradients]
    by_rows = [_Update(recorder, optimizer, i, trained[i][0], states[trained[i][1]], rows[i])
               for i in rows]
    for i, (each, value) in enumerate(trained):
        recorder.about = f"{each.name} update"
        if i in rows:
            continue
        if applies:
            _Update(recorder, optimizer, i, each, states[value]).record(gradients[i])
        else:
            recorder.write((i, ""), states[value], Array(states[value]))
    for update in by_rows:
        update.record(gradients[update.number])
    for i, total in enumerate(sums):
        new = Array(total).new_zeros(total.type.shape) if applies else gradients[i]
        recorder.write((i, SUM), total, new)


def _rows(recorder: _Updates, found: Sequence[Value], traced: Traced,
          trained: Sequence[tuple[Trained, Value]]) -> dict[int, TableRows]:
    """Records the rows of the gradients of tables; returns them by the number of the parameter."""
    rows = {}
    for i, (each, value) in enumerate(trained):
        if each.by_rows:
            recorder.about = f"{each.name} rows"
            lookups = [lookup for lookup in traced.sparse if lookup.table == value]
            if made := rows_of(found[i], recorder.builder.nodes, lookups):
                rows[i] = made
    recorder.by_rows = bool(rows)
    return rows


class _Update:
    """The update of a parameter and of its slots, or of some of their rows.

    What it depends on is recorded first.
    """

    def __init__(self, recorder: _Updates, optimizer: Rule, number: int, each: Trained,
                 state: Value, rows: TableRows | None = None) -> None:
        recorder.about = f"{each.name} update"
        self._recorder, self._optimizer, self.number = recorder, optimizer, number
        self._each, self._rows = each, rows
        self._group = group = optimizer.param_groups[each.group]
        slots = {name: recorder.state(each, name, optimizer.initial(name, group, each.array).type)
                 for name in each.slots}
        self._states = {"": state, **slots}
        self._given = {name: Array(value) if rows is None else rows.of(Array(value))
                       for name, value in self._states.items()}

    def record(self, g: Array) -> None:
        """Records the update. g: the gradient, or the sums of the rows' gradients.

        It is the same for parameters of a group whose arrays have the same types.
        """
        self._recorder.about = f"{self._each.name} update"
        on = self._optimizer.switches(self._group)
        numbers = _Numbers(self._recorder, self._each.group, self._states[""].type.dtype)

        def update(g: Array, p: Array, *slots: Array) -> list[Array]:
            given = dict(zip(self._each.slots, slots, strict=True))
            new, after = self._optimizer.update(p, g, given, numbers, on)
            return [new, *(after[name] for name in self._each.slots)]

        made = self._recorder.recorded_once(self._each.group, update, g, *self._given.values())
        for (name, state), array in zip(self._states.items(), made, strict=True):
            whole = array if self._rows is None else self._rows.put(array, Array(state))
            self._recorder.write((self.number, name), state, whole)


class _Piece(NamedTuple):
    """Nodes that were recorded, and the values that they compute of the operands."""

    operands: Sequence[Value]
    nodes: Sequence[Node]
    results: Sequence[Value]


class _Numbers(dict[str, Any]):
    """The numbers of an update: each that it asks for becomes an input of the graph."""

    def __init__(self, recorder: _Updates, group: int, dtype: str) -> None:
        super().__init__()
        self._recorder, self._group, self._dtype = recorder, group, dtype

    def __missing__(self, name: str) -> Array:
        return Array(self._recorder.scalar(self._group, name, self._dtype))


class _Updates(Recorder):
    """Records updates behind the nodes of a gradient, whose parameters become states."""

    def __init__(self, name: str, gradient: Graph, states: Mapping[Value, Value]) -> None:
        super().__init__()
        self._name, self._gradient, self._states = name, gradient, states
        self.builder.nodes += [substitute(node, states) for node in gradient.nodes]
        self.builder.data.update({v: a for v, a in gradient.data.items() if v not in states})
        self.known |= {*gradient.inputs, *gradient.params, *states.values(),
                       *(node.result for node in gradient.nodes)}
        self.scalars: list[tuple[int, str, str]] = []
        self._scalar_values: list[Value] = []
        self.written: list[tuple[int, str]] = []
        self._new: dict[Value, Value] = {}
        self.by_rows = False                     # whether a table is updated by its rows
        self._pieces: dict[Hashable, _Piece] = {}
        self.about = ""

    def run(self, record: Callable[[], None]) -> None:
        """Calls a function whose ops are recorded."""
        recording = current.set(self)
        try:
            record()
        finally:
            current.reset(recording)

    def where(self) -> Where:
        return Where(self.about)

    def fail(self, message: str, operands: Iterable[Any]) -> NoReturn:
        raise Error(f"{message}\n  layer: {self.about}")

    def check_random(self, what: str) -> None:
        raise Error(f"{what} draws at random in an optimizer's update")

    def scalar(self, group: int, name: str, dtype: str) -> Value:
        """Returns the input that is a number of a group."""
        key = group, name, dtype
        if key not in self.scalars:
            of_group = f"{name}.{group}" if group else name
            taken = {v.name for v in (*self._gradient.inputs, *self._scalar_values)}
            while of_group in taken:
                of_group += "_"
            self.scalars.append(key)
            self._scalar_values.append(Value(TensorType(dtype, ()), "input", of_group))
            self.known.add(self._scalar_values[-1])
        return self._scalar_values[self.scalars.index(key)]

    def state(self, each: Trained, name: str, type_: TensorType) -> Value:
        """Returns a state that belongs to a parameter."""
        value = Value(TensorType(type_.dtype, type_.shape), "state", f"{each.name}.{name}")
        self.known.add(value)
        return value

    def recorded_once(self, kind: Hashable, compute: Callable[..., Sequence[Array]],
                      *arrays: Array) -> Sequence[Array]:
        """Returns what a function computes of arrays; its ops are recorded.

        For arrays of the same types, and the same kind, it records the same nodes. So these are
        copied the second time, unless they have constants of their own.
        """
        operands = [self.value(array._as_operand()) for array in arrays]
        alike = tuple(map(operands.index, operands))          # which of them are one value
        key = kind, tuple(o.type for o in operands), alike
        if key in self._pieces:
            return self._copy(self._pieces[key], operands)
        nodes, declared = len(self.builder.nodes), len(self.builder.declared)
        made = compute(*arrays)
        if len(self.builder.declared) == declared:
            results = [self.value(array._as_operand()) for array in made]
            self._pieces[key] = _Piece(operands, self.builder.nodes[nodes:], results)
        return made

    def _copy(self, piece: _Piece, operands: Sequence[Value]) -> Sequence[Array]:
        instead = dict(zip(piece.operands, operands, strict=True))
        for node in piece.nodes:
            instead[node.result] = result = Value(node.result.type)
            inputs = tuple(instead.get(o, o) if isinstance(o, Value) else o for o in node.inputs)
            self.builder.nodes.append(Node(result, node.op, inputs, node.attrs, self.where()))
            self.known.add(result)
        return [Array(instead.get(value, value)) for value in piece.results]

    def write(self, what: tuple[int, str], state: Value, new: Array) -> None:
        """Makes this the new value of a state. Raises Error where the type is another."""
        value = self.value(new._as_operand())
        if value.type != state.type:
            raise Error(f"the update of {state.name} is {value.type}, not {state.type}")
        self.written.append(what)
        self._new[state] = value

    def graph(self, loss: Value) -> Graph:
        """Returns the graph of what was recorded."""
        gradient = self._gradient
        constants = tuple(v for v in self.builder.declared if v.kind == "constant")
        params = tuple(p for p in gradient.params if p not in self._states)
        taken = {p.name for p in params if p.kind == "constant"}
        renamed = {c: replace(c, name=_fresh(c.name, taken)) for c in constants}
        nodes = tuple(substitute(node, renamed) for node in self.builder.nodes)
        outputs = (loss, *self._new.values())
        made = replace(
            gradient, name=self._name,
            inputs=(*gradient.inputs, *self._scalar_values, *self._new),
            params=(*params, *renamed.values()), nodes=nodes,
            outputs=tuple(renamed.get(o, o) for o in outputs),
            data={renamed.get(v, v): a for v, a in self.builder.data.items()})
        if self.by_rows:                         # the gradients of all rows are not used
            made = remove_dead(made)
        ir.verify(made, built=True)              # gradient and builder have inferred each type
        return made


def _fresh(name: str, taken: set[str]) -> str:
    """A name that no other constant has."""
    while name in taken:
        name = f"{name}u"
    taken.add(name)
    return name
