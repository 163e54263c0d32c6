"""The graph: an ordered list of equations `result = op(operands) {attributes}`.

    graph   = inputs, params, nodes, outputs       a value is defined before it is used
    node    = result "=" op "(" operand* ")" attrs where
    operand = Value | float
    Value   = input %x | state &fc.weight | result %0 | parameter @fc.weight | constant $0

A state is an input that a run also writes: the last outputs are the new values of the states.

A node refers to values, never to other nodes. So a pass can replace a node by another one with the
same result, and no later node has to change; a graph is rewritten by building another list.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from operator import eq, ge, gt, le, lt, ne
from typing import Any, ClassVar

from ir.ops import Attrs, is_symbolic
from ir.records import cached_property, dataclass, field, replace
from ir.types import Dim, Error, NDArray, TensorType, evaluate_dim, symbol_name

SIGILS = {"input": "%", "state": "&", "result": "%", "parameter": "@", "constant": "$"}
RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}


@dataclass(frozen=True, eq=False)
class Value:
    """What an operand names. Values are compared by identity; results are numbered when printed."""

    type: TensorType
    kind: str = "result"                         # a key of SIGILS
    name: str = ""


Operand = Value | float                          # a float is weak: it takes the arrays' type


@dataclass(frozen=True)
class Where:
    """Where a node comes from: the path and class of its layer, and the line of the user's code.

    layer: such as `0 Linear`. line: such as `digits.py:21`. Each may be empty.
    """

    layer: str = ""
    line: str = ""

    @property
    def note(self) -> str:
        """The lines that an error message adds: one for each of the two that is known."""
        known = (("layer: ", self.layer), ("line:  ", self.line))
        return "".join(f"\n  {what}{text}" for what, text in known if text)


@dataclass(frozen=True)
class Requirement:
    """A comparison of sizes, such as `T <= 1024`, that has to hold in every call of a graph.

    relation: a key of RELATIONS. where: the line of the user's code that compares.
    """

    left: Dim
    relation: str
    right: Dim
    where: Where = Where()

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Returns whether these values of the named sizes fulfil it."""
        left, right = (evaluate_dim(dim, sizes) for dim in (self.left, self.right))
        return RELATIONS[self.relation](left, right)

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


@dataclass(frozen=True)
class Reading:
    """A parameter whose numbers were read when a graph was built, which is right for these alone.

    The graph may have a parameter of that name, or use nothing of it but what was read.
    digest: ir.types.digest of the numbers. where: the line of the user's code that reads them.
    """

    name: str
    type: TensorType
    digest: str
    where: Where = Where()


@dataclass(frozen=True, eq=False)
class Node:
    """One equation. `inputs` has the op's operands, then the further operands of its `then` steps.
    """

    result: Value
    op: str
    inputs: tuple[Operand, ...]
    attrs: Attrs = field(default_factory=dict)
    where: Where = Where()

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """The operands that are values, each as often as it is one."""
        return tuple([o for o in self.inputs if isinstance(o, Value)])


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """A function from inputs and params to outputs. It is never changed, only replaced.

    Where it has states, they are the last inputs, and the last outputs are their new values.
    """

    name: str
    inputs: tuple[Value, ...]                    # states too
    params: tuple[Value, ...]                    # parameters and constants
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    data: Mapping[Value, NDArray]                # of the params; not part of the text
    requirements: tuple[Requirement, ...] = ()   # what the sizes of a call have to fulfil
    readings: tuple[Reading, ...] = ()           # parameters with other numbers need another graph

    # `ir.printer` is written in terms of graphs, so the package hands its function over; drawing
    # is nncompile's, which hands over its own.
    printer: ClassVar[Callable[[Graph], str]]
    drawer: ClassVar[Callable[[Graph], str] | None] = None

    @cached_property
    def uses(self) -> Counter[Value]:
        """How often each value is an operand or an output; 0 for a value that nothing uses."""
        return Counter([*[o for node in self.nodes for o in node.values], *self.outputs])

    @cached_property
    def makers(self) -> dict[Operand, Node]:
        """The node that computes each result."""
        return {node.result: node for node in self.nodes}

    @cached_property
    def places(self) -> Mapping[str, Sequence[int]]:
        """The positions in `nodes` of the nodes of each op that the graph has, fused or not."""
        found: dict[str, list[int]] = {}
        for number, node in enumerate(self.nodes):
            found.setdefault(node.op, []).append(number)
        return found

    @cached_property
    def load_time_values(self) -> frozenset[Value]:
        """The values that the params alone determine, the params themselves included.

        They are computed once, when the weights are loaded, and not in each call. A slice of a
        parameter that ends at B is not among them: it depends on the call.
        """
        known: set[Value] = {*self.params}
        for node in self.nodes:
            if depends_only_on(node, known):
                known.add(node.result)
        return frozenset(known)

    @cached_property
    def states(self) -> tuple[Value, ...]:
        """The inputs that a run also writes."""
        return tuple([v for v in self.inputs if v.kind == "state"])

    @property
    def updates(self) -> tuple[tuple[Value, Value], ...]:
        """Each state with the output that is its new value."""
        states = self.states
        last = self.outputs[len(self.outputs) - len(states):]
        return tuple(zip(states, last, strict=True))

    @property
    def returned(self) -> tuple[Value, ...]:
        """The outputs that are not the new value of a state."""
        return self.outputs[:len(self.outputs) - len(self.states)]

    def to_svg(self) -> str:
        """Returns a drawing as the text of an SVG file; equal blocks are drawn once.

        Raises Error where nncompile, which draws, is not imported, or the package that computes
        the places of nodes is not installed.
        """
        if Graph.drawer is None:
            raise Error("a graph is drawn by nncompile, which is not imported\n"
                        "  do: import nncompile")
        return Graph.drawer(self)

    def __str__(self) -> str:
        return Graph.printer(self)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the text, in which nothing is markup."""
        from html import escape  # which nothing else needs

        return f'<pre style="white-space:pre;overflow-x:auto">{escape(str(self))}</pre>'


def types_of(operands: Sequence[Operand]) -> list[TensorType | float]:
    """Returns the type of each operand; a float stands for itself."""
    return [o.type if isinstance(o, Value) else o for o in operands]


def named_sizes(graph: Graph) -> dict[str, tuple[Value, int]]:
    """Returns each named size with the first input and axis that it can be read from, in order."""
    found: dict[str, tuple[Value, int]] = {}
    for value in graph.inputs:
        for axis, dim in enumerate(value.type.shape):
            if (name := symbol_name(dim)) is not None:
                found.setdefault(name, (value, axis))
    return found


def depends_only_on(node: Node, known: Set[Operand]) -> bool:
    """Returns whether known values, and no named size, determine what the node computes."""
    for value in node.values:
        if value not in known:
            return False
    return not is_symbolic(tuple(node.attrs.values()))


def substitute(node: Node, instead: Mapping[Value, Operand]) -> Node:
    """Returns the node with some operands exchanged, or the same node where none is."""
    if instead.keys().isdisjoint(node.inputs):
        return node
    inputs = tuple(instead.get(o, o) if isinstance(o, Value) else o for o in node.inputs)
    return node if inputs == node.inputs else replace(node, inputs=inputs)


def joined(first: Where, second: Where) -> Where:
    """Returns the origin of a node made of two: the layers of both, and the later line."""
    layers = [*first.layer.split(", "), *second.layer.split(", ")]
    return Where(", ".join(filter(None, dict.fromkeys(layers))), second.line or first.line)
