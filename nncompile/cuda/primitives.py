"""The names that generated source may use, on a device and in the simulator."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nncompile.cuda.shim import Cuda
from nncompile.cuda.target import Target

MATH = ("exp", "log", "tanh", "sqrt", "erf", "erfc", "fabs", "sin", "cos", "tan", "asin", "acos",
        "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "log1p", "expm1",
        "pow", "fmod", "log2", "log10", "copysign", "atan2")
_NUMPY = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh",
          "acosh": "arccosh", "atanh": "arctanh", "atan2": "arctan2"}
TYPES = ("float32", "float64", "int8", "uint8", "int32", "int64", "uint64")
_LINE = 32                         # units of 4 bytes that a warp reads at once


def primitives(cuda: Cuda, target: Target) -> dict[str, Any]:
    """Returns the names that a kernel's or a driver's text may use, beside Python's own.

        cuda, float32, ..., int64, inf    as in numba.cuda, numpy and math
        exp, log, tanh, ...               of one number, in its own precision; they never raise
        blocks(units), ceil_div(a, b)     for launches

    The functions are those of Python's math on a device, and of NumPy in the simulator.
    """
    def blocks(units: int) -> int:
        return min(max(units, 1), target.grid)

    shared = {name: getattr(np, name) for name in TYPES} | {
        "cuda": cuda.module, "inf": math.inf, "blocks": blocks, "ceil_div": _ceil_div}
    if cuda.simulated:
        return shared | _simulated_math()
    return shared | {name: getattr(math, name) for name in MATH}


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def aligned(count: int) -> int:
    """Returns a size of scratch memory rounded up so that the next buffer starts on a line."""
    return _ceil_div(count, _LINE) * _LINE


def _simulated_math() -> dict[str, Callable[..., Any]]:
    """Returns NumPy's functions, since Python's raise where a device gives infinity or NaN."""
    functions: dict[str, Callable[..., Any]] = {
        name: getattr(np, _NUMPY.get(name, name)) for name in MATH
        if name not in ("erf", "erfc", "pow")}
    return functions | {"pow": lambda x, y: np.power([x], [y])[0],    # of scalars it is no sqrt
                        "erf": lambda x: type(x)(math.erf(x)),
                        "erfc": lambda x: type(x)(math.erfc(x))}
