"""Loading a driver and its kernels: from the cache, or compiled now and cached.

Each kernel is one cached object, which all models share. Each driver is one too; models of the
same structure have the same driver.
"""
from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from nncompile.cpu import objects
from nncompile.cpu.driver.values import Driver
from nncompile.cpu.objects.primitives import PRIMITIVES, symbol
from nncompile.cpu.vector import Target


def load(driver: Driver, target: Target) -> dict[str, int]:
    """Loads the driver's functions and the kernels that it calls; returns the functions' addresses.

    Raises CompileError where the source says something that numba cannot compile.
    """
    text = driver.text
    tag = objects.source_hash(text)
    symbols = {function.name: f"nnc_{function.name}_{tag}" for function in driver.functions}
    into = objects.linker(target)
    with objects.compiling:
        kernels = {objects.entry_points(kernel): kernel for kernel in driver.kernels.values()}
        jobs = [(name, partial(objects.kernel_code, kernel, target))
                for name, kernel in kernels.items() if kernel.symbol not in into]
        if symbols["plan"] not in into:
            build = partial(_compile, driver, symbols, target)
            jobs.append(("the driver", partial(objects.cached, "driver", text, target, build)))
        if jobs:
            into.add(*objects.do_all(jobs))
    return {name: into.address(symbol) for name, symbol in symbols.items()}


def _compile(driver: Driver, symbols: Mapping[str, str], target: Target) -> bytes:
    """Object code of the driver's functions, under the given C symbols."""
    kernels = {name: objects.kernel_primitive(kernel) for name, kernel in driver.kernels.items()}
    scope = objects.execute(driver.text, {**PRIMITIVES, **kernels})
    functions = [objects.Function(symbols[f.name], scope[f.name], f.letters, "n")
                 for f in driver.functions]
    scope.update({f.name: symbol(f.name, f.letters, "n", symbols[f.name])
                  for f in driver.functions})
    return objects.compile_functions(functions, target, symbols.values())
