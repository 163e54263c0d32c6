from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ir import OPS, Context, Dim, Error, Graph, Node, Operand, Value, rewrite, same
from ir.graph import joined, types_of
from ir.ops import infer
from ir.records import dataclass, replace
from ir.types import extent
from nncompile.passes.support.views import viewed_alike

_LOSSLESS = {                                    # the casts that keep every value as it is
    "bool": ("u8", "i8", "i32", "i64", "f32", "f64"),
    "u8": ("i32", "i64", "f32", "f64"),
    "i8": ("i32", "i64", "f32", "f64"),
    "i32": ("i64", "f64"),
    "f32": ("f64",),
}


_VIEWS = ("reshape", "transpose", "slice", "expand", "cast", "concat")


@dataclass(frozen=True)
class ComposeViews:
    """Make one view of two, and none of two that undo each other.

        %0 = reshape(%x) {shape = [8*B]}
        %1 = reshape(%0) {shape = [B, 2, 4]}
        %2 = transpose(%1) {axes = [0, 2, 1]}
        %3 = transpose(%2) {axes = [1, 0, 2]}
    -->
        %0 = reshape(%x) {shape = [B, 2, 4]}
        %1 = transpose(%0) {axes = [2, 0, 1]}

    Slice, expand, concat, and cast where the first cast keeps every value, are composed likewise.
    A slice of a concat becomes a slice of one of its operands, a concat of adjacent slices becomes
    one slice, and a reshape that restores the axes of a reduction becomes its keepdims. A view
    that has other users is composed too: a view costs nothing.

    Exact.
    """

    name = "compose_views"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _composed, _VIEWS)


def _composed(node: Node, context: Context) -> Node | Value | None:
    new = _one_of_two(node, context) or _of_copies(node, context)
    if isinstance(new, Node):
        unchanged = viewed_alike(new)
        if unchanged is not None and unchanged.type == new.result.type:
            return unchanged
    return new


def _one_of_two(node: Node, context: Context) -> Node | None:
    """The view that two views of the same op are together."""
    first = context.producer(node.inputs[0]) if len(node.inputs) == 1 else None
    if first is None or first.op != node.op:
        return None
    attrs: Mapping[str, Any] | None = node.attrs
    match node.op:
        case "transpose":
            order = first.attrs["axes"]
            attrs = {"axes": tuple(order[axis] for axis in node.attrs["axes"])}
        case "slice":
            attrs = _slice_of_slice(first, node)
        case "cast":
            [x] = first.inputs
            keeps = isinstance(x, Value) and first.attrs["dtype"] in _LOSSLESS.get(x.type.dtype, ())
            attrs = node.attrs if keeps else None
        case "reshape" | "expand":
            pass
        case _:
            return None
    if attrs is None:
        return None
    return replace(node, inputs=first.inputs, attrs=attrs, where=joined(first.where, node.where))


def _slice_of_slice(first: Node, second: Node) -> Mapping[str, Any] | None:
    """The attributes of the one slice that has the effect of two along the same axis."""
    one, two = first.attrs, second.attrs
    axis, step = two["axis"], one["step"] * two["step"]
    if one["axis"] != axis:
        return None
    count, start = second.result.type.shape[axis], one["start"] + two["start"] * one["step"]
    if one["step"] == two["step"] == 1:
        stop: Dim = start + count
    elif isinstance(count, int) and count > 0:
        stop = start + (count - 1) * step + (1 if step > 0 else -1)
    else:
        return None                              # without the count, the last element is not known
    attrs = {"axis": axis, "start": start, "stop": stop, "step": step}
    return attrs if _is_legal("slice", first.inputs, attrs, second.result) else None


def _is_legal(op: str, inputs: tuple[Operand, ...], attrs: Mapping[str, Any], result: Value
              ) -> bool:
    """Whether the op takes these operands and attributes, and gives the type of the result."""
    try:
        return infer(op, types_of(inputs), attrs) == result.type
    except Error:
        return False


def _of_copies(node: Node, context: Context) -> Node | Value | None:
    """What replaces a view of a concat or a reduction, or a concat of views."""
    match node.op:
        case "slice":
            return _slice_of_concat(node, context.producer(node.inputs[0]))
        case "concat":
            return _concat_of_slices(node, context) or _concat_of_concats(node, context)
        case "reshape":
            return _reshape_of_reduction(node, context.producer(node.inputs[0], uses=1))
    return None


def _slice_of_concat(node: Node, whole: Node | None) -> Node | Value | None:
    """The operand of the concat that the node slices out, or the slice of that operand."""
    attrs, axis = node.attrs, node.attrs["axis"]
    if whole is None or whole.op != "concat" or whole.attrs["axis"] != axis or attrs["step"] < 0:
        return None
    begin: Dim = 0
    for part in whole.inputs:
        assert isinstance(part, Value)           # a concat takes arrays only
        end = begin + part.type.shape[axis]
        if same((attrs["start"], attrs["stop"], attrs["step"]), (begin, end, 1)):
            return part
        if extent(attrs["start"] - begin)[0] >= 0 and extent(end - attrs["stop"])[0] >= 0:
            inside = {**attrs, "start": attrs["start"] - begin, "stop": attrs["stop"] - begin}
            if _is_legal("slice", (part,), inside, node.result):
                return replace(node, inputs=(part,), attrs=inside,
                               where=joined(whole.where, node.where))
        begin = end
    return None


def _concat_of_slices(node: Node, context: Context) -> Node | None:
    """One slice for the node, where its operands are adjacent slices of the same value."""
    parts = [context.producer(o) for o in node.inputs]
    slices = [p for p in parts if p is not None and p.op == "slice" and p.attrs["step"] == 1
              and p.attrs["axis"] == node.attrs["axis"]]
    if len(slices) < len(parts) or any(
            a.inputs != b.inputs or not same(a.attrs["stop"], b.attrs["start"])
            for a, b in pairwise(slices)):
        return None
    attrs = {**slices[0].attrs, "stop": slices[-1].attrs["stop"]}
    return replace(node, op="slice", inputs=slices[0].inputs, attrs=attrs)


def _concat_of_concats(node: Node, context: Context) -> Node | None:
    """One concat for the node and its operands, where these are concats that nothing else uses."""
    inputs: list[Operand] = []
    for operand in node.inputs:
        inner = context.producer(operand, uses=1)
        if inner is not None and inner.op == "concat" and inner.attrs == node.attrs:
            inputs += inner.inputs
        else:
            inputs.append(operand)
    return replace(node, inputs=tuple(inputs)) if len(inputs) > len(node.inputs) else None


def _reshape_of_reduction(node: Node, reduction: Node | None) -> Node | None:
    """The reduction with the other keepdims, where the reshape does nothing more than that."""
    if reduction is None or "reduction" not in OPS[reduction.op].traits:
        return None
    attrs = {**reduction.attrs, "keepdims": not reduction.attrs["keepdims"]}
    if not _is_legal(reduction.op, reduction.inputs, attrs, node.result):
        return None
    return replace(reduction, result=node.result, attrs=attrs,
                   where=joined(reduction.where, node.where))
