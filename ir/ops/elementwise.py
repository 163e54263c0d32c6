"""The references of the elementwise ops that are no NumPy ufunc: (*arrays) -> array.

They are plain NumPy in the precision of the operands, float32 or float64, and accurate in both. NaN
gives NaN, and an infinity gives the limit there. Callers turn floating-point warnings off.
"""
from __future__ import annotations

from collections.abc import Callable
from math import erf as erf_of_one
from math import erfc as erfc_of_one
from math import pi, sqrt

import numpy as np

from ir.types import DTYPES, INTEGERS, Error, NDArray

_LEAST = -100.0                                  # both gelus are -0.0 here, and from here down
_LEAST_EXP = -800.0                              # and so are silu and mish here
_LARGE = 1e30                                    # softsign is 1 here, and from here up
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _one_by_one(function: Callable[[float], float], x: NDArray) -> NDArray:
    """Returns a function of Python's math module of each element, in double precision."""
    z = np.asarray(x, np.float64)
    return np.fromiter(map(function, z.ravel().tolist()), np.float64, z.size).reshape(z.shape)


# -- numbers of any type ---------------------------------------------------------------------------

def maximum(x: NDArray, y: NDArray) -> NDArray:
    """Returns x where it is larger and y elsewhere; NaN where either is.

    So of 0.0 and -0.0 it is y, on every machine: processors, NumPy and torch differ in that.
    """
    found = np.asarray(np.maximum(x, y))
    if x.dtype.kind != "f" or found.all():
        return found
    return np.where((x > y) | np.isnan(x), x, y)


def minimum(x: NDArray, y: NDArray) -> NDArray:
    """Returns x where it is smaller and y elsewhere, also of 0.0 and -0.0; NaN where either is."""
    found = np.asarray(np.minimum(x, y))
    if x.dtype.kind != "f" or found.all():
        return found
    return np.where((x < y) | np.isnan(x), x, y)


def sign(x: NDArray) -> NDArray:
    """Returns -1, 0 or 1; of NaN 0, as in torch."""
    return np.asarray((x > 0).astype(x.dtype) - (x < 0).astype(x.dtype))


def floor_div(x: NDArray, y: NDArray) -> NDArray:
    """Returns floor(x / y). Raises Error where an integer is divided by 0."""
    _check_divisor(x, y)
    return np.asarray(np.floor_divide(x, y))


def remainder(x: NDArray, y: NDArray) -> NDArray:
    """Returns x - y * floor(x / y), exactly.

    The result has the sign of y; where it is 0, the sign of x, as in torch and unlike NumPy.
    Raises Error where an integer is divided by 0.
    """
    _check_divisor(x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def _check_divisor(x: NDArray, y: NDArray) -> None:
    """Raises Error where an integer is divided by 0."""
    if y.dtype.kind != "f" and not np.all(y) and np.size(x):
        raise Error("an integer is divided by zero")


def pow_(x: NDArray, y: NDArray) -> NDArray:
    """Returns C's pow.

    Integer powers are taken modulo 2^bits; a negative exponent gives 0 unless x is 1 or -1.
    """
    if x.dtype.kind == "f":
        return np.asarray(np.power(x, y))
    inverse = np.where(np.abs(x) == 1, np.power(x, y & 1), 0)
    return np.where(y < 0, inverse, np.power(x, np.maximum(y, 0))).astype(x.dtype)


# -- integers --------------------------------------------------------------------------------------

def left_shift(x: NDArray, y: NDArray) -> NDArray:
    """Returns x * 2^y modulo 2^bits; 0 where y is negative or not less than the number of bits."""
    inside = _fits(x, y)
    return np.where(inside, np.left_shift(x, np.where(inside, y, 0)), 0).astype(x.dtype)


def right_shift(x: NDArray, y: NDArray) -> NDArray:
    """Returns floor(x / 2^y); where y is negative or not less than the number of bits, -1 or 0.

    That is the sign of x in every bit, as in torch.
    """
    inside = _fits(x, y)
    signs = (x < 0).astype(x.dtype) * x.dtype.type(-1 if x.dtype.kind == "i" else 0)
    return np.where(inside, np.right_shift(x, np.where(inside, y, 0)), signs).astype(x.dtype)


def _fits(x: NDArray, y: NDArray) -> NDArray:
    """Returns whether x has more than y bits and y is not negative."""
    return np.asarray((y >= 0) & (y < 8 * x.dtype.itemsize))


# -- floats ----------------------------------------------------------------------------------------

def rsqrt(x: NDArray) -> NDArray:
    """Returns 1 / sqrt(x)."""
    return np.asarray(1 / np.sqrt(x))


def sigmoid(x: NDArray) -> NDArray:
    """Returns 1 / (1 + exp(-x)), by an exponential that cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


def erf(x: NDArray) -> NDArray:
    """Returns the error function."""
    return _one_by_one(erf_of_one, x).astype(x.dtype)


def erfc(x: NDArray) -> NDArray:
    """Returns the complementary error function, 1 - erf(x)."""
    return _one_by_one(erfc_of_one, x).astype(x.dtype)


def relu(x: NDArray) -> NDArray:
    """Returns max(x, 0); NaN stays."""
    return np.where(x < 0, 0, x)


def gelu(x: NDArray) -> NDArray:
    """Returns x * Phi(x), Phi the distribution function of the normal distribution.

    It is computed by erfc in double precision, because 1 + erf cancels on the negative side.
    gelu(-inf) is the limit, -0.0. Hendrycks and Gimpel (2016), arXiv:1606.08415.
    """
    z = np.maximum(np.asarray(x, np.float64), _LEAST)
    return (0.5 * z * _one_by_one(erfc_of_one, z * -sqrt(0.5))).astype(x.dtype)


def gelu_tanh(x: NDArray) -> NDArray:
    """Returns 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as torch's approximate="tanh".

    It is computed as 1 + tanh(u) = 2 sigmoid(2 u), which does not cancel.
    """
    z = np.maximum(np.asarray(x, np.float64), _LEAST)
    return (z * sigmoid(2 * sqrt(2 / pi) * (z + 0.044715 * z**3))).astype(x.dtype)


def silu(x: NDArray) -> NDArray:
    """Returns x * sigmoid(x); silu(-inf) is the limit, -0.0."""
    z = np.maximum(x, _LEAST_EXP)
    return np.asarray(z * sigmoid(z))


def mish(x: NDArray) -> NDArray:
    """Returns x * tanh(log(1 + exp(x))); mish(-inf) is the limit, -0.0.

    It is computed as the quotient of polynomials in exp(-|x|) that it equals.
    """
    z = np.maximum(x, _LEAST_EXP)
    e = np.exp(-np.abs(z))
    above = (1 + 2 * e) / (1 + 2 * e + 2 * e * e)
    below = e * (e + 2) / (e * (e + 2) + 2)
    return np.asarray(z * np.where(z >= 0, above, below))


def softplus(x: NDArray, beta: NDArray, threshold: NDArray) -> NDArray:
    """Returns log(1 + exp(beta x)) / beta, or x where beta x is above the threshold."""
    z = x * beta
    return np.where(z > threshold, x, np.logaddexp(z, 0) / beta)


def elu(x: NDArray, alpha: NDArray) -> NDArray:
    """Returns x, or alpha * (exp(x) - 1) where x is negative."""
    return np.where(x < 0, alpha * np.expm1(x), x)


def celu(x: NDArray, alpha: NDArray) -> NDArray:
    """Returns x, or alpha * (exp(x / alpha) - 1) where x is negative."""
    return np.where(x < 0, alpha * np.expm1(x / alpha), x)


def selu(x: NDArray) -> NDArray:
    """Returns scale * elu(x, alpha). Klambauer et al. (2017), arXiv:1706.02515."""
    return np.where(x < 0, SELU_SCALE * SELU_ALPHA * np.expm1(x), SELU_SCALE * x)


def leaky_relu(x: NDArray, slope: NDArray) -> NDArray:
    """Returns x, or slope * x where x is not positive."""
    return np.where(x > 0, x, slope * x)


def hardsigmoid(x: NDArray) -> NDArray:
    """Returns x / 6 + 1 / 2, limited to [0, 1]."""
    return np.asarray(np.clip(x + 3, 0, 6) / 6)


def hardswish(x: NDArray) -> NDArray:
    """Returns x * hardsigmoid(x): -0.0 from -3 down, also at -inf."""
    return np.asarray(np.maximum(x, -3) * hardsigmoid(x))


def hardshrink(x: NDArray, bound: NDArray) -> NDArray:
    """Returns x, or 0 where |x| <= bound."""
    return np.where(np.abs(x) <= bound, 0, x)


def softshrink(x: NDArray, bound: NDArray) -> NDArray:
    """Returns x moved towards 0 by bound, or 0 where |x| <= bound."""
    return np.where(np.abs(x) <= bound, 0, x - np.copysign(bound, x))


def tanhshrink(x: NDArray) -> NDArray:
    """Returns x - tanh(x)."""
    return np.asarray(x - np.tanh(x))


def log_sigmoid(x: NDArray) -> NDArray:
    """Returns log(1 / (1 + exp(-x))), by an exponential that cannot overflow."""
    return np.asarray(np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))


def softsign(x: NDArray) -> NDArray:
    """Returns x / (1 + |x|): 1 and -1 at the infinities."""
    z = np.clip(x, -_LARGE, _LARGE)
    return np.asarray(z / (1 + np.abs(z)))


def threshold(x: NDArray, bound: NDArray, value: NDArray) -> NDArray:
    """Returns x, or value where x <= bound."""
    return np.where(x <= bound, value, x)


# -- truth and other types -------------------------------------------------------------------------

def where(c: NDArray, a: NDArray, b: NDArray) -> NDArray:
    """Returns a where c is true and b elsewhere."""
    return np.where(c, a, b)


def cast(x: NDArray, *, dtype: str) -> NDArray:
    """Returns x in another dtype.

    A bool is whether x differs from 0. Integers are taken modulo 2^bits. Floats become integers by
    truncation towards zero; one that i32 cannot hold, or NaN, becomes the least i32 (the least i64,
    where i64 is asked for), and i8 and u8 have the low bits of that i32. torch has the same on
    x86-64, save for float64 beyond 2^31 in uint8; here it is so on every machine.
    """
    if x.dtype.kind != "f" or dtype not in INTEGERS:
        return x.astype(DTYPES[dtype])
    wide = DTYPES["i64" if dtype == "i64" else "i32"]
    least = np.iinfo(wide).min
    if x.size and not least <= x.min() <= x.max() < -float(least):
        whole = np.trunc(x)
        inside = (whole >= least) & (whole < -float(least))
        x = np.where(inside, whole, least)       # which every float type holds
    return x.astype(wide).astype(DTYPES[dtype], copy=False)
