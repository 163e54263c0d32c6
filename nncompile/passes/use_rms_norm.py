from __future__ import annotations

from ir import Context, Graph, Node
from ir.records import dataclass
from nncompile.passes.support.matching import recognise
from nncompile.passes.support.norms import ROOTS, norm, with_operand


@dataclass(frozen=True)
class UseRMSNorm:
    """Recognise an RMS norm written by hand, in any order of its factors.

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
        return recognise(graph, _rms_norm, ("mul", "div"), (*ROOTS, "rms_norm"))


def _rms_norm(node: Node, context: Context) -> Node | None:
    if (found := norm(node, context)) is not None:
        return Node(node.result, "rms_norm", (found.x, *found.weight), found.attrs, node.where)
    return with_operand(node, context, "rms_norm", "mul", 1)
