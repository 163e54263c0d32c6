"""Makes a graph smaller as long as some check of it fails: what is left shows the fault.

It is delta debugging (Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input,
2002) of a graph: nodes are cut off its end, then off its beginning, then one by one. What a node
computed becomes an input, whose array is what the references made of it, so that each smaller graph
computes on the numbers that it had inside of the larger one.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from ir.graph import Graph, Node, Value, substitute
from ir.interpret import interpret
from ir.records import dataclass, replace
from ir.rewrite import remove_dead
from ir.types import Error, NDArray, names_in
from ir.verify import verify


@dataclass(frozen=True, eq=False)
class Case:
    """A graph, and the arrays that it is called with."""

    graph: Graph
    arrays: tuple[NDArray, ...]


Fails = Callable[[Case], bool]


def reduced(case: Case, fails: Fails) -> Case:
    """Returns a smaller case that still fails, from which nothing can be left out by itself.

    fails: says of a case, whose graph is legal and can be evaluated, whether its check fails. The
    case itself has to fail. States are inputs and outputs like others.

    Raises Error for a case that cannot be evaluated, or that does not fail.
    """
    case = replace(case, graph=_without_states(case.graph))
    interpret(case.graph, case.arrays)
    if not fails(case):
        raise Error("the check does not fail: there is nothing to reduce")
    found = _Search(case, fails)
    while found.step(_one_output) or found.step(_ends) or found.step(_beginnings) \
            or found.step(_singles):
        pass
    return found.case


class _Search:
    """The smallest case so far."""

    def __init__(self, case: Case, fails: Fails) -> None:
        self.case, self.fails = case, fails
        self._known: dict[Value, NDArray] = {}
        self._passed: set[str] = set()           # texts of graphs that do not fail
        self._names = (f"v{i}" for i in count())
        self._learn(case)

    def step(self, candidates: Callable[[Graph], Iterator[Graph]]) -> bool:
        """Takes the first candidate that is smaller and fails; returns whether there was one."""
        for graph in candidates(self.case.graph):
            if _size(graph) >= _size(self.case.graph):
                continue
            case = self._case_of(graph)
            if case is None or (text := _text(case.graph)) in self._passed:
                continue
            if self.fails(case):
                self.case = case
                return True
            self._passed.add(text)
        return False

    def _learn(self, case: Case) -> None:
        results = tuple(node.result for node in case.graph.nodes)
        every = replace(case.graph, outputs=results)
        self._known.update(zip(case.graph.inputs, case.arrays, strict=True))
        self._known.update(zip(results, interpret(every, case.arrays), strict=True))

    def _case_of(self, graph: Graph) -> Case | None:
        """The case of a candidate; None where it is no legal graph, or cannot be evaluated."""
        instead = {v: Value(v.type, "input", next(self._names)) for v in _free(graph)}
        nodes = tuple(substitute(node, instead) for node in graph.nodes)
        outputs = tuple(instead.get(v, v) for v in graph.outputs)
        used = {o for node in nodes for o in node.inputs} | {*outputs}
        old = {new: v for v, new in instead.items()}
        inputs = tuple(v for v in (*graph.inputs, *instead.values()) if v in used)
        names = {name for v in inputs for dim in v.type.shape for name in names_in(dim)}
        made = remove_dead(replace(
            graph, nodes=nodes, outputs=outputs, inputs=inputs,
            requirements=tuple(r for r in graph.requirements
                               if names_in(r.left) | names_in(r.right) <= names)))
        case = Case(made, tuple(self._known[old.get(v, v)] for v in inputs))
        try:
            verify(made)
            interpret(made, case.arrays)
        except Error:
            return None
        for value, new in instead.items():       # of which a smaller graph may be made
            self._known[new] = self._known[value]
        return case


def _text(graph: Graph) -> str:
    """The text, in which inputs are numbered."""
    inputs = {v: Value(v.type, "input", f"i{i}") for i, v in enumerate(graph.inputs)}
    return str(replace(graph, inputs=tuple(inputs.values()),
                       nodes=tuple(substitute(node, inputs) for node in graph.nodes),
                       outputs=tuple(inputs.get(v, v) for v in graph.outputs)))


def _size(graph: Graph) -> tuple[int, int, int]:
    return len(graph.nodes), len(graph.outputs), len(_free(graph)) + len(graph.inputs)


def _free(graph: Graph) -> list[Value]:
    """The results that are used and that no node computes."""
    made = {*graph.inputs, *graph.params, *(node.result for node in graph.nodes)}
    used = [o for node in graph.nodes for o in node.inputs if isinstance(o, Value)]
    return [v for v in dict.fromkeys([*used, *graph.outputs]) if v not in made]


def _without_states(graph: Graph) -> Graph:
    plain = {v: Value(v.type, "input", v.name) for v in graph.states}
    if not plain:
        return graph
    return replace(graph, inputs=tuple(plain.get(v, v) for v in graph.inputs),
                   nodes=tuple(substitute(node, plain) for node in graph.nodes),
                   outputs=tuple(plain.get(v, v) for v in graph.outputs))


# -- candidates: smaller graphs, in which what is computed no more is not yet an input -------------

def _one_output(graph: Graph) -> Iterator[Graph]:
    """Each output alone."""
    for output in dict.fromkeys(graph.outputs):
        yield remove_dead(replace(graph, outputs=(output,)))


def _ends(graph: Graph) -> Iterator[Graph]:
    """The first half of the nodes, then three quarters, ...; what others read is an output."""
    for kept in _counts(len(graph.nodes)):
        first = graph.nodes[:kept]
        made = {node.result: None for node in first}
        read = {o for node in graph.nodes[kept:] for o in node.inputs} | {*graph.outputs}
        outputs = tuple(v for v in made if v in read)
        yield remove_dead(replace(graph, nodes=first, outputs=outputs))


def _beginnings(graph: Graph) -> Iterator[Graph]:
    """The second half of the nodes, then three quarters, ..."""
    made = {node.result for node in graph.nodes}
    for kept in _counts(len(graph.nodes)):
        last = graph.nodes[len(graph.nodes) - kept:]
        here = {node.result for node in last}
        outputs = tuple(v for v in graph.outputs if v in here or v not in made)
        yield replace(graph, nodes=last, outputs=outputs or graph.outputs)


def _counts(most: int) -> Iterator[int]:
    """1/2, 3/4, 7/8, ... of a number, up to one less than it."""
    left = most // 2
    while left:
        yield most - left
        left //= 2


def _singles(graph: Graph) -> Iterator[Graph]:
    """Without one node, whose result is an input then, or an operand of the same type."""
    for i, node in enumerate(graph.nodes):
        rest = (*graph.nodes[:i], *graph.nodes[i + 1:])
        yield from _bypassed(graph, node, rest)
        if node.result not in graph.outputs:
            yield replace(graph, nodes=rest)


def _bypassed(graph: Graph, node: Node, rest: Sequence[Node]) -> Iterator[Graph]:
    for operand in node.inputs:
        if isinstance(operand, Value) and operand.type == node.result.type:
            instead = {node.result: operand}
            yield remove_dead(replace(
                graph, nodes=tuple(substitute(n, instead) for n in rest),
                outputs=tuple(instead.get(v, v) for v in graph.outputs)))
