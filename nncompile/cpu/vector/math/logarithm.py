"""Logarithms and the inverse hyperbolic functions.

The float32 polynomial `_LOG` is a minimax fit of the relative error (least squares with Lawson's
weights, on Chebyshev points, in float64), rounded; the float64 one comes from
tools/coefficients.py.
"""
from __future__ import annotations

from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.floats import LOG2_E, in_double, two_sum

_LN2 = 0.6931471805599453
# log 2 in two parts; the first has 9 (32) bits, so that its products with exponents are exact
_LN2_HIGH = {"f32": 0.693359375, "f64": 6.93147180369123816490e-01}
_LN2_LOW = {"f32": -2.12194440e-4, "f64": 1.90821492927058770002e-10}
_LOG10_E = 0.4342944819032518
_LOG10_2_HIGH, _LOG10_2_LOW = 3.01029995663611771306e-01, 3.69423907715893078616e-13
_SQRT_HALF_BITS = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCD}           # of sqrt(1/2)

# (log(1 + t) - t + t^2/2) / t^3 for sqrt(1/2) <= 1 + t < sqrt(2)
_LOG = {"f32": (0.3333333134651184, -0.250008225440979, 0.20001226663589478, -0.16623356938362122,
                0.14201761782169342, -0.131601944565773, 0.12761549651622772, -0.07634429633617401),
        "f64": (0.33333333333333337, -0.24999999999999928, 0.1999999999999283, -0.16666666666697544,
                0.1428571428768763, -0.12499999997196132, 0.11111110901038217, -0.09999999980209863,
                0.09090920265083285, -0.08333346062843289, 0.07691979164009531,
                -0.07142201742328393, 0.0667208803343484, -0.06265506470531569,
                0.058366380030141975, -0.05364610598698728, 0.05369527763307947,
                -0.06139841344646221, 0.05684226906530608, -0.025140118603438694)}


def _reduced(e: Emit, x: Value) -> tuple[Value, Value]:
    """Returns k and t with x = 2^k (1 + t) and sqrt(1/2) <= 1 + t < sqrt(2), for positive finite x.
    """
    b, form = e.b, e.format
    lift = form.mantissa + 2
    is_tiny = b.fcmp_ordered("<", x, e.const(2.0 ** (1 - form.bias)))
    x = b.select(is_tiny, b.fmul(x, e.const(2.0 ** lift)), x)
    bits, shift = b.bitcast(x, e.ints), e.const_ints(form.mantissa)
    k = b.ashr(b.sub(bits, e.const_ints(_SQRT_HALF_BITS[e.dtype])), shift)
    m = b.bitcast(b.sub(bits, b.shl(k, shift)), e.vector)
    k = b.sitofp(b.select(is_tiny, b.sub(k, e.const_ints(lift)), k), e.vector)
    return k, b.fsub(m, e.const(1.0))


def _limits(e: Emit, x: Value, y: Value) -> Value:
    """Returns y, a logarithm of x > 0, with -inf at 0, NaN below and inf at inf."""
    b = e.b
    y = b.select(b.fcmp_ordered("<", x, e.const(float("inf"))), y, x)      # inf and NaN
    y = b.select(b.fcmp_ordered("==", x, e.const(0.0)), e.const(float("-inf")), y)
    return b.select(b.fcmp_ordered("<", x, e.const(0.0)), e.const(float("nan")), y)


def log(e: Emit, x: Value) -> Value:
    """Emits log(x) = k log 2 + log(1 + t)."""
    b = e.b
    k, t = _reduced(e, x)
    square = b.fmul(t, t)
    y = b.fmul(e.polynomial(t, _LOG[e.dtype]), b.fmul(square, t))
    y = e.fma(k, e.const(_LN2_LOW[e.dtype]), y)
    y = e.fma(square, e.const(-0.5), y)
    y = e.fma(k, e.const(_LN2_HIGH[e.dtype]), b.fadd(t, y))
    return _limits(e, x, y)


def _log_of_one_plus(e: Emit, t: Value) -> Value:
    """Returns log(1 + t) for sqrt(1/2) <= 1 + t < sqrt(2)."""
    square = e.b.fmul(t, t)
    y = e.b.fmul(e.polynomial(t, _LOG[e.dtype]), e.b.fmul(square, t))
    return e.b.fadd(t, e.fma(square, e.const(-0.5), y))


@in_double
def log2(e: Emit, x: Value) -> Value:
    """Emits log2(x) = k + log(1 + t) / log 2."""
    k, t = _reduced(e, x)
    return _limits(e, x, e.fma(_log_of_one_plus(e, t), e.const(LOG2_E), k))


@in_double
def log10(e: Emit, x: Value) -> Value:
    """Emits log10(x) = k log10(2) + log(1 + t) / log 10, with log10(2) in two parts."""
    k, t = _reduced(e, x)
    y = e.fma(k, e.const(_LOG10_2_LOW), e.b.fmul(_log_of_one_plus(e, t), e.const(_LOG10_E)))
    return _limits(e, x, e.fma(k, e.const(_LOG10_2_HIGH), y))


def log1p(e: Emit, x: Value) -> Value:
    """Emits log(1 + x) = log(u) + c / u, where u + c is 1 + x exactly."""
    b = e.b
    u, c = two_sum(e, e.const(1.0), x)
    y = b.fadd(log(e, u), b.fdiv(c, u))
    inside = b.and_(b.fcmp_ordered(">", x, e.const(-1.0)),
                    b.fcmp_ordered("<", x, e.const(float("inf"))))
    return e.copysign(b.select(inside, y, log(e, u)), x)               # -0.0 too


@in_double
def asinh(e: Emit, x: Value) -> Value:
    """Emits log(a + sqrt(a^2 + 1)) with a = |x|, as log1p of terms that do not cancel."""
    b = e.b
    a = e.fabs(x)
    square = b.fmul(a, a)
    root = e.intrinsic("sqrt", b.fadd(square, e.const(1.0)))
    near = b.fadd(a, b.fdiv(square, b.fadd(root, e.const(1.0))))
    return e.copysign(_log1p_or_log_of_twice(e, near, a), x)


@in_double
def acosh(e: Emit, x: Value) -> Value:
    """Emits log(x + sqrt(x^2 - 1)), as log1p(t + sqrt(t^2 + 2t)) with t = x - 1."""
    b = e.b
    t = b.fsub(x, e.const(1.0))
    near = b.fadd(t, e.intrinsic("sqrt", b.fmul(t, b.fadd(t, e.const(2.0)))))
    y = _log1p_or_log_of_twice(e, near, x)
    return b.select(b.fcmp_ordered("<", x, e.const(1.0)), e.const(float("nan")), y)


def _log1p_or_log_of_twice(e: Emit, near: Value, x: Value) -> Value:
    """Returns log(1 + near); log(2x) for large x, whose square may overflow."""
    b = e.b
    is_large = b.fcmp_ordered(">", x, e.const(2.0 ** 100))
    y = log1p(e, b.select(is_large, x, near))
    return b.select(is_large, b.fadd(y, e.const(_LN2)), y)


@in_double
def atanh(e: Emit, x: Value) -> Value:
    """Emits log((1 + a) / (1 - a)) / 2 = log1p(2a / (1 - a)) / 2 with a = |x|."""
    b = e.b
    a = e.fabs(x)
    y = log1p(e, b.fdiv(b.fadd(a, a), b.fsub(e.const(1.0), a)))
    return e.copysign(b.fmul(e.const(0.5), y), x)
