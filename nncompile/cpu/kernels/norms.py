"""The kernels layer_norm and rms_norm. A unit is a row.

A row whose squares overflow is computed again, scaled by a power of two, which is exact.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from ir.types import FLOATS, NDArray
from nncompile.cpu.kernels.kernel import Kernel, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, Values, strided
from nncompile.cpu.kernels.rows import WAYS, Term, fold_row, for_row, row_units
from nncompile.cpu.vector import I1, I64, Emit, Int, Value


def layer_norm(weight: bool, bias: bool, dtype: str = "f32") -> Kernel:
    """y[i] = (x[i] - mean) / sqrt(variance + eps) * gamma + beta; y may be x itself.

        layer_norm(x, ldx, eps, y, ldy, rows, N)
        layer_norm_weight(x, ldx, gamma, eps, y, ldy, rows, N)
        layer_norm_weight_bias(x, ldx, gamma, beta, eps, y, ldy, rows, N)

    eps points to one element. A row is centred on x[0] and then on its mean, so that a large mean
    costs no accuracy and a constant row has variance 0 exactly.
    """
    if bias and not weight:
        raise ValueError("a layer_norm with a bias has a weight")
    check_dtype("layer_norm", dtype, FLOATS)
    signature = (f"x:{dtype} ldx" + f" gamma:{dtype}" * weight + f" beta:{dtype}" * bias
                 + f" eps:{dtype} y:{dtype} ldy rows N")
    name = name_for("layer_norm" + "_weight" * weight + "_bias" * bias, dtype)
    return make(name, signature, row_units(_layer_norm_row), _layer_norm_plain, dtype)


def rms_norm(weight: bool, dtype: str = "f32") -> Kernel:
    """y[i] = x[i] / sqrt(mean(x[i]^2) + eps) * gamma; y may be x itself.

        rms_norm_weight(x, ldx, gamma, eps, y, ldy, rows, N)

    eps points to one element.
    """
    check_dtype("rms_norm", dtype, FLOATS)
    signature = f"x:{dtype} ldx" + f" gamma:{dtype}" * weight + f" eps:{dtype} y:{dtype} ldy rows N"
    name = name_for("rms_norm" + "_weight" * weight, dtype)
    return make(name, signature, row_units(_rms_norm_row), _rms_norm_plain, dtype)


def _layer_norm_row(e: Emit, a: Arguments) -> None:
    _normalize(e, a, layer_norm_of_row(e, a))


def layer_norm_of_row(e: Emit, a: Arguments) -> Callable[[Value], Value]:
    """Emits the statistics of the row x[:N]; returns what makes the results of elements of x.

    These are the results before weight and bias.
    """
    b, N, x = e.b, a["N"], a["x"]
    mean = _mean(e, N)
    with _again_if_infinite(e, x, N) as attempt:
        first = b.fmul(e.broadcast(x), attempt.scale)

        def scaled(index: Value, mask: Value | None) -> Value:
            return b.fmul(e.load(e.at(x, index), mask), attempt.scale)

        centre = b.fadd(first, mean(lambda index, mask: b.fsub(scaled(index, mask), first)))
        rest = mean(lambda index, mask: b.fsub(scaled(index, mask), centre))

        def centred(value: Value) -> Value:
            return b.fsub(b.fsub(b.fmul(value, attempt.scale), centre), rest)

        attempt.result = mean(_squared(
            e, lambda index, mask: centred(e.load(e.at(x, index), mask))))
    inverse = _inverse(e, a, attempt)
    return lambda value: b.fmul(centred(value), inverse)


def _rms_norm_row(e: Emit, a: Arguments) -> None:
    _normalize(e, a, rms_norm_of_row(e, a))


def rms_norm_of_row(e: Emit, a: Arguments) -> Callable[[Value], Value]:
    """Emits the statistics of the row x[:N]; see layer_norm_of_row."""
    b = e.b
    mean = _mean(e, a["N"])
    with _again_if_infinite(e, a["x"], a["N"]) as attempt:
        attempt.result = mean(_squared(e, lambda index, mask: b.fmul(
            e.load(e.at(a["x"], index), mask), attempt.scale)))
    inverse = _inverse(e, a, attempt)
    return lambda value: b.fmul(b.fmul(value, attempt.scale), inverse)


NORMS_OF_ROWS = {"layer_norm": layer_norm_of_row, "rms_norm": rms_norm_of_row}


def _mean(e: Emit, N: Int) -> Callable[[Term], Value]:
    """Returns a function that emits the mean of a row's terms."""
    length = e.splat(e.b.sitofp(e.i64(N), e.element))

    def mean(term: Term) -> Value:
        return e.b.fdiv(fold_row(e, N, term, e.b.fadd, e.const(0.0), ways=WAYS), length)
    return mean


def _squared(e: Emit, term: Term) -> Term:
    def square(index: Value, mask: Value | None) -> Value:
        value = term(index, mask)
        return e.b.fmul(value, value)
    return square


def _inverse(e: Emit, a: Arguments, attempt: _Attempt) -> Value:
    """Returns 1 / sqrt(mean square + eps), with the attempt's mean square."""
    eps = _scaled_eps(e, e.broadcast(a["eps"]), attempt.scale)
    return e.b.fdiv(e.const(1.0), e.intrinsic("sqrt", e.b.fadd(attempt.result, eps)))


def affine(e: Emit, value: Value, gamma: Value | None, beta: Value | None) -> Value:
    """Returns value * gamma + beta, of which both, or the latter, may be missing."""
    if beta is not None:
        return e.fma(value, gamma, beta)
    return value if gamma is None else e.b.fmul(value, gamma)


def _normalize(e: Emit, a: Arguments, result: Callable[[Value], Value]) -> None:
    """Emits y = result(x) * gamma + beta."""
    def normalize(index: Value, mask: Value | None) -> None:
        x, *further = (e.load(e.at(a[name], index), mask) if name in a else None
                       for name in ("x", "gamma", "beta"))
        e.store(affine(e, result(x), *further), e.at(a["y"], index), mask)

    for_row(e, a["N"], normalize)


# -- squares that overflow ------------------------------------------------------------------------

class _Attempt:
    """A computation on a row that is scaled by `scale`; its `result` tells whether it overflowed.
    """

    def __init__(self, scale: Value):
        self.scale = scale
        self.result: Value = None


@contextmanager
def _again_if_infinite(e: Emit, x: Value, N: Int) -> Iterator[_Attempt]:
    """Emits a computation that runs with scale 1, and once more where its result is not finite.

    The second time the scale is the power of two that brings the row below 2.
    """
    b = e.b
    start, smaller, done = (e.function.append_basic_block(n) for n in ("start", "smaller", "done"))
    before = b.block
    b.branch(start)
    b.position_at_end(start)
    again, scale = b.phi(I1), b.phi(e.vector)
    again.add_incoming(I1(0), before)
    scale.add_incoming(e.const(1.0), before)
    attempt = _Attempt(scale)
    yield attempt
    finite = b.fcmp_ordered("<", attempt.result, e.const(math.inf))
    b.cbranch(b.or_(b.extract_element(finite, I64(0)), again), done, smaller)

    b.position_at_end(smaller)
    size = fold_row(e, N, lambda index, mask: e.fabs(e.load(e.at(x, index), mask)),
                    e.larger, e.const(0.0), ways=1)
    new_scale = _power_of_two_below(e, size)
    again.add_incoming(I1(1), b.block)
    scale.add_incoming(new_scale, b.block)
    b.branch(start)
    b.position_at_end(done)


def _power_of_two_below(e: Emit, size: Value) -> Value:
    """Returns 2^-n <= 1 that brings numbers up to `size` below 2 (the largest below 4)."""
    b = e.b
    bias, const = e.format.bias, e.const_ints
    fraction = const(e.format.mantissa)
    exponent = b.lshr(b.bitcast(size, e.ints), fraction)                  # biased
    for limit, beyond in ((const(bias), "<"), (const(2 * bias - 1), ">")):
        exponent = b.select(b.icmp_signed(beyond, exponent, limit), limit, exponent)
    return b.bitcast(b.shl(b.sub(const(2 * bias), exponent), fraction), e.vector)


def _scaled_eps(e: Emit, eps: Value, scale: Value) -> Value:
    """Returns eps for a scaled row, above 0 where eps is, so that a constant row does not give NaN.
    """
    tiny = e.smaller(eps, e.const(2.0 ** (1 - e.format.bias)))
    return e.larger(tiny, e.b.fmul(e.b.fmul(eps, scale), scale))


# -- in numpy -------------------------------------------------------------------------------------

def _layer_norm_plain(a: Values) -> None:
    _norm_plain(a, "layer_norm")


def _rms_norm_plain(a: Values) -> None:
    _norm_plain(a, "rms_norm")


def _norm_plain(a: Values, op: str) -> None:
    rows, N = a["rows"], a["N"]
    if not N:
        return
    gamma, beta = (a[name][:N] if name in a else None for name in ("gamma", "beta"))
    x = strided(a["x"], (rows, N), (a["ldx"], 1))
    strided(a["y"], (rows, N), (a["ldy"], 1))[...] = normalized_plain(
        x, a["eps"][0], gamma, beta, op)


def normalized_plain(x: NDArray, eps: NDArray, gamma: NDArray | None, beta: NDArray | None,
                     op: str) -> NDArray:
    """Returns the norm of rows [rows, N] in NumPy, in float64."""
    value = x.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(2 if op == "layer_norm" else 0):
            value = value - value.mean(axis=1, keepdims=True)
        value = value / np.sqrt((value * value).mean(axis=1, keepdims=True) + eps)
    value = value if gamma is None else value * gamma
    return value if beta is None else value + beta
