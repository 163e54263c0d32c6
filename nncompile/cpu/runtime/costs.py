"""The cost of sharing work on this machine, which launch.py decides by.

Another worker is worth it if it saves more time than giving it work takes. That time is measured
when the first workers start, which takes a few milliseconds, and stored for as long as the machine
runs.
"""
from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import numpy as np

from ir.float_mode import StandardFloats
from ir.records import dataclass
from nncompile.cpu import layout
from nncompile.cpu.machine.ceilings import kept, peak, seconds_of
from nncompile.cpu.objects import linker, load_functions, runtime
from nncompile.cpu.objects.primitives import (
    Pointer,
    atomic_load,
    atomic_store,
    exchange,
    null,
    relax,
)
from nncompile.cpu.runtime.load import load_runtime
from nncompile.cpu.runtime.pool import POOL, SPINS, Pool, share
from nncompile.cpu.vector import Target, host
from nncompile.errors import Error

_KIND = "costs"
_BATCHES, _MEETINGS = 40, 25                  # 1000 meetings: about a millisecond
LEAST, MOST = 20_000, 1_000_000               # operations, should the machine have been busy


# -- compiled --------------------------------------------------------------------------------------

@runtime
def meet(args: Pointer, sizes: Pointer, weights: Pointer, scratch: Pointer, block: int,
         queue: Pointer, fault: Pointer, worker: int) -> None:
    """Runs a job without work, which is done when two workers have come to it."""
    spins = 0
    if worker > 0:
        atomic_store(queue, 0, 1)
    while worker == 0 and atomic_load(queue, 0) == 0 and spins < SPINS:
        relax()
        spins += 1


@runtime
def meetings(pool: Pointer, queue: Pointer, job: Pointer, times: int) -> int:
    """Runs so many of these jobs one after the other; returns 0 if the pool has other work."""
    if exchange(pool, layout.BUSY, 1) != 0:
        return 0
    for _ in range(times):
        atomic_store(queue, 0, 0)
        share(pool, 2, job, null(), null(), null(), null(), 0, queue, 0, 0, null())
    exchange(pool, layout.BUSY, 0)
    return 1


_COMPILED = (meet, meetings)


# -- Python ----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Costs:
    """What decides how many workers a call is shared among.

    handoff: seconds until a waiting worker has begun a job and its caller knows.
    flops: operations of one thread a second, a multiply-add counting as two.
    """

    handoff: float
    flops: float

    def __post_init__(self) -> None:
        if not (0 < self.handoff < math.inf and 0 < self.flops < math.inf):
            raise ValueError(f"these are no costs: {self.handoff}, {self.flops}")

    @property
    def worth(self) -> int:
        """The operations that are worth another worker.

        Two threads save half of the time, which has to be more than the handoff.
        """
        return round(min(max(2 * self.handoff * self.flops, LEAST), MOST))

    def __str__(self) -> str:
        return (f"sharing  {self.handoff * 1e6:.2f} us until a worker has begun: worth it from "
                f"{self.worth / 1e3:.0f} thousand operations on")


def costs(pool: Pool, target: Target, *, again: bool = False) -> Costs:
    """Returns the costs of this machine. The pool has to have a worker, which helps to measure.

    Raises Error where the pool works for a model meanwhile.
    """
    return kept(_KIND, Costs, lambda: measure(pool, target), again)


def costs_here(*, again: bool = False) -> Costs:
    """Returns the costs measured with this process's own pool; two threads have to be possible."""
    target = host()
    load_runtime(target)
    POOL.start(2, linker(target).address("nnc_worker"))
    return costs(POOL, target, again=again)


def measure(pool: Pool, target: Target) -> Costs:
    """Returns the lower quartile of many short rounds, since others may have the CPU for a while.
    """
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    load_functions(_KIND, _COMPILED, _COMPILED, target)
    address = linker(target).address
    run = ctypes.CFUNCTYPE(word, pointer, pointer, pointer, word)(address("nnc_meetings"))
    queue = np.zeros(8, np.int64)

    def some() -> None:
        if not run(pool.address, queue.ctypes.data, address("nnc_meet"), _MEETINGS):
            raise Error("the workers are busy: the cost of sharing work cannot be measured now")

    with StandardFloats():                    # a user's call may be what starts the workers
        call, flops = peak(1, 0.0005)
        return Costs(_quartile(some) / _MEETINGS, flops / _quartile(call, 8))


def _quartile(call: Callable[[], None], times: int = _BATCHES) -> float:
    return sorted(seconds_of(call) for _ in range(times))[times // 4]
