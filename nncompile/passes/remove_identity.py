from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import copysign

from ir import Graph, Node, Value, rewrite
from ir.graph import Operand, joined
from ir.rewrite import Producer

Definition = Callable[[Operand], Node | None]


@dataclass(frozen=True)
class RemoveIdentity:
    """Drop what changes no bit of its operand, and make one view of two.

        %0 = dropout(%x) {p = 0.5}
        %1 = mul(%0, 1.0)
        %2 = reshape(%1) {shape = [B, 2, 4]}
        %3 = reshape(%2) {shape = [B, 4, 2]}
    -->
        %0 = reshape(%x) {shape = [B, 4, 2]}

    Exact.  x + 0.0 stays, because it makes 0.0 of -0.0; x - 0.0 and x + -0.0 do not.
    A view of a view skips the one between also where that has other users: a view costs nothing.
    """

    name = "remove_identity"
    exact = True

    def __call__(self, graph: Graph) -> Graph:
        defined: dict[Operand, Node] = {}

        def simpler(node: Node, _: Producer) -> Node | Value | None:
            if "then" in node.attrs:
                return None
            defined[node.result] = node
            if (unchanged := same_view(node) or same_number(node)) is not None:
                return unchanged
            composed = two_in_one(node, defined.get)
            if isinstance(composed, Node):
                defined[node.result] = composed
            return composed

        return rewrite(graph, simpler)


def same_view(node: Node) -> Value | None:
    """x where the node is x with its elements in the same places."""
    match node:
        case Node(op="identity" | "dropout", inputs=(Value() as x,)):
            return x
        case Node(op="concat", inputs=(Value() as x,)):
            return x
        case Node(op="reshape", inputs=(Value() as x,)) if x.type == node.result.type:
            return x
        case Node(op="slice", inputs=(Value() as x,), attrs={"step": step}) \
                if x.type == node.result.type and step > 0:
            return x                             # a part as long as the whole is the whole
        case Node(op="transpose", inputs=(Value() as x,), attrs={"axes": axes}) \
                if tuple(axes) == tuple(range(x.type.ndim)):
            return x
    return None


def same_number(node: Node) -> Value | None:
    """x where the node is arithmetic that gives back every x, -0.0 and NaN too."""
    match node:
        case Node(op="mul", inputs=(Value() as x, 1.0) | (1.0, Value() as x)):
            return x
        case Node(op="div", inputs=(Value() as x, 1.0)):
            return x
        case Node(op="sub", inputs=(Value() as x, 0.0 as zero)) if copysign(1.0, zero) > 0:
            return x
        case Node(op="add", inputs=(Value() as x, 0.0 as zero) | (0.0 as zero, Value() as x)) \
                if copysign(1.0, zero) < 0:
            return x
    return None


def two_in_one(node: Node, definition: Definition) -> Node | Value | None:
    """What two nodes of one op do together."""
    first = definition(node.inputs[0])
    if first is None or first.op != node.op:
        return None
    where = joined(first.where, node.where)
    match node.op, first:
        case "neg", Node(inputs=(Value() as x,)):
            return x
        case "reshape", Node(inputs=inputs):
            return replace(node, inputs=inputs, where=where)
        case "transpose", Node(inputs=inputs, attrs={"axes": order}):
            axes = tuple(order[axis] for axis in node.attrs["axes"])
            return replace(node, inputs=inputs, attrs={"axes": axes}, where=where)
    return None
