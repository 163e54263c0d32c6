"""Nodes to steps.  Views move nothing; every other node is one step, with a copy before it where
an operand does not lie in memory as the step's kernel needs it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from ir.graph import Graph, Node, Value
from ir.ops import OPS, split_then
from ir.types import Dim, DimExpr, TensorType, product, same
from nncompile.schedule.program import (
    Operand,
    Step,
    View,
    collapsed,
    contiguous,
    row_major,
)

Attrs = Mapping[str, Any]
Operands = list[Any]                           # Views; an elementwise op's may be floats too
Then = list[tuple[str, tuple[Operand, ...]]]


class Lowering:
    """Collects steps and buffers; `views` says where each value of the graph lives."""

    def __init__(self, views: dict[Value, View], outputs: dict[Value, str]) -> None:
        self.views, self.outputs = views, outputs
        self.buffers: dict[str, TensorType] = {}
        self.steps: list[Step] = []
        self.requirements: list[tuple[Dim, Node]] = []

    def add(self, node: Node) -> None:
        own, attrs, then = split_then(node.op, node.inputs, node.attrs)
        further = [(op, tuple(map(self.operand, others))) for op, others in then]
        lowering = elementwise if "elementwise" in OPS[node.op].traits else LOWERINGS[node.op]
        operands = [self.operand(o) for o in own]
        self.views[node.result] = lowering(self, node, operands, attrs, further)

    def require(self, node: Node, *rooms: Dim) -> None:
        """Refuse calls in which one of these is negative; what cannot be is left out."""
        self.requirements += [(room, node) for room in rooms
                              if isinstance(room, DimExpr) and min(c for _, c in room.terms) < 0]

    def operand(self, operand: Value | float) -> Operand:
        return self.views[operand] if isinstance(operand, Value) else operand

    def step(self, kind: str, node: Node, result: View, operands: Sequence[Operand],
             attrs: Attrs | None = None, then: Then | None = None) -> View:
        self.steps.append(
            Step(kind, result, tuple(operands), attrs or {}, tuple(then or ()), node))
        return result

    def result(self, node: Node) -> View:
        """Where a kernel writes the node's result: an output if it is one, or else a buffer."""
        place = self.outputs.pop(node.result, None)
        return contiguous(place, node.result.type.shape) if place else self.buffer(node.result.type)

    def buffer(self, type_: TensorType) -> View:
        place = f"b{len(self.buffers)}"
        self.buffers[place] = type_
        return contiguous(place, type_.shape)

    def copied(self, node: Node, view: View) -> View:
        """The same elements in row-major order in a buffer of their own."""
        copy = self.buffer(TensorType(node.result.type.dtype, view.shape))
        return self.step("elementwise", node, copy, [view], {"op": "copy"})

    def broadcasting(self, node: Node, then: Then, dims: int) -> Then:
        """The further operands of a product as its kernel reads them: along a row with stride 1
        or 0, and with one stride for each of so many dims before.  What does not is copied."""
        def readable(operand: Operand) -> Operand:
            if not isinstance(operand, View):
                return operand
            wide = operand.broadcast_to(node.result.type.shape)
            along = wide.strides[-1]
            if ((same(along, 0) or same(along, 1) or same(wide.shape[-1], 1))
                    and len(collapsed(wide.shape[:-1], [wide.strides[:-1]])[0]) <= dims):
                return operand
            return self.copied(node, wide)
        return [(op, tuple(map(readable, others))) for op, others in then]

    def matrix(self, node: Node, view: View, columns: int = 1) -> View:
        """The operand as rows of `columns` trailing dims, merged to one: itself where it lies so,
        or else a copy."""
        found = as_matrix(view, columns)
        return found or as_matrix(self.copied(node, view), columns)      # type: ignore[return-value]


def as_matrix(view: View, columns: int = 1) -> View | None:
    """The view with its leading dims merged to one and its trailing ones to another, if each
    group has one stride and the last one is 1."""
    split = len(view.shape) - columns
    rows = merged(view.shape[:split], view.strides[:split])
    inner = merged(view.shape[split:], view.strides[split:])
    if rows is None or inner is None or not (same(inner[1], 1) or same(inner[0], 1)):
        return None
    return View(view.place, (rows[0], inner[0]), (rows[1], 1), view.offset)


def merged(shape: Sequence[Dim], strides: Sequence[Dim]) -> tuple[Dim, Dim] | None:
    """One size and stride for several dims that follow each other in memory."""
    dims, (steps,) = collapsed(shape, [strides])
    return (dims[0], steps[0]) if len(dims) == 1 else None if dims else (1, 1)


# -- one function for each op: (lowering, node, operands, attrs, then) -> where the result lives ---

def linear(low: Lowering, node: Node, operands: Operands, attrs: Attrs, then: Then) -> View:
    x, w, *bias = operands
    weights = [o for o in node.inputs[1:len(operands)] if isinstance(o, Value)]
    if not all(low.views[v].place.startswith("c") for v in weights):
        # The weight is computed at run time, so it cannot be packed: a product of two activations.
        then = [("add", tuple(bias)), *then] if bias else then
        return matmul(low, node, [x, w.permuted([1, 0])], attrs, then)
    then = low.broadcasting(node, then, dims=1)
    return low.step("linear", node, low.result(node), [low.matrix(node, x), w, *bias], {}, then)


def matmul(low: Lowering, node: Node, operands: Operands, _: Attrs, then: Then) -> View:
    x, w = (v if same(v.strides[-1], 1) else low.copied(node, v) for v in operands)
    then = low.broadcasting(node, then, dims=len(node.result.type.shape) - 1)
    return low.step("matmul", node, low.result(node), [x, w], {}, then)


def elementwise(low: Lowering, node: Node, operands: Operands, _: Attrs, then: Then) -> View:
    return low.step("elementwise", node, low.result(node), operands, {"op": node.op}, then)


def embedding(low: Lowering, node: Node, operands: Operands, _: Attrs, then: Then) -> View:
    ids, table = operands
    index = node.inputs[0].type.dtype                                    # type: ignore[union-attr]
    return low.step("embedding", node, low.result(node), [ids, table], {"index": index}, then)


def softmax(low: Lowering, node: Node, operands: Operands, attrs: Attrs, then: Then) -> View:
    return last_axes(low, node, operands[0], [attrs["axis"]], "softmax", [],
                     {"scale": attrs["scale"]}, then)


def layer_norm(low: Lowering, node: Node, operands: Operands, attrs: Attrs, then: Then) -> View:
    x, *affine = operands
    affine = [View(v.place, (product(v.shape),), (1,), v.offset) if v.is_contiguous else
              as_matrix(low.copied(node, v), len(v.shape)) for v in affine]
    return last_axes(low, node, x, list(attrs["axes"]), "layer_norm", affine,
                     {"eps": attrs["eps"]}, then)


def last_axes(low: Lowering, node: Node, x: View, axes: list[int], kind: str,
              further: list[View], attrs: Attrs, then: Then) -> View:
    """A step that works on rows: the axes it works on are moved last, and its result back."""
    order = [a for a in range(len(x.shape)) if a not in axes] + axes
    back = [order.index(a) for a in range(len(order))]
    rows = low.matrix(node, x.permuted(order), len(axes))
    if order == sorted(order):
        out = low.result(node)
        low.step(kind, node, as_matrix(out, len(axes)), [rows, *further], attrs, then)  # type: ignore[arg-type]
        return out
    shape = tuple(x.shape[a] for a in order)
    moved = low.buffer(TensorType(node.result.type.dtype, shape))
    low.step(kind, node, as_matrix(moved, len(axes)), [rows, *further], attrs, then)    # type: ignore[arg-type]
    return moved.permuted(back)


def reduction(low: Lowering, node: Node, operands: Operands, attrs: Attrs, then: Then) -> View:
    x, axes = operands[0], list(attrs["axes"])
    order = [a for a in range(len(x.shape)) if a not in axes] + axes
    if node.op == "max":
        low.require(node, *(x.shape[a] - 1 for a in axes))               # nothing has no maximum
    rows = low.matrix(node, x.permuted(order), len(axes))
    out = low.result(node)
    flat = View(out.place, (rows.shape[0],), (1,), out.offset)
    low.step("reduce", node, flat, [rows], {"op": node.op}, then)
    return out


def reshape(low: Lowering, node: Node, operands: Operands, attrs: Attrs, _: Then) -> View:
    x = operands[0] if operands[0].is_contiguous else low.copied(node, operands[0])
    return View(x.place, node.result.type.shape, row_major(node.result.type.shape), x.offset)


def transpose(low: Lowering, node: Node, operands: Operands, attrs: Attrs, _: Then) -> View:
    x: View = operands[0]
    return x.permuted(attrs["axes"])


def slice_(low: Lowering, node: Node, operands: Operands, attrs: Attrs, _: Then) -> View:
    x: View = operands[0]
    start, stop, size = attrs["start"], attrs["stop"], x.shape[attrs["axis"]]
    low.require(node, start, stop - start, size - stop)
    return x.sliced(attrs["axis"], start, stop)


def unchanged(low: Lowering, node: Node, operands: Operands, attrs: Attrs, _: Then) -> View:
    x: View = operands[0]
    return x


def concat(low: Lowering, node: Node, operands: Operands, attrs: Attrs, _: Then) -> View:
    out, start = low.result(node), 0
    for x in operands:
        stop = start + x.shape[attrs["axis"]]
        low.step("elementwise", node, out.sliced(attrs["axis"], start, stop), [x], {"op": "copy"})
        start = stop
    return out


LOWERINGS: dict[str, Callable[..., View]] = {
    "linear": linear, "matmul": matmul, "embedding": embedding, "softmax": softmax,
    "layer_norm": layer_norm, "sum": reduction, "mean": reduction, "max": reduction,
    "reshape": reshape, "transpose": transpose, "slice": slice_, "concat": concat,
    "identity": unchanged, "dropout": unchanged,
}


def lower(graph: Graph, views: dict[Value, View], prepared: Set[Value]) -> Lowering:
    """All nodes but the prepared ones; then a copy for each output that no step has written."""
    places: dict[Value, str] = {}
    for i, value in enumerate(graph.outputs):
        places.setdefault(value, f"out{i}")
    low = Lowering(views, dict(places))
    for node in graph.nodes:
        if node.result not in prepared:
            low.add(node)
    makers = {node.result: node for node in graph.nodes}
    for i, value in enumerate(graph.outputs):
        out = contiguous(f"out{i}", value.type.shape)
        if low.views[value].place != out.place:
            maker = makers.get(value) or Node(value, "identity", (value,))
            low.step("elementwise", maker, out, [low.views[value]], {"op": "copy"})
    return low
