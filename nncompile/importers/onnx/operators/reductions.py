"""Reductions, and what runs along one axis."""
from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error
from ir.types import product, same
from nncompile.array import Array, apply
from nncompile.array.indexing import axes_of, axis_of
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.onnx.operators.elementwise import is_float
from nncompile.importers.sizes import size_in_graph, whole_numbers

_Reduce = Callable[[Array, tuple[int, ...], bool], Array]


# -- reductions ------------------------------------------------------------------------------------

def _axes(node: Node, x: Array, axes: Any, from_input: int) -> tuple[int, ...] | None:
    """Returns the axes counted from 0; None where the operator leaves its input as it is."""
    if node.version < from_input:
        if axes is not None:
            raise Error("it has axes as an input, which came with a later opset")
        given = node.ints("axes", [])
        empty_is_none = False
    else:
        given = [] if axes is None else whole_numbers(axes, "an axis")
        empty_is_none = node.flag("noop_with_empty_axes")
    if given:
        return tuple(sorted(axes_of(x.type, given)))
    return None if empty_is_none else tuple(range(x.ndim))


def _reduction(name: str, versions: tuple[int, ...], reduce: _Reduce, from_input: int = 18,
               sizes: Callable[..., Any] | None = None) -> Operator:
    """Returns the row of a reduction. from_input: the opset since which the axes are an input."""
    def reduction(node: Node, x: Array, axes: Any = None) -> Array:
        keep = node.flag("keepdims", True)
        over = _axes(node, x, axes, from_input)
        return reduce(x, () if over is None else over, keep)

    def of_sizes(node: Node, x: Any, axes: Any = None) -> Any:
        keep = node.flag("keepdims", True)
        over = _axes(node, Array(np.zeros(x.shape)), axes, from_input)
        assert sizes is not None
        return x if over is None else sizes(x, over, keep)
    return Operator(name, versions, reduction, "axes keepdims noop_with_empty_axes", static="axes",
                    sizes=of_sizes if sizes else None)


def _over(op: str) -> _Reduce:
    return lambda x, axes, keep: apply(op, x, axes=axes, keepdims=keep)


def _mean(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    if is_float(x):
        return apply("mean", x, axes=axes, keepdims=keep)
    return _as_floats(lambda y: apply("mean", y, axes=axes, keepdims=keep), x)


def _as_floats(function: Callable[[Array], Array], x: Array) -> Array:
    """Returns a function of floats; of integers in double precision, then truncated."""
    if is_float(x):
        return function(x)
    return function(x._cast("f64"))._cast(x.type.dtype)


def _l1(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    return apply("sum", apply("abs", x), axes=axes, keepdims=keep)


def _sum_square(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    return apply("sum", apply("mul", x, x), axes=axes, keepdims=keep)


def _l2(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    return _as_floats(lambda y: apply("sqrt", _sum_square(y, axes, keep)), x)


def _log_sum(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    return _as_floats(lambda y: apply("log", apply("sum", y, axes=axes, keepdims=keep)), x)


def _log_sum_exp(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
    if not axes:
        return x
    return _as_floats(lambda y: y.logsumexp(axes, keep), x)


def _extreme(op: str, of_bools: str, nothing: float) -> _Reduce:
    """Returns a reduction to the largest or smallest element; over nothing, to the limit."""
    def reduce(x: Array, axes: tuple[int, ...], keep: bool) -> Array:
        if x.type.dtype == "bool":
            return apply(of_bools, x, axes=axes, keepdims=keep)
        if not same(product(x.type.shape[axis] for axis in axes), 0):
            return apply(op, x, axes=axes, keepdims=keep)
        limit = nothing
        if not is_float(x):
            info = np.iinfo(DTYPES[x.type.dtype])
            limit = float(info.min if nothing < 0 else info.max)
        shape = tuple(1 if i in axes else d for i, d in enumerate(x.type.shape)
                      if keep or i not in axes)
        return Array(np.asarray(limit, DTYPES[x.type.dtype])).expand(shape)
    return reduce


def _of_objects(function: Any) -> Callable[..., Any]:
    return lambda x, axes, keep: function.reduce(x, axis=axes, keepdims=keep)


# -- the position of an extreme --------------------------------------------------------------------

def _arg_extreme(name: str, op: str) -> Operator:
    def arg(node: Node, x: Array) -> Array:
        axis = axis_of(x.type, node.int("axis", 0))
        keep, last = node.flag("keepdims", True), node.flag("select_last_index")
        if not last:
            return apply(op, x, axis=axis, keepdims=keep)
        from_behind = apply(op, x.flip(axis), axis=axis, keepdims=keep)
        return apply("sub", size_in_graph(x.type.shape[axis] - 1), from_behind)
    return Operator(name, (1, 11, 12, 13), arg, "axis keepdims select_last_index")


def _top_k(node: Node, x: Array, k: Any) -> Any:
    axis = axis_of(x.type, node.int("axis", -1))
    largest, ordered = node.flag("largest", True), node.flag("sorted", True)
    count = k.reshape(-1).tolist()
    if len(count) != 1:
        raise Error("K is one number")
    ids = apply("topk_ids", x, axis=axis, k=count[0], largest=largest, sorted=ordered)
    return apply("take_along", x, ids, axis=axis), ids


# -- along one axis --------------------------------------------------------------------------------

def _softmax_like(name: str, function: Callable[[Array, int], Array]) -> Operator:
    """Returns the row of softmax or one of its kind.

    Before opset 13 it is over all axes from the given one on, as one.
    """
    def along(node: Node, x: Array) -> Array:
        axis = axis_of(x.type, node.int("axis", -1 if node.version >= 13 else 1))
        if node.version >= 13 or axis == x.ndim - 1:
            return function(x, axis)
        flat = x.reshape(product(x.type.shape[:axis]), product(x.type.shape[axis:]))
        return function(flat, 1).reshape(x.type.shape)
    return Operator(name, (1, 11, 13), along, "axis")


def _hardmax(x: Array, axis: int) -> Array:
    first = apply("argmax", x, axis=axis, keepdims=True)
    shape = tuple(d if i == axis else 1 for i, d in enumerate(x.type.shape))
    ids = apply("iota", shape=shape, axis=axis, dtype="i64")
    return apply("eq", ids, first)._cast(x.type.dtype)


def _scan(function: Callable[[Array, int], Array], neutral: float) -> Callable[..., Array]:
    def scan(node: Node, x: Array, axis: Any) -> Array:
        exclusive, reverse = node.flag("exclusive"), node.flag("reverse")
        [along] = whole_numbers(axis, "its axis")
        at = axis_of(x.type, along)
        x = x.flip(at) if reverse else x
        if exclusive:                            # the neutral element first, and the last one out
            x = _shifted(x, at, 1, neutral)
        result = function(x, at)
        return result.flip(at) if reverse else result
    return scan


def _shifted(x: Array, axis: int, by: int, value: float) -> Array:
    low, high = [0] * x.ndim, [0] * x.ndim
    low[axis] = by
    padded = apply("pad", x, low=tuple(low), high=tuple(high), value=value)
    return apply("slice", padded, axis=axis, start=0, stop=x.type.shape[axis], step=1)


def _cumulative_sum(x: Array, axis: int) -> Array:
    return apply("cumsum", x, axis=axis)


def _cumulative_product(x: Array, axis: int) -> Array:
    """Returns the cumulative product, by products over 2, 4, 8, ... elements before each."""
    size = x.type.shape[axis]
    if isinstance(size, DimExpr):
        raise Error(f"its axis has the size {size}, and has to have one that is known before: "
                    "shapes={...} can give it one")
    reach = 1
    while reach < size:
        x = apply("mul", x, _shifted(x, axis, reach, 1.0))
        reach *= 2
    return x


_REDUCE = (1, 11, 13, 18)
_EXTREMES = (1, 11, 12, 13, 18, 20)

ROWS: Rows = (
    _reduction("ReduceSum", (1, 11, 13), _over("sum"), 13, _of_objects(np.add)),
    _reduction("ReduceProd", _REDUCE, _over("prod"), sizes=_of_objects(np.multiply)),
    _reduction("ReduceMean", _REDUCE, _mean),
    _reduction("ReduceMax", _EXTREMES, _extreme("max", "any", -inf)),
    _reduction("ReduceMin", _EXTREMES, _extreme("min", "all", inf)),
    _reduction("ReduceL1", _REDUCE, _l1),
    _reduction("ReduceL2", _REDUCE, _l2),
    _reduction("ReduceSumSquare", _REDUCE, _sum_square),
    _reduction("ReduceLogSum", (*_REDUCE, 28), _log_sum),
    _reduction("ReduceLogSumExp", (*_REDUCE, 28), _log_sum_exp),
    _arg_extreme("ArgMax", "argmax"),
    _arg_extreme("ArgMin", "argmin"),
    Operator("TopK", (10, 11, 24), _top_k, "axis largest sorted", static="k"),
    _softmax_like("Softmax", lambda x, axis: apply("softmax", x, axis=axis, scale=1.0)),
    _softmax_like("LogSoftmax", lambda x, axis: apply("log_softmax", x, axis=axis)),
    _softmax_like("Hardmax", _hardmax),
    Operator("CumSum", (11, 14), _scan(_cumulative_sum, 0.0), "exclusive reverse", static="axis"),
    Operator("CumProd", (26,), _scan(_cumulative_product, 1.0), "exclusive reverse",
             static="axis"),
)
