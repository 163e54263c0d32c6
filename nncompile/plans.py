"""Plans: what the passes and the schedule make of a graph, kept on disk for later processes.

A plan is found by all that decides it: the graph, without the numbers of its parameters, which no
pass looks at; the passes; what the schedule knows of the target; and our own sources. It is pickled
without what the graph has itself, its arrays above all.
"""
from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple

import ir
from ir import Graph, NDArray, Pass, Value
from ir.rewrite import reasons
from nncompile.backend import Backend
from nncompile.inspect.dump import Dump
from nncompile.inspect.stages import PassRun
from nncompile.schedule import Program, TargetTraits, schedule

_OURS = ("ir", "nncompile")                      # whose passes are told apart by their text
_MOST_BYTES = 1 << 20                            # of constants: to digest more takes too long
_SOURCES = ("ir", "nncompile.passes", "nncompile.schedule", "nncompile.inspect", __name__)


class Pipeline(Sequence[Pass]):
    """The passes of a name in a module, which is imported when somebody asks for them.

    To find a plan their name is enough, since the sources of all passes decide it too.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    @property
    def _passes(self) -> Sequence[Pass]:
        passes: Sequence[Pass] = getattr(import_module(self._module), self._name)
        return passes

    def __getitem__(self, index: Any) -> Any:
        return self._passes[index]

    def __len__(self) -> int:
        return len(self._passes)

    def __repr__(self) -> str:
        return f"{self._module}.{self._name}"


DEFAULT = Pipeline("nncompile.passes", "DEFAULT_PIPELINE")
TRAINING = Pipeline("nncompile.passes.training", "TRAINING_PIPELINE")


class Plan(NamedTuple):
    """The graph as traced and after each pass, the program that it becomes, and its code.

    code: what the target generates of the program: see Backend.generate.
    """

    runs: Sequence[PassRun]
    program: Program
    code: Any


def kept_plan(graph: Graph, passes: Sequence[Pass], backend: Backend) -> Plan:
    """Returns the plan of a graph: a new one, or that of an equal graph in an earlier process.

    Then the seconds of its passes are those of that process. Nothing is kept of passes that are not
    ours, nor of graphs with large constants.
    """
    constants = [graph.data[v] for v in graph.params if v.kind == "constant" and v in graph.data]
    ours = isinstance(passes, Pipeline) or all(
        type(each).__module__.partition(".")[0] in _OURS for each in passes)
    small = sum(array.nbytes for array in constants) <= _MOST_BYTES
    slot = backend.slot("plan", _name(graph, passes, backend.traits), _SOURCES) if (
        ours and small) else None
    if slot is None:
        return new_plan(graph, passes, backend)
    if slot.code is not None:
        return _unpacked(graph, slot.code)
    plan = new_plan(graph, passes, backend)
    _ = plan.program.dims                        # is computed once, and kept
    slot.keep(_packed(graph, plan))
    return plan


def new_plan(graph: Graph, passes: Sequence[Pass], backend: Backend, check: bool = False,
             dump: Dump | None = None) -> Plan:
    """Returns the plan of a graph.

    check: see run_passes. dump: is given all that is made as soon as it exists.
    """
    runs = run_passes(graph, passes, check, dump.stage if dump else lambda _: None)
    program = schedule(runs[-1].graph, backend.traits)
    if dump:
        dump.text("program.txt", program)
    return Plan(runs, program, backend.generate(program))


def run_passes(graph: Graph, passes: Sequence[Pass] = DEFAULT, check: bool = False,
               watch: Callable[[PassRun], None] = lambda _: None) -> list[PassRun]:
    """Returns the graph as traced and after each pass; a pass that runs again is called "cse:2".

    Nothing is generated, so it also works for what cannot be compiled. watch: is called with each
    graph as soon as it exists.
    """
    runs: list[PassRun] = []
    times: Counter[str] = Counter()
    check_pass = _checker() if check else lambda *_: None

    def add(name: str, graph: Graph, seconds: float, left: Sequence[ir.Reason] = ()) -> None:
        times[name] += 1
        again = f":{times[name]}" if times[name] > 1 else ""
        runs.append(PassRun(name + again, graph, seconds, tuple(left)))
        watch(runs[-1])

    def after_pass(pass_: Pass, before: Graph, after: Graph, seconds: float) -> None:
        add(pass_.name, after, seconds, left)
        left.clear()
        if after is before:
            return
        try:
            ir.verify(after, like=before)
        except ir.VerifyError as error:
            raise ir.VerifyError(f"{pass_.name} made an illegal graph: {error}") from None
        check_pass(pass_.name, before, after)

    add("traced", graph, 0.0)
    with reasons() as left:
        ir.run(passes, graph, after_pass)
    return runs


def _checker() -> Callable[[str, Graph, Graph], None]:
    """Compares the graphs before and after a pass."""
    from ir.check import Checked, check_same  # which few compilations need

    return partial(check_same, checked=Checked())


# -- what decides a plan ---------------------------------------------------------------------------

def _name(graph: Graph, passes: Sequence[Pass], traits: TargetTraits) -> str:
    """All that decides a plan, as text that begins with a line for people."""
    declared = (*graph.inputs, *graph.params)
    numbers = {value: i for i, value in enumerate((*declared, *graph.makers))}
    nodes = [(node.op, [numbers[o] if isinstance(o, Value) else o for o in node.inputs],
              [*node.attrs.items()] if node.attrs else (), node.where.layer, node.where.line)
             for node in graph.nodes]
    values = [(v.kind, v.name, v.type, v in graph.data and _bits(v, graph.data[v]))
              for v in declared]
    types = ", ".join(str(v.type) for v in graph.inputs)
    rest = ([numbers[v] for v in graph.outputs], graph.requirements, graph.readings, passes, traits)
    return f"{graph.name}({types}): {len(graph.nodes)} nodes\n{values}\n{nodes}\n{rest}"


def _bits(value: Value, array: NDArray) -> object:
    """The numbers of a constant, and how they lie: NumPy's matrix product rounds accordingly."""
    if value.kind != "constant":
        return "given"                           # no pass looks at it
    return sha256(array.tobytes()).hexdigest(), array.strides


# -- as bytes --------------------------------------------------------------------------------------

def _own(graph: Graph) -> list[object]:
    """What an equal graph has in the same order, so that a plan only refers to it."""
    return [graph, *graph.inputs, *graph.params, *graph.makers, *graph.nodes]


def _packed(graph: Graph, plan: Plan) -> bytes:
    packed = BytesIO()
    _Packer(packed, graph).dump(plan)
    return packed.getvalue()


class _Packer(pickle.Pickler):
    """Pickles the plan of a graph."""

    def __init__(self, file: BytesIO, graph: Graph) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._graph = graph
        self._numbers = {id(thing): i for i, thing in enumerate(_own(graph))}

    def persistent_id(self, thing: object) -> int | None:
        """The number of what the graph has itself."""
        return self._numbers.get(id(thing))

    def reducer_override(self, thing: object) -> Any:
        """Leaves out of the data of all graphs what the graph has itself."""
        if not isinstance(thing, Graph):
            return NotImplemented
        given = self._graph.data
        new = {value: thing.data[value] for value in thing.data if value not in given}
        return _graph_of, (self._graph, thing.name, thing.inputs, thing.params, thing.nodes,
                           thing.outputs, tuple(thing.data), new, thing.requirements,
                           thing.readings)


def _graph_of(traced: Graph, name: str, inputs: tuple[Value, ...], params: tuple[Value, ...],
              nodes: tuple[ir.Node, ...], outputs: tuple[Value, ...], known: tuple[Value, ...],
              new: Mapping[Value, NDArray], requirements: tuple[ir.Requirement, ...],
              readings: tuple[ir.Reading, ...]) -> Graph:
    """A graph of the plan of `traced`. known: the values that have data; new: those of its own."""
    data = {value: new[value] if value in new else traced.data[value] for value in known}
    return Graph(name, inputs, params, nodes, outputs, data, requirements, readings)


def _unpacked(graph: Graph, packed: bytes) -> Plan:
    plan: Plan = _Unpacker(BytesIO(packed), graph).load()
    return plan


class _Unpacker(pickle.Unpickler):
    """Reads the plan of a graph that is equal to the one it was made of."""

    def __init__(self, file: BytesIO, graph: Graph) -> None:
        # what has a number in the graph; a method of ours would be called some thousand times
        self.persistent_load = _own(graph).__getitem__                # type: ignore[method-assign]
        super().__init__(file)
