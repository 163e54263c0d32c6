"""Flatten and Unflatten: several dimensions become one, one becomes several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nncompile.array import Array
from nncompile.nn.module import Module


class Flatten(Module):
    """Merges the dimensions from start_dim to end_dim, both included; by default all but the first.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Array) -> Array:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits the dimension dim into several, of the sizes unflattened_size; one of them may be -1.

    Raises TypeError for names of dimensions, and for sizes that are not integers.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError(f"Unflatten takes the axis as an integer, not {dim!r}: names of axes "
                            "are not supported")
        if not isinstance(unflattened_size, tuple | list):
            raise TypeError("unflattened_size is a tuple or a list of integers, not "
                            f"{type(unflattened_size).__name__}")
        if wrong := [size for size in unflattened_size if not isinstance(size, int)]:
            raise TypeError(f"unflattened_size is of integers, and one of them is {wrong[0]!r}")
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Any) -> Array:
        return input.unflatten(self.dim, self.unflattened_size)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
