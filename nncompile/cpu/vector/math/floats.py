"""Building blocks: functions by way of float64 or libm, and double-double sums and products.

A function takes an Emit whose dtype, "f32" or "f64", is that of its operands. A number in two parts
is a rounded number and its rounding error.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeAlias

from nncompile.cpu.vector.builder import F32, Emit, Value

Function: TypeAlias = Callable[..., Value]

Sum: TypeAlias = tuple[Value, Value]       # a rounded number and its rounding error

LOG2_E = 1.4426950408889634


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
