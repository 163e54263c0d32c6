"""The machine that figures belong to."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nncompile.cpu.machine.topology import cache_bytes


def describe() -> str:
    """`AMD EPYC, 2 CPUs, L1 32 KiB, L2 1024 KiB, L3 32768 KiB`: every figure belongs to one."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([cpu_name(), f"{cpus} CPUs", *caches()])


def cpu_name() -> str:
    """The model name that Linux gives, or else the platform's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, sys.platform)


def caches() -> list[str]:
    """`L2 1024 KiB` for each cache of the first CPU that holds data, where Linux tells of any."""
    return [f"L{level} {size >> 10} KiB" for level, size in cache_bytes().items()]


def others_seconds(pids: Iterable[int] = ()) -> float:
    """CPU seconds that anyone but this process and those of `pids` has used on this machine; 0
    where unknown."""
    tick = os.sysconf("SC_CLK_TCK")
    try:
        fields = Path("/proc/stat").read_text().split()
        ours = sum(ticks(pid) for pid in (os.getpid(), *pids))
    except OSError:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal - ours) / tick


def ticks(pid: int) -> int:
    """CPU time of all threads of a process, in ticks of the system's clock: proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Hold NumPy's BLAS to this many threads; without threadpoolctl nothing can."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
    else:
        with threadpool_limits(count, user_api="blas"):
            yield
