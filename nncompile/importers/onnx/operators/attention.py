"""Attention, rotary embeddings, and attention that is linear in the length."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error
from ir.types import Dim, divide, same
from nncompile.array import Array, apply
from nncompile.array.creation import cat
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.sizes import size_in_graph

_HIDDEN = -math.inf


# -- heads -----------------------------------------------------------------------------------------

def heads(x: Array, count: Dim | None) -> Array:
    """Returns [N, L, heads * E] as [N, heads, L, E]."""
    if count is None or same(count, 0):
        raise Error("the number of heads is missing, and its inputs have three axes")
    width = divide(x.type.shape[2], count)
    if width is None:
        raise Error(f"{count} heads do not divide the width of {x.type}")
    return x.view([x.type.shape[0], x.type.shape[1], count, width]).permute(0, 2, 1, 3)


def joined(x: Array) -> Array:
    """Returns [N, heads, L, E] as [N, L, heads * E]."""
    n, count, length, width = x.type.shape
    return x.permute(0, 2, 1, 3).view([n, length, count * width])


def repeated(x: Array, count: Dim) -> Array:
    """Returns heads of keys or values as often as there are heads of queries."""
    if same(x.type.shape[1], count):
        return x
    times = divide(count, x.type.shape[1])
    if not isinstance(times, int):
        raise Error(f"{x.type.shape[1]} heads of keys do not divide {count} heads of queries")
    return x.repeat_interleave(times, 1)


# -- attention -------------------------------------------------------------------------------------

def _attention(node: Node, q: Array, k: Array, v: Array, mask: Array | None = None,
               past_key: Array | None = None, past_value: Array | None = None,
               lengths: Array | None = None) -> Any:
    flat = q.ndim == 3
    q_heads, kv_heads = node.int("q_num_heads", None), node.int("kv_num_heads", None)
    if flat:
        q, k, v = heads(q, q_heads), heads(k, kv_heads), heads(v, kv_heads)
    if not q.ndim == k.ndim == v.ndim == 4:
        raise Error(f"it takes arrays of three or four axes, not {q.type}, {k.type}, {v.type}")
    if (past_key is None) != (past_value is None):
        raise Error("it has one of past_key and past_value, and needs both or none")
    if lengths is not None and past_key is not None:
        raise Error("nonpad_kv_seqlen and past_key do not go together")
    if past_key is not None and past_value is not None:
        k, v = apply("concat", past_key, k, axis=2), apply("concat", past_value, v, axis=2)
    present = (k, v)
    k, v = repeated(k, q.type.shape[1]), repeated(v, q.type.shape[1])
    bias, hides = _bias(node, q, k, mask, past_key, lengths)
    scores, weights, shown = _weights(node, q, k, bias, hides)
    y = apply("matmul", weights, v)
    y = joined(y) if flat else y
    return (y, *present, _shown(node, scores, shown))


def _shown(node: Node, scores: Array, shown: dict[int, Array]) -> Array:
    mode = node.int("qk_matmul_output_mode", 0)
    if mode not in (0, 1, 2, 3):
        raise Error(f"qk_matmul_output_mode is 0 to 3, not {mode}")
    return shown.get(mode, scores)


def _weights(node: Node, q: Array, k: Array, bias: Array | None, hides: bool
             ) -> tuple[Array, Array, dict[int, Array]]:
    """Returns the scores, the weights of the keys, and what the fourth output can be.

    hides: whether the bias may hide all keys from a query.
    """
    width = q.type.shape[3]
    scale = node.float("scale", None)
    if scale is None:
        if isinstance(width, DimExpr):
            raise Error(f"the width of a head is {width}, and has to be a number")
        scale = 1 / math.sqrt(width) if width else math.inf
    keys = k.permute(0, 1, 3, 2)
    if scale < 0:
        raise Error("its scale is negative")
    softcap = node.float("softcap", 0.0)
    if not softcap >= 0:
        raise Error(f"its softcap is {softcap}, and is 0 or more")
    if softcap or any(node.outputs[3:]):         # as written: both operands by the root
        root = float(DTYPES[q.type.dtype].type(math.sqrt(scale)))
        scores = apply("matmul", apply("mul", q, root), apply("mul", keys, root))
    else:
        scores = apply("mul", apply("matmul", q, keys), float(scale))
    shown = {0: scores}
    if softcap:
        scores = apply("mul", apply("tanh", apply("div", scores, float(softcap))), float(softcap))
    shown[1] = scores
    if bias is not None:
        scores = apply("add", scores, bias._cast(scores.type.dtype))
    shown[2] = scores
    precision = node.dtype("softmax_precision", None)
    wide = scores if precision is None else scores._cast(precision)
    weights = apply("softmax", wide, axis=3, scale=1.0)
    if bias is not None and hides:               # a query that sees no key gets 0
        nothing = apply("eq", apply("max", bias, axes=(bias.ndim - 1,), keepdims=True), _HIDDEN)
        weights = apply("where", nothing, 0.0, weights)
    weights = weights._cast(q.type.dtype)
    shown[3] = weights
    return shown[0], weights, shown


def _bias(node: Node, q: Array, k: Array, mask: Array | None, past: Array | None,
          lengths: Array | None) -> tuple[Array | None, bool]:
    """Returns what is added to the scores: the mask, and -inf for keys that are not seen.

    Also whether there may be queries that see no key. One that is only hidden from what comes after
    it sees the first key.
    """
    causal = node.flag("is_causal")
    left = right = -1
    if node.version >= 25:
        left, right = node.int("left_window_size", -1), node.int("right_window_size", -1)
    if min(left, right) < -1:
        raise Error("a window is -1 or more")
    queries, keys, dtype = q.type.shape[2], k.type.shape[2], q.type.dtype
    bias = None if mask is None else _mask(mask, keys, dtype)
    seen: list[Array] = []
    if causal or left >= 0 or right >= 0:
        at = apply("iota", shape=(queries, 1), axis=0, dtype="i64")
        keys_at = apply("iota", shape=(keys,), axis=0, dtype="i64")
        offset = _offset(queries, past, lengths)
        place = at if offset is None else apply("add", at, offset)
        if causal:
            seen.append(apply("ge", place, keys_at))
        if left >= 0:
            seen.append(apply("le", apply("sub", place, keys_at), float(left)))
        if right >= 0:
            seen.append(apply("le", apply("sub", keys_at, place), float(right)))
    if lengths is not None:
        keys_at = apply("iota", shape=(keys,), axis=0, dtype="i64")
        seen.append(apply("lt", keys_at, lengths._cast("i64").view([-1, 1, 1, 1])))
    for allowed in seen:
        zero = Array(np.zeros((), DTYPES[dtype]))
        part = apply("where", allowed, zero, _HIDDEN)
        bias = part if bias is None else apply("add", bias, part)
    return bias, mask is not None or lengths is not None or left >= 0


def _offset(queries: Dim, past: Array | None, lengths: Array | None) -> Array | None:
    """Returns how many keys precede the queries; None for none."""
    if past is not None:
        return size_in_graph(past.type.shape[2])
    if lengths is None:
        return None
    return apply("sub", lengths._cast("i64"), size_in_graph(queries)).view([-1, 1, 1, 1])


def _mask(mask: Array, keys: Dim, dtype: str) -> Array:
    """Returns a mask as numbers to add; the keys that it does not reach are not seen."""
    if mask.type.dtype == "bool":
        mask = apply("where", mask, Array(np.zeros((), DTYPES[dtype])), _HIDDEN)
    missing = keys - mask.type.shape[-1]
    if same(mask.type.shape[-1], 1) or same(missing, 0):
        return mask
    high = (0,) * (mask.ndim - 1) + (missing,)
    return apply("pad", mask, low=(0,) * mask.ndim, high=high, value=_HIDDEN)


def _flex_attention(node: Node, q: Array, k: Array, v: Array) -> Array:
    if not q.ndim == k.ndim == v.ndim == 4:
        raise Error(f"it takes arrays of four axes, not {q.type}, {k.type}, {v.type}")
    width = q.type.shape[3]
    scale = node.float("scale", None)
    if scale is None:
        if isinstance(width, DimExpr):
            raise Error(f"the width of a head is {width}, and has to be a number")
        scale = 1 / math.sqrt(width)
    dtype = node.dtype("softmax_precision", "f64" if q.type.dtype == "f64" else "f32")
    k, v = repeated(k, q.type.shape[1]), repeated(v, q.type.shape[1])
    scores = apply("mul", apply("matmul", q, k.permute(0, 1, 3, 2)), float(scale))._cast(dtype)
    scores = _modified(node, "score_mod", scores)
    weights = _modified(node, "prob_mod", apply("softmax", scores, axis=3, scale=1.0))
    return apply("matmul", weights, v._cast(dtype))._cast(v.type.dtype)


def _modified(node: Node, name: str, x: Array) -> Array:
    graph = node.graph(name, None)
    if graph is None:
        return x
    results = node.run(graph, [x])
    if len(results) != 1 or not isinstance(results[0], Array) or results[0].type != x.type:
        raise Error(f"{name} returns one array {x.type}")
    return results[0]


# -- rotary embedding ------------------------------------------------------------------------------

def _rotary(node: Node, x: Array, cos: Array, sin: Array, ids: Array | None = None) -> Array:
    count, part = node.int("num_heads", 0), node.int("rotary_embedding_dim", 0)
    flat = x.ndim == 3
    if flat:
        y = heads(x, count)
    elif x.ndim == 4:
        y = x
    else:
        raise Error(f"it takes arrays of three or four axes, not {x.type}")
    result = rotated(y, cos, sin, ids, part, node.flag("interleaved"))
    return joined(result) if flat else result


def rotated(x: Array, cos: Array, sin: Array, ids: Array | None, part: int, interleaved: bool
            ) -> Array:
    """Returns x[N, heads, L, E] with the first `part` of E rotated by the angles of its place."""
    width = part or x.type.shape[3]
    if isinstance(width, DimExpr) or width % 2:
        raise Error(f"a head of {width} elements does not divide into pairs")
    if ids is not None:
        cos, sin = (apply("take", cache, ids, axis=0) for cache in (cos, sin))
    if not same(cos.type.shape[-1], width // 2) or cos.ndim != 3:
        raise Error(f"the cosines are [N, L, {width // 2}], not {cos.type}")
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    rest = [x[..., width:]] if not same(x.type.shape[3], width) else []
    y = x[..., :width] if rest else x
    shape = list(y.type.shape)
    if interleaved:
        pairs = y.view([*shape[:3], width // 2, 2])
        a, b = pairs.select(4, 0), pairs.select(4, 1)
    else:
        a, b = y[..., : width // 2], y[..., width // 2:]
    real = apply("sub", apply("mul", cos, a), apply("mul", sin, b))
    imaginary = apply("add", apply("mul", sin, a), apply("mul", cos, b))
    if interleaved:
        both = cat([real.unsqueeze(4), imaginary.unsqueeze(4)], 4).view(shape)
        return cat([both, *rest], 3) if rest else both
    return cat([real, imaginary, *rest], 3)


# -- linear attention ------------------------------------------------------------------------------

def _linear_attention(node: Node, q: Array, k: Array, v: Array, past: Array | None = None,
                      decay: Array | None = None, beta: Array | None = None) -> Any:
    node.irrelevant("chunk_size")
    rule = node.one_of("update_rule", ("linear", "gated", "delta", "gated_delta"), "gated_delta")
    gated, delta = rule.startswith("gated"), rule.endswith("delta")
    if (decay is not None) != gated or (beta is not None) != delta:
        raise Error(f"update_rule={rule!r} needs decay if it is gated, and beta if it has delta")
    q_heads, kv_heads = node.int("q_num_heads"), node.int("kv_num_heads")
    scale, dtype = node.float("scale", 0.0), q.type.dtype
    q, k, v = heads(q, q_heads), heads(k, kv_heads), heads(v, kv_heads)
    steps, width = q.type.shape[2], q.type.shape[3]
    if isinstance(steps, DimExpr) or isinstance(width, DimExpr):
        raise Error(f"its length is {steps}, and has to be a number, since it goes step by step: "
                    "shapes={...} can give it one")
    factor = float(scale) or 1 / math.sqrt(width)
    gates = None if decay is None else _per_key(decay, kv_heads)
    rates = None if beta is None else heads(beta, beta.type.shape[2])
    state = past if past is not None else Array(np.zeros((), DTYPES[dtype])).expand(
        q.type.shape[0], kv_heads, width, v.type.shape[3])
    outputs = []
    for step in range(steps):
        key, value = k[:, :, step].unsqueeze(3), v[:, :, step].unsqueeze(2)
        if gates is not None:
            state = apply("mul", state, apply("exp", gates[:, :, step]).unsqueeze(3))
        if rates is not None:
            found = apply("matmul", key.permute(0, 1, 3, 2), state)
            value = apply("mul", rates[:, :, step].unsqueeze(3), apply("sub", value, found))
        state = apply("add", state, apply("mul", key, value))
        query = q[:, :, step : step + 1]
        outputs.append(apply("matmul", query, repeated(state, q_heads)))
    whole = apply("mul", cat(outputs, 2), factor)
    return joined(whole), state


def _per_key(decay: Array, count: int) -> Array:
    """Returns the decay [N, heads, L, E], where E is 1 for one number a head."""
    return heads(decay, count)


ROWS: Rows = (
    Operator("Attention", (23, 24, 25), _attention,
             "is_causal q_num_heads kv_num_heads scale softcap softmax_precision "
             "qk_matmul_output_mode left_window_size right_window_size"),
    Operator("FlexAttention", (1,), _flex_attention,
             "scale softmax_precision score_mod prob_mod", domain="ai.onnx.preview"),
    Operator("RotaryEmbedding", (23,), _rotary, "interleaved num_heads rotary_embedding_dim"),
    Operator("LinearAttention", (27,), _linear_attention,
             "chunk_size kv_num_heads q_num_heads scale update_rule"),
)
