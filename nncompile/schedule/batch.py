"""Are the rows of a graph independent of each other along its first size?

If they are, any block of rows can be computed alone, by any worker, through all layers.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ir.graph import Graph, Node, Value
from ir.ops import OPS, split_then
from ir.types import Dim, DimExpr, TensorType, divide, product, same, symbol

Axes = Mapping[Any, int | None]                       # of a value: the axis of its rows
NO = -1                                               # there is none: its rows are not independent


def batch_size(graph: Graph) -> str | None:
    """The named size that leads the inputs and all outputs, or None.

    A value has *rows* along an axis when that dim is a multiple of the size, no other dim holds
    it, and row i of the multiple is computed from rows i of the inputs alone.  Inside the graph
    the axis may be any: attention puts the heads before the batch, and back.
    """
    leading = [v.type.shape[0] for v in graph.inputs if v.type.ndim]
    batch = next((str(d) for d in leading if isinstance(d, DimExpr)), None)
    if batch is None:
        return None
    axes: dict[Value, int | None] = dict.fromkeys(graph.params)
    for value in graph.inputs:
        axes[value] = axis_with(value.type, batch)
        if axes[value] not in (None, 0):
            return None
    for node in graph.nodes:
        axes[node.result] = rows_of(node, batch, axes)
        if axes[node.result] == NO:
            return None
    return batch if all(axes[v] == 0 for v in graph.outputs) else None


def axis_with(type_: TensorType, batch: str) -> int | None:
    """The axis that is a multiple of the size; None if no dim holds it, NO if they do otherwise."""
    found = [axis for axis, dim in enumerate(type_.shape) if mentions(dim, batch)]
    if not found:
        return None
    rest = divide(type_.shape[found[0]], symbol(batch))
    return found[0] if len(found) == 1 and rest is not None and not mentions(rest, batch) else NO


def mentions(dim: Dim, name: str) -> bool:
    return isinstance(dim, DimExpr) and any(name in monomial for monomial, _ in dim.terms)


def rows_of(node: Node, batch: str, axes: Axes) -> int | None:
    """The axis of the result's rows; None if it is the same for all rows.  An op without a rule
    makes no rows."""
    axis = axis_with(node.result.type, batch)
    own, attrs, then = split_then(node.op, node.inputs, node.attrs)
    further = [o for _, others in then for o in others]
    if all(axes.get(o) is None for o in (*own, *further)):
        return axis if axis is None or has_equal_rows(node, axis) else NO
    rule = RULES.get(node.op) or (aligned if "elementwise" in OPS[node.op].traits else None)
    kept = rule is not None and rule(node.result.type, own, attrs, axes) in (axis, None)
    return axis if kept and aligned(node.result.type, further, {}, axes) in (axis, None) else NO


def has_equal_rows(node: Node, axis: int) -> bool:
    """Whether a node whose operands are free of the batch makes the same row as often as asked."""
    return node.op in ("full", "expand") or (node.op == "iota" and node.attrs["axis"] != axis)


# -- rules: the axis of the result's rows, None if no operand has any, NO if they are mixed --------

Operands = Sequence[Any]                              # Values and floats
Attrs = Mapping[str, Any]
Rule = Callable[[TensorType, Operands, Attrs, Axes], int | None]


def aligned(result: TensorType, operands: Operands, _: Attrs, axes: Axes) -> int | None:
    """Row i meets row i: the operands' axes are one, counted from the last as they broadcast."""
    found = {axis + result.ndim - o.type.ndim for o in operands
             if (axis := axes.get(o)) is not None}
    return None if not found else found.pop() if len(found) == 1 else NO


def first_only(operands: Operands, axes: Axes) -> int:
    """The axis of the first operand's rows, if no other has any."""
    axis: int | None = axes[operands[0]]
    return axis if axis is not None and all(axes.get(o) is None for o in operands[1:]) else NO


def linear(_: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = first_only(operands, axes)
    return axis if axis < operands[0].type.ndim - 1 else NO


def matmul(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    """Rows are matrices of the stack, or rows of the left ones times one right one."""
    left, right = operands
    if axes[left] == left.type.ndim - 2 and axes[right] is None:
        return result.ndim - 2
    stacked = all((axes[o] or 0) < o.type.ndim - 2 or axes[o] is None for o in operands)
    return aligned(result, operands, attrs, axes) if stacked else NO


def not_over_rows(_: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = first_only(operands, axes)
    return NO if axis in attrs.get("axes", (attrs.get("axis"),)) else axis


def reduction(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = not_over_rows(result, operands, attrs, axes)
    over = attrs.get("axes", (attrs.get("axis"),))
    return axis if axis == NO or attrs["keepdims"] else axis - sum(a < axis for a in over)


def take(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    (x, ids), along = operands, int(attrs["axis"])
    if axes[x] is None:
        return along + first_only([ids, x], axes)
    axis = not_over_rows(result, operands, attrs, axes)
    return axis if axis < along else axis + ids.type.ndim - 1


def take_along(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    axis = aligned(result, operands, attrs, axes)
    return axis if axis != attrs["axis"] else NO


def concat(result: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int | None:
    return NO if any(axes[o] is None for o in operands) else take_along(
        result, operands, attrs, axes)


def pad(_: TensorType, operands: Operands, attrs: Attrs, axes: Axes) -> int:
    axis = first_only(operands, axes)
    return axis if same(attrs["low"][axis], 0) and same(attrs["high"][axis], 0) else NO


def reshape(result: TensorType, operands: Operands, _: Attrs, axes: Axes) -> int:
    """Rows keep their place in memory order: as much lies before them as before."""
    axis, shape = first_only(operands, axes), operands[0].type.shape
    before = product(shape[:axis])
    places = [p for p in range(result.ndim) if same(product(result.shape[:p]), before)]
    return places[-1] if places else NO               # dims of size 1 may stand before it


RULES: dict[str, Rule] = {
    "linear": linear, "matmul": matmul, "take": take, "take_along": take_along,
    "concat": concat, "pad": pad, "reshape": reshape, "expand": aligned,
    "embedding": lambda r, o, a, axes: first_only(o, axes),
    "transpose": lambda r, o, a, axes: a["axes"].index(first_only(o, axes)),
    **dict.fromkeys(("identity", "dropout"), aligned),
    **dict.fromkeys(("softmax", "log_softmax", "layer_norm", "rms_norm", "cumsum", "topk_ids",
                     "slice"), not_over_rows),
    **dict.fromkeys(("sum", "prod", "mean", "max", "min", "any", "all", "argmax", "argmin"),
                    reduction),
}
