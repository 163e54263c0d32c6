"""Dropout: noise in training, nothing at all in a compiled model."""

from __future__ import annotations

from typing import Any

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.nn.module import Module


class Dropout(Module):
    """In training mode zeros with probability p and scales the rest by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        F.check_probability(p)
        self.p = p
        self.inplace = inplace

    def _unlike_eval(self) -> bool:
        return self.training and self.p > 0

    def forward(self, x: Array) -> Any:
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
