"""Exact results of the elementwise ops of floats, to measure our own by; and the measure.

The functions are NumPy's and SciPy's, or formulas in them. They give the limit at an infinity,
and take float64 or, but for BY_MPMATH, long double.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray[Any, Any]
Function = Callable[..., Array]

SELU_SCALE = np.longdouble("1.0507009873554804934193349852946")
SELU_ALPHA = np.longdouble("1.6732632423543772848170429916717")
SQRT_2_OVER_PI = np.longdouble("0.7978845608028653558798921198687637")

# tanh's Taylor series from x^3 on: 2^2n (2^2n - 1) B_2n / (2n)!, n = 2, 3, ...
TANH = [float(2.0 ** n * (2.0 ** n - 1) * special.bernoulli(n)[n] / special.factorial(n))
        for n in range(4, 44, 2)]


def silu(x: Array) -> Array:
    x = np.maximum(x, -11000)
    return x * special.expit(x)


def mish(x: Array) -> Array:
    x = np.maximum(x, -11000)
    return x * np.tanh(np.logaddexp(x, 0))


def gelu(x: Array) -> Array:
    x = np.maximum(x, -100)
    return x * special.ndtr(x)


def gelu_tanh(x: Array) -> Array:
    above = np.maximum(x, -40)
    z = np.minimum(above, 40)
    z = 2 * SQRT_2_OVER_PI.astype(x.dtype) * (z + x.dtype.type(0.044715) * z * z * z)
    return above * special.expit(z)


def tanhshrink(x: Array) -> Array:
    """The series for small x, where x - tanh(x) cancels."""
    a, square, series = np.abs(x), np.minimum(x * x, 1), np.zeros_like(x)
    for coefficient in reversed(TANH):
        series = series * square + coefficient
    far = (a - 1) + 2 / (np.exp(2 * a) + 1)
    return np.where(a < 0.25, -x * square * series, np.copysign(far, x))


def softplus(x: Array, beta: Array, threshold: Array) -> Array:
    return np.where(x * beta > threshold, x, np.logaddexp(x * beta, 0) / beta)


def softsign(x: Array) -> Array:
    return np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x)))


def selu(x: Array) -> Array:
    scale, alpha = SELU_SCALE.astype(x.dtype), SELU_ALPHA.astype(x.dtype)
    return np.where(x < 0, scale * alpha * np.expm1(x), scale * x)


def hardsigmoid(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


EXACT: dict[str, Function] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum, "floor_div": np.floor_divide,
    "remainder": np.remainder, "pow": np.power, "copysign": np.copysign,
    "atan2": np.arctan2,
    "neg": np.negative, "abs": np.abs,
    "sign": lambda x: np.where(np.isnan(x), 0, np.sign(x)),
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "log2": np.log2, "log10": np.log10, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "erf": special.erf, "erfc": special.erfc,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc,
    "relu": lambda x: np.maximum(x, 0), "sigmoid": special.expit, "gelu": gelu,
    "gelu_tanh": gelu_tanh, "silu": silu, "mish": mish, "selu": selu, "hardsigmoid": hardsigmoid,
    "hardswish": lambda x: np.maximum(x, -3) * hardsigmoid(x), "tanhshrink": tanhshrink,
    "log_sigmoid": special.log_expit, "softsign": softsign, "softplus": softplus,
    "elu": lambda x, a: np.where(x < 0, a * np.expm1(x), x),
    "celu": lambda x, a: np.where(x < 0, a * np.expm1(x / a), x),
    "leaky_relu": lambda x, s: np.where(x > 0, x, s * x),
    "hardshrink": lambda x, b: np.where((x < -b) | (x > b) | np.isnan(x), x, 0),
    "softshrink": lambda x, b: x - np.clip(x, -b, b),
    "threshold": lambda x, b, v: np.where(x <= b, v, x),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
}
# Values of the operands behind the first, where they are parameters: not any number makes sense.
# The first ones are the usual ones.
PARAMETERS = {
    "softplus": ([1.0, 0.5, 4.0, 0.75], [20.0, 3.0, 60.0]), "elu": ([1.0, 0.3],),
    "celu": ([1.0, 0.5],), "leaky_relu": ([0.01, -0.5, 0.0],), "hardshrink": ([0.5, 0.0, 2.0],),
    "softshrink": ([0.5, 0.0, 2.0],), "threshold": ([0.1, -1.0], [20.0, np.nan]),
}
BY_MPMATH = ("erf", "erfc", "gelu", "gelu_tanh", "tanhshrink")


def exact(name: str, x: Array) -> Array:
    """The function of float32 in float64, of float64 in long double; with its usual parameters."""
    if x.dtype != np.float32 and name in BY_MPMATH:
        return by_mpmath(name, x)
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    usual = [x.dtype.type(values[0]).astype(wide) for values in PARAMETERS.get(name, ())]
    with np.errstate(all="ignore"):
        return np.asarray(EXACT[name](x.astype(wide), *usual))


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
