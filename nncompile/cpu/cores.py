"""Which CPUs are cores of their own."""
from __future__ import annotations

import os
from pathlib import Path


def cores() -> list[int]:
    """The CPUs that this process may use, one of every core before any core's second one."""
    usable = sorted(os.sched_getaffinity(0))

    def place(cpu: int) -> tuple[int, int]:
        try:
            topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            first = int(topology.read_text().replace("-", ",").split(",")[0])
        except (OSError, ValueError):
            first = cpu
        return int(cpu != first), cpu

    return sorted(usable, key=place)
