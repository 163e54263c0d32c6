from __future__ import annotations

from math import copysign, inf

from ir import FLOATS, Context, Graph, Node, Value, rewrite
from ir.ops import with_trait
from ir.records import dataclass
from nncompile.passes.support.matching import rules_by_op
from nncompile.passes.support.views import NO_MOVES, viewed_alike


@dataclass(frozen=True)
class RemoveIdentity:
    """Remove a node that returns its operand bit for bit, and two that undo each other.

        %0 = dropout(%x) {p = 0.5}
        %1 = mul(%0, 1.0)
        %2 = neg(%1)
        %3 = neg(%2)
        %4 = cast(%3) {dtype = f32}
        %5 = where(%c, %4, %4)
        %6 = exp(%5)
    -->
        %0 = exp(%x)

    Exact. x + 0.0 stays where x is a float, because it makes 0.0 of -0.0; x - 0.0 and x + -0.0
    do not. A node that broadcasts its operand to a larger shape stays too.
    """

    name = "remove_identity"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(graph, _unchanged, _IDENTITIES)


def _unchanged(node: Node, context: Context) -> Value | None:
    """The value that the node returns as it is, if there is one."""
    for identity in _IDENTITIES[node.op]:
        x = identity(node, context)
        if x is not None and x.type == node.result.type:
            return x
    return None


def _same_elements(node: Node, _: Context) -> Value | None:
    return viewed_alike(node)


def _same_number(node: Node, _: Context) -> Value | None:
    """Returns x where the node is arithmetic that returns every x as it is, -0.0 and NaN too."""
    if len(node.values) == len(node.inputs):     # there is no number
        return None
    match node:
        case Node(op="mul", inputs=(Value() as x, 1.0) | (1.0, Value() as x)):
            return x
        case Node(op="div" | "pow", inputs=(Value() as x, 1.0)):
            return x
        case Node(op="floor_div", inputs=(Value() as x, 1.0)) if x.type.dtype not in FLOATS:
            return x
        case Node(op="sub", inputs=(Value() as x, 0.0 as zero)) if _is_neutral(zero, x, 1.0):
            return x
        case Node(op="add", inputs=(Value() as x, 0.0 as zero) | (0.0 as zero, Value() as x)) \
                if _is_neutral(zero, x, -1.0):
            return x
        case Node(op="maximum", inputs=(Value() as x, c) | (c, Value() as x)) if c == -inf:
            return x
        case Node(op="minimum", inputs=(Value() as x, c) | (c, Value() as x)) if c == inf:
            return x
    return None


def _is_neutral(zero: float, x: Value, sign: float) -> bool:
    """Whether this zero keeps the sign of a zero in x; the zero of an integer has none."""
    return x.type.dtype not in FLOATS or copysign(1.0, zero) == sign


def _same_choice(node: Node, _: Context) -> Value | None:
    """Returns x where the node can choose nothing else, or the number beside x decides nothing."""
    match node:
        case Node(op="where", inputs=(_, Value() as x, other)) if other is x:
            return x
        case Node(op="maximum" | "minimum" | "logical_and" | "logical_or",
                  inputs=(Value() as x, other)) if other is x:
            return x
        case Node(op="logical_and" | "eq", inputs=(Value() as x, 1.0) | (1.0, Value() as x)):
            return x                             # eq of anything but a bool has another type
        case Node(op="logical_or" | "logical_xor" | "ne",
                  inputs=(Value() as x, 0.0) | (0.0, Value() as x)):
            return x
    return None


def _done_before(node: Node, context: Context) -> Value | None:
    """What the node returns where its operand comes from the same op.

    That is the operand, if applying the op twice is the same as once; or the operand of the first
    op, if applying it twice changes nothing.
    """
    first = context.producer(node.inputs[0]) if len(node.inputs) == 1 else None
    if first is None or first.op != node.op:
        return None
    if node.op in _IDEMPOTENT:
        return first.result
    [x] = first.inputs
    return x if isinstance(x, Value) else None


_IDEMPOTENT = with_trait("idempotent")
_IDENTITIES = rules_by_op({
    _same_elements: NO_MOVES,
    _same_number: ("mul", "div", "pow", "floor_div", "sub", "add", "maximum", "minimum"),
    _same_choice: ("where", "maximum", "minimum", "logical_and", "logical_or", "eq", "logical_xor",
                   "ne"),
    _done_before: _IDEMPOTENT | with_trait("involution"),
})
