from __future__ import annotations

from dataclasses import dataclass, replace

from ir import Graph, Node, TensorType, Value, rewrite
from ir.graph import joined
from ir.rewrite import Producer, Rule, remove_dead
from ir.types import same
from nncompile.passes.support.epilogue import plain
from nncompile.passes.support.parameters import load_time_values


@dataclass(frozen=True)
class UseLinear:
    """Find the linear layer in `x @ weight.T + bias` and in `x @ weight`.

        %0 = transpose(@w) {axes = [1, 0]}
        %1 = matmul(%x, %0)
        %2 = add(%1, @b)
        %3 = matmul(%2, @v)
    -->
        %0 = linear(%x, @w, @b)
        %1 = transpose(@v) {axes = [1, 0]}
        %2 = linear(%0, %1)

    A linear layer packs its weights when they are loaded, and what depends on parameters alone is
    computed then too, as %1 is here.  A product of two inputs stays a matmul.

    Bounded: the bias may start a sum instead of ending it.
    """

    name = "use_linear"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        graph = use_products(graph)
        return rewrite(graph, take_bias(graph))


def use_products(graph: Graph) -> Graph:
    """Each matmul by a matrix that is known at load time becomes a linear by its transpose."""
    at_load = load_time_values(graph)
    matrices = {node: w for node in graph.nodes if (w := weight_of(node, at_load)) is not None}
    if not matrices:
        return graph
    defined = {node.result: node for node in graph.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        w = matrices.get(node)
        if w is None:
            nodes.append(node)
            continue
        weight = transposed_already(defined.get(w))
        if weight is None:
            flip = transpose(w, node)
            nodes.append(flip)
            weight = flip.result
        nodes.append(replace(node, op="linear", inputs=(node.inputs[0], weight)))
    return remove_dead(replace(graph, nodes=tuple(nodes)))


def weight_of(node: Node, at_load: frozenset[Value]) -> Value | None:
    """w where the node is x @ w, w a matrix known at load time and x not."""
    match plain(node):
        case Node(op="matmul", inputs=(x, Value() as w)) \
                if w in at_load and x not in at_load and w.type.ndim == 2:
            return w
    return None


def transposed_already(node: Node | None) -> Value | None:
    """v where the node is v.T."""
    match node:
        case Node(op="transpose", inputs=(Value() as v,), attrs={"axes": (1, 0)}):
            return v
    return None


def transpose(w: Value, user: Node) -> Node:
    """The node that computes w.T for its user."""
    flipped = Value(TensorType(w.type.dtype, w.type.shape[::-1]))
    return Node(flipped, "transpose", (w,), {"axes": (1, 0)}, user.where)


def take_bias(graph: Graph) -> Rule:
    """The rule that makes a vector, known at load time and added to a linear of this graph, its
    bias."""
    at_load = load_time_values(graph)

    def rule(node: Node, producer: Producer) -> Node | None:
        if node.op != "add" or plain(node) is None:
            return None
        for made, b in (node.inputs, node.inputs[::-1]):
            match plain(producer(made)), b:
                case Node(op="linear", inputs=(x, Value() as w), where=where), Value() if (
                        b in at_load and same(b.type.shape, w.type.shape[:1])):
                    return Node(node.result, "linear", (x, w, b), {}, joined(where, node.where))
        return None

    return rule
