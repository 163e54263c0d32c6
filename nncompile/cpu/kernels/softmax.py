"""softmax and log_softmax.  A unit is a row."""
from __future__ import annotations

import math

import numpy as np

from ir.types import FLOATS
from nncompile.cpu.kernels.kernel import (
    Arguments,
    Kernel,
    Values,
    check_dtype,
    make,
    name_for,
    signature,
    strided,
)
from nncompile.cpu.kernels.rows import WAYS, Term, fold_row, for_row, row_units
from nncompile.cpu.lanes import Emit, Value
from nncompile.cpu.math import exp
from nncompile.cpu.math import log as logarithm


def softmax(scaled: bool, dtype: str = "f32", log: bool = False) -> Kernel:
    """y[i] = softmax(x[i] * scale) over the last dim, or its logarithm; y may be x itself.

        softmax(x, ldx, y, ldy, rows, N)
        softmax_scaled(x, ldx, y, ldy, rows, N, scale)       scale points to one number
        log_softmax_scaled_f64(x, ldx, y, ldy, rows, N, scale)

    As torch does, a row with a NaN or +inf, or of -inf alone, is NaN.
    """
    check_dtype("softmax", dtype, FLOATS)
    types = signature(f"x:{dtype} ldx y:{dtype} ldy rows N" + f" scale:{dtype}" * scaled)
    name = name_for("log_" * log + "softmax" + "_scaled" * scaled, dtype)
    units = row_units(_log_softmax_row if log else _softmax_row, x=dtype, y=dtype)

    def plain(a: Values) -> None:
        _softmax_plain(a, log)

    return make(name, types, units, plain, dtype)


def _softmax_row(e: Emit, a: Arguments) -> None:
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
    b, N, y = e.b, a["N"], a["y"]
    score, top = _scores(e, a)

    def exponential(index: Value, mask: Value | None) -> Value:
        return exp(e, b.fsub(score(index, mask), top))

    total = logarithm(e, fold_row(e, N, exponential, b.fadd, e.const(0.0), ways=1))

    def normalize(index: Value, mask: Value | None) -> None:
        value = b.fsub(b.fsub(score(index, mask), top), total)
        e.store(value, e.at(y, index), mask)

    for_row(e, N, normalize)


def _scores(e: Emit, a: Arguments) -> tuple[Term, Value]:
    """The scaled elements of a row, and the largest of them."""
    scale = e.broadcast(a["scale"]) if "scale" in a else None

    def score(index: Value, mask: Value | None) -> Value:
        value = e.load(e.at(a["x"], index), mask)
        return value if scale is None else e.b.fmul(value, scale)

    return score, fold_row(e, a["N"], score, e.maximum, e.const(-math.inf), ways=WAYS)


def _softmax_plain(a: Values, log: bool) -> None:
    rows, N = a["rows"], a["N"]
    if N == 0:
        return
    value = strided(a["x"], (rows, N), (a["ldx"], 1))
    value = value * a["scale"][0] if "scale" in a else value
    with np.errstate(invalid="ignore"):
        value = value - value.max(axis=1, keepdims=True)
    power = np.exp(value)
    total = power.sum(axis=1, keepdims=True)
    y = strided(a["y"], (rows, N), (a["ldy"], 1))
    y[...] = value - np.log(total) if log else power / total
