"""Equal blocks of a graph: the layers of an encoder, for instance, that differ in weights alone.

The one notion of equal that drawings, `show` and differences of stages have is `pattern`.
"""
from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from itertools import count, pairwise
from typing import NamedTuple

from ir.graph import Node, Operand, Value
from ir.records import dataclass
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


def sections_of(nodes: Sequence[Node], smallest: int = _SMALLEST) -> list[Section]:
    """Returns the sections of nodes that follow each other; together they are all of them.

    smallest: the nodes of a block that is worth folding.
    """
    kinds = [_kind(node) for node in nodes]
    return _split(nodes, kinds, smallest, 0, len(kinds))


def pattern(nodes: Iterable[Node]) -> Hashable:
    """Returns what equal blocks have in common.

    Their nodes have the same ops, attributes and types, and refer to each other in the same way,
    and to what is outside: where one reads a value twice, so do the others, each its own.
    """
    nodes = list(nodes)
    return tuple(map(_kind, nodes)), _wiring(nodes)


def _wiring(nodes: Sequence[Node]) -> Hashable:
    """Which node each operand is of; those from outside are numbered as they come, below 0."""
    numbers: dict[Value, int] = {node.result: i for i, node in enumerate(nodes)}
    outside = count(-1, -1)
    found = []
    for node in nodes:
        values = [o for o in node.inputs if isinstance(o, Value)]
        found.append(tuple(numbers[o] if o in numbers else numbers.setdefault(o, next(outside))
                           for o in values if o.kind not in ("parameter", "constant")))
    return tuple(found)


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


def folded(nodes: Sequence[Node]) -> list[Node | Folded]:
    """Returns the nodes with those of blocks that are equal to the one before them folded.

    Only blocks are folded that have a name, which is what is said of the others.
    """
    result: list[Node | Folded] = []
    for section in sections_of(nodes, 1):
        blocks, names = _named([nodes[block.start:block.stop] for block in section.blocks()])
        if len({*names}) < len(blocks) or not names[0] or len(blocks) == 1:
            result += (node for block in blocks for node in block)
            continue
        inner = folded(blocks[0]) if len(blocks[0]) > 1 else blocks[0]
        names = list(map(_all_of, blocks, names))
        others = tuple(node for block in blocks[1:] for node in block)
        result += [*inner, Folded(names[0], tuple(names[1:]), others)]
    return result


def _named(blocks: Sequence[Sequence[Node]]) -> tuple[Sequence[Sequence[Node]], list[str]]:
    """The blocks and their names; those of one name that follow each other are one block.

    So are the two attentions of each layer of a decoder.
    """
    names = block_names(blocks)
    each = names.count(names[0])
    if each == 1 or names != [name for name in names[::each] for _ in range(each)]:
        return blocks, names
    joined = [[node for block in blocks[i:i + each] for node in block]
              for i in range(0, len(blocks), each)]
    return (joined, names[::each]) if len({*map(pattern, joined)}) == 1 else (blocks, names)


def _all_of(block: Sequence[Node], name: str) -> str:
    """The name of a block of several numbered layers: `4-5`, of 4 Linear and 5 ReLU."""
    level = len(_PARTS.split(name))
    paths = [_PARTS.split(path_of(node))[:level] for node in block]
    last = next((path for path in reversed(paths)
                 if len(path) == level and path[-1].isdigit() and path[:-1] == paths[0][:-1]), [])
    return f"{name}-{last[-1]}" if last and last != paths[0] else name


def numbered_layer(node: Node) -> str:
    """Returns the path of a node's layer up to its first number, `layer.3`; "" if it has none."""
    found = _NUMBERED.match(node.where.layer)
    return found.group() if found else ""


def _split(nodes: Sequence[Node], kinds: Sequence[Hashable], smallest: int, start: int, stop: int
           ) -> list[Section]:
    """The sections of the nodes between two numbers: the largest repetition, and both its sides."""
    if start >= stop:
        return []
    best = _largest(nodes, kinds, smallest, start, stop)
    if best is None:
        return [Section(start, stop - start, 1)]
    return [*_split(nodes, kinds, smallest, start, best.first), best,
            *_split(nodes, kinds, smallest, best.stop, stop)]


def _largest(nodes: Sequence[Node], kinds: Sequence[Hashable], smallest: int, start: int, stop: int
             ) -> Section | None:
    layers = [numbered_layer(node) for node in nodes[start:stop]]
    best: Section | None = None
    for size in range(smallest, min(_LONGEST, (stop - start) // 2) + 1):
        for first, end in _runs(kinds, size, start, stop):
            times = (end - first) // size
            if best is not None and (times - 1) * size <= (best.times - 1) * best.size:
                continue
            slack = range(first, first + (end - first) % size + 1)
            begin = min(slack, key=lambda i: len({*layers[i - start:i - start + size]}))
            found = _equally_wired(Section(begin, size, times), nodes)
            if found is not None and (best is None or (found.times - 1) * size
                                      > (best.times - 1) * best.size):
                best = found
    return best


def _runs(kinds: Sequence[Hashable], size: int, start: int, stop: int) -> list[tuple[int, int]]:
    """Where nodes are like those `size` before, for at least two blocks: first and end numbers."""
    breaks = [start - 1, *(i for i in range(start, stop - size) if kinds[i] != kinds[i + size]),
              stop - size]
    return [(a + 1, b + size) for a, b in pairwise(breaks) if b - a - 1 >= size]


def _equally_wired(section: Section, nodes: Sequence[Node]) -> Section | None:
    """The longest run of its blocks that refer to their nodes alike; None if it is only one."""
    wirings = [_wiring(nodes[block.start:block.stop]) for block in section.blocks()]
    best = range(0)
    first = 0
    for last in range(1, len(wirings) + 1):
        if last == len(wirings) or wirings[last] != wirings[first]:
            best = max(best, range(first, last), key=len)
            first = last
    if len(best) < 2:
        return None
    return Section(section.first + best.start * section.size, section.size, len(best))


def _kind(node: Node) -> Hashable:
    """What equal nodes have in common."""
    return (node.op, str(node.result.type), repr(sorted(node.attrs.items())),
            tuple(map(_operand_kind, node.inputs)))


def _operand_kind(operand: Operand) -> Hashable:
    if not isinstance(operand, Value):
        return repr(operand)
    kind = "result" if operand.kind == "input" else operand.kind     # the first block reads inputs
    return kind, str(operand.type)
