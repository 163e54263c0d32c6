"""Passes: from a legal graph to a legal graph.  And the three that any compiler wants."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from time import perf_counter
from typing import Protocol

from ir.graph import Graph, Node, Value, substitute
from ir.ops import evaluate, is_symbolic
from ir.rewrite import remove_dead
from ir.types import Error, NDArray, product


class Pass(Protocol):
    """A frozen dataclass: its fields are its options, its docstring shows `before --> after`."""

    @property
    def name(self) -> str:
        """What it is called in stages, dumps and messages, in snake_case."""

    def __call__(self, graph: Graph) -> Graph: ...


Watch = Callable[[Pass, Graph, Graph, float], None]


def run(passes: Sequence[Pass], graph: Graph, watch: Watch = lambda *_: None) -> Graph:
    """Apply the passes in order.  `watch(pass, before, after, seconds)` is called after each: the
    one place to verify, time, dump and check."""
    for step in passes:
        before, start = graph, perf_counter()
        graph = step(before)
        watch(step, before, graph, perf_counter() - start)
    return graph


@dataclass(frozen=True)
class DCE:
    """Drop what no output needs.

        %0 = exp(%x)
        %1 = tanh(%x)
        return %1
    -->
        %0 = tanh(%x)
        return %0
    """

    name = "dce"

    def __call__(self, graph: Graph) -> Graph:
        return remove_dead(graph)


@dataclass(frozen=True)
class CSE:
    """Compute each thing once.

        %0 = exp(%x)
        %1 = exp(%x)
        %2 = mul(%0, %1)
    -->
        %0 = exp(%x)
        %1 = mul(%0, %0)

    Things are the same where all their bits are: constants of equal data, but not 0.0 and -0.0.
    """

    name = "cse"

    def __call__(self, graph: Graph) -> Graph:
        first: dict[object, Value] = {}
        instead: dict[Value, Value] = {}
        for value in graph.params:
            if value.kind == "constant" and value in graph.data:
                bits = (value.type, graph.data[value].tobytes())
                if (equal := first.setdefault(bits, value)) is not value:
                    instead[value] = equal
        nodes = []
        for node in graph.nodes:
            node = substitute(node, instead)
            # by repr, because 0.0 == -0.0 and nan != nan
            operands = tuple([o if isinstance(o, Value) else repr(o) for o in node.inputs])
            computed = (node.op, operands, repr(dict(node.attrs)) if node.attrs else "")
            if (equal := first.setdefault(computed, node.result)) is node.result:
                nodes.append(node)
            else:
                instead[node.result] = equal
        if not instead:
            return graph
        outputs = tuple(instead.get(v, v) for v in graph.outputs)
        used = {o for node in nodes for o in node.inputs} | set(outputs)
        params = tuple(p for p in graph.params if p in used or p not in instead)
        return replace(graph, nodes=tuple(nodes), outputs=outputs, params=params)


@dataclass(frozen=True)
class FoldConstants:
    """Evaluate now what depends on constants alone.  Parameters are arguments: they stay.

        $0: f32[4]
        %0 = exp($0)
        %1 = mul(%x, %0)
    -->
        $1: f32[4]
        %0 = mul(%x, $1)

    A result of more than `max_elements` stays a computation.
    """

    max_elements: int = 2**20

    name = "fold_constants"

    def __call__(self, graph: Graph) -> Graph:
        data = {v: graph.data[v] for v in graph.params if v.kind == "constant" and v in graph.data}
        taken = {v.name for v in graph.params if v.kind == "constant"}
        fresh = (str(i) for i in count() if str(i) not in taken)
        instead: dict[Value, Value] = {}
        nodes = []
        for node in graph.nodes:
            node = substitute(node, instead)
            if (array := self.folded(node, data)) is None:
                nodes.append(node)
            else:
                instead[node.result] = Value(node.result.type, "constant", next(fresh))
                data[instead[node.result]] = array
        if not instead:
            return graph
        return remove_dead(replace(
            graph, nodes=tuple(nodes), params=(*graph.params, *instead.values()),
            outputs=tuple(instead.get(v, v) for v in graph.outputs), data={**graph.data, **data}))

    def folded(self, node: Node, data: dict[Value, NDArray]) -> NDArray | None:
        """The node's value, or None where it is not constant, too large, or an error."""
        operands = [data.get(o) if isinstance(o, Value) else o for o in node.inputs]
        known = [o for o in operands if o is not None]
        if len(known) < len(operands) or is_symbolic(tuple(node.attrs.values())):
            return None
        # an axis of size 0 does not make the others small
        if product(max(1, size) for size in node.result.type.shape) > self.max_elements:
            return None
        try:
            # in the layout it had: NumPy's matrix product rounds otherwise for another
            return evaluate(node.op, known, node.attrs).copy(order="K")
        except Error:
            return None                          # whoever runs the graph is to see it
