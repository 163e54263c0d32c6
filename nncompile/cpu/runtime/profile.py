"""The time of each step, measured in the generated source itself.

The source is run as Python, block after block on one thread, with each kernel replaced by a
function that reads the clock before and after it calls the compiled kernel.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ir.float_mode import StandardFloats
from ir.types import NDArray
from nncompile.cpu import layout
from nncompile.cpu.driver import Driver
from nncompile.cpu.kernels import INT, Kernel
from nncompile.cpu.objects import execute, linker
from nncompile.cpu.objects.primitives import PRIMITIVES
from nncompile.cpu.vector import Target

_RUNS = 7
_CALIBRATIONS = 50


def profile(driver: Driver, target: Target, arrays: Sequence[NDArray], sizes: NDArray,
            facts: NDArray, arena: NDArray) -> list[float]:
    """Returns the seconds of each step for these inputs and outputs, all blocks of rows together.

    They are the least of several runs, less the time that it takes to call a kernel from Python.
    """
    clock = _Clock()
    timed = {name: clock.timed(kernel, target) for name, kernel in driver.kernels.items()}
    scope = execute(driver.text, {**PRIMITIVES, **timed})
    by_rows = "row_blocks" in scope
    floats = int(facts[layout.BLOCK_SCRATCH if by_rows else layout.PHASES_SCRATCH])
    scratch = np.empty(floats + 1, np.float32)
    run = scope["row_blocks" if by_rows else "phases"]
    steps = driver.phases
    best = np.full(steps, np.inf)
    for _ in range(_RUNS):
        clock.laps.clear()
        with StandardFloats():
            run(args=[a.reshape(-1) for a in arrays], sizes=sizes, weights=arena, scratch=scratch,
                block=int(facts[layout.MOST_ROWS]), queue=np.zeros(driver.queue_words, np.int64),
                fault=np.zeros(layout.FAULT_WORDS, np.int64), worker=0)
        laps = np.array(clock.laps or [0.0] * steps).reshape(-1, steps)
        best = np.minimum(best, laps.sum(axis=0))
    return [float(s) for s in best]


class _Clock:
    """Times calls of compiled kernels."""

    def __init__(self) -> None:
        self.laps: list[float] = []
        # takes a number in a register and returns at once, whatever else it is called with
        self.nothing = ctypes.cast(ctypes.CDLL(None)["abs"], ctypes.c_void_p).value or 0

    def timed(self, kernel: Kernel, target: Target) -> Callable[..., None]:
        """A function that calls the compiled kernel and appends its seconds to `laps`."""
        types = [ctypes.c_int64 if t == INT else ctypes.c_void_p for t in kernel.types]
        prototype = ctypes.CFUNCTYPE(None, *types)
        code, nothing = prototype(linker(target).address(kernel.symbol)), prototype(self.nothing)
        overhead: list[float] = []               # of such a call, from its first one on

        def call(*arguments: Any) -> None:
            values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
            if not overhead:
                overhead.append(min(_seconds(nothing, values) for _ in range(_CALIBRATIONS)))
            self.laps.append(max(0.0, _seconds(code, values) - overhead[0]))
        return call


def _seconds(code: Callable[..., None], values: Sequence[Any]) -> float:
    start = perf_counter()
    code(*values)
    return perf_counter() - start
