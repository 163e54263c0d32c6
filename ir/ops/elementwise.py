"""The references of the elementwise ops that are no NumPy ufunc: (*arrays) -> array.

Plain NumPy in the operands' own precision, float32 or float64; sound in both, NaN in NaN out, and
the value of an infinity is the limit there.  They are called with floating-point warnings off.
"""
from __future__ import annotations

from collections.abc import Callable
from math import erf as erf_of_one
from math import erfc as erfc_of_one
from math import pi, sqrt

import numpy as np

from ir.types import DTYPES, Error, NDArray

LEAST = -100.0                                   # both gelus are -0.0 here, and from here down
LEAST_EXP = -800.0                               # and so are silu and mish here
LARGE = 1e30                                     # softsign is 1 here, and from here up
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def one_by_one(function: Callable[[float], float], x: NDArray) -> NDArray:
    """A function of Python's math module on each element, in double precision."""
    z = np.asarray(x, np.float64)
    return np.fromiter(map(function, z.ravel().tolist()), np.float64, z.size).reshape(z.shape)


# -- numbers of any type ---------------------------------------------------------------------------

def sign(x: NDArray) -> NDArray:
    """-1, 0 or 1; of NaN 0, as in torch."""
    return np.asarray((x > 0).astype(x.dtype) - (x < 0).astype(x.dtype))


def floor_div(x: NDArray, y: NDArray) -> NDArray:
    check_divisor(x, y)
    return np.asarray(np.floor_divide(x, y))


def remainder(x: NDArray, y: NDArray) -> NDArray:
    """x - y * floor(x / y), exactly.  It has the sign of y; a zero has the sign of x, as in torch
    and not as in NumPy."""
    check_divisor(x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def check_divisor(x: NDArray, y: NDArray) -> None:
    if y.dtype.kind != "f" and not np.all(y) and np.size(x):
        raise Error("an integer is divided by zero")


def pow_(x: NDArray, y: NDArray) -> NDArray:
    """C's pow; of integers modulo 2^bits, and with a negative exponent 0 unless x is 1 or -1."""
    if x.dtype.kind == "f":
        return np.asarray(np.power(x, y))
    inverse = np.where(np.abs(x) == 1, np.power(x, y & 1), 0)
    return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0))).astype(x.dtype)


# -- floats ----------------------------------------------------------------------------------------

def rsqrt(x: NDArray) -> NDArray:
    return np.asarray(1 / np.sqrt(x))


def sigmoid(x: NDArray) -> NDArray:
    """1 / (1 + exp(-x)), with an exponential that cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


def erf(x: NDArray) -> NDArray:
    return one_by_one(erf_of_one, x).astype(x.dtype)


def erfc(x: NDArray) -> NDArray:
    return one_by_one(erfc_of_one, x).astype(x.dtype)


def relu(x: NDArray) -> NDArray:
    return np.where(x < 0, 0, x)


def gelu(x: NDArray) -> NDArray:
    """x * Phi(x), Phi the normal distribution function.  By erfc in double precision, because
    1 + erf would cancel on the negative side.  gelu(-inf) is the limit, -0.0."""
    z = np.maximum(np.asarray(x, np.float64), LEAST)
    return (0.5 * z * one_by_one(erfc_of_one, z * -sqrt(0.5))).astype(x.dtype)


def gelu_tanh(x: NDArray) -> NDArray:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as torch's approximate="tanh"; written
    with 1 + tanh(u) = 2 sigmoid(2 u), which does not cancel."""
    z = np.maximum(np.asarray(x, np.float64), LEAST)
    return (z * sigmoid(2 * sqrt(2 / pi) * (z + 0.044715 * z**3))).astype(x.dtype)


def silu(x: NDArray) -> NDArray:
    """x * sigmoid(x); silu(-inf) is the limit, -0.0."""
    z = np.maximum(x, LEAST_EXP)
    return np.asarray(z * sigmoid(z))


def mish(x: NDArray) -> NDArray:
    """x * tanh(log(1 + exp(x))), as the quotient of polynomials in e = exp(-|x|) that it is;
    mish(-inf) is the limit, -0.0."""
    z = np.maximum(x, LEAST_EXP)
    e = np.exp(-np.abs(z))
    above = (1 + 2 * e) / (1 + 2 * e + 2 * e * e)
    below = e * (e + 2) / (e * (e + 2) + 2)
    return np.asarray(z * np.where(z >= 0, above, below))


def softplus(x: NDArray, beta: NDArray, threshold: NDArray) -> NDArray:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    z = x * beta
    return np.where(z > threshold, x, np.logaddexp(z, 0) / beta)


def elu(x: NDArray, alpha: NDArray) -> NDArray:
    return np.where(x < 0, alpha * np.expm1(x), x)


def celu(x: NDArray, alpha: NDArray) -> NDArray:
    return np.where(x < 0, alpha * np.expm1(x / alpha), x)


def selu(x: NDArray) -> NDArray:
    return np.where(x < 0, SELU_SCALE * SELU_ALPHA * np.expm1(x), SELU_SCALE * x)


def leaky_relu(x: NDArray, slope: NDArray) -> NDArray:
    return np.where(x > 0, x, slope * x)


def hardsigmoid(x: NDArray) -> NDArray:
    return np.asarray(np.clip(x + 3, 0, 6) / 6)


def hardswish(x: NDArray) -> NDArray:
    """x * hardsigmoid(x); -0.0 from -3 down, -inf too."""
    return np.asarray(np.maximum(x, -3) * hardsigmoid(x))


def hardshrink(x: NDArray, bound: NDArray) -> NDArray:
    return np.where(np.abs(x) <= bound, 0, x)


def softshrink(x: NDArray, bound: NDArray) -> NDArray:
    return np.where(np.abs(x) <= bound, 0, x - np.copysign(bound, x))


def tanhshrink(x: NDArray) -> NDArray:
    return np.asarray(x - np.tanh(x))


def log_sigmoid(x: NDArray) -> NDArray:
    return np.asarray(np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))


def softsign(x: NDArray) -> NDArray:
    """x / (1 + |x|), which is 1 and -1 at the infinities."""
    z = np.clip(x, -LARGE, LARGE)
    return np.asarray(z / (1 + np.abs(z)))


def threshold(x: NDArray, bound: NDArray, value: NDArray) -> NDArray:
    return np.where(x <= bound, value, x)


# -- truth and other types -------------------------------------------------------------------------

def where(c: NDArray, a: NDArray, b: NDArray) -> NDArray:
    return np.where(c, a, b)


def cast(x: NDArray, *, dtype: str) -> NDArray:
    """To a bool: whether it is not 0.  A float to an integer: toward zero; what NumPy makes of one
    that is out of range is not for anyone to rely on."""
    return x.astype(DTYPES[dtype])
