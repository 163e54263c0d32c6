"""Are the rows of a graph independent of each other along its first size?

If they are, any block of rows can be computed alone, by any worker, through all layers.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ir.graph import Graph, Node, Value
from ir.ops import OPS, split_then
from ir.types import Dim, DimExpr, TensorType, divide, same, symbol


def batch_size(graph: Graph) -> str | None:
    """The named size that leads the inputs and all that depends on them, or None.

    A value is *batched* when its first dim is a multiple of that size, no other dim holds it, and
    row i of the multiple is computed from rows i of the inputs alone.  All outputs must be.
    """
    leading = [v.type.shape[0] for v in graph.inputs if v.type.ndim]
    batch = next((str(d) for d in leading if isinstance(d, DimExpr)), None)
    if batch is None:
        return None
    free = {v for v in graph.params}
    batched: set[Value] = set()
    for value in graph.inputs:
        (free if not mentions(value.type.shape, batch) else batched).add(value)
    if not all(is_leading(v.type, batch) for v in batched):
        return None
    for node in graph.nodes:
        operands = [o for o in node.inputs if isinstance(o, Value)]
        if free.issuperset(operands):
            if not mentions(node.result.type.shape, batch):
                free.add(node.result)
            elif has_equal_rows(node) and is_leading(node.result.type, batch):
                batched.add(node.result)
            else:
                return None                           # made of the size alone
        elif is_leading(node.result.type, batch) and keeps_rows(node, batched):
            batched.add(node.result)
        else:
            return None
    return batch if batched.issuperset(graph.outputs) else None


def mentions(shape: Sequence[Dim], name: str) -> bool:
    return any(isinstance(d, DimExpr) and any(name in m for m, _ in d.terms) for d in shape)


def is_leading(type_: TensorType, batch: str) -> bool:
    if not type_.ndim or mentions(type_.shape[1:], batch):
        return False
    rest = divide(type_.shape[0], symbol(batch))
    return rest is not None and not mentions((rest,), batch)


def has_equal_rows(node: Node) -> bool:
    """Whether a node whose operands are free of the batch makes the same row as often as asked."""
    return node.op in ("full", "expand") or (node.op == "iota" and node.attrs["axis"] != 0)


def keeps_rows(node: Node, batched: set[Value]) -> bool:
    """Whether the node computes its batched result row by row.  An op without a rule does not."""
    own, attrs, then = split_then(node.op, node.inputs, node.attrs)
    further = [o for _, others in then for o in others]
    rule = RULES.get(node.op) or (aligned if "elementwise" in OPS[node.op].traits else None)
    return (rule is not None and aligned(node.result.type, further, {}, batched)
            and rule(node.result.type, own, attrs, batched))


Operands = Sequence[Any]                              # Values and floats
Attrs = Mapping[str, Any]
Rule = Callable[[TensorType, Operands, Attrs, set[Value]], bool]


def aligned(result: TensorType, operands: Operands, _: Attrs, batched: set[Value]) -> bool:
    """Batched operands have the result's rank and leading dim: row i meets row i."""
    return all(o.type.ndim == result.ndim and same(o.type.shape[0], result.shape[0])
               for o in operands if o in batched)


def first_only(result: TensorType, operands: Operands, _: Attrs, batched: set[Value]) -> bool:
    return batched.isdisjoint(operands[1:])


def matmul(result: TensorType, operands: Operands, attrs: Attrs, batched: set[Value]) -> bool:
    if result.ndim == 2:
        return first_only(result, operands, attrs, batched)
    return aligned(result, operands, attrs, batched)


def not_over_rows(_: TensorType, operands: Operands, attrs: Attrs, batched: set[Value]) -> bool:
    axes = attrs.get("axes", (attrs.get("axis"),))
    return 0 not in axes and batched.isdisjoint(operands[1:])


def take_along(result: TensorType, operands: Operands, attrs: Attrs, batched: set[Value]) -> bool:
    return attrs["axis"] != 0 and aligned(result, operands, attrs, batched)


RULES: dict[str, Rule] = {
    "linear": lambda r, o, a, b: o[0].type.ndim > 1 and first_only(r, o, a, b),
    "matmul": matmul,
    "embedding": first_only,
    **dict.fromkeys((
        "softmax", "log_softmax", "layer_norm", "rms_norm", "cumsum", "topk_ids", "slice", "take",
        "sum", "prod", "mean", "max", "min", "any", "all", "argmax", "argmin"), not_over_rows),
    "take_along": take_along,
    "pad": lambda r, o, a, b: same(a["low"][0], 0) and same(a["high"][0], 0),
    "concat": lambda r, o, a, b: a["axis"] != 0 and b.issuperset(o),
    "transpose": lambda r, o, a, b: a["axes"][0] == 0,
    "expand": aligned,
    "reshape": lambda r, o, a, b: True,               # rows keep their place in memory order
}
