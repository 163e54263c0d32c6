from __future__ import annotations

from dataclasses import dataclass

from ir import Graph, Node, Value
from ir.graph import Operand
from nncompile.passes.support.patterns import See, both_ways, recognise


@dataclass(frozen=True)
class UseLogSoftmax:
    """Find a log-softmax written by hand.

        %0 = max(%x) {axes = [1], keepdims = true}
        %1 = sub(%x, %0)
        %2 = exp(%1)
        %3 = sum(%2) {axes = [1], keepdims = true}
        %4 = log(%3)
        %5 = sub(%1, %4)
    -->
        %0 = log_softmax(%x) {axis = 1}

    x - logsumexp(x) is one too.  log(softmax(x)) is one only on request, `underflow=True`: it is
    -inf where the softmax is too small for a float, and the log-softmax is a number there.

    Bounded: another order of the sum, and NaN where a row has +inf.
    """

    underflow: bool = False
    name = "use_log_softmax"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        graph = recognise(graph, by_logarithm)
        return recognise(graph, of_softmax) if self.underflow else graph


def by_logarithm(node: Node, see: See) -> Node | None:
    match node:
        case Node(op="sub", inputs=(Value() as shifted, log)) if (
                (found := shifted_logarithm(log, see)) is not None and found[0] is shifted):
            pass
        case Node(op="sub", inputs=(Value() as x, total)) if (
                (found := log_sum_exp(total, see)) is not None and found[1] is x):
            pass
        case _:
            return None
    _, x, axis, _ = found
    return Node(node.result, "log_softmax", (x,), {"axis": axis}, node.where)


def log_sum_exp(operand: Operand, see: See) -> tuple[Value, Value, int, Operand] | None:
    """What shifted_logarithm gives, where the operand is that logarithm plus the shift."""
    match see(operand):
        case Node(op="add", inputs=inputs):
            for log, shift in both_ways(inputs):
                found = shifted_logarithm(log, see)
                if found is not None and found[3] is shift:
                    return found
    return None


def shifted_logarithm(operand: Operand, see: See) -> tuple[Value, Value, int, Operand] | None:
    """x - shift, x, the axis and the shift where the operand is log(sum(exp(x - shift))) and the
    shift is the maximum of x."""
    match see(operand):
        case Node(op="log", inputs=(total,)):
            summed = see(total)
        case _:
            return None
    match summed:
        case Node(op="sum", inputs=(e,), attrs={"axes": (axis,), "keepdims": True}):
            exp = see(e)
        case _:
            return None
    match exp:
        case Node(op="exp", inputs=(Value() as shifted,)):
            difference = see(shifted)
        case _:
            return None
    match difference:
        case Node(op="sub", inputs=(Value() as x, shift)) if is_largest(shift, x, axis, see):
            return shifted, x, axis, shift
    return None


def is_largest(operand: Operand, x: Value, axis: int, see: See) -> bool:
    """Whether the operand is the maximum of x along the axis, an infinite one perhaps made 0."""
    match see(operand):
        case Node(op="max", inputs=(searched,), attrs={"axes": (along,), "keepdims": True}):
            return searched is x and along == axis
        case Node(op="take_along", inputs=(searched, ids), attrs={"axis": along}):
            return searched is x and along == axis and is_place(ids, x, axis, see)
        case Node(op="where", inputs=(condition, 0.0, largest)):
            match see(condition):
                case Node(op="isinf", inputs=(tested,)) if tested is largest:
                    return is_largest(largest, x, axis, see)
    return False


def is_place(operand: Operand, x: Value, axis: int, see: See) -> bool:
    """Whether the operand says where the maximum of x along the axis is."""
    match see(operand):
        case Node(op="argmax", inputs=(searched,), attrs={"axis": along, "keepdims": True}):
            return searched is x and along == axis
    return False


def of_softmax(node: Node, see: See) -> Node | None:
    match node:
        case Node(op="log", inputs=(y,)):
            made = see(y)
        case _:
            return None
    match made:
        case Node(op="softmax", inputs=(x,), attrs={"axis": axis, "scale": 1.0}):
            return Node(node.result, "log_softmax", (x,), {"axis": axis}, node.where)
    return None
