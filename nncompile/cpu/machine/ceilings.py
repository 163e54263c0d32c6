"""What this machine can do at most: multiply-adds a second, and bytes a second from each cache.

Measured by two kernels of our own, on any number of threads.  Ceilings belong beside what they are
compared with: a core alone and cool runs faster than in the midst of other work, so a benchmark
calls `peak` and `reader` in its own rounds.  What `nncompile hw` shows is measured once and kept.
"""
from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from llvmlite import ir as ll

from nncompile.cpu.machine import topology as caches
from nncompile.cpu.machine.topology import cores
from nncompile.cpu.objects import cache
from nncompile.cpu.objects.link import linker
from nncompile.cpu.vector.builder import I64, PTR, Emit, define
from nncompile.cpu.vector.target import Target, host, object_code

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHAINS = {32: 20, 16: 12}     # registers -> sums that do not wait for each other: latency x units
UNROLL = 16                   # vectors of a step of the reading loop
KIND = "ceilings"

Call = Callable[[], None]
Figures = TypeVar("Figures", bound="DataclassInstance")


@dataclass(frozen=True)
class Ceilings:
    """flops: a second.  bytes: a second, by level, "L1", "L2", "L3" and "memory".  Of `threads`
    threads together, each with data of its own."""

    threads: int
    flops: float
    bytes: dict[str, float]

    def __str__(self) -> str:
        levels = ", ".join(f"{level} {rate / 1e9:.0f}" for level, rate in self.bytes.items())
        return (f"ceiling  {self.threads} thread{'s' * (self.threads > 1)}: "
                f"{self.flops / 1e9:.0f} GFLOP/s float32; reads GB/s from {levels}")


# -- kernels ---------------------------------------------------------------------------------------

@functools.cache
def kernels(target: Target) -> tuple[Any, Any]:
    """fma(buffer, n): n rounds of multiply-adds in registers.  read(buffer, n, times, out): n
    floats, a multiple of UNROLL vectors, so many times.  ctypes lets other threads run meanwhile.
    """
    module = ll.Module(KIND)
    emit_fma(Emit(define(module, f"{KIND}_fma", {"buffer": PTR, "n": I64})[0], target))
    emit_read(Emit(define(module, f"{KIND}_read", {"buffer": PTR, "n": I64, "times": I64,
                                                   "out": PTR})[0], target))
    own = linker(target)
    if f"{KIND}_fma" not in own:
        own.add(cache.cached(KIND, str(module), target, lambda: object_code(module, target)))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    return (ctypes.CFUNCTYPE(None, pointer, number)(own.address(f"{KIND}_fma")),
            ctypes.CFUNCTYPE(None, pointer, number, number, pointer)(own.address(f"{KIND}_read")))


def emit_fma(e: Emit) -> None:
    buffer, n = e.function.args
    x, y = e.load(buffer), e.load(e.at(buffer, e.width))
    with e.loop(0, n, carried=[x] * chains(e.target)) as loop:
        loop.next = [e.fma(x, y, total) for total in loop.values]
    e.store(functools.reduce(e.b.fadd, loop.values), buffer)
    e.b.ret_void()


def emit_read(e: Emit) -> None:
    """Two halves side by side: one stream alone leaves a third of the memory's bandwidth."""
    buffer, n, times, out = e.function.args
    half, vectors = e.b.udiv(n, I64(2)), UNROLL // 2
    with e.loop(0, times, carried=[e.const(0.0)] * vectors) as again:
        with e.loop(0, half, vectors * e.width, carried=again.values) as loop:
            first = e.at(buffer, loop.index)
            second = e.at(first, half)
            for i, total in enumerate(loop.values):
                a, b = (e.load(e.at(stream, i * e.width)) for stream in (first, second))
                loop.next[i] = e.b.fadd(total, e.larger(a, b))
        again.next = loop.values
    e.store(functools.reduce(e.b.fadd, again.values), out)
    e.b.ret_void()


def chains(target: Target) -> int:
    return CHAINS[32 if target.avx512 or target.aarch64 else 16]


# -- calls of them ---------------------------------------------------------------------------------

def peak(threads: int, seconds: float = 0.01) -> tuple[Call, int]:
    """A call that does nothing but multiply-adds for about so long, and how many operations they
    are, a multiply-add as two."""
    target = host()
    fma, _ = kernels(target)
    random = np.random.default_rng(0)
    buffers = [random.standard_normal(2 * target.width, np.float32) for _ in range(threads)]

    def call(buffer: Any, rounds: int) -> Call:
        return lambda: fma(buffer.ctypes.data, rounds)

    few = 20_000
    rounds = int(few * seconds / min(seconds_of(call(buffers[0], few)) for _ in range(3))) + 1
    work = threads * rounds * 2 * chains(target) * target.width
    return together([call(buffer, rounds) for buffer in buffers]), work


def reader(size: int, threads: int, seconds: float = 0.01) -> tuple[Call, int]:
    """A call that reads `size` bytes again and again for about so long, each thread its share of
    them; and how many bytes it reads in all."""
    target = host()
    _, read = kernels(target)
    step = UNROLL * target.width
    count = max(1, size // (4 * threads * step)) * step
    buffers = [aligned(count + target.width) for _ in range(threads)]

    def call(buffer: Any, times: int) -> Call:
        return lambda: read(buffer.ctypes.data, count, times, buffer[count:].ctypes.data)

    call(buffers[0], 1)()
    taken = min(seconds_of(call(buffers[0], 10)) for _ in range(3)) / 10
    times = int(seconds / taken) + 1
    work = [call(buffer, times) for buffer in buffers]
    return together(work), threads * times * 4 * count


def aligned(count: int) -> Any:
    """So many random floats from a cache line's start on: pages of zeros may be one shared page."""
    whole = np.random.default_rng(count).standard_normal(count + 16, np.float32)
    skip = -whole.ctypes.data % 64 // 4
    return whole[skip:skip + count]


def together(work: Sequence[Call]) -> Call:
    """A call of all of them at once.  Each has a thread, which is kept on a core of its own: Linux
    may wake it on the CPU of who wakes it, and then two take turns for milliseconds."""
    if len(work) == 1:
        return work[0]
    cpus = cores() if hasattr(os, "sched_setaffinity") else []
    threads = [ThreadPoolExecutor(1, initializer=keep_on, initargs=(cpus[i:i + 1],))
               for i in range(len(work))]

    def call() -> None:
        for running in [thread.submit(one) for thread, one in zip(threads, work, strict=True)]:
            running.result()

    return call


def keep_on(cpus: Sequence[int]) -> None:
    """Keep the calling thread on these, if there are any."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def seconds_of(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# -- measured once and kept ------------------------------------------------------------------------

def ceilings(threads: int, *, again: bool = False) -> Ceilings:
    """Of this machine: what was kept since it started, or measured now, which takes a second."""
    return kept(f"{KIND}-{threads}", Ceilings, lambda: measure(threads), again)


def kept(name: str, kind: Callable[..., Figures], measure: Callable[[], Figures],
         again: bool = False) -> Figures:
    """Figures of this machine and target: what was kept since it started, or measured now."""
    folder, _ = cache.usable_folder()
    target = host()
    path = folder and folder / f"{name}-{target.cpu}-{target.level}.json"
    if path is not None and not again:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found = json.loads(path.read_text())
            if found.pop("boot") == boot():
                return kind(**found)
    measured = measure()
    if path is not None:
        with contextlib.suppress(OSError):
            path.write_text(json.dumps({"boot": boot(), **asdict(measured)}) + "\n")
    return measured


def boot() -> str:
    """Another one after each start of the system: a virtual machine may then be elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def measure(threads: int, rounds: int = 9) -> Ceilings:
    """The best of several rounds, in which everything is measured once."""
    calls = {"flops": peak(threads)} | {
        level: reader(size, threads) for level, size in level_sizes(threads).items()}
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, work) in calls.items():
            rates[name].append(work / seconds_of(call))
    best = {name: max(r) for name, r in rates.items()}
    return Ceilings(threads, best.pop("flops"), best)


def level_sizes(threads: int, folder: Path = caches.FOLDER) -> dict[str, int]:
    """Bytes that sit in each level for certain: half of it for each thread, half of the last level
    for all together; and for memory four times the last level."""
    own = {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}       # where the system does not tell
    own |= {f"L{level}": size for level, size in caches.cache_bytes(folder).items()}
    halves = {level: own[level] // 2 * threads for level in ("L1", "L2")}
    return halves | {"L3": max(own["L3"] // 2, 2 * halves["L2"]), "memory": 4 * own["L3"]}
