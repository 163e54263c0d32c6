"""Building blocks: formats of floats, polynomials, and double-double sums and products.

A function takes an Emit whose dtype, "f32" or "f64", is that of its operands. A number in two parts
is a rounded number and its rounding error.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeAlias

from llvmlite import ir as ll

from ir.records import dataclass
from nncompile.cpu.vector.builder import F32, I32, Emit, Value

Function: TypeAlias = Callable[..., Value]

Sum: TypeAlias = tuple[Value, Value]       # a rounded number and its rounding error

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class _Format:
    """IEEE 754's binary32 or binary64."""

    mantissa: int                # stored bits
    bias: int
    round: float                 # 1.5 * 2^mantissa: round + x has round(x) in its last bits
    round_bits: int
    least_exp: float             # exp(x) and x exp(x) are 0 below
    most_exp: float              # exp(x) is inf above


FORMATS = {"f32": _Format(23, 127, 1.5 * 2.0 ** 23, 0x4B400000, -120.0, 89.0),
           "f64": _Format(52, 1023, 1.5 * 2.0 ** 52, 0x4338000000000000, -760.0, 710.0)}


def in_double(function: Function) -> Function:
    """Decorates a function of float64, so that float32 operands are computed in float64, too.

    The result is rounded to float32 once.
    """
    @wraps(function)
    def emit(e: Emit, *operands: Value) -> Value:
        if e.dtype == "f64":
            return function(e, *operands)
        double = e.of("f64")
        wide = [e.b.fpext(x, double.vector) for x in operands]
        return e.b.fptrunc(function(double, *wide), e.vector)
    return emit


def libm(e: Emit, name: str, *operands: Value) -> Value:
    """Emits C's function of that name, lane by lane; for float32 the name gets an f."""
    element = operands[0].type.element
    symbol = name + "f" if element == F32 else name
    return e.each(lambda *scalars: e.call(symbol, element, *scalars), *operands)


def libm_where(e: Emit, mask: Value, name: str, otherwise: Value, *operands: Value) -> Value:
    """Emits C's function where the mask is true, behind a branch: it may be true nowhere."""
    b = e.b
    before = b.block
    with b.if_then(e.any(mask), likely=False):
        called = b.select(mask, libm(e, name, *operands), otherwise)
        inside = b.block
    result = b.phi(otherwise.type)
    result.add_incoming(otherwise, before)
    result.add_incoming(called, inside)
    return result


def clamp(e: Emit, x: Value, low: float, high: float) -> Value:
    """Returns x limited to [low, high]; NaN stays NaN."""
    return e.larger(e.const(low), e.smaller(e.const(high), x))


def size(e: Emit, x: Value) -> Value:
    """Returns |x|."""
    return e.intrinsic("fabs", x)


def with_sign_of(e: Emit, size: Value, x: Value) -> Value:
    """Returns the size with the sign of x, that of a zero included."""
    return e.intrinsic("copysign", size, x)


def polynomial(e: Emit, x: Value, coefficients: Sequence[float]) -> Value:
    """Returns coefficients[0] + coefficients[1] x + ..., by Horner's rule."""
    value = e.const(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = e.fma(value, x, e.const(coefficient))
    return value


def scale(e: Emit, x: Value, n: Value) -> Value:
    """Returns x 2^n for a whole number n, |n| < 2 bias, rounded once where the result is denormal.
    """
    b, form = e.b, FORMATS[e.dtype]
    if e.target.avx512 and e.width == {"f32": 16, "f64": 8}[e.dtype]:
        name = {"f32": "ps", "f64": "pd"}[e.dtype]
        return e.call(f"llvm.x86.avx512.mask.scalef.{name}.512", e.vector, x, n, e.const(0.0),
                      ll.IntType(e.width)(-1), I32(4))
    bits = b.bitcast(b.fadd(n, e.const(form.round)), e.ints)
    n = b.sub(bits, e.const_ints(form.round_bits))
    half = b.ashr(n, e.const_ints(1))
    return b.fmul(b.fmul(x, _power_of_two(e, half)), _power_of_two(e, b.sub(n, half)))


def power_of_two(e: Emit, n: Value) -> Value:
    """Returns 2^n for whole numbers -bias < n <= bias."""
    form = FORMATS[e.dtype]
    bits = e.b.bitcast(e.b.fadd(n, e.const(form.round)), e.ints)
    return _power_of_two(e, e.b.sub(bits, e.const_ints(form.round_bits)))


def _power_of_two(e: Emit, n: Value) -> Value:
    """Returns 2^n for integers -bias <= n <= bias, by its bits; at -bias it is 0."""
    form = FORMATS[e.dtype]
    return e.b.bitcast(e.b.shl(e.b.add(n, e.const_ints(form.bias)), e.const_ints(form.mantissa)),
                       e.vector)


def two_product(e: Emit, x: Value, y: Value) -> Sum:
    """Returns x * y rounded, and its rounding error.

    Without fused multiply-add both factors are split into halves, whose products are exact (Dekker,
    1971).
    """
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
    """Returns x as its first 12 (26) bits and the rest."""
    low_bits = {"f32": 12, "f64": 27}[e.dtype]
    kept = e.const_ints(-1 << low_bits)
    high = e.b.bitcast(e.b.and_(e.b.bitcast(x, e.ints), kept), e.vector)
    return high, e.b.fsub(x, high)


def two_sum(e: Emit, x: Value, y: Value) -> Sum:
    """Returns x + y rounded, and its rounding error (Knuth)."""
    b = e.b
    total = b.fadd(x, y)
    from_y = b.fsub(total, x)
    return total, b.fadd(b.fsub(x, b.fsub(total, from_y)), b.fsub(y, from_y))


def ordered_sum(e: Emit, x: Value, y: Value) -> Sum:
    """Returns what two_sum does for |x| >= |y|, in fewer instructions (Dekker, 1971)."""
    total = e.b.fadd(x, y)
    return total, e.b.fsub(y, e.b.fsub(total, x))
