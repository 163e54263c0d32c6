"""Passes: functions from a legal graph to a legal graph, and the three that every compiler has."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter
from typing import Protocol

from ir.graph import Graph, Node, Value, depends_only_on, substitute
from ir.ops import evaluate
from ir.records import dataclass, replace
from ir.rewrite import Context, remove_dead, rewrite
from ir.types import Error, NDArray, product


class Pass(Protocol):
    """A frozen dataclass: its fields are its options, its docstring shows `before --> after`."""

    @property
    def name(self) -> str:
        """What it is called in stages, dumps and messages, in snake_case."""

    def __call__(self, graph: Graph) -> Graph:
        """The graph after the pass; the same graph where there was nothing to do."""


Watch = Callable[[Pass, Graph, Graph, float], None]


def run(passes: Sequence[Pass], graph: Graph, watch: Watch = lambda *_: None) -> Graph:
    """Applies the passes in order.

    watch: called after each as `watch(pass, before, after, seconds)`. This is the one place to
           verify, time, dump and check what a pass does.

    Raises Error where a pass returns something else than a graph.
    """
    for pass_ in passes:
        before, start = graph, perf_counter()
        graph = pass_(before)
        if not isinstance(graph, Graph):
            raise Error(f"the pass {pass_.name} returned a {type(graph).__name__}, not a graph")
        watch(pass_, before, graph, perf_counter() - start)
    return graph


@dataclass(frozen=True)
class DCE:
    """Dead code elimination: remove what no output needs.

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
    """Common subexpression elimination: compute equal things once.

        %0 = exp(%x)
        %1 = exp(%x)
        %2 = mul(%0, %1)
    -->
        %0 = exp(%x)
        %1 = mul(%0, %0)

    Equal means equal to the last bit: constants of equal data are one, 0.0 and -0.0 are not.
    """

    name = "cse"

    def __call__(self, graph: Graph) -> Graph:
        first: dict[object, Value] = {}

        def computed_before(node: Node, _: Context) -> Value | None:
            # by repr, because 0.0 == -0.0 and nan != nan
            operands = node.inputs if len(node.values) == len(node.inputs) else tuple(
                [o if isinstance(o, Value) else repr(o) for o in node.inputs])
            computed = (node.op, operands, repr(dict(node.attrs)) if node.attrs else "")
            equal = first.setdefault(computed, node.result)
            return None if equal is node.result else equal

        return rewrite(_without_equal_constants(graph), computed_before, fused=True, once=True)


def _without_equal_constants(graph: Graph) -> Graph:
    """The graph with one constant in place of all that have its data, bit for bit."""
    first: dict[object, Value] = {}
    instead: dict[Value, Value] = {}
    for value in graph.params:
        if value.kind == "constant" and value in graph.data:
            bits = (value.type, graph.data[value].tobytes())
            if (equal := first.setdefault(bits, value)) is not value:
                instead[value] = equal
    if not instead:
        return graph
    nodes = tuple(substitute(node, instead) for node in graph.nodes)
    outputs = tuple(instead.get(v, v) for v in graph.outputs)
    return remove_dead(replace(graph, nodes=nodes, outputs=outputs))


@dataclass(frozen=True)
class FoldConstants:
    """Evaluate at compile time what depends on constants alone.

        $0: f32[4]
        %0 = exp($0)
        %1 = mul(%x, %0)
    -->
        $1: f32[4]
        %0 = mul(%x, $1)

    Parameters are not constants: they may be loaded anew. A result of more than `max_elements`
    elements is not folded.
    """

    max_elements: int = 2**20

    name = "fold_constants"

    def __call__(self, graph: Graph) -> Graph:
        data = {v: graph.data[v] for v in graph.params if v.kind == "constant" and v in graph.data}
        taken = {v.name for v in graph.params if v.kind == "constant"}
        fresh = (str(i) for i in count() if str(i) not in taken)
        folded: dict[Value, NDArray] = {}

        def fold(node: Node, context: Context) -> Value | None:
            array = self._evaluated(node, data, context)
            if array is None:
                return None
            constant = Value(node.result.type, "constant", next(fresh))
            data[constant] = folded[constant] = array
            return constant

        after = rewrite(graph, fold, fused=True, once=True)
        if after is graph:
            return graph
        return remove_dead(replace(after, params=(*graph.params, *folded),
                                   data={**graph.data, **folded}))

    def _evaluated(self, node: Node, data: dict[Value, NDArray], context: Context
                   ) -> NDArray | None:
        """The node's value; None where it is not constant, is too large, or is an error."""
        if not depends_only_on(node, data.keys()):
            return None
        known = [data[o] if isinstance(o, Value) else o for o in node.inputs]
        # an axis of size 0 does not make the others small
        if product(max(1, size) for size in node.result.type.shape) > self.max_elements:
            context.leave(node, "is constant, but is not evaluated at compile time: it has more "
                                f"than max_elements = {self.max_elements} elements")
            return None
        try:
            # in the memory layout it has: NumPy's matrix product rounds otherwise for another
            return evaluate(node.op, known, node.attrs).copy(order="K")
        except Error:
            return None                          # whoever runs the graph is to see the error
