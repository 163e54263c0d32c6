"""Products, and what works along the rows of an array."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir import DTYPES, Dim
from nncompile.onnx_operators.node import OnnxNode


def linear(op: OnnxNode) -> str:
    """Gemm takes matrices only."""
    x, weight, *bias = op.inputs
    if x.type.ndim == 2:
        return op.emit("Gemm", *op.names, transB=1)
    array = op.data(weight)                       # a constant can be packed
    transposed = (op.emit("Transpose", op[1], perm=[1, 0]) if array is None
                  else op.constant(array.T))
    product_ = op.emit("MatMul", op[0], transposed)
    return op.emit("Add", product_, op[2]) if bias else product_


def softmax(op: OnnxNode, *, axis: int, scale: float) -> str:
    """ONNX's Softmax has no scale."""
    x = op[0] if scale == 1 else op.emit("Mul", op[0], op.number(scale))
    return op.emit("Softmax", x, axis=axis)


def layer_norm(op: OnnxNode, *, axes: tuple[int, ...], eps: float) -> str:
    """ONNX's operator wants a weight, and its eps is a float32."""
    if op.is_double:
        return _layer_norm_in_double(op, axes, eps)
    names = op.names
    if len(names) == 1:
        shape = op.inputs[0].type.shape[axes[0]:]
        names = [*names, _everywhere(op, 1.0, shape)]
    return op.emit("LayerNormalization", *names, axis=axes[0], epsilon=eps)


def _layer_norm_in_double(op: OnnxNode, axes: tuple[int, ...], eps: float) -> str:
    x, *affine = op.terms
    centred = x - x.apply("ReduceMean", op.sizes(axes))
    variance = (centred * centred).apply("ReduceMean", op.sizes(axes))
    result = centred / (variance + eps).sqrt()
    result = result * affine[0] if affine else result
    return (result + affine[1] if affine[1:] else result).name


def _everywhere(op: OnnxNode, number: float, shape: Sequence[Dim]) -> str:
    """A number in every place of a shape."""
    if all(isinstance(size, int) for size in shape):
        return op.constant(np.full(tuple(shape), number, DTYPES[op.dtype])) 
    return op.emit("Expand", op.number(number), op.sizes(shape))


def rms_norm(op: OnnxNode, *, axes: tuple[int, ...], eps: float) -> str:
    """RMSNormalization is an operator since opset 23 only."""
    x, *weight = op.names
    square = op.emit("ReduceMean", op.emit("Mul", x, x), op.sizes(axes))
    normal = op.emit("Div", x, op.emit("Sqrt", op.emit("Add", square, op.number(eps))))
    return op.emit("Mul", normal, *weight) if weight else normal


def cumsum(op: OnnxNode, *, axis: int) -> str:
    """The axis is an operand."""
    return op.emit("CumSum", op[0], op.constant(np.asarray(axis)))
