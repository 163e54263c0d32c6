"""The MultiheadAttention layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.linear import NonDynamicallyQuantizableLinear
from nncompile.nn.module import Module
from nncompile.nn.parameter import Parameter, empty
from nncompile.placeholders import getter


class MultiheadAttention(Module):
    """Multi-head scaled dot-product attention, with projections before and after it.

        head_h = softmax(Q_h K_h^T / sqrt(E / num_heads)) V_h
        output = concat(heads) W_out^T + b_out

    query [L, N, E], key [S, N, kdim] and value [S, N, vdim] give an output [L, N, E], E being
    embed_dim; N comes first with batch_first, and may be missing. kdim and vdim are E by default.

    in_proj_weight [3 E, E], or q_proj_weight [E, E], k_proj_weight [E, kdim] and v_proj_weight
    [E, vdim] where kdim or vdim differ from E, start by xavier_uniform_; in_proj_bias [3 E] and
    out_proj.bias [E] as 0; out_proj.weight [E, E] as Linear's. With add_bias_kv, bias_k and bias_v
    [1, 1, E] start by xavier_normal_ and are appended to keys and values; with add_zero_attn, zeros
    are.
    Vaswani et al. (2017), arXiv:1706.03762.
    Raises InputError where num_heads does not divide embed_dim.
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise InputError(f"{num_heads} heads do not divide a width of {embed_dim}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        self.num_heads, self.dropout, self.batch_first = num_heads, dropout, batch_first
        self.head_dim = embed_dim // num_heads
        one = self._qkv_same_embed_dim
        shapes: dict[str, tuple[int, ...] | None] = {
            "q_proj_weight": None if one else (embed_dim, embed_dim),
            "k_proj_weight": None if one else (embed_dim, self.kdim),
            "v_proj_weight": None if one else (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim) if one else None,
            "in_proj_bias": (3 * embed_dim,) if bias else None,
        }
        for name, shape in shapes.items():
            parameter = None if shape is None else empty(shape, device, dtype)
            self.register_parameter(name, parameter)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            extra = empty((1, 1, embed_dim), device, dtype) if add_bias_kv else None
            self.register_parameter(name, extra)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = self._parameters[name]
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def _unlike_eval(self) -> bool:
        return self.training and self.dropout > 0

    def forward(self, query: Array, key: Array, value: Array, key_padding_mask: Array | None = None,
                need_weights: bool = True, attn_mask: Array | None = None,
                average_attn_weights: bool = True, is_causal: bool = False
                ) -> tuple[Array, Array | None]:
        """Returns the output, and with need_weights the attention weights, otherwise None.

        key_padding_mask: [N, S]. attn_mask: [L, S] or [N * num_heads, L, S]. A mask of bool is true
        where a key is not seen; one of floats is added to the scores.
        average_attn_weights: weights [N, L, S], the mean over the heads, or [N, num_heads, L, S].
        is_causal: a promise that attn_mask is causal; it requires one.
        """
        swapped = self.batch_first and query.ndim == 3
        if swapped:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        result, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight,
            self.in_proj_bias, self.bias_k, self.bias_v, self.add_zero_attn, self.dropout,
            self.out_proj.weight, self.out_proj.bias, self.training, key_padding_mask, need_weights,
            attn_mask, not self._qkv_same_embed_dim, self._parameters["q_proj_weight"],
            self._parameters["k_proj_weight"], self._parameters["v_proj_weight"],
            average_attn_weights=average_attn_weights, is_causal=is_causal)
        return (result.transpose(0, 1) if swapped else result), weights


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
    __path__: list[str] = []                     # torch's has modules inside
