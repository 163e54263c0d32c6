"""Layers without parameters that act on each element, or on each row."""

from __future__ import annotations

from typing import Any

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.nn.module import Module


class ReLU(Module):
    """max(x, 0).  inplace is accepted, and the input stays as it is all the same."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, x: Array) -> Any:
        return F.relu(x)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Tanh(Module):
    """The hyperbolic tangent of each element."""

    def forward(self, x: Array) -> Any:
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)) of each element."""

    def forward(self, x: Array) -> Any:
        return F.sigmoid(x)


class GELU(Module):
    """x * Phi(x); approximate="tanh" for the approximation by a tanh."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        F.gelu_op(approximate)
        self.approximate = approximate

    def forward(self, x: Array) -> Any:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x) / sum(exp(x)) along dim."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Array) -> Any:
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
