from __future__ import annotations

from ir import Context, Graph, Node, Operand, Value
from ir.records import dataclass
from nncompile.passes.support.activations import HALF, Form, recognise_forms
from nncompile.passes.support.matching import both_ways, recognise

_FORMS = (
    Form("sigmoid", {(1, 0): 1.0}, {(1, 1): 1.0}, "silu"),
    Form("tanh", {(1, 0): 0.5}, HALF, "silu"),
)


@dataclass(frozen=True)
class UseSiLU:
    """Recognise a SiLU written by hand, and the sigmoid inside of it.

        %0 = neg(%x)
        %1 = exp(%0)
        %2 = add(%1, 1.0)
        %3 = div(1.0, %2)
        %4 = mul(%x, %3)
    -->
        %0 = silu(%x)

    %3 alone is sigmoid(%x), and div(%x, %2) is silu(%x) too.

    Bounded: silu is -0.0 at -inf, not NaN.
    """

    name = "use_silu"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        graph = recognise(graph, _by_exponential, ["div"], ["exp"])
        return recognise_forms(graph, _FORMS)


def _by_exponential(node: Node, context: Context) -> Node | None:
    """The sigmoid or the SiLU of x where the node divides 1 or x by 1 + exp(-x)."""
    above, below = node.inputs
    x = _in_one_plus_exp(below, context)
    if x is None or not (above is x or above == 1.0):
        return None
    return Node(node.result, "silu" if above is x else "sigmoid", (x,), {}, node.where)


def _in_one_plus_exp(operand: Operand, context: Context) -> Value | None:
    """Returns x where the operand is 1 + exp(-x)."""
    match context.producer(operand):
        case Node(op="add", inputs=inputs):
            for one, exponential in both_ways(inputs):
                match context.producer(exponential):
                    case Node(op="exp", inputs=(z,)) if one == 1.0:
                        return _negated(context.producer(z))
    return None


def _negated(node: Node | None) -> Value | None:
    """Returns x where the node is -x."""
    match node:
        case Node(op="neg", inputs=(Value() as x,)) | \
                Node(op="mul", inputs=(Value() as x, -1.0) | (-1.0, Value() as x)):
            return x
    return None
