"""Loading a driver and its kernels: from the cache, or compiled now and cached.

Each kernel is one cached object, which all models share.  Each driver is one too; models of the
same structure have the same driver.
"""
from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nncompile.cpu.driver.values import Driver
from nncompile.cpu.objects import (
    Function,
    cached,
    compile_functions,
    compiling,
    do_all,
    entry_points,
    execute,
    kernel_primitive,
    linker,
    load_kernel,
    source_hash,
)
from nncompile.cpu.objects.primitives import PRIMITIVES, symbol
from nncompile.cpu.vector import Target


def load(driver: Driver, target: Target) -> dict[str, int]:
    """Loads the driver's functions and the kernels that it calls; returns the functions' addresses.

    Raises CompileError where the source says something that numba cannot compile.
    """
    text = driver.text
    tag = source_hash(text)
    symbols = {function.name: f"nnc_{function.name}_{tag}" for function in driver.functions}
    into = linker(target)

    def load_driver() -> None:
        if symbols["plan"] not in into:
            into.add(cached("driver", text, target, lambda: _compile(driver, symbols, target)))
    objects = {entry_points(k): k for k in driver.kernels.values()}
    jobs = [(name, partial(load_kernel, kernel, target)) for name, kernel in objects.items()]
    with compiling:
        do_all([*jobs, ("the driver", load_driver)])
    return {name: into.address(symbol) for name, symbol in symbols.items()}


def _compile(driver: Driver, symbols: Mapping[str, str], target: Target) -> bytes:
    """Object code of the driver's functions, under the given C symbols."""
    kernels = {name: kernel_primitive(kernel) for name, kernel in driver.kernels.items()}
    scope = execute(driver.text, {**PRIMITIVES, **kernels})
    functions = [Function(symbols[f.name], scope[f.name], f.letters, "n")
                 for f in driver.functions]
    for function, compiled in zip(driver.functions, functions, strict=True):
        scope[function.name] = symbol(function.name, function.letters, "n", compiled.symbol)
    return compile_functions(functions, target, symbols.values())
