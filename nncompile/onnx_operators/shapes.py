"""Ops that make, move and repeat elements."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import DTYPES, Dim, product
from nncompile.onnx_operators.node import OnnxNode, Term

_NO_END = -2**63                                 # as the stop of a slice that goes backwards


def iota(op: OnnxNode, *, shape: Sequence[Dim], axis: int, dtype: str) -> str:
    """A constant, or a Range that is repeated to the shape."""
    if all(isinstance(size, int) for size in shape):
        known: Any = tuple(shape)
        return op.constant(np.indices(known, DTYPES[dtype], sparse=True)[axis]
                           + np.zeros(known, DTYPES[dtype]))
    count = op.emit("Squeeze", op.sizes([shape[axis]]), op.sizes([0]))
    numbers = Term(op, op.emit("Range", op.number(0, "i64"), count, op.number(1, "i64")), "i64")
    column = numbers.cast(dtype).apply("Reshape", op.sizes(
        [-1 if i == axis else 1 for i in range(len(shape))]))
    return column.apply("Expand", op.sizes(shape)).name


def full(op: OnnxNode, *, shape: Sequence[Dim], dtype: str) -> str:
    """A scalar that is repeated."""
    return op.emit("Expand", op[0], op.sizes(shape))


def size(op: OnnxNode, *, dim: Dim) -> str:
    """The only element of the vector that shapes are made of."""
    return op.emit("Squeeze", op.sizes([dim]), op.sizes([0]))


def reshape(op: OnnxNode, *, shape: Sequence[Dim]) -> str:
    """One size that is not known is what the others leave over, if they are not 0."""
    unknown = [i for i, size in enumerate(shape) if not isinstance(size, int)]
    if len(unknown) == 1 and product(s for s in shape if isinstance(s, int)) != 0:
        shape = [-1 if i == unknown[0] else size for i, size in enumerate(shape)]
    return op.emit("Reshape", op[0], op.sizes(shape), allowzero=1)


def transpose(op: OnnxNode, *, axes: Sequence[int]) -> str:
    """An empty list of axes would have no type."""
    return op.emit("Transpose", op[0], perm=list(axes)) if axes else op.emit("Identity", op[0])


def expand(op: OnnxNode, *, shape: Sequence[Dim]) -> str:
    """A size that is not known and that the operand has already is left to broadcasting."""
    own = op.inputs[0].type.shape
    given = (*[None] * (len(shape) - len(own)), *own)
    kept = [1 if not isinstance(size, int) and not isinstance(has, int) and has is not None
            else size for size, has in zip(shape, given, strict=True)]
    return op.emit("Expand", op[0], op.sizes(kept))


def slice_(op: OnnxNode, *, axis: int, start: Dim, stop: Dim, step: int) -> str:
    """Where a slice goes backwards, -1 is before the first element, and in ONNX the last one."""
    end: Dim = stop
    if isinstance(stop, int):
        end = stop if stop >= 0 else _NO_END
    elif step < 0:                               # counted from the end, it is never mistaken
        end = stop - op.inputs[0].type.shape[axis]
    bounds = [op.sizes([number]) for number in (start, end, axis, step)]
    return op.emit("Slice", op[0], *bounds)


def pad(op: OnnxNode, *, low: Sequence[Dim], high: Sequence[Dim], value: float) -> str:
    """The sizes and the number are operands."""
    return op.emit("Pad", op[0], op.sizes([*low, *high]), op.number(value))
