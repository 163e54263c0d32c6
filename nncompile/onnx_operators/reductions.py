"""Reductions, and the indices of the largest elements."""
from __future__ import annotations

from collections.abc import Sequence

from ir import Dim
from nncompile.onnx_operators.node import Entry, OnnxNode


def reduction(kind: str) -> Entry:
    """The axes are an operand. Without any, ONNX would reduce over all."""
    def write(op: OnnxNode, *, axes: Sequence[int], keepdims: bool) -> str:
        if not axes:
            return op.emit("Identity", op[0])
        return op.emit(kind, op[0], op.sizes(axes), keepdims=int(keepdims))
    return write


def truth(kind: str) -> Entry:
    """ReduceMax takes bools since opset 20, and ONNX Runtime's none over an axis of size 0."""
    def write(op: OnnxNode, *, axes: Sequence[int], keepdims: bool) -> str:
        x, reduced = op.term(0), [op.inputs[0].type.shape[axis] for axis in axes]
        if not axes:
            return op.emit("Identity", x.name)
        if op.opset >= 20 and all(isinstance(size, int) and size > 0 for size in reduced):
            return x.apply(kind, op.sizes(axes), keepdims=int(keepdims)).name
        wanted = x if kind == "ReduceMax" else ~x
        count = wanted.cast("i64").apply("ReduceSum", op.sizes(axes), keepdims=int(keepdims))
        return (count > 0 if kind == "ReduceMax" else count.equals(0)).name
    return write


def arg_reduction(kind: str) -> Entry:
    """The axis is an attribute."""
    return lambda op, *, axis, keepdims: op.emit(kind, op[0], axis=axis, keepdims=int(keepdims))


def topk_ids(op: OnnxNode, *, axis: int, k: Dim, largest: bool, sorted: bool) -> str:
    """The indices are the second result of TopK; of equal elements it takes the first one."""
    return op.emit("TopK", op[0], op.sizes([k]), axis=axis, largest=int(largest), sorted=1,
                   second=True)
