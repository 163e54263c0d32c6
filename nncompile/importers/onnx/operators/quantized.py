"""Quantised operators, computed in float32; a Node's notes say where that can differ."""
from __future__ import annotations

from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error
from ir.types import same
from nncompile.array import Array, apply
from nncompile.array.indexing import axis_of
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows

_EXACT = 2**24                                   # up to here float32 has all whole numbers
_NARROW = ("i8", "u8")


def _scaled(name: str, values: Array, x: Array, axis: int, block: int) -> Array:
    """Returns scales or zero points in a shape that broadcasts with x."""
    if block:
        if not same(len(values.type.shape), x.ndim):
            raise Error(f"its {name} of blocks has the axes of {x.type}, not {values.type}")
        at = axis_of(x.type, axis)
        wide = values.repeat_interleave(block, at)
        return wide[(slice(None),) * at + (slice(0, x.type.shape[at]),)]
    if values.ndim == 0 or same(values.type.shape, (1,)):
        return values.view([])
    if values.ndim != 1:
        raise Error(f"its {name} is one number or a vector, not {values.type}")
    at = axis_of(x.type, axis)
    return values.view([*values.type.shape, *[1] * (x.ndim - at - 1)])


def saturated(x: Array, dtype: str) -> Array:
    """Returns whole numbers in floats as integers, limited to the range of the dtype."""
    if dtype not in _NARROW:
        raise Error(f"{DTYPES[dtype]} is no type to quantise to, only int8 and uint8")
    info = np.iinfo(DTYPES[dtype])
    low = apply("maximum", x, float(info.min))
    return apply("cast", apply("minimum", low, float(info.max)), dtype=dtype)


def quantized(x: Array, scale: Array, zero: Array | None, dtype: str) -> Array:
    """Returns round(x / scale) + zero, limited to the range of the dtype."""
    steps = apply("round", apply("div", x, scale))
    if zero is not None:
        steps = apply("add", steps, zero._cast(x.type.dtype))
    return saturated(steps, dtype)


def _quantize(node: Node, x: Array, scale: Array, zero: Array | None = None) -> Array:
    node.irrelevant("saturate")                  # it is about float8
    axis, block = _place(node)
    wanted = node.int("output_dtype", 0) if node.version >= 21 else 0
    precision = node.int("precision", 0) if node.version >= 23 else 0
    if precision not in (0, 1) or x.type.dtype not in ("f32", "f64", "i32"):
        raise Error("only precision=FLOAT is supported")
    dtype = zero.type.dtype if zero is not None else node.dtype("output_dtype") if wanted else "u8"
    x = x if x.type.dtype == scale.type.dtype else x._cast(scale.type.dtype)
    wide = None if zero is None else _scaled("zero point", zero, x, axis, block)
    return quantized(x, _scaled("scale", scale, x, axis, block), wide, dtype)


def _dequantize(node: Node, x: Array, scale: Array, zero: Array | None = None) -> Array:
    axis, block = _place(node)
    if node.version >= 23 and node.int("output_dtype", 0) not in (0, 1):
        raise Error("only output_dtype=FLOAT is supported")
    if x.type.dtype == "i32":
        node.notes.append("DequantizeLinear of int32 is computed in float32: whole numbers above "
                          "2^24 are rounded first")
    centred = x._cast(scale.type.dtype)
    if zero is not None:
        offset = _scaled("zero point", zero, x, axis, block)._cast(scale.type.dtype)
        centred = apply("sub", centred, offset)
    return apply("mul", centred, _scaled("scale", scale, x, axis, block))


def _place(node: Node) -> tuple[int, int]:
    axis = node.int("axis", 1) if node.version >= 13 else 1
    block = node.int("block_size", 0) if node.version >= 21 else 0
    if block < 0:
        raise Error(f"block_size={block} is negative")
    return axis, block


def _dynamic_quantize(node: Node, x: Array) -> Any:
    zero = Array(np.zeros((), np.float32))
    axes = tuple(range(x.ndim))
    high = apply("maximum", apply("max", x, axes=axes, keepdims=False), zero)
    low = apply("minimum", apply("min", x, axes=axes, keepdims=False), zero)
    scale = apply("div", apply("sub", high, low), 255.0)
    start = apply("div", apply("neg", low), scale)
    point = apply("round", apply("minimum", apply("maximum", start, 0.0), 255.0))
    steps = apply("add", apply("round", apply("div", x, scale)), point)
    return saturated(steps, "u8"), scale, apply("cast", point, dtype="u8")


def _centred(x: Array, zero: Array | None, rows: bool) -> Array:
    """Returns a matrix of 8-bit integers in float32, less its zero point, of rows or columns."""
    if x.type.dtype not in _NARROW:
        raise Error(f"it multiplies int8 and uint8, not {x.type}")
    wide = x._cast("f32")
    if zero is None:
        return wide
    offset = zero._cast("f32")
    if offset.ndim == 1 and not same(offset.type.shape, (1,)):
        offset = offset.view([-1, 1]) if rows else offset
    elif offset.ndim <= 1:
        offset = offset.view([])
    return apply("sub", wide, offset)


def _product(node: Node, a: Array, b: Array) -> Array:
    depth = b.type.shape[0 if b.ndim == 1 else -2]
    if isinstance(depth, DimExpr) or depth * 255 * 255 > _EXACT:
        node.notes.append(f"{node.op} is computed in float32: its sums are exact up to 2^24, and "
                          "rounded above")
    return a.matmul(b)


def _matmul_integer(node: Node, a: Array, b: Array, a_zero: Array | None = None,
                    b_zero: Array | None = None) -> Array:
    product = _product(node, _centred(a, a_zero, True), _centred(b, b_zero, False))
    return apply("cast", product, dtype="i32")


def _q_linear_matmul(node: Node, a: Array, a_scale: Array, a_zero: Array, b: Array, b_scale: Array,
                     b_zero: Array, y_scale: Array, y_zero: Array) -> Array:
    product = _product(node, _centred(a, a_zero, True), _centred(b, b_zero, False))
    rows, columns, whole = (_of_matrix(s, i == 0) for i, s in enumerate(
        (a_scale, b_scale, y_scale)))
    steps = apply("round", apply("mul", product, apply("div", apply("mul", rows, columns), whole)))
    offset = _of_matrix(y_zero, True)._cast("f32")
    return saturated(apply("add", steps, offset), y_zero.type.dtype)


def _of_matrix(values: Array, rows: bool) -> Array:
    if values.ndim == 0 or same(values.type.shape, (1,)):
        return values.view([])
    return values.view([-1, 1]) if rows and values.ndim == 1 else values


ROWS: Rows = (
    Operator("QuantizeLinear", (10, 13, 19, 21, 23, 24, 25, 28), _quantize,
             "axis saturate block_size output_dtype precision"),
    Operator("DequantizeLinear", (10, 13, 19, 21, 23, 24, 25, 28), _dequantize,
             "axis block_size output_dtype"),
    Operator("DynamicQuantizeLinear", (11,), _dynamic_quantize),
    Operator("MatMulInteger", (10,), _matmul_integer),
    Operator("QLinearMatMul", (10, 21), _q_linear_matmul),
)
