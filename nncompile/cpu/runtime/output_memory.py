"""The memory of large results, which is used again once nothing refers to it.

The system takes back an array of more than 32 MiB as soon as it is dropped, and has to find and
clear as many pages for the next one, which can take as long as to compute its elements. So the
memory of two arrays is kept for each output: in `y = fast(x)` the new result is made while `y` is
still the last one.
"""
from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ir.types import NDArray

LARGE = 32 << 20                  # bytes: below, glibc may keep the memory itself
PAGE = 4096

_Memory = npt.NDArray[np.uint8]


def is_large(shape: Sequence[int], dtype: np.dtype[Any]) -> bool:
    """Returns whether the memory of such an array is kept."""
    return _COUNTED and prod(shape) * dtype.itemsize >= LARGE


class Results:
    """Makes arrays, and keeps the memory of a few large ones. Any thread may use it."""

    def __init__(self, most: int) -> None:
        self._kept: deque[_Memory] = deque(maxlen=most)

    def new(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray:
        """Returns an array that nothing else refers to, with undefined elements."""
        if not is_large(shape, dtype):
            return np.empty(shape, dtype)
        size = prod(shape) * dtype.itemsize
        memory = self._memory(size + PAGE)
        start = -memory.ctypes.data % PAGE
        return memory[start:start + size].view(dtype).reshape(shape)

    def _memory(self, size: int) -> _Memory:
        """Views of it refer to it, and so it counts who holds any."""
        for _ in range(len(self._kept)):
            try:
                memory, uses = _popped(self._kept)
            except IndexError:                # other threads took them
                break
            if uses > _UNUSED:
                self._kept.append(memory)
            elif memory.size == size:
                self._kept.append(memory)
                return memory
        memory = np.empty(size, np.uint8)
        self._kept.append(memory)             # without the oldest, if there are too many
        return memory


def _popped(queue: deque[_Memory]) -> tuple[_Memory, int]:
    """Its first element, which no other thread finds there any more, and its references."""
    memory = queue.popleft()
    return memory, sys.getrefcount(memory)


_UNUSED = _popped(deque([np.empty(1, np.uint8)]))[1]
# Is every use counted, at once?
_COUNTED = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()
