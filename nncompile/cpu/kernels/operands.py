"""A kernel's operands: their outer axes, the dtype that they are moved as, and views in NumPy."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ir.records import dataclass
from ir.types import DTYPES, NDArray
from nncompile.cpu.vector import I64, Emit, Value

Arguments: TypeAlias = dict[str, Value]
Values: TypeAlias = dict[str, Any]         # in NumPy: arrays for pointers, ints


@dataclass(frozen=True)
class OuterAxes:
    """The axes of tensors before those that a kernel works along, `rank` of them.

    As arguments of a kernel they are their sizes d0, d1, ... and each operand's strides, for
    instance y_d0, y_d1, ...
    """

    rank: int

    def signature(self, *operands: str) -> str:
        """Returns the part of a signature with the sizes, then the strides of each operand."""
        sizes = [f"d{i}" for i in range(self.rank)]
        return " ".join([*sizes, *map(self.strides, operands)])

    def strides(self, operand: str) -> str:
        """Returns the part of a signature with an operand's strides."""
        return " ".join(f"{operand}_d{i}" for i in range(self.rank))

    def count(self, e: Emit, a: Arguments) -> Value:
        """Returns the number of outer indices, the product of the sizes."""
        count = I64(1)
        for axis in range(self.rank):
            count = e.b.mul(count, a[f"d{axis}"])
        return count

    def places(self, e: Emit, a: Arguments, index: Value,
               operands: Sequence[str]) -> dict[str, Value]:
        """Returns the offset, in elements, of each operand's part of outer index number `index`."""
        b = e.b
        offsets: dict[str, Value] = dict.fromkeys(operands, I64(0))
        for axis in reversed(range(self.rank)):
            size = a[f"d{axis}"]
            here = b.urem(index, size) if axis else index      # the first axis takes the rest
            index = b.udiv(index, size) if axis else index
            for name in operands:
                offsets[name] = b.add(offsets[name], b.mul(here, a[f"{name}_d{axis}"]))
        return offsets

    def view(self, a: Values, operand: str, shape: Sequence[int],
             strides: Sequence[int]) -> NDArray:
        """Returns an operand in NumPy, with its outer axes in front."""
        sizes = [a[f"d{i}"] for i in range(self.rank)]
        own = [a[f"{operand}_d{i}"] for i in range(self.rank)]
        return strided(a[operand], (*sizes, *shape), (*own, *strides))


def stored(dtype: str) -> str:
    """Returns the dtype to move a dtype's elements as."""
    return "u8" if dtype == "bool" else dtype


def typed(flat: NDArray, dtype: str) -> NDArray:
    """Returns the memory of a 1-D array as elements of a dtype, without an incomplete last one."""
    wanted = DTYPES[dtype]
    if flat.dtype == wanted:
        return flat
    octets = flat.view(np.uint8)
    return octets[:octets.size // wanted.itemsize * wanted.itemsize].view(wanted)


def strided(flat: NDArray, shape: Sequence[int], strides: Sequence[int]) -> NDArray:
    """Returns a view of a 1-D array from its first element on; strides are counted in elements."""
    size = flat.itemsize
    return as_strided(flat, tuple(shape), tuple(size * s for s in strides))
