"""nncompile: from a layer graph to one fast callable.

    from nncompile import nn
    fast = nncompile.compile(model, "f32[B, 64]")
    y = fast(x)
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
from nncompile.compiler import compile
from nncompile.errors import CompileError, Error, InputError, TraceError
from nncompile.functions import *  # noqa: F403
from nncompile.model import CompiledModel
from nncompile.nn import manual_seed
from nncompile.trace import trace, trace_structured

Size = tuple[_Any, ...]                       # of sizes, which torch has a type for
Tensor = Array                                # the name that models written for torch know it by
double, float, int, long, bool = float64, float32, int32, int64, bool_

__all__ = [
    "Array", "CompileError", "CompiledModel", "Error", "InputError", "Size", "Tensor", "TraceError",
    "compile", "device", "dtype", "enable_grad", "finfo", "float32", "float64", "iinfo", "inf",
    "inference_mode", "int8", "int32", "int64", "is_grad_enabled", "manual_seed", "nan", "nn",
    "no_grad", "pi", "set_grad_enabled", "trace", "trace_structured", "uint8", *functions.__all__,
]


def __getattr__(name: str) -> str:
    """`__version__`: what looks it up takes a quarter of the time that all else takes to import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("nncompile")
    except PackageNotFoundError:              # used from a source tree that is not installed
        return "0"
