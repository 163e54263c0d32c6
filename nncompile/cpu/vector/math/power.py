"""x to the power of y: of floats as C's pow, of integers modulo 2^bits."""
from __future__ import annotations

from ir.types import FLOATS
from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.exponential import exp2
from nncompile.cpu.vector.math.floats import libm
from nncompile.cpu.vector.math.logarithm import log2


def power(e: Emit, x: Value, y: Value) -> Value:
    """Emits x to the power of y.

    float64 calls C's pow, lane by lane. float32 is exp2(y log2 |x|) in float64, which has bits
    enough for the product, with the cases of C's pow selected afterwards.
    """
    if e.dtype == "f64":
        return libm(e, "pow", x, y)
    if e.dtype == "f32":
        return _float_power(e, x, y)
    return _integer_power(e, x, y)


def _float_power(single: Emit, x: Value, y: Value) -> Value:
    e, b = single.of("f64"), single.b
    x, y = b.fpext(x, e.vector), b.fpext(y, e.vector)
    one, zero = e.const(1.0), e.const(0.0)
    a = e.fabs(x)
    result = exp2(e, b.fmul(y, log2(e, a)))
    half = b.fmul(y, e.const(0.5))
    is_whole = b.fcmp_ordered("==", rint(e, y), y)
    is_odd = b.and_(is_whole, b.fcmp_unordered("!=", rint(e, half), half))
    result = b.select(is_odd, e.copysign(result, x), result)
    finite_below = b.and_(b.fcmp_ordered("<", x, zero),
                          b.fcmp_ordered("<", a, e.const(float("inf"))))
    imaginary = b.and_(finite_below, b.not_(is_whole))
    result = b.select(imaginary, e.const(float("nan")), result)
    infinite = b.fcmp_ordered("==", e.fabs(y), e.const(float("inf")))
    is_one = b.or_(b.fcmp_ordered("==", x, one), b.fcmp_ordered("==", y, zero))
    is_one = b.or_(is_one, b.and_(infinite, b.fcmp_ordered("==", a, one)))
    return b.fptrunc(b.select(is_one, one, result), single.vector)


def rint(e: Emit, x: Value) -> Value:
    """Emits the nearest whole number, halves to even, with the sign of x.

    Below 2^mantissa it is found by adding that number and subtracting it again; all larger floats
    are whole.
    """
    assert e.dtype in FLOATS
    if e.target.level != "generic":
        return e.intrinsic("roundeven", x)
    b = e.b
    large = e.const(2.0 ** e.format.mantissa)
    a = e.fabs(x)
    whole = b.fsub(b.fadd(a, large), large)
    return b.select(b.fcmp_ordered("<", a, large), e.copysign(whole, x), x)


def _integer_power(e: Emit, x: Value, y: Value) -> Value:
    """Emits a power by repeated squaring, bit by bit of y.

    With y < 0 it is 0 except for x = 1 and -1, whose powers depend on the last bit of y alone.
    """
    b = e.b
    zero, one = e.const(0), e.const(1)
    bits = x.type.element.width
    if e.dtype != "u8":
        negative = e.compare("<", y, zero)
        minus_one = e.const(-1)
        unit = b.or_(e.compare("==", x, one), e.compare("==", x, minus_one))
        y = b.select(negative, b.and_(y, one), y)
        x = b.select(b.and_(negative, b.not_(unit)), zero, x)
        # its exponent is 1, since an even y < 0 would leave 0 to the power of 0, which is 1
        y = b.select(b.and_(negative, b.not_(unit)), one, y)
    with e.loop(0, bits, 1, [x, y, one]) as loop:
        square, left, result = loop.values
        is_set = e.compare("!=", b.and_(left, one), zero)
        loop.next = [b.mul(square, square), b.lshr(left, one),
                     b.select(is_set, b.mul(result, square), result)]
    return loop.values[2]
