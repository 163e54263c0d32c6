"""The references that are not elementwise: (*arrays, **attrs) -> array.

Plain NumPy, sound in float32 and float64, NaN in NaN out.  They are called with floating-point
warnings off, and raise Error where a value is illegal, as an id outside its table.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from ir.types import DTYPES, Error, NDArray


def identity(x: NDArray) -> NDArray:
    return x


def dropout(x: NDArray, *, p: float) -> NDArray:
    """What it is in inference: nothing."""
    return x


# -- products --------------------------------------------------------------------------------------

def linear(x: NDArray, w: NDArray, b: NDArray | None = None) -> NDArray:
    y: NDArray = x @ w.T
    return y if b is None else y + b


# -- rows ------------------------------------------------------------------------------------------

def softmax(x: NDArray, *, axis: int, scale: float) -> NDArray:
    """exp(s) / sum(exp(s)) with s = x * scale, shifted so that the largest exponent is 0.  A row of
    -inf is NaN, as in torch."""
    s = x * scale
    e = np.exp(s - s.max(axis, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis, keepdims=True))


def log_softmax(x: NDArray, *, axis: int) -> NDArray:
    """s - log(sum(exp(s))) with s shifted so that the largest is 0.  A row of -inf is NaN."""
    s = x - x.max(axis, keepdims=True, initial=-np.inf)
    return np.asarray(s - np.log(np.exp(s).sum(axis, keepdims=True)))


def layer_norm(x: NDArray, w: NDArray | None = None, b: NDArray | None = None, *,
               axes: Sequence[int], eps: float) -> NDArray:
    """(x - mean) / sqrt(variance + eps) * w + b, in double precision: a square of float32 cannot
    overflow there.  The centred values are centred once more: that takes out the rounding of the
    mean, so that a constant row gives exact zeros."""
    c = x - mean(x.astype(np.float64), axes=axes, keepdims=True)
    c = c - mean(c, axes=axes, keepdims=True)
    y: NDArray = c / np.sqrt(mean(c * c, axes=axes, keepdims=True) + eps)
    y = y if w is None else y * w
    return (y if b is None else y + b).astype(x.dtype)


def rms_norm(x: NDArray, w: NDArray | None = None, *, axes: Sequence[int], eps: float) -> NDArray:
    """x / sqrt(mean(x^2) + eps) * w, in double precision: a square of float32 cannot overflow."""
    z = x.astype(np.float64)
    y: NDArray = z / np.sqrt(mean(z * z, axes=axes, keepdims=True) + eps)
    return (y if w is None else y * w).astype(x.dtype)


def cumsum(x: NDArray, *, axis: int) -> NDArray:
    """Floats are added up in double precision, as in torch."""
    dtype = np.float64 if x.dtype.kind == "f" else x.dtype
    return np.cumsum(x, axis, dtype).astype(x.dtype)


# -- reductions ------------------------------------------------------------------------------------

def sum_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    return np.asarray(x.sum(tuple(axes), x.dtype, keepdims=keepdims))


def prod_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    return np.asarray(x.prod(tuple(axes), x.dtype, keepdims=keepdims))


def mean(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """NaN over nothing, as numpy.mean, but with no warning."""
    return np.asarray(sum_(x, axes=axes, keepdims=keepdims) / count(x, axes))


def max_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """NaN where there is one; an error over nothing, as in torch."""
    check_any("max", x, axes)
    return np.asarray(x.max(tuple(axes), keepdims=keepdims))


def min_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    check_any("min", x, axes)
    return np.asarray(x.min(tuple(axes), keepdims=keepdims))


def any_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    return np.asarray(x.any(tuple(axes), keepdims=keepdims))


def all_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    return np.asarray(x.all(tuple(axes), keepdims=keepdims))


def argmax(x: NDArray, *, axis: int, keepdims: bool) -> NDArray:
    """Where the first of the largest is; the first NaN where there is one."""
    check_any("argmax", x, [axis])
    return np.asarray(np.argmax(x, axis, keepdims=keepdims), np.int64)


def argmin(x: NDArray, *, axis: int, keepdims: bool) -> NDArray:
    check_any("argmin", x, [axis])
    return np.asarray(np.argmin(x, axis, keepdims=keepdims), np.int64)


def check_any(name: str, x: NDArray, axes: Sequence[int]) -> None:
    if not count(x, axes):
        raise Error(f"there is no {name} of {x.shape} over the axes {list(axes)}: they are empty")


def count(x: NDArray, axes: Sequence[int]) -> int:
    return prod(x.shape[axis] for axis in axes)


# -- by index --------------------------------------------------------------------------------------

def embedding(ids: NDArray, w: NDArray) -> NDArray:
    """Rows of the table.  A negative id is outside it, as in torch."""
    check_ids("embedding has no row", ids, len(w), "its table", "rows")
    return w[ids]


def embedding_bag(ids: NDArray, offsets: NDArray, w: NDArray, weights: NDArray | None = None, *,
                  mode: str, include_last: bool, padding: int) -> NDArray:
    """Rows of the table, times their weights, put together by bags: bag i is of the ids from
    offsets[i] on, up to offsets[i + 1], where the last bag ends unless that is included in the
    offsets.  Ids equal to `padding` are left out (-1: none is); a bag of nothing is 0."""
    check_ids("embedding_bag has no row", ids, len(w), "its table", "rows")
    edges = offsets if include_last else np.append(offsets, len(ids))
    if not len(edges) or offsets[:1].any() or (np.diff(edges) < 0).any() or edges[-1] > len(ids):
        raise Error(f"embedding_bag needs offsets that begin with 0 and rise up to {len(ids)}, the "
                    f"number of ids, not {np.array2string(offsets, threshold=20)}")
    rows = w[ids] if weights is None else w[ids] * weights[:, None]
    bags = np.zeros((len(edges) - 1, w.shape[1]), w.dtype)
    for bag, (start, stop) in zip(bags, pairwise(edges), strict=True):
        chosen = rows[start:stop][ids[start:stop] != padding]
        if len(chosen):
            bag[:] = getattr(np, mode)(chosen, axis=0)
    return bags


def take(x: NDArray, ids: NDArray, *, axis: int) -> NDArray:
    """The elements with these numbers along an axis; the axes of the ids stand in its place."""
    check_ids("take has no element", ids, x.shape[axis], f"axis {axis}", "elements")
    return np.take(x, ids, axis)


def take_along(x: NDArray, ids: NDArray, *, axis: int) -> NDArray:
    """result[i, j, k] = x[i, ids[i, j, k], k] for axis 1, as torch.gather."""
    check_ids("take_along has no element", ids, x.shape[axis], f"axis {axis}", "elements")
    if any(n > m for i, (n, m) in enumerate(zip(ids.shape, x.shape, strict=True)) if i != axis):
        raise Error(f"take_along: ids of shape {ids.shape} reach outside of {x.shape}")
    places = np.ogrid[tuple(map(slice, ids.shape))]
    return np.asarray(x[(*places[:axis], ids, *places[axis + 1:])])


def topk_ids(x: NDArray, *, axis: int, k: int, largest: bool, sorted: bool) -> NDArray:
    """Where the k largest or smallest are, in order whether `sorted` or not; of equal ones the
    first comes first, and NaN is the largest."""
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise Error(f"there are no {k} elements along axis {axis} of an array of shape {x.shape}")
    if largest:
        ids = n - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        ids = np.argsort(x, axis, kind="stable")
    return along(axis, slice(k), ids).astype(np.int64)


def check_ids(what: str, ids: NDArray, size: int, place: str, those: str) -> None:
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        wrong = ids[(ids < 0) | (ids >= size)].flat[0]
        there = f"has the {those} 0..{size - 1}" if size else "is empty"
        raise Error(f"{what} {wrong}: {place} {there}")


# -- made of nothing -------------------------------------------------------------------------------

def iota(*, shape: Sequence[int], axis: int, dtype: str) -> NDArray:
    """0, 1, 2, ... along an axis."""
    check_sizes("there is no array of shape", shape)
    numbers = np.arange(shape[axis]).astype(DTYPES[dtype])
    return np.broadcast_to(numbers.reshape(-1, *[1] * (len(shape) - axis - 1)), shape)


def full(value: float, *, shape: Sequence[int], dtype: str) -> NDArray:
    check_sizes("there is no array of shape", shape)
    return np.broadcast_to(DTYPES[dtype].type(value), shape)


# -- shapes ----------------------------------------------------------------------------------------

def reshape(x: NDArray, *, shape: Sequence[int]) -> NDArray:
    check_sizes(f"cannot reshape {x.shape} to", shape)
    return x.reshape(tuple(shape))


def transpose(x: NDArray, *, axes: Sequence[int]) -> NDArray:
    return x.transpose(tuple(axes))


def expand(x: NDArray, *, shape: Sequence[int]) -> NDArray:
    check_sizes(f"cannot expand {x.shape} to", shape)
    return np.broadcast_to(x, shape)


def slice_(x: NDArray, *, axis: int, start: int, stop: int, step: int = 1) -> NDArray:
    """The elements start, start + step, ... before stop.  Both are counted from the front, and
    stop is -1 where a negative step goes on through the first element."""
    size = x.shape[axis]
    fits = 0 <= start <= stop <= size if step > 0 else -1 <= stop <= start < size
    if not fits:
        raise Error(f"{start}:{stop} is outside axis {axis} of an array of shape {x.shape}")
    end = None if stop < 0 else stop
    return along(axis, slice(start, end, step) if start != stop else slice(0), x)


def along(axis: int, part: slice, x: NDArray) -> NDArray:
    return x[(slice(None),) * axis + (part,)]


def concat(x: NDArray, *others: NDArray, axis: int) -> NDArray:
    return np.concatenate([x, *others], axis)


def pad(x: NDArray, *, low: Sequence[int], high: Sequence[int], value: float) -> NDArray:
    check_sizes("cannot pad by", [*low, *high])
    sizes = zip(low, x.shape, high, strict=True)
    padded = np.full([a + n + b for a, n, b in sizes], x.dtype.type(value))
    padded[tuple(slice(a, a + n) for a, n in zip(low, x.shape, strict=True))] = x
    return padded


def check_sizes(what: str, sizes: Sequence[int]) -> None:
    if any(size < 0 for size in sizes):
        raise Error(f"{what} {list(sizes)}: a size is negative")
