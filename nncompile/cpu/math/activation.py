"""Activations, made of the rest.  Those whose parts cancel or round in float32 are computed in
float64.  What they are at NaN and the infinities is as ir's references (ir/ops/elementwise.py)."""
from __future__ import annotations

from nncompile.cpu.lanes import Emit, Value
from nncompile.cpu.math.exponential import exp, exp_parts, expm1, sigmoid
from nncompile.cpu.math.logarithm import log1p
from nncompile.cpu.math.parts import clamp, in_double, scale, size, two_product, with_sign_of

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
LEAST = -800.0                             # silu and mish are -0.0 from here down
LARGE = 1e30                               # softsign is 1 from here up


def relu(e: Emit, x: Value) -> Value:
    return e.larger(e.const(0.0), x)                                       # NaN stays NaN


def silu(e: Emit, x: Value) -> Value:
    """x sigmoid(x); in float32 with a correction that needs fma, else in float64."""
    x = e.larger(e.const(LEAST), x)                                        # -inf * 0 would be NaN
    return _silu_corrected(e, x) if e.dtype == "f32" and e.target.fma else _silu(e, x)


def _silu_corrected(e: Emit, x: Value) -> Value:
    """With p = exp(-|x|), x / (1 + p), or x p / (1 + p) for negative x.

    What 1 + p, x p and the quotient lose by rounding is put back, to first order.  x is multiplied
    before p is scaled, so that what is denormal is rounded once."""
    b, one = e.b, e.const(1.0)
    least = e.const(-120.0)                                                # 800 exp(-120) is 0
    mantissa, exponent = exp_parts(e, e.larger(least, b.fneg(size(e, x))))
    p = scale(e, mantissa, exponent)
    whole = b.fadd(one, p)
    lost = b.fsub(p, b.fsub(whole, one))
    negative = b.fcmp_ordered("<", x, e.const(0.0))
    product, product_rest = two_product(e, x, mantissa)
    number = b.select(negative, scale(e, product, exponent), x)
    number_rest = b.select(negative, scale(e, product_rest, exponent), e.const(0.0))
    inverse = b.fdiv(one, whole)
    quotient = b.fmul(number, inverse)
    rest = b.fadd(e.fma(b.fneg(quotient), whole, number), number_rest)
    rest = e.fma(b.fneg(quotient), lost, rest)
    y = with_sign_of(e, e.fma(rest, inverse, quotient), x)
    return b.select(b.fcmp_ordered(">", x, e.const(40.0)), x, y)           # inf - inf would be NaN


@in_double
def _silu(e: Emit, x: Value) -> Value:
    return _or_tail(e, x, e.b.fmul(x, sigmoid(e, x)))


@in_double
def mish(e: Emit, x: Value) -> Value:
    """x tanh(log(1 + exp(x))) = x n / (n + d), where with p = exp(-|x|) n is 1 + 2p and d 2p^2, or
    for negative x p^2 + 2p and 2."""
    b, two = e.b, e.const(2.0)
    x = e.larger(e.const(LEAST), x)
    p = exp(e, b.fneg(size(e, x)))
    negative = b.fcmp_ordered("<", x, e.const(0.0))
    twice = b.fadd(p, p)
    n = b.select(negative, e.fma(p, p, twice), b.fadd(twice, e.const(1.0)))
    d = b.select(negative, two, b.fmul(two, b.fmul(p, p)))
    return _or_tail(e, x, b.fmul(x, b.fdiv(n, b.fadd(n, d))))


def _or_tail(e: Emit, x: Value, y: Value) -> Value:
    """y, but x exp(x) for x < -50, where silu and mish are that; rounded once where denormal."""
    mantissa, exponent = exp_parts(e, x)
    tail = scale(e, e.b.fmul(x, mantissa), exponent)
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(-50.0)), tail, y)


def softplus(e: Emit, x: Value, beta: Value, threshold: Value) -> Value:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    linear = e.b.fcmp_ordered(">", e.b.fmul(x, beta), threshold)
    return e.b.select(linear, x, _softplus(e, x, beta))


@in_double
def _softplus(e: Emit, x: Value, beta: Value) -> Value:
    z = e.b.fmul(x, beta)
    above = e.larger(e.const(0.0), z)
    return e.b.fdiv(e.b.fadd(above, _log1p_exp(e, z)), beta)


@in_double
def log_sigmoid(e: Emit, x: Value) -> Value:
    below = e.smaller(e.const(0.0), x)
    return e.b.fsub(below, _log1p_exp(e, x))


def _log1p_exp(e: Emit, z: Value) -> Value:
    """log(1 + exp(-|z|))"""
    return log1p(e, exp(e, e.b.fneg(size(e, z))))


def elu(e: Emit, x: Value, alpha: Value) -> Value:
    below = e.b.fmul(alpha, expm1(e, x))
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(0.0)), below, x)


@in_double
def celu(e: Emit, x: Value, alpha: Value) -> Value:
    below = e.b.fmul(alpha, expm1(e, e.b.fdiv(x, alpha)))
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(0.0)), below, x)


def selu(e: Emit, x: Value) -> Value:
    below = e.b.fmul(e.const(SELU_SCALE * SELU_ALPHA), expm1(e, x))
    above = e.b.fmul(e.const(SELU_SCALE), x)
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(0.0)), below, above)


def leaky_relu(e: Emit, x: Value, slope: Value) -> Value:
    return e.b.select(e.b.fcmp_ordered(">", x, e.const(0.0)), x, e.b.fmul(slope, x))


def hardsigmoid(e: Emit, x: Value) -> Value:
    return e.b.fdiv(clamp(e, e.b.fadd(x, e.const(3.0)), 0.0, 6.0), e.const(6.0))


def hardswish(e: Emit, x: Value) -> Value:
    return e.b.fmul(e.larger(e.const(-3.0), x), hardsigmoid(e, x))


def hardshrink(e: Emit, x: Value, bound: Value) -> Value:
    return e.b.select(e.b.fcmp_ordered("<=", size(e, x), bound), e.const(0.0), x)


def softshrink(e: Emit, x: Value, bound: Value) -> Value:
    less = e.b.fsub(x, with_sign_of(e, bound, x))
    return e.b.select(e.b.fcmp_ordered("<=", size(e, x), bound), e.const(0.0), less)


def softsign(e: Emit, x: Value) -> Value:
    """x / (1 + |x|)"""
    x = clamp(e, x, -LARGE, LARGE)                                         # inf / inf would be NaN
    return e.b.fdiv(x, e.b.fadd(e.const(1.0), size(e, x)))


def threshold(e: Emit, x: Value, bound: Value, value: Value) -> Value:
    return e.b.select(e.b.fcmp_ordered("<=", x, bound), value, x)
