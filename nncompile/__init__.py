"""nncompile: from a layer graph to one fast callable.

    from nncompile import nn
    fast = nncompile.compile(model, "f32[B, 64]")
    y = fast(x)

The compiler itself is imported when it is first asked for: a script that only runs models, or looks
at them, does without it.
"""
from __future__ import annotations

from importlib import import_module as _import_module
from math import inf, nan, pi
from typing import TYPE_CHECKING
from typing import Any as _Any

from nncompile import forks as _forks
from nncompile.collection import importing as _importing_modules
from nncompile.sibling import check_sibling as _check_sibling

with _importing_modules():
    _check_sibling("ir")                      # before anything of it is imported
    from ir import Graph as _Graph
    from nncompile import functions, nn, placeholders
    from nncompile.array import Array
    from nncompile.array.core import Device as device
    from nncompile.array.dtypes import ElementType as dtype
    from nncompile.array.dtypes import (
        bfloat16,
        bool_,
        complex64,
        complex128,
        float16,
        float32,
        float64,
        int8,
        int16,
        int32,
        int64,
        uint8,
        uint16,
        uint32,
        uint64,
    )
    from nncompile.array.gradients import (
        enable_grad,
        inference_mode,
        is_grad_enabled,
        no_grad,
        set_grad_enabled,
    )
    from nncompile.array.limits import finfo, iinfo
    from nncompile.array.sizes import Size
    from nncompile.array.tensors import (
        BFloat16Tensor,
        BoolTensor,
        ByteTensor,
        CharTensor,
        DoubleTensor,
        FloatTensor,
        HalfTensor,
        IntTensor,
        LongTensor,
        ShortTensor,
        Tensor,
    )
    from nncompile.errors import (
        CompileError,
        Error,
        InputError,
        MissingExtraError,
        ModelImportError,
        PerformanceWarning,
        TraceError,
    )
    from nncompile.functions import *  # noqa: F403
    from nncompile.nn import manual_seed
    from nncompile.trace import trace, trace_structured

if TYPE_CHECKING:
    from nncompile.compiler import compile
    from nncompile.estimator import CompiledEstimator
    from nncompile.exporters.onnx import to_onnx
    from nncompile.importers.onnx import from_onnx
    from nncompile.importers.sklearn import from_sklearn
    from nncompile.importers.torch import from_torch
    from nncompile.model import CompiledModel
    from nncompile.serialization import load, save
    from nncompile.statefile import load_file, save_file

double, float, int, long, bool = float64, float32, int32, int64, bool_
half, short, cfloat, cdouble = float16, int16, complex64, complex128

__all__ = ["Array", "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "CompileError",
           "CompiledEstimator", "CompiledModel", "DoubleTensor", "Error", "FloatTensor",
           "HalfTensor", "InputError", "IntTensor", "LongTensor", "MissingExtraError",
           "ModelImportError", "PerformanceWarning", "ShortTensor", "Size", "Tensor", "TraceError",
           "bfloat16", "compile", "complex64", "complex128", "device", "dtype", "enable_grad",
           "finfo", "float16", "float32", "float64", "from_onnx", "from_sklearn", "from_torch",
           "iinfo", "inf", "inference_mode", "int8", "int16", "int32", "int64", "is_grad_enabled",
           "load", "load_file", "manual_seed", "nan", "nn", "no_grad", "pi", "save", "save_file",
           "set_grad_enabled", "to_onnx", "trace", "trace_structured", "uint8", "uint16", "uint32",
           "uint64", *functions.__all__]


# What is imported when it is asked for: modules, and names with the module that each is from.
_MODULES = ("compiler", "exporters", "importers", "model", "onnx_backend", "passes", "schedule")
_NAMES = {"compile": "compiler", "CompiledModel": "model", "from_onnx": "importers.onnx",
          "from_torch": "importers.torch", "from_sklearn": "importers.sklearn",
          "CompiledEstimator": "estimator",
          "load_file": "statefile", "save_file": "statefile", "to_onnx": "exporters.onnx",
          "load": "serialization", "save": "serialization"}
_importing = _forks.lock()           # a child would wait for an import that another thread began


def __getattr__(name: str) -> _Any:
    if name == "__version__":                    # of torch's whose names are here
        return _import_module("nncompile.version").__version__
    if name not in (*_MODULES, *_NAMES):
        return placeholders.getter(__name__)(name)
    with _importing, _importing_modules():
        module = _import_module(f"nncompile.{_NAMES.get(name, name)}")
    value = globals()[name] = getattr(module, name) if name in _NAMES else module
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_NAMES, "__version__"})


def _to_svg(graph: _Graph) -> str:
    """The drawing of a graph; what computes it is imported when it is first asked for."""
    drawing: str = _import_module("nncompile.inspect.drawing").to_svg(graph)
    return drawing


_Graph.drawer = _to_svg
placeholders.install()
