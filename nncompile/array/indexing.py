"""Sizes and indices in the IR's form: axes counted from 0, a slice as its start and stop.

Sizes may be symbolic; a question that only concrete sizes could answer raises Error.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import gcd
from typing import Any, SupportsIndex

import numpy as np

from ir import DimExpr, Error
from ir.types import Dim, Floored, TensorType, divide, extent, floor_div, product, same, terms
from nncompile.array.sizes import is_traced, reaches


def axis_of(type_: TensorType, dim: SupportsIndex, extra: int = 0) -> int:
    """Returns the axis counted from 0, of one that may count from the end, among ndim + extra."""
    axis, ndim = whole(dim), len(type_.shape) + extra
    if not -ndim <= axis < ndim:
        raise Error(f"{type_} has no axis {axis}: {_axes_there_are(ndim)}")
    return axis % ndim


def _axes_there_are(ndim: int) -> str:
    return f"its axes are {-ndim} to {ndim - 1}" if ndim else "it has none"


def axes_of(type_: TensorType, dims: Any) -> tuple[int, ...]:
    """Returns distinct axes counted from 0, of one axis or several.

    Raises Error for one given twice.
    """
    axes = tuple(axis_of(type_, d) for d in (dims if np.iterable(dims) else [dims]))
    if len(set(axes)) < len(axes):
        raise Error(f"{list(dims)} names an axis of {type_} twice")
    return axes


def flat(sizes: Sequence[Any], by_name: Any = None) -> list[Any]:
    """Returns the sizes of both x.reshape(2, 3) and x.reshape((2, 3)).

    by_name: those that were given by torch's name for them, x.reshape(shape=(2, 3)), or None.
    Raises TypeError for what is no integer, such as an array of several.
    """
    if by_name is not None:
        sizes = (*sizes, *(by_name if np.iterable(by_name) else [by_name]))
    given: Any = sizes[0] if len(sizes) == 1 and np.iterable(sizes[0]) else sizes
    if getattr(given, "ndim", 0) and not same(given.shape, (1,)):
        raise TypeError("sizes and dimensions are integers, one by one or in a tuple, not an array "
                        f"of shape {tuple(given.shape)}: its .tolist() has them")
    return [d if is_traced(d) else whole(d) for d in given]


def whole(number: Any) -> int:
    """Returns an integer. Raises TypeError for anything else."""
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError("sizes and dimensions are integers, not "
                        f"{number if isinstance(number, float) else type(number).__name__}"
                        ) from None


def without_wildcard(type_: TensorType, sizes: Sequence[Any]) -> tuple[Dim, ...]:
    """Returns the shape with the size that fits in place of -1.

    Raises Error where there is none.
    """
    shape: list[Dim] = [d if isinstance(d, DimExpr) else operator.index(d) for d in sizes]
    wild = [i for i, size in enumerate(shape) if same(size, -1)]
    if not wild:
        return tuple(shape)
    fits = None
    if len(wild) == 1:
        fits = quotient(type_.shape, [size for i, size in enumerate(shape) if i not in wild])
    if fits is None:
        raise Error(f"cannot reshape {type_} to {shape}: no single size fits for -1")
    before = type_.shape
    if any((_is_open(i, shape, before) and size == 0) or _is_misplaced_zero(i, shape, before)
           for i, size in enumerate(shape)):
        raise Error(f"cannot reshape {type_} to {shape}: any size fits for -1 beside a 0")
    shape[wild[0]] = fits
    return tuple(shape)


def _is_misplaced_zero(axis: int, shape: Sequence[Dim], before: Sequence[Dim]) -> bool:
    """Whether this size is a 0 that was not there before."""
    return same(shape[axis], 0) and not _was_there(axis, shape, before)


def _is_open(axis: int, shape: Sequence[Dim], before: Sequence[Dim]) -> bool:
    """Whether a size beside -1 may be a 0 that was not there before, so that -1 says nothing.

    A product of several names stands for sizes that were there, and cancel even where one is 0.
    """
    size = shape[axis]
    if not isinstance(size, DimExpr) or extent(size)[0] > 0 or _was_there(axis, shape, before):
        return False
    return [(len(names) > 1, coefficient) for names, coefficient in size.terms] != [(True, 1)]


def _was_there(axis: int, shape: Sequence[Dim], before: Sequence[Dim]) -> bool:
    """Whether a size was the same before, counted from the front or from the end."""
    size = shape[axis]
    return (same(before[axis:axis + 1], [size])
            or same(before[axis - len(shape):][:1], [size]))


def whole_multiples(before: Sequence[Dim], shape: Sequence[Dim]) -> Sequence[Dim]:
    """Returns the sizes that an array needs to have for a reshape to take them apart.

    A symbolic T that becomes T // 2 and 2, or -1 and 2, has to be 2*FloorDiv(T, 2); all other sizes
    are as they were. Where either of two axes could be the one that is divided, none is.
    """
    known = [size for size in shape if not same(size, -1)]
    quotients = {factor for size in known for names, _ in terms(size) for factor in names
                 if isinstance(factor, Floored)}
    found = [next((floor_div(size, q.divisor) * q.divisor for q in quotients
                   if same(q.numerator, size)), size) for size in before]
    if len(known) == len(shape) or quotient(found, known) is not None:
        return found
    divisor = _content(known) // gcd(_content(known), _content(found))
    ways = [[*found[:i], floor_div(size, divisor) * divisor, *found[i + 1:]]
            for i, size in enumerate(found) if isinstance(size, DimExpr) and divisor > 1]
    fitting = [way for way in ways if quotient(way, known) is not None]
    return fitting[0] if len(fitting) == 1 else found


def _content(sizes: Sequence[Dim]) -> int:
    """Returns the largest number by which the product of the sizes can be divided."""
    return gcd(*(c for size in [product(sizes)] for _, c in terms(size))) or 1


def quotient(shape: Sequence[Dim], known: Sequence[Dim]) -> Dim | None:
    """Returns the size by which the known ones multiply to the whole, or None.

    Sizes of 0 cancel as a symbolic B does: [B, 8] with B known leaves 8, even where B is 0.
    """
    zeros = sum(same(size, 0) for size in shape) - sum(same(size, 0) for size in known)
    if zeros > 0:
        return 0
    whole, part = (product(d for d in sizes if not same(d, 0)) for sizes in (shape, known))
    return divide(whole, part) if zeros == 0 else None


def as_tuple(index: Any) -> tuple[Any, ...]:
    """Returns the items between [ and ].

    As in torch, a list that contains lists or slices counts as several items, and a range is a
    list of its numbers.
    """
    if isinstance(index, list) and any(
            isinstance(i, Sequence | slice) or i is None or i is ... for i in index):
        index = tuple(index)
    items = index if isinstance(index, tuple) else (index,)
    return tuple(list(i) if isinstance(i, range) else i for i in items)


def index_items(type_: TensorType, index: Any) -> list[Any]:
    """Returns the items between [ and ] with `...` written out: one for each axis, and each None.
    """
    items = list(as_tuple(index))
    indexed = sum(i is not None and i is not Ellipsis for i in items)
    if indexed > len(type_.shape) or sum(i is ... for i in items) > 1:
        raise Error(f"an array {type_} is indexed by {len(type_.shape)} items at most, and one "
                    f"`...`, not by {indexed} of {items}")
    at = next((k for k, i in enumerate(items) if i is ...), len(items))
    items[at : at + 1] = [slice(None)] * (len(type_.shape) - indexed)
    return items


def bounds(item: Any, size: Dim) -> tuple[Dim, Dim, int]:
    """Returns (start, stop, step) of an index or a slice in an axis of this size, counted from 0.

    A stop of -1 lies before the first element, for a negative step.
    Raises Error for an index out of range, and for a slice whose length depends on how large a
    symbolic size is.
    """
    if not isinstance(item, slice):
        start = from_zero(item, size)
        if not isinstance(size - start, DimExpr) and not 0 <= start < size:
            raise Error(f"the index {item} is out of range for an axis of size {size}")
        return start, start + 1, 1
    step = 1 if item.step is None else operator.index(item.step)
    if step == 0:
        raise Error("the step of a slice cannot be 0")
    if not any(isinstance(i, DimExpr) for i in (item.start, item.stop, size)):
        part = range(operator.index(size))[item]
        return part.start, part.stop if part else part.start, step
    first: Dim = 0 if step > 0 else size - 1
    last: Dim = size if step > 0 else -1
    start = first if item.start is None else from_zero(item.start, size)
    stop = last if item.stop is None else from_zero(item.stop, size)
    if isinstance(size, DimExpr) and not isinstance(stop if step > 0 else start, DimExpr):
        if step < 0:
            raise Error(f"how long {start}:{stop} is of a size {size} is not known before run time")
        stop = stop if reaches(size, stop) else size
    return start, stop, step


def from_zero(item: Any, size: Dim) -> Dim:
    """Returns an index that may count from the end, counted from 0.

    A size that is below 0 in every call, as -T is, counts from the end; another does not, so that
    calls in which T - 5 is below 0 are refused.
    Raises Error where it is no index.
    """
    if isinstance(item, DimExpr):
        return item + size if extent(item)[1] <= 0 and item < 0 else item
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise Error("an array is indexed by integers, slices, arrays of integers, None and `...`, "
                    f"not by {item!r}")
    at = operator.index(item)
    return at + size if at < 0 else at
