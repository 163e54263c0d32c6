"""Activations, which are elementwise functions of floats."""
from __future__ import annotations

from math import pi, sqrt

from ir import Value, same
from ir.ops.elementwise import SELU_ALPHA, SELU_SCALE
from nncompile.onnx_operators.functions import expm1, log1p
from nncompile.onnx_operators.node import OnnxNode, Term


def gelu(op: OnnxNode) -> str:
    """Gelu is an operator since opset 20."""
    if op.opset >= 20:
        return op.emit("Gelu", op[0])
    x = op.term(0)
    return (0.5 * x * (1.0 + (x * sqrt(0.5)).apply("Erf"))).name


def gelu_tanh(op: OnnxNode) -> str:
    """Gelu is an operator since opset 20, and not in float64."""
    if op.opset >= 20 and not op.is_double:
        return op.emit("Gelu", op[0], approximate="tanh")
    x = op.term(0).apply("Max", -100.0)              # -0.0 here, and from here down
    cube = x + 0.044715 * (x * x * x)
    return (0.5 * x * (1.0 + (sqrt(2 / pi) * cube).apply("Tanh"))).name


def silu(x: Term) -> Term:
    """Returns x * sigmoid(x)."""
    x = x.apply("Max", -800.0)                       # -0.0 here, and from here down
    return x * x.apply("Sigmoid")


def mish(x: Term) -> Term:
    """Returns x tanh(log(1 + exp(x))), as a quotient of polynomials in exp(-|x|)."""
    x = x.apply("Max", -800.0)                       # -0.0 here, and from here down
    e = (-abs(x)).exp()
    above = (1.0 + 2.0 * e) / (1.0 + 2.0 * e + 2.0 * (e * e))
    below = e * (e + 2.0) / (e * (e + 2.0) + 2.0)
    return x * (x >= 0.0).where(above, below)


def softplus_of(x: Term) -> Term:
    """Returns log(1 + exp(x))."""
    if x.dtype != "f64":
        return x.apply("Softplus")
    return x.apply("Max", 0.0) + log1p((-abs(x)).exp())


def softplus(op: OnnxNode) -> str:
    """ONNX's Softplus knows no threshold: it becomes x where that is the nearest float."""
    _, beta, threshold = op.inputs
    if beta == 1.0 and isinstance(threshold, float) and threshold >= (40.0 if op.is_double
                                                                      else 17.0):
        return softplus_of(op.term(0)).name
    z = op.term(0) * op.term(1)
    return (z > op.term(2)).where(op.term(0), softplus_of(z) / op.term(1)).name


def log_sigmoid(x: Term) -> Term:
    """Returns -log(1 + exp(-x))."""
    return -softplus_of(-x)


def elu(x: Term, alpha: Term) -> Term:
    """Returns x, or alpha (exp(x) - 1) where x is negative."""
    return (x < 0.0).where(alpha * expm1(x), x)


def celu(x: Term, alpha: Term) -> Term:
    """Returns x, or alpha (exp(x / alpha) - 1) where x is negative."""
    return (x < 0.0).where(alpha * expm1(x / alpha), x)


def selu(x: Term) -> Term:
    """Returns scale * elu(x, alpha)."""
    return (x < 0.0).where(SELU_SCALE * SELU_ALPHA * expm1(x), SELU_SCALE * x)


def leaky_relu(op: OnnxNode) -> str:
    """ONNX's PRelu takes a slope that broadcasts to x, and not the other way."""
    x = op.inputs[0]
    if not op.is_double and isinstance(x, Value) and same(x.type, op.result.type):
        return op.emit("PRelu", *op.names)
    a, b = op.terms
    return (a > 0.0).where(a, b * a).name


def hardsigmoid(x: Term) -> Term:
    """Returns x / 6 + 1 / 2, limited to [0, 1]."""
    return (x + 3.0).apply("Max", 0.0).apply("Min", 6.0) / 6.0


def hardswish(x: Term) -> Term:
    """Returns x * hardsigmoid(x)."""
    return x.apply("Max", -3.0) * hardsigmoid(x)


def hardshrink(x: Term, bound: Term) -> Term:
    """Returns x, or 0 where |x| <= bound; ONNX's Shrink of NaN is 0."""
    return (abs(x) <= bound).where(0.0, x)


def softshrink(x: Term, bound: Term) -> Term:
    """Returns x moved towards 0 by bound, or 0 where |x| <= bound; ONNX's Shrink of NaN is 0."""
    return (abs(x) <= bound).where(0.0, x - (x < 0.0).where(-bound, bound))


def softsign(x: Term) -> Term:
    """Returns x / (1 + |x|)."""
    x = x.apply("Max", -1e30).apply("Min", 1e30)     # -1 and 1 here, and beyond
    return x / (1.0 + abs(x))


def threshold(x: Term, bound: Term, value: Term) -> Term:
    """Returns x, or value where x <= bound."""
    return (x <= bound).where(value, x)
