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
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from nncompile.cpu.objects.primitives import WORDS

REPETITIONS = 3       # at least so many, of at least so many steps, are worth a function
STEPS = 2
LONGEST = 100         # steps of a block; the time of the search grows with it

PLAIN = re.compile(r"[A-Za-z0-9_.]+")            # names of layers come from outside
NAME, WEIGHT, HOLE = re.compile(r"[A-Za-z_]\w*"), re.compile(r"W\d+"), re.compile(r"{[pwn]}")


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
    """A line whose arguments have holes where repetitions may differ: {p} for a place, {w} for a
    weight, {n} for the number of a step that may report a fault.  `filling` is the kind of each
    hole, and what was there."""

    line: Line
    arguments: tuple[str, ...]
    filling: tuple[tuple[str, str], ...]


class Run(NamedTuple):
    """Equal blocks, one behind the other: where the first begins, steps of a block, how many."""

    first: int
    size: int
    times: int

    @property
    def stop(self) -> int:
        return self.first + self.size * self.times


def fold(lines: Sequence[Line], places: Collection[str]) -> tuple[list[Block], list[Line]]:
    """The blocks among these lines, and the lines with each repetition of a block as one call."""
    cutting = Cutting(places)
    cuts = [cutting.cut(line) for line in lines]
    blocks: list[Block] = []
    folded: list[Line] = []
    done = 0
    for run in runs([(c.line.function, c.arguments) for c in cuts], [line.layer for line in lines]):
        repetitions = [cuts[i:i + run.size] for i in range(run.first, run.stop, run.size)]
        block, calls = outline(f"steps_{len(blocks)}", repetitions)
        blocks.append(block)
        folded += [*lines[done:run.first], *calls]
        done = run.stop
    return blocks, [*folded, *lines[done:]]


class Cutting:
    """Cuts lines.  Most arguments are those of another line, and are looked into once."""

    def __init__(self, places: Collection[str]) -> None:
        self.places = places
        self.known: dict[str, tuple[str, list[tuple[str, str]]]] = {}

    def cut(self, line: Line) -> Cut:
        arguments: list[str] = []
        filling: list[tuple[str, str]] = []
        before = ("", *line.arguments[:-1])        # behind `fault` is the number of the step
        for last, text in zip(before, line.arguments, strict=True):
            cut, holes = ("{n}", [("n", text)]) if last == "fault" else self.argument(text)
            arguments.append(cut)
            filling += holes
        return Cut(line, tuple(arguments), tuple(filling))

    def argument(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """An argument with its holes, and what was there."""
        if text not in self.known:
            holes: list[tuple[str, str]] = []

            def named(found: re.Match[str]) -> str:
                name = found[0]
                kind = "p" if name in self.places else "w" if WEIGHT.fullmatch(name) else ""
                if not kind:
                    return name
                holes.append((kind, name))
                return f"{{{kind}}}"

            self.known[text] = NAME.sub(named, text), holes
        return self.known[text]


# -- where steps repeat ----------------------------------------------------------------------------

def runs(steps: Sequence[Hashable], layers: Sequence[str]) -> list[Run]:
    """Where steps repeat, in their order."""
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(step, len(numbers)) for step in steps]      # quick to compare
    return runs_within(0, len(keys), keys, layers)


def runs_within(start: int, stop: int, keys: Sequence[int], layers: Sequence[str]) -> list[Run]:
    """What saves most lines is taken first, then what lies before and behind it."""
    sizes = range(STEPS, min(LONGEST, (stop - start) // REPETITIONS) + 1)
    found = [run for size in sizes if (run := longest_run(start, stop, keys, size)) is not None]
    if not found:
        return []
    run = max(found, key=lambda run: run.size * (run.times - 1))           # of equals the shortest
    run = moved_to_layers(run, stop, keys, layers)
    return [*runs_within(start, run.first, keys, layers), run,
            *runs_within(run.stop, stop, keys, layers)]


def longest_run(start: int, stop: int, keys: Sequence[int], size: int) -> Run | None:
    """The most blocks of so many steps that follow each other; of equals the first."""
    first, times = None, REPETITIONS
    alike = 0                                      # so many steps from i on are those `size` later
    for i in reversed(range(start, stop - size)):
        alike = alike + 1 if keys[i] == keys[i + size] else 0
        if alike // size + 1 >= times:
            first, times = i, alike // size + 1
    return Run(first, size, times) if first is not None else None


def moved_to_layers(run: Run, stop: int, keys: Sequence[int], layers: Sequence[str]) -> Run:
    """As many blocks, from where the first is most of all within one layer.  Where the step behind
    the last block is again a block's first, all blocks may as well begin a step later."""
    moved = [run]
    while (end := moved[-1].stop) < stop and keys[end] == keys[end - run.size]:
        moved.append(run._replace(first=moved[-1].first + 1))
    return max(moved, key=lambda run: len(common_path(layers[run.first:run.first + run.size])))


def common_path(layers: Sequence[str]) -> str:
    """The layer that these layers are in: "encoder.0" of encoder.0.norm and encoder.0.linear."""
    levels = zip(*(layer.split(".") for layer in layers), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len({*names}) == 1, levels))


# -- repetitions as a function ---------------------------------------------------------------------

class Hole(NamedTuple):
    """What a hole is filled with in each repetition."""

    kind: str
    texts: tuple[str, ...]


def outline(name: str, repetitions: Sequence[Sequence[Cut]]) -> tuple[Block, list[Line]]:
    """The function of these repetitions, and the call of each."""
    first, last = repetitions[0], repetitions[-1]
    holes = holes_of(repetitions)
    parameters = parameters_of(holes)
    known = names_outside_holes(first)
    lines = filled(first, [parameters.get(hole, hole.texts[0]) for hole in holes])
    calls = [call(name, own, (*known, *(hole.texts[i] for hole in parameters)))
             for i, own in enumerate(repetitions)]
    about = f"{len(calls)} times, {span(first[0], last[-1])}; the comments are the first time's."
    return Block(name, about, (*known, *parameters.values()), lines), calls


def holes_of(repetitions: Sequence[Sequence[Cut]]) -> list[Hole]:
    """The holes of a block, in their order."""
    fillings = [[pair for c in own for pair in c.filling] for own in repetitions]
    return [Hole(pairs[0][0], tuple(text for _, text in pairs))
            for pairs in zip(*fillings, strict=True)]


def parameters_of(holes: Sequence[Hole]) -> dict[Hole, str]:
    """The holes that are parameters, by their names: those filled alike are one parameter; a weight
    or a number that is the same in all repetitions is none."""
    parameters: dict[Hole, str] = {}
    for kind in "pwn":
        varying = dict.fromkeys(hole for hole in holes if hole.kind == kind
                                and (kind == "p" or len({*hole.texts}) > 1))
        parameters |= {hole: f"{kind}{i}" for i, hole in enumerate(varying)}
    return parameters


def names_outside_holes(cuts: Sequence[Cut]) -> list[str]:
    """The variables that a block reads and that are the same for all repetitions."""
    texts = [HOLE.sub("", text) for c in cuts for text in c.arguments]
    names = dict.fromkeys(name for text in texts for name in NAME.findall(text))
    return [name for name in names if name not in WORDS]


def filled(cuts: Sequence[Cut], texts: Iterable[str]) -> tuple[Line, ...]:
    """The lines of a block, with these texts in its holes."""
    following = iter(texts)
    return tuple(replace(c.line, phase=phase, arguments=tuple(
                     HOLE.sub(lambda _: next(following), text) for text in c.arguments))
                 for phase, c in enumerate(cuts))


def call(name: str, cuts: Sequence[Cut], arguments: tuple[str, ...]) -> Line:
    """The call that stands for these lines, under their layer and results."""
    layer = common_path([c.line.layer for c in cuts])
    where = f"{layer}: " if PLAIN.fullmatch(layer) else ""
    return Line(cuts[0].line.phase, layer, "", f"# {where}{span(cuts[0], cuts[-1])}", name,
                arguments)


def span(first: Cut, last: Cut) -> str:
    return f"{first.line.result} to {last.line.result}"
