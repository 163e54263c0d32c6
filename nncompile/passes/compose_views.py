from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from ir import Error, Graph, Node, Value, rewrite
from ir.graph import Operand, joined
from ir.ops import OPS, infer
from ir.rewrite import Producer
from ir.types import Dim, extent, same
from nncompile.passes.remove_identity import same_view

Definition = Callable[[Operand], Node | None]
LOSSLESS = {                                     # each cast that keeps every value as it is
    "bool": ("u8", "i8", "i32", "i64", "f32", "f64"),
    "u8": ("i32", "i64", "f32", "f64"),
    "i8": ("i32", "i64", "f32", "f64"),
    "i32": ("i64", "f64"),
    "f32": ("f64",),
}


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

    So with slice, expand, cast (where the first one keeps every value) and concat; a slice of a
    concat is one of its part, a concat of slices side by side is one slice, and a reshape that
    brings back the axes of a reduction is its keepdims.  The view between is skipped also where it
    has other users: a view costs nothing.

    Exact.
    """

    name = "compose_views"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        defined: dict[Operand, Node] = {}

        def composed(node: Node, producer: Producer) -> Node | Value | None:
            if "then" in node.attrs:
                return None
            defined[node.result] = node
            new = one_of_two(node, defined.get) or of_copies(node, defined.get, producer)
            if isinstance(new, Node):
                unchanged = same_view(new)
                if unchanged is not None and unchanged.type == new.result.type:
                    return unchanged
                defined[node.result] = new
            return new

        return rewrite(graph, composed)


def one_of_two(node: Node, definition: Definition) -> Node | None:
    """The view that two views of one op are together."""
    first = definition(node.inputs[0]) if len(node.inputs) == 1 else None
    if first is None or first.op != node.op:
        return None
    attrs: Mapping[str, Any] | None = node.attrs
    match node.op:
        case "transpose":
            order = first.attrs["axes"]
            attrs = {"axes": tuple(order[axis] for axis in node.attrs["axes"])}
        case "slice":
            attrs = slice_of_slice(first, node)
        case "cast":
            [x] = first.inputs
            keeps = isinstance(x, Value) and first.attrs["dtype"] in LOSSLESS.get(x.type.dtype, ())
            attrs = node.attrs if keeps else None
        case "reshape" | "expand":
            pass
        case _:
            return None
    if attrs is None:
        return None
    return replace(node, inputs=first.inputs, attrs=attrs, where=joined(first.where, node.where))


def slice_of_slice(first: Node, second: Node) -> Mapping[str, Any] | None:
    """The attributes of the slice of x that the second is of the first of x."""
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
        return None                              # which of its bounds is the last is not known
    attrs = {"axis": axis, "start": start, "stop": stop, "step": step}
    return attrs if is_legal("slice", first.inputs, attrs, second.result) else None


def is_legal(op: str, inputs: tuple[Operand, ...], attrs: Mapping[str, Any], result: Value) -> bool:
    """Whether the op takes these, and gives something of the result's type."""
    try:
        return infer(op, [o.type if isinstance(o, Value) else o for o in inputs], attrs) \
            == result.type
    except Error:
        return False


def of_copies(node: Node, definition: Definition, producer: Producer) -> Node | Value | None:
    """What is left of a node beside a concat or a reduction."""
    match node.op:
        case "slice":
            return slice_of_concat(node, definition(node.inputs[0]))
        case "concat":
            return concat_of_slices(node, definition) or concat_of_concats(node, producer)
        case "reshape":
            return reshape_of_reduction(node, producer(node.inputs[0]))
    return None


def slice_of_concat(node: Node, whole: Node | None) -> Node | Value | None:
    """The part, or the slice of the part, of the concat that the node is a slice of."""
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
            if is_legal("slice", (part,), inside, node.result):
                return replace(node, inputs=(part,), attrs=inside,
                               where=joined(whole.where, node.where))
        begin = end
    return None


def concat_of_slices(node: Node, definition: Definition) -> Node | None:
    """The slice that the node is, where its operands lie side by side in one value."""
    parts = [definition(o) for o in node.inputs]
    slices = [p for p in parts if p is not None and p.op == "slice" and p.attrs["step"] == 1
              and p.attrs["axis"] == node.attrs["axis"]]
    if len(slices) < len(parts) or any(
            a.inputs != b.inputs or not same(a.attrs["stop"], b.attrs["start"])
            for a, b in pairwise(slices)):
        return None
    attrs = {**slices[0].attrs, "stop": slices[-1].attrs["stop"]}
    return replace(node, op="slice", inputs=slices[0].inputs, attrs=attrs)


def concat_of_concats(node: Node, producer: Producer) -> Node | None:
    """The node with the operands of its operands, where these are concatenated for it alone."""
    inputs: list[Operand] = []
    for operand in node.inputs:
        made = producer(operand)
        inner = made is not None and made.op == "concat" and made.attrs == node.attrs
        inputs += made.inputs if made is not None and inner else [operand]
    return replace(node, inputs=tuple(inputs)) if len(inputs) > len(node.inputs) else None


def reshape_of_reduction(node: Node, reduction: Node | None) -> Node | None:
    """The reduction with the axes that the reshape brings back, or without those it takes away."""
    if (reduction is None or "reduction" not in OPS[reduction.op].traits
            or "then" in reduction.attrs):
        return None
    attrs = {**reduction.attrs, "keepdims": not reduction.attrs["keepdims"]}
    if not is_legal(reduction.op, reduction.inputs, attrs, node.result):
        return None
    return replace(reduction, result=node.result, attrs=attrs,
                   where=joined(reduction.where, node.where))
