from __future__ import annotations

from ir import Context, Graph, Node, Value, rewrite, same
from ir.graph import joined
from ir.records import dataclass, replace
from nncompile.passes.support.building import new_node
from nncompile.passes.support.matching import both_ways


@dataclass(frozen=True)
class UseLinear:
    """Recognise a linear layer in `x @ weight.T + bias` and in `x @ weight`.

        %0 = transpose(@w) {axes = [1, 0]}
        %1 = matmul(%x, %0)
        %2 = add(%1, @b)
        %3 = matmul(%2, @v)
    -->
        %0 = linear(%x, @w, @b)
        %1 = transpose(@v) {axes = [1, 0]}
        %2 = linear(%0, %1)

    A linear layer packs its weights when they are loaded, and what depends on parameters alone, as
    %1 does here, is computed then too. A product of two inputs stays a matmul.

    Bounded: the bias may start a sum instead of ending it.
    """

    name = "use_linear"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _linear, ("matmul", "add"))


def _linear(node: Node, context: Context) -> Node | list[Node] | None:
    return (_product_by_weight if node.op == "matmul" else _with_bias)(node, context)


def _product_by_weight(node: Node, context: Context) -> list[Node] | None:
    """Writes x @ w as a linear where w, but not x, is known when the weights are loaded."""
    match node.inputs:
        case (x, Value() as w) if context.at_load(w) and not context.at_load(x):
            pass
        case _:
            return None
    if w.type.ndim != 2:
        context.leave(node, f"is not made a linear: its weight has {w.type.ndim} axes, not 2")
        return None
    match context.producer(w):
        case Node(op="transpose", inputs=(Value() as v,), attrs={"axes": (1, 0)}):
            return [replace(node, op="linear", inputs=(x, v))]
    transposed = new_node("transpose", w, axes=(1, 0), where=node.where)
    return [transposed, replace(node, op="linear", inputs=(x, transposed.result))]


def _with_bias(node: Node, context: Context) -> Node | None:
    """The linear with a bias, where the node adds to it a vector known when weights are loaded."""
    for product, b in both_ways(node.inputs):
        match context.producer(product), b:
            case Node(op="linear", inputs=(x, Value() as w)) as linear, Value() if (
                    same(b.type.shape, w.type.shape[:1]) and context.at_load(b)
                    and context.is_only_use(node, linear)):
                return Node(node.result, "linear", (x, w, b), {}, joined(linear.where, node.where))
    return None
