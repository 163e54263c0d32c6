"""The words that generated source is written in, on a device and in the simulator."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nncompile.cuda.shim import Cuda
from nncompile.cuda.target import Target

MATH = ("exp", "log", "tanh", "sqrt", "erf", "erfc", "fabs", "sin", "cos", "tan", "asin", "acos",
        "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "log1p", "expm1",
        "pow", "fmod", "log2", "log10", "copysign")
NUMPY = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh",
         "acosh": "arccosh", "atanh": "arctanh"}
TYPES = ("float32", "float64", "int8", "uint8", "int32", "int64", "uint64")
LINE = 32                          # words of 4 bytes: what a warp reads at once


def primitives(cuda: Cuda, target: Target) -> dict[str, Any]:
    """The names that a kernel's or a driver's text may use, beside Python's own.

    cuda, float32, ..., int64, inf    as in numba.cuda, numpy and math
    exp, log, tanh, ...               of one number, in its own precision; never raise
    blocks(units), ceil_div(a, b)     for launches
    """
    def blocks(units: int) -> int:
        return min(max(units, 1), target.grid)

    shared = {name: getattr(np, name) for name in TYPES} | {
        "cuda": cuda.module, "inf": math.inf, "blocks": blocks, "ceil_div": ceil_div}
    if cuda.simulated:
        return shared | simulated_math()
    return shared | {name: getattr(math, name) for name in MATH}


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def aligned(count: int) -> int:
    """Words, rounded up so that the next buffer starts on a line."""
    return ceil_div(count, LINE) * LINE


def simulated_math() -> dict[str, Callable[..., Any]]:
    """Python's math raises where a device gives infinity or NaN; numpy's does not."""
    functions: dict[str, Callable[..., Any]] = {
        name: getattr(np, NUMPY.get(name, name)) for name in MATH
        if name not in ("erf", "erfc", "pow")}
    return functions | {"pow": lambda x, y: np.power([x], [y])[0],      # its x**0.5 is no sqrt
                        "erf": lambda x: type(x)(math.erf(x)),
                        "erfc": lambda x: type(x)(math.erfc(x))}
