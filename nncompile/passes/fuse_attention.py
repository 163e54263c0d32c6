from __future__ import annotations

from collections.abc import Sequence
from math import inf

from ir import Context, Graph, Node, Operand, Value, rewrite
from ir.composites import turned_axes
from ir.records import dataclass, replace
from nncompile.passes.support.building import new_node
from nncompile.passes.support.matching import both_ways, times_number

_VIEWS = ("reshape", "transpose", "expand")
_LARGEST_FILL = 1e37                             # in a masked place; far from overflowing float32


@dataclass(frozen=True)
class FuseAttention:
    """Scale the scores of attention inside the softmax, where it costs nothing.

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

    The same holds for scores that are scaled before they are masked, and for scaled keys. Where
    something is added to the scores, the scale moves from queries and keys to the product and no
    further: there it can be fused with the product, and one linear can compute the queries together
    with keys and values. A division by a number is a scale. Scores written as the transposed
    product of keys and queries, as the einsum "aecd,abcd->acbe" is, become that of queries and
    keys.

    Bounded: the scale rounds the scores, not the queries; 1 / c is rounded.
    """

    name = "fuse_attention"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        graph = rewrite(graph, _softmax_of_turned, ["softmax"])
        return rewrite(graph, _scaled_softmax, ["softmax"])


def _softmax_of_turned(node: Node, context: Context) -> list[Node] | None:
    nodes = _turned(node.inputs[0], context)
    return nodes and [*nodes, replace(node, inputs=(nodes[-1].result,))]


def _turned(operand: Operand, context: Context) -> list[Node] | None:
    """The nodes of scores whose product is transposed, with one that is not; None where none is."""
    node = context.producer(operand, uses=1)
    if node is None or node.op not in ("transpose", "mul", "div", "where", "add"):
        return None
    if node.op == "transpose":
        return _product_turned(node, context)
    for i, inner in enumerate(node.inputs):
        if nodes := _turned(inner, context):
            inputs = (*node.inputs[:i], nodes[-1].result, *node.inputs[i + 1:])
            return [*nodes, new_node(node.op, *inputs, where=node.where, **node.attrs)]
    return None


def _product_turned(node: Node, context: Context) -> list[Node] | None:
    """The transpose of a product of matrices as the product of the transposes."""
    product = context.producer(node.inputs[0], uses=1)
    axes = turned_axes(node.result.type.ndim)
    if product is None or product.op != "matmul" or node.attrs["axes"] != axes:
        return None
    a, b = product.inputs
    if not all(isinstance(o, Value) and o.type.ndim == len(axes) for o in (a, b)):
        return None
    views = [new_node("transpose", o, where=product.where, axes=axes) for o in (b, a)]
    return [*views, new_node("matmul", *(v.result for v in views), where=product.where)]


@dataclass(frozen=True)
class _Unscaled:
    """An operand is `scale` times the value `of`, which the nodes compute if they are not there."""

    of: Operand
    scale: float
    nodes: tuple[Node, ...] = ()


def _scaled_softmax(node: Node, context: Context) -> list[Node] | None:
    found = _scores(node.inputs[0], context)
    if found is None:
        return None
    if found.scale != 1.0 and node.attrs["scale"] != 1.0:
        context.leave(node, "does not take in the scale of its scores {}: it has one, and a second "
                            "one would be rounded otherwise", node.inputs[0])
        return None
    attrs = node.attrs if found.scale == 1.0 else {**node.attrs, "scale": found.scale}
    return [*found.nodes, replace(node, inputs=(found.of,), attrs=attrs)]


def _scores(operand: Operand, context: Context) -> _Unscaled | None:
    """The operand of a softmax without the scale inside of it, if there is one."""
    node = context.producer(operand, uses=1)
    match node:
        case Node(op="mul" | "div"):
            return _times_number(node)
        case Node(op="matmul"):
            return _matmul(node, context)
        case Node(op="where"):
            return _masked(node, context)
        case Node(op="add"):
            return _with_added(node, context)
    return None


def _times_number(node: Node) -> _Unscaled | None:
    found = times_number(node)
    return _Unscaled(*found) if found is not None and found[1] != 0.0 else None


def _matmul(node: Node, context: Context) -> _Unscaled | None:
    """The product of the operands without their scales, if one or both are scaled."""
    found = [_viewed(o, context) for o in node.inputs]
    if not any(found):
        return None
    parts = [f or _Unscaled(o, 1.0) for f, o in zip(found, node.inputs, strict=True)]
    nodes = tuple(n for part in parts for n in part.nodes)
    return _ending_in(nodes, new_node("matmul", *(part.of for part in parts), where=node.where),
                      parts[0].scale * parts[1].scale)


def _viewed(operand: Operand, context: Context) -> _Unscaled | None:
    """The operand, which is a view or a view of views of a scaled value, without the scale."""
    node = context.producer(operand, uses=1)
    if node is None or node.op not in _VIEWS:
        return None if node is None else _times_number(node)
    found = _viewed(node.inputs[0], context)
    if found is None:
        return None
    view = new_node(node.op, found.of, where=node.where, **node.attrs)
    return _ending_in(found.nodes, view, found.scale)


def _masked(node: Node, context: Context) -> _Unscaled | None:
    """Masked scores without their scale; the number in masked places is divided by it."""
    condition, *choices = node.inputs
    for fill, chosen in both_ways(choices):
        if not isinstance(fill, float) or (found := _scores(chosen, context)) is None:
            continue
        if not found.scale > 0 or not (fill == -inf or abs(fill / found.scale) < _LARGEST_FILL):
            context.leave(node, f"keeps the scale of the masked scores {{}}: {fill!r}, the number "
                                "in masked places, cannot be divided by it", chosen)
            return None
        pair = [fill / found.scale if o is fill else found.of for o in choices]
        return _ending_in(found.nodes, new_node("where", condition, *pair, where=node.where),
                          found.scale)
    return None


def _with_added(node: Node, context: Context) -> _Unscaled | None:
    """The same sum, with the scale moved behind the product, where it can be fused with it."""
    for term, other in both_ways(node.inputs):
        found = _scores(term, context)
        if found is None or found.scale == 1.0 or _is_product(term, context):
            continue
        scaled = new_node("mul", found.of, found.scale, where=node.where)
        added = new_node("add", scaled.result, other, where=node.where)
        return _ending_in((*found.nodes, scaled), added, 1.0)
    return None


def _is_product(operand: Operand, context: Context) -> bool:
    """Whether the operand is scaled where the scale is to be."""
    node = context.producer(operand)
    return node is not None and node.op == "mul"


def _ending_in(nodes: Sequence[Node], last: Node, scale: float) -> _Unscaled:
    return _Unscaled(last.result, scale, (*nodes, last))
