"""The part of a dispatcher that records: each op becomes a node of a graph that is being built.

What traces a forward and what reads a model file derive their own dispatchers from it; they say
where an op comes from, and how an error is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ir import Builder, Dim, DimExpr, Error, NDArray, TensorType, Value, Where, type_of
from ir.graph import RELATIONS, Node, depends_only_on
from ir.interpret import evaluate_node
from ir.ops import Attrs
from ir.types import evaluate_dim, names_in, polynomial, same, terms
from nncompile.array.dispatch import Dispatcher
from nncompile.array.gradients import grad_enabled
from nncompile.array.tape import Payload, bare

_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _written(left: Dim, relation: str, right: Dim) -> tuple[Dim, str, Dim]:
    """Returns a comparison in the one form in which it is written: T <= 16 for 16 - T >= 0."""
    parts = terms(left - right)
    above = polynomial((m, c) for m, c in parts if c > 0)
    below = polynomial((m, -c) for m, c in parts if c < 0)
    if isinstance(above, DimExpr):
        return above, relation, below
    return below, _TURNED[relation], above


# What to write where an operation needs numbers that are not known, by a word of its name.
_INSTEAD = {
    "`if`": "choose by torch.where(condition, a, b), which computes both",
    "mask": "keep the shape, by torch.where(mask, x, 0) or x * mask",
    "shape that depends": "keep the shape, by torch.where or a sum of a mask; or do it with what "
                          "the model returns",
    "()": "go on with the array itself, which may have no dimensions",
    "index or a size": "index by the array itself, or give the number as an argument",
}


def _instead_of(what: str) -> str:
    return next((instead for words, instead in _INSTEAD.items() if words in what),
                "compute it before the model is made or called, or from what it returns")


class Recorder(Dispatcher):
    """A dispatcher whose ops become nodes of `builder`, and whose ndarrays become constants.

    examples: for each named size the number that decides comparisons, or a little more than 2.
    """

    records = True

    def __init__(self) -> None:
        super().__init__()
        self.builder = Builder()
        self.known: set[Value] = set()
        self.required: set[str] = set()
        self.constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        # Values that depend on no input and no symbolic size, each with the node that computes it.
        self.fixed: dict[Value, Node | None] = {}
        # In a trace for gradients: what no_grad() computed, and the values that were detached.
        self.unwatched: set[Value] = set()
        self.constants_made: dict[Value, Value] = {}
        # Their numbers, once somebody has asked for them, and the declared values behind these.
        self.evaluated: dict[Value, tuple[NDArray, frozenset[Value]]] = {}

    def where(self) -> Where:
        """Returns where the op comes from that is being recorded."""
        raise NotImplementedError

    def fail(self, message: str, operands: Iterable[Any]) -> NoReturn:
        """Raises Error with this message about an op on these operands."""
        raise NotImplementedError

    def decide(self, left: Dim, relation: str, right: Dim) -> bool:
        """Returns how the example's sizes compare, and makes calls check that theirs do, too.

        A size without an example is a little more than 2, each one a little larger than the one
        before it, so that it is equal to no number and to no other size.
        """
        from fractions import Fraction  # loads decimal, which few models need

        names = sorted(names_in(left - right))
        sizes: Any = {name: self.examples.get(name, Fraction(2000 + i, 1000))
                      for i, name in enumerate(names, 1)}
        holds = RELATIONS[relation](*(evaluate_dim(dim, sizes) for dim in (left, right)))
        self.require(left, relation if holds else _OPPOSITE[relation], right)
        return holds

    def require(self, left: Dim, relation: str, right: Dim) -> None:
        """Makes the graph refuse calls whose sizes do not compare so."""
        left, relation, right = _written(left, relation, right)
        requirement = f"{left} {relation} {right}"
        if requirement not in self.required:
            self.required.add(requirement)
            self.builder.require(left, relation, right, self.where())

    def declare(self, kind: str, name: str, type_: TensorType, data: NDArray | None = None
                ) -> Value:
        """Returns a new input, parameter or constant of the graph."""
        value = self.builder.declare(kind, name, type_, data)
        self.known.add(value)
        if data is not None:
            self.fixed[value], self.evaluated[value] = None, (data, frozenset([value]))
        return value

    def op(self, name: str, operands: Sequence[Payload | float], attrs: Attrs) -> Payload:
        """Returns the result of a new node. Fails where the op's type rule refuses the operands."""
        inputs = [o if isinstance(o, float) else self._seen_by_gradients(self.value(o))
                  for o in operands]
        try:
            value = self.builder.add(name, *inputs, where=self.where(), **attrs)
        except Error as error:
            self.fail(str(error), [o if isinstance(o, float) else o.type for o in inputs])
        self.known.add(value)
        if self.differentiates and not grad_enabled.get():
            self.unwatched.add(value)
        node = self.builder.nodes[-1]
        if depends_only_on(node, self.fixed.keys()):
            self.fixed[value] = node
        return value

    def knows(self, payload: Payload) -> bool:
        """Returns whether the numbers of a payload depend on no input and on no symbolic size."""
        return not isinstance(payload, Value) or self.value(payload) in self.fixed

    def is_same(self, first: Payload | float, second: Payload | float) -> bool:
        """Returns whether two payloads are one value, or the same op of such."""
        if isinstance(first, float) or isinstance(second, float):
            return first == second
        a, b = self.value(first), self.value(second)
        if a is b:
            return True
        made = {node.result: node for node in self.builder.nodes if node.result in (a, b)}
        if len(made) < 2 or made[a].op != made[b].op or len(made[a].inputs) != len(made[b].inputs):
            return False
        return same([*made[a].attrs.items()], [*made[b].attrs.items()]) and all(
            map(self.is_same, made[a].inputs, made[b].inputs))

    def _seen_by_gradients(self, value: Value) -> Value:
        """Returns an operand: in a trace for gradients, what no_grad() computed is a constant."""
        if value in self.unwatched and grad_enabled.get():
            return self.detached(value)          # type: ignore[return-value]
        return value

    def detached(self, payload: Payload) -> Payload:
        """Returns a payload that gradients count as a constant; one value for each payload."""
        if not self.differentiates:
            return bare(payload)
        value = self.value(payload)
        if value not in self.constants_made:
            self.unwatched.discard(value)
            self.constants_made[value] = self.op("detach", [value], {})    # type: ignore
        return self.constants_made[value]

    def numbers(self, payload: Payload, what: str) -> NDArray:
        """Returns the numbers of a payload that depends on no input; they are only to be read.

        Its ops stay recorded. They are evaluated when somebody asks for the numbers, by the same
        references that compute outside of a trace.
        Fails for what depends on an input or on a symbolic size.
        """
        if not isinstance(payload, Value):
            self.observe([bare(payload)], what)
            return _only_read(bare(payload))
        value = self.value(payload)
        if value not in self.fixed:
            self.fail(f"{what} needs the numbers in an array that depends on an input, and while a "
                      "model is traced there are none: the graph is the same for all data\n"
                      f"  do: {_instead_of(what)}",
                      [value.type])
        try:
            numbers, sources = self._evaluate(value)
        except Error as error:
            self.fail(str(error), [value.type])
        in_order = sorted(sources, key=lambda source: (source.kind, source.name))
        self.observe([self.builder.data[source] for source in in_order], what)
        return _only_read(numbers)

    def observe(self, arrays: Iterable[NDArray], what: str) -> None:
        """Is told that the operation `what` reads numbers that are computed from these arrays."""

    def _evaluate(self, value: Value) -> tuple[NDArray, frozenset[Value]]:
        """Returns the numbers of a fixed value, and the declared values that they come from."""
        pending = [value]
        while pending:
            node = self.fixed.get(pending[-1])
            if node is None or node.result in self.evaluated:
                pending.pop()
                continue
            operands = [o for o in node.inputs if isinstance(o, Value)]
            if missing := [o for o in operands if o not in self.evaluated]:
                pending += missing
                continue
            numbers = evaluate_node(node, {o: self.evaluated[o][0] for o in operands}, {}, None)
            sources = frozenset[Value]().union(*(self.evaluated[o][1] for o in operands))
            self.evaluated[node.result] = numbers, sources
        return self.evaluated[value]

    def value(self, payload: Payload) -> Value:
        """Returns the graph's value for a payload; an ndarray becomes a constant.

        Fails for a value of another graph.
        """
        if not isinstance(payload, Value):
            return self.constant(bare(payload))
        if payload not in self.known:
            self.fail("an array kept from another trace is used", [payload.type])
        return payload

    def constant(self, data: NDArray) -> Value:
        """Returns the value of a constant. Equal ones are one value.

        Its data are a copy: the array may be changed afterwards.
        """
        key = (str(data.dtype), data.shape, data.tobytes())
        if key not in self.constants:
            name = str(len(self.constants))
            self.constants[key] = self.declare("constant", name, type_of(data), data.copy())
        return self.constants[key]


def _only_read(array: NDArray) -> NDArray:
    """Returns a view that cannot be written to: a trace would not notice what is written."""
    view = array.view()
    view.flags.writeable = False
    return view
