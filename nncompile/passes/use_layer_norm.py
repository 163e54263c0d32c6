from __future__ import annotations

from ir import Context, Graph, Node
from ir.records import dataclass
from nncompile.passes.support.matching import recognise
from nncompile.passes.support.norms import ROOTS, centred, norm, shifted_norm, with_operand


@dataclass(frozen=True)
class UseLayerNorm:
    """Recognise a layer norm written by hand, in any order of its factors.

        %0 = mean(%x) {axes = [1], keepdims = true}
        %1 = sub(%x, %0)
        %2 = mul(%1, %1)
        %3 = mean(%2) {axes = [1], keepdims = true}
        %4 = add(%3, 1e-05)
        %5 = sqrt(%4)
        %6 = div(%1, %5)
        %7 = mul(%6, @w)
        %8 = add(%7, @b)
    -->
        %0 = layer_norm(%x, @w, @b) {axes = [1], eps = 1e-05}

    The variance may also be mean(x * x) - mean(x) * mean(x), limited to 0 or not; and with
    s = w / sqrt(variance + eps), the norm may be written as x * s + (b - mean(x) * s). A norm
    without an eps is left as it is, because a constant row is then whatever the rounding makes of
    0 / 0.

    Bounded: a layer norm rounds less, and its squares do not overflow.
    """

    name = "use_layer_norm"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return recognise(graph, _layer_norm, ("mul", "div", "add"), (*ROOTS, "layer_norm"))


def _layer_norm(node: Node, context: Context) -> Node | None:
    found = norm(node, context) if node.op in ("mul", "div") else None
    if found is not None and (of := centred(found.x, context)) is not None and of[1] == found.axes:
        return Node(node.result, "layer_norm", (of[0], *found.weight), found.attrs, node.where)
    if (shifted := shifted_norm(node, context)) is not None and shifted[0].weight:
        found, bias = shifted
        return Node(node.result, "layer_norm", (found.x, *found.weight, bias), found.attrs,
                    node.where)
    return (with_operand(node, context, "layer_norm", "mul", 1)
            or with_operand(node, context, "layer_norm", "add", 2))
