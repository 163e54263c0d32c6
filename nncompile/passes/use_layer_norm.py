from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node
from nncompile.passes.support.norms import affine, centred, norm
from nncompile.passes.support.patterns import See, recognise


@dataclass(frozen=True)
class UseLayerNorm:
    """Find a layer norm written by hand, whatever the order of its factors.

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

    The variance may be mean(x * x) - mean(x) * mean(x) too.  Without an eps it stays as it is: a
    constant row is then whatever the rounding makes of 0 / 0.

    Bounded: a layer norm rounds less, and its squares do not overflow.
    """

    name = "use_layer_norm"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return recognise(graph, layer_norm)


def layer_norm(node: Node, see: See) -> Node | None:
    found = norm(node, see) if node.op in ("mul", "div") else None
    if found is not None and (of := centred(found.x, see)) is not None and of[1] == found.axes:
        return Node(node.result, "layer_norm", (of[0], *found.weight), found.attrs, node.where)
    return affine(node, see, "layer_norm", "mul", 1) or affine(node, see, "layer_norm", "add", 2)
