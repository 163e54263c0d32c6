"""Dropout layers, which act in training mode; a compiled model has none of them.

In training mode they draw random numbers, so that a trace raises Error: call model.eval() first.
"""

from __future__ import annotations

from typing import Any

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.nn.functional.dropout import check_probability
from nncompile.nn.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Noise(Module):
    """A layer that sets elements to zero with probability p in training mode.

    Raises InputError for p outside 0..1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(p)
        self.p, self.inplace = p, inplace

    def _unlike_eval(self) -> bool:
        return self.training and self.p > 0

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Noise):
    """Sets elements to zero with probability p, and scales the others by 1 / (1 - p).

    Hinton et al. (2012), arXiv:1207.0580.
    """

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
    """Dropout that preserves the mean and the variance of SELU's outputs.

    Klambauer et al. (2017), arXiv:1706.02515.
    """

    def forward(self, input: Array) -> Any:
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Noise):
    """AlphaDropout of whole channels of [N, C, ...]."""

    def forward(self, input: Array) -> Any:
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
