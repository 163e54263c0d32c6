from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node, Value
from ir.graph import Operand
from nncompile.passes.support.patterns import See, both_ways, recognise
from nncompile.passes.use_gelu import HALF, Form, activation

FORMS: tuple[Form, ...] = (
    ("sigmoid", {(1, 0): 1.0}, {(1, 1): 1.0}, "silu"),
    ("tanh", {(1, 0): 0.5}, HALF, "silu"),
)


@dataclass(frozen=True)
class UseSiLU:
    """Find a SiLU written by hand, and the sigmoid it is made of.

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
        graph = recognise(graph, by_exponential)
        return recognise(graph, lambda node, see: activation(node, see, FORMS))


def by_exponential(node: Node, see: See) -> Node | None:
    if node.op != "div":
        return None
    above, below = node.inputs
    x = one_plus_exp_of(below, see)
    if x is None or not (above is x or above == 1.0):
        return None
    return Node(node.result, "silu" if above is x else "sigmoid", (x,), {}, node.where)


def one_plus_exp_of(operand: Operand, see: See) -> Value | None:
    """x where the operand is 1 + exp(-x)."""
    match see(operand):
        case Node(op="add", inputs=inputs):
            for one, exponential in both_ways(inputs):
                match see(exponential):
                    case Node(op="exp", inputs=(z,)) if one == 1.0:
                        return negated(see(z))
    return None


def negated(node: Node | None) -> Value | None:
    match node:
        case Node(op="neg", inputs=(Value() as x,)) | \
                Node(op="mul", inputs=(Value() as x, -1.0) | (-1.0, Value() as x)):
            return x
    return None
