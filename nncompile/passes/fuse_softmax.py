from __future__ import annotations

from dataclasses import dataclass
from math import frexp, isfinite

from ir import Graph, Node, Value, rewrite
from ir.graph import Operand, joined
from ir.rewrite import Producer, Rule
from nncompile.passes.support.epilogue import plain


@dataclass(frozen=True)
class FuseSoftmax:
    """Find a softmax written by hand, and scale inside it, as attention does.

        %0 = mul(%x, 0.125)
        %1 = max(%0) {axes = [1], keepdims = true}
        %2 = sub(%0, %1)
        %3 = exp(%2)
        %4 = sum(%3) {axes = [1], keepdims = true}
        %5 = div(%3, %4)
    -->
        %0 = softmax(%x) {axis = 1, scale = 0.125}

    x / 8 is x * 0.125 to the last bit; a division by what is no power of two stays.  A softmax that
    has a scale takes no other: one rounding is not two.

    Bounded: a softmax may add in another order than the sum it replaces.
    """

    name = "fuse_softmax"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return rewrite(rewrite(graph, written_by_hand(graph)), take_scale)


def written_by_hand(graph: Graph) -> Rule:
    """The rule for the division at the end of exp(x - max(x)) / sum(exp(x - max(x)))."""
    uses = graph.uses
    defined: dict[Operand, Node] = {}

    def used_once(operand: Operand) -> Node | None:
        return defined.get(operand) if isinstance(operand, Value) and uses[operand] == 1 else None

    def rule(node: Node, _: Producer) -> Node | None:
        if plain(node) is None:
            return None
        defined[node.result] = node
        match node:
            case Node(op="div", inputs=(Value() as e, total)) if uses[e] == 2:
                summed = exp_and_its_sum(e, defined.get(e), used_once(total))
            case _:
                return None
        if summed is None:
            return None
        shifted, axis = summed
        if (x := minus_its_max(used_once(shifted), axis, used_once)) is None:
            return None
        return Node(node.result, "softmax", (x,), {"axis": axis, "scale": 1.0}, node.where)

    return rule


def exp_and_its_sum(e: Value, exp: Node | None, total: Node | None) -> tuple[Operand, int] | None:
    """z and the axis of the sum where the nodes are e = exp(z) and sum(e)."""
    match exp, total:
        case Node(op="exp", inputs=(z,)), \
                Node(op="sum", inputs=(summed,), attrs={"axes": (axis,), "keepdims": True}) \
                if summed is e:
            return z, axis
    return None


def minus_its_max(node: Node | None, axis: int, producer: Producer) -> Value | None:
    """x where the node is x - max(x), the maximum along the axis."""
    match node:
        case Node(op="sub", inputs=(Value() as x, top)):
            largest = producer(top)
        case _:
            return None
    match largest:
        case Node(op="max", inputs=(searched,), attrs={"axes": (along,), "keepdims": True}) \
                if searched is x and along == axis:
            return x
    return None


def take_scale(node: Node, producer: Producer) -> Node | None:
    if node.op != "softmax" or plain(node) is None or node.attrs["scale"] != 1.0:
        return None
    match plain(producer(node.inputs[0])):
        case Node(op="mul", inputs=(Value() as x, float(c)) | (float(c), Value() as x),
                  where=where) if isfinite(c):
            scale = c
        case Node(op="div", inputs=(Value() as x, float(c)), where=where) if is_power_of_two(c):
            scale = 1 / c
        case _:
            return None
    return Node(node.result, "softmax", (x,), {**node.attrs, "scale": scale},
                joined(where, node.where))


def is_power_of_two(c: float) -> bool:
    """Whether 1 / c is exact in float32, and neither it nor c is subnormal there."""
    return abs(frexp(c)[0]) == 0.5 and 2.0**-126 <= abs(c) <= 2.0**126
