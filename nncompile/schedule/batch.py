"""Whether the rows of a graph are independent of each other along its leading size.

If they are, any block of rows can be computed by itself, by any worker, through all layers.
"""
from __future__ import annotations

from ir.composites import parts
from ir.graph import Graph, Node, Value
from ir.ops import split_then
from ir.types import Dim, DimExpr, TensorType, divide, names_in, symbol
from nncompile.schedule.ops import SCHEDULES
from nncompile.schedule.rows import Axes, MixedRows, aligned


def batch_size(graph: Graph) -> str | None:
    """Returns the leading size of inputs and outputs along which rows are independent, or None.

    A value has *rows* along an axis when that dim is a multiple of the size, no other dim holds
    it, and row i of the multiple is computed from rows i of the inputs alone. Inside the graph
    the axis may be any: attention puts the heads before the batch, and back.
    """
    leading = [v.type.shape[0] for v in graph.inputs if v.type.ndim]
    batch = next((str(d) for d in leading if isinstance(d, DimExpr)), None)
    if batch is None:
        return None
    axes: dict[Value, int | None] = dict.fromkeys(graph.params)
    try:
        for value in graph.inputs:
            axes[value] = _axis_with(value.type, batch)
            if axes[value] not in (None, 0):
                return None
        for node in (part for whole in graph.nodes for part in parts(whole)):
            axes[node.result] = _rows_of(node, batch, axes)
    except MixedRows:
        return None
    return batch if all(axes[v] == 0 for v in graph.outputs) else None


def _axis_with(type_: TensorType, batch: str) -> int | None:
    """The axis that is a multiple of the size, or None if no dim depends on it.

    Raises MixedRows where the dims depend on it in another way.
    """
    found = [axis for axis, dim in enumerate(type_.shape) if _mentions(dim, batch)]
    if not found:
        return None
    rest = divide(type_.shape[found[0]], symbol(batch))
    if len(found) > 1 or rest is None or _mentions(rest, batch):
        raise MixedRows
    return found[0]


def _mentions(dim: Dim, name: str) -> bool:
    return isinstance(dim, DimExpr) and name in names_in(dim)


def _rows_of(node: Node, batch: str, axes: Axes) -> int | None:
    """The axis of the result's rows, or None if it is the same for all rows.

    Raises MixedRows where a row of the result is not computed from one row of each operand; an op
    without a rule makes no rows.
    """
    axis, how = _axis_with(node.result.type, batch), SCHEDULES[node.op]
    own, attrs, then = split_then(node.op, node.inputs, node.attrs)
    further = [o for _, others in then for o in others]
    if all(axes.get(o) is None for o in (*own, *further)):
        if axis is not None and not how.repeats(attrs, axis):
            raise MixedRows
        return axis
    kept = how.rows is not None and how.rows(node.result.type, own, attrs, axes) in (axis, None)
    if not kept or aligned(node.result.type, further, {}, axes) not in (axis, None):
        raise MixedRows
    return axis
