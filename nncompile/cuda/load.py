"""Generated text -> functions; a kernel is compiled once in a process, whichever model uses it."""
from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import Any

from ir.types import DTYPES
from nncompile.cuda.kernels import Kernel
from nncompile.cuda.primitives import primitives
from nncompile.cuda.shim import Cuda, find
from nncompile.cuda.target import Target, target_of


def driver(text: str, kernels: Mapping[str, Kernel], cuda: Cuda,
           target: Target) -> Callable[..., Any]:
    """Returns the function `run` of the text, with its kernels ready to be launched."""
    scope = primitives(cuda, target) | {name: function(kernel) for name, kernel in kernels.items()}
    return execute(text, scope)["run"]                                 # type: ignore[no-any-return]


@cache
def function(kernel: Kernel) -> Any:
    """Returns the kernel as numba has it: function(kernel)[grid, threads, stream](...).

    On a device it is compiled here for its arguments' types, so that no call ever compiles.
    """
    cuda = find()
    scope = primitives(cuda, target_of(cuda))
    compiled = execute(kernel.text, scope)[kernel.name]
    if not cuda.simulated:
        compiled.compile(_signature(kernel))
    return compiled


def execute(text: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Runs definitions, whose lines tracebacks and debuggers can show."""
    name = f"<nncompile cuda {sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), scope)
    return scope


# -- types and PTX ---------------------------------------------------------------------------------

def _signature(kernel: Kernel) -> tuple[Any, ...]:
    """Returns the numba types of a kernel's arguments. Arrays are contiguous, of any alignment."""
    types = _numba_types()

    def of(text: str) -> Any:
        name = "i64[]" if text == "words" else text
        dtype = str(DTYPES[name.removesuffix("[]")])
        number = getattr(types, "boolean" if dtype == "bool" else dtype)
        return types.Array(number, 1, "C") if name.endswith("[]") else number

    return tuple(of(text) for text in kernel.types)


def _numba_types() -> Any:
    from importlib import import_module
    return import_module("numba_cuda_mlir.types" if find().package == "numba-cuda-mlir"
                         else "numba.types")


def ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """Returns the kernel's PTX for a compute capability such as (9, 0), without a GPU."""
    cuda = find()
    scope = primitives(cuda, target_of(cuda))
    scope["cuda"] = _Undecorated(cuda.module)
    plain = execute(kernel.text, scope)[kernel.name]
    plain.__globals__["cuda"] = cuda.module
    code, _ = cuda.module.compile_ptx(plain, _signature(kernel), cc=capability)
    return str(code)


class _Undecorated:
    """Takes the place of numba.cuda while a kernel is defined: its decorator changes nothing."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def jit(self, function: Any) -> Any:
        """Returns the function itself."""
        return function
