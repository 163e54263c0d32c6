"""Dropout: noise in training, nothing at all in a compiled model."""

from __future__ import annotations

from typing import Any

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.nn.functional.dropout import check_probability
from nncompile.nn.module import Module


class _Noise(Module):
    """What the dropouts share: a probability, and that they do nothing in eval mode."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(p)
        self.p = p
        self.inplace = inplace

    def _unlike_eval(self) -> bool:
        return self.training and self.p > 0

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Noise):
    """In training mode zeros with probability p and scales the rest by 1 / (1 - p)."""

    def forward(self, input: Array) -> Any:
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Noise):
    """Dropout of whole channels of [N, C, L] or [C, L]."""

    def forward(self, input: Array) -> Any:
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Noise):
    """Dropout of whole channels of [N, C, H, W]."""

    def forward(self, input: Array) -> Any:
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Noise):
    """Dropout of whole channels of [N, C, D, H, W] or [C, D, H, W]."""

    def forward(self, input: Array) -> Any:
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of what SELU gives."""

    def forward(self, input: Array) -> Any:
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Noise):
    """AlphaDropout of whole channels."""

    def forward(self, input: Array) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
