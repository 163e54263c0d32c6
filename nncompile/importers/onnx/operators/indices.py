"""Elements by index: gathered, scattered, chosen, and ones at an index."""
from __future__ import annotations

from typing import Any

import numpy as np

from ir import Error, NDArray, Value
from ir.types import Dim, product, same
from nncompile.array import Array, apply
from nncompile.array.indexing import axis_of
from nncompile.array.selection import flat_ids
from nncompile.array.tape import bare
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.recorder import importing
from nncompile.importers.sizes import size_in_graph


def from_end(ids: Array, size: Dim) -> Array:
    """Returns indices with the negative ones counted from the end; those outside stay outside."""
    if ids.type.dtype not in ("i32", "i64"):
        raise Error(f"its indices are of int32 or int64, not {ids.type}")
    known = bare(ids._as_operand())
    if known in importing().not_negative if isinstance(known, Value) else not (known < 0).any():
        return ids
    below = apply("lt", ids, 0.0)
    return apply("where", below, apply("add", ids, size_in_graph(size, ids.type.dtype)), ids)


def _gather(node: Node, data: Array, indices: Array) -> Array:
    axis = axis_of(data.type, node.int("axis", 0))
    known = indices._as_operand()
    if isinstance(known, np.ndarray) and known.ndim == 0 and not isinstance(
            data._as_operand(), np.ndarray):
        return data.select(axis, int(known))     # a view
    ids = from_end(indices, data.type.shape[axis])
    if axis == 0 and data.ndim == 2 and data.type.dtype in ("f32", "f64") and not isinstance(
            data._as_operand(), np.ndarray):
        return apply("embedding", ids, data)
    return apply("take", data, ids, axis=axis)


def _gather_elements(node: Node, data: Array, indices: Array) -> Array:
    axis = axis_of(data.type, node.int("axis", 0))
    return apply("take_along", data, from_end(indices, data.type.shape[axis]), axis=axis)


def _gather_nd(node: Node, data: Array, indices: Array) -> Array:
    batch = node.int("batch_dims", 0) if node.version >= 12 else 0
    depth = indices.type.shape[-1] if indices.ndim else 0
    if not isinstance(depth, int) or not 0 <= batch < min(indices.ndim, data.ndim) or (
            not 1 <= depth <= data.ndim - batch):
        raise Error(f"indices {indices.type} with {batch} batch axes do not fit {data.type}")
    shape = data.type.shape
    around, inner = shape[:batch], shape[batch + depth:]
    flat = data.view([product(around), product(shape[batch:batch + depth]), *inner])
    ids = _positions(indices, shape[batch:batch + depth])
    if not batch:
        return apply("take", flat.view(flat.type.shape[1:]), ids, axis=0)
    # one long axis of all batches, in which those of each begin at their own place
    rows = flat.view([product(flat.type.shape[:2]), *inner])
    each = apply("iota", shape=tuple(around), axis=0, dtype="i64")
    if batch > 1:
        each = apply("iota", shape=(product(around),), axis=0, dtype="i64").view(list(around))
    begin = apply("mul", each, size_in_graph(flat.type.shape[1]))
    begin = begin.view([*around, *[1] * (ids.ndim - batch)])
    outside = apply("logical_or", apply("lt", ids, 0.0),
                    apply("ge", ids, size_in_graph(flat.type.shape[1])))
    there = apply("where", outside, -1.0, apply("add", ids, begin))
    return apply("take", rows, there, axis=0)


def _positions(indices: Array, sizes: tuple[Dim, ...]) -> Array:
    """Returns the last axis of indices as one index into all the axes merged, -1 if outside."""
    if indices.type.dtype not in ("i32", "i64"):
        raise Error(f"its indices are of int32 or int64, not {indices.type}")
    ids = [indices.select(indices.ndim - 1, i)._cast("i64") for i in range(len(sizes))]
    merged: Array = flat_ids(ids, sizes)
    return merged


# -- scattered -------------------------------------------------------------------------------------

_NEUTRAL = {"add": 0.0, "mul": 1.0}
_REDUCED = {"add": ("sum", "add"), "mul": ("prod", "mul"), "max": ("max", "maximum"),
            "min": ("min", "minimum")}


def _scatter_elements(node: Node, data: Array, indices: Array, updates: Array) -> Array:
    axis = axis_of(data.type, node.int("axis", 0))
    how = _reduction(node)
    if not same(indices.type.shape, updates.type.shape) or indices.ndim != data.ndim:
        raise Error(f"indices {indices.type} and updates {updates.type} do not fit {data.type}")
    if not _alike(data, indices, axis):
        indices, updates, axis, data, shape = _flattened(data, indices, updates, axis)
        return _scattered(data, indices, updates, 0, how).view(list(shape))
    ids = from_end(indices, data.type.shape[axis])._cast("i64")
    return _scattered(data, ids, updates, axis, how)


def _alike(a: Array, b: Array, axis: int) -> bool:
    """Returns whether two arrays have the same sizes on all axes but one."""
    return a.ndim == b.ndim and all(
        i == axis or same(m, n) for i, (m, n) in enumerate(zip(a.type.shape, b.type.shape,
                                                               strict=True)))


def _flattened(data: Array, indices: Array, updates: Array, axis: int) -> Any:
    """Returns the same as one long vector: for indices of which there are fewer on other axes."""
    parts = []
    for i in range(data.ndim):
        if i == axis:
            parts.append(indices)
            continue
        row = tuple(d if i == j else 1 for j, d in enumerate(indices.type.shape))
        parts.append(apply("iota", shape=row, axis=i, dtype="i64").expand(indices.type.shape))
    ids = flat_ids([p._cast("i64") for p in parts], data.type.shape)
    return ids.view([-1]), updates.view([-1]), 0, data.view([-1]), data.type.shape


def _scatter_nd(node: Node, data: Array, indices: Array, updates: Array) -> Array:
    depth = indices.type.shape[-1] if indices.ndim else 0
    if not isinstance(depth, int) or not 1 <= depth <= data.ndim:
        raise Error(f"indices {indices.type} do not fit {data.type}")
    inner = data.type.shape[depth:]
    if not same(updates.type.shape, (*indices.type.shape[:-1], *inner)):
        raise Error(f"updates {updates.type} do not fit indices {indices.type} of {data.type}")
    how = _reduction(node)
    ids = _positions(indices, data.type.shape[:depth]).view([-1])
    count, width = product(indices.type.shape[:-1]), product(inner)
    flat = data.view([product(data.type.shape[:depth]), width])
    wide = ids.view([-1, 1]).expand([count, width])
    result = _scattered(flat, wide, updates.view([count, width]), 0, how)
    return result.view(list(data.type.shape))


def _reduction(node: Node) -> str:
    if node.version < 16:
        return "none"
    words = ("none", "add", "mul", "max", "min")[:5 if node.version >= 18 else 3]
    return node.one_of("reduction", words, "none")


def _scattered(data: Array, ids: Array, updates: Array, axis: int, how: str) -> Array:
    """Returns data with updates at the indices along an axis, which are counted from 0.

    Each place looks through all indices along the axis: O(size * indices) work.
    """
    if same(product(ids.type.shape), 0):
        return data
    if how == "none":
        return data.scatter(axis, ids, updates)
    if how == "add" and data.type.dtype != "bool":
        return data.scatter_add(axis, ids, updates)
    hits, given = data._targets("Scatter", axis, ids, updates)
    op, with_data = _REDUCED[how]
    if how in _NEUTRAL:
        neutral = _NEUTRAL[how]
    elif data.type.dtype in ("f32", "f64"):
        neutral = float("-inf") if how == "max" else float("inf")
    else:
        info = np.iinfo(data.dtype)
        neutral = float(info.min if how == "max" else info.max)
    filler = Array(np.asarray(neutral).astype(data.dtype))
    if data.dtype == np.int64 and how in ("max", "min"):
        info = np.iinfo(np.int64)
        filler = Array(np.asarray(info.min if how == "max" else info.max))
    chosen = apply("where", hits, given.unsqueeze(axis + 1), filler)
    return apply(with_data, data, apply(op, chosen, axes=(axis,), keepdims=False))


def _tensor_scatter(node: Node, past: Array, update: Array, at: Array | None = None) -> Array:
    axis = axis_of(past.type, node.int("axis", -2))
    circular = node.one_of("mode", ("linear", "circular"), "linear") == "circular"
    if axis == 0 or not _alike(past, update, axis):
        raise Error(f"an update {update.type} along axis {axis} does not fit {past.type}")
    length, width = past.type.shape[axis], update.type.shape[axis]
    if same(width, 0):
        return past
    row = tuple(length if i == axis else 1 for i in range(past.ndim))
    places = apply("iota", shape=row, axis=axis, dtype="i64")
    begin = Array(np.zeros([1] * past.ndim, np.int64)) if at is None else (
        at._cast("i64").view([product(at.type.shape), *[1] * (past.ndim - 1)]))
    if circular:
        source = apply("remainder", apply("sub", places, begin), size_in_graph(length))
        hit = apply("lt", source, size_in_graph(width))
    else:                                        # the takes refuse what is outside of the cache
        numbers = places.view([-1])
        first = apply("take", numbers, begin, axis=0)
        last = apply("take", numbers, apply("add", begin, size_in_graph(width - 1)), axis=0)
        source = apply("sub", places, first)
        hit = apply("logical_and", apply("ge", source, 0.0), apply("le", places, last))
    inside = apply("where", hit, source, Array(np.zeros((), np.int64)))
    wide = [length if i == axis else d for i, d in enumerate(update.type.shape)]
    taken = apply("take_along", update, inside.expand(wide), axis=axis)
    return apply("where", hit, taken, past)


# -- chosen ----------------------------------------------------------------------------------------

def _one_hot(node: Node, indices: Array, depth: NDArray, values: Array) -> Array:
    axis = axis_of(indices.type, node.int("axis", -1), extra=1)
    sizes = depth.reshape(-1).tolist()
    if len(sizes) != 1 or values.ndim != 1 or not same(values.type.shape[0], 2):
        raise Error("its depth is one number, and its values are two")
    count = sizes[0] if depth.dtype == object else int(sizes[0])
    dtype = indices.type.dtype
    ids = indices.unsqueeze(axis)
    if dtype in ("f32", "f64"):                  # truncated, as onnx.reference does
        ids, dtype = ids._cast("i64"), "i64"
    below = apply("lt", ids, 0.0)
    ids = apply("where", below, apply("add", ids, size_in_graph(count, dtype)), ids)
    row = tuple(count if i == axis else 1 for i in range(indices.ndim + 1))
    hit = apply("eq", ids, apply("iota", shape=row, axis=axis, dtype=dtype))
    return apply("where", hit, values.select(0, 1), values.select(0, 0))


def _compress(node: Node, data: Array, condition: NDArray) -> Array:
    axis = node.int("axis", None)
    if axis is None:
        data, at = data.view([-1]) if data.ndim else data.view([1]), 0
    else:
        at = axis_of(data.type, axis)
    if condition.ndim != 1 or condition.dtype != np.bool_:
        raise Error("its condition is a vector of bools")
    return apply("take", data, Array(np.flatnonzero(condition)), axis=at)


def _non_zero(node: Node, x: NDArray) -> Array:
    found = np.nonzero(x.reshape(1) if x.ndim == 0 else x)
    return Array(np.array(found, np.int64).reshape(len(found), -1)[:max(x.ndim, 0) or 1])


ROWS: Rows = (
    Operator("Gather", (1, 11, 13), _gather, "axis", moves="data"),
    Operator("GatherElements", (11, 13), _gather_elements, "axis", moves="data"),
    Operator("GatherND", (11, 12, 13), _gather_nd, "batch_dims", moves="data"),
    Operator("ScatterElements", (11, 13, 16, 18), _scatter_elements, "axis reduction"),
    Operator("ScatterND", (11, 13, 16, 18), _scatter_nd, "reduction", moves="data updates"),
    Operator("TensorScatter", (24,), _tensor_scatter, "axis mode"),
    Operator("OneHot", (9, 11, 28), _one_hot, "axis", static="depth"),
    Operator("Compress", (9, 11, 28), _compress, "axis", static="condition"),
    Operator("NonZero", (9, 13), _non_zero, static="x"),
)
