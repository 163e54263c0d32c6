"""Mathematics on vectors of float32 lanes, as LLVM emitters.

NaN gives NaN, infinities and overflow give what IEEE arithmetic says, and results below 2^-126 are
not flushed to zero, on every target.  Largest errors against float64, in units in the last place,
over one in 97 of all float32 (the generic target has no fused multiply-add):

                exp     log     tanh    sigmoid   gelu    gelu_tanh
    fma         0.87    0.80    1.33    1.91      3.66    2.99
    generic     1.14    0.80    1.32    1.92      3.74    2.99

sqrt is correctly rounded.  The polynomials are minimax fits of relative error (least squares with
Lawson's weights, on Chebyshev points, in float64), their coefficients then rounded to float32.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from nncompile.cpu.lanes import I32, Emit, Value

LOG2_E = 1.4426950408889634
ROUND, ROUND_BITS = 1.5 * 2.0 ** 23, 0x4B400000       # ROUND + x has round(x) in its last bits
LN2_HIGH = 0.693145751953125               # 15 bits: its products with exponents are exact
LN2_LOW = 1.42860682030941723e-06
LN2_HIGH_LOG, LN2_LOW_LOG = 0.693359375, -2.12194440e-4          # 9 bits: likewise, in log
SQRT_HALF_BITS = 0x3F3504F3                # of sqrt(1/2)

# exp(r) for |r| <= log(2) / 2
EXP = (1.0, 1.0, 0.4999999403953552, 0.1666651964187622, 0.041668400168418884,
       0.008368851616978645, 0.0013814318226650357)
# (tanh(x) - x) / x^3 in powers of x^2, for |x| <= 0.625
TANH = (-0.3333328068256378, 0.13331441581249237, -0.05373971536755562, 0.020639091730117798,
        -0.005704990588128567)
# (log(1 + t) - t + t^2/2) / t^3 for sqrt(1/2) <= 1 + t < sqrt(2)
LOG = (0.3333333134651184, -0.250008225440979, 0.20001226663589478, -0.16623356938362122,
       0.14201761782169342, -0.131601944565773, 0.12761549651622772, -0.07634429633617401)
# Phi(-a) exp(a^2/2) (a + 2.5) in powers of a / (a + 2.5) - 0.25, for 0 <= a <= 14.5.  Of the shifts
# and centres tried this pair needs the lowest degree and loses least in Horner's rule.
PHI = (0.9544039964675903, -1.1028873920440674, 0.38951992988586426, 0.2682553231716156,
       -0.10649693012237549, -0.1484948694705963, -0.025386402383446693, 0.06558751314878464,
       0.10159020870923996, -0.08052080124616623)
PHI_SHIFT, PHI_CENTRE = 2.5, 0.25
PHI_END = 14.5                             # a Phi(-a) is 0 in float32 from there on
# 2 sqrt(2/pi) (1, 0.044715), each with what float32 leaves of it
TANH_X, TANH_X_LOW = 1.5957691669464111, -4.534068032135963e-08
TANH_X3, TANH_X3_LOW = 0.07135481387376785, 2.3988323966106506e-09


def exp(e: Emit, x: Value) -> Value:
    mantissa, exponent = _exp_parts(e, _clamp(e, x, -104.0, 89.0))
    return _scale(e, mantissa, exponent)


def log(e: Emit, x: Value) -> Value:
    """x = 2^k m with sqrt(1/2) <= m < sqrt(2); log x = k log 2 + log m."""
    b = e.b
    tiny = b.fcmp_ordered("<", x, e.const(2.0 ** -126))
    bits = b.bitcast(b.select(tiny, b.fmul(x, e.const(2.0 ** 25)), x), e.ints)
    k = b.ashr(b.sub(bits, e.const_ints(SQRT_HALF_BITS)), e.const_ints(23))
    m = b.bitcast(b.sub(bits, b.shl(k, e.const_ints(23))), e.vector)
    k = b.sitofp(b.select(tiny, b.sub(k, e.const_ints(25)), k), e.vector)
    t = b.fsub(m, e.const(1.0))
    square = b.fmul(t, t)
    y = b.fmul(_polynomial(e, t, LOG), b.fmul(square, t))
    y = e.fma(k, e.const(LN2_LOW_LOG), y)
    y = e.fma(square, e.const(-0.5), y)
    y = e.fma(k, e.const(LN2_HIGH_LOG), b.fadd(t, y))
    y = b.select(b.fcmp_ordered("<", x, e.const(float("inf"))), y, x)       # inf and NaN
    y = b.select(b.fcmp_ordered("==", x, e.const(0.0)), e.const(float("-inf")), y)
    return b.select(b.fcmp_ordered("<", x, e.const(0.0)), e.const(float("nan")), y)


def tanh(e: Emit, x: Value) -> Value:
    """A polynomial for small |x|, else 1 - 2 / (exp(2|x|) + 1)."""
    b = e.b
    size = e.intrinsic("fabs", x)
    power = exp(e, e.smaller(e.const(40.0), b.fadd(size, size)))
    far = b.fsub(e.const(1.0), b.fdiv(e.const(2.0), b.fadd(power, e.const(1.0))))
    square = b.fmul(x, x)
    near = e.fma(b.fmul(_polynomial(e, square, TANH), square), x, x)
    is_near = b.fcmp_ordered("<", size, e.const(0.625))
    return e.intrinsic("copysign", b.select(is_near, near, far), x)        # also of -0.0


def sigmoid(e: Emit, x: Value) -> Value:
    return _sigmoid(e, x, e.const(0.0))


def _sigmoid(e: Emit, x: Value, rest: Value) -> Value:
    """The sigmoid of x + rest: with p = exp(-|x + rest|), 1 / (1 + p), or p / (1 + p) for negative
    x, where nothing overflows or cancels.

    What 1 + p loses by rounding is put back, to first order, into the quotient."""
    b = e.b
    one = e.const(1.0)
    negative = b.fcmp_ordered("<", x, e.const(0.0))
    size = e.intrinsic("fabs", x)
    rest = b.select(negative, rest, b.fneg(rest))
    power = _scale(e, *_exp_parts(e, e.larger(e.const(-104.0), b.fneg(size)), rest))
    whole = b.fadd(one, power)
    lost = b.fsub(power, b.fsub(whole, one))
    quotient = b.fdiv(b.select(negative, power, one), whole)
    inverse = b.select(negative, b.fsub(one, quotient), quotient)          # 1 / (1 + p), nearly
    return e.fma(b.fneg(b.fmul(quotient, lost)), inverse, quotient)


def gelu(e: Emit, x: Value) -> Value:
    """x Phi(x), as relu(x) - a Phi(-a) with a = |x|: 1 + erf would cancel for negative x.

    Phi(-a) = exp(-a^2/2) g(a) with a smooth g.  a^2 is kept in two parts, because exp magnifies
    what rounding it leaves."""
    b = e.b
    a = e.smaller(e.const(PHI_END), e.intrinsic("fabs", x))                # NaN stays NaN
    half = b.fmul(a, e.const(-0.5))
    power, exponent = _exp_parts(e, *_two_product(e, half, a))
    part = b.fdiv(a, b.fadd(a, e.const(PHI_SHIFT)))
    tail = b.fmul(_polynomial(e, b.fsub(part, e.const(PHI_CENTRE)), PHI), part)
    return b.fsub(e.larger(e.const(0.0), x), _scale(e, b.fmul(tail, power), exponent))


def gelu_tanh(e: Emit, x: Value) -> Value:
    """x (1 + tanh(u)) / 2 = x sigmoid(2u), with 2u = x (c + d x^2) in two parts as in gelu.

    Results below 1e-37 are right to within 2e-44."""
    b = e.b
    above = e.larger(e.const(-20.0), x)                                    # -inf * 0 would be NaN
    x = e.smaller(e.const(20.0), above)
    square, square_rest = _two_product(e, x, x)
    cubic, cubic_rest = _two_product(e, square, e.const(TANH_X3))
    cubic_rest = e.fma(square_rest, e.const(TANH_X3), cubic_rest)
    cubic_rest = e.fma(square, e.const(TANH_X3_LOW), cubic_rest)
    factor, factor_rest = _two_sum(e, e.const(TANH_X), cubic)
    factor_rest = b.fadd(b.fadd(factor_rest, cubic_rest), e.const(TANH_X_LOW))
    u, rest = _two_product(e, x, factor)
    return b.fmul(above, _sigmoid(e, u, e.fma(x, factor_rest, rest)))


# -- parts --------------------------------------------------------------------------------------

def _clamp(e: Emit, x: Value, low: float, high: float) -> Value:
    """x between low and high; NaN stays NaN."""
    return e.larger(e.const(low), e.smaller(e.const(high), x))


def _polynomial(e: Emit, x: Value, coefficients: Sequence[float]) -> Value:
    """coefficients[0] + coefficients[1] x + ..., by Horner's rule."""
    value = e.const(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = e.fma(value, x, e.const(coefficient))
    return value


def _exp_parts(e: Emit, x: Value, rest: Value | None = None) -> tuple[Value, Value]:
    """p and a whole number n with exp(x + rest) = p 2^n, for |x| < 128 and |rest| < 2^-8 |x|.

    n = round((x + rest) log2 e); what is left, x - n log 2, is exact but for its last product."""
    b = e.b
    shifted = e.fma(x, e.const(LOG2_E), e.const(ROUND))
    n = b.fsub(shifted, e.const(ROUND))
    r = e.fma(n, e.const(-LN2_HIGH), x)
    if rest is not None:
        r = b.fadd(r, rest)
    r = e.fma(n, e.const(-LN2_LOW), r)
    return _polynomial(e, r, EXP), n


def _scale(e: Emit, x: Value, n: Value) -> Value:
    """x 2^n for a whole number n, |n| < 254, rounded once where the result is below 2^-126."""
    b = e.b
    if e.target.avx512:
        return e.call("llvm.x86.avx512.mask.scalef.ps.512", e.vector, x, n, e.const(0.0),
                      ir.IntType(16)(-1), I32(4))
    bits = b.bitcast(b.fadd(n, e.const(ROUND)), e.ints)
    n = b.sub(bits, e.const_ints(ROUND_BITS))
    half = b.ashr(n, e.const_ints(1))
    return b.fmul(b.fmul(x, _power_of_two(e, half)), _power_of_two(e, b.sub(n, half)))


def _power_of_two(e: Emit, n: Value) -> Value:
    """2^n for integers -127 < n < 128."""
    return e.b.bitcast(e.b.shl(e.b.add(n, e.const_ints(127)), e.const_ints(23)), e.vector)


def _two_product(e: Emit, x: Value, y: Value) -> tuple[Value, Value]:
    """x * y rounded, and what rounding took away.

    Without fma both factors are split into 12 bits and the rest (Dekker), whose products are
    exact."""
    b = e.b
    product = b.fmul(x, y)
    if e.target.fma:
        return product, e.fma(x, y, b.fneg(product))
    x_high, x_low = _split(e, x)
    y_high, y_low = _split(e, y)
    rest = b.fsub(b.fmul(x_high, y_high), product)
    rest = b.fadd(b.fadd(rest, b.fmul(x_high, y_low)), b.fmul(x_low, y_high))
    return product, b.fadd(rest, b.fmul(x_low, y_low))


def _split(e: Emit, x: Value) -> tuple[Value, Value]:
    """x as its first 12 bits and the rest."""
    high = e.b.bitcast(e.b.and_(e.b.bitcast(x, e.ints), e.const_ints(~0xFFF)), e.vector)
    return high, e.b.fsub(x, high)


def _two_sum(e: Emit, x: Value, y: Value) -> tuple[Value, Value]:
    """x + y rounded, and what rounding took away (Knuth)."""
    b = e.b
    total = b.fadd(x, y)
    from_y = b.fsub(total, x)
    return total, b.fadd(b.fsub(x, b.fsub(total, from_y)), b.fsub(y, from_y))


# -- the tables ---------------------------------------------------------------------------------

TRUTHS = ("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite")

SHORT: dict[str, Callable[..., Value]] = {
    "add": lambda e, x, y: e.b.fadd(x, y),
    "sub": lambda e, x, y: e.b.fsub(x, y),
    "mul": lambda e, x, y: e.b.fmul(x, y),
    "div": lambda e, x, y: e.b.fdiv(x, y),
    "maximum": Emit.maximum,
    "minimum": Emit.minimum,
    "neg": lambda e, x: e.b.fneg(x),
    "abs": lambda e, x: e.intrinsic("fabs", x),
    "sqrt": lambda e, x: e.intrinsic("sqrt", x),
    "relu": lambda e, x: e.larger(e.const(0.0), x),
}
LONG: dict[str, Callable[..., Value]] = {
    "exp": exp, "log": log, "tanh": tanh, "sigmoid": sigmoid, "gelu": gelu,
    "gelu_tanh": gelu_tanh,
}


def cast(e: Emit, x: Value, source: str, dtype: str) -> Value:
    raise NotImplementedError
