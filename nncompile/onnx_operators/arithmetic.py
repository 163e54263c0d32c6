"""Elementwise ops of numbers of any type, and of bits."""
from __future__ import annotations

import numpy as np

from ir import DTYPES
from ir.types import INTEGERS
from nncompile.onnx_operators.node import OnnxNode, Term


def sign(op: OnnxNode) -> str:
    """ONNX Runtime's Sign of NaN is NaN, and ours 0."""
    x = op.term(0)
    found = x.apply("Sign")
    return found.name if x.dtype in INTEGERS else is_nan(x).where(0.0, found).name


def is_nan(x: Term) -> Term:
    """Returns where x is NaN."""
    return x.apply("IsNaN", dtype="bool")


def floor_div(op: OnnxNode) -> str:
    """NumPy's way for floats: of the exact remainder. ONNX's Div of integers truncates."""
    x, y = op.terms
    if x.dtype in INTEGERS:
        return _floor_div_of_integers(op, x, y).name
    rest = x.apply("Mod", y, fmod=1)
    shifted = ~rest.equals(0.0) & ((rest < 0.0) ^ (y < 0.0))
    quotient = (x - rest) / y
    quotient = shifted.where(quotient - 1.0, quotient)
    whole = quotient.apply("Floor")
    whole = (quotient - whole > 0.5).where(whole + 1.0, whole)
    return y.equals(0.0).where(x / y, whole).name


def _floor_div_of_integers(op: OnnxNode, x: Term, y: Term) -> Term:
    if x.dtype == "u8":
        return x / y
    safe = _no_minus_one(op, y)
    quotient = x / safe
    rest = x - quotient * safe
    shifted = ~rest.equals(0) & ((rest < 0) ^ (safe < 0))
    quotient = shifted.where(quotient - 1, quotient)
    return quotient if safe is y else y.equals(-1).where(-x, quotient)


def _no_minus_one(op: OnnxNode, y: Term) -> Term:
    """A divisor with 1 in place of -1, by which a processor cannot divide the least integer."""
    plain = op.inputs[1]
    return y if isinstance(plain, float) and plain != -1 else y.equals(-1).where(1, y)


def remainder(op: OnnxNode) -> str:
    """ONNX's Mod has the sign of the divisor for integers only."""
    x, y = op.terms
    if x.dtype in INTEGERS:
        return x.apply("Mod", y if x.dtype == "u8" else _no_minus_one(op, y)).name
    rest = x.apply("Mod", y, fmod=1)
    shifted = ~rest.equals(0.0) & ((rest < 0.0) ^ (y < 0.0))
    return shifted.where(rest + y, rest).name


def power(op: OnnxNode) -> str:
    """ONNX Runtime's Pow of integers goes through double precision, and ours wraps around."""
    x, y = op.terms
    if x.dtype not in INTEGERS:
        return op.emit("Pow", x.name, y.name)
    exponent = op.inputs[1]
    if isinstance(exponent, float) and exponent >= 0:
        return _whole_power(x, int(exponent)).name
    bits = 8 * DTYPES[x.dtype].itemsize          # of an exponent, one more than most have
    negative, one = y < 0, abs(x).equals(1)
    y = negative.where(y.apply("Mod", 2), y)
    result = x * 0 + 1 + y * 0                       # the ones of both operands' common shape
    for _ in range(bits):
        result = y.apply("Mod", 2).equals(1).where(result * x, result)
        x, y = x * x, y / 2
    return (negative & ~one).where(0, result).name


def _whole_power(x: Term, exponent: int) -> Term:
    result = None
    while exponent:
        if exponent % 2:
            result = x if result is None else result * x
        exponent //= 2
        x = x * x if exponent else x
    return result if result is not None else x * 0 + 1


def left_shift(x: Term, count: Term) -> Term:
    """Returns x times a power of 2, without what does not fit; 0 for a count outside of the bits.

    ONNX's BitShift is for unsigned integers only.
    """
    inside = (count >= 0) & (count < _bits(x))
    return inside.where(x * _power_of_two(inside.where(count, 0)), 0)


def right_shift(x: Term, count: Term) -> Term:
    """Returns x divided by a power of 2 and rounded down; any count outside of the bits is as all.

    It is divided twice, because the highest power is no signed integer.
    """
    inside = (count >= 0) & (count < _bits(x))
    count = inside.where(count, _bits(x) - 1 + (x.dtype == "u8"))
    half = count / 2
    first, second = _power_of_two(half), _power_of_two(count - half)
    if x.dtype == "u8":
        return x / first / second
    negative = x < 0
    shifted = negative.where(-1 - x, x) / first / second
    return negative.where(-1 - shifted, shifted)


def _bits(x: Term) -> int:
    return 8 * DTYPES[x.dtype].itemsize


def _power_of_two(exponent: Term) -> Term:
    powers = np.array([1 << i for i in range(_bits(exponent))], np.uint64)
    table = exponent.op.constant(powers.astype(DTYPES[exponent.dtype]))
    index = exponent.cast("i64").name
    return Term(exponent.op, exponent.op.emit("Gather", table, index, axis=0), exponent.dtype)
