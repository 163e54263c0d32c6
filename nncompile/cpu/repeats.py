"""Equal blocks of a network: calls that repeat, but for what they read and write, become a function
of their own, which is written and compiled once.

    linear(x, 64, at(weights, W0), h0, ...)        def steps_0(weights, p0, p1, p2, w0):
    tanh(h1, h0)                                       linear(p0, 64, at(weights, w0), p1, ...)
    linear(h1, 64, at(weights, W1), h0, ...)  ->       tanh(p2, p1)
    tanh(h2, h0)
    ...                                            steps_0(weights, x, h0, h1, W0)
                                                   steps_0(weights, h1, h0, h2, W1)
"""
from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from nncompile.cpu.words import WORDS

REPETITIONS = 3       # at least so many, of at least so many steps, are worth a function
STEPS = 2
LONGEST = 100         # steps of a block; the time of the search grows with it

PLAIN = re.compile(r"[A-Za-z0-9_.]+")            # names of layers come from outside
NAME, WEIGHT, HOLE = re.compile(r"[A-Za-z_]\w*"), re.compile(r"W\d+"), re.compile(r"{([pwn])}")


@dataclass(frozen=True)
class Line:
    """A call of generated source: its phase, the layer's path, the result it is for, and the
    comment over it."""

    phase: int
    layer: str
    result: str
    comment: str
    function: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A function of lines, whose phases count from 0."""

    name: str
    about: str
    parameters: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Cut:
    """A line whose arguments have holes where repetitions may differ, and what filled them: {p} a
    place, {w} a weight, {n} the number of a step that may report a fault."""

    line: Line
    arguments: tuple[str, ...]
    filling: tuple[str, ...]


def fold(lines: Sequence[Line], places: Collection[str]) -> tuple[list[Block], list[Line]]:
    """The blocks among these lines, and the lines with each repetition of a block as one call."""
    cuts = [cut(line, places) for line in lines]
    blocks: list[Block] = []
    folded: list[Line] = []
    done = 0
    for start, steps, count in runs([(c.line.function, c.arguments) for c in cuts],
                                    [line.layer for line in lines]):
        stop = start + steps * count
        repetitions = [cuts[i:i + steps] for i in range(start, stop, steps)]
        block, calls = outline(f"steps_{len(blocks)}", repetitions)
        blocks.append(block)
        folded += [*lines[done:start], *calls]
        done = stop
    return blocks, [*folded, *lines[done:]]


def cut(line: Line, places: Collection[str]) -> Cut:
    filling: list[str] = []

    def hole(kind: str, text: str) -> str:
        filling.append(text)
        return f"{{{kind}}}"

    def named(found: re.Match[str]) -> str:
        name = found[0]
        kind = "p" if name in places else "w" if WEIGHT.fullmatch(name) else ""
        return hole(kind, name) if kind else name

    before = ("", *line.arguments[:-1])
    arguments = [hole("n", text) if last == "fault" else NAME.sub(named, text)
                 for last, text in zip(before, line.arguments, strict=True)]
    return Cut(line, tuple(arguments), tuple(filling))


def runs(steps: Sequence[Hashable], layers: Sequence[str]) -> list[tuple[int, int, int]]:
    """Where steps repeat, in their order: the first step, the steps of a block, how many blocks.
    What saves most lines is taken first, then what lies before and behind it."""
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(step, len(numbers)) for step in steps]      # quick to compare

    def within(start: int, stop: int) -> list[tuple[int, int, int]]:
        best = (0, 0, 0)
        for size in range(STEPS, min(LONGEST, (stop - start) // REPETITIONS) + 1):
            alike = 0                              # so many steps from i on are those `size` later
            for i in reversed(range(start, stop - size)):
                alike = alike + 1 if keys[i] == keys[i + size] else 0
                if alike >= size * (REPETITIONS - 1):
                    best = max(best, (alike // size * size, -size, -i))    # the first of the best
        saved, size, first = best[0], -best[1], -best[2]
        if not saved:
            return []
        starts = [first]                           # of blocks that are as many
        while starts[-1] + saved + size < stop and (
                keys[starts[-1] + saved] == keys[starts[-1] + saved + size]):
            starts.append(starts[-1] + 1)
        first = max(starts, key=lambda i: len(common_path(layers[i:i + size])))
        return [*within(start, first), (first, size, saved // size + 1),
                *within(first + saved + size, stop)]
    return within(0, len(keys))


def common_path(layers: Sequence[str]) -> str:
    """The layer that these layers are in: "encoder.0" of encoder.0.norm and encoder.0.linear."""
    levels = zip(*(layer.split(".") for layer in layers), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len({*names}) == 1, levels))


def outline(name: str, repetitions: Sequence[Sequence[Cut]]) -> tuple[Block, list[Line]]:
    """The function of these repetitions, and the call of each.

    Holes that have the same filling in each repetition are one parameter; a weight or a number that
    is the same in all of them is none.
    """
    texts = [text for c in repetitions[0] for text in c.arguments]
    kinds = [kind for text in texts for kind in HOLE.findall(text)]
    holes = list(zip(*([f for c in own for f in c.filling] for own in repetitions), strict=True))
    known = dict.fromkeys(n for text in texts for n in NAME.findall(HOLE.sub("", text))
                          if n not in WORDS)
    varying: dict[tuple[str, ...], str] = {}
    for kind in "pwn":
        of_kind = dict.fromkeys(h for k, h in zip(kinds, holes, strict=True)
                                if k == kind and (kind == "p" or len(set(h)) > 1))
        varying |= {hole: f"{kind}{i}" for i, hole in enumerate(of_kind)}
    names = iter([varying.get(hole, hole[0]) for hole in holes])
    lines = tuple(replace(c.line, phase=i, arguments=tuple(
                      HOLE.sub(lambda _: next(names), text) for text in c.arguments))
                  for i, c in enumerate(repetitions[0]))
    calls = []
    for i, own in enumerate(repetitions):
        layer = common_path([c.line.layer for c in own])
        where = f"{layer}: " if PLAIN.fullmatch(layer) else ""
        calls.append(Line(own[0].line.phase, layer, "",
                          f"# {where}{own[0].line.result} to {own[-1].line.result}", name,
                          (*known, *(hole[i] for hole in varying))))
    about = (f"{len(calls)} times, {repetitions[0][0].line.result} to "
             f"{repetitions[-1][-1].line.result}; the comments are the first time's.")
    return Block(name, about, (*known, *varying.values()), lines), calls
