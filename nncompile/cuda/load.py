"""Generated text -> functions; a kernel is compiled once a process, whoever uses it."""
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
    """The function `run` of the text, with its kernels ready to be launched."""
    scope = primitives(cuda, target) | {name: function(kernel) for name, kernel in kernels.items()}
    return execute(text, scope)["run"]                                 # type: ignore[no-any-return]


@cache
def function(kernel: Kernel) -> Any:
    """The kernel as numba has it: function(kernel)[grid, threads, stream](...).

    On a device it is compiled here, for its arguments' types, so that no call ever compiles.
    """
    cuda = find()
    scope = primitives(cuda, target_of(cuda))
    compiled = execute(kernel.text, scope)[kernel.name]
    if not cuda.simulated:
        compiled.compile(signature(kernel))
    return compiled


def execute(text: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Run definitions; tracebacks and debuggers show their lines."""
    name = f"<nncompile cuda {sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), scope)
    return scope


# -- types and PTX ---------------------------------------------------------------------------------

def signature(kernel: Kernel) -> tuple[Any, ...]:
    """The numba types of a kernel's arguments.  Arrays are contiguous, whatever their alignment."""
    types = numba_types()

    def of(text: str) -> Any:
        name = "i64[]" if text == "words" else text
        dtype = str(DTYPES[name.removesuffix("[]")])
        number = getattr(types, "boolean" if dtype == "bool" else dtype)
        return types.Array(number, 1, "C") if name.endswith("[]") else number

    return tuple(of(text) for text in kernel.types)


def numba_types() -> Any:
    from importlib import import_module
    return import_module("numba_cuda_mlir.types" if find().package == "numba-cuda-mlir"
                         else "numba.types")


def ptx(kernel: Kernel, capability: tuple[int, int]) -> str:
    """The kernel's PTX for a compute capability, as (9, 0); needs the compiler, but no GPU."""
    cuda = find()
    scope = primitives(cuda, target_of(cuda))
    scope["cuda"] = Undecorated(cuda.module)
    plain = execute(kernel.text, scope)[kernel.name]
    plain.__globals__["cuda"] = cuda.module
    code, _ = cuda.module.compile_ptx(plain, signature(kernel), cc=capability)
    return str(code)


class Undecorated:
    """In the place of numba.cuda while a kernel is defined: its decorator leaves the function."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def jit(self, function: Any) -> Any:
        return function
