"""Ops that take rows or elements by their index, and that add to them."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir import Dim, Value, same
from nncompile.onnx_operators.arithmetic import is_nan
from nncompile.onnx_operators.node import OnnxNode, Term


def embedding_bag(op: OnnxNode, *, mode: str, include_last: bool, padding: int) -> str:
    """Every row is added to the row of its bag. What is in no bag goes to one more row, the last.

    The bag of an id is the number of bags that have begun up to it.
    """
    ids, offsets, table = op.inputs[:3]
    bags, width = op.result.type.shape
    count = ids.type.shape[0]
    begun = op.emit("ScatterND", _zeros(op, "i64", [count + 1]), _column(op, op[1], offsets),
                    _ones(op, "i64", [offsets.type.shape[0]]), reduction="add")
    bag = Term(op, op.emit("CumSum", begun, op.constant(np.asarray(0))), "i64") - 1
    bag = bag.apply("Slice", op.sizes([0]), op.sizes([count]))
    if padding >= 0:
        last = op.emit("Squeeze", op.sizes([bags]), op.sizes([0]))
        bag = Term(op, op[0], ids.type.dtype).equals(padding).where(last, bag)
    index = op.emit("Unsqueeze", bag.name, op.sizes([1]))
    dtype = table.type.dtype
    rows = Term(op, op.emit("Gather", op[2], op[0], axis=0), dtype)
    if len(op.inputs) == 4:
        rows = rows * op.emit("Unsqueeze", op[3], op.sizes([1]))
    first = -np.inf if mode == "max" else 0.0
    start = op.emit("Expand", op.number(first, dtype), op.sizes([bags + 1, width]))
    total = Term(op, start, dtype).apply("ScatterND", index, rows,
                                         reduction="max" if mode == "max" else "add")
    if mode != "sum":
        zeros = Term(op, _zeros(op, dtype, [bags + 1]), dtype)
        members = zeros.apply("ScatterND", index, _ones(op, dtype, [count]), reduction="add")
        members = members.apply("Unsqueeze", op.sizes([1]))
        total = (total / members.apply("Max", 1.0) if mode == "mean"
                 else members.equals(0.0).where(0.0, total))
    return total.apply("Slice", op.sizes([0]), op.sizes([bags])).name


def scatter_add(op: OnnxNode, *, axis: int, size: Dim) -> str:
    """The ids are expanded, because ScatterElements broadcasts nothing."""
    updates = op.inputs[1].type
    zeros = _zeros(op, updates.dtype, op.result.type.shape)
    ids = op[0]
    if not same(op.inputs[0].type.shape, updates.shape):
        ids = op.emit("Expand", ids, op.sizes(updates.shape))
    return op.emit("ScatterElements", zeros, ids, op[1], axis=axis, reduction="add")


def _column(op: OnnxNode, name: str, value: Value) -> str:
    return Term(op, op.emit("Unsqueeze", name, op.sizes([1])), value.type.dtype).cast("i64").name


def _zeros(op: OnnxNode, dtype: str, shape: Sequence[Dim]) -> str:
    return op.emit("Expand", op.number(0, dtype), op.sizes(shape))


def _ones(op: OnnxNode, dtype: str, shape: Sequence[Dim]) -> str:
    return op.emit("Expand", op.number(1, dtype), op.sizes(shape))


def tree_walk(op: OnnxNode, *, steps: int) -> str:
    """A gather of the nodes, of their columns and of their thresholds for each step."""
    x, (_, nodes, thresholds, roots) = op.inputs[0], op.names
    width = op.inputs[1].type.shape[1]
    shape = op.sizes(op.result.type.shape)
    at = Term(op, op.emit("Expand", roots, shape), "i32").cast("i64")
    feature, *links = (Term(op, op.emit("Gather", nodes, op.constant(np.asarray(k)), axis=1), "i32")
                       for k in range(width))
    for _ in range(steps):
        column = op.emit("Gather", feature.name, at.name, axis=0)
        value = Term(op, op.emit("GatherElements", op[0], column, axis=1), x.type.dtype)
        above, up_to, *missing = (Term(op, op.emit("Gather", link.name, at.name, axis=0), "i32")
                                 for link in links)
        below = value <= op.emit("Gather", thresholds, at.name, axis=0)
        at = below.where(up_to, above)
        at = (is_nan(value).where(missing[0], at) if missing else at).cast("i64")
    return at.cast("i32").name
