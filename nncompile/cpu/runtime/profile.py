"""The time of each step, measured in the generated source itself.

The source is run as Python, block after block on one thread, with each kernel replaced by a
function that reads the clock before and after it calls the compiled kernel.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from math import inf
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

_RUNS, _MOST_RUNS = 7, 200           # as many as take a twentieth of a second, and a few
_LONGEST = 0.05


def profile(driver: Driver, target: Target, arrays: Sequence[NDArray], sizes: NDArray,
            facts: NDArray, arena: NDArray) -> list[float]:
    """Returns the seconds of each step for these inputs and outputs, all blocks of rows together.

    They are the least of several runs, less what it takes to call a kernel from Python: just before
    each call of a kernel, a function that does nothing is called in the same way, and the least of
    its times is taken off. Called in a row instead, it would be quicker than it is between others.
    """
    clock = _Clock()
    timed = {name: clock.timed(kernel, target) for name, kernel in driver.kernels.items()}
    scope = execute(driver.text, {**PRIMITIVES, **timed})
    by_rows = "row_blocks" in scope
    floats = int(facts[layout.BLOCK_SCRATCH if by_rows else layout.PHASES_SCRATCH])
    scratch = np.empty(floats + 1, np.float32)
    run = scope["row_blocks" if by_rows else "phases"]
    steps = driver.phases
    runs: list[NDArray] = []
    begin = perf_counter()
    while len(runs) < _RUNS or (len(runs) < _MOST_RUNS and perf_counter() - begin < _LONGEST):
        clock.laps.clear()
        with StandardFloats():
            run(args=[a.reshape(-1) for a in arrays], sizes=sizes, weights=arena, scratch=scratch,
                block=int(facts[layout.MOST_ROWS]), queue=np.zeros(driver.queue_words, np.int64),
                fault=np.zeros(layout.FAULT_WORDS, np.int64), worker=0)
        runs.append(np.array(clock.laps or [(0.0, 0)] * steps))
    return least(runs, clock.overheads, steps)


def least(runs: Sequence[NDArray], overheads: Sequence[float], steps: int) -> list[float]:
    """Returns the seconds of each step: the least of the runs, without the cost of the calls.

    runs: of each run the laps of all steps, block after block: [[seconds, number of the kernel]].
    overheads: the cost of a call of each kernel.
    """
    costs = np.asarray(overheads or [0.0])
    best = np.full(steps, np.inf)
    for laps in runs:
        seconds = np.maximum(laps[:, 0] - costs[laps[:, 1].astype(int)], 0.0)
        best = np.minimum(best, seconds.reshape(-1, steps).sum(axis=0))
    return [float(s) for s in best]


class _Clock:
    """Times calls of compiled kernels.

    laps: the seconds of each call, with what it costs to call, and the number of its kernel.
    overheads: of each kernel, the least time of a call that does nothing.
    """

    def __init__(self) -> None:
        self.laps: list[tuple[float, int]] = []
        self.overheads: list[float] = []
        # takes a number in a register and returns at once, whatever else it is called with
        self.nothing = ctypes.cast(ctypes.CDLL(None)["abs"], ctypes.c_void_p).value or 0

    def timed(self, kernel: Kernel, target: Target) -> Callable[..., None]:
        """A function that calls the compiled kernel and appends to `laps`."""
        types = [ctypes.c_int64 if t == INT else ctypes.c_void_p for t in kernel.types]
        prototype = ctypes.CFUNCTYPE(None, *types)
        code, nothing = prototype(linker(target).address(kernel.symbol)), prototype(self.nothing)
        number = len(self.overheads)
        self.overheads.append(inf)

        def call(*arguments: Any) -> None:
            values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
            self.overheads[number] = min(self.overheads[number], _seconds(nothing, values))
            self.laps.append((_seconds(code, values), number))
        return call


def _seconds(code: Callable[..., None], values: Sequence[Any]) -> float:
    start = perf_counter()
    code(*values)
    return perf_counter() - start
