"""softmax, layer_norm and reduce: kernels that work along rows.  A unit is a row.

The order of every sum over a row depends on the row's length alone.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from nncompile.cpu.kernels.kernel import (
    Arguments,
    Kernel,
    Units,
    Values,
    make,
    signature,
    strided,
)
from nncompile.cpu.lanes import F32, I1, I64, Emit, Value
from nncompile.cpu.math import exp

Combine: TypeAlias = Callable[[Value, Value], Value]
Term: TypeAlias = Callable[[Value, Value | None], Value]      # (place in the row, mask) -> vector

WAYS = 4              # sums of a row kept side by side, to hide the latency of addition
SPAN = 64             # vectors a way adds up before its sum joins the total, for accuracy


# -- softmax ------------------------------------------------------------------------------------

def softmax(scaled: bool) -> Kernel:
    """y[i] = softmax(x[i] * scale) over the last dim; y may be x itself.

        softmax(x, ldx, y, ldy, rows, N)
        softmax_scaled(x, ldx, y, ldy, rows, N, scale)       scale points to one number

    As torch does, a row with a NaN or +inf, or of -inf alone, is NaN.
    """
    types = signature("x:f32 ldx y:f32 ldy rows N" + " scale:f32" * scaled)
    name = "softmax_scaled" if scaled else "softmax"
    return make(name, types, row_units(_softmax_row), _softmax_plain)


def _softmax_row(e: Emit, a: Arguments) -> None:
    b, N, x, y = e.b, a["N"], a["x"], a["y"]
    scale = e.broadcast(a["scale"]) if "scale" in a else None

    def score(index: Value, mask: Value | None) -> Value:
        value = e.load(e.at(x, index), mask)
        return value if scale is None else b.fmul(value, scale)

    top = fold_row(e, N, score, e.maximum, -math.inf, ways=WAYS)

    def exponential(index: Value, mask: Value | None) -> Value:
        value = exp(e, b.fsub(score(index, mask), top))
        e.store(value, e.at(y, index), mask)
        return value

    inverse = b.fdiv(e.const(1.0), fold_row(e, N, exponential, b.fadd, 0.0, ways=1))

    def normalize(index: Value, mask: Value | None) -> None:
        place = e.at(y, index)
        e.store(b.fmul(e.load(place, mask), inverse), place, mask)

    for_row(e, N, normalize)


def _softmax_plain(a: Values) -> None:
    rows, N = a["rows"], a["N"]
    if N == 0:
        return
    value = strided(a["x"], (rows, N), (a["ldx"], 1))
    value = value * a["scale"][0] if "scale" in a else value
    with np.errstate(invalid="ignore"):
        value = np.exp(value - value.max(axis=1, keepdims=True))
    strided(a["y"], (rows, N), (a["ldy"], 1))[...] = value / value.sum(axis=1, keepdims=True)


# -- layer_norm ---------------------------------------------------------------------------------

def layer_norm(weight: bool, bias: bool) -> Kernel:
    """y[i] = (x[i] - mean) / sqrt(variance + eps) * gamma + beta; y may be x itself.

        layer_norm(x, ldx, eps, y, ldy, rows, N)
        layer_norm_weight(x, ldx, gamma, eps, y, ldy, rows, N)
        layer_norm_weight_bias(x, ldx, gamma, beta, eps, y, ldy, rows, N)

    eps points to one number.  A row is centred on x[0], then on its mean: a large mean costs no
    accuracy, and a constant row has variance 0 exactly.  A row whose squares overflow is done again
    scaled by a power of two, which is exact.
    """
    if bias and not weight:
        raise ValueError("a layer_norm with a bias has a weight")
    types = signature("x:f32 ldx" + " gamma:f32" * weight + " beta:f32" * bias
                      + " eps:f32 y:f32 ldy rows N")
    name = "layer_norm" + "_weight" * weight + "_bias" * bias
    return make(name, types, row_units(_layer_norm_row), _layer_norm_plain)


def _layer_norm_row(e: Emit, a: Arguments) -> None:
    b, N, x, y = e.b, a["N"], a["x"], a["y"]
    length = e.splat(b.sitofp(N, F32))

    def mean(term: Term) -> Value:
        return b.fdiv(fold_row(e, N, term, b.fadd, 0.0, ways=WAYS), length)

    with _again_if_infinite(e, x, N) as attempt:
        first = b.fmul(e.broadcast(x), attempt.scale)

        def scaled(index: Value, mask: Value | None) -> Value:
            return b.fmul(e.load(e.at(x, index), mask), attempt.scale)

        centre = b.fadd(first, mean(lambda index, mask: b.fsub(scaled(index, mask), first)))
        rest = mean(lambda index, mask: b.fsub(scaled(index, mask), centre))

        def centred(index: Value, mask: Value | None) -> Value:
            return b.fsub(b.fsub(scaled(index, mask), centre), rest)

        def square(index: Value, mask: Value | None) -> Value:
            value = centred(index, mask)
            return b.fmul(value, value)

        attempt.result = mean(square)
    eps = _scaled_eps(e, e.broadcast(a["eps"]), attempt.scale)
    inverse = b.fdiv(e.const(1.0), e.intrinsic("sqrt", b.fadd(attempt.result, eps)))

    def normalize(index: Value, mask: Value | None) -> None:
        value = b.fmul(centred(index, mask), inverse)
        if "beta" in a:
            value = e.fma(value, e.load(e.at(a["gamma"], index), mask),
                          e.load(e.at(a["beta"], index), mask))
        elif "gamma" in a:
            value = b.fmul(value, e.load(e.at(a["gamma"], index), mask))
        e.store(value, e.at(y, index), mask)

    for_row(e, N, normalize)


class Attempt:
    """A computation on a row scaled by `scale`; set `result`, which tells whether it overflowed."""

    def __init__(self, scale: Value):
        self.scale = scale
        self.result: Value = None


@contextmanager
def _again_if_infinite(e: Emit, x: Value, N: Value) -> Iterator[Attempt]:
    """Emit a computation that runs once with scale 1 and, where its result is not finite, once more
    with the power of two that brings the row below 2."""
    b = e.b
    start, smaller, done = (e.function.append_basic_block(n) for n in ("start", "smaller", "done"))
    before = b.block
    b.branch(start)
    b.position_at_end(start)
    again, scale = b.phi(I1), b.phi(e.vector)
    again.add_incoming(I1(0), before)
    scale.add_incoming(e.const(1.0), before)
    attempt = Attempt(scale)
    yield attempt
    finite = b.fcmp_ordered("<", b.extract_element(attempt.result, I64(0)), F32(math.inf))
    b.cbranch(b.or_(finite, again), done, smaller)

    b.position_at_end(smaller)
    size = fold_row(e, N, lambda index, mask: e.intrinsic("fabs", e.load(e.at(x, index), mask)),
                    e.larger, 0.0, ways=1)
    new_scale = _power_of_two_below(e, size)
    again.add_incoming(I1(1), b.block)
    scale.add_incoming(new_scale, b.block)
    b.branch(start)
    b.position_at_end(done)


def _power_of_two_below(e: Emit, size: Value) -> Value:
    """2^-n <= 1 that brings numbers up to `size` below 2 (4 for the largest); 1 where they are."""
    b = e.b
    exponent = b.lshr(b.bitcast(size, e.ints), e.const_ints(23))          # biased by 127
    for limit, beyond in ((e.const_ints(127), "<"), (e.const_ints(253), ">")):
        exponent = b.select(b.icmp_signed(beyond, exponent, limit), limit, exponent)
    return b.bitcast(b.shl(b.sub(e.const_ints(254), exponent), e.const_ints(23)), e.vector)


def _scaled_eps(e: Emit, eps: Value, scale: Value) -> Value:
    """eps for a row scaled by `scale`, kept above 0 where it is: a constant row is not NaN."""
    tiny = e.smaller(eps, e.const(2.0 ** -126))
    return e.larger(tiny, e.b.fmul(e.b.fmul(eps, scale), scale))


def _layer_norm_plain(a: Values) -> None:
    rows, N = a["rows"], a["N"]
    if N == 0:
        return
    value = strided(a["x"], (rows, N), (a["ldx"], 1)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        value = value - value.mean(axis=1, keepdims=True)
    value = value / np.sqrt((value * value).mean(axis=1, keepdims=True) + a["eps"][0])
    value = value * a["gamma"][:N] if "gamma" in a else value
    value = value + a["beta"][:N] if "beta" in a else value
    strided(a["y"], (rows, N), (a["ldy"], 1))[...] = value


# -- reduce -------------------------------------------------------------------------------------

def reduce(op: str) -> Kernel:
    """y[i] = the sum, mean or max of x[i] over the last dim; y has stride 1.

        reduce_sum(x, ldx, y, rows, N)

    Of no numbers the sum is 0, the mean NaN.  The max of a row with a NaN is NaN.
    """
    if op not in ("sum", "mean", "max"):
        raise ValueError(f"no reduction {op!r}; there are sum, mean, max")

    def row(e: Emit, a: Arguments) -> None:
        b, N = e.b, a["N"]

        def element(index: Value, mask: Value | None) -> Value:
            return e.load(e.at(a["x"], index), mask)

        combine, neutral = (e.maximum, -math.inf) if op == "max" else (b.fadd, 0.0)
        value = fold_row(e, N, element, combine, neutral, ways=WAYS)
        if op == "mean":
            value = b.fdiv(value, e.splat(b.sitofp(N, F32)))
        b.store(b.extract_element(value, I64(0)), a["y"])

    def plain(a: Values) -> None:
        rows, N = a["rows"], a["N"]
        x = strided(a["x"], (rows, N), (a["ldx"], 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            value = x.max(axis=1) if op == "max" else x.sum(axis=1, dtype=np.float32)
            a["y"][:rows] = value / np.float32(N) if op == "mean" else value

    return make(f"reduce_{op}", signature("x:f32 ldx y:f32 rows N"), row_units(row), plain)


# -- along a row --------------------------------------------------------------------------------

def row_units(row: Callable[[Emit, Arguments], None]) -> Units:
    """Units of what `row` emits for one row, given the arguments with x and y moved to it.  Where y
    has rows (ldy), there is nothing to do for rows without elements."""
    def count(e: Emit, a: Arguments) -> Value:
        if "ldy" not in a:
            return a["rows"]
        return e.b.select(e.b.icmp_signed(">", a["N"], I64(0)), a["rows"], I64(0))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as loop:
            row(e, a | {"x": e.at(a["x"], e.b.mul(loop.index, a["ldx"])),
                        "y": e.at(a["y"], e.b.mul(loop.index, a.get("ldy", I64(1))))})

    return Units(count, run)


def for_row(e: Emit, N: Value, body: Callable[[Value, Value | None], None]) -> None:
    """body(place, mask) for every vector of a row; the mask is None but for the last lanes."""
    b = e.b
    whole = b.and_(N, I64(-e.width))
    with e.loop(0, whole, e.width) as loop:
        body(loop.index, None)
    with b.if_then(b.icmp_signed("<", whole, N)):
        body(whole, e.mask(b.sub(N, whole)))


def fold_row(e: Emit, N: Value, term: Term, combine: Combine, neutral: float, *,
             ways: int) -> Value:
    """The terms of a row's vectors combined into one number, in every lane of the result.

    `ways` vectors are kept side by side, over spans that are combined in a total.  Where N is not a
    multiple of the vector, the lanes outside the mask keep what they had.
    """
    b, W = e.b, e.width
    start = [e.const(neutral)] * ways
    stride, span = W * ways, W * ways * SPAN
    main, whole = b.and_(N, I64(-stride)), b.and_(N, I64(-W))
    with e.loop(0, main, span, start) as spans:
        end = e.least(main, b.add(spans.index, I64(span)))
        with e.loop(spans.index, end, stride, start) as loop:
            loop.next = [combine(value, term(b.add(loop.index, I64(way * W)), None))
                         for way, value in enumerate(loop.values)]
        spans.next = [combine(total, value) for total, value in
                      zip(spans.values, loop.values, strict=True)]
    first, *others = spans.values
    if others:
        with e.loop(main, whole, W, [first]) as loop:
            loop.next = [combine(loop.values[0], term(loop.index, None))]
        first = loop.values[0]
    before = b.block
    with b.if_then(b.icmp_signed("<", whole, N)):
        mask = e.mask(b.sub(N, whole))
        masked = b.select(mask, combine(first, term(whole, mask)), first)
        inside = b.block
    result = b.phi(e.vector)
    result.add_incoming(first, before)
    result.add_incoming(masked, inside)
    for total in others:
        result = combine(result, total)
    return e.combine_lanes(result, combine)
