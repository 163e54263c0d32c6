from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

from ir import Graph, Node
from nncompile.passes.support.patterns import See, recognise
from nncompile.passes.support.polynomials import Polynomial, T, X, behind, is_polynomial, polynomial

# What is inside of a function t = f(...), what is outside of it, and what they make of x.
Form = tuple[str, Polynomial, Polynomial, str]
CUBIC: Polynomial = {(1, 0): sqrt(2 / pi), (3, 0): sqrt(2 / pi) * 0.044715}
HALF: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}
FORMS: tuple[Form, ...] = (
    ("erf", {(1, 0): sqrt(0.5)}, HALF, "gelu"),
    ("erfc", {(1, 0): -sqrt(0.5)}, {(1, 1): 0.5}, "gelu"),
    ("tanh", CUBIC, HALF, "gelu_tanh"),
    ("sigmoid", {powers: 2 * c for powers, c in CUBIC.items()}, {(1, 1): 1.0}, "gelu_tanh"),
)


@dataclass(frozen=True)
class UseGELU:
    """Find a GELU written by hand, the exact one or the one by a tanh, in whatever way its
    arithmetic is written down.

        %0 = div(%x, 1.4142135623730951)
        %1 = erf(%0)
        %2 = add(%1, 1.0)
        %3 = mul(%x, %2)
        %4 = mul(%3, 0.5)
    -->
        %0 = gelu(%x)

    Bounded: gelu does not cancel where 1 + erf(x) does, and it is -0.0 at -inf, not NaN.
    """

    name = "use_gelu"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return recognise(graph, lambda node, see: activation(node, see, FORMS))


def activation(node: Node, see: See, forms: tuple[Form, ...]) -> Node | None:
    """One of the forms, if the node is one."""
    if node.op not in ("mul", "div", "add"):
        return None
    functions = {form[0] for form in forms}
    for value in behind(node, see):
        made = see(value)
        if made is not None and made.op in functions \
                and (found := of_function(node, made, see, forms)) is not None:
            return found
    return None


def of_function(node: Node, function: Node, see: See, forms: tuple[Form, ...]) -> Node | None:
    """The form that the node is by this function in it."""
    for x in behind(function, see):
        if x.type != node.result.type:
            continue
        inside = polynomial(function.inputs[0], see, {x: X})
        for op, inner, outer, name in forms:
            if op == function.op and is_polynomial(inside, inner) and is_polynomial(
                    polynomial(node.result, see, {x: X, function.result: T}), outer):
                return Node(node.result, name, (x,), {}, node.where)
    return None
