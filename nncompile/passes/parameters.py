"""Which values do not depend on the inputs."""
from __future__ import annotations

from ir.graph import Graph, Value
from ir.ops import is_symbolic


def load_time_values(graph: Graph) -> frozenset[Value]:
    """The values that parameters and constants alone determine, the parameters themselves included:
    they are computed once when the weights are loaded, and cost a call nothing.

    A slice of a parameter that ends at B is none of them: it changes from call to call.
    """
    known = set(graph.params)
    for node in graph.nodes:
        from_known = all(o in known for o in node.inputs if isinstance(o, Value))
        if from_known and not is_symbolic(tuple(node.attrs.values())):
            known.add(node.result)
    return frozenset(known)
