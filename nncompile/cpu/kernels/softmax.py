"""The kernels softmax and log_softmax, of rows or of columns."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ir.types import FLOATS, NDArray
from nncompile.cpu.kernels.columns import Panel, Vectors, column_signature, column_units
from nncompile.cpu.kernels.kernel import Kernel, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values, strided
from nncompile.cpu.kernels.rows import WAYS, Combine, Term, fold_row, for_row, row_units
from nncompile.cpu.vector import Emit, Int, Value
from nncompile.cpu.vector.math import exp
from nncompile.cpu.vector.math import log as logarithm

ColumnTerm: TypeAlias = Callable[[Int], Vectors]                  # element k of each column
ColumnFold: TypeAlias = Callable[[ColumnTerm, Combine, Value], Vectors]

_PANEL = 4            # vectors of a panel of columns


def softmax(scaled: bool, dtype: str = "f32", log: bool = False) -> Kernel:
    """y[i] = softmax(x[i] * scale) over the last axis, or its logarithm; y may be x itself.

        softmax(x, ldx, y, ldy, rows, N)
        softmax_scaled(x, ldx, y, ldy, rows, N, scale)       scale points to one element
        log_softmax_scaled_f64(x, ldx, y, ldy, rows, N, scale)

    As in torch, a row with a NaN or +inf, or of -inf alone, is NaN. A unit is a row.
    """
    check_dtype("softmax", dtype, FLOATS)
    signature = f"x:{dtype} ldx y:{dtype} ldy rows N" + f" scale:{dtype}" * scaled
    name = name_for("log_" * log + "softmax" + "_scaled" * scaled, dtype)
    units = row_units(_log_softmax_row if log else softmax_row)

    def plain(a: Values) -> None:
        if a["N"]:
            x, y = (strided(a[r], (a["rows"], a["N"]), (a[f"ld{r}"], 1)) for r in "xy")
            y[...] = softmax_plain(x, a["scale"][0] if "scale" in a else None, log)

    return make(name, signature, units, plain, dtype)


def softmax_columns(scaled: bool, outer: int, dtype: str = "f32", log: bool = False) -> Kernel:
    """y[o, :, n] = softmax of x[o, :K, n] * scale, for outer indices o of `outer` axes; y may be x.

        softmax_columns_1(x, ldx, y, ldy, K, N, d0, x_d0, y_d0)
        log_softmax_columns_scaled_0(x, ldx, y, ldy, K, N, scale)

    A unit is `_PANEL` vectors of columns.
    """
    check_dtype("softmax", dtype, FLOATS)
    axes = OuterAxes(outer)
    signature = column_signature(dtype, axes, rows=True) + f" scale:{dtype}" * scaled
    name = name_for("log_" * log + "softmax_columns" + "_scaled" * scaled + f"_{outer}", dtype)
    units = column_units(_log_softmax_columns if log else _softmax_columns, axes, _PANEL,
                         rows=True)

    def plain(a: Values) -> None:
        if a["K"]:
            x, y = (axes.view(a, r, (a["N"], a["K"]), (1, a[f"ld{r}"])) for r in "xy")
            y[...] = softmax_plain(x, a["scale"][0] if "scale" in a else None, log)

    return make(name, signature, units, plain, dtype)


def softmax_row(e: Emit, a: Arguments) -> None:
    """Emits the softmax of the row x[:N], which goes to y."""
    b, N, y = e.b, a["N"], a["y"]
    score, top = _scores(e, a)

    def exponential(index: Value, mask: Value | None) -> Value:
        value = exp(e, b.fsub(score(index, mask), top))
        e.store(value, e.at(y, index), mask)
        return value

    total = fold_row(e, N, exponential, b.fadd, e.const(0.0), ways=1)
    inverse = b.fdiv(e.const(1.0), total)

    def normalize(index: Value, mask: Value | None) -> None:
        place = e.at(y, index)
        e.store(b.fmul(e.load(place, mask), inverse), place, mask)

    for_row(e, N, normalize)


def _log_softmax_row(e: Emit, a: Arguments) -> None:
    logarithm_of = log_softmax_of_row(e, a)

    def normalize(index: Value, mask: Value | None) -> None:
        e.store(logarithm_of(e.load(e.at(a["x"], index), mask)), e.at(a["y"], index), mask)

    for_row(e, a["N"], normalize)


def log_softmax_of_row(e: Emit, a: Arguments) -> Callable[[Value], Value]:
    """Emits the statistics of the row x[:N]; returns what makes the results of elements of x."""
    b, scaled = e.b, _scaling(e, a)
    score, top = _scores(e, a)

    def exponential(index: Value, mask: Value | None) -> Value:
        return exp(e, b.fsub(score(index, mask), top))

    total = logarithm(e, fold_row(e, a["N"], exponential, b.fadd, e.const(0.0), ways=1))
    return lambda x: b.fsub(b.fsub(scaled(x), top), total)


def _scores(e: Emit, a: Arguments) -> tuple[Term, Value]:
    """Returns the scaled elements of a row, as a term, and the largest of them."""
    scaled = _scaling(e, a)

    def score(index: Value, mask: Value | None) -> Value:
        return scaled(e.load(e.at(a["x"], index), mask))

    return score, fold_row(e, a["N"], score, e.maximum, e.const(-math.inf), ways=WAYS)


def _scaling(e: Emit, a: Arguments) -> Callable[[Value], Value]:
    """Returns what multiplies elements by the scale, where there is one."""
    if "scale" not in a:
        return lambda x: x
    scale = e.broadcast(a["scale"])
    return lambda x: e.b.fmul(x, scale)


def _softmax_columns(panel: Panel) -> None:
    softmax_of_columns(panel.e, _column_scores(panel), panel.fold, panel.store, panel.load_result,
                       lambda body: _each_row(panel, body))


def softmax_of_columns(e: Emit, score: ColumnTerm, fold: ColumnFold,
                       store: Callable[[Int, Vectors], None], load: ColumnTerm,
                       each: Callable[[Callable[[Int], None]], None]) -> None:
    """Emits the softmax of columns, whose elements k are `store`d.

    score, load: elements of the columns, and those that were stored. each: emits for every k.
    """
    tops = fold(score, e.maximum, e.const(-math.inf))

    def exponentials(k: Int) -> Vectors:
        values = [exp(e, e.b.fsub(s, top)) for s, top in zip(score(k), tops, strict=True)]
        store(k, values)
        return values

    totals = fold(exponentials, e.b.fadd, e.const(0.0))
    inverses = [e.b.fdiv(e.const(1.0), total) for total in totals]
    each(lambda k: store(k, list(map(e.b.fmul, load(k), inverses))))


def _log_softmax_columns(panel: Panel) -> None:
    score = _column_scores(panel)
    logarithms_of = log_softmax_of_columns(panel.e, score, panel.fold)
    _each_row(panel, lambda k: panel.store(k, logarithms_of(score(k))))


def log_softmax_of_columns(e: Emit, score: ColumnTerm, fold: ColumnFold
                           ) -> Callable[[Vectors], Vectors]:
    """Emits the statistics of columns of scores; returns what makes the results of scores."""
    b = e.b
    tops = fold(score, e.maximum, e.const(-math.inf))

    def exponentials(k: Int) -> Vectors:
        return [exp(e, b.fsub(s, top)) for s, top in zip(score(k), tops, strict=True)]

    totals = [logarithm(e, total) for total in fold(exponentials, b.fadd, e.const(0.0))]
    return lambda scores: list(map(b.fsub, map(b.fsub, scores, tops), totals))


def _each_row(panel: Panel, body: Callable[[Int], None]) -> None:
    with panel.e.loop(0, panel.a["K"]) as loop:
        body(loop.index)


def _column_scores(panel: Panel) -> ColumnTerm:
    """Returns the scaled elements of a row of the panel, as a term."""
    e = panel.e
    scale = e.broadcast(panel.a["scale"]) if "scale" in panel.a else None

    def score(k: Int) -> Vectors:
        values = panel.load(k)
        return values if scale is None else [e.b.fmul(value, scale) for value in values]

    return score


def softmax_plain(x: NDArray, scale: NDArray | None, log: bool) -> NDArray:
    """Returns the softmax in NumPy along the last axis of x, or its logarithm."""
    value = x if scale is None else x * scale
    with np.errstate(invalid="ignore"):
        value = value - value.max(axis=-1, keepdims=True)
    power = np.exp(value)
    total = power.sum(axis=-1, keepdims=True)
    return value - np.log(total) if log else power / total
