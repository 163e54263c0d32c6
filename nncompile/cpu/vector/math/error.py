"""The error functions, and both forms of gelu.

Phi is the standard normal distribution function. The float32 coefficients of `_PHI` are a minimax
fit of the relative error (least squares with Lawson's weights, on Chebyshev points, in float64),
rounded; the others come from tools/coefficients.py.
"""
from __future__ import annotations

from math import sqrt

from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.exponential import exp_in_two, exp_parts, times_sigmoid
from nncompile.cpu.vector.math.floats import in_double, two_product, two_sum

# Phi(-a) exp(a^2/2) (a + shift) in powers of a / (a + shift) - centre, for 0 <= a <= end. Among
# the shifts and centres tried, these need the lowest degree and round least in Horner's rule.
_PHI = {"f32": (0.9544039964675903, -1.1028873920440674, 0.38951992988586426, 0.2682553231716156,
                -0.10649693012237549, -0.1484948694705963, -0.025386402383446693,
                0.06558751314878464, 0.10159020870923996, -0.08052080124616623),
        "f64": (0.769193049750063, -1.3307650057801135, 1.9812224638799056, -2.5082652533704364,
                2.6403258587261553, -2.211796438601925, 1.3308842751925234, -0.3831522266250934,
                -0.20425456600731395, 0.2789883211638425, -0.06080074548215384,
                -0.10191424362615972, 0.06832625148740429, 0.032611550477254996,
                -0.045371672100821894, -0.011030212381941665, 0.028386330914734637,
                0.005541067979497845, -0.01728635643488429, -0.004882988266593221,
                0.00803531317655376, 0.0036764089611100764, -0.0006659493101294684)}
_PHI_SHIFT, _PHI_CENTRE = {"f32": 2.5, "f64": 5.0}, {"f32": 0.25, "f64": 0.5}
_PHI_END = {"f32": 14.5, "f64": 39.0}      # a Phi(-a) is 0 beyond
# erf(x) / x - 1 in powers of x^2, for |x| <= 1
_ERF = {"f32": (0.12837916612625122, -0.37612637877464294, 0.11283791065216064,
                -0.026866132393479347, 0.005223783664405346, -0.0008542637806385756,
                0.00011956562229897827, -1.3909339941164944e-05, 1.0589380963210715e-06),
        "f64": (0.1283791670955126, -0.37612638903183754, 0.11283791670955126,
                -0.026866170645131252, 0.005223977625442188, -0.0008548327023450818,
                0.00012055332981786873, -1.4925650358250584e-05, 1.646211435963896e-06,
                -1.636584450650579e-07, 1.4807188745599973e-08, -1.2290488135612006e-09,
                9.421931953721263e-11, -6.7038645696110264e-12, 4.4143876160686014e-13,
                -2.565756308325045e-14, 1.0234910735667391e-15)}
# 2 sqrt(2/pi) and 0.044715 times that, each as a rounded number and its rounding error
_TANH_X = {"f32": (1.5957691669464111, -4.534068032135963e-08),
           "f64": (1.5957691216057308, -9.96930880911092e-17)}
_TANH_X3 = {"f32": (0.07135481387376785, 2.3988323966106506e-09),
            "f64": (0.07135481627260025, -6.175149918155315e-19)}
# sqrt(1/2), in the same form
_ROOT_HALF = {"f32": (0.7071067690849304, 1.2101617485882343e-08),
              "f64": (0.7071067811865476, -4.833646656726457e-17)}
_GELU_TANH_END = {"f32": 20.0, "f64": 22.5}              # gelu_tanh(-x) is 0, gelu_tanh(x) is x


def gelu(e: Emit, x: Value) -> Value:
    """Emits x Phi(x) = relu(x) - a Phi(-a) with a = |x|, since 1 + erf would cancel for negative x.

    Phi(-a) = exp(-a^2 / 2) g(a) with a smooth g. a^2 is kept in two parts, since the exponential
    magnifies its rounding error. For small |x| the float64 form rounds too often; there x (1 + erf)
    / 2 is used, which cancels little.
    """
    b = e.b
    a = e.smaller(e.const(_PHI_END[e.dtype]), e.fabs(x))                  # NaN stays NaN
    half = b.fmul(a, e.const(-0.5))
    power, exponent = exp_parts(e, *two_product(e, half, a))
    part = b.fdiv(a, b.fadd(a, e.const(_PHI_SHIFT[e.dtype])))
    tail = b.fmul(_phi(e, part), part)
    y = b.fsub(e.larger(e.const(-0.0), x), e.scale(b.fmul(tail, power), exponent))
    if e.dtype == "f32":
        return y
    twice_phi = b.fadd(e.const(1.0), _erf_near(e, b.fmul(x, e.const(sqrt(0.5)))))
    near = b.fmul(b.fmul(x, e.const(0.5)), twice_phi)
    return b.select(b.fcmp_ordered("<", a, e.const(0.5)), near, y)


def _phi(e: Emit, part: Value) -> Value:
    return e.polynomial(e.b.fsub(part, e.const(_PHI_CENTRE[e.dtype])), _PHI[e.dtype])


def gelu_tanh(e: Emit, x: Value) -> Value:
    """Emits x (1 + tanh(u)) / 2 = x sigmoid(2u), with 2u = x (c + d x^2) in two parts as in gelu.
    """
    end = _GELU_TANH_END[e.dtype]
    inside = e.larger(e.const(-end), x)                                    # -inf * 0 would be NaN
    c, c_rest = map(e.const, _TANH_X[e.dtype])
    d, d_rest = map(e.const, _TANH_X3[e.dtype])
    square, square_rest = two_product(e, inside, inside)
    cubic, cubic_rest = two_product(e, square, d)
    cubic_rest = e.fma(square_rest, d, cubic_rest)
    cubic_rest = e.fma(square, d_rest, cubic_rest)
    factor, factor_rest = two_sum(e, c, cubic)
    factor_rest = e.b.fadd(e.b.fadd(factor_rest, cubic_rest), c_rest)
    u, rest = two_product(e, inside, factor)
    y = times_sigmoid(e, inside, u, e.fma(inside, factor_rest, rest))
    y = e.b.select(e.b.fcmp_ordered(">", x, e.const(end)), x, y)           # NaN at inf
    return e.copysign(y, x)                                            # -0.0 too


def _erfc_of_size(e: Emit, a: Value) -> Value:
    """Returns erfc(a) = 2 Phi(-sqrt(2) a) for a >= 0.

    It is a polynomial over a sqrt(1/2) + shift / 2, times an exponential. The rounding errors of
    the quotient and of the exponential are corrected in their product to first order.
    """
    b, shift, root = e.b, _PHI_SHIFT[e.dtype], _ROOT_HALF[e.dtype]
    a = e.smaller(e.const(_PHI_END[e.dtype] * sqrt(0.5)), a)
    power, power_rest, exponent = exp_in_two(e, *two_product(e, b.fneg(a), a))
    above = _phi(e, b.fdiv(a, b.fadd(a, e.const(shift * sqrt(0.5)))))
    product, product_rest = two_product(e, a, e.const(root[0]))
    below, below_rest = two_sum(e, product, e.const(shift * 0.5))
    below_rest = b.fadd(below_rest, e.fma(a, e.const(root[1]), product_rest))
    quotient = b.fdiv(above, below)
    whole, whole_rest = two_product(e, quotient, below)
    rest = b.fsub(b.fsub(above, whole), e.fma(quotient, below_rest, whole_rest))
    quotient_rest = b.fdiv(rest, below)
    y, y_rest = two_product(e, quotient, power)
    y_rest = b.fadd(y_rest, e.fma(quotient, power_rest, b.fmul(quotient_rest, power)))
    return e.scale(b.fadd(y, y_rest), exponent)


def _erf_near(e: Emit, x: Value) -> Value:
    """Returns erf(x) for |x| <= 1."""
    return e.fma(e.polynomial(e.b.fmul(x, x), _ERF[e.dtype]), x, x)


def erf(e: Emit, x: Value) -> Value:
    """Emits erf(x): a polynomial for |x| < 1, and 1 - erfc(|x|) with the sign of x beyond."""
    b = e.b
    a = e.fabs(x)
    far = b.fsub(e.const(1.0), _erfc_of_size(e, a))
    is_near = b.fcmp_ordered("<", a, e.const(1.0))
    return e.copysign(b.select(is_near, _erf_near(e, a), far), x)


@in_double
def erfc(e: Emit, x: Value) -> Value:
    """Emits erfc(x): 1 - erf(x) for |x| < 1/2, and beyond erfc(|x|) or 2 - erfc(|x|)."""
    b = e.b
    a = e.fabs(x)
    tail = _erfc_of_size(e, a)
    negative = b.fcmp_ordered("<", x, e.const(0.0))
    far = b.select(negative, b.fsub(e.const(2.0), tail), tail)
    near = b.fsub(e.const(1.0), _erf_near(e, x))
    return b.select(b.fcmp_ordered("<", a, e.const(0.5)), near, far)
