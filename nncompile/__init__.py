"""nncompile: from a layer graph to one fast callable.

    from nncompile import nn
    fast = nncompile.compile(model, "f32[B, 64]")
    y = fast(x)
"""
from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from nncompile import nn
from nncompile.array import Array
from nncompile.compiler import compile
from nncompile.errors import CompileError, Error, InputError, TraceError
from nncompile.model import CompiledModel
from nncompile.nn import manual_seed
from nncompile.nn.functional import cat, stack
from nncompile.trace import trace

try:
    __version__ = version("nncompile")
except PackageNotFoundError:                  # used from a source tree that is not installed
    __version__ = "0"

__all__ = ["Array", "CompileError", "CompiledModel", "Error", "InputError", "TraceError", "cat",
           "compile", "manual_seed", "nn", "stack", "trace"]
