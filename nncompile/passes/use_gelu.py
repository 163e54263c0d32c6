from __future__ import annotations

from math import pi, sqrt

from ir import Graph
from ir.records import dataclass
from nncompile.passes.support.activations import HALF, Form, recognise_forms
from nncompile.passes.support.polynomials import Polynomial

_CUBIC: Polynomial = {(1, 0): sqrt(2 / pi), (3, 0): sqrt(2 / pi) * 0.044715}
_FORMS = (
    Form("erf", {(1, 0): sqrt(0.5)}, HALF, "gelu"),
    Form("erfc", {(1, 0): -sqrt(0.5)}, {(1, 1): 0.5}, "gelu"),
    Form("tanh", _CUBIC, HALF, "gelu_tanh"),
    Form("sigmoid", {powers: 2 * c for powers, c in _CUBIC.items()}, {(1, 1): 1.0}, "gelu_tanh"),
)


@dataclass(frozen=True)
class UseGELU:
    """Recognise a GELU written by hand: the exact one, and the approximation by a tanh.

        %0 = div(%x, 1.4142135623730951)
        %1 = erf(%0)
        %2 = add(%1, 1.0)
        %3 = mul(%x, %2)
        %4 = mul(%3, 0.5)
    -->
        %0 = gelu(%x)

    Its arithmetic may be written in any way that is the same polynomial.

    Bounded: gelu does not cancel where 1 + erf(x) does, and it is -0.0 at -inf, not NaN.
    """

    name = "use_gelu"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        return recognise_forms(graph, _FORMS)
