"""softmax, layer_norm and reduce: kernels that work along rows.  A unit is a row.

The order of every sum over a row depends on the row's length alone.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from nncompile.cpu.kernels.kernel import (
    Arguments,
    Array,
    Kernel,
    Units,
    emit_entry_points,
    strided,
)
from nncompile.cpu.lanes import F32, I1, I64, Emit, Value
from nncompile.cpu.math import exp
from nncompile.cpu.target import Target

Combine: TypeAlias = Callable[[Value, Value], Value]
Term: TypeAlias = Callable[[Value, Value | None], Any]        # (place in the row, mask) -> vectors

WAYS = 4              # sums of a row kept side by side, to hide the latency of addition
SPAN = 64             # vectors a way adds up before its sum joins the total, for accuracy


def softmax(scaled: bool) -> Kernel:
    """y[i] = softmax(x[i] * scale) over the last dim; y may be x itself.

        softmax(x, ldx, y, ldy, rows, N)
        softmax_scaled(x, ldx, y, ldy, rows, N, scale)       scale points to one number

    As torch does, a row with a NaN or +inf, or of -inf alone, is NaN.
    """
    name = "softmax_scaled" if scaled else "softmax"
    arguments = ("x", "ldx", "y", "ldy", "rows", "N", *["scale"] * scaled)

    def row(e: Emit, a: Arguments) -> None:
        b, x, y = e.b, a["x"], a["y"]
        scale = e.broadcast(a["scale"]) if scaled else None

        def scores(index: Value, mask: Value | None) -> Value:
            value = e.load(e.at(x, index), mask)
            return value if scale is None else b.fmul(value, scale)

        top = fold_row(e, a["N"], scores, e.maximum, e.const(-math.inf), ways=WAYS)

        def exponential(index: Value, mask: Value | None) -> Value:
            value = exp(e, b.fsub(scores(index, mask), top))
            e.store(value, e.at(y, index), mask)
            return value

        total = fold_row(e, a["N"], exponential, b.fadd, e.const(0.0), ways=1)
        inverse = b.fdiv(e.const(1.0), total)

        def normalize(index: Value, mask: Value | None) -> None:
            place = e.at(y, index)
            e.store(b.fmul(e.load(place, mask), inverse), place, mask)

        for_row(e, a["N"], normalize)

    def python(x: Array, ldx: int, y: Array, ldy: int, rows: int, N: int,
               scale: Array | None = None) -> None:
        if N:
            value = strided(x, (rows, N), (ldx, 1)) * (1 if scale is None else scale[0])
            with np.errstate(invalid="ignore"):
                value = np.exp(value - value.max(axis=1, keepdims=True))
            strided(y, (rows, N), (ldy, 1))[...] = value / value.sum(axis=1, keepdims=True)

    return row_kernel(name, arguments, "pipiii" + "p" * scaled, row, python)


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
    name = "layer_norm" + "_weight" * weight + "_bias" * bias
    arguments = ("x", "ldx", *["gamma"] * weight, *["beta"] * bias,
                 "eps", "y", "ldy", "rows", "N")

    def row(e: Emit, a: Arguments) -> None:
        b, x, y, N = e.b, a["x"], a["y"], a["N"]
        length = e.splat(b.sitofp(N, F32))

        def mean(term: Term) -> Value:
            return b.fdiv(fold_row(e, N, term, b.fadd, e.const(0.0), ways=WAYS), length)

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

            attempt.result = variance = mean(square)
        eps = _scaled_eps(e, e.broadcast(a["eps"]), attempt.scale)
        inverse = b.fdiv(e.const(1.0), e.intrinsic("sqrt", b.fadd(variance, eps)))

        def normalize(index: Value, mask: Value | None) -> None:
            value = b.fmul(centred(index, mask), inverse)
            if bias:
                value = e.fma(value, e.load(e.at(a["gamma"], index), mask),
                              e.load(e.at(a["beta"], index), mask))
            elif weight:
                value = b.fmul(value, e.load(e.at(a["gamma"], index), mask))
            e.store(value, e.at(y, index), mask)

        for_row(e, N, normalize)

    def python(*values: Any) -> None:
        a = dict(zip(arguments, values, strict=True))
        rows, N = a["rows"], a["N"]
        if N == 0:
            return
        value = strided(a["x"], (rows, N), (a["ldx"], 1)).astype(np.float64)
        value = value - value.mean(axis=1, keepdims=True)
        variance = (value * value).mean(axis=1, keepdims=True)
        value = value / np.sqrt(variance + a["eps"][0])
        value = value * (a["gamma"][:N] if weight else 1) + (a["beta"][:N] if bias else 0)
        strided(a["y"], (rows, N), (a["ldy"], 1))[...] = value

    types = "pi" + "p" * weight + "p" * bias + "ppiii"
    return row_kernel(name, arguments, types, row, python)


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
                    e.larger, e.const(0.0), ways=1)
    again.add_incoming(I1(1), b.block)
    scale.add_incoming(_power_of_two_below(e, size), b.block)
    b.branch(start)
    b.position_at_end(done)


def _power_of_two_below(e: Emit, size: Value) -> Value:
    """2^-n <= 1 that brings numbers up to `size` below 2 (4 for the largest); 1 where they are."""
    b = e.b
    exponent = b.lshr(b.bitcast(size, e.ints), e.const_ints(23))          # biased by 127
    for limit, beyond in ((127, "<"), (253, ">")):
        limit = e.const_ints(limit)
        exponent = b.select(b.icmp_signed(beyond, exponent, limit), limit, exponent)
    return b.bitcast(b.shl(b.sub(e.const_ints(254), exponent), e.const_ints(23)), e.vector)


def _scaled_eps(e: Emit, eps: Value, scale: Value) -> Value:
    """eps for a row scaled by `scale`, kept above 0 where it is: a constant row is not NaN."""
    tiny = e.smaller(eps, e.const(2.0 ** -126))
    return e.larger(tiny, e.b.fmul(e.b.fmul(eps, scale), scale))


def reduce(op: str) -> Kernel:
    """y[i] = the sum, mean or max of x[i] over the last dim; y has stride 1.

        reduce_sum(x, ldx, y, rows, N)

    Of no numbers the sum is 0, the mean NaN.  The max of a row with a NaN is NaN.
    """
    if op not in ("sum", "mean", "max"):
        raise ValueError(f"no reduction {op!r}; there are sum, mean, max")
    arguments = ("x", "ldx", "y", "rows", "N")

    def row(e: Emit, a: Arguments) -> None:
        b, N = e.b, a["N"]

        def element(index: Value, mask: Value | None) -> Value:
            return e.load(e.at(a["x"], index), mask)

        if op == "max":
            value = fold_row(e, N, element, e.maximum, e.const(-math.inf), ways=WAYS)
        else:
            value = fold_row(e, N, element, b.fadd, e.const(0.0), ways=WAYS)
        if op == "mean":
            value = b.fdiv(value, e.splat(b.sitofp(N, F32)))
        b.store(b.extract_element(value, I64(0)), a["y"])

    def python(x: Array, ldx: int, y: Array, rows: int, N: int) -> None:
        value = strided(x, (rows, N), (ldx, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            total = value.max(axis=1) if op == "max" else value.sum(axis=1, dtype=np.float32)
            y[:rows] = total / np.float32(N) if op == "mean" else total

    return row_kernel(f"reduce_{op}", arguments, "pipii", row, python, elements=False)


def row_kernel(name: str, arguments: tuple[str, ...], types: str,
               row: Callable[[Emit, Arguments], None], python: Callable[..., None], *,
               elements: bool = True) -> Kernel:
    """A kernel of what `row` emits for one row, given the arguments with x and y moved to it.
    With `elements`, there is nothing to do where a row has none."""
    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as loop:
            places = {"x": e.at(a["x"], e.b.mul(loop.index, a["ldx"])),
                      "y": e.at(a["y"], e.b.mul(loop.index, a.get("ldy", I64(1))))}
            row(e, a | places)

    def count(e: Emit, a: Arguments) -> Value:
        if not elements:
            return a["rows"]
        return e.b.select(e.b.icmp_signed(">", a["N"], I64(0)), a["rows"], I64(0))

    def emit(module: Any, target: Target) -> None:
        emit_entry_points(module, target, kernel, Units(count, run))

    kernel = Kernel(name, arguments, types, emit, python)
    return kernel


# -- along a row --------------------------------------------------------------------------------

def for_row(e: Emit, N: Value, body: Callable[[Value, Value | None], None]) -> None:
    """body(place, mask) for every vector of a row; the mask is None but for the last lanes."""
    b = e.b
    whole = b.and_(N, I64(-e.width))
    with e.loop(0, whole, e.width) as loop:
        body(loop.index, None)
    with b.if_then(b.icmp_signed("<", whole, N)):
        body(whole, e.mask(b.sub(N, whole)))


def fold_row(e: Emit, N: Value, term: Term, combine: Combine, neutral: Value, *,
             ways: int) -> Value:
    """The terms of a row's vectors combined into one number, in every lane of the result.

    `ways` vectors are kept side by side, over spans that are combined in a total.  Where N is not a
    multiple of the vector, the lanes outside the mask keep what they had.
    """
    b, W = e.b, e.width
    stride, span = W * ways, W * ways * SPAN
    main, whole = b.and_(N, I64(-stride)), b.and_(N, I64(-W))
    with e.loop(0, main, span, [neutral] * ways) as spans:
        end = e.least(main, b.add(spans.index, I64(span)))
        with e.loop(spans.index, end, stride, [neutral] * ways) as loop:
            loop.next = [combine(value, term(b.add(loop.index, I64(way * W)), None))
                         for way, value in enumerate(loop.values)]
        spans.next = [combine(total, value) for total, value in
                      zip(spans.values, loop.values, strict=True)]
    totals = list(spans.values)
    if ways > 1:
        with e.loop(main, whole, W, totals[:1]) as loop:
            loop.next = [combine(loop.values[0], term(loop.index, None))]
        totals[0] = loop.values[0]
    before = b.block
    with b.if_then(b.icmp_signed("<", whole, N)):
        mask = e.mask(b.sub(N, whole))
        combined = b.select(mask, combine(totals[0], term(whole, mask)), totals[0])
        inside = b.block
    last = b.phi(e.vector)
    last.add_incoming(totals[0], before)
    last.add_incoming(combined, inside)
    result = last
    for total in totals[1:]:
        result = combine(result, total)
    return e.combine_lanes(result, combine)
