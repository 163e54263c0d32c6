from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node
from nncompile.passes.support.norms import affine, norm
from nncompile.passes.support.patterns import See, recognise


@dataclass(frozen=True)
class UseRMSNorm:
    """Find an RMS norm written by hand, whatever the order of its factors.

        %0 = mul(%x, %x)
        %1 = mean(%0) {axes = [1], keepdims = true}
        %2 = add(%1, 1e-06)
        %3 = rsqrt(%2)
        %4 = mul(%x, %3)
        %5 = mul(@w, %4)
    -->
        %0 = rms_norm(%x, @w) {axes = [1], eps = 1e-06}

    Bounded: an RMS norm rounds less, and its squares do not overflow.
    """

    name = "use_rms_norm"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return recognise(graph, rms_norm)


def rms_norm(node: Node, see: See) -> Node | None:
    if node.op in ("mul", "div") and (found := norm(node, see)) is not None:
        return Node(node.result, "rms_norm", (found.x, *found.weight), found.attrs, node.where)
    return affine(node, see, "rms_norm", "mul", 1)
