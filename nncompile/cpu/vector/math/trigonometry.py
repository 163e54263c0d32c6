"""Trigonometric functions and their inverses, in float64; float32 is rounded from it.

The polynomials come from tools/coefficients.py. pi/2 is in four parts, three of 33 bits and the
rest, as in fdlibm (e_rem_pio2.c), so that products with whole numbers up to 2^20 are exact. For
larger arguments C's functions are called, lane by lane.
"""
from __future__ import annotations

from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.floats import in_double, libm_where, two_sum

_TWO_OVER_PI = 0.6366197723675814
_HALF_PI = (1.57079632673412561417e+00, 6.07710050630396597660e-11, 2.02226624871116645580e-21,
            8.47842766036889956997e-32)
_LARGE = 2.0 ** 20                         # from here on C's functions are called
_HALF_PI_HIGH, _HALF_PI_LOW = 1.5707963267948966, 6.123233995736766e-17
_TINY = 2.0 ** -30                         # below, sin x = tan x = asin x = atan x = x

# (sin(x) - x) / x^3 and (cos(x) - 1 + x^2/2) / x^4 in powers of x^2, for |x| <= pi/4
_SIN = (
    -0.16666666666666666, 0.008333333333333331, -0.00019841269841264567, 2.7557319218954762e-06,
    -2.505210610025599e-08, 1.6058510875319195e-10, -7.585486485235938e-13)
_COS = (
    0.041666666666666664, -0.0013888888888888887, 2.4801587301584367e-05, -2.75573192211891e-07,
    2.0876755717584403e-09, -1.1470449354466773e-11, 4.745198807202876e-14)
# (atan(x) - x) / x^3 in powers of x^2, for |x| <= 1
_ATAN = (
    -0.3333333333333333, 0.19999999999999554, -0.14285714285648404, 0.11111111107234799,
    -0.09090908969557403, 0.07692305354678655, -0.06666636435777692, 0.05882074956371294,
    -0.05261265735709454, 0.04752086773576656, -0.04308119655330471, 0.03872640214042632,
    -0.033750132001619734, 0.027567942297344678, -0.020238706986393514, 0.012756172907694298,
    -0.006575683344151699, 0.002622977891906089, -0.0007518472526973822, 0.0001368724853148122,
    -1.1832505417555692e-05)
# (asin(x) - x) / x^3 in powers of x^2, for |x| <= 1/2
_ASIN = (
    0.16666666666666669, 0.07499999999998433, 0.04464285714635543, 0.030381944138531247,
    0.02237217294214989, 0.017352392720869973, 0.013971212973552933, 0.011479177415184906,
    0.01032281435018578, 0.005457506718640358, 0.01740087944269402, -0.014851887071247204,
    0.028757851367421566)


def _reduced(e: Emit, x: Value) -> tuple[Value, Value, Value]:
    """Returns r and rest with r + rest = x - n pi/2 and |r| <= pi/4, and bits that end in n's."""
    b = e.b
    round_ = e.const(e.format.round)
    shifted = e.fma(x, e.const(_TWO_OVER_PI), round_)
    n = b.fsub(shifted, round_)
    first, second, third, fourth = (b.fmul(n, e.const(-part)) for part in _HALF_PI)
    r, rest = two_sum(e, b.fadd(x, first), second)
    r, more = two_sum(e, r, third)
    r, rest = two_sum(e, r, b.fadd(b.fadd(rest, more), fourth))
    return r, rest, b.bitcast(shifted, e.ints)


def _sine(e: Emit, r: Value, rest: Value) -> Value:
    """Returns sin(r + rest) for |r| <= pi/4."""
    b = e.b
    square = b.fmul(r, r)
    rest = b.fmul(rest, e.fma(square, e.const(-0.5), e.const(1.0)))
    return b.fadd(r, e.fma(b.fmul(square, r), e.polynomial(square, _SIN), rest))


def _cosine(e: Emit, r: Value, rest: Value) -> Value:
    """Returns cos(r + rest) for |r| <= pi/4, with the rounding error of 1 - r^2/2 corrected."""
    b = e.b
    square = b.fmul(r, r)
    half = b.fmul(square, e.const(0.5))
    most = b.fsub(e.const(1.0), half)
    lost = b.fsub(b.fsub(e.const(1.0), most), half)
    y = e.fma(b.fmul(square, square), e.polynomial(square, _COS), lost)
    return b.fadd(most, b.fsub(y, b.fmul(r, rest)))


def _has(e: Emit, bits: Value, which: int) -> Value:
    return e.b.icmp_signed("!=", e.b.and_(bits, e.const_ints(which)), e.const_ints(0))


def _or_library(e: Emit, name: str, x: Value, y: Value) -> Value:
    is_large = e.b.fcmp_ordered(">", e.fabs(x), e.const(_LARGE))
    return libm_where(e, is_large, name, y, x)


@in_double
def sin(e: Emit, x: Value) -> Value:
    """Emits sin(x): the sine or cosine of the reduced argument, by its quadrant."""
    b = e.b
    r, rest, bits = _reduced(e, x)
    y = b.select(_has(e, bits, 1), _cosine(e, r, rest), _sine(e, r, rest))
    y = b.select(_has(e, bits, 2), b.fneg(y), y)
    y = b.select(b.fcmp_ordered("<", e.fabs(x), e.const(_TINY)), x, y)    # -0.0 too
    return _or_library(e, "sin", x, y)


@in_double
def cos(e: Emit, x: Value) -> Value:
    """Emits cos(x): the sine or cosine of the reduced argument, by its quadrant."""
    b = e.b
    r, rest, bits = _reduced(e, x)
    y = b.select(_has(e, bits, 1), _sine(e, r, rest), _cosine(e, r, rest))
    negative = _has(e, b.add(bits, e.const_ints(1)), 2)
    return _or_library(e, "cos", x, b.select(negative, b.fneg(y), y))


@in_double
def tan(e: Emit, x: Value) -> Value:
    """Emits tan(x) as the quotient of sine and cosine of the reduced argument."""
    b = e.b
    r, rest, bits = _reduced(e, x)
    sine, cosine, odd = _sine(e, r, rest), _cosine(e, r, rest), _has(e, bits, 1)
    y = b.fdiv(b.select(odd, b.fneg(cosine), sine), b.select(odd, sine, cosine))
    y = b.select(b.fcmp_ordered("<", e.fabs(x), e.const(_TINY)), x, y)    # -0.0 too
    return _or_library(e, "tan", x, y)


@in_double
def atan(e: Emit, x: Value) -> Value:
    """Emits atan(x), as pi/2 - atan(1 / |x|) for |x| > 1."""
    b = e.b
    a = e.fabs(x)
    beyond = b.fcmp_ordered(">", a, e.const(1.0))
    t = b.select(beyond, b.fdiv(e.const(1.0), a), a)
    square = b.fmul(t, t)
    y = e.fma(b.fmul(square, t), e.polynomial(square, _ATAN), t)
    other = b.fsub(e.const(_HALF_PI_HIGH), b.fsub(y, e.const(_HALF_PI_LOW)))
    return e.copysign(b.select(beyond, other, y), x)


@in_double
def atan2(e: Emit, y: Value, x: Value) -> Value:
    """Emits the angle of the point (x, y), from -pi to pi: atan(|y / x|) in the right quadrant.

    The sign of a zero counts. Equal sizes are pi/4 apart from an axis, infinities among them; two
    zeros are on the axis.
    """
    b, zero, one = e.b, e.const(0.0), e.const(1.0)
    over, along = e.fabs(y), e.fabs(x)
    alike = b.select(b.fcmp_ordered("==", over, zero), zero, one)
    ratio = b.select(b.fcmp_ordered("==", over, along), alike, b.fdiv(over, along))
    angle = atan(e, ratio)
    behind = b.fcmp_ordered("<", e.copysign(one, x), zero)
    turned = b.fsub(e.const(2 * _HALF_PI_HIGH), b.fsub(angle, e.const(2 * _HALF_PI_LOW)))
    return e.copysign(b.select(behind, turned, angle), y)


def _arc(e: Emit, x: Value) -> tuple[Value, Value]:
    """Returns asin(a) for a = |x| <= 1/2, otherwise acos(a) / 2, and which of them it is.

    acos(a) / 2 is asin(sqrt((1 - a) / 2)).
    """
    b = e.b
    a = e.fabs(x)
    beyond = b.fcmp_ordered(">", a, e.const(0.5))
    rest = b.fmul(e.const(0.5), b.fsub(e.const(1.0), a))
    square = b.select(beyond, rest, b.fmul(a, a))
    t = b.select(beyond, e.intrinsic("sqrt", square), a)
    return e.fma(b.fmul(square, t), e.polynomial(square, _ASIN), t), beyond


@in_double
def asin(e: Emit, x: Value) -> Value:
    """Emits asin(x), as pi/2 - acos for |x| > 1/2."""
    b = e.b
    y, beyond = _arc(e, x)
    other = b.fsub(e.const(_HALF_PI_HIGH), b.fsub(b.fadd(y, y), e.const(_HALF_PI_LOW)))
    return e.copysign(b.select(beyond, other, y), x)


@in_double
def acos(e: Emit, x: Value) -> Value:
    """Emits acos(x), as pi/2 - asin for |x| <= 1/2."""
    b = e.b
    y, beyond = _arc(e, x)
    negative = b.fcmp_ordered("<", x, e.const(0.0))
    twice = b.fadd(y, y)
    pi_less = b.fsub(e.const(2 * _HALF_PI_HIGH), b.fsub(twice, e.const(2 * _HALF_PI_LOW)))
    signed = e.copysign(y, x)
    inside = b.fsub(e.const(_HALF_PI_HIGH), b.fsub(signed, e.const(_HALF_PI_LOW)))
    return b.select(beyond, b.select(negative, pi_less, twice), inside)
