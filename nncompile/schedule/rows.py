"""Rules of independent rows: which axis of a result has rows, given the axes of the operands'.

A rule is a function (result's type, operands, attributes, axis of each operand's rows) -> the axis
of the result's rows.  It is None if no operand has rows, and MIXED where a row of the result
depends on several rows of an operand.  batch.py says what rows are.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ir.types import TensorType, product, same

Operands = Sequence[Any]                              # Values and floats
Attrs = Mapping[str, Any]
Axes = Mapping[Any, int | None]                       # of a value: the axis of its rows
Rule = Callable[[TensorType, Operands, Attrs, Axes], int | None]
MIXED = -1


def aligned(result: TensorType, operands: Operands, _: Attrs, axes: Axes) -> int | None:
    """Row i meets row i: the operands' axes are one, counted from the last as they broadcast."""
    found = {axis + result.ndim - o.type.ndim for o in operands
             if (axis := axes.get(o)) is not None}
    return None if not found else found.pop() if len(found) == 1 else MIXED


def first_only(_: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The axis of the first operand's rows, if no other has any."""
    axis: int | None = axes[operands[0]]
    return axis if axis is not None and all(axes.get(o) is None for o in operands[1:]) else MIXED


def linear(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = first_only(result, operands, attrs, axes)
    return axis if axis < operands[0].type.ndim - 1 else MIXED


def transpose(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    place: int = attrs["axes"].index(first_only(result, operands, attrs, axes))
    return place


def matmul(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    """Rows are matrices of the stack, or rows of the left ones times one right one."""
    left, right = operands
    if axes[left] == left.type.ndim - 2 and axes[right] is None:
        return result.ndim - 2
    stacked = all((axes[o] or 0) < o.type.ndim - 2 or axes[o] is None for o in operands)
    return aligned(result, operands, attrs, axes) if stacked else MIXED


def not_over_rows(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = first_only(result, operands, attrs, axes)
    return MIXED if axis in attrs.get("axes", (attrs.get("axis"),)) else axis


def reduction(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = not_over_rows(result, operands, attrs, axes)
    over = attrs.get("axes", (attrs.get("axis"),))
    return axis if axis == MIXED or attrs["keepdims"] else axis - sum(a < axis for a in over)


def take(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    (x, ids), along = operands, int(attrs["axis"])
    if axes[x] is None:
        return along + first_only(result, [ids, x], attrs, axes)
    axis = not_over_rows(result, operands, attrs, axes)
    return axis if axis < along else axis + ids.type.ndim - 1


def take_along(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    axis = aligned(result, operands, attrs, axes)
    return axis if axis != attrs["axis"] else MIXED


def concat(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    return MIXED if any(axes[o] is None for o in operands) else take_along(
        result, operands, attrs, axes)


def pad(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = first_only(result, operands, attrs, axes)
    return axis if same(attrs["low"][axis], 0) and same(attrs["high"][axis], 0) else MIXED


def reshape(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """Rows keep their place in memory order: as much lies before them as before."""
    axis, shape = first_only(result, operands, attrs, axes), operands[0].type.shape
    before = product(shape[:axis])
    places = [p for p in range(result.ndim) if same(product(result.shape[:p]), before)]
    return places[-1] if places else MIXED               # dims of size 1 may stand before it
