"""Operations whose result has a shape that depends on numbers: masks, nonzero, unique.

They need the numbers. While a model is traced these are known in arrays that depend on no input,
such as buffers; the result is then a constant of the graph.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ir import Error
from ir.types import same
from nncompile.array.core import Core
from nncompile.array.indexing import as_tuple, axis_of
from nncompile.array.reductions import Reductions


def is_mask(item: Any) -> bool:
    """Returns whether an item of an index is an array or a list of bool."""
    if isinstance(item, list):
        return bool(item) and all(isinstance(i, bool) for i in item)
    return isinstance(item, Core | np.ndarray) and item.dtype.kind == "b"


class Known(Reductions):
    """The methods of Array whose result has a shape that depends on numbers."""

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """Returns the positions of the elements that differ from 0, int64 [n, ndim], in order.

        as_tuple: one vector for each dimension instead, which together are an index.
        Raises Error in a trace where the array depends on an input.
        """
        numbers = self._numbers("nonzero, whose result has a shape that depends on the data,")
        if as_tuple:                             # torch counts an array of one number as a vector
            return tuple(map(Core._array, np.nonzero(np.atleast_1d(numbers))))
        return Core._array(np.argwhere(numbers))

    def argwhere(self) -> Self:
        """Returns the positions of the elements that differ from 0, int64 [n, ndim]; see nonzero.
        """
        positions: Self = self.nonzero()
        return positions

    def masked_select(self, mask: Any) -> Self:
        """Returns the elements where the mask is true, as a vector; the two broadcast.

        Raises Error in a trace where the mask depends on an input.
        """
        if not is_mask(mask):
            raise Error("masked_select takes a mask of bool")
        wide = self.eq(self).logical_or(mask)    # of the shape that both broadcast to
        there = Core._array(np.broadcast_to(_numbers_of(mask), wide.shape))
        result: Self = self.expand(wide.shape)[there]  # type: ignore[index]
        return result

    def unique(self, sorted: bool = True, return_inverse: bool = False,
               return_counts: bool = False, dim: int | None = None) -> Any:
        """Returns the different elements in order, or with dim the different slices.

        return_inverse: also where in the result each element is. return_counts: also how often each
        occurs. Raises Error in a trace where the array depends on an input.
        """
        numbers = self._numbers("unique, whose result has a shape that depends on the data,")
        axis = None if dim is None else axis_of(self._type, dim)
        values, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True,
                                            axis=axis, equal_nan=False)
        inverse = inverse.reshape(self.shape if axis is None else -1)
        return _several(values, (return_inverse, inverse), (return_counts, counts))

    def unique_consecutive(self, return_inverse: bool = False, return_counts: bool = False,
                           dim: int | None = None) -> Any:
        """Returns the elements without those that equal the one before; otherwise as `unique`."""
        numbers = self._numbers("unique_consecutive, whose result has a shape that depends on the "
                                "data,")
        axis = 0 if dim is None else axis_of(self._type, dim)
        rows = numbers.reshape(-1) if dim is None else np.moveaxis(numbers, axis, 0)
        changes = (rows[1:] != rows[:-1]).any(axis=tuple(range(1, rows.ndim)))
        first = np.concatenate([np.ones(min(len(rows), 1), np.bool_), changes])
        inverse = np.cumsum(first) - 1
        counts = np.bincount(inverse, minlength=int(first.sum()))
        values = np.moveaxis(rows[first], 0, axis)
        inverse = inverse.reshape(self.shape) if dim is None else inverse
        return _several(values, (return_inverse, inverse), (return_counts, counts))

    def bincount(self, weights: Any = None, minlength: int = 0) -> Self:
        """Returns how often each number from 0 on occurs in a vector; with weights, their sums.

        Raises Error for numbers below 0, and in a trace where the array depends on an input.
        """
        numbers = self._numbers("bincount, whose result has a shape that depends on the data,")
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or (numbers < 0).any():
            raise Error(f"bincount takes a vector of integers from 0 on, not {self.type}")
        if weights is None:
            return Core._array(np.bincount(numbers, minlength=minlength))
        given = _numbers_of(weights)
        sums = np.bincount(numbers, given, minlength)
        return Core._array(sums.astype(given.dtype if given.dtype.kind == "f" else np.float64))

    def _without_masks(self, index: Any) -> Any:
        """Returns an index with each mask replaced by the positions where it is true.

        Raises Error where a mask is not of the size of the axes that it selects from.
        """
        items = as_tuple(index)
        if not any(map(is_mask, items)):
            return index
        widths = [0 if i is None or i is ... else np.ndim(i) if is_mask(i) else 1 for i in items]
        result: list[Any] = []
        axis = 0
        for item, width in zip(items, widths, strict=True):
            if not is_mask(item):
                result.append(item)
                axis += self.ndim - sum(widths) if item is ... else width
                continue
            mask = _numbers_of(item)
            if not width or not same(mask.shape, self.shape[axis:axis + width]):
                raise Error(f"a mask of shape {[*mask.shape]} does not fit {self.type}, from whose "
                            f"axis {axis} on it is to select")
            result += np.nonzero(mask)
            axis += width
        return tuple(result)


def _numbers_of(given: Any) -> Any:
    """Returns the numbers of an operand on which the shape of a result depends."""
    if isinstance(given, Core):
        return given._numbers("a mask, which selects as many elements as the data say,")
    return np.asarray(given)


def _several(values: Any, *others: tuple[bool, Any]) -> Any:
    """Returns the values, in a tuple with those of the others that are asked for."""
    wanted = [Core._array(np.asarray(x)) for x in (values, *(x for ask, x in others if ask))]
    return tuple(wanted) if len(wanted) > 1 else wanted[0]
