"""Parts of arrays: by index, by arrays of indices, by order; and triangular parts of matrices."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ir import DimExpr, Error
from ir.types import Dim, divide, extent, same
from nncompile.array.chosen import Chosen, depends_on_input
from nncompile.array.core import Core, apply, arrays, as_array, constant, in_graph
from nncompile.array.dtypes import result_type
from nncompile.array.indexing import axes_of, axis_of, bounds, from_zero, index_items
from nncompile.array.known import Known, is_mask
from nncompile.array.reductions import ValuesAndIndices
from nncompile.array.sizes import number_of_chunks, required, rounded_up


class Selection(Known):
    """The methods of Array that select elements."""

    def __getitem__(self, index: Any) -> Self:
        """Returns the elements at an index, as in NumPy.

        index: integers, slices, None, `...`, and arrays or lists of integers, or a tuple of these.
        Negative integers count from the end. Arrays broadcast together; their dimensions come where
        the first array stood, or in front where the arrays do not stand side by side. Without
        arrays the result is a view.
        An array of bool selects where it is true. In a trace one that depends on an input selects
        what elementwise functions are computed of and x[mask] = ... writes; see Chosen.
        Raises Error for an integer that is out of range, and in a trace for an array of bool that
        depends on an input beside other items: the shape of the result would depend on data.
        """
        if is_mask(index) and depends_on_input(index):
            return Chosen(self._masked_by(index), index._apart())  # type: ignore[return-value]
        result, index = self, self._without_masks(index)
        shape: list[Dim] = []
        chosen: list[tuple[int, Any]] = []       # (axis of the result, indices)
        axis = 0
        for item in index_items(self.type, index):
            if item is None:
                shape.append(1)
                continue
            size = self.shape[axis]
            if is_array(item):
                chosen.append((len(shape), indices(item)))
                shape.append(size)
            else:
                start, stop, step = bounds(item, size)
                if not same((start, stop, step), (0, size, 1)):
                    result = apply("slice", result, axis=axis, start=start, stop=stop, step=step)
                if isinstance(item, slice):
                    shape.append(result.shape[axis])
            axis += 1
        result = result.view(shape)
        if not chosen:
            return result
        picked = _chosen_from(result, chosen)
        # torch makes a view where each array is one number; data cannot choose a view here
        alone = all(ids.ndim == 0 for _, ids in chosen)
        return picked._perhaps_apart(result) if alone else picked

    def _masked_by(self, mask: Any) -> Self:
        """Returns a copy of the array. Raises Error where the mask does not fit its first axes."""
        if not mask.ndim or not same(mask.shape, self.shape[:mask.ndim]):
            raise Error(f"the mask {mask.type} does not fit {self.type}, which it is to select "
                        "from")
        return self._apart()

    def select(self, dim: int, index: int) -> Self:
        """Returns the view at one index along dim, without that dimension."""
        return self[(*self._before(dim), index)]

    def diff(self, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Self:
        """Returns the differences of neighbours along dim, n times; of bools whether they differ.

        prepend, append: arrays that are joined to this one first.
        """
        axis = axis_of(self._type, dim)
        if n == 0:
            return self._apart()
        parts = arrays("diff", *(a for a in (prepend, self, append) if a is not None))
        dtype = result_type(parts)
        x = apply("concat", *(part._cast(dtype) for part in parts), axis=axis)
        for _ in range(n):
            if same(x.shape[axis], 0):
                break
            count = x.shape[axis] - 1
            first, second = x.narrow(axis, 0, count), x.narrow(axis, 1, count)
            x = second.ne(first) if dtype == "bool" else second - first
        return x

    def unfold(self, dimension: int, size: int, step: int = 1) -> Self:
        """Returns the windows of `size` elements, one every `step`, along a dimension.

        The elements of a window are the last dimension of the result, which is no view, unlike
        torch's: where one of the two is changed in place, using the other raises Error.
        Raises Error where the dimension is shorter than a window.
        """
        if self.ndim == 0:
            return self.reshape(1).unfold(0, size, step)[0]
        axis = axis_of(self._type, dimension)
        if step < 1 or size < 0 or extent(self.shape[axis] - size)[1] < 0:
            raise Error(f"unfold cannot take windows of {size}, {step} apart, along axis {axis} of "
                        f"{self.type}")
        starts = apply("iota", shape=(self.shape[axis] - size + 1,), axis=0, dtype="i64")[::step]
        offsets = apply("iota", shape=(size,), axis=0, dtype="i64")
        windows = apply("take", self, starts.unsqueeze(1) + offsets, axis=axis)
        return windows.movedim(axis + 1, -1)._perhaps_apart(self)

    def narrow(self, dim: int, start: int, length: int) -> Self:
        """Returns the view of `length` elements along dim, from `start` on.

        Raises Error where there are fewer.
        """
        size = self.size(dim)
        first = from_zero(start, size)
        known = not any(isinstance(n, DimExpr) for n in (start, length, size))
        if known and not 0 <= first <= first + length <= size:
            raise Error(f"narrow: there are no {length} elements from {start} on along axis {dim} "
                        f"of {self.type}")
        return self[(*self._before(dim), slice(first, first + length))]

    def unbind(self, dim: int = 0) -> tuple[Self, ...]:
        """Returns the views at each index along dim, without that dimension."""
        before = self._before(dim)
        return tuple(self[(*before, i)] for i in range(operator.index(self.size(dim))))

    def split(self, split_size: int | Sequence[Any], dim: int = 0) -> tuple[Self, ...]:
        """Returns views of split_size elements along dim, the last one maybe of fewer.

        split_size: a number, or a list of all sizes. Raises Error where the sizes do not add up.
        """
        length = self.size(dim)
        if isinstance(split_size, Sequence):
            sizes = list(split_size)
            if any(not isinstance(size, DimExpr) and size < 0 for size in sizes):
                raise Error(f"split takes sizes from 0 on, not {sizes}")
        elif split_size > 0 and isinstance(even := divide(length, split_size), int):
            sizes = [split_size] * even if even else [0]
        elif split_size > 0:
            count = max(1, operator.index(rounded_up(length, split_size)))
            sizes = [split_size] * (count - 1)
            sizes.append(length - split_size * (count - 1))
        else:
            raise Error(f"split needs a size above 0, got {split_size}")
        if not same(sum(sizes), length):
            raise Error(f"the sizes {sizes} do not add up to axis {dim} of {self.type}")
        before = self._before(dim)
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return tuple(self[(*before, slice(at, at + size))]
                     for at, size in zip(starts, sizes, strict=True))

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Self, ...]:
        """Returns at most `chunks` views along dim, of equal sizes except for the last.

        Of a symbolic size there are as many as of the example, or else `chunks`; calls check that.
        """
        length = self.size(dim)
        if chunks <= 0:
            raise Error(f"chunk needs a number of parts above 0, got {chunks}")
        even = divide(length, chunks)
        if even is not None:                     # all of them, where the size is 0
            return self.split([even] * chunks, dim)
        part = rounded_up(length, chunks)
        if not isinstance(length, DimExpr):
            return self.split(part, dim)
        count = number_of_chunks(length, part, chunks)
        return self.split([part] * (count - 1) + [length - part * (count - 1)], dim)

    def _before(self, dim: int) -> tuple[slice, ...]:
        return (slice(None),) * axis_of(self._type, dim)

    # -- by number ---------------------------------------------------------------------------------

    def index_select(self, dim: int, index: Any) -> Self:
        """Returns the elements at the indices along dim, given as a vector of int32 or int64.

        Raises Error for other indices; one that is negative or too large raises it where it runs.
        """
        ids = _ids_of("index_select", index)
        if ids.ndim > 1:
            raise Error(f"index_select takes a vector of numbers, not {ids.type}")
        return apply("take", self, ids.reshape(-1), axis=axis_of(self._type, dim))

    def gather(self, dim: int, index: Any) -> Self:
        """Returns result[i, j] = self[index[i, j], j] for dim 0; other ranks and dims likewise.

        index: int32 or int64, of self's rank; along the dimensions other than dim it may be
        smaller.
        Raises Error for another rank; an index that is negative or too large raises it where it
        runs.
        """
        ids = _ids_of("gather", index)
        if ids.ndim == 0 and self.ndim == 1:
            return apply("take", self, ids, axis=axis_of(self._type, dim))
        if ids.ndim != self.ndim:
            raise Error(f"gather needs an index with {self.ndim} axes, not {ids.type}")
        if self.ndim == 0:
            return apply("take", self.reshape(1), ids, axis=0)
        return apply("take_along", self, ids, axis=axis_of(self._type, dim))

    def take_along_dim(self, indices: Any, dim: int | None = None) -> Self:
        """Returns what gather does, but broadcasts other dimensions and takes negative indices.

        Without dim both are flattened.
        """
        ids = _ids_of("take_along_dim", indices)
        if dim is None:
            return self.ravel().take_along_dim(ids.ravel(), 0)
        if ids.ndim != self.ndim:
            raise Error(f"take_along_dim needs indices with {self.ndim} axes, not {ids.type}")
        axis = axis_of(self._type, dim)
        pairs = list(zip(self.shape, ids.shape, strict=True))
        wide = [b if same(a, 1) else a for a, b in pairs]
        x = self.expand(*wide[:axis], self.shape[axis], *wide[axis + 1 :])
        ids = ids.expand(*wide[:axis], ids.shape[axis], *wide[axis + 1 :])
        return apply("take_along", x, _from_end(ids, self.shape[axis]), axis=axis)

    def take(self, index: Any) -> Self:
        """Returns the elements of the flattened array at the indices, which may be negative."""
        return self.ravel()[as_array("take", index)]

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
             ) -> ValuesAndIndices:
        """Returns the k largest or smallest elements along dim as (values, indices).

        NaN counts as the largest. Raises Error where k is above the size.
        """
        if self.ndim == 0:
            return ValuesAndIndices(*(r.reshape(()) for r in self.reshape(1).topk(k)))
        axis, size = axis_of(self._type, dim), self.size(dim)
        if k < 0 or not required(k, "<=", size):
            raise Error(f"topk: there are no {k} elements along axis {dim} of {self.type}")
        ids = apply("topk_ids", self, axis=axis, k=k, largest=bool(largest), sorted=bool(sorted))
        return ValuesAndIndices(apply("take_along", self, ids, axis=axis), ids)

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False
             ) -> ValuesAndIndices:
        """Returns the elements sorted along dim as (values, indices).

        The sort is stable, whether or not that is asked for. NaN counts as the largest.
        """
        if self.ndim == 0:
            return ValuesAndIndices(*(r.reshape(()) for r in self.reshape(1).sort()))
        axis = axis_of(self._type, dim)
        ordered = self._cast("u8") if self._type.dtype == "bool" else self
        ids = apply("topk_ids", ordered, axis=axis, k=self.shape[axis], largest=bool(descending),
                    sorted=True)
        return ValuesAndIndices(apply("take_along", self, ids, axis=axis), ids)

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Self:
        """Returns the indices that sort the array along dim, as int64."""
        indices: Self = self.sort(dim, descending, stable).indices
        return indices

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Self:
        """Returns a view of a diagonal of the dimensions dim1 and dim2, as the last dimension.

        offset: how far the diagonal lies above the main one; negative for below.
        Raises Error for a symbolic size.
        """
        first, second = axes_of(self._type, [dim1, dim2])
        rows, columns = (operator.index(self.shape[axis]) for axis in (first, second))
        others = [axis for axis in range(self.ndim) if axis not in (first, second)]
        line = self.permute([*others, first, second]).view(
            *[self.shape[axis] for axis in others], rows * columns)
        start = offset if offset >= 0 else -offset * columns
        count = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
        step = columns + 1
        return line[..., start : start + (count - 1) * step + 1 : step] if count else line[..., :0]

    def diag(self, diagonal: int = 0) -> Self:
        """Returns a matrix's diagonal, or the matrix with a vector as its diagonal.

        Raises Error for more than two dimensions.
        """
        if self.ndim == 2:
            return self.diagonal(diagonal)._apart()
        if self.ndim != 1:
            raise Error(f"diag takes a vector or a matrix, not {self.type}")
        return self.diag_embed(diagonal)

    def diag_embed(self, offset: int = 0) -> Self:
        """Returns matrices with the last dimension on a diagonal, and 0 elsewhere."""
        if self.ndim == 0:
            raise Error("diag_embed takes an array with dimensions")
        size = self.shape[-1] + abs(offset)
        rows = apply("iota", shape=(size, 1), axis=0, dtype="i64")
        columns = apply("iota", shape=(size,), axis=0, dtype="i64")
        low, high = [0] * self.ndim, [0] * self.ndim
        (low if offset > 0 else high)[-1] = abs(offset)
        padded = apply("pad", self, low=tuple(low), high=tuple(high), value=0.0)
        return apply("where", columns.eq(rows + offset), padded.unsqueeze(-2),
                     self._cast_literal(0.0))

    # -- parts that are zero -----------------------------------------------------------------------

    def tril(self, diagonal: int = 0) -> Self:
        """Returns the lower triangle of the last two dimensions, below a diagonal, and 0 elsewhere.
        """
        below = self._rows() + diagonal >= self._columns()
        return apply("where", below, self, self._cast_literal(0.0))

    def triu(self, diagonal: int = 0) -> Self:
        """Returns the upper triangle of the last two dimensions, above a diagonal, and 0 elsewhere.
        """
        above = self._rows() + diagonal <= self._columns()
        return apply("where", above, self, self._cast_literal(0.0))

    def _rows(self) -> Self:
        if self.ndim < 2:
            raise Error(f"tril and triu take a matrix or more, not {self.type}")
        return apply("iota", shape=(self.shape[-2], 1), axis=0, dtype="i64")

    def _columns(self) -> Self:
        return apply("iota", shape=(self.shape[-1],), axis=0, dtype="i64")

    def _cast_literal(self, value: float) -> Any:
        return value if self._type.dtype != "bool" else constant(value, "bool")


# -- arrays of numbers as an index -----------------------------------------------------------------

def is_array(item: Any) -> bool:
    """Returns whether an item of an index is an array or a list."""
    return isinstance(item, Core | np.ndarray | list)


def indices(item: Any) -> Any:
    """Returns an array of indices as int64: an Array, or an ndarray where the numbers are known.

    Raises Error where they are not integers.
    """
    if isinstance(item, list):
        item = np.asarray(item, None if item else np.int64)
    if item.dtype.kind not in "iu":
        raise Error(f"an array is indexed by integers, not by {item.dtype}")
    return item.astype(np.int64) if isinstance(item, np.ndarray) else item._cast("i64")


def _ids_of(name: str, given: Any) -> Any:
    ids = as_array(name, given)
    if ids.type.dtype not in ("i32", "i64"):
        raise Error(f"{name} takes numbers of i32 or i64, not {ids.type}")
    return ids


def _from_end(ids: Any, size: Dim) -> Any:
    """Returns the indices with negative ones counted from 0.

    Those out of range stay out of range; where the numbers are known already, they raise Error.
    """
    if isinstance(ids._payload, np.ndarray) and not isinstance(size, DimExpr):
        numbers = ids._payload
        if (wrong := numbers[(numbers < -size) | (numbers >= size)]).size:
            raise Error(f"the index {wrong.flat[0]} is out of range for an axis of size {size}")
        if not (numbers < 0).any():
            return ids
        numbers = ids._numbers("an index with negative numbers")
        return Core._array(np.where(numbers < 0, numbers + size, numbers))
    return apply("where", ids < 0, ids + in_graph(size), ids)


def _chosen_from(x: Any, chosen: list[tuple[int, Any]]) -> Any:
    """Returns x indexed by arrays of indices at some of its axes."""
    axes = [axis for axis, _ in chosen]
    first = axes[0] if axes == list(range(axes[0], axes[-1] + 1)) else 0
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    sizes = [x.shape[axis] for axis in axes]
    x = x.permute([*rest[:first], *axes, *rest[first:]])
    ids = flat_ids([i for _, i in chosen], sizes)
    if len(axes) > 1:
        x = x.flatten(first, first + len(axes) - 1)
    return apply("take", x, ids, axis=first)


def flat_ids(chosen: Sequence[Any], sizes: Sequence[Dim]) -> Any:
    """Returns the indices into several axes merged into one; -1 where one of them is out of range.
    """
    first, *others = [_from_end(as_array("an index", i), size)
                      for i, size in zip(chosen, sizes, strict=True)]
    if not others:
        return first
    total, outside = first, (first < 0).logical_or(first >= in_graph(sizes[0]))
    for ids, size in zip(others, sizes[1:], strict=True):
        length = in_graph(size)
        outside = outside.logical_or(ids < 0).logical_or(ids >= length)
        total = total * length + ids
    return apply("where", outside, -1.0, total)


# -- places in sorted arrays -----------------------------------------------------------------------

def searchsorted(sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: Any = None) -> Any:
    """Returns before which element of a sorted sequence each value belongs, int64.

    sorted_sequence: a vector, or sequences along the last dimension, of which each is for the
    values along the last dimension of `input`. right, or side="right": behind what equals the
    value. Each value is compared with the whole sequence.
    Raises Error for arrays of different dtypes or leading sizes.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise Error(f"searchsorted: side={side!r} is neither 'left' nor 'right', or contradicts "
                    f"right={right}")
    ordered = as_array("searchsorted", sorted_sequence)
    if sorter is not None:
        ordered = ordered.take_along_dim(sorter, -1)
    values = input if isinstance(input, Core | np.ndarray) else constant(input, ordered.type.dtype)
    values = as_array("searchsorted", values)
    if values.type.dtype != ordered.type.dtype:
        raise Error(f"searchsorted takes arrays of one type, not {ordered.type} and {values.type}")
    if ordered.ndim == 0 or (ordered.ndim > 1 and not same(ordered.shape[:-1], values.shape[:-1])):
        raise Error(f"searchsorted: the values {values.type} need the leading sizes of the "
                    f"sequences {ordered.type}, or one sequence")
    if ordered.ndim > 1:
        ordered = ordered.unsqueeze(-2)
    each = values.unsqueeze(-1)
    behind = ordered.gt(each) if right or side == "right" else ordered.ge(each)
    count = behind.logical_not().sum(-1)         # NaN is behind every number, as in torch
    return count._cast("i32") if out_int32 else count


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """Returns between which of the sorted boundaries each value lies; see searchsorted."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
