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
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from ir.records import dataclass, replace
from ir.types import DimExpr, symbol, terms
from nncompile.cpu.driver.values import (
    WEIGHTS,
    Argument,
    Block,
    Line,
    Number,
    Parameter,
    Pointer,
    StepNumber,
    Variable,
)
from nncompile.schedule import Place
from nncompile.schedule.names import sizes_in_order

REPETITIONS = 3       # at least so many, of at least so many steps, are worth a function
STEPS = 2
LONGEST = 100         # steps of a block; the time of the search grows with it

PLAIN = re.compile(r"[A-Za-z0-9_.]+")            # names of layers come from outside


class Run(NamedTuple):
    """Equal blocks, one behind the other: where the first begins, steps of a block, how many."""

    first: int
    size: int
    times: int

    @property
    def stop(self) -> int:
        return self.first + self.size * self.times


def fold(lines: Sequence[Line]) -> tuple[list[Block], list[Line]]:
    """The blocks among these lines, and the lines with each repetition of a block as one call."""
    blocks: list[Block] = []
    folded: list[Line] = []
    done = 0
    for run in runs(list(map(pattern, lines)), [line.layer for line in lines]):
        repetitions = [lines[i:i + run.size] for i in range(run.first, run.stop, run.size)]
        block, calls = outline(f"steps_{len(blocks)}", repetitions)
        blocks.append(block)
        folded += [*lines[done:run.first], *calls]
        done = run.stop
    return blocks, [*folded, *lines[done:]]


# -- what may differ between repetitions -----------------------------------------------------------

def pattern(line: Line) -> Hashable:
    """What repetitions of a line have in common: its function, and its arguments but for what a
    parameter may stand for."""
    return line.function, tuple(map(argument_pattern, line.arguments))


def argument_pattern(argument: Argument) -> Hashable:
    if isinstance(argument, Pointer):
        return hole_kind(argument.base), argument.dtype, terms(argument.offset)
    if isinstance(argument, int | DimExpr):
        return terms(argument)
    return hole_kind(argument) or argument


def hole(argument: Argument) -> Argument:
    """The part of an argument that a parameter may stand for, if hole_kind tells a kind of it."""
    return argument.base if isinstance(argument, Pointer) else argument


def hole_kind(argument: Argument) -> str:
    """"p" for a place, "w" for a constant, "n" for the number of a step; "" for anything else."""
    if isinstance(argument, Place):
        return "w" if argument.kind == "constant" else "p"
    return "w" if isinstance(argument, Number) else "n" if isinstance(argument, StepNumber) else ""


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

@dataclass(frozen=True)
class Hole:
    """What stands at one place of a block in each repetition."""

    kind: str
    contents: tuple[Argument, ...]


def outline(name: str, repetitions: Sequence[Sequence[Line]]) -> tuple[Block, list[Line]]:
    """The function of these repetitions, and the call of each."""
    first, last = repetitions[0], repetitions[-1]
    holes = holes_of(repetitions)
    parameters = parameters_of(holes)
    known = list(variables(first))
    lines = filled(first, [parameters.get(hole, hole.contents[0]) for hole in holes])
    calls = [call(name, own, (*known, *(hole.contents[i] for hole in parameters)))
             for i, own in enumerate(repetitions)]
    about = f"{len(calls)} times, {span(first[0], last[-1])}; the comments are the first time's."
    return Block(name, about, (*known, *parameters.values()), lines), calls


def holes_of(repetitions: Sequence[Sequence[Line]]) -> list[Hole]:
    """The holes of a block, in their order."""
    contents = [[hole(a) for line in own for a in line.arguments if hole_kind(hole(a))]
                for own in repetitions]
    return [Hole(hole_kind(found[0]), found) for found in zip(*contents, strict=True)]


def parameters_of(holes: Sequence[Hole]) -> dict[Hole, Parameter]:
    """The holes that are parameters: those filled alike are one parameter; a constant or a number
    that is the same in all repetitions is none."""
    parameters: dict[Hole, Parameter] = {}
    for kind in "pwn":
        varying = dict.fromkeys(hole for hole in holes if hole.kind == kind
                                and (kind == "p" or len({*hole.contents}) > 1))
        parameters |= {hole: Parameter(kind, i) for i, hole in enumerate(varying)}
    return parameters


def variables(lines: Sequence[Line]) -> Iterable[Argument]:
    """The variables of its caller that a block reads, in the order in which it is printed."""
    found: dict[str, Argument] = {}
    for line in lines:
        for argument in line.arguments:
            found |= {name: a for name, a in variables_in(argument) if name not in found}
    return found.values()


def variables_in(argument: Argument) -> Iterator[tuple[str, Argument]]:
    if isinstance(argument, Variable):
        yield argument.name, argument
    elif isinstance(argument, Pointer):
        if hole_kind(argument.base) == "w":
            yield WEIGHTS.name, WEIGHTS
        yield from variables_in(argument.offset)
    elif isinstance(argument, DimExpr):
        yield from ((name, symbol(name)) for name in sizes_in_order(argument))


def filled(lines: Sequence[Line], contents: Iterable[Argument]) -> tuple[Line, ...]:
    """The lines of a block, with these contents in its holes."""
    following = iter(contents)

    def argument(old: Argument) -> Argument:
        if not hole_kind(hole(old)):
            return old
        new = next(following)
        if isinstance(old, Pointer):
            assert isinstance(new, Place | Number | Parameter)
            return old._replace(base=new)
        return new

    return tuple(replace(line, phase=phase, arguments=tuple(map(argument, line.arguments)))
                 for phase, line in enumerate(lines))


def call(name: str, lines: Sequence[Line], arguments: tuple[Argument, ...]) -> Line:
    """The call that stands for these lines, under their layer and results."""
    layer = common_path([line.layer for line in lines])
    where = f"{layer}: " if PLAIN.fullmatch(layer) else ""
    return Line(lines[0].phase, layer, "", f"# {where}{span(lines[0], lines[-1])}", name, arguments)


def span(first: Line, last: Line) -> str:
    return f"{first.result} to {last.result}"
