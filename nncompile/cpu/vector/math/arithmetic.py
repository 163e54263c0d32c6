"""What takes a few instructions: arithmetic, rounding, comparisons, truth, division, casts.

An Emit's dtype is the operands'; integers wrap.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir as ll

from ir.types import DTYPES, FLOATS
from nncompile.cpu.vector.builder import Emit, Value
from nncompile.cpu.vector.math.floats import Function, libm, libm_where, size, with_sign_of
from nncompile.cpu.vector.math.power import rint


def by_kind(floats: str, integers: str) -> Function:
    """The instruction of two operands that bears the one name or the other."""
    def emit(e: Emit, x: Value, y: Value) -> Value:
        return getattr(e.b, floats if e.dtype in FLOATS else integers)(x, y)
    return emit


add, sub, mul = by_kind("fadd", "add"), by_kind("fsub", "sub"), by_kind("fmul", "mul")


def div(e: Emit, x: Value, y: Value) -> Value:
    return e.b.fdiv(x, y)


def maximum(e: Emit, x: Value, y: Value) -> Value:
    return e.maximum(x, y)


def minimum(e: Emit, x: Value, y: Value) -> Value:
    return e.minimum(x, y)


def neg(e: Emit, x: Value) -> Value:
    return e.b.fneg(x) if e.dtype in FLOATS else e.b.sub(e.const(0), x)


def abs_(e: Emit, x: Value) -> Value:
    """Of the least integer itself."""
    if e.dtype in FLOATS:
        return size(e, x)
    return e.larger(x, neg(e, x)) if e.dtype != "u8" else x


def sign(e: Emit, x: Value) -> Value:
    """-1, 0 or 1; of NaN 0."""
    zero = e.const(0)
    positive = e.b.select(e.compare(">", x, zero), e.const(1), zero)
    if e.dtype == "u8":
        return positive
    return e.b.select(e.compare("<", x, zero), e.const(-1), positive)


def sqrt(e: Emit, x: Value) -> Value:
    return e.intrinsic("sqrt", x)


def rsqrt(e: Emit, x: Value) -> Value:
    return e.b.fdiv(e.const(1.0), sqrt(e, x))


# -- rounding -----------------------------------------------------------------------------------

def rounding(intrinsic: str, too_far: str, back: float) -> Function:
    """floor, ceil or trunc: LLVM's, or where the target has no instruction for it the nearest
    whole number, taken one back where it is too far."""
    def emit(e: Emit, x: Value) -> Value:
        if e.target.level != "generic":
            return e.intrinsic(intrinsic, x)
        b, whole = e.b, rint(e, x)
        if intrinsic == "trunc":
            a, whole = size(e, x), size(e, whole)
        else:
            a = x
        moved = b.fadd(whole, e.const(back))
        # NaN is nothing's too far
        return with_sign_of(e, b.select(b.fcmp_ordered(too_far, whole, a), moved, whole), x)
    return emit


floor, ceil, trunc = (rounding("floor", ">", -1.0), rounding("ceil", "<", 1.0),
                      rounding("trunc", ">", -1.0))


# -- division -----------------------------------------------------------------------------------

def floor_div(e: Emit, x: Value, y: Value) -> Value:
    """Of floats as Python's divmod and torch: from x - fmod(x, y), which y divides."""
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
    whole = b.select(b.fcmp_ordered("==", quotient, zero), with_sign_of(e, zero, plain), whole)
    return b.select(b.fcmp_ordered("==", y, zero), plain, whole)


def remainder(e: Emit, x: Value, y: Value) -> Value:
    """C's fmod, moved to the sign of y: exact in the sense that fmod is."""
    if e.dtype not in FLOATS:
        return _divided(e, x, y, quotient=False)
    rest = _fmod(e, x, y)
    return e.b.select(_other_sign(e, rest, y), e.b.fadd(rest, y), rest)


def _fmod(e: Emit, x: Value, y: Value) -> Value:
    """C's fmod: what is left of x when a whole multiple of y is taken away, exactly.

    Of float32 in double precision where the quotient is below 2^28: it is at least 2^-24 from a
    whole number that it is not, which rounding cannot bridge, and the multiple has 52 bits.
    """
    if e.dtype == "f64":
        return libm(e, "fmod", x, y)
    b, wide = e.b, e.of("f64")
    numerator, divisor = (b.fpext(v, wide.vector) for v in (x, y))
    quotient = b.fdiv(numerator, divisor)
    near = b.and_(wide.compare("<", size(wide, quotient), wide.const(2.0 ** 28)),
                  e.compare("<", size(e, y), e.const(float("inf"))))
    whole = b.fptosi(b.select(near, quotient, wide.const(0.0)), e.vector_of("i32"))
    multiple = b.fmul(b.sitofp(whole, wide.vector), divisor)
    rest = b.fptrunc(b.fsub(numerator, multiple), e.vector)
    return libm_where(e, b.not_(near), "fmod", with_sign_of(e, rest, x), x, y)


def _other_sign(e: Emit, rest: Value, y: Value) -> Value:
    """Whether rest is not 0 and has not the sign of y."""
    b, zero = e.b, e.const(0)
    differ = b.xor(e.compare("<", rest, zero), e.compare("<", y, zero))
    return b.and_(e.compare("!=", rest, zero), differ)


def _divided(e: Emit, x: Value, y: Value, *, quotient: bool) -> Value:
    """Integers' floor_div or remainder; 0 where y is 0.  The least integer by -1 is itself: both
    would trap, so 1 divides instead."""
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


# -- truth --------------------------------------------------------------------------------------

def comparison(sign: str) -> Function:
    def emit(e: Emit, x: Value, y: Value) -> Value:
        return e.compare(sign, x, y)
    return emit


def isnan(e: Emit, x: Value) -> Value:
    return e.compare("!=", x, x)


def isinf(e: Emit, x: Value) -> Value:
    return e.compare("==", size(e, x), e.const(float("inf")))


def isfinite(e: Emit, x: Value) -> Value:
    return e.compare("<", size(e, x), e.const(float("inf")))


def logical(instruction: str) -> Function:
    def emit(e: Emit, *operands: Value) -> Value:
        return getattr(e.b, instruction)(*operands)
    return emit


def where(e: Emit, c: Value, a: Value, b: Value) -> Value:
    return e.b.select(c, a, b)


# -- casts --------------------------------------------------------------------------------------

def cast(e: Emit, x: Value, source: str, dtype: str) -> Value:
    """To a bool: whether it is not 0.  Integers to integers wrap.  A float to an integer: toward
    zero.  One that is out of range, or NaN, is the least i64 or i32, and in narrower integers the
    low bits of that i32, as x86's cvttss2si and NumPy there have it."""
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
    """A float toward zero.  LLVM leaves it open what one out of range is: it is kept away."""
    b, vector = e.b, e.vector_of(dtype)
    bits = 8 * DTYPES[dtype].itemsize
    limit = 2.0 ** (bits - 1)
    # float64 has numbers between -2^31 - 1 and -2^31, which truncation brings into range
    low = b.fcmp_ordered(">", x, e.const(-limit - 1)) if (e.dtype, dtype) == ("f64", "i32") else (
        b.fcmp_ordered(">=", x, e.const(-limit)))
    inside = b.and_(low, b.fcmp_ordered("<", x, e.const(limit)))
    whole = b.fptosi(b.select(inside, x, e.const(0.0)), vector)
    least = ll.Constant(vector, [-(1 << bits - 1)] * e.width)
    return b.select(inside, whole, least)
