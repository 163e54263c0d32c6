from __future__ import annotations

from math import pi, sqrt

from ir import Context, Graph, Node, Operand, Value, rewrite
from ir.records import dataclass
from nncompile.passes.support.building import NewNodes
from nncompile.passes.support.matching import is_close

_NEAR = 1e-3                     # |x| below which Phi(x) is 1/2 + x phi(0), to 1e-10


@dataclass(frozen=True)
class UseSavedGELU:
    """Compute Phi(x) in the gradient of a GELU from the result of the GELU, which is x Phi(x).

        %1 = gelu(%x)
        ...
        %4 = mul(%z, -0.7071067811865476)                # %z: %x within [-40, 40]
        %5 = erfc(%4)
        %6 = mul(%5, 0.5)
    -->
        %6 = where(lt(abs(%z), 0.001), 0.5 + 0.3989... * %z, minimum(div(%1, %z), 1.0))

    The result is there anyway, because the next layer has read it. An erfc costs as much as six
    such quotients.

    Bounded: the quotient has the rounding errors of the GELU, two units in the last place. In
    float32 only, where the straight line near 0 is exact.
    """

    name = "use_saved_gelu"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        saved = {node.inputs[0]: node.result for node in graph.nodes
                 if node.op == "gelu" and node.result.type.dtype == "f32"}

        def rule(node: Node, context: Context) -> list[Node] | None:
            z = _argument(node, context)
            if z is None or (x := _within(z, context)) not in saved:
                return None
            new = NewNodes(node.where)
            near = new.add("add", new.add("mul", z, 1 / sqrt(2 * pi)), 0.5)
            far = new.add("minimum", new.add("div", saved[x], z), 1.0)   # inf / 40 at inf
            is_near = new.add("lt", new.add("abs", z), _NEAR)
            return [*new, Node(node.result, "where", (is_near, near, far), {}, node.where)]

        return rewrite(graph, rule, ["mul"], once=True) if saved else graph


def _argument(node: Node, context: Context) -> Value | None:
    """The z of which the node is Phi(z)."""
    match node:
        case Node(op="mul", inputs=(Value() as complement, 0.5)):
            match context.producer(complement):
                case Node(op="erfc", inputs=(Value() as scaled,)):
                    match context.producer(scaled):
                        case Node(op="mul", inputs=(Value() as z, float(c))) if is_close(
                                c, -sqrt(0.5), "f32"):
                            return z
    return None


def _within(z: Value, context: Context) -> Operand:
    """What z is, or what it is within numbers of the same size."""
    match context.producer(z):
        case Node(op="minimum", inputs=(Value() as below, float(high))):
            match context.producer(below):
                case Node(op="maximum", inputs=(Value() as x, float(low))) if low == -high:
                    return x
    return z
