"""Which values do not depend on the inputs."""
from __future__ import annotations

from collections.abc import Set

from ir.graph import Graph, Node, Value
from ir.ops import is_symbolic


def load_time_values(graph: Graph) -> frozenset[Value]:
    """The values that parameters and constants alone determine, the parameters themselves included:
    they are computed once when the weights are loaded, and cost a call nothing.

    A slice of a parameter that ends at B is none of them: it changes from call to call.
    """
    known = set(graph.params)
    for node in graph.nodes:
        if follows(node, known):
            known.add(node.result)
    return frozenset(known)


def follows(node: Node, known: Set[Value]) -> bool:
    """Whether known values, and no size, determine what the node computes."""
    for operand in node.inputs:
        if isinstance(operand, Value) and operand not in known:
            return False
    return not is_symbolic(tuple(node.attrs.values()))
