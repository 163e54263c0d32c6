"""Activations, made of the rest.  The polynomials are of tools/coefficients.py.  What they are at
NaN and the infinities is as ir's references (ir/ops/elementwise.py)."""
from __future__ import annotations

from nncompile.cpu.lanes import Emit, Value
from nncompile.cpu.math.exponential import exp_in_two, expm1, times_sigmoid
from nncompile.cpu.math.parts import (
    FORMATS,
    Sum,
    clamp,
    in_double,
    ordered_sum,
    polynomial,
    scale,
    size,
    two_product,
    with_sign_of,
)

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
FAR = 800.0                                # silu and mish are x from here up, -0.0 from -800 down
LARGE = 1e30                               # softsign is 1 from here up

# (1 - p / 2 - log(1 + p) / p) / p^2 for 0 <= p <= 1
LOG_RATIO = {
    "f32": (-0.3333333134651184, 0.24999558925628662, -0.19987912476062775, 0.16535712778568268,
            -0.13549824059009552, 0.10049311816692352, -0.05858873203396797, 0.02226070687174797,
            -0.003954332321882248),
    "f64": (
        -0.33333333333333326, 0.24999999999995487, -0.1999999999939611, 0.16666666634435437,
        -0.14285713371004963, 0.12499984043959717, -0.11110924529655279, 0.09998451573259709,
        -0.09081418273711887, 0.08289101360393901, -0.07532072684311569, 0.06683699039586836,
        -0.05610211722100863, 0.0426975457903218, -0.02808100949269398, 0.015161109862183617,
        -0.00634298675578969, 0.0019065272896490522, -0.00036350903865269577,
        3.285440386575182e-05),
}


def relu(e: Emit, x: Value) -> Value:
    return e.larger(e.const(0.0), x)                                       # NaN stays NaN


def silu(e: Emit, x: Value) -> Value:
    inside = e.larger(e.const(-FAR), x)                                    # -inf * 0 would be NaN
    return _or_itself(e, x, times_sigmoid(e, inside, inside))


def mish(e: Emit, x: Value) -> Value:
    """x tanh(log(1 + exp(x))) = x n / d, where with p = exp(-|x|) n is 2p + 1 and d n + 2p^2; or
    for negative x x p n / d with n = p + 2 and d = n + p^2 + p.

    What is lost by rounding is put back, to first order, into the quotient, and what is denormal is
    rounded once."""
    b, zero, one, two = e.b, e.const(0.0), e.const(1.0), e.const(2.0)
    inside = e.larger(e.const(-FAR), x)                                    # -inf * 0 would be NaN
    negative = b.fcmp_ordered("<", x, zero)
    least = e.const(FORMATS[e.dtype].least_exp)
    mantissa, mantissa_rest, exponent = exp_in_two(e, e.larger(least, b.fneg(size(e, x))))
    p = scale(e, mantissa, exponent)
    square = b.fmul(p, p)
    n, n_rest = ordered_sum(e, b.select(negative, two, one), b.select(negative, p, b.fadd(p, p)))
    d, d_rest = ordered_sum(e, n, b.fadd(square, b.select(negative, p, square)))
    product, product_rest = two_product(e, inside, mantissa)
    product_rest = e.fma(inside, mantissa_rest, product_rest)
    factor = b.select(negative, product, inside)
    above, above_rest = two_product(e, factor, n)
    above_rest = e.fma(b.select(negative, product_rest, zero), n, above_rest)
    above_rest = e.fma(factor, n_rest, above_rest)

    inverse = b.fdiv(one, d)
    y = b.fmul(above, inverse)
    whole, whole_rest = two_product(e, y, d)
    rest = b.fadd(b.fsub(b.fsub(above, whole), whole_rest), above_rest)
    rest = e.fma(b.fneg(y), b.fadd(d_rest, n_rest), rest)
    y = scale(e, e.fma(rest, inverse, y), b.select(negative, exponent, zero))
    return _or_itself(e, x, y)


def _or_itself(e: Emit, x: Value, y: Value) -> Value:
    """y, but x from FAR up, where silu and mish are that; with the sign of x, also of -0.0."""
    y = e.b.select(e.b.fcmp_ordered(">", x, e.const(FAR)), x, y)           # NaN at inf
    return with_sign_of(e, y, x)


def softplus(e: Emit, x: Value, beta: Value, threshold: Value) -> Value:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold.

    It is x + log(1 + exp(-beta x)) / beta where beta x is positive, beta x in two parts."""
    b, zero = e.b, e.const(0.0)
    z, rest = two_product(e, x, beta)
    inside = b.fcmp_ordered("<", size(e, z), e.const(-FORMATS[e.dtype].least_exp))
    rest = b.select(inside, rest, zero)                                    # else inf - inf, maybe
    part, part_rest = _log_of_one_plus_exp(e, z, rest, beta)
    above = b.select(b.fcmp_ordered(">", z, zero), x, zero)
    y = b.fadd(part, b.fadd(above, part_rest))
    return b.select(b.fcmp_ordered(">", z, threshold), x, y)


def log_sigmoid(e: Emit, x: Value) -> Value:
    part, part_rest = _log_of_one_plus_exp(e, x)
    return e.b.fsub(e.b.fsub(e.smaller(e.const(0.0), x), part_rest), part)


def _log_of_one_plus_exp(e: Emit, z: Value, rest: Value | None = None,
                         divisor: Value | None = None) -> Sum:
    """log(1 + exp(-|z + rest|)), over the divisor; |rest| is much smaller than |z|.

    With p the exponential it is p (1 - t), t = p/2 + p^2 polynomial(p), which counts for less the
    smaller p is; what is denormal is rounded once."""
    b = e.b
    if rest is not None:
        rest = b.select(b.fcmp_ordered("<", z, e.const(0.0)), rest, b.fneg(rest))
    least = e.const(FORMATS[e.dtype].least_exp)
    mantissa, mantissa_rest, exponent = exp_in_two(e, e.larger(least, b.fneg(size(e, z))), rest)
    p = scale(e, mantissa, exponent)
    t = e.fma(b.fmul(p, p), polynomial(e, p, LOG_RATIO[e.dtype]), b.fmul(p, e.const(0.5)))
    less, less_rest = two_product(e, mantissa, b.fneg(t))
    y, y_rest = ordered_sum(e, mantissa, less)
    y_rest = b.fadd(y_rest, b.fadd(mantissa_rest, less_rest))
    if divisor is not None:
        y, y_rest = _divided(e, (y, y_rest), divisor)
    return scale(e, y, exponent), scale(e, y_rest, exponent)


def _divided(e: Emit, x: Sum, divisor: Value) -> Sum:
    """x / divisor, of whose inverse there is one for many x: it often is the same for all lanes."""
    b = e.b
    inverse = b.fdiv(e.const(1.0), divisor)
    y = b.fmul(x[0], inverse)
    whole, whole_rest = two_product(e, y, divisor)
    rest = b.fmul(b.fadd(b.fsub(b.fsub(x[0], whole), whole_rest), x[1]), inverse)
    is_number = b.fcmp_ordered("ord", rest, rest)                          # not where that is 0
    return y, b.select(is_number, rest, e.const(0.0))


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
