from __future__ import annotations

from ir import Context, Graph, Node, Value, Where, rewrite, same
from ir.records import dataclass, replace
from nncompile.passes.support.building import new_node


@dataclass(frozen=True)
class UseReciprocal:
    """Multiply by the reciprocal where all elements are divided by an input that is one number.

        %0 = div(%x, %s)                                 # %s: f32[], an input
    -->
        %0 = div(1.0, %s)
        ...
        %1 = mul(%x, %0)

    A quotient takes about ten times as long as a product, and an update of Adam has three for each
    element: this one, another quotient and a root. The reciprocal is the first node, so that it
    stands between none that are fused.

    Bounded: the reciprocal is rounded once more, and where %s is subnormal it may be infinite.
    """

    name = "use_reciprocal"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        numbers = {node.inputs[1] for node in graph.nodes if _divides_all(node)}
        found = [v for v in graph.inputs if v in numbers]
        if not found:
            return graph
        inverses = {v: new_node("div", 1.0, v, where=Where("reciprocal")) for v in found}

        def multiplied(node: Node, _: Context) -> Node | None:
            if not _divides_all(node) or node.inputs[1] not in inverses:
                return None
            x, number = node.inputs
            return Node(node.result, "mul", (x, inverses[number].result), {},  # type: ignore[index]
                        node.where)

        graph = replace(graph, nodes=(*inverses.values(), *graph.nodes))
        return rewrite(graph, multiplied, ["div"], once=True)


def _divides_all(node: Node) -> bool:
    """Whether the node divides the elements of an array by one number."""
    match node:
        case Node(op="div", inputs=(Value() as x, Value() as number)):
            return (not number.type.shape and not same(x.type.shape, ())
                    and same(x.type.shape, node.result.type.shape))
    return False
