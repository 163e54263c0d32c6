"""Layers that bring each row to one scale."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter, empty


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axes.

    weight and bias have the shape normalized_shape and start as 1 and 0.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(normalized_shape, Sequence):
            normalized_shape = [normalized_shape]
        self.normalized_shape = tuple(map(operator.index, normalized_shape))
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, there in ("weight", elementwise_affine), ("bias", elementwise_affine and bias):
            array = empty(self.normalized_shape, device, dtype) if there else None
            self.register_parameter(name, array)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Array) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, "
                f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}")
