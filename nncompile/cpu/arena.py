"""The weights of a model in one block of memory, as its kernels read them.

The generated source names places in it (W0 = 0, W1 = 401920, ...); the numbers are an argument.
So models of one structure share their code, and new weights need no new code.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nncompile.cpu.kernels import pack_linear, packed_size
from nncompile.cpu.target import Target

LINE = 16                                     # floats of a cache line: every entry starts on one
Floats = npt.NDArray[np.float32]
Fill = Callable[[Sequence[Floats]], Floats]   # the model's constants -> this entry's numbers


@dataclass(frozen=True)
class Entry:
    name: str
    offset: int
    size: int
    about: str
    fill: Fill = field(compare=False)


class Arena:
    """Places are given while source is written; `pack` then lays constants out in them."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.entries: dict[tuple[object, ...], Entry] = {}

    @property
    def size(self) -> int:
        last = max(self.entries.values(), key=lambda e: e.offset, default=None)
        return LINE if last is None else last.offset + padded(last.size)

    def linear(self, weight: int, bias: int | None, N: int, K: int) -> str:
        """Place of weight[N, K] and bias[N], packed for the linear kernel."""
        def fill(constants: Sequence[Floats]) -> Floats:
            b = None if bias is None else constants[bias]
            return pack_linear(constants[weight], b, self.target)
        size = packed_size(N, K, self.target)
        return self.place(("linear", weight, bias), size, f"linear {K} -> {N}: panels, bias", fill)

    def array(self, constant: int, shape: Sequence[int]) -> str:
        """Place of a constant in row-major order."""
        return self.place(("array", constant), int(np.prod(shape)), f"array {list(shape)}",
                          lambda constants: np.ascontiguousarray(constants[constant]).ravel())

    def scalar(self, value: float) -> str:
        """Place of one number; by repr, because 0.0 == -0.0."""
        return self.place(("scalar", repr(value)), 1, f"{value!r}",
                          lambda _: np.array([value], np.float32))

    def place(self, key: tuple[object, ...], size: int, about: str, fill: Fill) -> str:
        if key not in self.entries:
            self.entries[key] = Entry(f"W{len(self.entries)}", self.size if self.entries else 0,
                                      size, about, fill)
        return self.entries[key].name

    def pack(self, constants: Sequence[npt.NDArray]) -> Floats:
        """All entries' numbers: float32, starting on a cache line."""
        arena = aligned_zeros(self.size)
        with np.errstate(over="ignore"):
            for entry in self.entries.values():
                arena[entry.offset:entry.offset + entry.size] = entry.fill(constants)
        return arena


def padded(size: int) -> int:
    return -(-size // LINE) * LINE


def aligned_zeros(count: int) -> Floats:
    """`count` float32 zeros on a 64-byte boundary."""
    raw = np.zeros(4 * count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + 4 * count].view(np.float32)
