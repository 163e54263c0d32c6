"""Flatten: several axes into one."""

from __future__ import annotations

from nncompile.array import Array
from nncompile.nn.module import Module


class Flatten(Module):
    """The axes from start_dim to end_dim, both included, made one; by default all but the first."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Array) -> Array:
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
