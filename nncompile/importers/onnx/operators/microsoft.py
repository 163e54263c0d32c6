"""The operators of ONNX Runtime that its optimizer and exporters write: com.microsoft."""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ir import DimExpr, Error
from ir.types import Dim
from nncompile.array import Array, apply
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.onnx.operators.attention import joined
from nncompile.importers.onnx.operators.indices import from_end
from nncompile.importers.onnx.operators.normalization import layer_norm

_microsoft = partial(Operator, versions=(1,), domain="com.microsoft")


# -- activations -----------------------------------------------------------------------------------

def _gelu(node: Node, x: Array) -> Array:
    return apply("gelu", x)


def _bias_gelu(node: Node, x: Array, bias: Array) -> Array:
    return apply("gelu", apply("add", x, bias))


def _fast_gelu(node: Node, x: Array, bias: Array | None = None) -> Array:
    return apply("gelu_tanh", x if bias is None else apply("add", x, bias))


def _quick_gelu(node: Node, x: Array) -> Array:
    alpha = float(node.float("alpha", 1.702))
    return apply("mul", x, apply("sigmoid", apply("mul", x, alpha)))


# -- norms -----------------------------------------------------------------------------------------

def _skip_layer_norm(node: Node, x: Array, skip: Array, gamma: Array, beta: Array | None = None,
                     bias: Array | None = None) -> Any:
    total = apply("add", x, skip)
    total = total if bias is None else apply("add", total, bias)
    eps = float(node.float("epsilon", 1e-12))
    y = layer_norm(total, (total.ndim - 1,), eps, gamma, beta)
    return _with_sum(node, y, total)


def _skip_rms_norm(node: Node, x: Array, skip: Array, gamma: Array, bias: Array | None = None
                   ) -> Any:
    total = apply("add", x, skip)
    total = total if bias is None else apply("add", total, bias)
    eps = float(node.float("epsilon", 1e-12))
    return _with_sum(node, apply("rms_norm", total, gamma, axes=(total.ndim - 1,), eps=eps), total)


def _with_sum(node: Node, y: Array, total: Array) -> Any:
    """The outputs: the norm, mean and inverse deviation, which are for training, and the sum."""
    if any(node.outputs[1:3]):
        raise Error("its outputs 1 and 2, the statistics, are not supported")
    return y, y, y, total


def _embed_layer_norm(node: Node, ids: Array, segments: Array | None = None,
                      words: Array | None = None, positions: Array | None = None,
                      segment_table: Array | None = None, gamma: Array | None = None,
                      beta: Array | None = None, mask: Array | None = None,
                      position_ids: Array | None = None) -> Any:
    if words is None or positions is None or gamma is None:
        raise Error("it lacks a table of embeddings, or the weight of its norm")
    eps = float(node.float("epsilon", 1e-12))
    kind = node.int("mask_index_type", 0)
    total = apply("embedding", from_end(ids, words.type.shape[0]), words)
    if position_ids is None:
        places = apply("iota", shape=(ids.type.shape[1],), axis=0, dtype="i64")
        total = apply("add", total, apply("embedding", places, positions))
    else:
        places = from_end(position_ids, positions.type.shape[0])
        total = apply("add", total, apply("embedding", places, positions))
    if segment_table is not None:
        chosen = (apply("full", 0.0, shape=ids.type.shape, dtype="i64") if segments is None
                  else from_end(segments, segment_table.type.shape[0]))
        total = apply("add", total, apply("embedding", chosen, segment_table))
    y = layer_norm(total, (2,), eps, gamma, beta)
    if kind not in (0, 1):
        raise Error(f"mask_index_type={kind} is not supported")
    if mask is None:
        seen = apply("full", 0.0, shape=(ids.type.shape[0],), dtype="i32")
    else:
        seen = apply("sum", mask._cast("i32"), axes=(1,), keepdims=False)
    return y, seen, total


# -- products and attention ------------------------------------------------------------------------

def _fused_matmul(node: Node, a: Array, b: Array) -> Array:
    if node.flag("transBatchA") or node.flag("transBatchB"):
        raise Error("transBatchA and transBatchB are not supported")
    left, right = node.flag("transA"), node.flag("transB")
    alpha = float(node.float("alpha", 1.0))
    a = a.mT if left and a.ndim > 1 else a
    b = b.mT if right and b.ndim > 1 else b
    product = a.matmul(b)
    return product if alpha == 1 else apply("mul", product, alpha)


def _attention(node: Node, x: Array, weight: Array, bias: Array | None = None,
               mask: Array | None = None, past: Array | None = None, added: Array | None = None
               ) -> Any:
    if node.flag("do_rotary") or node.flag("past_present_share_buffer"):
        raise Error("do_rotary and past_present_share_buffer are not supported")
    if past is not None or any(node.outputs[1:]):
        raise Error("past and present are not supported")
    q, k, v = _projected(node, x, weight, bias)
    factor = float(node.float("scale", 0.0)) or 1 / math.sqrt(q.type.shape[3])
    scores = apply("mul", apply("matmul", q, k.permute(0, 1, 3, 2)), factor)
    filler = float(node.float("mask_filter_value", -10000.0))
    for term in (_hidden(mask, x.type.shape[1], filler), added):
        scores = scores if term is None else apply("add", scores, term)
    scores = _causal(scores) if node.flag("unidirectional") else scores
    return joined(apply("matmul", apply("softmax", scores, axis=3, scale=1.0), v))


def _projected(node: Node, x: Array, weight: Array, bias: Array | None) -> list[Array]:
    """Returns queries, keys and values [N, heads, L, E], which one weight computes.

    Raises Error where their widths do not divide into heads.
    """
    count, whole = node.int("num_heads"), weight.type.shape[1]
    if isinstance(whole, DimExpr) or count <= 0:
        raise Error(f"a weight {weight.type} does not divide into {count} heads")
    widths = node.ints("qkv_hidden_sizes", [whole // 3] * 3)
    if len(widths) != 3 or sum(widths) != whole or any(w % count or w <= 0 for w in widths):
        raise Error(f"queries, keys and values of the widths {widths} do not fit {count} heads and "
                    f"a weight {weight.type}")
    projected = apply("matmul", x, weight)
    projected = projected if bias is None else apply("add", projected, bias)
    return [_heads(part, count) for part in projected.split(widths, 2)]


def _heads(x: Array, count: int) -> Array:
    return x.view([*x.type.shape[:2], count, x.type.shape[2] // count]).permute(0, 2, 1, 3)


def _causal(scores: Array) -> Array:
    rows = apply("iota", shape=(scores.type.shape[2], 1), axis=0, dtype="i64")
    columns = apply("iota", shape=(scores.type.shape[3],), axis=0, dtype="i64")
    return apply("where", apply("ge", rows, columns), scores, -math.inf)


def _hidden(mask: Array | None, keys: Dim, filler: float) -> Array | None:
    """Returns what is added to the scores where the mask hides a key: as ONNX Runtime, a number.

    mask: [N], how many keys are seen; [N, S], 1 for those that are; or [N, L, S].
    """
    if mask is None:
        return None
    if mask.ndim == 1:
        places = apply("iota", shape=(keys,), axis=0, dtype=mask.type.dtype)
        seen = apply("lt", places, mask.view([-1, 1, 1, 1]))
    elif mask.ndim in (2, 3):
        shown = apply("gt", mask, 0.0)
        seen = shown.view([mask.type.shape[0], *[1] * (4 - mask.ndim), *mask.type.shape[1:]])
    else:
        raise Error(f"a mask {mask.type} is not supported")
    return apply("where", seen, Array(np.zeros((), np.float32)), filler)


def _row(name: str, function: Callable[..., Any], attributes: str = "") -> Operator:
    return _microsoft(name=name, function=function, attributes=attributes)


ROWS: Rows = (
    _row("Gelu", _gelu),
    _row("BiasGelu", _bias_gelu),
    _row("FastGelu", _fast_gelu),
    _row("QuickGelu", _quick_gelu, "alpha"),
    _row("SkipLayerNormalization", _skip_layer_norm, "epsilon"),
    _row("SkipSimplifiedLayerNormalization", _skip_rms_norm, "epsilon"),
    _row("EmbedLayerNormalization", _embed_layer_norm, "epsilon mask_index_type"),
    _row("FusedMatMul", _fused_matmul, "alpha transA transB transBatchA transBatchB"),
    _row("Attention", _attention,
         "num_heads unidirectional qkv_hidden_sizes scale mask_filter_value do_rotary "
         "past_present_share_buffer"),
)
