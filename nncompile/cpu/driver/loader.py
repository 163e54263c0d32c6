"""Loading a driver and its kernels: from the cache, or compiled now and cached.

Each kernel is one cached object, which all models share. Each driver is one too; models of the
same structure have the same driver.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from nncompile.cpu import objects
from nncompile.cpu.driver.values import Driver
from nncompile.cpu.machine import granted_cpus, usable_cpus
from nncompile.cpu.objects.primitives import PRIMITIVES, symbol
from nncompile.cpu.vector import Target

Further: TypeAlias = tuple[str, str, Callable[[objects.Emission], objects.Task]]


def load(driver: Driver, target: Target, further: Sequence[Further] = ()) -> dict[str, int]:
    """Loads the driver's functions and the kernels that it calls; returns the functions' addresses.

    further: other objects to load with them: what each is, its first symbol, and what begins it.
    Raises CompileError where the source says something that numba cannot compile.
    """
    tag = objects.source_hash(driver.text)
    symbols = {function.name: f"nnc_{function.name}_{tag}" for function in driver.functions}
    into = objects.linker(target)
    with objects.compiling, objects.Emission(target, _threads) as emission:
        # The kernels come first: other threads emit them while numba compiles on this one.
        jobs: list[objects.Job] = [
            (name, partial(objects.begin, name, piece, target, emission))
            for name, piece in objects.pieces(driver.kernels.values(), into).items()]
        others: list[Further] = [*further, ("the driver", symbols["plan"], partial(
            objects.begin_functions, "driver", driver.text, partial(_functions, driver, symbols),
            list(symbols.values()), target))]
        jobs += [(what, partial(begin, emission))
                 for what, symbol, begin in others if symbol not in into]
        if jobs:
            into.add(*objects.do_all(jobs))
    return {name: into.address(symbol) for name, symbol in symbols.items()}


def _threads() -> int:
    """Returns how many threads emit kernels beside the calling one, which needs a CPU for itself.

    Its Python takes longest, and nobody can help with that.
    """
    return int(min(len(usable_cpus()), granted_cpus())) - 1


def _functions(driver: Driver, symbols: Mapping[str, str]) -> list[objects.Function]:
    """The driver's functions, under the given C symbols."""
    kernels = {name: objects.kernel_primitive(kernel) for name, kernel in driver.kernels.items()}
    scope = objects.execute(driver.text, {**PRIMITIVES, **kernels})
    functions = [objects.Function(symbols[f.name], scope[f.name], f.letters, "n")
                 for f in driver.functions]
    scope.update({f.name: symbol(f.name, f.letters, "n", symbols[f.name])
                  for f in driver.functions})
    return functions
