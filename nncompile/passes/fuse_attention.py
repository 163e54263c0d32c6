from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

from ir import Graph, Node, Value
from ir.graph import Operand
from nncompile.passes.support.patterns import Seen, both_ways, made_of, replace_by_several

VIEWS = ("reshape", "transpose", "expand")
LARGEST = 1e37                                   # a number for what is masked; far from overflowing


@dataclass(frozen=True)
class FuseAttention:
    """Scale the scores of attention where it costs nothing: inside the softmax.

        %0 = mul(%q, 0.125)
        %1 = transpose(%k) {axes = [0, 2, 1]}
        %2 = matmul(%0, %1)
        %3 = where(%mask, %2, -inf)
        %4 = softmax(%3) {axis = 2, scale = 1.0}
    -->
        %0 = transpose(%k) {axes = [0, 2, 1]}
        %1 = matmul(%q, %0)
        %2 = where(%mask, %1, -inf)
        %3 = softmax(%2) {axis = 2, scale = 0.125}

    So too for scores that are scaled before they are masked, and for keys that are scaled.  Where
    something is added to the scores, the scale stays between: there it can be fused with the
    product, and the queries can be computed with keys and values.

    Bounded: the scale rounds the scores, not the queries.
    """

    name = "fuse_attention"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return replace_by_several(graph, scaled_softmax)


@dataclass(frozen=True)
class Unscaled:
    """The operand is `scale` times the last of these nodes, or times `of`."""

    of: Operand
    scale: float
    nodes: tuple[Node, ...] = ()


def scaled_softmax(node: Node, seen: Seen) -> list[Node] | None:
    if node.op != "softmax":
        return None
    found = scores(node.inputs[0], seen)
    if found is None or (found.scale != 1.0 and node.attrs["scale"] != 1.0):
        return None
    attrs = node.attrs if found.scale == 1.0 else {**node.attrs, "scale": found.scale}
    return [*found.nodes, replace(node, inputs=(found.of,), attrs=attrs)]


def scores(operand: Operand, seen: Seen) -> Unscaled | None:
    node = seen.once(operand)
    match node:
        case Node(op="mul"):
            return product_with_number(node)
        case Node(op="matmul"):
            return product(node, seen)
        case Node(op="where"):
            return masked(node, seen)
        case Node(op="add"):
            return with_added(node, seen)
    return None


def product_with_number(node: Node) -> Unscaled | None:
    match node.inputs:
        case (Value() as x, float(c)) | (float(c), Value() as x) if isfinite(c) and c != 0.0:
            return Unscaled(x, c)
    return None


def product(node: Node, seen: Seen) -> Unscaled | None:
    """The product of what is scaled in one of its operands or in both."""
    found = [viewed(o, seen) for o in node.inputs]
    if not any(found):
        return None
    parts = [f or Unscaled(o, 1.0) for f, o in zip(found, node.inputs, strict=True)]
    nodes = tuple(n for part in parts for n in part.nodes)
    return followed(nodes, made_of("matmul", *(part.of for part in parts), where=node.where),
                    parts[0].scale * parts[1].scale)


def viewed(operand: Operand, seen: Seen) -> Unscaled | None:
    """What is scaled, in the same view as the operand."""
    node = seen.once(operand)
    if node is None or node.op not in VIEWS:
        return None if node is None or node.op != "mul" else product_with_number(node)
    found = viewed(node.inputs[0], seen)
    if found is None:
        return None
    view = made_of(node.op, found.of, where=node.where, **node.attrs)
    return followed(found.nodes, view, found.scale)


def masked(node: Node, seen: Seen) -> Unscaled | None:
    """What is scaled, with the same things masked by a number so much smaller."""
    condition, *choices = node.inputs
    for fill, chosen in both_ways(choices):
        if not isinstance(fill, float) or (found := scores(chosen, seen)) is None:
            continue
        if not found.scale > 0 or not (fill == -inf or abs(fill / found.scale) < LARGEST):
            return None
        pair = [fill / found.scale if o is fill else found.of for o in choices]
        return followed(found.nodes, made_of("where", condition, *pair, where=node.where),
                        found.scale)
    return None


def with_added(node: Node, seen: Seen) -> Unscaled | None:
    """The sum with what is scaled, scaled now where it can be fused with the product."""
    for term, other in both_ways(node.inputs):
        found = scores(term, seen)
        if found is None or not found.nodes or found.scale == 1.0:
            continue
        scaled = made_of("mul", found.of, found.scale, where=node.where)
        added = made_of("add", scaled.result, other, where=node.where)
        return followed((*found.nodes, scaled), added, 1.0)
    return None


def followed(nodes: Sequence[Node], last: Node, scale: float) -> Unscaled:
    return Unscaled(last.result, scale, (*nodes, last))
