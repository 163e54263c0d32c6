"""The transformer's layers and stacks, after Vaswani et al. (2017), arXiv:1706.03762.

Arguments and shapes are those of torch.nn: src [L, N, E] and tgt [T, N, E] where E is d_model, N
first with batch_first; masks as in MultiheadAttention.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import DTypeLike

import nncompile.nn.functional as F
import nncompile.nn.init as init
from nncompile.array import Array
from nncompile.array.creation import full
from nncompile.errors import InputError
from nncompile.nn.attention import MultiheadAttention
from nncompile.nn.containers import ModuleList
from nncompile.nn.dropout import Dropout
from nncompile.nn.linear import Linear
from nncompile.nn.module import Module
from nncompile.nn.normalization import LayerNorm

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]

_Activation = str | Callable[[Array], Array]


class _TransformerLayer(Module):
    """A layer of parts, each with a residual connection, a norm and a dropout.

    The parts are attentions and at last linear2(dropout(activation(linear1(x)))).
    """

    _attentions: ClassVar[tuple[str, ...]]       # the names of these parts, in order

    self_attn: MultiheadAttention
    norm1: LayerNorm
    norm2: LayerNorm
    dropout1: Dropout
    dropout2: Dropout

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: _Activation = F.relu, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: DTypeLike | None = None) -> None:
        super().__init__()
        parts = range(1, len(self._attentions) + 2)
        for name in self._attentions:
            self.add_module(name, MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype))
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        for part in parts:
            norm = LayerNorm(d_model, layer_norm_eps, True, bias, device, dtype)
            self.add_module(f"norm{part}", norm)
        for part in parts:
            self.add_module(f"dropout{part}", Dropout(dropout))
        self.activation = _activation_of(activation)

    def _feed_forward(self, x: Array) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _add(self, x: Any, norm: LayerNorm, part: Callable[[Any], Any], drop: Dropout) -> Any:
        """Returns x plus a part's result, with the norm before the part or after the sum."""
        if self.norm_first:
            return x + drop(part(norm(x)))
        return norm(x + drop(part(x)))


def _attend(layer: MultiheadAttention, x: Any, memory: Any, mask: Any, padding: Any) -> Any:
    return layer(x, memory, memory, key_padding_mask=padding, need_weights=False, attn_mask=mask)[0]


class TransformerEncoderLayer(_TransformerLayer):
    """Computes self-attention and a feed-forward part, each with a residual connection and a norm.

    d_model: the width E. nhead: heads of attention. dim_feedforward: the width between linear1 and
    linear2. activation: "relu", "gelu" or a function. norm_first: norms come before the parts, not
    after the sums. [L, N, E] -> [L, N, E].
    """

    _attentions = ("self_attn",)

    def forward(self, src: Array, src_mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool = False) -> Any:
        """Returns the encoded sequence, in src's shape.

        src_mask: as attn_mask of MultiheadAttention. is_causal: a promise that it is causal.
        """
        def attention(x: Any) -> Any:
            return _attend(self.self_attn, x, x, src_mask, src_key_padding_mask)

        _check_causal(is_causal, src_mask)
        x = self._add(src, self.norm1, attention, self.dropout1)
        return self._add(x, self.norm2, self._feed_forward, self.dropout2)


class TransformerDecoderLayer(_TransformerLayer):
    """Computes self-attention, attention to the encoder's result, and a feed-forward part.

    Arguments as those of TransformerEncoderLayer. [T, N, E] and memory [L, N, E] -> [T, N, E].
    """

    _attentions = ("self_attn", "multihead_attn")

    multihead_attn: MultiheadAttention
    norm3: LayerNorm
    dropout3: Dropout

    def forward(self, tgt: Array, memory: Array, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool = False, memory_is_causal: bool = False) -> Any:
        """Returns the decoded sequence, in tgt's shape.

        memory: the encoder's result. Masks: as attn_mask and key_padding_mask of
        MultiheadAttention.
        """
        def to_itself(x: Any) -> Any:
            return _attend(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask)

        def to_memory(x: Any) -> Any:
            return _attend(self.multihead_attn, x, memory, memory_mask, memory_key_padding_mask)

        _check_causal(tgt_is_causal, tgt_mask)
        _check_causal(memory_is_causal, memory_mask)
        x = self._add(tgt, self.norm1, to_itself, self.dropout1)
        x = self._add(x, self.norm2, to_memory, self.dropout2)
        return self._add(x, self.norm3, self._feed_forward, self.dropout3)


class TransformerEncoder(Module):
    """Calls num_layers copies of a layer one after the other, and then a norm if one is given.

    enable_nested_tensor and mask_check select implementations in torch; here they change nothing.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(self, src: Array, mask: Any = None, src_key_padding_mask: Any = None,
                is_causal: bool | None = None) -> Any:
        """Returns the encoded sequence, in src's shape; the masks go to every layer."""
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, src_key_padding_mask=src_key_padding_mask,
                      is_causal=bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """Calls num_layers copies of a layer one after the other, and then a norm if one is given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt: Array, memory: Array, tgt_mask: Any = None, memory_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                tgt_is_causal: bool | None = None, memory_is_causal: bool = False) -> Any:
        """Returns the decoded sequence, in tgt's shape; the masks go to every layer."""
        x = tgt
        for layer in self.layers:
            x = layer(x, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
                      tgt_key_padding_mask=tgt_key_padding_mask,
                      memory_key_padding_mask=memory_key_padding_mask,
                      tgt_is_causal=bool(tgt_is_causal), memory_is_causal=memory_is_causal)
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder of src and a decoder of tgt that attends to the encoder's result.

    All matrices start by xavier_uniform_. custom_encoder, custom_decoder: modules used instead.
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
                 num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: _Activation = F.relu, custom_encoder: Any = None,
                 custom_decoder: Any = None, layer_norm_eps: float = 1e-5,
                 batch_first: bool = False, norm_first: bool = False, bias: bool = True,
                 device: Any = None, dtype: DTypeLike | None = None) -> None:
        super().__init__()
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                   batch_first, norm_first, bias, device, dtype)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, True, bias, device, dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*options), num_encoder_layers, norm())
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*options), num_decoder_layers, norm())
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(self, src: Array, tgt: Array, src_mask: Any = None, tgt_mask: Any = None,
                memory_mask: Any = None, src_key_padding_mask: Any = None,
                tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
                src_is_causal: bool | None = None, tgt_is_causal: bool | None = None,
                memory_is_causal: bool = False) -> Any:
        """Returns the decoder's result [T, N, E].

        Raises InputError where a width is not d_model.
        """
        if src.size(-1) != self.d_model or tgt.size(-1) != self.d_model:
            raise InputError(f"Transformer has the width {self.d_model}, got {src.type} and "
                             f"{tgt.type}")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask,
                              is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Array:
        """Returns the causal mask [sz, sz]: -inf above the diagonal and 0 elsewhere."""
        return full((sz, sz), float("-inf"), dtype=dtype, device=device).triu(1)


def _activation_of(given: _Activation) -> Callable[[Array], Any]:
    """Returns a function or module as it is, and "relu" or "gelu" as its function.

    Raises InputError for another name.
    """
    if callable(given):
        return given
    if given not in ("relu", "gelu"):
        raise InputError(f"activation is 'relu', 'gelu' or a function, not {given!r}")
    return F.relu if given == "relu" else F.gelu


def _check_causal(is_causal: bool, mask: Any) -> None:
    if is_causal and mask is None:
        raise InputError("is_causal says something about the mask, which is missing")
