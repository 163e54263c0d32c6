"""Normalisations."""
from __future__ import annotations

from typing import Any

from ir import Error
from ir.types import product, same
from nncompile.array import Array, apply
from nncompile.array.indexing import axes_of, axis_of
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows


def _last_axes(node: Node, x: Array) -> tuple[int, ...]:
    return tuple(range(axis_of(x.type, node.int("axis", -1)), x.ndim))


def _stash(node: Node) -> None:
    """The type in which the statistics are computed; here it is double in any case."""
    if node.int("stash_type", 1) not in (1, 11):
        raise Error("stash_type is a type of floats, 1 or 11")


def _fits(x: Array, axes: tuple[int, ...], *affine: Array | None) -> bool:
    return all(a is None or same(a.type.shape, x.type.shape[axes[0]:]) for a in affine)


def layer_norm(x: Array, axes: tuple[int, ...], eps: float, scale: Array | None = None,
               bias: Array | None = None) -> Array:
    """Returns x normalised over its last axes, times scale, plus bias; both broadcast."""
    if scale is None and bias is None:
        return apply("layer_norm", x, axes=axes, eps=eps)
    if scale is not None and _fits(x, axes, scale, bias):
        affine = [scale] if bias is None else [scale, bias]
        return apply("layer_norm", x, *affine, axes=axes, eps=eps)
    y = apply("layer_norm", x, axes=axes, eps=eps)
    y = y if scale is None else apply("mul", y, scale)
    return y if bias is None else apply("add", y, bias)


def _layer_normalization(node: Node, x: Array, scale: Array, bias: Array | None = None) -> Any:
    _stash(node)
    axes, eps = _last_axes(node, x), float(node.float("epsilon", 1e-5))
    y = layer_norm(x, axes, eps, scale, bias)
    if not any(node.outputs[1:]):
        return (y,)
    mean = apply("mean", x, axes=axes, keepdims=True)
    centred = apply("sub", x, mean)
    variance = apply("mean", apply("mul", centred, centred), axes=axes, keepdims=True)
    return y, mean, apply("rsqrt", apply("add", variance, eps))


def _rms_normalization(node: Node, x: Array, scale: Array) -> Array:
    _stash(node)
    axes, eps = _last_axes(node, x), float(node.float("epsilon", 1e-5))
    if _fits(x, axes, scale):
        return apply("rms_norm", x, scale, axes=axes, eps=eps)
    return apply("mul", apply("rms_norm", x, axes=axes, eps=eps), scale)


def of_channels(values: Array, x: Array) -> Array:
    """Returns a vector [C] in a shape that broadcasts with x[N, C, ...]."""
    if values.ndim != 1:
        raise Error(f"scale, bias and statistics are vectors, not {values.type}")
    return values.reshape(*values.type.shape, *[1] * (x.ndim - 2))


def _affine(x: Array, scale: Array, bias: Array) -> Array:
    return apply("add", apply("mul", x, of_channels(scale, x)), of_channels(bias, x))


def _batch_normalization(node: Node, x: Array, scale: Array, bias: Array, mean: Array, var: Array
                         ) -> Any:
    eps = float(node.float("epsilon", 1e-5))
    momentum = float(node.float("momentum", 0.9))
    if node.version < 9 and node.int("spatial", 1) != 1:
        raise Error("spatial=0 is not supported")
    if node.version < 14 and any(node.outputs[1:]):
        raise Error("the statistics of training are not supported before opset 14")
    training = node.version >= 14 and node.flag("training_mode")
    if x.ndim == 1:
        raise Error(f"it takes [N, C, ...], not {x.type}")
    results: tuple[Array, ...] = ()
    if training:
        axes = (0, *range(2, x.ndim))
        batch_mean = apply("mean", x, axes=axes, keepdims=False)
        centred = apply("sub", x, of_channels(batch_mean, x))
        batch_var = apply("mean", apply("mul", centred, centred), axes=axes, keepdims=False)
        results = (_moved(mean, batch_mean, momentum), _moved(var, batch_var, momentum))
        mean, var = batch_mean, batch_var
    factor = apply("mul", apply("rsqrt", apply("add", var, eps)), scale._cast(var.type.dtype))
    shift = apply("sub", bias._cast(var.type.dtype), apply("mul", mean, factor))
    dtype = x.type.dtype
    return (_affine(x, factor._cast(dtype), shift._cast(dtype)), *results)


def _moved(running: Array, batch: Array, momentum: float) -> Array:
    return apply("add", apply("mul", running, momentum), apply("mul", batch, 1 - momentum))


def _instance_normalization(node: Node, x: Array, scale: Array, bias: Array) -> Array:
    eps = float(node.float("epsilon", 1e-5))
    if x.ndim < 3:
        raise Error(f"it takes [N, C, ...] with an axis or more behind, not {x.type}")
    return _affine(apply("layer_norm", x, axes=tuple(range(2, x.ndim)), eps=eps), scale, bias)


def _group_normalization(node: Node, x: Array, scale: Array, bias: Array) -> Array:
    eps, groups = float(node.float("epsilon", 1e-5)), node.int("num_groups")
    if node.version >= 21:
        _stash(node)
    channels = x.type.shape[1]
    if groups <= 0 or not isinstance(channels, int) or channels % groups:
        raise Error(f"{channels} channels do not divide into {groups} groups")
    rows = x.reshape(x.type.shape[0], groups, channels // groups * product(x.type.shape[2:]))
    y = apply("layer_norm", rows, axes=(2,), eps=eps)
    if node.version >= 21:
        return _affine(y.reshape(x.type.shape), scale, bias)
    return _affine(y, scale, bias).reshape(x.type.shape)     # before, of each group


def _lp_normalization(node: Node, x: Array) -> Array:
    axis, p = axis_of(x.type, node.int("axis", -1)), node.int("p", 2)
    if p not in (1, 2):
        raise Error(f"p is 1 or 2, not {p}")
    powers = apply("abs", x) if p == 1 else apply("mul", x, x)
    norm = apply("sum", powers, axes=(axis,), keepdims=True)
    norm = norm if p == 1 else apply("sqrt", norm)
    return apply("where", apply("eq", norm, 0.0), 0.0, apply("div", x, norm))


def _mean_variance_normalization(node: Node, x: Array) -> Array:
    axes = tuple(sorted(axes_of(x.type, node.ints("axes", [0, 2, 3]) or range(x.ndim))))
    centred = apply("sub", x, apply("mean", x, axes=axes, keepdims=True))
    variance = apply("mean", apply("mul", centred, centred), axes=axes, keepdims=True)
    return apply("div", centred, apply("add", apply("sqrt", variance), 1e-9))


ROWS: Rows = (
    Operator("LayerNormalization", (17,), _layer_normalization, "axis epsilon stash_type"),
    Operator("RMSNormalization", (23,), _rms_normalization, "axis epsilon stash_type"),
    Operator("BatchNormalization", (7, 9, 14, 15), _batch_normalization,
             "epsilon momentum spatial training_mode"),
    Operator("InstanceNormalization", (6, 22), _instance_normalization, "epsilon"),
    Operator("GroupNormalization", (18, 21), _group_normalization,
             "epsilon num_groups stash_type"),
    Operator("LpNormalization", (1, 22), _lp_normalization, "axis p"),
    Operator("MeanVarianceNormalization", (9, 13), _mean_variance_normalization, "axes"),
)
