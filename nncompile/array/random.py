"""Random arrays, drawn by the generator that nncompile.manual_seed seeds or by a given one.

They are for initial values and for training. A graph has no randomness, so a forward that draws
numbers cannot be traced: each function here raises Error in a trace. The numbers are not torch's
for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from ir import DTYPES, Error
from nncompile.array.array import Array, as_array
from nncompile.array.core import DType, check_device
from nncompile.array.dispatch import current
from nncompile.array.dtypes import category, converted, name_of
from nncompile.array.generator import drawing
from nncompile.array.indexing import flat

if TYPE_CHECKING:
    from numpy import random as numpy_random


def drawn(name: str, size: Sequence[Any], dtype: DType, generator: Any,
          draw: Callable[[numpy_random.Generator, tuple[int, ...]], Any],
          default: DTypeLike = float) -> Array:
    """Returns what `draw` draws from a generator, or the default one; `default` is for no dtype.

    Raises Error in a trace, with the name of the function that draws.
    """
    current.get().check_random(name)
    shape = tuple(map(int, size))
    values = draw(drawing(generator), shape)
    return Array(converted(values, DTYPES[name_of(default if dtype is None else dtype)]))


def _floats(name: str, dtype: DType) -> None:
    if dtype is not None and category(name_of(dtype)) != 2:
        raise Error(f"{name} draws floats, not {np.dtype(dtype)}")


def rand(*sizes: Any, size: Any = None, generator: Any = None, dtype: DType = None,
         device: Any = None, requires_grad: bool = False) -> Array:
    """Returns numbers from the uniform distribution on [0, 1); float32 by default."""
    check_device(device)
    _floats("rand", dtype)
    return drawn("rand", flat(sizes, size), dtype, generator, lambda g, shape: g.random(shape)
                  ).requires_grad_(requires_grad)


def randn(*sizes: Any, size: Any = None, generator: Any = None, dtype: DType = None,
          device: Any = None, requires_grad: bool = False) -> Array:
    """Returns numbers from the normal distribution of mean 0 and variance 1; float32 by default."""
    check_device(device)
    _floats("randn", dtype)
    return drawn("randn", flat(sizes, size), dtype, generator,
                  lambda g, shape: g.standard_normal(shape)).requires_grad_(requires_grad)


def rand_like(input: Any, *, dtype: DType = None, device: Any = None,
              generator: Any = None) -> Array:
    """Returns uniform numbers in the shape and, by default, the dtype of the input."""
    x = as_array("rand_like", input)
    return rand(x.shape, dtype=dtype or x.dtype, device=device, generator=generator)


def randn_like(input: Any, *, dtype: DType = None, device: Any = None,
               generator: Any = None) -> Array:
    """Returns normal numbers in the shape and, by default, the dtype of the input."""
    x = as_array("randn_like", input)
    return randn(x.shape, dtype=dtype or x.dtype, device=device, generator=generator)


def randint(low: Any = None, high: Any = None, size: Any = None, *, generator: Any = None,
            dtype: DType = None, device: Any = None) -> Array:
    """Returns integers from low to high - 1, int64 by default; randint(high, size) starts at 0."""
    check_device(device)
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    if high is None or size is None:
        raise TypeError("randint takes a bound and a size: randint(high, size)")
    first, end = low or 0, high
    return drawn("randint", size, dtype, generator,
                  lambda g, shape: g.integers(first, end, shape), default=np.int64)


def randint_like(input: Any, low: int, high: int | None = None, *, dtype: DType = None) -> Array:
    """Returns integers from low to high - 1 in the shape and, by default, the dtype of the input.
    """
    x = as_array("randint_like", input)
    first, end = (0, low) if high is None else (low, high)
    return randint(first, end, x.shape, dtype=dtype or x.dtype)


def randperm(n: int, *, generator: Any = None, dtype: DType = None,
             device: Any = None) -> Array:
    """Returns the numbers 0 to n - 1 in random order; int64 by default."""
    check_device(device)
    return drawn("randperm", (n,), dtype, generator, lambda g, shape: g.permutation(n),
                  default=np.int64)


def normal(mean: Any, std: Any, size: Any = None, *, generator: Any = None) -> Array:
    """Returns normal numbers, float32, with one mean and deviation for all or one for each element.

    size: the shape; by default the one that mean and std broadcast to.
    """
    if size is None:
        given = [a.numpy() if isinstance(a, Array) else a for a in (mean, std)]
        size = np.broadcast_shapes(*(np.shape(a) for a in given))
        mean, std = given
    return drawn("normal", size, None, generator, lambda g, shape: g.normal(mean, std, shape))


def bernoulli(input: Any, *, generator: Any = None) -> Array:
    """Returns 1 with the probability that the input has at each element, and otherwise 0."""
    x = as_array("bernoulli", input)
    p = x._numbers("bernoulli")
    return drawn("bernoulli", p.shape, x.dtype, generator, lambda g, shape: g.random(shape) < p)
