from __future__ import annotations

from ir import Context, Graph, Node, Operand, Value
from ir.records import dataclass
from nncompile.passes.support.matching import both_ways, recognise


@dataclass(frozen=True)
class UseLogSoftmax:
    """Recognise a log-softmax written by hand.

        %0 = max(%x) {axes = [1], keepdims = true}
        %1 = sub(%x, %0)
        %2 = exp(%1)
        %3 = sum(%2) {axes = [1], keepdims = true}
        %4 = log(%3)
        %5 = sub(%1, %4)
    -->
        %0 = log_softmax(%x) {axis = 1}

    x - logsumexp(x) is recognised too.

    underflow: also log(softmax(x)), which is -inf where the softmax is too small for a float, while
               the log-softmax is a number there.

    Bounded: another order of the sum, and NaN where a row has +inf.
    """

    underflow: bool = False
    name = "use_log_softmax"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        graph = recognise(graph, _by_logarithm, ["sub"], ["log"])
        of_softmax = _of_softmax if self.underflow else _leave_logarithm
        return recognise(graph, of_softmax, ["log"], ["softmax"])


@dataclass(frozen=True)
class _Logarithm:
    """log(sum(exp(shifted))) along an axis, where shifted = x - shift and shift = max(x)."""

    shifted: Value
    x: Value
    shift: Operand
    axis: int


def _by_logarithm(node: Node, context: Context) -> Node | None:
    """The log-softmax that ends in this difference: shifted - log(...), or x - (log(...) + shift).
    """
    match node:
        case Node(op="sub", inputs=(Value() as shifted, log)) if (
                (found := _logarithm(log, context)) is not None and found.shifted is shifted):
            pass
        case Node(op="sub", inputs=(Value() as x, total)) if (
                (found := _log_sum_exp(total, context)) is not None and found.x is x):
            pass
        case _:
            return None
    return Node(node.result, "log_softmax", (found.x,), {"axis": found.axis}, node.where)


def _log_sum_exp(operand: Operand, context: Context) -> _Logarithm | None:
    """The logarithm in the operand, where the operand is that logarithm plus its shift."""
    match context.producer(operand):
        case Node(op="add", inputs=inputs):
            for log, shift in both_ways(inputs):
                found = _logarithm(log, context)
                if found is not None and found.shift is shift:
                    return found
    return None


def _logarithm(operand: Operand, context: Context) -> _Logarithm | None:
    """The logarithm that the operand is, if it is one."""
    match context.producer(operand):
        case Node(op="log", inputs=(total,)):
            summed = context.producer(total)
        case _:
            return None
    match summed:
        case Node(op="sum", inputs=(e,), attrs={"axes": (axis,), "keepdims": True}):
            exp = context.producer(e)
        case _:
            return None
    match exp:
        case Node(op="exp", inputs=(Value() as shifted,)):
            difference = context.producer(shifted)
        case _:
            return None
    match difference:
        case Node(op="sub", inputs=(Value() as x, shift)) if _is_max(shift, x, axis, context):
            return _Logarithm(shifted, x, shift, axis)
    return None


def _is_max(operand: Operand, x: Value, axis: int, context: Context) -> bool:
    """Whether the operand is the maximum of x along the axis, perhaps with 0 for an infinite one.
    """
    match context.producer(operand):
        case Node(op="max", inputs=(searched,), attrs={"axes": (along,), "keepdims": True}):
            return searched is x and along == axis
        case Node(op="take_along", inputs=(searched, ids), attrs={"axis": along}):
            return searched is x and along == axis and _is_argmax(ids, x, axis, context)
        case Node(op="where", inputs=(condition, 0.0, largest)):
            match context.producer(condition):
                case Node(op="isinf", inputs=(tested,)) if tested is largest:
                    return _is_max(largest, x, axis, context)
    return False


def _is_argmax(operand: Operand, x: Value, axis: int, context: Context) -> bool:
    """Whether the operand is the index of the maximum of x along the axis."""
    match context.producer(operand):
        case Node(op="argmax", inputs=(searched,), attrs={"axis": along, "keepdims": True}):
            return searched is x and along == axis
    return False


def _leave_logarithm(node: Node, context: Context) -> None:
    """Notes the logarithm of a softmax, which is not replaced without `underflow`."""
    if _of_softmax(node, context) is not None:
        context.leave(node, "is not made log_softmax with softmax {}: it is -inf where the softmax "
                            "underflows, so that is left to UseLogSoftmax(underflow=True)",
                      node.inputs[0])


def _of_softmax(node: Node, context: Context) -> Node | None:
    """The log-softmax for the logarithm of a softmax."""
    match node:
        case Node(op="log", inputs=(y,)):
            softmax = context.producer(y)
        case _:
            return None
    match softmax:
        case Node(op="softmax", inputs=(x,), attrs={"axis": axis, "scale": 1.0}):
            return Node(node.result, "log_softmax", (x,), {"axis": axis}, node.where)
    return None
