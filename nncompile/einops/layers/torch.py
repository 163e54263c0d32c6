"""einops's layers as modules of nncompile: Rearrange, Reduce, EinMix.

The name is that of einops.layers.torch, which has the same layers for torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from einops.layers import RearrangeMixin, ReduceMixin
from einops.layers._einmix import _EinmixMixin

import nncompile.array.einops_backend  # noqa: F401
from nncompile.array import Array, creation, products
from nncompile.nn import Module, Parameter, init

__all__ = ["EinMix", "Rearrange", "Reduce"]


class Rearrange(RearrangeMixin, Module):
    """Reorders, splits and joins axes as a pattern says: Rearrange("b (h w) -> b h w", h=4).

    The sizes that the pattern cannot tell are given by name.
    """

    def forward(self, input: Any) -> Any:
        """Returns the rearranged array. Raises EinopsError where its shape does not fit."""
        return self._apply_recipe(input)


class Reduce(ReduceMixin, Module):
    """Reduces the axes that a pattern leaves out: Reduce("b t c -> b c", "mean").

    The reduction is "min", "max", "sum", "mean", "prod", "any" or "all".
    """

    def forward(self, input: Any) -> Any:
        """Returns the reduced array. Raises EinopsError where its shape does not fit."""
        return self._apply_recipe(input)


class EinMix(_EinmixMixin, Module):
    """A linear layer over named axes: EinMix("b c -> b d", weight_shape="c d", c=8, d=4).

    The weight, and the bias where bias_shape names its axes, begin uniform, as einops says.
    """

    def _create_parameters(self, weight_shape: Sequence[int], weight_bound: float,
                           bias_shape: Sequence[int] | None, bias_bound: float) -> None:
        self.weight = Parameter(creation.empty(weight_shape))
        init.uniform_(self.weight, -weight_bound, weight_bound)
        self.register_parameter("bias", None)
        if bias_shape is not None:
            self.bias = Parameter(creation.empty(bias_shape))
            init.uniform_(self.bias, -bias_bound, bias_bound)

    def _create_rearrange_layers(
            self, pre_reshape_pattern: str | None, pre_reshape_lengths: Mapping[str, int] | None,
            post_reshape_pattern: str | None, post_reshape_lengths: Mapping[str, int] | None
            ) -> None:
        self.pre_rearrange = _rearrange(pre_reshape_pattern, pre_reshape_lengths)
        self.post_rearrange = _rearrange(post_reshape_pattern, post_reshape_lengths)

    def forward(self, input: Any) -> Any:
        """Returns the sums of products of the input and the weight, with the bias added."""
        x: Array = input if self.pre_rearrange is None else self.pre_rearrange(input)
        x = products.einsum(self.einsum_pattern, x, self.weight)
        if self.bias is not None:
            x = x + self.bias
        return x if self.post_rearrange is None else self.post_rearrange(x)


def _rearrange(pattern: str | None, lengths: Mapping[str, int] | None) -> Any:
    layer: Any = Rearrange                       # its arguments are those of einops's base class
    return None if pattern is None else layer(pattern, **(lengths or {}))
