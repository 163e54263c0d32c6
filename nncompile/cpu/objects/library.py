"""Kernels and functions of the runtime in this process, from the cache where it has them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir as ll

from nncompile import forks
from nncompile.cpu.kernels import INT, Kernel
from nncompile.cpu.objects.cache import cached
from nncompile.cpu.objects.compile import compile_functions, runtime_function
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.primitives import Primitive, symbol
from nncompile.cpu.vector import Target, object_code

compiling = forks.lock()                       # held while code is compiled or loaded


def kernel_primitive(kernel: Kernel) -> Primitive:
    """Returns the primitive by which generated source calls the kernel."""
    letters = "".join("i" if kind == INT else "p" for kind in kernel.types)
    return symbol(kernel.name, letters, "n", kernel.symbol)


def entry_points(kernel: Kernel) -> str:
    """Returns the name that a kernel's two entry points, which share an object, have in common."""
    return kernel.name.removeprefix("shared_")


def kernel_code(kernel: Kernel, target: Target) -> bytes:
    """Returns object code of both entry points of the kernel."""
    return cached("kernel", entry_points(kernel), target,
                  lambda: object_code(kernel_module(kernel, target), target))


def kernel_module(kernel: Kernel, target: Target) -> Any:
    """Returns LLVM IR of both entry points."""
    module = ll.Module(name=kernel.name)
    kernel.emit(module, target)
    return module


def load_functions(kind: str, compiled: Sequence[Primitive], exported: Sequence[Primitive],
                   target: Target) -> None:
    """Loads functions of the runtime, one cached object for each kind, unless they are loaded.

    exported: those that Python, and code that is compiled by itself, find by their symbols.
    """
    symbols = [runtime_function(function).symbol for function in exported]
    into = linker(target)
    with compiling:
        if symbols[0] not in into:
            into.add(cached(kind, "", target, lambda: compile_functions(
                [runtime_function(function) for function in compiled], target, symbols)))
