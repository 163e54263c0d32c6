"""Rules of independent rows: which axis of a result has rows, given the axes of the operands'.

A rule is a function (result's type, operands, attributes, axis of each operand's rows) -> the axis
of the result's rows, or None if no operand has rows. It raises MixedRows where a row of the result
depends on several rows of an operand. batch.py says what rows are.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ir.types import TensorType, product, same

Operands = Sequence[Any]                              # Values and floats
Attrs = Mapping[str, Any]
Axes = Mapping[Any, int | None]                       # of a value: the axis of its rows
Rule = Callable[[TensorType, Operands, Attrs, Axes], int | None]


class MixedRows(Exception):
    """Rows of a value that are not independent of each other."""


def aligned(result: TensorType, operands: Operands, _: Attrs, axes: Axes) -> int | None:
    """Row i meets row i: all operands have rows along one axis, counted as they broadcast."""
    found = {axis + result.ndim - o.type.ndim for o in operands
             if (axis := axes.get(o)) is not None}
    if len(found) > 1:
        raise MixedRows
    return found.pop() if found else None


def first_only(_: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The axis of the first operand's rows; the other operands have none."""
    axis: int | None = axes[operands[0]]
    if axis is None or any(axes.get(o) is not None for o in operands[1:]):
        raise MixedRows
    return axis


def linear(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The rows of the input are rows of the result, unless they are along its features."""
    axis = first_only(result, operands, attrs, axes)
    if axis == operands[0].type.ndim - 1:
        raise MixedRows
    return axis


def transpose(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The rows move with their axis."""
    place: int = attrs["axes"].index(first_only(result, operands, attrs, axes))
    return place


def matmul(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    """Rows are matrices of a stack, or rows of the left operand if the right one has none."""
    left, right = operands
    if axes[left] == left.type.ndim - 2 and axes[right] is None:
        return result.ndim - 2
    if any((axes[o] or 0) >= o.type.ndim - 2 and axes[o] is not None for o in operands):
        raise MixedRows
    return aligned(result, operands, attrs, axes)


def not_over_rows(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The axis stays, unless the op works along it."""
    axis = first_only(result, operands, attrs, axes)
    if axis in _axes_of(attrs):
        raise MixedRows
    return axis


def _axes_of(attrs: Attrs) -> Sequence[int]:
    return attrs["axes"] if "axes" in attrs else (attrs["axis"],)


def reduction(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The axis stays, and is counted without the axes that are reduced away."""
    axis = not_over_rows(result, operands, attrs, axes)
    return axis if attrs["keepdims"] else axis - sum(a < axis for a in _axes_of(attrs))


def take(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """Rows of the ids make rows of the result; rows of the operand stay, but along `axis`."""
    (x, ids), along = operands, int(attrs["axis"])
    if axes[x] is None:
        return along + first_only(result, [ids, x], attrs, axes)
    axis = not_over_rows(result, operands, attrs, axes)
    return axis if axis < along else axis + ids.type.ndim - 1


def take_along(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    """Rows of operand and ids meet, unless they are along `axis`."""
    axis = aligned(result, operands, attrs, axes)
    if axis == attrs["axis"]:
        raise MixedRows
    return axis


def walk(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """Each row walks by itself; its columns do not."""
    if first_only(result, operands, attrs, axes):
        raise MixedRows
    return 0


def concat(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    """All operands have rows along one axis, which is not the one they are joined along."""
    if any(axes[o] is None for o in operands):
        raise MixedRows
    return take_along(result, operands, attrs, axes)


def pad(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The axis stays if nothing is put before or behind the rows."""
    axis = first_only(result, operands, attrs, axes)
    if not (same(attrs["low"][axis], 0) and same(attrs["high"][axis], 0)):
        raise MixedRows
    return axis


def reshape(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    """The rows are along the axis that has as many elements before it as before the reshape."""
    axis, shape = first_only(result, operands, attrs, axes), operands[0].type.shape
    before = product(shape[:axis])
    places = [p for p in range(result.ndim) if same(product(result.shape[:p]), before)]
    if not places:
        raise MixedRows
    return places[-1]                                 # behind any dims of size 1
