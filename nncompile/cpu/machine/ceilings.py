"""The machine's limits: multiply-adds a second, and bytes read a second from each cache.

They are measured by two kernels on any number of threads. A core that is alone and cool runs faster
than one in the midst of other work, so that a benchmark calls `peak` and `reader` in its own rounds
and compares with those. `nncompile hw` shows limits that are measured once and stored.
"""
from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from llvmlite import ir as ll

from nncompile.cpu.machine import caches, cores
from nncompile.cpu.objects import cache, linker
from nncompile.cpu.vector import I64, PTR, Emit, Target, define, host, lanes, object_code

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CHAINS = {32: 20, 16: 12}    # registers -> independent sums: latency x units
_UNROLL = 16                  # vectors read in an iteration
_KIND = "ceilings"
ROUNDS, _ALONE = 9, 5         # of several threads; as often of one alone

DTYPES: Mapping[str, Any] = {"f32": np.float32, "f64": np.float64}     # that are multiplied

_Call = Callable[[], None]
Step = Callable[[str], None]
_Figures = TypeVar("_Figures", bound="DataclassInstance")


@dataclass(frozen=True)
class Ceilings:
    """The limits of `threads` threads together, each with its own data.

    flops, flops_f64: float32 and float64 operations a second. bytes: bytes a second by level, "L1",
    "L2", "L3" and "memory".
    """

    threads: int
    flops: float
    flops_f64: float
    bytes: dict[str, float]


# -- kernels ---------------------------------------------------------------------------------------

@functools.cache
def kernels(target: Target) -> tuple[Mapping[str, Any], Any]:
    """Returns the compiled kernels fma, one for each dtype, and read.

    fma(buffer, n) runs n rounds of multiply-adds in registers; read(buffer, n, times, out) reads n
    floats, a multiple of `_UNROLL` vectors, so many times. ctypes lets other threads run meanwhile.
    """
    module = ll.Module(_KIND)
    for dtype in DTYPES:
        emit_fma(Emit(define(module, f"{_KIND}_fma_{dtype}", {"buffer": PTR, "n": I64})[0], target,
                      dtype))
    emit_read(Emit(define(module, f"{_KIND}_read", {"buffer": PTR, "n": I64, "times": I64,
                                                    "out": PTR})[0], target))
    own = linker(target)
    if f"{_KIND}_read" not in own:
        own.add(cache.cached(_KIND, str(module), target, lambda: object_code(module, target)))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    return ({dtype: ctypes.CFUNCTYPE(None, pointer, number)(own.address(f"{_KIND}_fma_{dtype}"))
             for dtype in DTYPES},
            ctypes.CFUNCTYPE(None, pointer, number, number, pointer)(own.address(f"{_KIND}_read")))


def emit_fma(e: Emit) -> None:
    """Emits independent chains of multiply-adds on vectors in registers."""
    buffer, n = e.function.args
    x, y = e.load(buffer), e.load(e.at(buffer, e.width))
    with e.loop(0, n, carried=[x] * chains(e.target)) as loop:
        loop.next = [e.fma(x, y, total) for total in loop.values]
    e.store(functools.reduce(e.b.fadd, loop.values), buffer)
    e.b.ret_void()


def emit_read(e: Emit) -> None:
    """Emits reads of two halves side by side.

    One stream would use only two thirds of the memory bandwidth.
    """
    buffer, n, times, out = e.function.args
    half, vectors = e.b.udiv(n, I64(2)), _UNROLL // 2
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
    """Returns the number of independent sums that hide the latency of multiply-adds."""
    return _CHAINS[32 if target.avx512 or target.aarch64 else 16]


# -- calls of them ---------------------------------------------------------------------------------

def peak(threads: int, seconds: float = 0.01, dtype: str = "f32") -> tuple[_Call, int]:
    """Returns a call of multiply-adds for about so many seconds, and its number of operations.

    A multiply-add counts as two operations.
    """
    target = host()
    fma, width = kernels(target)[0][dtype], lanes(target, dtype)
    random = np.random.default_rng(0)
    buffers = [random.standard_normal(2 * width, DTYPES[dtype]) for _ in range(threads)]

    def call(buffer: Any, rounds: int) -> _Call:
        return lambda: fma(buffer.ctypes.data, rounds)

    few = 20_000
    rounds = int(few * seconds / min(seconds_of(call(buffers[0], few)) for _ in range(3))) + 1
    work = threads * rounds * 2 * chains(target) * width
    return _together([call(buffer, rounds) for buffer in buffers]), work


def reader(size: int, threads: int, seconds: float = 0.01) -> tuple[_Call, int]:
    """Returns a call that reads `size` bytes repeatedly for about so many seconds.

    Also returns the number of bytes that it reads in all. Each thread reads its share of them.
    """
    target = host()
    _, read = kernels(target)
    step = _UNROLL * target.width
    count = max(1, size // (4 * threads * step)) * step
    buffers = [_aligned(count + target.width) for _ in range(threads)]

    def call(buffer: Any, times: int) -> _Call:
        return lambda: read(buffer.ctypes.data, count, times, buffer[count:].ctypes.data)

    call(buffers[0], 1)()
    taken = min(seconds_of(call(buffers[0], 10)) for _ in range(3)) / 10
    times = int(seconds / taken) + 1
    work = [call(buffer, times) for buffer in buffers]
    return _together(work), threads * times * 4 * count


def _aligned(count: int) -> Any:
    """Returns random floats from the start of a cache line; pages of zeros may be one shared page.
    """
    whole = np.random.default_rng(count).standard_normal(count + 16, np.float32)
    skip = -whole.ctypes.data % 64 // 4
    return whole[skip:skip + count]


def _together(work: Sequence[_Call]) -> _Call:
    """Returns a call of all of them at once, each in a thread that is bound to its own core.

    Unbound, Linux may wake a thread on the CPU of the one that wakes it, and the two then take
    turns for milliseconds.
    """
    if len(work) == 1:
        return work[0]
    cpus = cores() if hasattr(os, "sched_setaffinity") else []
    threads = [ThreadPoolExecutor(1, initializer=_keep_on, initargs=(cpus[i:i + 1],))
               for i in range(len(work))]

    def call() -> None:
        for running in [thread.submit(one) for thread, one in zip(threads, work, strict=True)]:
            running.result()

    return call


def _keep_on(cpus: Sequence[int]) -> None:
    """Binds the calling thread to these CPUs, if there are any."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def seconds_of(call: _Call) -> float:
    """Returns the seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# -- measured once and kept ------------------------------------------------------------------------

def ceilings(threads: int, *, again: bool = False, step: Step = lambda what: None) -> Ceilings:
    """Returns the limits that were stored since the machine started, or measures them in a second.

    step: is told what is measured now, before each round.
    """
    return kept(f"{_KIND}-{threads}", Ceilings, lambda: measure(threads, step=step), again)


def kept(name: str, kind: Callable[..., _Figures], measure: Callable[[], _Figures],
         again: bool = False) -> _Figures:
    """Returns figures of this machine that were stored since it started, or measures them."""
    folder, _ = cache.usable_folder()
    target = host()
    path = folder and folder / f"{name}-{target.cpu}-{target.level}.json"
    if path is not None and not again:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            found = json.loads(cache.contents(path) or b"")
            if found.pop("boot") == boot():
                return kind(**found)
    measured = measure()
    if path is not None:
        with contextlib.suppress(OSError):
            cache.write(path, (json.dumps({"boot": boot(), **asdict(measured)}) + "\n").encode())
    return measured


def boot() -> str:
    """Returns the identity of this start of the system; a virtual machine may move between starts.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def measure(threads: int, rounds: int = ROUNDS, step: Step = lambda what: None) -> Ceilings:
    """Returns the best of several rounds, in each of which everything is measured once.

    One thread alone is measured more often and for shorter: such turns fit between those of other
    processes. Several threads need longer ones, in which they begin together.
    """
    seconds, rounds = (0.01, rounds) if threads > 1 else (0.002, _ALONE * rounds)
    calls = {"flops": peak(threads, seconds),
             "flops_f64": peak(threads, seconds, dtype="f64")} | {
        level: reader(size, threads, seconds) for level, size in level_sizes(threads).items()}
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        step(f"the ceilings of {threads} thread{'s' * (threads > 1)}")
        for name, (call, work) in calls.items():
            rates[name].append(work / seconds_of(call))
    best = {name: max(r) for name, r in rates.items()}
    return Ceilings(threads, best.pop("flops"), best.pop("flops_f64"), best)


def level_sizes(threads: int, folder: Path = caches.FOLDER) -> dict[str, int]:
    """Returns a number of bytes that certainly fits each level, and for memory one that does not.

    It is half of L1 and L2 for each thread, half of L3 for all threads, and four times L3.
    """
    own = {"L1": 32 << 10, "L2": 512 << 10, "L3": 8 << 20}       # where none are reported
    own |= {f"L{level}": size for level, size in caches.cache_bytes(folder).items()}
    halves = {level: own[level] // 2 * threads for level in ("L1", "L2")}
    return halves | {"L3": max(own["L3"] // 2, 2 * halves["L2"]), "memory": 4 * own["L3"]}
