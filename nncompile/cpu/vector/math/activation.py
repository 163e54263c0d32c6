"""Activation functions, composed of the other functions.

The polynomials come from tools/coefficients.py. Values at NaN and infinities are those of ir's
references (ir/ops/elementwise.py).
"""
from __future__ import annotations

from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.exponential import exp_in_two, expm1, times_sigmoid
from nncompile.cpu.vector.math.floats import Sum, in_double, ordered_sum, two_product

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_FAR = 800.0                               # silu and mish are x from here up, -0.0 from -800 down
_LARGE = 1e30                              # softsign is 1 from here up

# (1 - log(1 + p) / p) / p for 0 <= p <= 1, in powers of p - 1/2
_LOG_RATIO = {"f32": (0.37813955545425415, -0.1792249083518982, 0.09323247522115707,
                      -0.051088541746139526, 0.02889113873243332, -0.016656504943966866,
                      0.010265910997986794, -0.006951711140573025, 0.003171068849042058),
              "f64": (0.3781395675673424, -0.17922493693603653, 0.0932303663636977,
                      -0.051083446105597174, 0.028943183160898694, -0.016788742474342987,
                      0.009909900931454588, -0.0059290122087137815, 0.0035856609565145196,
                      -0.0021876343824754102, 0.0013445805520089585, -0.0008314987168552505,
                      0.000516166449241091, -0.00032236837193372325, 0.00020650866041071594,
                      -0.00013000268852996185, 6.72657532705992e-05, -4.250000048132904e-05,
                      5.484361090384387e-05, -3.496499999517753e-05)}


def relu(e: Emit, x: Value) -> Value:
    """Emits max(x, 0), of which NaN stays NaN."""
    return e.larger(e.const(0.0), x)                                       # NaN stays NaN


def silu(e: Emit, x: Value) -> Value:
    """Emits x sigmoid(x); x is limited from below, since -inf * 0 would be NaN."""
    inside = e.larger(e.const(-_FAR), x)                                   # -inf * 0 would be NaN
    return _or_itself(e, x, times_sigmoid(e, inside, inside))


def mish(e: Emit, x: Value) -> Value:
    """Emits x tanh(log(1 + exp(x))) as a quotient.

    With p = exp(-|x|) it is x n / d with n = 2p + 1 and d = n + 2p^2 for x >= 0, and x p n / d with
    n = p + 2 and d = n + p^2 + p for negative x. The rounding errors of all terms are carried along
    and corrected in the quotient to first order; a denormal result is rounded once.
    """
    b, zero, one, two = e.b, e.const(0.0), e.const(1.0), e.const(2.0)
    inside = e.larger(e.const(-_FAR), x)                                   # -inf * 0 would be NaN
    negative = b.fcmp_ordered("<", x, zero)
    least = e.const(e.format.least_exp)
    mantissa, mantissa_rest, exponent = exp_in_two(e, e.larger(least, b.fneg(e.fabs(x))))
    p = e.scale(mantissa, exponent)
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
    y = e.scale(e.fma(rest, inverse, y), b.select(negative, exponent, zero))
    return _or_itself(e, x, y)


def _or_itself(e: Emit, x: Value, y: Value) -> Value:
    """Returns y, but x above `_FAR`, where silu and mish equal x; with the sign of x, for -0.0."""
    y = e.b.select(e.b.fcmp_ordered(">", x, e.const(_FAR)), x, y)          # NaN at inf
    return e.copysign(y, x)


def softplus(e: Emit, x: Value, beta: Value, threshold: Value) -> Value:
    """Emits log(1 + exp(beta x)) / beta, and x where beta x is above the threshold.

    For positive beta x it is x + log(1 + exp(-beta x)) / beta. beta x is a product of two parts,
    since the exponential magnifies its rounding error.
    """
    b, zero = e.b, e.const(0.0)
    z, rest = two_product(e, x, beta)
    inside = b.fcmp_ordered("<", e.fabs(z), e.const(-e.format.least_exp))
    rest = b.select(inside, rest, zero)                                    # may be inf - inf
    part, part_rest = _log_of_one_plus_exp(e, z, rest, beta)
    above = b.select(b.fcmp_ordered(">", z, zero), x, zero)
    y = b.fadd(part, b.fadd(above, part_rest))
    return b.select(b.fcmp_ordered(">", z, threshold), x, y)


def log_sigmoid(e: Emit, x: Value) -> Value:
    """Emits log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|))."""
    part, part_rest = _log_of_one_plus_exp(e, x)
    return e.b.fsub(e.b.fsub(e.smaller(e.const(0.0), x), part_rest), part)


def _log_of_one_plus_exp(e: Emit, z: Value, rest: Value | None = None,
                         divisor: Value | None = None) -> Sum:
    """Returns log(1 + exp(-|z + rest|)) / divisor as a sum of two parts, for |rest| much below |z|.

    With p the exponential it is p (1 - t), where t = p polynomial(p - 1/2): the smaller p is, the
    less t and its error count. A denormal result is rounded once.
    """
    b = e.b
    if rest is not None:
        rest = b.select(b.fcmp_ordered("<", z, e.const(0.0)), rest, b.fneg(rest))
    least = e.const(e.format.least_exp)
    mantissa, mantissa_rest, exponent = exp_in_two(e, e.larger(least, b.fneg(e.fabs(z))), rest)
    p = e.scale(mantissa, exponent)
    ratio = e.polynomial(b.fsub(p, e.const(0.5)), _LOG_RATIO[e.dtype])
    t, t_rest = two_product(e, p, ratio)
    minus = b.fneg(mantissa)
    y = e.fma(minus, t, mantissa)
    y_rest = e.fma(minus, t, b.fsub(mantissa, y))                          # exact, with fma
    y_rest = e.fma(minus, t_rest, y_rest)
    y_rest = b.fadd(y_rest, e.fma(b.fneg(mantissa_rest), t, mantissa_rest))
    if divisor is not None:
        y, y_rest = _divided(e, (y, y_rest), divisor)
    return e.scale(y, exponent), e.scale(y_rest, exponent)


def _divided(e: Emit, x: Sum, divisor: Value) -> Sum:
    """Returns x / divisor by the inverse, corrected to first order.

    The divisor is often the same for all lanes, and then its inverse is computed once for many x.
    """
    b = e.b
    inverse = b.fdiv(e.const(1.0), divisor)
    y = b.fmul(x[0], inverse)
    whole, whole_rest = two_product(e, y, divisor)
    rest = b.fmul(b.fadd(b.fsub(b.fsub(x[0], whole), whole_rest), x[1]), inverse)
    is_number = b.fcmp_ordered("ord", rest, rest)                      # NaN where the divisor is 0
    return y, b.select(is_number, rest, e.const(0.0))


def elu(e: Emit, x: Value, alpha: Value) -> Value:
    """Emits x, or alpha (exp(x) - 1) where x is negative."""
    below = e.b.fmul(alpha, expm1(e, x))
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(0.0)), below, x)


@in_double
def celu(e: Emit, x: Value, alpha: Value) -> Value:
    """Emits x, or alpha (exp(x / alpha) - 1) where x is negative."""
    below = e.b.fmul(alpha, expm1(e, e.b.fdiv(x, alpha)))
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(0.0)), below, x)


def selu(e: Emit, x: Value) -> Value:
    """Emits scale x, or scale alpha (exp(x) - 1) where x is negative."""
    below = e.b.fmul(e.const(_SELU_SCALE * _SELU_ALPHA), expm1(e, x))
    above = e.b.fmul(e.const(_SELU_SCALE), x)
    return e.b.select(e.b.fcmp_ordered("<", x, e.const(0.0)), below, above)


def leaky_relu(e: Emit, x: Value, slope: Value) -> Value:
    """Emits x, or slope x where x is not positive."""
    return e.b.select(e.b.fcmp_ordered(">", x, e.const(0.0)), x, e.b.fmul(slope, x))


def hardsigmoid(e: Emit, x: Value) -> Value:
    """Emits min(max(x + 3, 0), 6) / 6."""
    return e.b.fdiv(e.clamp(e.b.fadd(x, e.const(3.0)), 0.0, 6.0), e.const(6.0))


def hardswish(e: Emit, x: Value) -> Value:
    """Emits x hardsigmoid(x); x is limited from below, since -inf * 0 would be NaN."""
    return e.b.fmul(e.larger(e.const(-3.0), x), hardsigmoid(e, x))


def hardshrink(e: Emit, x: Value, bound: Value) -> Value:
    """Emits x, or 0 where |x| <= bound."""
    return e.b.select(e.b.fcmp_ordered("<=", e.fabs(x), bound), e.const(0.0), x)


def softshrink(e: Emit, x: Value, bound: Value) -> Value:
    """Emits x moved towards 0 by the bound, or 0 where |x| <= bound."""
    less = e.b.fsub(x, e.copysign(bound, x))
    return e.b.select(e.b.fcmp_ordered("<=", e.fabs(x), bound), e.const(0.0), less)


def softsign(e: Emit, x: Value) -> Value:
    """Emits x / (1 + |x|); x is limited on both sides, since inf / inf would be NaN."""
    x = e.clamp(x, -_LARGE, _LARGE)                                       # inf / inf would be NaN
    return e.b.fdiv(x, e.b.fadd(e.const(1.0), e.fabs(x)))


def threshold(e: Emit, x: Value, bound: Value, value: Value) -> Value:
    """Emits x, or the value where x <= bound."""
    return e.b.select(e.b.fcmp_ordered("<=", x, bound), value, x)
