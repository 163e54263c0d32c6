"""The weights of a model in one block of memory, as its kernels read them.

The generated source names places in it (W0 = 0, W1 = 401920, ...); the numbers are an argument.
So models of one structure share their code, and new weights need no new code.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from ir.types import DTYPES, NDArray
from nncompile.cpu.kernels import pack_linear, packed_size
from nncompile.cpu.vector.target import Target

LINE = 16                                     # floats of a cache line: every entry starts on one
Floats = npt.NDArray[np.float32]
Fill = Callable[[Sequence[NDArray], NDArray], Any]         # write the model's constants to a place


@dataclass(frozen=True)
class Entry:
    """Where so many numbers of a dtype lie; offset and size count words of 4 bytes."""

    name: str
    offset: int
    count: int
    dtype: str
    about: str
    fill: Fill = field(compare=False)       # given zeros

    @property
    def bytes(self) -> int:
        return self.count * DTYPES[self.dtype].itemsize

    @property
    def size(self) -> int:
        return -(-self.bytes // 4)


class Arena:
    """Places are given while source is written; `pack` then lays constants out in them."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.entries: dict[tuple[object, ...], Entry] = {}

    @property
    def size(self) -> int:
        """Words of 4 bytes; one line at least, for a model without weights."""
        last = next(reversed(self.entries.values()), None)
        return max(LINE, last.offset + padded(last.size)) if last else LINE

    def linear(self, weight: int, bias: int | None, N: int, K: int, dtype: str) -> str:
        """Place of weight[N, K] and bias[N], packed for the linear kernel."""
        def fill(constants: Sequence[NDArray], out: NDArray) -> None:
            b = None if bias is None else constants[bias]
            pack_linear(constants[weight], b, self.target, out)
        size = packed_size(N, K, self.target, dtype)
        return self.place(("linear", weight, bias), dtype, size,
                          f"linear {K} -> {N}: panels, bias", fill)

    def array(self, constant: int, shape: Sequence[int], dtype: str) -> str:
        """Place of a constant in row-major order."""
        def fill(constants: Sequence[NDArray], out: NDArray) -> None:
            out.reshape(shape)[...] = constants[constant]
        return self.place(("array", constant), dtype, prod(shape), f"array {list(shape)}", fill)

    def scalar(self, value: float, dtype: str) -> str:
        """Place of one number; by repr, because 0.0 == -0.0."""
        def fill(_: Sequence[NDArray], out: NDArray) -> None:
            out[...] = np.array([value])                # casts, where a plain number must fit
        return self.place(("scalar", repr(value), dtype), dtype, 1, f"{value!r}", fill)

    def place(self, key: tuple[object, ...], dtype: str, count: int, about: str, fill: Fill) -> str:
        """An entry of so many elements of a dtype."""
        if key not in self.entries:
            about += f" of {dtype}" * (dtype != "f32")
            self.entries[key] = Entry(f"W{len(self.entries)}", self.size if self.entries else 0,
                                      count, dtype, about, fill)
        return self.entries[key].name

    def pack(self, constants: Sequence[NDArray]) -> Floats:
        """All entries' numbers, starting on a cache line: float32, or what lies there as such."""
        arena = aligned_zeros(self.size)
        with np.errstate(over="ignore"):
            for entry in self.entries.values():
                place = arena[entry.offset:].view(np.uint8)[:entry.bytes]
                entry.fill(constants, place.view(DTYPES[entry.dtype]))
        return arena


def padded(size: int) -> int:
    return -(-size // LINE) * LINE


def aligned_zeros(count: int) -> Floats:
    """`count` float32 zeros on a 64-byte boundary."""
    raw = np.zeros(4 * count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + 4 * count].view(np.float32)
