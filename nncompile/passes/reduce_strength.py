from __future__ import annotations

from math import isfinite

from ir import FLOATS, Context, Graph, Node, Operand, Value, product, rewrite
from ir.graph import joined
from ir.records import dataclass, replace
from nncompile.passes.support.matching import both_ways, is_power_of_two, rules_by_op


@dataclass(frozen=True)
class ReduceStrength:
    """Write arithmetic in the cheaper of two ways, and in one way only.

        %0 = neg(%x)              %3 = sqrt(%x)            %6 = sum(%x) {axes = [1], ...}
        %1 = add(%r, %0)          %4 = div(1.0, %3)        %7 = div(%6, 8.0)
        %2 = div(%1, 8.0)         %5 = sub(%4, 3.0)
    -->
        %0 = sub(%r, %x)          %2 = rsqrt(%x)           %4 = mean(%x) {axes = [1], ...}
        %1 = mul(%0, 0.125)       %3 = add(%2, -3.0)

    Exact, for floats too: x / 2^n is x * 2^-n, -x * c is x * -c, x * -1 is -x, x - c is x + -c,
    a + -b is a - b, a - -b is a + b, |-x| is |x|, 1 / sqrt(x) is rsqrt(x), a sum divided by its
    count is a mean, where(not c, a, b) is where(c, b, a), not a == b is a != b, where(x <= c, c, x)
    is maximum(x, c), where(x == 0, x, sqrt(where(x == 0, 1, x))) is sqrt(x).

    bounded: also what rounds otherwise: x / c is x * (1 / c), pow(x, 2) is x * x, pow(x, 0.5) is
             sqrt(x), pow(x, -0.5) is rsqrt(x), pow(x, -1) is 1 / x.
    """

    bounded: bool = False
    name = "reduce_strength"

    @property
    def exact(self) -> bool:
        """Whether every bit of the result stays."""
        return not self.bounded

    def __call__(self, graph: Graph) -> Graph:
        rules = _WITH_BOUNDED if self.bounded else _EXACT

        def cheaper(node: Node, context: Context) -> Node | None:
            for rule in rules[node.op]:
                if (new := rule(node, context)) is not None:
                    return new
            return None

        return rewrite(graph, cheaper, rules)


def _with(node: Node, op: str, *inputs: Operand, replacing: Node | None = None) -> Node:
    """The node with another op and other operands.

    replacing: the producer of an operand that the node replaces as well.
    """
    where = node.where if replacing is None else joined(replacing.where, node.where)
    return Node(node.result, op, inputs, {}, where)


# -- exact -----------------------------------------------------------------------------------------

def _multiply(node: Node, context: Context) -> Node | None:
    """A product for a quotient, a change of sign for a product."""
    match node:
        case Node(op="div", inputs=(Value() as x, float(c))):
            if is_power_of_two(c):
                return _with(node, "mul", x, 1 / c)
            context.leave(node, f"stays a division: 1 / {c!r} is rounded, so multiplying by it is "
                                "left to ReduceStrength(bounded=True)", node.result)
        case Node(op="mul", inputs=(Value() as x, -1.0) | (-1.0, Value() as x)):
            return _with(node, "neg", x)
    return None


def _add_or_subtract(node: Node, context: Context) -> Node | None:
    """Writes x - c as x + -c, x + -y as x - y, and x - -y as x + y.

    An unsigned integer has no negative number to write, so numbers are negated beside floats only.
    """
    match node:
        case Node(op="sub", inputs=(Value() as x, float(c))) if x.type.dtype in FLOATS:
            return _with(node, "add", x, -c)
        case Node(op="sub", inputs=(a, b)) if (second := context.producer(b, uses=1)) is not None \
                and second.op == "neg":
            return _with(node, "add", a, second.inputs[0], replacing=second)
        case Node(op="add", inputs=inputs):
            for one, other in both_ways(inputs):
                if (second := context.producer(other, uses=1)) is not None and second.op == "neg":
                    return _with(node, "sub", one, second.inputs[0], replacing=second)
    return None


def _move_sign(node: Node, context: Context) -> Node | None:
    """The sign of a factor moves into the number beside it, and disappears under `abs`."""
    match node:
        case Node(op="mul", inputs=(Value() as x, float(c)) | (float(c), Value() as x)) \
                if x.type.dtype in FLOATS:
            sign, others = context.producer(x, uses=1), [-c]
        case Node(op="abs", inputs=(Value() as x,)):
            sign, others = context.producer(x, uses=1), []
        case _:
            return None
    if sign is None or sign.op != "neg":
        return None
    return _with(node, node.op, sign.inputs[0], *others, replacing=sign)


def _use_rsqrt(node: Node, context: Context) -> Node | None:
    match node:
        case Node(op="div", inputs=(1.0, root)) if (
                (sqrt := context.producer(root, uses=1)) is not None and sqrt.op == "sqrt"):
            return _with(node, "rsqrt", sqrt.inputs[0], replacing=sqrt)
    return None


def _use_mean(node: Node, context: Context) -> Node | None:
    """The mean for a sum that is divided by the number of its elements."""
    match node:
        case Node(op="div", inputs=(total, float(count))):
            summed = context.producer(total, uses=1)
        case Node(op="mul", inputs=(total, float(c)) | (float(c), total)) if is_power_of_two(c):
            summed, count = context.producer(total, uses=1), 1 / c
        case _:
            return None
    match summed:
        case Node(op="sum", inputs=(Value() as x,), attrs={"axes": axes}) \
                if x.type.dtype in FLOATS and _is_size(count, [x.type.shape[a] for a in axes]):
            return replace(summed, result=node.result, op="mean",
                           where=joined(summed.where, node.where))
    return None


def _is_size(count: float, shape: list[object]) -> bool:
    """Whether the shape is known, and has this number of elements, which is not 0."""
    sizes = [size for size in shape if isinstance(size, int)]
    return len(sizes) == len(shape) and count == product(sizes) != 0


def _resolve_not(node: Node, context: Context) -> Node | None:
    """A `where` that chooses the other way, and the opposite test of equality, without `not`."""
    first = context.producer(node.inputs[0], uses=1) if node.inputs else None
    match node, first:
        case Node(op="where", inputs=(_, a, b)), Node(op="logical_not", inputs=(condition,)):
            return _with(node, "where", condition, b, a, replacing=first)
        case Node(op="logical_not"), Node(op="eq" | "ne" as test, inputs=inputs):
            return _with(node, "ne" if test == "eq" else "eq", *inputs, replacing=first)
    return None


# -- bounded ---------------------------------------------------------------------------------------

def _use_reciprocal(node: Node, _: Context) -> Node | None:
    match node:
        case Node(op="div", inputs=(Value() as x, float(c))) \
                if isfinite(c) and 2.0**-120 < abs(c) < 2.0**120:
            return _with(node, "mul", x, 1 / c)
    return None


def _resolve_power(node: Node, _: Context) -> Node | None:
    match node:
        case Node(op="pow", inputs=(Value() as x, float(n))) if x.type.dtype in FLOATS:
            cheap: dict[float, tuple[str, tuple[Operand, ...]]] = {
                2.0: ("mul", (x, x)), 0.5: ("sqrt", (x,)), -0.5: ("rsqrt", (x,)),
                -1.0: ("div", (1.0, x))}
            if n in cheap:
                op, inputs = cheap[n]
                return _with(node, op, *inputs)
    return None


def _resolve_bound(node: Node, context: Context) -> Node | None:
    """A maximum or minimum for where(x <= c, c, x), whose gradient at the bound is another one."""
    match node:
        case Node(op="where", inputs=(Value() as test, float(c), Value() as x)) if c == c:
            match context.producer(test):
                case Node(op="le" | "ge" as op, inputs=(tested, float(bound))) \
                        if tested is x and repr(bound) == repr(c):
                    return _with(node, "maximum" if op == "le" else "minimum", x, c)
    return None


def _resolve_root(node: Node, context: Context) -> Node | None:
    """A root for one that has a finite gradient at 0: where(x == 0, x, sqrt(x or else 1))."""
    match node:
        case Node(op="where", inputs=(Value() as zero, Value() as x, Value() as power)):
            made = context.producer(power)
        case _:
            return None
    match made:
        case Node(op="sqrt", inputs=(Value() as inside,)):
            pass
        case Node(op="pow", inputs=(Value() as inside, float(c))) if c > 0:
            pass
        case _:
            return None
    match context.producer(inside):
        case Node(op="where", inputs=(also, 1.0, other)) if other is x and all(
                _is_zero_of(context.producer(c), x) for c in (zero, also)):
            return Node(node.result, made.op, (x, *made.inputs[1:]), {}, node.where)
    return None


def _is_zero_of(test: Node | None, x: Value) -> bool:
    """Whether the node is x == 0."""
    match test:
        case Node(op="eq", inputs=(tested, 0.0) | (0.0, tested)):
            return tested is x
    return False


_RULES = {
    _use_mean: ("div", "mul"), _multiply: ("div", "mul"), _add_or_subtract: ("add", "sub"),
    _move_sign: ("mul", "abs"), _use_rsqrt: ("div",), _resolve_not: ("where", "logical_not"),
    _resolve_bound: ("where",), _resolve_root: ("where",),
}
_EXACT = rules_by_op(_RULES)
_WITH_BOUNDED = rules_by_op({**_RULES, _use_reciprocal: ("div",), _resolve_power: ("pow",)})
