"""What the outputs of a contender have to be, and the comparison with them.

The right outputs are those of the float64 interpreter. How far a contender may be from them is a
share of the largest value of an output; where the terms of an output cancel, so that all of its
values are small beside them, it is what the references themselves are off in the graph's own type.
"""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

import ir
from ir import Graph
from ir.records import replace
from ir.types import NDArray
from nncompile.errors import Error

RTOL = 2e-5              # float32 sums of some thousand terms pass
_ROUNDINGS = 32          # the largest error of many, in any order, over the references' median


class Tolerance(NamedTuple):
    """How far outputs may be from the right ones.

    rtol: of the largest value of an output. atol: what is allowed beside it; None: what rounding
    makes of the graph, which is 32 times the median error of the references in its own types.
    """

    rtol: float = RTOL
    atol: float | None = None


class Wrong(Error):
    """Outputs that differ from those of the float64 interpreter."""


class Expected(NamedTuple):
    """An output as the float64 interpreter has it, and how far a right one may be from it."""

    array: NDArray
    within: float

    @staticmethod
    def near(array: NDArray, rtol: float = RTOL, atol: float = 0.0) -> Expected:
        """Returns an output whose numbers may be off by atol, and by rtol of the largest of them.
        """
        return Expected(array, atol + rtol * float(np.abs(_numbers(array)).max(initial=0.0)))


def expected_outputs(graph: Graph, sets: Sequence[Sequence[NDArray]],
                     tolerance: Tolerance | None = None) -> list[list[Expected]]:
    """Returns the outputs that each set of inputs has to give."""
    rtol, atol = tolerance or Tolerance()
    with np.errstate(all="ignore"):
        exact = [ir.interpret(graph, arrays, np.float64) for arrays in sets]
        also = [atol] * len(graph.outputs) if atol is not None else [
            _ROUNDINGS * error for error in _errors(graph, sets, exact)]
    return [[Expected.near(array, rtol, more) for array, more in zip(outputs, also, strict=True)]
            for outputs in exact]


def _errors(graph: Graph, sets: Sequence[Sequence[NDArray]], exact: Sequence[Sequence[NDArray]]
            ) -> list[float]:
    """The median error of each output: the largest of the sets, and of one that is a rounding off.

    The last is for a graph of few outputs, whose errors may be 0 by chance.
    """
    rounded = [ir.interpret(graph, arrays) for arrays in sets]
    random = np.random.default_rng(0)
    off = replace(graph, data={v: _rounding_off(a, random) for v, a in graph.data.items()})
    with suppress(ir.Error):                     # of an index that is out of its table now
        rounded.append(ir.interpret(off, [_rounding_off(a, random) for a in sets[0]]))
    each = [[_median_error(*pair) for pair in zip(found, right, strict=True)]
            for found, right in zip(rounded, [*exact, exact[0]], strict=False)]
    return [max(errors) for errors in zip(*each, strict=True)]


def _rounding_off(array: NDArray, random: np.random.Generator) -> NDArray:
    if array.dtype.kind != "f":
        return array
    signs = random.choice([-1.0, 1.0], array.shape)
    found: NDArray = (array * (1 + signs * np.finfo(array.dtype).eps)).astype(array.dtype)
    return found


def _median_error(found: NDArray, exact: NDArray) -> float:
    if exact.dtype.kind != "f":
        return 0.0
    error: NDArray = np.abs(found.astype(np.float64) - exact)
    error = error[np.isfinite(error)]
    return float(np.median(error)) if error.size else 0.0


def _numbers(array: NDArray) -> NDArray:
    """The finite numbers; also those of bools, which have no difference, and unsigned integers."""
    found: NDArray = array[np.isfinite(array)].astype(np.float64)
    return found


def check(got: Sequence[object], expected: Sequence[Expected]) -> None:
    """Raises Wrong unless the outputs are as near as they have to be."""
    for number, (given, (exact, within)) in enumerate(zip(got, expected, strict=True)):
        y = np.asarray(given)
        if y.shape != exact.shape:
            raise Wrong(f"output {number} has the shape {y.shape}, not {exact.shape}")
        finite = np.isfinite(exact)
        if not np.array_equal(y[~finite], exact[~finite].astype(y.dtype), equal_nan=True):
            raise Wrong(f"output {number} has other infinities and NaNs")
        numbers = _numbers(exact)
        error = np.abs(y[finite].astype(np.float64) - numbers).max(initial=0.0)
        if not error <= within:                  # not `>`: the error may be NaN
            largest = np.abs(numbers).max(initial=0.0)
            raise Wrong(f"output {number} is off by {error:.1e}, and may be by {within:.1e}, with "
                        f"values up to {largest:.1e}")
