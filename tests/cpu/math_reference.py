"""Exact results of the functions of one float, to measure our own by; and the measure."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]

SELU_SCALE = np.longdouble("1.0507009873554804934193349852946")
SELU_ALPHA = np.longdouble("1.6732632423543772848170429916717")
SQRT_2_OVER_PI = np.longdouble("0.7978845608028653558798921198687637")

# tanh's Taylor series from x^3 on: 2^2n (2^2n - 1) B_2n / (2n)!, n = 2, 3, ...
TANH = [float(2.0 ** n * (2.0 ** n - 1) * special.bernoulli(n)[n] / special.factorial(n))
        for n in range(4, 44, 2)]


def sigmoid(x: Array) -> Array:
    p = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + p), p / (1 + p))


def silu(x: Array) -> Array:
    x = np.maximum(x, -11000)
    return x * sigmoid(x)


def mish(x: Array) -> Array:
    x = np.maximum(x, -11000)
    p = np.exp(-np.abs(x))
    n, d = np.where(x >= 0, 1 + 2 * p, p * (p + 2)), np.where(x >= 0, 2 * p * p, 2)
    return x * (n / (n + d))


def gelu(x: Array) -> Array:
    x = np.maximum(x, -100)
    return x * special.ndtr(x)


def gelu_tanh(x: Array) -> Array:
    above = np.maximum(x, -40)
    z = np.minimum(above, 40)
    z = 2 * SQRT_2_OVER_PI.astype(x.dtype) * (z + x.dtype.type(0.044715) * z * z * z)
    return above * sigmoid(z)


def tanhshrink(x: Array) -> Array:
    """The series for small x, where x - tanh(x) cancels."""
    a, square, series = np.abs(x), np.minimum(x * x, 1), np.zeros_like(x)
    for coefficient in reversed(TANH):
        series = series * square + coefficient
    far = (a - 1) + 2 / (np.exp(2 * a) + 1)
    return np.where(a < 0.25, -x * square * series, np.copysign(far, x))


def log_sigmoid(x: Array) -> Array:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def softplus(x: Array) -> Array:
    return np.where(x > 20, x, np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(x), x)


def softsign(x: Array) -> Array:
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def selu(x: Array) -> Array:
    scale, alpha = SELU_SCALE.astype(x.dtype), SELU_ALPHA.astype(x.dtype)
    return np.where(x < 0, scale * alpha * np.expm1(x), scale * x)


def hardsigmoid(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


# For float32 they are given float64.  For float64 they are given long double, but for BY_MPMATH.
EXACT: dict[str, Function] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "erf": special.erf, "erfc": special.erfc,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc, "neg": np.negative,
    "abs": np.abs, "sign": lambda x: np.where(np.isnan(x), 0, np.sign(x)),
    "relu": lambda x: np.where(x < 0, 0, x), "sigmoid": sigmoid, "gelu": gelu,
    "gelu_tanh": gelu_tanh, "silu": silu, "mish": mish, "selu": selu, "hardsigmoid": hardsigmoid,
    "hardswish": lambda x: np.maximum(x, -3) * hardsigmoid(x), "tanhshrink": tanhshrink,
    "log_sigmoid": log_sigmoid, "softsign": softsign, "softplus": softplus, "elu": elu,
    "celu": elu,
}
# What follows the first operand, where it is not the only one.
PARAMETERS = {"softplus": (1.0, 20.0), "elu": (1.0,), "celu": (1.0,)}
BY_MPMATH = ("erf", "erfc", "gelu", "gelu_tanh", "tanhshrink")


def exact(name: str, x: Array) -> Array:
    """The function of float32 in float64, of float64 in long double."""
    with np.errstate(all="ignore"):
        if x.dtype == np.float32:
            return np.asarray(EXACT[name](x.astype(np.float64)))
        if name in BY_MPMATH:
            return by_mpmath(name, x)
        return np.asarray(EXACT[name](x.astype(np.longdouble)))


def by_mpmath(name: str, x: Array) -> Array:
    """Of float64, by mpmath; slow."""
    from mpmath import mp

    functions: dict[str, Callable[[Any], Any]] = {
        "erf": mp.erf, "erfc": mp.erfc, "tanhshrink": lambda x: x - mp.tanh(x),
        "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda x: x / (1 + mp.exp(-mp.sqrt(8 / mp.pi) * (
            x + mp.mpf("0.044715") * x ** 3))),
    }
    limit = 60.0                               # all are at their limits, within long double

    def one(value: float) -> np.longdouble:
        inside = min(max(value, -limit), limit)
        if inside != value or not np.isfinite(value):
            return np.longdouble(limits(name, value))
        with mp.workdps(40 if abs(value) > 1e-3 else 700):
            return long_double(functions[name](mp.mpf(value)))

    return np.array([one(float(value)) for value in x], np.longdouble)


def limits(name: str, x: float) -> float:
    """The function at NaN and beyond +-60."""
    if np.isnan(x):
        return x
    if name == "tanhshrink":
        return x - np.sign(x)
    if name in ("gelu", "gelu_tanh"):
        return max(x, -0.0)
    return float(special.erf(x) if name == "erf" else special.erfc(x))


def long_double(value: Any) -> np.longdouble:
    """A number of mpmath."""
    from mpmath import mp

    if value == 0 or not mp.isfinite(value):
        return np.longdouble(float(value))
    mantissa, exponent = mp.frexp(value)
    high = float(mantissa)
    number = np.longdouble(high) + np.longdouble(float(mantissa - high))
    return np.ldexp(number, max(int(exponent), -20000))


def ulps(y: Array, exact: Array) -> Array:
    """|y - exact| in units in the last place of the exact result, rounded to y's dtype.

    0 where y is that, NaN where that is NaN; infinite where one is NaN alone, or y finite alone.
    An infinite y counts as the number behind the largest, which is where it begins."""
    info = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        nearest = exact.astype(y.dtype)
        size = np.minimum(np.abs(nearest), info.max)
        unit = _unit(size) if y.dtype == np.float32 else np.spacing(size)
        behind = np.ldexp(np.copysign(exact.dtype.type(1), y), info.maxexp)
        error = (np.abs(np.where(np.isinf(y), behind, y) - exact) / unit).astype(np.float64)
    error[(nearest == y) & ~np.isfinite(y) | (np.isnan(nearest) & np.isnan(y))] = 0
    error[np.isnan(error)] = np.inf
    return error


def _unit(size: Array) -> Array:
    """The last place of positive float32, in float64: 2^exponent 2^-23, at least 2^-149."""
    power = (size.view(np.uint32) & 0x7F800000).view(np.float32)
    return np.maximum(power.astype(np.float64) * 2.0 ** -23, 2.0 ** -149)
