"""Exponentials, hyperbolic functions and the sigmoid.

The float32 polynomials are minimax fits of the relative error (least squares with Lawson's weights,
on Chebyshev points, in float64) with coefficients rounded afterwards; the float64 ones and `_EXP2`
come from tools/coefficients.py.
"""
from __future__ import annotations

from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.floats import LOG2_E, in_double, ordered_sum, two_product
from nncompile.cpu.vector.math.table_lookup import TANH_PIECES, by_pieces, has_lookup

# log 2 in two parts; the first has 15 (32) bits, so that its products with exponents are exact
_LN2_HIGH = {"f32": 0.693145751953125, "f64": 6.93147180369123816490e-01}
_LN2_LOW = {"f32": 1.42860682030941723e-06, "f64": 1.90821492927058770002e-10}

# exp(r) for |r| <= log(2) / 2
_EXP = {"f32": (1.0, 1.0, 0.4999999403953552, 0.1666651964187622, 0.041668400168418884,
                0.008368851616978645, 0.0013814318226650357),
        "f64": (1.0, 1.0, 0.500000000000002, 0.16666666666666682, 0.04166666666647329,
                0.008333333333318461, 0.0013888888956219215, 0.00019841269893049545,
                2.4801481344570324e-05, 2.75572377367406e-06, 2.7634155490989483e-07,
                2.511120325747114e-08)}
# 2^r for |r| <= 1/2
_EXP2 = {"f32": (1.0, 0.6931471824645996, 0.24022650718688965, 0.0555032379925251,
                 0.009618054144084454, 0.0013401774922385812, 0.0001546261046314612),
         "f64": (1.0, 0.6931471805599453, 0.2402265069591017, 0.05550410866482163,
                 0.009618129107583839, 0.001333355814640465, 0.0001540353046805459,
                 1.5252733843864855e-05, 1.3215430331114442e-06, 1.0178055912546169e-07,
                 7.074582368473517e-09, 4.4560247551334643e-10)}
# (tanh(x) - x) / x^3 in powers of x^2, for |x| <= 0.625 (1)
_TANH = {"f32": (-0.3333328068256378, 0.13331441581249237, -0.05373971536755562,
                 0.020639091730117798, -0.005704990588128567),
         "f64": (-0.3333333333333333, 0.1333333333333331, -0.053968253968231523,
                 0.021869488535296695, -0.008863235512566054, 0.003592127823422879,
                 -0.0014558326516768139, 0.0005900175685254319, -0.0002390884367049363,
                 9.67910218266933e-05, -3.8991741215043214e-05, 1.541627724102249e-05,
                 -5.777484136865915e-06, 1.9216974143833895e-06, -5.122767150793262e-07,
                 9.364144622965759e-08, -8.538161901212156e-09)}
_NEAR_TANH = {"f32": 0.625, "f64": 1.0}


def exp_parts(e: Emit, x: Value, rest: Value | None = None) -> tuple[Value, Value]:
    """Returns p and a whole number n with exp(x + rest) = p 2^n, for |rest| much below |x|.

    |x| is below 128 in float32 and 1100 in float64.
    """
    r, n = _reduced(e, x, rest)
    if e.target.fma:
        return e.polynomial(r, _EXP[e.dtype]), n
    return e.b.fadd(e.const(1.0), _expm1_near(e, r)), n          # rounds less than Horner's rule


def exp_in_two(e: Emit, x: Value, rest: Value | None = None) -> tuple[Value, Value, Value]:
    """Returns what exp_parts does, with the rounding error of p as a second part."""
    r, n = _reduced(e, x, rest)
    t, one = _expm1_near(e, r), e.const(1.0)
    p = e.b.fadd(one, t)
    return p, e.b.fsub(t, e.b.fsub(p, one)), n


def _expm1_near(e: Emit, r: Value) -> Value:
    """Returns exp(r) - 1 for |r| <= log(2) / 2."""
    _, _, *further = _EXP[e.dtype]
    return e.fma(e.b.fmul(r, r), e.polynomial(r, further), r)


def _reduced(e: Emit, x: Value, rest: Value | None = None) -> tuple[Value, Value]:
    """Returns r and a whole number n with x + rest = r + n log 2 and |r| <= log(2) / 2.

    n = round((x + rest) / log 2). log 2 is in two parts, of which n times the first is exact.
    """
    b = e.b
    round_ = e.const(e.format.round)
    n = b.fsub(e.fma(x, e.const(LOG2_E), round_), round_)
    r = e.fma(n, e.const(-_LN2_HIGH[e.dtype]), x)
    if rest is not None:
        r = b.fadd(r, rest)
    return e.fma(n, e.const(-_LN2_LOW[e.dtype]), r), n


def exp(e: Emit, x: Value) -> Value:
    """Emits exp(x); overflow gives inf, and underflow denormals and then 0."""
    form = e.format
    return e.scale(*exp_parts(e, e.clamp(x, form.least_exp, form.most_exp)))


def exp2(e: Emit, x: Value) -> Value:
    """Emits 2^x as a polynomial of the distance to the nearest whole number, scaled."""
    b, form = e.b, e.format
    x = e.clamp(x, -form.bias - form.mantissa - 2.0, form.bias + 1.0)
    n = b.fsub(b.fadd(x, e.const(form.round)), e.const(form.round))
    return e.scale(e.polynomial(b.fsub(x, n), _EXP2[e.dtype]), n)


def expm1(e: Emit, x: Value) -> Value:
    """Emits exp(x) - 1 = 2^n t + (2^n - 1) with t = exp(r) - 1.

    All of it is halved and doubled at the end, since 2^n may overflow.
    """
    b, form = e.b, e.format
    r, n = _reduced(e, e.clamp(x, -40.0, form.most_exp))
    t = _expm1_near(e, r)
    half = e.const(0.5)
    power = e.power_of_two(b.fsub(n, e.const(1.0)))                       # 2^n / 2
    y = e.fma(power, t, b.fsub(power, half))
    is_tiny = b.fcmp_ordered("<", e.fabs(x), e.const(2.0 ** -form.mantissa / 4))
    return b.select(is_tiny, x, b.fadd(y, y))                              # -0.0 and denormals


def tanh(e: Emit, x: Value) -> Value:
    """Emits tanh(x): a polynomial for small |x|, and 1 - 2 / (exp(2|x|) + 1) beyond.

    With AVX-512, float32 takes polynomials from a table instead.
    """
    b = e.b
    a = e.fabs(x)
    if has_lookup(e):                                                      # beyond 9.1 it is 1
        return e.copysign(by_pieces(e, e.smaller(e.const(9.1), a), TANH_PIECES), x)
    power = exp(e, e.smaller(e.const(40.0), b.fadd(a, a)))
    far = b.fsub(e.const(1.0), b.fdiv(e.const(2.0), b.fadd(power, e.const(1.0))))
    square = b.fmul(x, x)
    near = e.fma(b.fmul(e.polynomial(square, _TANH[e.dtype]), square), x, x)
    is_near = b.fcmp_ordered("<", a, e.const(_NEAR_TANH[e.dtype]))
    return e.copysign(b.select(is_near, near, far), x)                 # -0.0 too


@in_double
def tanhshrink(e: Emit, x: Value) -> Value:
    """Emits x - tanh(x) without cancellation.

    For small |x| it is -x^3 times tanh's polynomial, and beyond (|x| - 1) + 2 / (exp(2|x|) + 1).
    """
    b = e.b
    a = e.fabs(x)
    power = exp(e, e.smaller(e.const(80.0), b.fadd(a, a)))
    rest = b.fdiv(e.const(2.0), b.fadd(power, e.const(1.0)))
    far = b.fadd(b.fsub(a, e.const(1.0)), rest)
    square = b.fmul(x, x)
    near = b.fneg(b.fmul(b.fmul(e.polynomial(square, _TANH["f64"]), square), a))
    is_near = b.fcmp_ordered("<", a, e.const(1.0))
    y = e.copysign(b.select(is_near, near, far), x)
    return b.fadd(y, e.const(0.0))                                         # -0.0 - -0.0 is 0.0


@in_double
def sinh(e: Emit, x: Value) -> Value:
    """Emits sinh(x) without cancellation.

    For |x| < 1 it is (t + t / (t + 1)) / 2 with t = exp(|x|) - 1.
    """
    b = e.b
    a = e.fabs(x)
    t = expm1(e, e.smaller(e.const(1.0), a))
    near = b.fmul(e.const(0.5), b.fadd(t, b.fdiv(t, b.fadd(t, e.const(1.0)))))
    half, other = _exp_halves(e, a)
    y = b.select(b.fcmp_ordered("<", a, e.const(1.0)), near, b.fsub(half, other))
    is_tiny = b.fcmp_ordered("<", a, e.const(2.0 ** -30))                  # denormals
    return e.copysign(b.select(is_tiny, a, y), x)


@in_double
def cosh(e: Emit, x: Value) -> Value:
    """Emits cosh(x) = exp(|x|) / 2 + exp(-|x|) / 2."""
    return e.b.fadd(*_exp_halves(e, e.fabs(x)))


def _exp_halves(e: Emit, a: Value) -> tuple[Value, Value]:
    """Returns exp(a) / 2 and exp(-a) / 2 for a >= 0."""
    mantissa, exponent = exp_parts(e, e.smaller(e.const(711.0), a))
    half = e.scale(mantissa, e.b.fsub(exponent, e.const(1.0)))
    return half, e.b.fdiv(e.const(0.25), half)


def sigmoid(e: Emit, x: Value) -> Value:
    """Emits 1 / (1 + exp(-x))."""
    return times_sigmoid(e, None, x)


def times_sigmoid(e: Emit, x: Value | None, z: Value, rest: Value | None = None) -> Value:
    """Returns x sigmoid(z + rest), for finite x and |rest| much below |z|; None stands for x = 1.

    With p = exp(-|z + rest|) it is x / (1 + p), or x p / (1 + p) for negative z, of which nothing
    overflows or cancels. The rounding errors of 1 + p and x p are corrected in the quotient to
    first order; a denormal result is rounded once.
    """
    b, one, zero = e.b, e.const(1.0), e.const(0.0)
    negative = b.fcmp_ordered("<", z, zero)
    if rest is not None:
        rest = b.select(negative, rest, b.fneg(rest))
    least = e.const(e.format.least_exp)
    power = e.larger(least, b.fneg(e.fabs(z)))
    if x is None:                                                          # no correction is needed
        p = e.scale(*exp_parts(e, power, rest))
        above, above_rest = b.select(negative, p, one), zero
    else:
        mantissa, mantissa_rest, exponent = exp_in_two(e, power, rest)
        p = e.scale(mantissa, exponent)
        product, product_rest = two_product(e, x, mantissa)
        product_rest = e.fma(x, mantissa_rest, product_rest)
        above = b.select(negative, e.scale(product, exponent), x)
        above_rest = b.select(negative, e.scale(product_rest, exponent), zero)
    below, below_rest = ordered_sum(e, one, p)
    quotient = b.fdiv(above, below)
    inverse = e.fma(below, e.const(-8 / 17), e.const(24 / 17))           # 1 / below, within 1 / 17
    return e.fma(e.fma(b.fneg(quotient), below_rest, above_rest), inverse, quotient)
