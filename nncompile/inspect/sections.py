"""Equal blocks of a graph: the layers of an encoder, for instance, that differ in weights alone."""
from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ir.graph import Graph, Node, Operand, Value
from nncompile.inspect.layers import path_of

_SMALLEST = 3                         # nodes of a block that is worth folding
_LONGEST = 400                        # nodes of a block; the time of the search grows with it
_PARTS = re.compile(r"([./])")
_NUMBERED = re.compile(r"^[^ ,]*?\b[0-9]+(?=[./ ,]|$)")     # "layer.3" of "layer.3.norm LayerNorm"


class Section(NamedTuple):
    """Nodes that follow each other: `times` blocks of `size` nodes, from the node number `first`.

    What is no repetition is a section of one block.
    """

    first: int
    size: int
    times: int

    @property
    def stop(self) -> int:
        """The number of the first node behind it."""
        return self.first + self.size * self.times

    def blocks(self) -> list[range]:
        """Returns the numbers of the nodes of each block."""
        return [range(i, i + self.size) for i in range(self.first, self.stop, self.size)]


def sections_of(graph: Graph) -> list[Section]:
    """Returns the sections of a graph, in order; together they are all of its nodes.

    Blocks are equal where their nodes have the same ops, attributes and types, and refer to each
    other in the same way; they may differ in what they read from outside.
    """
    kinds = [_kind(node) for node in graph.nodes]
    layers = [numbered_layer(node) for node in graph.nodes]
    numbers = {node.result: i for i, node in enumerate(graph.nodes)}
    wiring = [tuple(numbers.get(o, -1) if isinstance(o, Value) else -1 for o in node.inputs)
              for node in graph.nodes]
    return _split(kinds, layers, wiring, 0, len(kinds))


def block_names(blocks: Sequence[Sequence[Node]]) -> list[str]:
    """Returns what each of several equal blocks is called: `layer.0`, `layer.1`, ...

    That is the path of a layer in it up to the number that is another one in the next block; ""
    for each where no layer says it.
    """
    for same in zip(*blocks, strict=True):
        paths = [_PARTS.split(path_of(node)) for node in same]
        if len({len(parts) for parts in paths}) > 1:
            continue
        odd = (i for i, parts in enumerate(zip(*paths, strict=True)) if len({*parts}) > 1)
        if (first := next(odd, None)) is not None and all(p[first].isdigit() for p in paths):
            return ["".join(parts[:first + 1]) for parts in paths]
    return [""] * len(blocks)


def numbered_layer(node: Node) -> str:
    """Returns the path of a node's layer up to its first number, `layer.3`; "" if it has none."""
    found = _NUMBERED.match(node.where.layer)
    return found.group() if found else ""


def _split(kinds: Sequence[Hashable], layers: Sequence[str],
           wiring: Sequence[tuple[int, ...]], start: int, stop: int) -> list[Section]:
    """The sections of the nodes between two numbers: the largest repetition, and both its sides."""
    if start >= stop:
        return []
    best = _largest(kinds, layers, wiring, start, stop)
    if best is None:
        return [Section(start, stop - start, 1)]
    return [*_split(kinds, layers, wiring, start, best.first), best,
            *_split(kinds, layers, wiring, best.stop, stop)]


def _largest(kinds: Sequence[Hashable], layers: Sequence[str],
             wiring: Sequence[tuple[int, ...]], start: int, stop: int) -> Section | None:
    best: Section | None = None
    for size in range(_SMALLEST, min(_LONGEST, (stop - start) // 2) + 1):
        for first, end in _runs(kinds, size, start, stop):
            times = (end - first) // size
            if best is not None and (times - 1) * size <= (best.times - 1) * best.size:
                continue
            slack = range(first, first + (end - first) % size + 1)
            begin = min(slack, key=lambda i: len(set(layers[i:i + size])))
            found = _equally_wired(Section(begin, size, times), wiring)
            if found is not None and (best is None or (found.times - 1) * size
                                      > (best.times - 1) * best.size):
                best = found
    return best


def _runs(kinds: Sequence[Hashable], size: int, start: int, stop: int) -> list[tuple[int, int]]:
    """Where nodes are like those `size` before, for at least two blocks: first and end numbers."""
    breaks = [start - 1, *(i for i in range(start, stop - size) if kinds[i] != kinds[i + size]),
              stop - size]
    return [(a + 1, b + size) for a, b in pairwise(breaks) if b - a - 1 >= size]


def _equally_wired(section: Section, wiring: Sequence[tuple[int, ...]]) -> Section | None:
    """As many of its first blocks as refer to their own nodes alike; None if it is only one."""
    def inner(block: range) -> list[tuple[int, ...]]:
        return [tuple(o - block.start if o in block else -1 for o in wiring[i]) for i in block]

    first, *rest = section.blocks()
    pattern, times = inner(first), 1
    for block in rest:
        if inner(block) != pattern:
            break
        times += 1
    return section._replace(times=times) if times > 1 else None


def _kind(node: Node) -> Hashable:
    """What equal nodes have in common."""
    return (node.op, str(node.result.type), repr(sorted(node.attrs.items())),
            tuple(map(_operand_kind, node.inputs)))


def _operand_kind(operand: Operand) -> Hashable:
    if not isinstance(operand, Value):
        return repr(operand)
    kind = "result" if operand.kind == "input" else operand.kind     # the first block reads inputs
    return kind, str(operand.type)
