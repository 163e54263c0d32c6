"""Elementwise functions as LLVM emitters: (Emit, *vectors) -> vector.

There is an entry for each elementwise op of `ir`. NaN gives NaN, infinities and overflow give what
IEEE 754 says, and denormal results are not flushed to zero, on every target. docs/accuracy.md has
the largest error of each function: at most 2 units in the last place in float32 (4 for those of
error.py) and 4 in float64. Most float32 functions that are rare in models are computed in float64
and rounded once.
"""
from __future__ import annotations

from typing import Any

from nncompile.cpu.vector.builder import Emit
from nncompile.cpu.vector.math import (
    activation,
    arithmetic,
    error,
    exponential,
    logarithm,
    trigonometry,
)
from nncompile.cpu.vector.math.arithmetic import cast
from nncompile.cpu.vector.math.exponential import exp
from nncompile.cpu.vector.math.floats import Function
from nncompile.cpu.vector.math.logarithm import log
from nncompile.cpu.vector.math.power import power, rint

__all__ = ["LONG", "SHORT", "cast", "exp", "log"]

def _own(module: Any, *ops: str) -> dict[str, Function]:
    """Returns the entries of ops whose functions have their names."""
    return {op: getattr(module, op) for op in ops}


# A few instructions each. A cast has an emitter of its own, because it needs two dtypes.
SHORT: dict[str, Function] = {
    **_own(arithmetic, "add", "sub", "mul", "div", "neg", "sign", "sqrt", "rsqrt", "floor", "ceil",
           "trunc", "isnan", "isinf", "isfinite", "where", "cast", "left_shift", "right_shift"),
    **_own(Emit, "maximum", "minimum", "copysign"),
    **_own(activation, "relu", "leaky_relu", "hardsigmoid", "hardswish", "hardshrink", "softshrink",
           "softsign", "threshold"),
    "abs": arithmetic.abs_,
    "round": rint,
    "eq": arithmetic.comparison("=="),
    "ne": arithmetic.comparison("!="),
    "lt": arithmetic.comparison("<"),
    "le": arithmetic.comparison("<="),
    "gt": arithmetic.comparison(">"),
    "ge": arithmetic.comparison(">="),
    "bitwise_and": arithmetic.logical("and_"),
    "bitwise_or": arithmetic.logical("or_"),
    "bitwise_xor": arithmetic.logical("xor"),
    "logical_and": arithmetic.logical("and_"),
    "logical_or": arithmetic.logical("or_"),
    "logical_xor": arithmetic.logical("xor"),
    "logical_not": arithmetic.logical("not_"),
}
# Too many instructions to repeat them for every sum of a product's tile.
LONG: dict[str, Function] = {
    **_own(arithmetic, "floor_div", "remainder"),
    **_own(exponential, "exp", "exp2", "expm1", "sinh", "cosh", "tanh", "sigmoid", "tanhshrink"),
    **_own(logarithm, "log", "log1p", "log2", "log10", "asinh", "acosh", "atanh"),
    **_own(trigonometry, "sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
    **_own(error, "erf", "erfc", "gelu", "gelu_tanh"),
    **_own(activation, "silu", "mish", "softplus", "elu", "celu", "selu", "log_sigmoid"),
    "pow": power,
}
