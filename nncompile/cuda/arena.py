"""The weights of a model as its kernels read them: arrays that live on the device.

The generated source names them (W0, W1, ...); they are an argument.  So models of one structure
share their kernels, and new weights need no new code.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ir.types import NDArray


@dataclass(frozen=True)
class Entry:
    name: str
    about: str
    fill: Callable[[Sequence[NDArray]], NDArray] = field(compare=False)


class Arena:
    """Places are given while source is written; `upload` then lays constants out on a device."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int], Entry] = {}

    def transposed(self, constant: int, shape: Sequence[int]) -> str:
        """A linear layer's weight[N, K] as [K, N]: threads side by side read side by side."""
        return self.place(("transposed", constant), f"{list(shape)[::-1]}, a weight transposed",
                          lambda constants: constants[constant].T)

    def array(self, constant: int, shape: Sequence[int]) -> str:
        """A constant in row-major order."""
        return self.place(("array", constant), f"{list(shape)}", lambda c: c[constant])

    def place(self, key: tuple[str, int], about: str,
              fill: Callable[[Sequence[NDArray]], NDArray]) -> str:
        if key not in self.entries:
            self.entries[key] = Entry(f"W{len(self.entries)}", about, fill)
        return self.entries[key].name

    def upload(self, constants: Sequence[NDArray], cuda: Any) -> list[Any]:
        """All entries' numbers as 1-D device arrays.  An empty one gets a number nobody reads."""
        arrays = [np.ascontiguousarray(e.fill(constants)).ravel() for e in self.entries.values()]
        return [cuda.to_device(a if a.size else np.zeros(1, a.dtype)) for a in arrays]
