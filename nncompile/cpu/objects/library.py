"""Kernels and functions of the runtime in this process, from the cache if they are there."""
from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from llvmlite import ir as ll

from nncompile.cpu.kernels import INT, Kernel
from nncompile.cpu.objects.cache import cached
from nncompile.cpu.objects.compile import compile_functions, runtime_function
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.primitives import Primitive, symbol
from nncompile.cpu.vector import Target, object_code

compiling = threading.RLock()                  # held by who compiles and loads
if hasattr(os, "register_at_fork"):            # a child never starts in the middle of a compilation
    os.register_at_fork(before=compiling.acquire, after_in_parent=compiling.release,
                        after_in_child=compiling.release)


def kernel_primitive(kernel: Kernel) -> Primitive:
    """What generated source calls the kernel by."""
    letters = "".join("i" if kind == INT else "p" for kind in kernel.types)
    return symbol(kernel.name, letters, "n", kernel.symbol)


def entry_points(kernel: Kernel) -> str:
    """The name that a kernel and the same shared by all workers, two functions of one object, have
    in common."""
    return kernel.name.removeprefix("shared_")


def load_kernel(kernel: Kernel, target: Target) -> None:
    """Both entry points of the kernel; nothing, if they are loaded."""
    into = linker(target)
    if kernel.symbol not in into:
        into.add(cached("kernel", entry_points(kernel), target,
                        lambda: object_code(kernel_module(kernel, target), target)))


def kernel_module(kernel: Kernel, target: Target) -> Any:
    """LLVM of both entry points."""
    module = ll.Module(name=kernel.name)
    kernel.emit(module, target)
    return module


def load_functions(kind: str, compiled: Sequence[Primitive], exported: Sequence[Primitive],
                   target: Target) -> None:
    """Functions of the runtime, one cached object for each kind; nothing, if they are loaded.

    exported: those that Python, and code that is compiled by itself, find by their symbols.
    """
    symbols = [runtime_function(function).symbol for function in exported]
    into = linker(target)
    with compiling:
        if symbols[0] not in into:
            into.add(cached(kind, "", target, lambda: compile_functions(
                [runtime_function(function) for function in compiled], target, symbols)))
