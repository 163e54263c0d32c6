from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node, Value
from ir.graph import joined
from nncompile.passes.fold_batch_norm import linear_with_weights
from nncompile.passes.support.patterns import Nodes, Seen, replace_by_several


@dataclass(frozen=True)
class MergeLinear:
    """Make one linear of two with nothing between them, where that is less work.

        %0 = linear(%x, @v, @a)                  # v: f32[8, 8]
        %1 = linear(%0, @w, @b)                  # w: f32[8, 8]
    -->
        %0 = matmul(@w, @v)
        %1 = linear(@a, @w, @b)
        %2 = linear(%x, %0, %1)

    %0 and %1 are computed when the weights are loaded.  From K features over M to N it is K * M +
    M * N products a row, or K * N: two linears over a narrow middle stay two.

    Bounded: the product of the weights is rounded, and not the features between.
    """

    name = "merge_linear"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return replace_by_several(graph, merged)


def merged(node: Node, seen: Seen) -> list[Node] | None:
    if node.op != "linear" or node.result in seen.at_load:
        return None
    first = linear_with_weights(seen.once(node.inputs[0]), seen)
    if first is None or linear_with_weights(node, seen) is None or not saves_work(first, node):
        return None
    x, v, *a = first.inputs
    _, w, *b = node.inputs
    nodes = Nodes(joined(first.where, node.where))
    weight = nodes.add("matmul", w, v)
    bias = [nodes.add("linear", a[0], w, *b)] if a else b
    return [*nodes, Node(node.result, "linear", (x, weight, *bias), {}, nodes.where)]


def saves_work(first: Node, second: Node) -> bool:
    """Whether one linear takes fewer products a row than the two."""
    v, w = first.inputs[1], second.inputs[1]
    if not isinstance(v, Value) or not isinstance(w, Value):
        return False
    sizes = (*v.type.shape, w.type.shape[0])
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes):
        return False
    between, features, outputs = known
    return features * outputs < features * between + between * outputs
