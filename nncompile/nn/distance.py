"""Similarity and distance of pairs of vectors."""

from __future__ import annotations

from typing import Any

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.nn.module import Module


class CosineSimilarity(Module):
    """Computes x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along dim, which the result lacks."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Array, x2: Array) -> Any:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """Computes the p-norm of x1 - x2 + eps along the last dimension: [..., D] -> [...].

    keepdim: the dimension stays, with size 1.
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps, self.keepdim = eps, keepdim

    def forward(self, x1: Array, x2: Array) -> Any:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
