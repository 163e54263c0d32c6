"""Sizes and strides of arrays, counted in elements."""
from __future__ import annotations

from collections.abc import Sequence

from ir.types import Dim, same

_NARROW = 4                    # inner dimensions below this are not vectorised


def row_major(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """Returns the strides of a contiguous array."""
    sizes: list[Dim] = [1]                       # of the last axes, of one more each time
    for dim in reversed(shape[1:]):
        sizes.append(sizes[-1] * dim)
    return tuple(reversed(sizes[:len(shape)]))


def collapsed(shape: Sequence[Dim], strides: Sequence[Sequence[Dim]]
              ) -> tuple[tuple[Dim, ...], list[tuple[Dim, ...]]]:
    """Returns arrays of one shape in the fewest dims: the shape, and the strides of each array.

    Dims of size 1 are left out, and a dim is merged with the next if all strides allow it.
    """
    dims: list[Dim] = []
    columns: list[tuple[Dim, ...]] = []          # of a dim: each array's stride
    for size, column in zip(shape, zip(*strides, strict=True), strict=True):
        if same(size, 1):
            continue
        if dims and same(columns[-1], tuple([size * inner for inner in column])):
            dims[-1], columns[-1] = dims[-1] * size, column
        else:
            dims.append(size)
            columns.append(column)
    return tuple(dims), list(zip(*columns, strict=True)) or [()] * len(strides)


def merged(shape: Sequence[Dim], strides: Sequence[Dim]) -> tuple[Dim, Dim] | None:
    """Returns the size and stride of several dims merged to one, or None if that is impossible."""
    dims, (found,) = collapsed(shape, [strides])
    return (dims[0], found[0]) if len(dims) == 1 else None if dims else (1, 1)


def is_narrow(dim: Dim) -> bool:
    """Whether an inner dimension is known to be too small to be vectorised."""
    return isinstance(dim, int) and dim < _NARROW
