"""Prints the polynomials of nncompile/cpu/math: tuples of coefficients, and the error of each.

    python tools/coefficients.py

It needs mpmath. A polynomial interpolates its function at Chebyshev points, which is within a
small factor of the minimax error (Trefethen, Approximation Theory and Approximation Practice,
theorem 16.1); the coefficients are then rounded to the dtype. One of float32 whose error counts
less in some places than in others is fitted to a weight instead. The error printed is the largest
of the rounded polynomial, evaluated without rounding.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
from mpmath import asin, atan, cos, erf, erfc, exp, log, log1p, mp, mpf, pi, sin, sqrt, tanh

mp.dps = 60
Function = Callable[[mpf], mpf]
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def chebyshev(low: mpf, high: mpf, count: int) -> list[mpf]:
    middle, half = (high + low) / 2, (high - low) / 2
    return [middle + half * cos(pi * (i + mpf(0.5)) / count) for i in range(count)]


def interpolate(function: Function, low: mpf, high: mpf, degree: int) -> list[mpf]:
    """Returns the polynomial through the function at degree + 1 Chebyshev points of [low, high]."""
    count = degree + 1
    points = chebyshev(low, high, count)
    divided = [function(x) for x in points]                      # Newton's divided differences
    for level in range(1, count):
        for i in range(count - 1, level - 1, -1):
            divided[i] = (divided[i] - divided[i - 1]) / (points[i] - points[i - level])
    result = [mpf(0)]
    for point, value in zip(reversed(points), reversed(divided), strict=True):
        shifted = [mpf(0), *result]
        result = [s - point * r for s, r in zip(shifted, [*result, mpf(0)], strict=True)]
        result[0] += value
    return result[:count]


def fit(function: Function, low: mpf, high: mpf, degree: int, weight: Function) -> list[float]:
    """Returns the float32 polynomial whose largest error times weight is about the least.

    Each coefficient is rounded in turn, and those behind it are fitted to what is left.
    """
    points = chebyshev(low, high, 400)
    x, rest, weights = (np.array([float(f(p)) for p in points])
                        for f in (lambda p: p, function, weight))
    rounded: list[float] = []
    for done in range(degree + 1):
        powers = x[:, np.newaxis] ** np.arange(done, degree + 1)
        first = least_error(powers * weights[:, np.newaxis], rest * weights)[0]
        rounded.append(float(np.float32(first)))
        rest = rest - rounded[-1] * x ** done
    return rounded


def least_error(matrix: Matrix, values: Matrix) -> Matrix:
    """Returns the factors of the matrix's columns whose largest distance from the values is least.

    Lawson's algorithm: least squares again and again, each time with more weight where the result
    before was far from the values.
    """
    weights = np.ones(len(values))
    for _ in range(60):
        root = np.sqrt(weights)
        factors = np.linalg.lstsq(matrix * root[:, np.newaxis], values * root, rcond=None)[0]
        weights *= np.abs(matrix @ factors - values)
        weights /= weights.sum()
    return factors


def table(name: str, dtype: str, function: Function, low: float, high: float, degree: int, *,
          absolute: bool = False, weight: Function | None = None) -> None:
    """Prints the coefficients and their error: relative, absolute, or absolute times the weight."""
    low, high = mpf(low), mpf(high)
    kind = np.float32 if dtype == "f32" else np.float64
    coefficients = (fit(function, low, high, degree, weight) if weight is not None
                    else interpolate(function, low, high, degree))
    rounded = [kind(float(c)) for c in coefficients]
    scale = weight or (lambda x: 1 if absolute else 1 / abs(function(x)))
    worst = mpf(0)
    for i in range(401):
        x = low + (high - low) * (i + mpf(0.5)) / 401
        value = sum(mpf(float(c)) * x ** k for k, c in enumerate(rounded))
        worst = max(worst, abs(value - function(x)) * scale(x))
    measure = "weighted" if weight is not None else "absolute" if absolute else "relative"
    print(f"{name} {dtype}: degree {degree}, {measure} error 2^{float(log(worst, 2)):.1f}")
    print("    " + ", ".join(repr(float(c)) for c in rounded))


def series(function: Function, x: mpf) -> mpf:
    """Returns a quotient that cancels near 0, evaluated with enough digits."""
    with mp.workdps(120):
        return function(x + mpf(10) ** -30 if x == 0 else x)


def log_ratio(shifted: mpf) -> mpf:
    """Returns (1 - log(1 + p) / p) / p as a function of p - 1/2."""
    return series(lambda p: (1 - log1p(p) / p) / p, shifted + mpf(0.5))


def log_ratio_counts(shifted: mpf) -> mpf:
    """Returns the factor from an absolute error of log_ratio to a relative error of log(1 + p)."""
    p = shifted + mpf(0.5)
    return p * p / log1p(p)


def phi(shift: mpf, centre: mpf) -> Function:
    """Returns Phi(-a) exp(a^2/2) (a + shift) as a function of a / (a + shift) - centre.

    Phi is the normal distribution function.
    """
    def function(t: mpf) -> mpf:
        part = t + centre
        a = shift * part / (1 - part)
        return erfc(a / sqrt(2)) / 2 * exp(a * a / 2) * (a + shift)
    return function


def end(shift: mpf, a: mpf, centre: mpf) -> mpf:
    return a / (a + shift) - centre


def pieces(name: str, function: Function, start: float, many: int, degree: int) -> None:
    """Prints a piecewise float32 function that is 0 at 0.

    One piece reaches from 0 to `start`, and then there are two to each octave. A piece's polynomial
    is one in x - c, where c is near the piece's middle and function(c) is a float32 to a thousandth
    of its last place.
    """
    bits = np.float32(start).view(np.int32)
    edges = [mpf(float((bits + (k << 22)).view(np.float32))) for k in range(many)]
    rows = [[mpf(0), mpf(0), *interpolate(partial(slope, function, mpf(0)), mpf(0), edges[0],
                                          degree - 1)]]
    for low, high in pairwise(edges):
        c = centre(function, low, high)
        rest = interpolate(partial(slope, function, c), low - c, high - c, degree - 1)
        rows.append([c, function(c), *rest])
    print(f"{name} f32: {len(rows)} pieces, from 0, "
          + ", ".join(str(np.float32(float(e))) for e in edges))
    for column in zip(*rows, strict=True):
        print("    " + ", ".join(str(np.float32(float(number))) for number in column))


def centre(function: Function, low: mpf, high: mpf) -> mpf:
    """Returns a float32 c near the middle for which function(c) is almost exactly a float32."""
    middle = np.float32(float((low + high) / 2)).view(np.int32)
    for i in chain.from_iterable((n, -n) for n in range(2 ** 20)):
        c = mpf(float((middle + i).view(np.float32)))
        if abs(function(c) / float(np.float32(float(function(c)))) - 1) < mpf(2) ** -34:
            return c
    raise AssertionError


def slope(function: Function, c: mpf, r: mpf) -> mpf:
    return (function(c + r) - function(c)) / r


def main() -> None:
    half = log(2) / 2 * mpf(1.01)
    table("EXP", "f64", exp, -half, half, 11)
    for dtype, degree in (("f32", 6), ("f64", 11)):
        table("EXP2", dtype, lambda x: mpf(2) ** x, -0.505, 0.505, degree)
        table("ERF", dtype, lambda z: erf(sqrt(z)) / sqrt(z) - 1, 1e-30, 1.0,
              {"f32": 8, "f64": 16}[dtype], absolute=True)
    centre = mpf(0.5)
    table("LOG_RATIO", "f32", log_ratio, -centre, centre, 8, weight=log_ratio_counts)
    table("LOG_RATIO", "f64", log_ratio, -centre, centre, 19)
    table("LOG", "f64", lambda t: series(lambda t: (log(1 + t) - t + t * t / 2) / t ** 3, t),
          sqrt(mpf(0.5)) - 1 - 1e-3, sqrt(mpf(2)) - 1 + 1e-3, 19)
    table("TANH", "f64", lambda z: series(lambda z: (tanh(sqrt(z)) / sqrt(z) - 1) / z, z),
          1e-30, 1.0, 16)
    pieces("TANH_PIECES", tanh, 0.075, 15, 6)
    shift, centre = mpf(5), mpf(0.5)
    table("PHI", "f64", phi(shift, centre), -centre, end(shift, mpf(39), centre), 22)
    quarter = (pi / 4 * mpf(1.01)) ** 2
    table("SIN", "f64", lambda z: series(lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z, z),
          1e-30, quarter, 6)
    table("COS", "f64", lambda z: series(lambda z: (cos(sqrt(z)) - 1 + z / 2) / z ** 2, z),
          1e-30, quarter, 6)
    table("ATAN", "f64", lambda z: series(lambda z: (atan(sqrt(z)) / sqrt(z) - 1) / z, z),
          1e-30, 1.0, 20)
    table("ASIN", "f64", lambda z: series(lambda z: (asin(sqrt(z)) / sqrt(z) - 1) / z, z),
          1e-30, 0.25, 12)


if __name__ == "__main__":
    main()
