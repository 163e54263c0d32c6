from __future__ import annotations

from ir import Context, Dim, Graph, Node, Operand, Value, product, rewrite, same
from ir.graph import joined
from ir.records import dataclass
from nncompile.passes.support.building import NewNodes
from nncompile.passes.support.matching import orders, with_known_weights

_SCALES, _SHIFTS = ("mul", "div"), ("add", "sub")


@dataclass(frozen=True)
class FoldBatchNorm:
    """Fold a scale and a shift per feature into the weights of the linear before them.

    A scale is also folded into the weights of the linear behind it.

        %0 = linear(%x, @w, @b)
        %1 = mul(%0, @scale)
        %2 = add(%1, @shift)
    -->
        %0 = reshape(@scale) {shape = [8, 1]}
        %1 = mul(@w, %0)
        %2 = mul(@b, @scale)
        %3 = add(%2, @shift)
        %4 = linear(%x, %1, %3)

    Only the last line is computed by each call, the others once, when the weights are loaded. So
    scale and shift have to be parameters, or depend on parameters alone. Division and subtraction
    are folded likewise. A shift before a linear is not folded: the bias would have to cancel the
    shift's part of a long sum, and lose precision.

    Bounded: the folded weights are rounded once more.
    """

    name = "fold_batch_norm"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _folded, ("linear", *_SCALES, *_SHIFTS))


def _folded(node: Node, context: Context) -> list[Node] | None:
    if context.at_load(node.result):
        return None
    if node.op == "linear":
        return _into_the_next(node, context)
    for operand, vector in orders(node):
        linear = with_known_weights(context.producer(operand), context)
        if linear is not None and linear.result.type == node.result.type \
                and _is_per_feature(vector, linear.result, context) \
                and context.is_only_use(node, linear):
            return _into_the_last(linear, node, vector)
    return None


def _is_per_feature(operand: Operand, beside: Value, context: Context) -> bool:
    """Whether the operand has one number for each feature of the value beside it.

    It also has to be known when the weights are loaded.
    """
    if not isinstance(operand, Value) or not context.at_load(operand):
        return False
    shape, size = operand.type.shape, beside.type.shape[-1]
    return len(shape) > 0 and same(shape[-1], size) and same(product(shape), size)


def _into_the_last(linear: Node, node: Node, vector: Operand) -> list[Node]:
    """The node, a scale or a shift of the linear by the vector, as a linear with other weights."""
    x, w, *bias = linear.inputs
    assert isinstance(vector, Value) and isinstance(w, Value)
    nodes = NewNodes(joined(linear.where, node.where))
    features: tuple[Dim, ...] = w.type.shape[:1]
    v = nodes.reshaped(vector, features)
    weights = [w]
    if node.op in _SCALES:
        weights = [nodes.add(node.op, w, nodes.reshaped(v, (*features, 1)))]
        weights += [nodes.add(node.op, b, v) for b in bias]
    elif bias:
        weights += [nodes.add(node.op, bias[0], v)]
    else:
        weights += [v if node.op == "add" else nodes.add("neg", v)]
    return [*nodes, Node(node.result, "linear", (x, *weights), {}, nodes.where)]


def _into_the_next(linear: Node, context: Context) -> list[Node] | None:
    """The linear of a scaled value as a linear, with other weights, of the value itself."""
    scaled = context.producer(linear.inputs[0])
    if scaled is None or scaled.op not in (*_SCALES, *_SHIFTS) \
            or with_known_weights(linear, context) is None:
        return None
    _, w, *bias = linear.inputs
    for x, vector in orders(scaled):
        if isinstance(x, Value) and x.type == scaled.result.type and not context.at_load(x) \
                and isinstance(vector, Value) and _is_per_feature(vector, x, context):
            if scaled.op in _SHIFTS:
                context.leave(linear, f"does not take in {scaled.op} {{}}: the bias would have to "
                                      "cancel the shift's part of a long sum, and lose precision",
                              scaled.result)
                return None
            if not context.is_only_use(linear, scaled):
                return None
            nodes = NewNodes(joined(scaled.where, linear.where))
            weight = nodes.add(scaled.op, w, nodes.reshaped(vector, x.type.shape[-1:]))
            return [*nodes, Node(linear.result, "linear", (x, weight, *bias), {}, nodes.where)]
    return None
