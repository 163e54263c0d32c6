"""Functions of a few instructions: arithmetic, rounding, division, comparisons, logic, casts.

The Emit's dtype is that of the operands; integers wrap.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir as ll

from ir.types import DTYPES, FLOATS
from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.floats import Function, libm, libm_where
from nncompile.cpu.vector.math.power import rint


def _by_kind(floats: str, integers: str) -> Function:
    """Returns the emitter of the instruction of one name for floats and of the other for integers.
    """
    def emit(e: Emit, x: Value, y: Value) -> Value:
        return getattr(e.b, floats if e.dtype in FLOATS else integers)(x, y)
    return emit


add, sub, mul = _by_kind("fadd", "add"), _by_kind("fsub", "sub"), _by_kind("fmul", "mul")


def div(e: Emit, x: Value, y: Value) -> Value:
    """Emits x / y of floats."""
    return e.b.fdiv(x, y)


def neg(e: Emit, x: Value) -> Value:
    """Emits -x; the least integer stays."""
    return e.b.fneg(x) if e.dtype in FLOATS else e.b.sub(e.const(0), x)


def abs_(e: Emit, x: Value) -> Value:
    """Emits |x|; the least integer stays."""
    if e.dtype in FLOATS:
        return e.fabs(x)
    return e.larger(x, neg(e, x)) if e.dtype != "u8" else x


def sign(e: Emit, x: Value) -> Value:
    """Emits -1, 0 or 1; 0 for NaN."""
    zero = e.const(0)
    positive = e.b.select(e.compare(">", x, zero), e.const(1), zero)
    if e.dtype == "u8":
        return positive
    return e.b.select(e.compare("<", x, zero), e.const(-1), positive)


def sqrt(e: Emit, x: Value) -> Value:
    """Emits the square root, correctly rounded."""
    return e.intrinsic("sqrt", x)


def rsqrt(e: Emit, x: Value) -> Value:
    """Emits 1 / sqrt(x), rounded twice."""
    return e.b.fdiv(e.const(1.0), sqrt(e, x))


# -- rounding -----------------------------------------------------------------------------------

def _rounding(intrinsic: str, too_far: str, back: float) -> Function:
    """Returns the emitter of floor, ceil or trunc.

    It is LLVM's where the target has an instruction for it. Otherwise it is the nearest whole
    number, plus `back` where that compares as `too_far` with x; no comparison with NaN is true.
    """
    def emit(e: Emit, x: Value) -> Value:
        if e.target.level != "generic":
            return e.intrinsic(intrinsic, x)
        b, whole = e.b, rint(e, x)
        if intrinsic == "trunc":
            a, whole = e.fabs(x), e.fabs(whole)
        else:
            a = x
        moved = b.fadd(whole, e.const(back))
        # no comparison with NaN is true, so that NaN stays
        return e.copysign(b.select(b.fcmp_ordered(too_far, whole, a), moved, whole), x)
    return emit


floor, ceil, trunc = (_rounding("floor", ">", -1.0), _rounding("ceil", "<", 1.0),
                      _rounding("trunc", ">", -1.0))


# -- division -----------------------------------------------------------------------------------

def floor_div(e: Emit, x: Value, y: Value) -> Value:
    """Emits floor(x / y); of floats as Python's divmod and torch compute it.

    From x - fmod(x, y), which y divides exactly, the quotient is corrected to a whole number.
    """
    if e.dtype not in FLOATS:
        return _divided(e, x, y, quotient=True)
    b, zero, one = e.b, e.const(0.0), e.const(1.0)
    rest = _fmod(e, x, y)
    quotient = b.fdiv(b.fsub(x, rest), y)
    quotient = b.select(_other_sign(e, rest, y), b.fsub(quotient, one), quotient)
    whole = floor(e, quotient)
    too_low = b.fcmp_ordered(">", b.fsub(quotient, whole), e.const(0.5))
    whole = b.select(too_low, b.fadd(whole, one), whole)
    plain = b.fdiv(x, y)
    whole = b.select(b.fcmp_ordered("==", quotient, zero), e.copysign(zero, plain), whole)
    return b.select(b.fcmp_ordered("==", y, zero), plain, whole)


def remainder(e: Emit, x: Value, y: Value) -> Value:
    """Emits C's fmod, plus y where the signs differ, so that the result has the sign of y."""
    if e.dtype not in FLOATS:
        return _divided(e, x, y, quotient=False)
    rest = _fmod(e, x, y)
    return e.b.select(_other_sign(e, rest, y), e.b.fadd(rest, y), rest)


def _fmod(e: Emit, x: Value, y: Value) -> Value:
    """Emits C's fmod, the exact remainder of x by y, with the sign of x.

    Of float32 it is computed in float64 where the quotient is below 2^28, and by libm elsewhere.
    Such a quotient differs from a whole number, if at all, by at least 2^-24, so that its rounding
    in float64 does not reach the whole number, and the multiple of y has at most 52 bits and is
    exact.
    """
    if e.dtype == "f64":
        return libm(e, "fmod", x, y)
    b, wide = e.b, e.of("f64")
    numerator, divisor = (b.fpext(v, wide.vector) for v in (x, y))
    quotient = b.fdiv(numerator, divisor)
    near = b.and_(wide.compare("<", wide.fabs(quotient), wide.const(2.0 ** 28)),
                  e.compare("<", e.fabs(y), e.const(float("inf"))))
    whole = b.fptosi(b.select(near, quotient, wide.const(0.0)), e.vector_of("i32"))
    multiple = b.fmul(b.sitofp(whole, wide.vector), divisor)
    rest = b.fptrunc(b.fsub(numerator, multiple), e.vector)
    return libm_where(e, b.not_(near), "fmod", e.copysign(rest, x), x, y)


def _other_sign(e: Emit, rest: Value, y: Value) -> Value:
    """Returns whether rest is not 0 and its sign is not that of y."""
    b, zero = e.b, e.const(0)
    differ = b.xor(e.compare("<", rest, zero), e.compare("<", y, zero))
    return b.and_(e.compare("!=", rest, zero), differ)


def _divided(e: Emit, x: Value, y: Value, *, quotient: bool) -> Value:
    """Emits floor_div or remainder of integers; 0 where y is 0.

    The division of the least integer by -1 would trap, as a division by 0 does, so that 1 is the
    divisor there; the quotient is then the least integer itself, which is what wrapping gives.
    """
    b, zero, one = e.b, e.const(0), e.const(1)
    by_zero = e.compare("==", y, zero)
    if e.dtype == "u8":
        result = (b.udiv if quotient else b.urem)(x, b.select(by_zero, one, y))
        return b.select(by_zero, zero, result)
    least = e.const(-(1 << x.type.element.width - 1))
    overflow = b.and_(e.compare("==", x, least), e.compare("==", y, e.const(-1)))
    divisor = b.select(b.or_(by_zero, overflow), one, y)
    whole = b.sdiv(x, divisor)
    rest = b.sub(x, b.mul(whole, divisor))
    down = _other_sign(e, rest, divisor)
    result = b.select(down, b.sub(whole, one), whole) if quotient else b.select(
        down, b.add(rest, divisor), rest)
    return b.select(by_zero, zero, result)


# -- bits ---------------------------------------------------------------------------------------

def left_shift(e: Emit, x: Value, y: Value) -> Value:
    """Emits x * 2^y modulo 2^bits; 0 where y is negative or not less than the number of bits."""
    b, inside = e.b, _within_bits(e, y)
    return b.select(inside, b.shl(x, b.select(inside, y, e.const(0))), e.const(0))


def right_shift(e: Emit, x: Value, y: Value) -> Value:
    """Emits floor(x / 2^y); the sign of x in every bit where y is negative or too large."""
    b, inside = e.b, _within_bits(e, y)
    if e.dtype == "u8":
        return b.select(inside, b.lshr(x, b.select(inside, y, e.const(0))), e.const(0))
    return b.ashr(x, b.select(inside, y, e.const(y.type.element.width - 1)))


def _within_bits(e: Emit, y: Value) -> Value:
    """Returns whether y is one of the shifts that LLVM defines: 0 to the number of bits less 1."""
    return e.b.icmp_unsigned("<", y, e.const(y.type.element.width))


# -- truth --------------------------------------------------------------------------------------

def comparison(sign: str) -> Function:
    """Returns the emitter of a comparison."""
    def emit(e: Emit, x: Value, y: Value) -> Value:
        return e.compare(sign, x, y)
    return emit


def isnan(e: Emit, x: Value) -> Value:
    """Emits whether x is NaN."""
    return e.compare("!=", x, x)


def isinf(e: Emit, x: Value) -> Value:
    """Emits whether x is an infinity."""
    return e.compare("==", e.fabs(x), e.const(float("inf")))


def isfinite(e: Emit, x: Value) -> Value:
    """Emits whether x is neither NaN nor an infinity."""
    return e.compare("<", e.fabs(x), e.const(float("inf")))


def logical(instruction: str) -> Function:
    """Returns the emitter of an instruction on bools or on the bits of integers."""
    def emit(e: Emit, *operands: Value) -> Value:
        return getattr(e.b, instruction)(*operands)
    return emit


def where(e: Emit, c: Value, a: Value, b: Value) -> Value:
    """Emits a where c is true and b elsewhere."""
    return e.b.select(c, a, b)


# -- casts --------------------------------------------------------------------------------------

def cast(e: Emit, x: Value, source: str, dtype: str) -> Value:
    """Emits a conversion between dtypes.

    To bool: whether x is not 0. Integers to integers wrap. Floats to integers are truncated towards
    zero; one that is out of range, or NaN, becomes the least i64 or i32, of which narrower integers
    take the low bits, as with x86's cvttss2si and in NumPy on x86.
    """
    b, vector = e.b, e.vector_of(dtype)
    if source == dtype:
        return x
    if dtype == "bool":
        return e.of(source).compare("!=", x, e.const(0, source))
    if source in FLOATS and dtype in FLOATS:
        return (b.fpext if dtype == "f64" else b.fptrunc)(x, vector)
    if source in FLOATS:
        return _resized(e, _truncated(e.of(source), x, "i64" if dtype == "i64" else "i32"), vector)
    unsigned = source in ("u8", "bool")
    if dtype in FLOATS:
        return (b.uitofp if unsigned else b.sitofp)(x, vector)
    return _resized(e, x, vector, unsigned=unsigned)


def _resized(e: Emit, x: Value, vector: Any, *, unsigned: bool = False) -> Value:
    before, after = x.type.element.width, vector.element.width
    if before == after:
        return x
    if before > after:
        return e.b.trunc(x, vector)
    return (e.b.zext if unsigned else e.b.sext)(x, vector)


def _truncated(e: Emit, x: Value, dtype: str) -> Value:
    """Emits a float truncated towards zero; out of range it is the least integer.

    LLVM leaves conversions out of range undefined, so 0 is converted there.
    """
    b, vector = e.b, e.vector_of(dtype)
    bits = 8 * DTYPES[dtype].itemsize
    limit = 2.0 ** (bits - 1)
    # float64 numbers between -2^31 - 1 and -2^31 are in range once they are truncated
    low = b.fcmp_ordered(">", x, e.const(-limit - 1)) if (e.dtype, dtype) == ("f64", "i32") else (
        b.fcmp_ordered(">=", x, e.const(-limit)))
    inside = b.and_(low, b.fcmp_ordered("<", x, e.const(limit)))
    whole = b.fptosi(b.select(inside, x, e.const(0.0)), vector)
    least = ll.Constant(vector, [-(1 << bits - 1)] * e.width)
    return b.select(inside, whole, least)
