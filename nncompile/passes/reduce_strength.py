from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import frexp, isfinite

from ir import Graph, Node, Value, rewrite
from ir.graph import Operand, joined
from ir.ops import OPS
from ir.rewrite import Producer
from ir.types import FLOATS, product
from nncompile.passes.support.epilogue import plain


@dataclass(frozen=True)
class ReduceStrength:
    """Write arithmetic in the cheaper of two ways, and in one way only.

        %0 = neg(%x)              %3 = sqrt(%x)            %6 = sum(%x) {axes = [1], ...}
        %1 = add(%r, %0)          %4 = div(1.0, %3)        %7 = div(%6, 8.0)
        %2 = div(%1, 8.0)         %5 = sub(%4, 3.0)
    -->
        %0 = sub(%r, %x)          %2 = rsqrt(%x)           %4 = mean(%x) {axes = [1], ...}
        %1 = mul(%0, 0.125)       %3 = add(%2, -3.0)

    Exact, and so for floats: x / 2^n is x * 2^-n, -x * c is x * -c, x * -1 is -x, x - c is
    x + -c, a + -b is a - b, a - -b is a + b, |-x| is |x|, 1 / sqrt(x) is rsqrt(x), a sum divided by
    its count is a mean, where(not c, a, b) is where(c, b, a), not a == b is a != b.

    On request, `bounded=True`, what rounds otherwise: x / c is x * (1 / c), pow(x, 2) is x * x,
    pow(x, 0.5) is sqrt(x), pow(x, -0.5) is rsqrt(x), pow(x, -1) is 1 / x.
    """

    bounded: bool = False
    name = "reduce_strength"

    @property
    def exact(self) -> bool:
        return not self.bounded

    def __call__(self, graph: Graph) -> Graph:
        rules = (*EXACT, *BOUNDED) if self.bounded else EXACT

        def cheaper(node: Node, producer: Producer) -> Node | None:
            if plain(node) is None or not OPS[node.op].elementwise:
                return None                      # no rule is for anything else
            for rule in rules:
                if (new := rule(node, lambda o: plain(producer(o)))) is not None:
                    return new
            return None

        return rewrite(graph, cheaper)


Cheaper = Callable[[Node, Producer], Node | None]


def exchanged(node: Node, op: str, *inputs: Operand, once: Node | None = None) -> Node:
    """The node with another op and operands, having taken in another one perhaps."""
    where = node.where if once is None else joined(once.where, node.where)
    return Node(node.result, op, inputs, {}, where)


# -- exact -----------------------------------------------------------------------------------------

def multiplied(node: Node, _: Producer) -> Node | None:
    """A product for a quotient, a change of sign for a product."""
    match node:
        case Node(op="div", inputs=(Value() as x, float(c))) if is_power_of_two(c):
            return exchanged(node, "mul", x, 1 / c)
        case Node(op="mul", inputs=(Value() as x, -1.0) | (-1.0, Value() as x)):
            return exchanged(node, "neg", x)
    return None


def added(node: Node, producer: Producer) -> Node | None:
    """A sum for a difference from a number; a difference for the sum with a negative, and a sum for
    the difference from one.  An unsigned integer has no negative to write."""
    match node:
        case Node(op="sub", inputs=(Value() as x, float(c))) if x.type.dtype in FLOATS:
            return exchanged(node, "add", x, -c)
        case Node(op="sub", inputs=(a, b)) if (second := producer(b)) is not None \
                and second.op == "neg":
            return exchanged(node, "add", a, second.inputs[0], once=second)
        case Node(op="add", inputs=(a, b)):
            for one, other in ((a, b), (b, a)):
                if (second := producer(other)) is not None and second.op == "neg":
                    return exchanged(node, "sub", one, second.inputs[0], once=second)
    return None


def without_sign(node: Node, producer: Producer) -> Node | None:
    """The sign of a factor in the number beside it, and none under an absolute value."""
    match node:
        case Node(op="mul", inputs=(Value() as x, float(c)) | (float(c), Value() as x)) \
                if x.type.dtype in FLOATS:
            sign, others = producer(x), [-c]
        case Node(op="abs", inputs=(Value() as x,)):
            sign, others = producer(x), []
        case _:
            return None
    if sign is None or sign.op != "neg":
        return None
    return exchanged(node, node.op, sign.inputs[0], *others, once=sign)


def rooted(node: Node, producer: Producer) -> Node | None:
    match node:
        case Node(op="div", inputs=(1.0, root)) if (made := producer(root)) is not None \
                and made.op == "sqrt":
            return exchanged(node, "rsqrt", made.inputs[0], once=made)
    return None


def averaged(node: Node, producer: Producer) -> Node | None:
    """The mean for a sum that is divided by how much it adds up."""
    match node:
        case Node(op="div", inputs=(total, float(count))):
            summed = producer(total)
        case Node(op="mul", inputs=(total, float(c)) | (float(c), total)) if is_power_of_two(c):
            summed, count = producer(total), 1 / c
        case _:
            return None
    match summed:
        case Node(op="sum", inputs=(Value() as x,), attrs={"axes": axes}) \
                if x.type.dtype in FLOATS and is_number(count, [x.type.shape[a] for a in axes]):
            return replace(summed, result=node.result, op="mean",
                           where=joined(summed.where, node.where))
    return None


def is_number(count: float, shape: list[object]) -> bool:
    """Whether there are so many elements in a shape that is known."""
    sizes = [size for size in shape if isinstance(size, int)]
    return len(sizes) == len(shape) and count == product(sizes) != 0


def decided(node: Node, producer: Producer) -> Node | None:
    """The other choice for the opposite condition, and the opposite of a test for equality."""
    first = producer(node.inputs[0]) if node.inputs else None
    match node, first:
        case Node(op="where", inputs=(_, a, b)), Node(op="logical_not", inputs=(condition,)):
            return exchanged(node, "where", condition, b, a, once=first)
        case Node(op="logical_not"), Node(op="eq" | "ne" as test, inputs=inputs):
            return exchanged(node, "ne" if test == "eq" else "eq", *inputs, once=first)
    return None


def is_power_of_two(c: float) -> bool:
    """Whether 1 / c is exact in float32, and neither it nor c is subnormal there."""
    return abs(frexp(c)[0]) == 0.5 and 2.0**-126 <= abs(c) <= 2.0**126


# -- bounded ---------------------------------------------------------------------------------------

def reciprocal(node: Node, _: Producer) -> Node | None:
    match node:
        case Node(op="div", inputs=(Value() as x, float(c))) \
                if isfinite(c) and 2.0**-120 < abs(c) < 2.0**120:
            return exchanged(node, "mul", x, 1 / c)
    return None


def power(node: Node, _: Producer) -> Node | None:
    match node:
        case Node(op="pow", inputs=(Value() as x, float(n))) if x.type.dtype in FLOATS:
            cheap: dict[float, tuple[str, tuple[Operand, ...]]] = {
                2.0: ("mul", (x, x)), 0.5: ("sqrt", (x,)), -0.5: ("rsqrt", (x,)),
                -1.0: ("div", (1.0, x))}
            if n in cheap:
                op, inputs = cheap[n]
                return exchanged(node, op, *inputs)
    return None


EXACT: tuple[Cheaper, ...] = (averaged, multiplied, added, without_sign, rooted, decided)
BOUNDED: tuple[Cheaper, ...] = (reciprocal, power)
