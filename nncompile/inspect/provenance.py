"""Names that a value keeps from pass to pass.

The text of a graph numbers its results by their position, so that a pass that removes a node would
rename every one behind it. Here a value has one number from the first graph that it is in on.
"""
from __future__ import annotations

from collections.abc import Iterable

from ir import Graph, Value
from ir.printer import name_values


def stable_names(graphs: Iterable[Graph]) -> dict[Value, str]:
    """Returns what each value of these graphs is called, in all of them: %0, %1, ...

    Those of the first graph are called as in its text; a value that a pass makes has the next
    number that none has.
    """
    names: dict[Value, str] = {}
    count = 0
    for graph in graphs:
        results = {node.result for node in graph.nodes}
        names |= {v: name for v, name in name_values(graph).items() if v not in results}
        for node in graph.nodes:
            if node.result not in names:
                names[node.result], count = f"%{count}", count + 1
    return names
