from __future__ import annotations

from ir import Context, Graph, Node, Value, rewrite
from ir.graph import joined
from ir.records import dataclass
from nncompile.passes.support.building import NewNodes
from nncompile.passes.support.matching import with_known_weights


@dataclass(frozen=True)
class MergeLinear:
    """Make one linear of two that follow each other directly, where that is less work.

        %0 = linear(%x, @v, @a)                  # v: f32[8, 8]
        %1 = linear(%0, @w, @b)                  # w: f32[8, 8]
    -->
        %0 = matmul(@w, @v)
        %1 = linear(@a, @w, @b)
        %2 = linear(%x, %0, %1)

    %0 and %1 are computed when the weights are loaded. From K features over M to N, two linears
    take K * M + M * N multiplications a row, and one takes K * N: two linears over a narrow middle
    stay two.

    Bounded: the product of the weights is rounded, and not the features between.
    """

    name = "merge_linear"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _merged, ["linear"])


def _merged(node: Node, context: Context) -> list[Node] | None:
    if context.at_load(node.result):
        return None
    first = with_known_weights(context.producer(node.inputs[0]), context)
    if first is None or with_known_weights(node, context) is None:
        return None
    if not _saves_work(first, node):
        context.leave(node, "is not made one with linear {}: one linear would take as many "
                            "multiplications as the two, or more", first.result)
        return None
    if not context.is_only_use(node, first):
        return None
    x, v, *a = first.inputs
    _, w, *b = node.inputs
    nodes = NewNodes(joined(first.where, node.where))
    weight = nodes.add("matmul", w, v)
    bias = [nodes.add("linear", a[0], w, *b)] if a else b
    return [*nodes, Node(node.result, "linear", (x, weight, *bias), {}, nodes.where)]


def _saves_work(first: Node, second: Node) -> bool:
    """Whether one linear takes fewer multiplications a row than the two."""
    v, w = first.inputs[1], second.inputs[1]
    if not isinstance(v, Value) or not isinstance(w, Value):
        return False
    sizes = (*v.type.shape, w.type.shape[0])
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes):
        return False
    between, features, outputs = known
    return features * outputs < features * between + between * outputs
