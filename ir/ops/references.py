"""The references of the ops that are not elementwise: (*arrays, **attrs) -> array.

They are plain NumPy, accurate in float32 and float64; NaN gives NaN. Callers turn floating-point
warnings off. Illegal values, such as an id outside its table, raise Error.
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from ir.types import DTYPES, Error, NDArray

_LARGEST_FILL = 1e37                             # of attention; far from overflowing float32


def identity(x: NDArray) -> NDArray:
    """Returns x."""
    return x


def dropout(x: NDArray, *, p: float) -> NDArray:
    """Returns x: dropout does nothing in inference."""
    return x


# -- products --------------------------------------------------------------------------------------

def linear(x: NDArray, w: NDArray, b: NDArray | None = None) -> NDArray:
    """Returns x @ w.T + b."""
    y: NDArray = x @ w.T
    return y if b is None else y + b


def attention(q: NDArray, k: NDArray, v: NDArray, *masks: NDArray, scale: float, fill: float,
              seen: bool, zeroed: str) -> NDArray:
    """Returns softmax(q @ k.T * scale, masked) @ v: Vaswani et al. (2017), arXiv:1706.03762.

    The masks are applied in their order. One of floats is added; where one of bools is not `seen`,
    the score is `fill`. zeroed: the weights that are 0 instead of what the softmax gives: "none"
    of them, those of a query that sees no key because all scores are -inf ("unseen") or all of
    its mask is ("masked"), or any NaN ("undefined").
    """
    before, inside, fill = scales_of_attention([m.dtype.name for m in masks], scale, fill, zeroed)
    number = q.dtype.type
    scores = np.matmul(q, k.swapaxes(-1, -2))
    scores = scores if before == 1.0 else scores * number(before)
    for mask in masks:
        hidden = np.where(mask == seen, scores, number(fill)) if mask.dtype == np.bool_ else None
        scores = scores + mask if hidden is None else hidden
    weights = softmax(scores, axis=scores.ndim - 1, scale=inside)
    if zeroed in ("unseen", "masked"):
        tested = scores if zeroed == "unseen" else masks[0]
        nothing = max_(tested, axes=(tested.ndim - 1,), keepdims=True) == -np.inf
        weights = np.where(nothing, number(0), weights)
    if zeroed == "undefined":
        weights = np.where(np.isnan(weights), number(0), weights)
    result: NDArray = np.matmul(weights, v)
    return result


def scales_of_attention(masks: Sequence[str], scale: float, fill: float, zeroed: str
                        ) -> tuple[float, float, float]:
    """Returns what attention multiplies its scores by at once, and what inside of its softmax.

    Also the number that stands in masked places in between.
    masks: their dtypes. One of the two scales is 1. Inside of the softmax it costs nothing, but
    what is added, and a largest score that is compared, are of scores that are scaled before.
    """
    if zeroed == "unseen" or any(mask != "bool" for mask in masks):
        return scale, 1.0, fill
    if not masks:
        return 1.0, scale, fill
    if not 0.0 < scale < np.inf or not (fill == -np.inf or abs(fill / scale) < _LARGEST_FILL):
        return scale, 1.0, fill
    return 1.0, scale, fill / scale


# -- rows ------------------------------------------------------------------------------------------

def softmax(x: NDArray, *, axis: int, scale: float) -> NDArray:
    """Returns exp(s) / sum(exp(s)) with s = x * scale.

    The largest s is subtracted first, so that no exponential overflows. A row of -inf gives NaN, as
    in torch.
    """
    if not x.size:                               # there can be many empty rows
        return x
    s = x * scale
    e = np.exp(s - s.max(axis, keepdims=True, initial=-np.inf))
    return np.asarray(e / e.sum(axis, keepdims=True))


def log_softmax(x: NDArray, *, axis: int) -> NDArray:
    """Returns x - log(sum(exp(x))), with the largest x subtracted first.

    A row of -inf gives NaN, as in torch.
    """
    if not x.size:                               # there can be many empty rows
        return x
    s = x - x.max(axis, keepdims=True, initial=-np.inf)
    return np.asarray(s - np.log(np.exp(s).sum(axis, keepdims=True)))


def layer_norm(x: NDArray, w: NDArray | None = None, b: NDArray | None = None, *,
               axes: Sequence[int], eps: float) -> NDArray:
    """Returns (x - mean) / sqrt(variance + eps) * w + b, the variance without a correction.

    It is computed in double precision, where the square of a float32 cannot overflow. The mean is
    subtracted twice: that removes the rounding of the mean, so a constant row gives exact zeros.
    """
    if not x.size:                               # there can be many empty rows
        return x
    c = x - mean(x.astype(np.float64), axes=axes, keepdims=True)
    c = c - mean(c, axes=axes, keepdims=True)
    y: NDArray = c / np.sqrt(mean(c * c, axes=axes, keepdims=True) + eps)
    y = y if w is None else y * w
    return (y if b is None else y + b).astype(x.dtype)


def rms_norm(x: NDArray, w: NDArray | None = None, *, axes: Sequence[int], eps: float) -> NDArray:
    """Returns x / sqrt(mean(x^2) + eps) * w.

    It is computed in double precision, where the square of a float32 cannot overflow.
    """
    if not x.size:                               # there can be many empty rows
        return x
    z = x.astype(np.float64)
    y: NDArray = z / np.sqrt(mean(z * z, axes=axes, keepdims=True) + eps)
    return (y if w is None else y * w).astype(x.dtype)


def cumsum(x: NDArray, *, axis: int) -> NDArray:
    """Returns the cumulative sum along an axis; floats accumulate in double precision, as in torch.
    """
    dtype = np.float64 if x.dtype.kind == "f" else x.dtype
    return np.cumsum(x, axis, dtype).astype(x.dtype)


# -- reductions ------------------------------------------------------------------------------------

def sum_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns the sum over the axes, in the dtype of x: integers wrap around."""
    return np.asarray(x.sum(tuple(axes), x.dtype, keepdims=keepdims))


def prod_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns the product over the axes, in the dtype of x: integers wrap around."""
    return np.asarray(x.prod(tuple(axes), x.dtype, keepdims=keepdims))


def mean(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns the mean over the axes; NaN over no elements, like numpy.mean, but with no warning.
    """
    return np.asarray(sum_(x, axes=axes, keepdims=keepdims) / _count(x, axes))


def max_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns the maximum over the axes: NaN where there is one; of 0.0 and -0.0 it is 0.0.

    Raises Error over no elements, as torch does.
    """
    _check_any("max", x, axes)
    found = x.max(tuple(axes), keepdims=keepdims)
    return _signed(found, 0.0, x, axes, keepdims)


def min_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns the minimum over the axes: NaN where there is one; of 0.0 and -0.0 it is -0.0.

    Raises Error over no elements, as torch does.
    """
    _check_any("min", x, axes)
    found = x.min(tuple(axes), keepdims=keepdims)
    return _signed(found, -0.0, x, axes, keepdims)


def _signed(found: NDArray, first: float, x: NDArray, axes: Sequence[int], keepdims: bool
            ) -> NDArray:
    """Returns the extremes found, with zeros of the sign of `first` where x has such a zero.

    NumPy takes the zero that it meets first or last, depending on the machine.
    """
    if x.dtype.kind != "f" or (found != 0).all():
        return np.asarray(found)
    firsts = (x == 0) & (np.signbit(x) == np.signbit(first))
    there = firsts.any(tuple(axes), keepdims=keepdims)
    return np.where(found == 0, np.where(there, x.dtype.type(first), x.dtype.type(-first)), found)


def any_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns whether any element over the axes is true; False over no elements."""
    return np.asarray(x.any(tuple(axes), keepdims=keepdims))


def all_(x: NDArray, *, axes: Sequence[int], keepdims: bool) -> NDArray:
    """Returns whether all elements over the axes are true; True over no elements."""
    return np.asarray(x.all(tuple(axes), keepdims=keepdims))


def argmax(x: NDArray, *, axis: int, keepdims: bool) -> NDArray:
    """Returns the index of the first maximum along the axis, or of the first NaN, as int64.

    Raises Error where the axis is empty.
    """
    _check_any("argmax", x, [axis])
    return np.asarray(np.argmax(x, axis, keepdims=keepdims), np.int64)


def argmin(x: NDArray, *, axis: int, keepdims: bool) -> NDArray:
    """Returns the index of the first minimum along the axis, or of the first NaN, as int64.

    Raises Error where the axis is empty.
    """
    _check_any("argmin", x, [axis])
    return np.asarray(np.argmin(x, axis, keepdims=keepdims), np.int64)


def _check_any(name: str, x: NDArray, axes: Sequence[int]) -> None:
    """Raises Error where the axes are empty."""
    if not _count(x, axes):
        raise Error(f"there is no {name} of {x.shape} over the axes {list(axes)}: they are empty")


def _count(x: NDArray, axes: Sequence[int]) -> int:
    """Returns the number of elements that a reduction over the axes makes one."""
    return prod(x.shape[axis] for axis in axes)


# -- by index --------------------------------------------------------------------------------------

def embedding(ids: NDArray, w: NDArray) -> NDArray:
    """Returns the rows of the table w with these ids.

    Raises Error for an id outside the table; a negative one is outside, as in torch.
    """
    _check_ids("embedding has no row", ids, len(w), "its table", "rows")
    return w[ids]


def embedding_bag(ids: NDArray, offsets: NDArray, w: NDArray, weights: NDArray | None = None, *,
                  mode: str, include_last: bool, padding: int) -> NDArray:
    """Returns the sum, mean or max of the table's rows in each bag of ids.

    Bag i has the ids from offsets[i] on, up to offsets[i + 1]; the last bag ends with the ids, or
    at the last offset if `include_last`. Each row is multiplied by its weight first. Ids equal to
    `padding` are left out; -1 leaves none out. A bag without ids gives zeros.
    Raises Error for an id outside the table, and for offsets that do not begin with 0 and rise.
    """
    _check_ids("embedding_bag has no row", ids, len(w), "its table", "rows")
    edges = offsets if include_last else np.append(offsets, len(ids))
    if not len(edges) or offsets[:1].any() or (np.diff(edges) < 0).any() or edges[-1] > len(ids):
        raise Error(f"embedding_bag needs offsets that begin with 0 and rise up to {len(ids)}, the "
                    f"number of ids, not {np.array2string(offsets, threshold=20)}")
    rows = w[ids] if weights is None else w[ids] * weights[:, None]
    bags = np.zeros((len(edges) - 1, w.shape[1]), w.dtype)
    for bag, (start, stop) in zip(bags, pairwise(edges), strict=True):
        chosen = rows[start:stop][ids[start:stop] != padding]
        if len(chosen):
            bag[:] = max_(chosen, axes=(0,), keepdims=False) if mode == "max" else getattr(
                np, mode)(chosen, axis=0)
    return bags


def take(x: NDArray, ids: NDArray, *, axis: int) -> NDArray:
    """Returns the elements with these indices along an axis; the axes of the ids take its place.

    Raises Error for an index out of range.
    """
    _check_ids("take has no element", ids, x.shape[axis], f"axis {axis}", "elements")
    return np.take(x, ids, axis)


def take_along(x: NDArray, ids: NDArray, *, axis: int) -> NDArray:
    """Returns x[i, ids[i, j, k], k] at [i, j, k], here for axis 1: torch.gather.

    Raises Error for an index out of range.
    """
    _check_ids("take_along has no element", ids, x.shape[axis], f"axis {axis}", "elements")
    if any(n > m for i, (n, m) in enumerate(zip(ids.shape, x.shape, strict=True)) if i != axis):
        raise Error(f"take_along: ids of shape {ids.shape} reach outside of {x.shape}")
    if not ids.size:                             # beside an empty axis another can be long
        return np.empty(ids.shape, x.dtype)
    grid = np.ogrid[tuple(map(slice, ids.shape))]
    return np.asarray(x[(*grid[:axis], ids, *grid[axis + 1:])])


def tree_walk(x: NDArray, nodes: NDArray, thresholds: NDArray, roots: NDArray, *,
              steps: int) -> NDArray:
    """Returns the node that each row of x reaches from each root.

    A step from a node (feature, above, up to, missing) leads to its node `above` where the row's
    element number `feature` is above the threshold, to `up to` where it is not, and to `missing`
    where it is NaN; without a fourth column NaN leads to `above`, too. A leaf leads to itself.
    Raises Error for nodes that lead outside of the table, or not to leaves in so many steps.
    """
    check_trees(nodes, roots, x.shape[1], steps)
    at = np.broadcast_to(roots, (len(x), len(roots)))
    for _ in range(steps):
        feature, above, up_to, *missing = np.moveaxis(nodes[at], -1, 0)
        value = np.take_along_axis(x, feature.astype(np.int64), 1)
        following = np.where(value <= thresholds[at], up_to, above)
        following = np.where(np.isnan(value), missing[0], following) if missing else following
        if (following == at).all():
            break
        at = following
    return np.ascontiguousarray(at, np.int32)


def check_trees(nodes: NDArray, roots: NDArray, columns: int, steps: int) -> None:
    """Raises Error where nodes lead outside of their table or look at a column that is not there.

    The same where a walk may take more than so many steps.
    """
    _check_ids("tree_walk has no node", nodes[:, 1:], len(nodes), "its table", "nodes")
    _check_ids("tree_walk has no node", roots, len(nodes), "its table", "nodes")
    _check_ids("tree_walk has no column", nodes[:, 0], columns, "x", "columns")
    level = np.unique(roots)
    for _ in range(steps + 1):
        level = level[(nodes[level, 1:] != level[:, None]).any(1)]        # those that are no leaves
        if not len(level):
            return
        level = np.unique(nodes[level, 1:])
    raise Error(f"tree_walk takes more than {steps} steps")


def topk_ids(x: NDArray, *, axis: int, k: int, largest: bool, sorted: bool) -> NDArray:
    """Returns the indices of the k largest or smallest elements along an axis, as int64.

    They are ordered by their elements even if `sorted` is false; of equal elements the first one
    comes first, and NaN counts as the largest. Raises Error where there are fewer than k elements.
    """
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise Error(f"there are no {k} elements along axis {axis} of an array of shape {x.shape}")
    if largest:
        ids = n - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        ids = np.argsort(x, axis, kind="stable")
    return _along(axis, slice(k), ids).astype(np.int64)


def scatter_add(ids: NDArray, updates: NDArray, *, axis: int, size: int) -> NDArray:
    """Returns zeros with the updates added: updates[i, j, k] at [i, ids[i, j, k], k], for axis 1.

    The ids broadcast to the updates. What is added at one place is added in order along the axis.
    Raises Error for an index that is not below the size.
    """
    _check_sizes("scatter_add has an axis of size", [size])
    _check_ids("scatter_add has no element", ids, size, f"axis {axis}", "elements")
    result = np.zeros((*updates.shape[:axis], size, *updates.shape[axis + 1:]), updates.dtype)
    if updates.size:
        grid = np.ogrid[tuple(map(slice, updates.shape))]
        places = (*grid[:axis], np.broadcast_to(ids, updates.shape), *grid[axis + 1:])
        np.add.at(result, places, updates)
    return result


def first_equal(ids: NDArray) -> NDArray:
    """Returns for each id the index of the first one that is equal to it, as int64."""
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)], np.int64)


def put_rows(ids: NDArray, rows: NDArray, x: NDArray) -> NDArray:
    """Returns x with the row of each id replaced, by the first of the rows that have this id.

    A row whose id is outside of x, such as -1, is left out.
    """
    result = x.copy()
    for number in np.flatnonzero((ids >= 0) & (ids < len(x)))[::-1]:
        result[ids[number]] = rows[number]
    return result


def _check_ids(what: str, ids: NDArray, size: int, table: str, those: str) -> None:
    """Raises Error for an id that is not one of 0 .. size - 1."""
    if ids.size and not 0 <= ids.min() <= ids.max() < size:
        wrong = ids[(ids < 0) | (ids >= size)].flat[0]
        there = f"has the {those} 0..{size - 1}" if size else "is empty"
        raise Error(f"{what} {wrong}: {table} {there}")


# -- made of nothing -------------------------------------------------------------------------------

def iota(*, shape: Sequence[int], axis: int, dtype: str) -> NDArray:
    """Returns 0, 1, 2, ... along an axis, and the same along all others."""
    _check_sizes("there is no array of shape", shape)
    numbers = np.arange(shape[axis]).astype(DTYPES[dtype])
    return np.broadcast_to(numbers.reshape(-1, *[1] * (len(shape) - axis - 1)), shape)


def uniform(seed: NDArray, *, shape: Sequence[int], dtype: str, stream: int) -> NDArray:
    """Returns random numbers, uniform on [0, 1), by Philox4x32-10: see ir.ops.philox.

    An element's number depends on the seed, the stream and its place in row-major order alone.
    """
    from ir.ops import philox  # which few programs need
    _check_sizes("cannot draw", shape)
    count = prod(shape)
    return philox.uniform(seed, stream, 0, count).astype(DTYPES[dtype]).reshape(shape)


def full(value: float, *, shape: Sequence[int], dtype: str) -> NDArray:
    """Returns one number everywhere."""
    _check_sizes("there is no array of shape", shape)
    return np.broadcast_to(DTYPES[dtype].type(value), shape)


def size(*, dim: int) -> NDArray:
    """Returns a size as a number."""
    return np.array(dim, np.int64)


# -- shapes ----------------------------------------------------------------------------------------

def reshape(x: NDArray, *, shape: Sequence[int]) -> NDArray:
    """Returns x in another shape of as many elements."""
    _check_sizes(f"cannot reshape {x.shape} to", shape)
    return x.reshape(tuple(shape))


def transpose(x: NDArray, *, axes: Sequence[int]) -> NDArray:
    """Returns x with its axes in the given order."""
    return x.transpose(tuple(axes))


def expand(x: NDArray, *, shape: Sequence[int]) -> NDArray:
    """Returns x with axes of size 1 repeated to another size, and new axes in front."""
    _check_sizes(f"cannot expand {x.shape} to", shape)
    return np.broadcast_to(x, shape)


def slice_(x: NDArray, *, axis: int, start: int, stop: int, step: int = 1) -> NDArray:
    """Returns the elements start, start + step, ... before stop along an axis.

    Both bounds are counted from the front. With a negative step, stop is -1 where the slice
    includes the first element. Raises Error for bounds outside of the axis.
    """
    size = x.shape[axis]
    fits = 0 <= start <= stop <= size if step > 0 else -1 <= stop <= start < size
    if not fits:
        raise Error(f"{start}:{stop} is outside axis {axis} of an array of shape {x.shape}")
    end = None if stop < 0 else stop
    return _along(axis, slice(start, end, step) if start != stop else slice(0), x)


def _along(axis: int, part: slice, x: NDArray) -> NDArray:
    """Returns a part of x along one axis."""
    return x[(slice(None),) * axis + (part,)]


def concat(x: NDArray, *others: NDArray, axis: int) -> NDArray:
    """Returns the operands joined along an axis."""
    return np.concatenate([x, *others], axis)


def pad(x: NDArray, *, low: Sequence[int], high: Sequence[int], value: float) -> NDArray:
    """Returns x with `low` more elements before and `high` behind each axis, all of one value."""
    _check_sizes("cannot pad by", [*low, *high])
    sizes = zip(low, x.shape, high, strict=True)
    padded = np.full([a + n + b for a, n, b in sizes], x.dtype.type(value))
    padded[tuple(slice(a, a + n) for a, n in zip(low, x.shape, strict=True))] = x
    return padded


def _check_sizes(what: str, sizes: Sequence[int]) -> None:
    """Raises Error for a negative size, which a symbolic one can turn out to be."""
    if any(size < 0 for size in sizes):
        raise Error(f"{what} {list(sizes)}: a size is negative")
