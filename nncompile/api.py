"""The names of the package, but for those of the compiler: what defining a model takes.

`nncompile.exp` is `nncompile.api.exp`: the package imports this module when it is first asked for
such a name.
"""
from __future__ import annotations

from math import inf, nan, pi
from typing import Any as _Any

from numpy import dtype, finfo, iinfo

from nncompile import functions, nn
from nncompile.array import Array
from nncompile.array.core import Device as device
from nncompile.array.dtypes import bool_, float32, float64, int8, int32, int64, uint8
from nncompile.array.gradients import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from nncompile.errors import CompileError, Error, InputError, TraceError
from nncompile.functions import *  # noqa: F403
from nncompile.nn import manual_seed
from nncompile.tracing import trace, trace_structured

Size = tuple[_Any, ...]                       # of sizes, which torch has a type for
Tensor = Array                                # the name that models written for torch know it by
double, float, int, long, bool = float64, float32, int32, int64, bool_

__all__ = [
    "Array", "CompileError", "Error", "InputError", "Size", "Tensor", "TraceError",
    "device", "dtype", "enable_grad", "finfo", "float32", "float64", "iinfo", "inf",
    "inference_mode", "int8", "int32", "int64", "is_grad_enabled", "manual_seed", "nan", "nn",
    "no_grad", "pi", "set_grad_enabled", "trace", "trace_structured", "uint8",
]
__all__ += functions.__all__
