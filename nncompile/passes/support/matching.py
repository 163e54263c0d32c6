"""Matching several nodes at once, and the comparisons of numbers that patterns need."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import frexp, isclose, isfinite
from typing import TypeVar

from ir import OPS, Context, Graph, Node, Operand, Value, rewrite

Pattern = Callable[[Node, Context], Node | None]
_Rule = TypeVar("_Rule")


def rules_by_op(rules: Mapping[_Rule, Iterable[str]]) -> dict[str, list[_Rule]]:
    """Returns which rules are for each op, of rules that say for which ops they are."""
    found: dict[str, list[_Rule]] = {}
    for rule, ops in rules.items():
        for op in ops:
            found.setdefault(op, []).append(rule)
    return found


def recognise(graph: Graph, pattern: Pattern, ops: Collection[str], inside: Collection[str]
              ) -> Graph:
    """Replaces what the pattern matches by the node that it returns.

    A match is several nodes; the last one is what the pattern is given.
    A match is not replaced where anything else uses a value inside of it: that value would still
    have to be computed, and the new node would come on top.

    ops:    the ops of the nodes that the pattern is given.
    inside: of these ops every match has one, so that a graph without them is not searched.
    """
    if graph.places.keys().isdisjoint(inside):
        return graph

    def rule(node: Node, context: Context) -> Node | None:
        new = pattern(node, context)
        return new if new is not None and _is_closed(node, new, context) else None

    return rewrite(graph, rule, ops)


def _is_closed(node: Node, new: Node, context: Context) -> bool:
    """Whether the values between the node and the operands of the new one are used only there."""
    found: Counter[Value] = Counter()
    waiting = [node]
    while waiting:
        inner = [o for o in waiting.pop().inputs if isinstance(o, Value) and o not in new.inputs]
        for value in dict.fromkeys(inner):
            producer = context.producer(value)
            if producer is None:
                return False                     # an input or a param, which stays
            if value not in found:
                waiting.append(producer)
        found.update(inner)
    for value, count in found.items():
        if context.uses(value) != count:
            context.leave(node, f"is not made {new.op}: {{}}, which that has inside, has another "
                                "use", value)
            return False
    return True


def orders(node: Node) -> list[tuple[Operand, Operand]]:
    """Returns the two operands in their order and, where they may change places, in the other."""
    return both_ways(node.inputs)[:2 if "commutative" in OPS[node.op].traits else 1]


def both_ways(inputs: Sequence[Operand]) -> list[tuple[Operand, Operand]]:
    """Returns two operands in the order they have, and in the other."""
    first, second = inputs
    return [(first, second), (second, first)]


def times_number(node: Node) -> tuple[Value, float] | None:
    """Returns x and c where a node is x * c, or x / (1 / c), and c is a finite number."""
    match node:
        case Node(op="mul", inputs=(Value() as x, float(c)) | (float(c), Value() as x)) \
                if isfinite(c):
            return x, c
        case Node(op="div", inputs=(Value() as x, float(c))) if is_normal(c):
            return x, 1 / c
    return None


def with_known_weights(node: Node | None, context: Context) -> Node | None:
    """Returns the node if it is a linear whose weight and bias are known at load time."""
    known = node is not None and node.op == "linear" and all(
        context.at_load(w) for w in node.inputs[1:])
    return node if known else None


_TOLERANCE = {"f32": 2.0**-22, "f64": 1e-11}


def is_close(a: float, b: float, dtype: str) -> bool:
    """Returns whether the number a, as somebody wrote it down, is meant to be b.

    The tolerance is a few roundings of the dtype that is computed in, because the number may be the
    result of a few operations: an exporter writes sqrt(2) as the float32 1.4142135381698608.
    """
    return isclose(a, b, rel_tol=_TOLERANCE[dtype])


def is_power_of_two(c: float) -> bool:
    """Returns whether 1 / c is exact in float32, and neither it nor c is subnormal there."""
    return abs(frexp(c)[0]) == 0.5 and is_normal(c)


def is_normal(c: float) -> bool:
    """Returns whether c and 1 / c are finite in float32, and not subnormal there."""
    return 2.0**-126 <= abs(c) <= 2.0**126
