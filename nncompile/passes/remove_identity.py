from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import copysign, inf

from ir import Graph, Node, Value, rewrite
from ir.graph import Operand
from ir.ops import OPS
from ir.rewrite import Producer
from ir.types import FLOATS


@dataclass(frozen=True)
class RemoveIdentity:
    """Drop what changes no bit of its operand, alone or together with what it works on.

        %0 = dropout(%x) {p = 0.5}
        %1 = mul(%0, 1.0)
        %2 = neg(%1)
        %3 = neg(%2)
        %4 = cast(%3) {dtype = f32}
        %5 = where(%c, %4, %4)
        %6 = exp(%5)
    -->
        %0 = exp(%x)

    Exact.  x + 0.0 stays where x is a float, because it makes 0.0 of -0.0; x - 0.0 and x + -0.0
    do not.  Where a shape grows by broadcasting, it stays too.
    """

    name = "remove_identity"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        defined: dict[Operand, Node] = {}

        def simpler(node: Node, _: Producer) -> Value | None:
            if "then" in node.attrs:
                return None
            defined[node.result] = node
            for identity in ELEMENTWISE if OPS[node.op].elementwise else OTHERS:
                x = identity(node, defined.get)
                if x is not None and x.type == node.result.type:
                    return x
            return None

        return rewrite(graph, simpler)


def same_view(node: Node, _: Callable[[Operand], Node | None] | None = None) -> Value | None:
    """x where the node is x with its elements in the same places, if it has its type too."""
    match node:
        case Node(op="identity" | "dropout" | "concat" | "reshape" | "expand" | "pad" | "cast",
                  inputs=(Value() as x,)):
            return x                             # the type says the rest
        case Node(op="slice", inputs=(Value() as x,), attrs={"step": step}) if step > 0:
            return x                             # a part as long as the whole is the whole
        case Node(op="transpose", inputs=(Value() as x,), attrs={"axes": axes}) \
                if tuple(axes) == tuple(range(x.type.ndim)):
            return x
    return None


def same_number(node: Node, _: Callable[[Operand], Node | None]) -> Value | None:
    """x where the node is arithmetic that gives back every x, -0.0 and NaN too."""
    match node:
        case Node(op="mul", inputs=(Value() as x, 1.0) | (1.0, Value() as x)):
            return x
        case Node(op="div" | "pow", inputs=(Value() as x, 1.0)):
            return x
        case Node(op="floor_div", inputs=(Value() as x, 1.0)) if x.type.dtype not in FLOATS:
            return x
        case Node(op="sub", inputs=(Value() as x, 0.0 as zero)) if is_nothing(zero, x, 1.0):
            return x
        case Node(op="add", inputs=(Value() as x, 0.0 as zero) | (0.0 as zero, Value() as x)) \
                if is_nothing(zero, x, -1.0):
            return x
        case Node(op="maximum", inputs=(Value() as x, c) | (c, Value() as x)) if c == -inf:
            return x
        case Node(op="minimum", inputs=(Value() as x, c) | (c, Value() as x)) if c == inf:
            return x
    return None


def is_nothing(zero: float, x: Value, sign: float) -> bool:
    """Whether this zero has the sign that keeps that of a zero in x; an integer has none."""
    return x.type.dtype not in FLOATS or copysign(1.0, zero) == sign


def same_choice(node: Node, _: Callable[[Operand], Node | None]) -> Value | None:
    """x where the node has nothing else to choose, or bools that decide nothing."""
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


def done_already(node: Node, definition: Callable[[Operand], Node | None]) -> Value | None:
    """What the node makes of what its own op, which has no second effect or undoes itself, made."""
    first = definition(node.inputs[0]) if len(node.inputs) == 1 else None
    if first is None or first.op != node.op:
        return None
    if "idempotent" in OPS[node.op].traits:
        return first.result
    [x] = first.inputs[:1]
    return x if "involution" in OPS[node.op].traits and isinstance(x, Value) else None


ELEMENTWISE = (same_view, same_number, same_choice, done_already)
OTHERS = (same_view,)                            # the rules for ops that are not elementwise
