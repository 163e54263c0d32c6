from __future__ import annotations

from ir import Context, Graph, Node, Operand, Value, rewrite
from ir.graph import joined
from ir.records import dataclass
from nncompile.passes.support.matching import recognise, times_number


@dataclass(frozen=True)
class FuseSoftmax:
    """Recognise a softmax written by hand, and scale inside of it, as attention does.

        %0 = mul(%x, 0.125)
        %1 = max(%0) {axes = [1], keepdims = true}
        %2 = sub(%0, %1)
        %3 = exp(%2)
        %4 = sum(%3) {axes = [1], keepdims = true}
        %5 = div(%3, %4)
    -->
        %0 = softmax(%x) {axis = 1, scale = 0.125}

    A division by a number becomes a scale too. A softmax that has a scale takes no second one,
    which would round once where there were two roundings.

    Bounded: a softmax may add in another order than the sum it replaces, and a scale 1 / c is
    rounded, unless c is a power of two.
    """

    name = "fuse_softmax"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        graph = recognise(graph, _written_by_hand, ["div"], ["exp"])
        return rewrite(graph, _take_scale, ["softmax"])


def _written_by_hand(node: Node, context: Context) -> Node | None:
    """The softmax that ends in this division: exp(x - max(x)) / sum(exp(x - max(x)))."""
    match node:
        case Node(op="div", inputs=(Value() as e, total)):
            exp, summed = context.producer(e), context.producer(total)
        case _:
            return None
    match exp, summed:
        case Node(op="exp", inputs=(shifted,)), \
                Node(op="sum", inputs=(added,), attrs={"axes": (axis,), "keepdims": True}) \
                if added is e:
            x = _minus_its_max(shifted, axis, context)
        case Node(op="exp"), Node(op="sum", inputs=(added,)) if added is e:
            context.leave(node, "is not made a softmax: {} sums over several axes, or drops its "
                                "axis", total)
            return None
        case _:
            return None
    if x is None:
        context.leave(node, "is not made a softmax: {} is not of x - max(x) along the same axis, "
                            "so it can overflow where a softmax does not", e)
        return None
    return Node(node.result, "softmax", (x,), {"axis": axis, "scale": 1.0}, node.where)


def _minus_its_max(operand: Operand, axis: int, context: Context) -> Value | None:
    """Returns x where the operand is x - max(x), the maximum along the axis."""
    match context.producer(operand):
        case Node(op="sub", inputs=(Value() as x, top)):
            largest = context.producer(top)
        case _:
            return None
    match largest:
        case Node(op="max", inputs=(searched,), attrs={"axes": (along,), "keepdims": True}) \
                if searched is x and along == axis:
            return x
    return None


def _take_scale(node: Node, context: Context) -> Node | None:
    """The softmax with the number that its operand is multiplied by as its scale."""
    scaling = context.producer(node.inputs[0])
    if scaling is None or scaling.op not in ("mul", "div"):
        return None
    if node.attrs["scale"] != 1.0:
        context.leave(node, f"does not take in {scaling.op} {{}}: it has a scale, and a second one "
                            "would be rounded otherwise", scaling.result)
        return None
    if (found := times_number(scaling)) is None:
        context.leave(node, f"does not take in {scaling.op} {{}}: a scale is a number that is "
                            "known at compile time, finite, and has a reciprocal", scaling.result)
        return None
    if not context.is_only_use(node, scaling):
        return None
    x, scale = found
    return Node(node.result, "softmax", (x,), {**node.attrs, "scale": scale},
                joined(scaling.where, node.where))
