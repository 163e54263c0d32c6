"""Outlining: calls that repeat become one function, which is generated and compiled once.

Repetitions have the same kernels and sizes; they differ in what they read and write.

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
from ir.types import Dim, DimExpr, symbol, terms
from nncompile.cpu.driver.values import (
    WEIGHTS,
    Argument,
    Formal,
    Line,
    Number,
    Outlined,
    Pointer,
    StepNumber,
    Variable,
    WholeSize,
)
from nncompile.schedule import Place
from nncompile.schedule.names import sizes_in_order

_REPETITIONS = 3      # at least so many, of at least so many steps, are worth a function
_STEPS = 2
_LONGEST = 100        # steps of a repetition; the time of the search grows with it
_UNROLLED = 8         # at least so many repetitions where offsets differ too, as in x[:, t]

_PLAIN = re.compile(r"[A-Za-z0-9_.]+")           # names of layers come from outside


class _Run(NamedTuple):
    """Repetitions that follow each other: the first step, the steps of each, how many there are."""

    first: int
    size: int
    times: int

    @property
    def stop(self) -> int:
        return self.first + self.size * self.times


def fold(lines: Sequence[Line]) -> tuple[list[Outlined], list[Line]]:
    """Finds repetitions; returns the functions made of them, and the lines that are left.

    Among these, one line calls the function for each repetition.
    """
    outlined: list[Outlined] = []
    folded: list[Line] = []
    done = 0
    layers = [line.layer for line in lines]
    for run in _unrolled(runs(list(map(_pattern, lines)), layers), lines, layers):
        repetitions = [lines[i:i + run.size] for i in range(run.first, run.stop, run.size)]
        function, calls = _outline(f"steps_{len(outlined)}", repetitions)
        outlined.append(function)
        folded += [*lines[done:run.first], *calls]
        done = run.stop
    return outlined, [*folded, *lines[done:]]


def _unrolled(found: Sequence[_Run], lines: Sequence[Line], layers: Sequence[str]
              ) -> Iterator[_Run]:
    """The runs, and between them those whose offsets differ: the steps of an unrolled loop."""
    start = 0
    for run in (*found, _Run(len(lines), 0, 0)):
        patterns = [_pattern(line, offsets=False) for line in lines[start:run.first]]
        for other in runs(patterns, layers[start:run.first], _UNROLLED):
            yield other._replace(first=start + other.first)
        if run.size:
            yield run
        start = run.stop


# -- what may differ between repetitions -----------------------------------------------------------

def _pattern(line: Line, offsets: bool = True) -> Hashable:
    """What all repetitions of a line have in common.

    That is its function and its arguments, without the parts that a parameter can stand for.
    offsets: whether those that are plain numbers have to be the same.
    """
    return line.function, tuple(_argument_pattern(a, offsets) for a in line.arguments)


def _argument_pattern(argument: Argument, offsets: bool) -> Hashable:
    if isinstance(argument, Pointer):
        free = isinstance(argument.offset, int) and not offsets
        return (_hole_kind(argument.base), argument.dtype,
                "free" if free else terms(_dim(argument.offset)))
    if isinstance(argument, int | DimExpr):
        return terms(argument)
    if isinstance(argument, WholeSize):            # no outlined function has a parameter for it
        return object()
    return _hole_kind(argument) or argument


def _dim(offset: Dim | Formal) -> Dim:
    assert not isinstance(offset, Formal)          # those are of lines that are outlined already
    return offset


def _parts(argument: Argument) -> Iterator[Argument]:
    """The parts of an argument that may differ between repetitions, the offset of a pointer last.
    """
    if not isinstance(argument, Pointer):
        if _hole_kind(argument):
            yield argument
        return
    if _hole_kind(argument.base):
        yield argument.base
    if isinstance(argument.offset, int):
        yield argument.offset


def _hole_kind(argument: Argument) -> str:
    """The kind of parameter that can stand for this: see Formal; "" if none can.

    A number that is no part of a pointer is a size, which is the same in all repetitions.
    """
    if isinstance(argument, Place):
        return "w" if argument.kind == "constant" else "p"
    return "w" if isinstance(argument, Number) else "n" if isinstance(argument, StepNumber) else ""


# -- where steps repeat ----------------------------------------------------------------------------

def runs(steps: Sequence[Hashable], layers: Sequence[str], least: int = _REPETITIONS
         ) -> list[_Run]:
    """Where steps repeat, in the order of the steps.

    steps:  two steps that are equal may be repetitions of each other.
    layers: the path of the layer of each step.
    least:  the fewest repetitions of a run.
    """
    numbers: dict[Hashable, int] = {}
    keys = [numbers.setdefault(step, len(numbers)) for step in steps]      # quick to compare
    return _runs_within(0, len(keys), keys, layers, least)


def _runs_within(start: int, stop: int, keys: Sequence[int], layers: Sequence[str], least: int
                 ) -> list[_Run]:
    """Takes the run that saves most lines, then searches before and behind it."""
    sizes = range(_STEPS, min(_LONGEST, (stop - start) // least) + 1)
    found = [run for size in sizes
             if (run := _longest_run(start, stop, keys, size, least)) is not None]
    if not found:
        return []
    run = max(found, key=lambda run: run.size * (run.times - 1))           # of equals the shortest
    run = _moved_to_layers(run, stop, keys, layers)
    return [*_runs_within(start, run.first, keys, layers, least), run,
            *_runs_within(run.stop, stop, keys, layers, least)]


def _longest_run(start: int, stop: int, keys: Sequence[int], size: int, least: int) -> _Run | None:
    """The longest run of repetitions of `size` steps; of several, the first."""
    first, times = None, least
    alike = 0                                      # so many steps from i on are those `size` later
    for i in reversed(range(start, stop - size)):
        alike = alike + 1 if keys[i] == keys[i + size] else 0
        if alike // size + 1 >= times:
            first, times = i, alike // size + 1
    return _Run(first, size, times) if first is not None else None


def _moved_to_layers(run: _Run, stop: int, keys: Sequence[int], layers: Sequence[str]) -> _Run:
    """The same number of repetitions, each within one layer if that is possible.

    Where the step behind the last repetition is again the first step of one, all of them may as
    well begin one step later.
    """
    moved = [run]
    while (end := moved[-1].stop) < stop and keys[end] == keys[end - run.size]:
        moved.append(run._replace(first=moved[-1].first + 1))
    return max(moved, key=lambda run: len(_common_path(layers[run.first:run.first + run.size])))


def _common_path(layers: Sequence[str]) -> str:
    """The innermost layer that contains these: "encoder.0" of encoder.0.norm and encoder.0.up."""
    levels = zip(*(layer.split(".") for layer in layers), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len({*names}) == 1, levels))


# -- repetitions as a function ---------------------------------------------------------------------

@dataclass(frozen=True)
class _Hole:
    """What stands at one place of the steps, in each repetition."""

    kind: str
    contents: tuple[Argument, ...]


def _outline(name: str, repetitions: Sequence[Sequence[Line]]) -> tuple[Outlined, list[Line]]:
    """One function for these repetitions, and the calls that replace them."""
    first, last = repetitions[0], repetitions[-1]
    holes = _holes_of(repetitions)
    parameters = _parameters_of(holes)
    known = list(_variables(first))
    lines = _filled(first, [parameters.get(hole, hole.contents[0]) for hole in holes])
    calls = [_call(name, own, (*known, *(hole.contents[i] for hole in parameters)))
             for i, own in enumerate(repetitions)]
    about = f"{len(calls)} times, {_span(first[0], last[-1])}; the comments are the first time's."
    return Outlined(name, about, (*known, *parameters.values()), lines), calls


def _holes_of(repetitions: Sequence[Sequence[Line]]) -> list[_Hole]:
    """All holes, in the order of the arguments."""
    contents = [[part for line in own for a in line.arguments for part in _parts(a)]
                for own in repetitions]
    return [_Hole(_hole_kind(found[0]) or "n", found) for found in zip(*contents, strict=True)]


def _parameters_of(holes: Sequence[_Hole]) -> dict[_Hole, Formal]:
    """The holes that become parameters.

    Holes with equal contents share a parameter. A constant or a number that is the same in all
    repetitions needs none.
    """
    parameters: dict[_Hole, Formal] = {}
    for kind in "pwn":
        varying = dict.fromkeys(hole for hole in holes if hole.kind == kind
                                and (kind == "p" or len({*hole.contents}) > 1))
        parameters |= {hole: Formal(kind, i) for i, hole in enumerate(varying)}
    return parameters


def _variables(lines: Sequence[Line]) -> Iterable[Argument]:
    """The variables of the caller that these lines read, in the order of their text."""
    found: dict[str, Argument] = {}
    for line in lines:
        for argument in line.arguments:
            found |= {name: a for name, a in _variables_in(argument) if name not in found}
    return found.values()


def _variables_in(argument: Argument) -> Iterator[tuple[str, Argument]]:
    if isinstance(argument, Variable):
        yield argument.name, argument
    elif isinstance(argument, Pointer):
        if _hole_kind(argument.base) == "w":
            yield WEIGHTS.name, WEIGHTS
        yield from _variables_in(_dim(argument.offset))
    elif isinstance(argument, DimExpr):
        yield from ((name, symbol(name)) for name in sizes_in_order(argument))


def _filled(lines: Sequence[Line], contents: Iterable[Argument]) -> tuple[Line, ...]:
    """The lines with these contents in their holes; phases count from 0."""
    following = iter(contents)

    def argument(old: Argument) -> Argument:
        new = [next(following) for _ in _parts(old)]
        if not isinstance(old, Pointer):
            return new[0] if new else old
        if isinstance(old.offset, int):
            offset = new.pop()
            assert isinstance(offset, int | Formal)
            old = old._replace(offset=offset)
        if new:
            base, = new
            assert isinstance(base, Place | Number | Formal)
            old = old._replace(base=base)
        return old

    return tuple(replace(line, phase=phase, arguments=tuple(map(argument, line.arguments)))
                 for phase, line in enumerate(lines))


def _call(name: str, lines: Sequence[Line], arguments: tuple[Argument, ...]) -> Line:
    """The call that replaces these lines; its comment names their layer and results."""
    layer = _common_path([line.layer for line in lines])
    where = f"{layer}: " if _PLAIN.fullmatch(layer) else ""
    comment = f"# {where}{_span(lines[0], lines[-1])}"
    return Line(lines[0].phase, layer, "", comment, name, arguments)


def _span(first: Line, last: Line) -> str:
    return f"{first.result} to {last.result}"
