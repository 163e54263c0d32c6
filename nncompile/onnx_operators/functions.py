"""Elementwise functions of floats."""
from __future__ import annotations

from math import log, pi

from nncompile.onnx_operators.arithmetic import is_nan
from nncompile.onnx_operators.node import Term


def copysign(x: Term, y: Term) -> Term:
    """Of zeros, the sign is that of the reciprocal."""
    negative = (y < 0.0) | (y.equals(0.0) & (1.0 / y < 0.0))
    return negative.where(-abs(x), abs(x))


def expm1(x: Term) -> Term:
    """Returns exp(x) - 1, near 0 as 2 t / (1 - t) with t = tanh(x / 2), which does not cancel."""
    t = (x * 0.5).apply("Tanh")
    return (abs(x) < 1.0).where(2.0 * t / (1.0 - t), x.exp() - 1.0)


def log1p(x: Term) -> Term:
    """Returns log(1 + x): log(u) x / (u - 1) with u = 1 + x takes back the rounding of u.

    Goldberg (1991), What every computer scientist should know about floating-point arithmetic.
    """
    u = 1.0 + x
    near = u.equals(1.0).where(x, u.log() * (x / (u - 1.0)))
    return (abs(x) < 1.0).where(near, u.log())


def exp2(x: Term) -> Term:
    """Returns 2 to the power of x."""
    return Term(x.op, x.op.emit("Pow", x.op.number(2.0, x.dtype), x.name), x.dtype)


def log2(x: Term) -> Term:
    """Returns the logarithm to the base 2."""
    return x.log() / log(2.0)


def log10(x: Term) -> Term:
    """Returns the logarithm to the base 10."""
    return x.log() / log(10.0)


def tan(x: Term) -> Term:
    """Returns sin(x) / cos(x)."""
    return x.apply("Sin") / x.apply("Cos")


def atan(x: Term) -> Term:
    """Returns the arc tangent: float32's, and one step of Newton's method, which cubes its error.
    """
    x = is_nan(x).where(x, x.apply("Max", -1e300).apply("Min", 1e300))
    y = x.cast("f32").apply("Atan").cast(x.dtype)
    sin, cos = y.apply("Sin"), y.apply("Cos")
    return y - (sin - x * cos) / (cos + x * sin)


def atan2(y: Term, x: Term) -> Term:
    """Returns the angle of the point (x, y), also of zeros of either sign and of infinities."""
    one, half_turn = x._constant(1.0), x._constant(pi)
    far = x.apply("IsInf", dtype="bool") & y.apply("IsInf", dtype="bool")
    ratio = far.where(copysign(one, y), y) / far.where(copysign(one, x), x)
    angle = atan(ratio) if x.dtype == "f64" else ratio.apply("Atan")
    angle = y.equals(0.0).where(y, angle)
    left = (x < 0.0) | (x.equals(0.0) & (1.0 / x < 0.0))
    return left.where(angle + copysign(half_turn, y), angle)


def asin(x: Term) -> Term:
    """Returns the arc sine."""
    return atan(x / ((1.0 - x) * (1.0 + x)).sqrt())


def acos(x: Term) -> Term:
    """Returns the arc cosine."""
    return 2.0 * atan(((1.0 - x) / (1.0 + x)).sqrt())


def sinh(x: Term) -> Term:
    """Returns (exp(x) - exp(-x)) / 2; near 0 of expm1, which does not cancel."""
    small = expm1(x)
    half = (abs(x) * 0.5).exp()                      # exp(x) / 2 is finite where exp(x) is not
    large = 0.5 * half * half
    large = (x < 0.0).where(-large, large)
    near = 0.5 * (small + small / (small + 1.0))
    return (abs(x) < 20.0).where(near, large)


def cosh(x: Term) -> Term:
    """Returns (exp(x) + exp(-x)) / 2."""
    half = (abs(x) * 0.5).exp()
    return 0.5 * half * half + 0.5 / half / half


def asinh(x: Term) -> Term:
    """Returns log(x + sqrt(x^2 + 1)) with the sign of x."""
    z = abs(x)
    near = log1p(z + z * z / (1.0 + (z * z + 1.0).sqrt()))
    found = (z > 1e8).where(z.log() + log(2.0), near)
    return (x < 0.0).where(-found, found)


def acosh(x: Term) -> Term:
    """Returns log(x + sqrt(x^2 - 1)), NaN below 1."""
    t = x - 1.0
    return (x > 1e8).where(x.log() + log(2.0), log1p(t + t.sqrt() * (x + 1.0).sqrt()))


def atanh(x: Term) -> Term:
    """Returns log((1 + x) / (1 - x)) / 2."""
    return 0.5 * (log1p(x) - log1p(-x))


def erfc(x: Term) -> Term:
    """Returns 1 - erf(x), whose absolute error is that of erf."""
    return 1.0 - x.apply("Erf")


def trunc(x: Term) -> Term:
    """Returns x rounded towards 0."""
    return (x < 0.0).where(x.apply("Ceil"), x.apply("Floor"))
