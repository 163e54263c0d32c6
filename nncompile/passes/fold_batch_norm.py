from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node, Value
from ir.graph import Operand, joined
from ir.types import Dim, product, same
from nncompile.passes.support.patterns import Nodes, Seen, both_ways, replace_by_several

SCALES, SHIFTS = ("mul", "div"), ("add", "sub")


@dataclass(frozen=True)
class FoldBatchNorm:
    """Put a scale and a shift of each feature, which parameters alone determine, into the linear
    before them, and a scale into the linear behind it.

        %0 = linear(%x, @w, @b)
        %1 = mul(%0, @scale)
        %2 = add(%1, @shift)
    -->
        %0 = reshape(@scale) {shape = [8, 1]}
        %1 = mul(@w, %0)
        %2 = mul(@b, @scale)
        %3 = add(%2, @shift)
        %4 = linear(%x, %1, %3)

    All but the last line is computed when the weights are loaded.  So with div and sub.  A shift
    before a linear stays there: in the bias it would have to cancel after a long sum.

    Bounded: the weights are rounded once more.
    """

    name = "fold_batch_norm"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return replace_by_several(graph, folded)


def folded(node: Node, seen: Seen) -> list[Node] | None:
    if node.result in seen.at_load:
        return None
    if node.op == "linear":
        return into_the_next(node, seen)
    if node.op not in SCALES + SHIFTS:
        return None
    ways = both_ways(node.inputs)[:2 if node.op in ("mul", "add") else 1]
    for made, vector in ways:
        linear = linear_with_weights(seen.once(made), seen)
        if linear is not None and linear.result.type == node.result.type \
                and is_vector(vector, linear.result, seen):
            return into_the_last(linear, node, vector)
    return None


def linear_with_weights(node: Node | None, seen: Seen) -> Node | None:
    """The node if it is a linear with weights that are known at load time."""
    known = node is not None and node.op == "linear" and all(
        w in seen.at_load for w in node.inputs[1:])
    return node if known else None


def is_vector(operand: Operand, beside: Value, seen: Seen) -> bool:
    """Whether the operand is one number a feature of what it stands beside, known at load time."""
    if not isinstance(operand, Value) or operand not in seen.at_load:
        return False
    shape, size = operand.type.shape, beside.type.shape[-1]
    return len(shape) > 0 and same(shape[-1], size) and same(product(shape), size)


def into_the_last(linear: Node, node: Node, vector: Operand) -> list[Node]:
    """The node as a linear whose weights have taken in the vector."""
    x, w, *bias = linear.inputs
    assert isinstance(vector, Value) and isinstance(w, Value)
    nodes = Nodes(joined(linear.where, node.where))
    features: tuple[Dim, ...] = w.type.shape[:1]
    v = nodes.shaped(vector, features)
    weights = [w]
    if node.op in SCALES:
        weights = [nodes.add(node.op, w, nodes.shaped(v, (*features, 1)))]
        weights += [nodes.add(node.op, b, v) for b in bias]
    elif bias:
        weights += [nodes.add(node.op, bias[0], v)]
    else:
        weights += [v if node.op == "add" else nodes.add("neg", v)]
    nodes.append(Node(node.result, "linear", (x, *weights), {}, nodes.where))
    return nodes


def into_the_next(linear: Node, seen: Seen) -> list[Node] | None:
    """The linear of what is scaled as one of what is not."""
    scaled = seen.once(linear.inputs[0])
    if scaled is None or scaled.op not in SCALES or linear_with_weights(linear, seen) is None:
        return None
    _, w, *bias = linear.inputs
    ways = both_ways(scaled.inputs)[:2 if scaled.op == "mul" else 1]
    for x, vector in ways:
        if isinstance(x, Value) and x.type == scaled.result.type and x not in seen.at_load \
                and isinstance(vector, Value) and is_vector(vector, x, seen):
            nodes = Nodes(joined(scaled.where, linear.where))
            weight = nodes.add(scaled.op, w, nodes.shaped(vector, x.type.shape[-1:]))
            return [*nodes, Node(linear.result, "linear", (x, weight, *bias), {}, nodes.where)]
    return None
