"""The CPUs that this process may use, and how much of their time."""
from __future__ import annotations

import math
import os
from pathlib import Path


def cores() -> list[int]:
    """Returns the CPUs that this process may use, one of every core before any core's second one.
    """
    usable = sorted(os.sched_getaffinity(0))

    def place(cpu: int) -> tuple[int, int]:
        try:
            topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            first = int(topology.read_text().replace("-", ",").split(",")[0])
        except (OSError, ValueError):
            first = cpu
        return int(cpu != first), cpu

    return sorted(usable, key=place)


def usable_cpus() -> set[int]:
    """Returns the numbers of the CPUs that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def granted_cpus(root: Path = Path("/sys/fs/cgroup"),
                 groups: Path = Path("/proc/self/cgroup")) -> float:
    """Returns the CPU time a second that the process's control groups grant, or infinity."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return math.inf
    grants = [math.inf]
    for line in lines:                                     # "0::/path" or "4:cpu,cpuacct:/path"
        _, controllers, path = line.split(":", 2)
        if not controllers:
            grants += (_quota_v2(folder) for folder in _upwards(root, path))
        elif "cpu" in controllers.split(","):
            grants += (_quota_v1(folder) for top in (root / "cpu", root / controllers)
                       for folder in _upwards(top, path))
    return max(min(grants), 1.0)


def _upwards(root: Path, path: str) -> list[Path]:
    """The group's folder and those above it, up to the root: each may have a limit."""
    inner = Path(path.lstrip("/"))
    return [root / p for p in (inner, *inner.parents)]


def _quota_v2(folder: Path) -> float:
    words = _read_words(folder / "cpu.max")                 # "150000 100000" or "max 100000"
    return _quota(*words) if len(words) == 2 else math.inf


def _quota_v1(folder: Path) -> float:
    limit = _read_words(folder / "cpu.cfs_quota_us") or ["-1"]
    return _quota(limit[0], (_read_words(folder / "cpu.cfs_period_us") or ["1"])[0])


def _quota(limit: str, period: str) -> float:
    try:
        granted = float(limit) / float(period)
    except (ValueError, ZeroDivisionError):
        return math.inf                                    # "max"
    return granted if granted > 0 else math.inf            # -1: no limit


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
