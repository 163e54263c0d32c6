"""The machine that figures are measured on."""
from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nncompile.cpu.machine import cache_bytes


def describe() -> str:
    """Returns the machine in words: `AMD EPYC, 2 CPUs, L1 32 KiB, L2 1024 KiB, L3 32768 KiB`."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([cpu_name(), f"{cpus} CPUs", *caches()])


def cpu_name() -> str:
    """Returns the model name that Linux gives, or the platform's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, sys.platform)


def caches() -> list[str]:
    """Returns `L2 1024 KiB` for each data cache of the first CPU, where Linux lists any."""
    return [f"L{level} {size >> 10} KiB" for level, size in cache_bytes().items()]


def others_seconds(pids: Iterable[int] = ()) -> float:
    """Returns the CPU seconds used on this machine by other processes than this one and `pids`.

    Returns 0 where that is unknown.
    """
    tick = os.sysconf("SC_CLK_TCK")
    try:
        fields = Path("/proc/stat").read_text().split()
        ours = sum(ticks(pid) for pid in (os.getpid(), *pids))
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal - ours) / tick


def busy_since_now(pids: Iterable[int] = ()) -> Callable[[], float]:
    """Returns a function that says how many CPUs others have used since, as in `others_seconds`."""
    pids = list(pids)
    begin, others = time.perf_counter(), others_seconds(pids)
    return lambda: (others_seconds(pids) - others) / (time.perf_counter() - begin)


def ticks(pid: int) -> int:
    """Returns the CPU time of all threads of a process, in clock ticks: proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limits NumPy's BLAS to this many threads; without threadpoolctl it has no effect."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
    else:
        with threadpool_limits(count, user_api="blas"):
            yield
