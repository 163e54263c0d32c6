"""The layers that nodes come from, and layers that are equal.

A layer's path is such as `encoder.layers.3.fc`. A part with a number in it names one of several
layers, and the path up to that part is a *block*. Blocks are alike if their nodes are: the same ops
on the same types, with the same operands from inside of the block.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from ir import Graph, Node, Value
from ir.printer import name_values, print_call
from ir.records import dataclass

_NUMBER = re.compile(r"\d+")


def shown(text: str) -> str:
    """Returns a name as text that a terminal takes for nothing else."""
    if text.isprintable():
        return text
    import json  # which few names need
    return json.dumps(text)


def path_of(node: Node) -> str:
    """Returns the path of the first layer that a node comes from; "" for the model itself."""
    return node.where.layer.partition(", ")[0].partition(" ")[0]


def paths_of(node: Node) -> list[str]:
    """Returns the paths of all layers that a node comes from."""
    return [part.partition(" ")[0] for part in node.where.layer.split(", ")]


def block_of(path: str, level: int = 0) -> str:
    """Returns the path up to its first part with a number, or up to the next ones by level.

    "" where it has none.
    """
    parts = path.split(".")
    numbered = [i for i, part in enumerate(parts) if _NUMBER.search(part)]
    return ".".join(parts[:numbered[level] + 1]) if level < len(numbered) else ""


def family(block: str) -> str:
    """Returns what a block's path has in common with those of its like."""
    head, dot, last = block.rpartition(".")
    return head + dot + _NUMBER.sub("*", last)


@dataclass(frozen=True)
class Folded:
    """Blocks that are alike, of which the first is shown: layers.1 to layers.11 like layers.0."""

    first: str
    others: tuple[str, ...]
    nodes: tuple[Node, ...]                      # of all the others

    def __str__(self) -> str:
        last = self.others[-1].rpartition(".")[2] if len(self.others) > 1 else ""
        to = f" to {last}" * bool(last)
        return (f"{self.others[0]}{to} like {self.first}: "
                f"{len(self.nodes) // len(self.others)} nodes each")


def folded(nodes: Sequence[Node], graph: Graph, level: int = 0) -> list[Node | Folded]:
    """Returns the nodes with those of blocks that are like the block before them folded."""
    alike = Likeness(graph, level)
    result: list[Node | Folded] = []
    groups = [(block, list(group)) for block, group in
              groupby(nodes, key=lambda node: block_of(path_of(node), level))]
    i = 0
    while i < len(groups):
        block, group = groups[i]
        result += folded(group, graph, level + 1) if block else group
        j = i + 1
        if block:
            said = alike.text(group, block)
            while j < len(groups) and family(groups[j][0]) == family(block) \
                    and alike.text(groups[j][1], groups[j][0]) == said:
                j += 1
        if j > i + 1:
            others = groups[i + 1:j]
            result.append(Folded(block, tuple(other for other, _ in others),
                                 tuple(node for _, each in others for node in each)))
        i = j
    return result


class Likeness:
    """Texts of nodes that are equal where the nodes are, in blocks that are alike."""

    def __init__(self, graph: Graph, level: int = 0) -> None:
        self._names = name_values(graph)
        self._block: dict[Value, str] = {}
        self._index: dict[Value, str] = {}
        counts: dict[str, int] = {}
        for node in graph.nodes:
            block = block_of(path_of(node), level)
            self._block[node.result] = block
            self._index[node.result] = f"%{counts.setdefault(block, 0)}"
            counts[block] += 1

    def text(self, nodes: Iterable[Node], block: str) -> str:
        """Returns what the nodes compute, in words that name nothing outside of their block."""
        lines = []
        outside: dict[Value, str] = {}
        for node in nodes:
            names = self._seen_from(block, node, outside)
            path = path_of(node).removeprefix(block)
            lines.append(f"{path}: {node.result.type} = {print_call(node, names)}")
        return "\n".join(lines)

    def _seen_from(self, block: str, node: Node, outside: dict[Value, str]) -> Mapping[Value, str]:
        names = {}
        for operand in node.inputs:
            if not isinstance(operand, Value):
                continue
            if operand.kind == "parameter":
                names[operand] = self._names.get(operand, "@?").replace(f"@{block}.", "@", 1)
            elif self._block.get(operand) == block:
                names[operand] = self._index[operand]
            else:
                names[operand] = outside.setdefault(operand, f"%outside{len(outside)}")
        return names
