"""What becomes of each value from pass to pass, under a name that it keeps.

The text of a graph numbers its results by their position, so that a pass that removes a node would
rename every one behind it. Here a value has one number from the first graph that it is in on.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from ir import Graph, Node, Value
from ir.printer import name_values
from ir.records import dataclass


def stable_names(graphs: Iterable[Graph]) -> dict[Value, str]:
    """Returns what each value of these graphs is called, in all of them: %0, %1, ...

    Those of the first graph are called as in its text; a value that a pass makes has the next
    number that none has.
    """
    names: dict[Value, str] = {}
    for graph in graphs:
        names = extended_names(names, graph)
    return names


def extended_names(names: Mapping[Value, str], graph: Graph) -> dict[Value, str]:
    """Returns the names, and the next ones for those values of the graph that have none yet."""
    results = {node.result for node in graph.nodes}
    new = {v: name for v, name in name_values(graph).items() if v not in results}
    count = sum(value.kind == "result" for value in names)
    for node in graph.nodes:
        if node.result not in names:
            new[node.result], count = f"%{count}", count + 1
    return {**names, **new}


@dataclass(frozen=True)
class Change:
    """What a pass did to one value.

    before, after: the node that computes it; None before for a new value, None after for one that
                   is gone.
    into: of a value that is gone, those that are computed without it now, nearest first; none for
          a value that nothing needed.
    took: of a value that is computed otherwise, those that it was made of and that are gone.
    """

    value: Value
    before: Node | None
    after: Node | None
    into: tuple[Value, ...] = ()
    took: tuple[Value, ...] = ()

    @property
    def node(self) -> Node:
        """The node after the pass, or the one that is gone."""
        found = self.after or self.before
        assert found is not None                 # one of the two is there
        return found


def changes(before: Graph, after: Graph) -> list[Change]:
    """Returns what differs between two graphs that share values, in the order of the graphs."""
    old = {node.result: node for node in before.nodes}
    new = {node.result: node for node in after.nodes}
    into = _heirs(before, old, new)
    took: dict[Value, list[Value]] = {}
    for gone, heirs in into.items():
        for heir in heirs:
            took.setdefault(heir, []).append(gone)
    found = [Change(v, node, None, into.get(v, ())) for v, node in old.items() if v not in new]
    found += [Change(v, old.get(v), node, (), tuple(took.get(v, ())))
              for v, node in new.items() if not _is_same(old.get(v), node)]
    order = {v: i for i, v in enumerate(dict.fromkeys([*old, *new]))}
    for i, node in enumerate(after.nodes):       # new nodes stand where they are computed
        if node.result not in old:
            later = [order[n.result] for n in after.nodes[i:] if n.result in old]
            order[node.result] = later[0] if later else len(order)
    return sorted(found, key=lambda change: order[change.value])


def _heirs(before: Graph, old: Mapping[Value, Node], new: Mapping[Value, Node]
           ) -> dict[Value, tuple[Value, ...]]:
    """For each value that is gone, the nearest later ones that are there and computed otherwise."""
    found: dict[Value, tuple[Value, ...]] = {}
    readers: dict[Value, list[Value]] = {}
    for node in before.nodes:
        for operand in node.inputs:
            if isinstance(operand, Value):
                readers.setdefault(operand, []).append(node.result)
    for node in reversed(before.nodes):
        if node.result in new:
            continue
        heirs: dict[Value, None] = {}
        for reader in readers.get(node.result, ()):
            heirs |= dict.fromkeys(found.get(reader, ()) if reader not in new else
                                   (reader,) if not _is_same(old[reader], new[reader]) else ())
        found[node.result] = tuple(heirs)
    return found


def _is_same(before: Node | None, after: Node) -> bool:
    """Whether a value is computed as it was: its origin may have changed."""
    return before is after or (
        before is not None and (before.op, before.inputs) == (after.op, after.inputs)
        and repr(before.attrs) == repr(after.attrs))
