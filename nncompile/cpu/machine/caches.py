"""The CPU's caches, as Linux reports them, and the one that a model's weights fit into."""
from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
L2, L3, MEMORY = 2, 3, 4
_OWN_L2 = 1 << 20                             # where none is reported


@functools.cache
def cache_bytes(folder: Path = FOLDER) -> Mapping[int, int]:
    """Returns the bytes of each level of the first CPU's data caches, as far as reported."""
    sizes = {}
    for index in _indices(folder):
        try:
            level, kind, size = (_text_of(os.path.join(folder, index, name))
                                 for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction" and level.isdigit() and size[:-1].isdigit():
            sizes[int(level)] = int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}.get(size[-1], 1 << 10)
    return sizes


def _indices(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.startswith("index"))
    except OSError:
        return []


def _text_of(path: str) -> str:
    with open(path) as file:                   # pathlib's would take twice as long
        return file.read().strip()


def l2_bytes(folder: Path = FOLDER) -> int:
    """Returns the bytes of one core's L2 cache."""
    return cache_bytes(folder).get(L2, _OWN_L2)


def cache_of(size: int, folder: Path = FOLDER) -> int:
    """Returns where data of this size, read by each core repeatedly, come from: L2, L3 or MEMORY.
    """
    if size <= l2_bytes(folder):
        return L2
    return L3 if size <= cache_bytes(folder).get(L3, 0) else MEMORY
