"""Scaled dot-product attention, alone and with the projections of multi-head attention."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from ir import Error, same
from nncompile.array import Array, apply, as_array, floating
from nncompile.array.creation import cat, zeros
from nncompile.array.sizes import is_traced
from nncompile.errors import InputError
from nncompile.nn.calls import from_outside
from nncompile.nn.functional.dropout import dropout
from nncompile.nn.functional.linear import linear

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]

_NEGATIVE = -math.inf


@from_outside
def scaled_dot_product_attention(query: Any, key: Any, value: Any, attn_mask: Any = None,
                                 dropout_p: float = 0.0, is_causal: bool = False,
                                 scale: float | None = None, enable_gqa: bool = False) -> Array:
    """Computes softmax(query @ key^T * scale + mask) @ value.

    query [..., L, E], key [..., S, E] and value [..., S, V] give [..., L, V].
    attn_mask: broadcasts to [..., L, S]; of bool, true where a key is seen, or of floats that are
    added to the scores. A query that sees no key gets 0. is_causal: query i sees the keys 0 to i.
    scale: 1 / sqrt(E) by default. enable_gqa: a head of key and value serves several of the query.
    Vaswani et al. (2017), arXiv:1706.03762.
    Raises InputError for attn_mask together with is_causal, and Error where shapes or dtypes do not
    fit, or for dropout in a trace.
    """
    q, k, v = (as_array("scaled_dot_product_attention", a) for a in (query, key, value))
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise Error(f"attention takes [..., length, width], got {q.type}, {k.type} and {v.type}")
    if attn_mask is not None and is_causal:
        raise InputError("attention takes attn_mask or is_causal, not both")
    if enable_gqa:
        k, v = (a.repeat_interleave(q.size(-3) // a.size(-3), -3) for a in (k, v))
    scores = q.matmul(k.transpose(-2, -1)).mul(_scale_of(q.size(-1), scale))
    if is_causal:
        scores = apply("where", _causal(q.size(-2), k.size(-2)), scores, _NEGATIVE)
    weights = scores.softmax(-1) if attn_mask is None else _masked_softmax(scores, attn_mask)
    if dropout_p > 0:
        weights = dropout(weights, dropout_p, True)
    return weights.matmul(v)


def _scale_of(width: Any, scale: Any) -> Any:
    """Returns what scores are multiplied by: the given scale, or 1 / sqrt(width)."""
    if scale is not None:
        return scale if is_traced(scale) else float(scale)
    if is_traced(width):
        return width ** -0.5
    return 1 / math.sqrt(width) if width else math.inf


def _causal(queries: Any, keys: Any) -> Array:
    """Returns a mask that is true where a query is not before the key."""
    rows = apply("iota", shape=(queries, 1), axis=0, dtype="i64")
    return apply("ge", rows, apply("iota", shape=(keys,), axis=0, dtype="i64"))


def _masked_softmax(scores: Array, attn_mask: Any) -> Array:
    """Returns the softmax over the keys that are seen; 0 for a query that sees none."""
    mask = as_array("attn_mask", attn_mask)
    if mask.type.dtype == "bool":
        scores = apply("where", mask, scores, _NEGATIVE)
    else:
        scores = scores.add(mask._cast(scores.type.dtype))
    if same(scores.size(-1), 0):                 # there is no key, and no largest score
        return scores.softmax(-1)
    nothing = apply("eq", scores.amax(-1, keepdim=True), _NEGATIVE)
    return apply("where", nothing, 0.0, scores.softmax(-1))


@from_outside
def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Any, out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None,
    need_weights: bool = True, attn_mask: Any = None, use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None, k_proj_weight: Any = None, v_proj_weight: Any = None,
    static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Array, Array | None]:
    """Computes nn.MultiheadAttention's forward for [L, N, E], or [L, E] without a batch.

    Raises InputError for static_k and static_v, which are not supported, and Error where arrays do
    not fit.
    """
    if static_k is not None or static_v is not None:
        raise InputError("multi_head_attention_forward takes no static_k and static_v")
    q, k, v = (as_array("attention", a) for a in (query, key, value))
    _check_ranks(q, k, v, key_padding_mask, attn_mask)
    _check_causal(is_causal, attn_mask)
    _check_widths(q, k, v, embed_dim_to_check, num_heads, use_separate_proj_weight)
    batched = q.ndim == 3
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else (
        as_array("in_proj_weight", in_proj_weight).chunk(3))
    q, k, v = _projected([_batch_first(a) for a in (q, k, v)], weights, in_proj_bias)
    mask = _merged_mask(q, k, num_heads, attn_mask, key_padding_mask)
    k, v = (_with_row(a, row) for a, row in ((k, bias_k), (v, bias_v)))
    q, k, v = (_heads(a, num_heads) for a in (q, k, v))
    if add_zero_attn:
        k, v = (cat([a, zeros(*a.shape[:2], 1, a.size(-1), dtype=a.dtype)], 2) for a in (k, v))
    dropped = dropout_p if training else 0.0
    return _joined_heads(q, k, v, _widened(mask, k), dropped, out_proj_weight, out_proj_bias,
                         batched, need_weights, average_attn_weights)


def _batch_first(x: Array) -> Array:
    """Returns [L, N, E] as [N, L, E], and [L, E] as [1, L, E]."""
    return (x if x.ndim == 3 else x.unsqueeze(1)).transpose(0, 1)


def _projected(arrays: Sequence[Array], weights: Sequence[Any], bias: Any) -> list[Array]:
    """Returns each array times its weight; the bias is that of all, one after another."""
    biases: Sequence[Any] = (None,) * 3
    if bias is not None:
        biases = as_array("in_proj_bias", bias).chunk(3)
    return [linear(a, w, b) for a, w, b in zip(arrays, weights, biases, strict=True)]


def _widened(mask: Array | None, k: Array) -> Array | None:
    """Returns the mask for all keys: those that were added to [N, heads, S, E] are seen."""
    if mask is None or (more := k.size(2) - mask.size(-1)) == 0:
        return mask
    return apply("pad", mask, low=(0,) * 4, high=(0, 0, 0, more), value=0.0)


def _with_row(x: Array, row: Any) -> Array:
    """Appends a key or value that is the same for each sequence."""
    if row is None:
        return x
    return cat([x, as_array("bias_k and bias_v", row).expand(x.size(0), 1, -1)], 1)


def _joined_heads(q: Array, k: Array, v: Array, mask: Array | None, dropout_p: float, weight: Any,
                  bias: Any, batched: bool, need_weights: bool, average: bool
                  ) -> tuple[Array, Array | None]:
    """Returns the heads' outputs concatenated and projected, and the attention weights if needed.
    """
    seen = None
    if need_weights:
        scores = q.mul(math.sqrt(1 / operator.index(q.size(-1)))).matmul(k.transpose(-2, -1))
        seen = (scores if mask is None else scores.add(mask)).softmax(-1)
        if dropout_p > 0:
            seen = dropout(seen, dropout_p, True)
        each = seen.matmul(v)
    else:
        each = scaled_dot_product_attention(q, k, v, mask, dropout_p)
    result = linear(each.transpose(1, 2).flatten(2), weight, bias).transpose(0, 1)
    if seen is not None:
        seen = seen.mean(1) if average else seen
    if not batched:
        result, seen = result.squeeze(1), None if seen is None else seen.squeeze(0)
    return result, seen


def _heads(x: Array, count: int) -> Array:
    """Returns [N, L, E] as [N, heads, L, E / heads]."""
    return x.unflatten(2, [count, -1]).transpose(1, 2)


def _merged_mask(q: Array, k: Array, num_heads: int, attn_mask: Any, key_padding_mask: Any
                 ) -> Array | None:
    """Returns both masks as one that is added to the scores [N, heads, L, S]; None without any."""
    count, queries, keys, dtype = q.size(0), q.size(1), k.size(1), q.type.dtype
    mask = None if attn_mask is None else _additive("attn_mask", attn_mask, dtype)
    if mask is not None:
        wanted = (queries, keys) if mask.ndim == 2 else (count * num_heads, queries, keys)
        if not same(mask.shape, wanted):
            raise Error(f"attn_mask is {list(wanted)}, not {mask.type}")
        shape = (1, 1) if mask.ndim == 2 else (count, num_heads)
        mask = mask.reshape(*shape, queries, keys)
    if key_padding_mask is None:
        return mask
    padding = _additive("key_padding_mask", key_padding_mask, dtype)
    if not same(padding.reshape(-1, keys).shape, (count, keys)):
        raise Error(f"key_padding_mask is [{count}, {keys}], not {padding.type}")
    padding = padding.reshape(count, 1, 1, keys)
    return padding if mask is None else mask.add(padding)


def _additive(name: str, given: Any, dtype: str) -> Array:
    """Returns a mask to be added: a bool one as -inf where it is true.

    Raises Error for integers.
    """
    mask = as_array(name, given)
    if mask.type.dtype == "bool":
        zero = apply("full", 0.0, shape=(), dtype=dtype)
        return apply("where", mask, _NEGATIVE, zero)
    if not mask.is_floating_point():
        raise Error(f"{name} is of bool or of floats, not {mask.type}")
    return floating(name, mask)._cast(dtype)


def _check_widths(q: Array, k: Array, v: Array, width: int, heads: int, separate: bool) -> None:
    if not same(q.size(-1), width) or width % heads:
        raise Error(f"attention expects a width of {width}, which {heads} heads divide, not "
                    f"{q.type}")
    if not separate and not same(k.shape, v.shape):
        raise Error(f"key and value have one shape, not {k.type} and {v.type}")


def _check_causal(is_causal: bool, attn_mask: Any) -> None:
    if is_causal and attn_mask is None:
        raise InputError("is_causal says something about attn_mask, which is missing")


def _check_ranks(q: Array, k: Array, v: Array, key_padding_mask: Any, attn_mask: Any) -> None:
    if q.ndim not in (2, 3) or not q.ndim == k.ndim == v.ndim:
        raise Error(f"attention takes [L, N, E] or [L, E], got {q.type}, {k.type} and {v.type}")
    for name, mask, ranks in [("key_padding_mask", key_padding_mask, (q.ndim - 1,)),
                              ("attn_mask", attn_mask, (2, 3))]:
        if mask is not None and as_array(name, mask).ndim not in ranks:
            raise Error(f"{name} has the wrong number of axes: {as_array(name, mask).type}")
