"""The references that are no NumPy ufunc: (*arrays, **attrs) -> array.

Plain NumPy in the operands' own precision, float32 or float64; sound in both, NaN in NaN out.
They are called with floating-point warnings off.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import erfc, pi, prod, sqrt

import numpy as np

from ir.types import Array, Error

LEAST = -100.0                                   # both gelus are -0.0 here, and from here down


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), with an exponential that cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def gelu(x: Array) -> Array:
    """x * Phi(x), Phi the normal distribution function.  By erfc in double precision, because
    1 + erf would cancel on the negative side.  gelu(-inf) is the limit, -0.0."""
    z = np.maximum(np.asarray(x, np.float64), LEAST)
    tail = np.fromiter(map(erfc, (z * -sqrt(0.5)).ravel().tolist()), np.float64, z.size)
    return (0.5 * z * tail.reshape(z.shape)).astype(x.dtype)


def gelu_tanh(x: Array) -> Array:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as torch's approximate="tanh"; written
    with 1 + tanh(u) = 2 sigmoid(2 u), which does not cancel."""
    z = np.maximum(np.asarray(x, np.float64), LEAST)
    return (z * sigmoid(2 * sqrt(2 / pi) * (z + 0.044715 * z**3))).astype(x.dtype)


def identity(x: Array) -> Array:
    return x


def dropout(x: Array, *, p: float) -> Array:
    """What it is in inference: nothing."""
    return x


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    y: Array = x @ w.T
    return y if b is None else y + b


def embedding(ids: Array, w: Array) -> Array:
    """Rows of the table.  A negative id is outside it, as in torch."""
    if ids.size and not 0 <= ids.min() <= ids.max() < len(w):
        wrong = ids[(ids < 0) | (ids >= len(w))].flat[0]
        rows = f"has the rows 0..{len(w) - 1}" if len(w) else "is empty"
        raise Error(f"embedding has no row {wrong}: its table {rows}")
    return w[ids]


def softmax(x: Array, *, axis: int, scale: float) -> Array:
    """exp(s) / sum(exp(s)) with s = x * scale, shifted so that the largest exponent is 0.  A row of
    -inf is NaN, as in torch."""
    s = x * scale
    e = np.exp(s - s.max(axis, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis, keepdims=True))


def layer_norm(x: Array, w: Array | None = None, b: Array | None = None, *,
               axes: Sequence[int], eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * w + b.  The centred values are centred once more: that
    takes out the rounding of the mean, so that a constant row gives exact zeros."""
    c = x - mean(x, axes=axes, keepdims=True)
    c = c - mean(c, axes=axes, keepdims=True)
    y: Array = c / np.sqrt(mean(c * c, axes=axes, keepdims=True) + eps)
    y = y if w is None else y * w
    return y if b is None else y + b


def sum_(x: Array, *, axes: Sequence[int], keepdims: bool) -> Array:
    return np.asarray(x.sum(tuple(axes), keepdims=keepdims))


def mean(x: Array, *, axes: Sequence[int], keepdims: bool) -> Array:
    """NaN over nothing, as numpy.mean, but with no warning."""
    return np.asarray(sum_(x, axes=axes, keepdims=keepdims) / count(x, axes))


def max_(x: Array, *, axes: Sequence[int], keepdims: bool) -> Array:
    """NaN where there is one; an error over nothing, as in torch."""
    if not count(x, axes):
        raise Error(f"there is no max of {x.shape} over the axes {list(axes)}: they are empty")
    return np.asarray(x.max(tuple(axes), keepdims=keepdims))


def count(x: Array, axes: Sequence[int]) -> int:
    return prod(x.shape[axis] for axis in axes)


def reshape(x: Array, *, shape: Sequence[int]) -> Array:
    if any(size < 0 for size in shape):
        raise Error(f"cannot reshape {x.shape} to {list(shape)}: a size is negative")
    return x.reshape(tuple(shape))


def transpose(x: Array, *, axes: Sequence[int]) -> Array:
    return x.transpose(tuple(axes))


def slice_(x: Array, *, axis: int, start: int, stop: int) -> Array:
    if not 0 <= start <= stop <= x.shape[axis]:
        raise Error(f"{start}:{stop} is outside axis {axis} of an array of shape {x.shape}")
    return x[(slice(None),) * axis + (slice(start, stop),)]


def concat(x: Array, *others: Array, axis: int) -> Array:
    return np.concatenate([x, *others], axis)
