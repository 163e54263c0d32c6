"""The logarithm of the gamma function and its derivative, composed of the IR's ops.

Both use their asymptotic series from 8 on, and reach it from smaller arguments by the recurrence
gamma(x + 1) = x gamma(x); Abramowitz and Stegun (1964), 6.1.41 and 6.3.18. Negative arguments are
reflected. They are computed in float64 and rounded to the dtype of the argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from nncompile.array.core import Core, apply, floating, guarded

_A = TypeVar("_A", bound=Core)

_FROM = 8                                        # where the series begin
_SERIES = tuple(n / d for n, d in (              # B_2k / (2k (2k - 1)), k = 7 to 1
    (1, 156), (-691, 360360), (1, 1188), (-1, 1680), (1, 1260), (-1, 360), (1, 12)))
_SLOPES = tuple(n / d for n, d in (              # -B_2k / 2k, k = 7 to 1
    (-1, 12), (691, 32760), (-1, 132), (1, 240), (-1, 252), (1, 120), (-1, 12)))


def lgamma(input: _A) -> _A:
    """Returns log(|gamma(x)|): infinite at 0, -1, -2 ... Integers and bools as float32.

    It is accurate relative to the larger of 1 and its own size.
    """
    return _computed("lgamma", input, _lgamma)


def digamma(input: _A) -> _A:
    """Returns the derivative of lgamma: NaN at -1, -2 ..., infinite at 0. Integers as float32."""
    return _computed("digamma", input, _digamma)


def _computed(name: str, input: _A, function: Callable[[_A], _A]) -> _A:
    x = floating(name, input)
    return function(x._cast("f64"))._cast(x.type.dtype)


def _lgamma(x: _A) -> _A:
    negative = apply("lt", x, 0.0)
    positive = apply("where", negative, apply("sub", 1.0, x), x)
    value = _lgamma_above(positive)
    inner = guarded(negative, x, 0.25)
    sine = apply("sin", apply("mul", apply("abs", _past_integer(inner)), math.pi))
    reflected = apply("sub", apply("sub", math.log(math.pi), apply("log", sine)), value)
    value = apply("where", negative, reflected, value)
    infinite = apply("eq", apply("abs", x), math.inf)
    return apply("where", infinite, math.inf, value)


def _lgamma_above(x: _A) -> _A:
    """Returns lgamma of 0 and positive numbers."""
    small = apply("lt", x, float(_FROM))
    z = apply("where", small, apply("add", x, float(_FROM)), x)
    rising = x
    for step in range(1, _FROM):
        rising = apply("mul", rising, apply("add", x, float(step)))
    rising = apply("where", small, rising, 1.0)
    value = apply("sub", apply("mul", apply("sub", z, 0.5), apply("log", z)), z)
    value = apply("add", value, 0.5 * math.log(2 * math.pi))
    value = apply("add", value, apply("div", _of_inverse_square(z, _SERIES), z))
    return apply("sub", value, apply("log", rising))


def _digamma(x: _A) -> _A:
    negative = apply("lt", x, 0.0)
    positive = apply("where", negative, apply("sub", 1.0, x), x)
    value = _digamma_above(positive)
    angle = apply("mul", _past_integer(guarded(negative, x, 0.25)), math.pi)
    cotangent = apply("div", apply("cos", angle), apply("sin", angle))
    reflected = apply("sub", value, apply("mul", cotangent, math.pi))
    pole = apply("logical_and", negative, apply("eq", angle, 0.0))
    value = apply("where", negative, apply("where", pole, math.nan, reflected), value)
    at_zero = apply("neg", apply("copysign", apply("full", math.inf, shape=(), dtype="f64"), x))
    value = apply("where", apply("eq", x, 0.0), at_zero, value)
    return apply("where", apply("eq", x, math.inf), math.inf, value)


def _digamma_above(x: _A) -> _A:
    """Returns digamma of positive numbers."""
    small = apply("lt", x, float(_FROM))
    z = apply("where", small, apply("add", x, float(_FROM)), x)
    passed = apply("div", 1.0, x)
    for step in range(1, _FROM):
        passed = apply("add", passed, apply("div", 1.0, apply("add", x, float(step))))
    value = apply("sub", apply("log", z), apply("div", 0.5, z))
    value = apply("add", value, apply("div", apply("div", _of_inverse_square(z, _SLOPES), z), z))
    return apply("where", small, apply("sub", value, passed), value)


def _of_inverse_square(z: _A, coefficients: Sequence[float]) -> _A:
    """Returns a polynomial in 1 / z^2, by Horner's rule."""
    inverse = apply("div", 1.0, apply("mul", z, z))
    first, *others = coefficients
    total = apply("mul", inverse, first)
    for coefficient in others[:-1]:
        total = apply("mul", apply("add", total, coefficient), inverse)
    return apply("add", total, others[-1])


def _past_integer(x: _A) -> _A:
    """Returns what x exceeds the nearest integer by."""
    return apply("sub", x, apply("round", x))
