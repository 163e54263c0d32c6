from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, isnan, nextafter

from ir import Context, Graph, Node, Operand, Value, Where, rewrite, same
from ir.composites import turned_axes
from ir.graph import joined
from ir.ops import Attrs, split_then
from ir.ops.references import scales_of_attention
from ir.records import dataclass
from nncompile.passes.support.building import new_node


@dataclass(frozen=True)
class UseAttention:
    """Call the products around a softmax what they are: attention.

        %0 = transpose(%k) {axes = [0, 2, 1]}
        %1 = matmul(%q, %0)
        %2 = where(%mask, %1, -inf)
        %3 = softmax(%2) {axis = 2, scale = 0.125}
        %4 = matmul(%3, %v) then add(%x)
    -->
        %0 = attention(%q, %k, %v, %mask) {scale = 0.125, fill = -inf, seen = true, zeroed = none}
             then add(%x)

    Masks of floats, which are added to the scores, are found as well, and weights that are 0 for
    queries that see no key. Only what `ir.composites` makes of the op is called by its name, so the
    steps of the program stay the same.

    Exact: the parts are the nodes that were there.
    """

    name = "use_attention"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _attention, ["matmul"], fused=True, once=True)


@dataclass(frozen=True)
class _Weights:
    """How weights are computed: a softmax, and which of them are 0 in place of what it gives.

    tested: the scores or the mask that a query sees nothing by.
    """

    softmax: Node
    zeroed: str = "none"
    tested: Value | None = None


@dataclass(frozen=True)
class _Scores:
    """How scores are computed: a product, a scale, and masks in their order."""

    product: Node
    scale: float = 1.0
    masks: tuple[Value, ...] = ()
    fill: float = -inf
    seen: bool = True
    has_bools: bool = False


def _attention(node: Node, context: Context) -> list[Node] | None:
    """The nodes of an attention that ends in this product of weights and values."""
    (operand, v), _, steps = split_then(node.op, node.inputs, node.attrs)
    made = context.producer(operand)
    weights = _weights(made, context)
    if made is None or weights is None or not context.is_only_use(node, made):
        return None
    if "then" in weights.softmax.attrs:
        context.leave(node, "is not called attention: steps follow the softmax {}", operand)
        return None
    scores = _scores(weights.softmax.inputs[0], 2 if weights.zeroed == "unseen" else 1, context)
    if scores is None:
        context.leave(node, "is not called attention: the scores {} are not one product that "
                            "nothing else uses, scaled and masked", weights.softmax.inputs[0])
        return None
    attrs = _attributes(scores, weights)
    if attrs is None:
        context.leave(node, "is not called attention: the op cannot say how the scores {} are "
                            "scaled, masked or summed", weights.softmax.inputs[0])
        return None
    q, turned = scores.product.inputs[:2]
    if context.at_load(turned):                      # keys that are stored are stored transposed
        context.leave(node, "is not called attention: its keys {} are known when the weights are "
                            "loaded, and are stored transposed", turned)
        return None
    then = {key: value for key, value in node.attrs.items() if key == "then"}
    further = [o for _, others in steps for o in others]
    before, k = _turned_back(turned, scores.product.where, context)
    where = joined(joined(scores.product.where, weights.softmax.where), node.where)
    return [*before, Node(node.result, "attention", (q, k, v, *scores.masks, *further),
                          {**attrs, **then}, where)]


def _weights(node: Node | None, context: Context) -> _Weights | None:
    """How weights are computed, if they are a softmax, some of which may be 0 instead."""
    match node:
        case Node(op="softmax"):
            return _Weights(node)
        case Node(op="where", inputs=(Value() as nothing, 0.0, Value() as weights)) \
                if "then" not in node.attrs:
            test, softmax = context.producer(nothing, uses=1), context.producer(weights)
        case _:
            return None
    if test is None or "then" in test.attrs or softmax is None or softmax.op != "softmax":
        return None
    if test.op == "isnan" and test.inputs == (weights,) and context.uses(weights) == 2:
        return _Weights(softmax, "undefined")
    tested = _lowest_where_true(test, context) if context.uses(weights) == 1 else None
    if tested is None:
        return None
    return _Weights(softmax, "unseen" if tested is softmax.inputs[0] else "masked", tested)


def _lowest_where_true(test: Node, context: Context) -> Value | None:
    """The value of which a node tests whether the largest element of each row is -inf."""
    match test:
        case Node(op="eq", inputs=(Value() as largest, float(bound))) if bound == -inf:
            found = context.producer(largest, uses=1)
        case _:
            return None
    match found:
        case Node(op="max", inputs=(Value() as searched,),
                  attrs={"axes": (axis,), "keepdims": True}) if "then" not in found.attrs:
            return searched if axis == searched.type.ndim - 1 else None
    return None


def _scores(x: Operand, uses: int, context: Context) -> _Scores | None:
    """How x is computed, if it is as the scores of attention are."""
    node = context.producer(x, uses=uses)
    if node is None or node.op not in ("matmul", "where"):
        return None
    head, _, steps = split_then(node.op, node.inputs, node.attrs)
    scores = _Scores(node) if node.op == "matmul" else _masked(head, context)
    if scores is None or not same(node.result.type, scores.product.result.type):
        return None
    for op, others in steps:
        match op, others:
            case "mul", [float(scale)] if scores == _Scores(node) and isfinite(scale):
                scores = _Scores(node, scale)
            case "add", [Value() as mask]:
                scores = _with_mask(scores, mask)
            case _:
                return None
    return scores


def _masked(operands: Sequence[Operand], context: Context) -> _Scores | None:
    """Scores in a choice between them and a number."""
    match operands:
        case Value() as mask, Value() as x, float(fill):
            seen = True
        case Value() as mask, float(fill), Value() as x:
            seen = False
        case _:
            return None
    scores = _scores(x, 1, context)
    if scores is None or isnan(fill):
        return None
    if scores.has_bools and (scores.fill, scores.seen) != (fill, seen):
        return None
    return _Scores(scores.product, scores.scale, (*scores.masks, mask), fill, seen, True)


def _with_mask(scores: _Scores, mask: Value) -> _Scores:
    return _Scores(scores.product, scores.scale, (*scores.masks, mask), scores.fill, scores.seen,
                   scores.has_bools)


def _attributes(scores: _Scores, weights: _Weights) -> Attrs | None:
    """The attributes of an attention that scales where these nodes do; None if there is none."""
    inside, zeroed = weights.softmax.attrs["scale"], weights.zeroed
    is_along = weights.softmax.attrs["axis"] == scores.product.result.type.ndim - 1
    if not is_along or 1.0 not in (scores.scale, inside):
        return None
    if zeroed == "masked" and (scores.masks != (weights.tested,) or scores.has_bools):
        return None
    scale = scores.scale * inside
    masks = [mask.type.dtype for mask in scores.masks]
    wanted = (scores.scale, inside, scores.fill)
    middle = scores.fill * inside
    for fill in (scores.fill, middle, nextafter(middle, inf), nextafter(middle, -inf)):
        if scales_of_attention(masks, scale, fill, zeroed) == wanted:
            return {"scale": scale, "fill": fill, "seen": scores.seen, "zeroed": zeroed}
    return None


def _turned_back(turned: Operand, where: Where, context: Context) -> tuple[list[Node], Operand]:
    """The keys, and the node of a view that makes them of transposed ones if there is a need."""
    rank = turned.type.ndim                                              # type: ignore[union-attr]
    axes, made = turned_axes(rank), context.producer(turned)
    if made is None or made.op != "transpose":
        view = new_node("transpose", turned, where=where, axes=axes)
        return [view], view.result
    axes = tuple(made.attrs["axes"][axis] for axis in axes)
    if axes == tuple(range(rank)):
        return [], made.inputs[0]
    view = new_node("transpose", made.inputs[0], where=made.where, axes=axes)
    return [view], view.result
