"""Arrays whose elements are sizes: what a file computes shapes with.

An element is a number or a symbolic size, in a NumPy array of objects, so NumPy's functions that
move elements or apply Python's operators work on them.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error, NDArray
from ir.records import dataclass
from ir.types import Dim, extent, floor_div
from nncompile.array import Array, apply
from nncompile.array.creation import stack

_MOST = 4096                                     # elements: no shape has more than 64


@dataclass(frozen=True)
class Sizes:
    """An array with a symbolic size in it. dtype: that of the array in the file, i32 or i64."""

    elements: NDArray                            # of objects
    dtype: str = "i64"


Known = Array | Sizes


def sizes_or_numbers(elements: Any, dtype: str = "i64") -> Known:
    """Returns an array of sizes; an Array of known numbers where none of them is symbolic.

    Raises Error where there are too many.
    """
    objects = np.asarray(elements, object)
    if objects.size > _MOST:
        raise Error(f"an array of {objects.size} sizes is computed, and at most {_MOST} are "
                    "allowed")
    if any(isinstance(e, DimExpr) for e in objects.flat):
        return Sizes(objects, dtype)
    return Array(np.array(objects.tolist(), DTYPES[dtype]).reshape(objects.shape))


def shape_of(value: Known) -> tuple[Dim, ...]:
    """Returns the shape of an array or of an array of sizes."""
    return value.elements.shape if isinstance(value, Sizes) else value.type.shape


def objects_of(value: Known) -> NDArray:
    """Returns the elements as objects: Python's integers and symbolic sizes."""
    if isinstance(value, Sizes):
        return value.elements
    numbers = value.numpy()
    objects = np.empty(numbers.shape, object)
    objects[...] = numbers
    return objects


def dims(elements: NDArray) -> list[Dim]:
    """Returns a vector of sizes or whole numbers as a list. Raises Error for any other array."""
    if elements.ndim > 1 or elements.dtype.kind not in "iuO":
        raise Error(f"a list of sizes is a vector of whole numbers, not an array of "
                    f"{elements.dtype} with {elements.ndim} axes")
    return [e if isinstance(e, DimExpr) else int(e) for e in elements.ravel().tolist()]


def whole_numbers(elements: NDArray, what: str) -> list[int]:
    """Returns a vector of whole numbers as a list. Raises Error where one is symbolic."""
    numbers = dims(elements)
    for number in numbers:
        if isinstance(number, DimExpr):
            raise Error(f"{what} has to be a number, not the size {number}: "
                        f"shapes={{...}} can give it one")
    return [int(number) for number in numbers]


# -- computing with sizes --------------------------------------------------------------------------

def elementwise(function: Callable[..., Any], *operands: NDArray) -> NDArray:
    """Returns a function of each element; the arrays broadcast."""
    return np.asarray(np.frompyfunc(function, len(operands), 1)(*operands))


def truncated(a: Dim, b: Dim) -> Dim:
    """Returns a / b rounded towards 0. Raises Error where that is not one size."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise Error("a size is divided by 0")
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if extent(a)[0] < 0 or extent(b)[0] < 0:
        raise Error(f"whether {a} and {b} are negative is not known before run time")
    return floor_div(a, b) if isinstance(b, int) else a // b


def remainder(a: Dim, b: Dim) -> Dim:
    """Returns a - b * floor(a / b). Raises Error where that is not one size."""
    if isinstance(a, int) and isinstance(b, int) and b:
        return a % b
    return a - truncated(a, b) * b


def size_in_graph(size: Dim, dtype: str = "i64") -> Array:
    """Returns a size as an array without dimensions, which a call computes where it is symbolic."""
    if not isinstance(size, DimExpr):
        return Array(np.array(size, DTYPES[dtype]))
    number: Array = apply("size", dim=size)
    return number._cast(dtype)


def in_graph(sizes: Sizes) -> Array:
    """Returns an array of sizes as an array of the graph, which a call computes."""
    parts = [size_in_graph(e, sizes.dtype) for e in sizes.elements.ravel().tolist()]
    return stack(parts).reshape(sizes.elements.shape)


def total(elements: Iterable[Dim]) -> Dim:
    """Returns the sum of sizes."""
    zero: Dim = 0
    return reduce(lambda a, b: a + b, elements, zero)
