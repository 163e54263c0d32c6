"""Activations as people write them: x and a function t of x, put together by arithmetic."""
from __future__ import annotations

from collections.abc import Sequence

from ir import Context, Graph, Node
from ir.records import dataclass
from nncompile.passes.support.matching import recognise
from nncompile.passes.support.polynomials import (
    Polynomial,
    is_polynomial,
    polynomial,
    values_behind,
)

HALF: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}    # x / 2 * (1 + t)


@dataclass(frozen=True)
class Form:
    """One way to write an activation: outside(x, t), where t = function(inside(x))."""

    function: str
    inside: Polynomial
    outside: Polynomial
    activation: str                              # the op that computes it


def recognise_forms(graph: Graph, forms: Sequence[Form]) -> Graph:
    """Replaces arithmetic that is an activation in one of these forms by the activation."""
    functions = {form.function for form in forms}

    def pattern(node: Node, context: Context) -> Node | None:
        for value in values_behind(node, context):
            function = context.producer(value)
            if function is not None and function.op in functions \
                    and (found := _by_function(node, function, context, forms)) is not None:
                return found
        return None

    return recognise(graph, pattern, ("mul", "div", "add"), functions)


def _by_function(node: Node, function: Node, context: Context, forms: Sequence[Form]
                 ) -> Node | None:
    """The activation that the node computes in a form that has this function in it."""
    for x in values_behind(function, context):
        if x.type != node.result.type:
            continue
        inside = polynomial(function.inputs[0], context, x)
        for form in forms:
            if form.function != function.op or not is_polynomial(inside, form.inside,
                                                                 x.type.dtype):
                continue
            outside = polynomial(node.result, context, x, function.result)
            if is_polynomial(outside, form.outside, x.type.dtype):
                return Node(node.result, form.activation, (x,), {}, node.where)
            if outside is not None and any(i for i, _ in outside) and any(j for _, j in outside):
                context.leave(node, f"is not made {form.activation}: the arithmetic around "
                                    f"{function.op} {{}} is another", function.result)
    return None
