"""What einops does with Arrays: rearrange, reduce, repeat, pack, unpack, einsum.

The module is imported only where a program has imported einops, which is no dependency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from einops._backends import AbstractBackend

from nncompile.array import creation, products
from nncompile.array.array import Array


class ArrayBackend(AbstractBackend):
    """Computes einops's steps with the ops of Arrays, at once or in a trace.

    einops finds it among the subclasses of its AbstractBackend, by `framework_name`.
    """

    framework_name = "nncompile"

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Returns whether this is an Array."""
        return isinstance(tensor, Array)

    def from_numpy(self, x: Any) -> Array:
        """Returns an Array of the same numbers."""
        return Array(np.asarray(x))

    def to_numpy(self, x: Array) -> Any:
        """Returns the numbers as an ndarray. Raises Error in a trace, where there are none."""
        return x.numpy()

    def arange(self, start: int, stop: int) -> Array:
        """Returns the int64 numbers from start up to, and not including, stop."""
        return creation.arange(start, stop)

    def shape(self, x: Array) -> Sequence[Any]:
        """Returns the sizes; a list where some are symbolic.

        einops remembers what it has derived from a tuple of sizes. A list cannot be a key, so
        that nothing which was derived in one trace is used in another.
        """
        return x.shape if all(type(size) is int for size in x.shape) else list(x.shape)

    def reshape(self, x: Array, shape: Sequence[Any]) -> Array:
        """Returns the elements in another shape."""
        return x.reshape(tuple(shape))

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        """Returns the axes in another order."""
        return x.permute(tuple(axes))

    def reduce(self, x: Array, operation: str, axes: Sequence[int]) -> Array:
        """Returns the sum, mean, min, max, prod, any or all over these axes."""
        if operation in ("prod", "any", "all"):                  # torch has them for one axis
            for axis in sorted(axes, reverse=True):
                x = getattr(x, operation)(dim=axis)
            return x
        name = {"min": "amin", "max": "amax"}.get(operation, operation)
        reduced: Array = getattr(x, name)(dim=tuple(axes))
        return reduced

    def stack_on_zeroth_dimension(self, tensors: Sequence[Any]) -> Array:
        """Returns the arrays side by side along a new first axis."""
        return creation.stack(list(tensors))

    def add_axis(self, x: Array, new_position: int) -> Array:
        """Returns the array with a new axis of size 1."""
        return x.unsqueeze(new_position)

    def add_axes(self, x: Array, n_axes: int, pos2len: Mapping[int, Any]) -> Array:
        """Returns the array repeated along new axes, whose sizes are given by position."""
        sizes: list[Any] = [-1] * n_axes
        for position, size in pos2len.items():
            x, sizes[position] = x.unsqueeze(position), size
        return x.expand(tuple(sizes))

    def tile(self, x: Array, repeats: Sequence[int]) -> Array:
        """Returns the array repeated this often along each axis."""
        return x.repeat(tuple(repeats))

    def concat(self, tensors: Sequence[Any], axis: int) -> Array:
        """Returns the arrays one after the other along an axis."""
        return creation.cat(list(tensors), axis)

    def is_float_type(self, x: Array) -> bool:
        """Returns whether the elements are floats, which alone have a mean."""
        return x.is_floating_point()


    def einsum(self, pattern: str, *x: Any) -> Any:
        """Returns the sum of products that the pattern describes."""
        return products.einsum(pattern, *x)
