"""Elementwise functions as LLVM emitters: (Emit, *vectors) -> vector.

There is an entry for each elementwise op of `ir`. NaN gives NaN, infinities and overflow give what
IEEE 754 says, and denormal results are not flushed to zero, on every target. docs/accuracy.md has
the largest error of each function: at most 2 units in the last place in float32 (4 for those of
error.py) and 4 in float64. Most float32 functions that are rare in models are computed in float64
and rounded once.
"""
from __future__ import annotations

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

# A few instructions each.  A cast has an emitter of its own, because it needs two dtypes.
SHORT: dict[str, Function] = {
    "add": arithmetic.add,
    "sub": arithmetic.sub,
    "mul": arithmetic.mul,
    "div": arithmetic.div,
    "maximum": Emit.maximum,
    "minimum": Emit.minimum,
    "copysign": Emit.copysign,
    "neg": arithmetic.neg,
    "abs": arithmetic.abs_,
    "sign": arithmetic.sign,
    "sqrt": arithmetic.sqrt,
    "rsqrt": arithmetic.rsqrt,
    "floor": arithmetic.floor,
    "ceil": arithmetic.ceil,
    "round": rint,
    "trunc": arithmetic.trunc,
    "eq": arithmetic.comparison("=="),
    "ne": arithmetic.comparison("!="),
    "lt": arithmetic.comparison("<"),
    "le": arithmetic.comparison("<="),
    "gt": arithmetic.comparison(">"),
    "ge": arithmetic.comparison(">="),
    "isnan": arithmetic.isnan,
    "isinf": arithmetic.isinf,
    "isfinite": arithmetic.isfinite,
    "logical_and": arithmetic.logical("and_"),
    "logical_or": arithmetic.logical("or_"),
    "logical_xor": arithmetic.logical("xor"),
    "logical_not": arithmetic.logical("not_"),
    "where": arithmetic.where,
    "cast": cast,
    "relu": activation.relu,
    "leaky_relu": activation.leaky_relu,
    "hardsigmoid": activation.hardsigmoid,
    "hardswish": activation.hardswish,
    "hardshrink": activation.hardshrink,
    "softshrink": activation.softshrink,
    "softsign": activation.softsign,
    "threshold": activation.threshold,
}
LONG: dict[str, Function] = {
    "floor_div": arithmetic.floor_div,
    "remainder": arithmetic.remainder,
    "pow": power,
    "exp": exp,
    "exp2": exponential.exp2,
    "expm1": exponential.expm1,
    "log": log,
    "log1p": logarithm.log1p,
    "log2": logarithm.log2,
    "log10": logarithm.log10,
    "sin": trigonometry.sin,
    "cos": trigonometry.cos,
    "tan": trigonometry.tan,
    "asin": trigonometry.asin,
    "acos": trigonometry.acos,
    "atan": trigonometry.atan,
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "tanh": exponential.tanh,
    "asinh": logarithm.asinh,
    "acosh": logarithm.acosh,
    "atanh": logarithm.atanh,
    "erf": error.erf,
    "erfc": error.erfc,
    "sigmoid": exponential.sigmoid,
    "gelu": error.gelu,
    "gelu_tanh": error.gelu_tanh,
    "silu": activation.silu,
    "mish": activation.mish,
    "softplus": activation.softplus,
    "elu": activation.elu,
    "celu": activation.celu,
    "selu": activation.selu,
    "tanhshrink": exponential.tanhshrink,
    "log_sigmoid": activation.log_sigmoid,
}
