"""Random arrays, drawn by the generator that nncompile.manual_seed seeds or by a given one.

They are for initial values and for training. A graph for inference has no randomness, so a forward
that draws numbers cannot be traced for that: each function here raises Error then. A training step
draws by the op `uniform`. The numbers are not torch's for the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from ir import DTYPES, FLOATS, Error, NDArray, TensorType
from nncompile.array.array import Array, as_array
from nncompile.array.core import DType, check_device
from nncompile.array.dispatch import current
from nncompile.array.dtypes import category, converted, name_of
from nncompile.array.generator import drawing
from nncompile.array.indexing import flat
from nncompile.array.sizes import size_of_graph
from nncompile.errors import InputError

if TYPE_CHECKING:
    from numpy import random as numpy_random


def drawn(name: str, size: Sequence[Any], dtype: DType, generator: Any,
          draw: Callable[[numpy_random.Generator, tuple[int, ...]], Any],
          default: DTypeLike = float, of_uniform: Callable[[Array], Array] | None = None,
          each: int = 1) -> Array:
    """Returns what `draw` draws from a generator, or the default one; `default` is for no dtype.

    of_uniform: makes the same of uniform numbers on [0, 1), of which a training step has its own:
    of an array of the size, or where `each` element needs several, of one with that axis in front.
    Raises Error in any other trace, with the name of the function that draws.
    """
    if of_uniform is not None and generator is None and current.get().differentiates:
        wanted = name_of(default if dtype is None else dtype)
        shape = (*([each] if each > 1 else []), *size)
        numbers = uniform(shape, wanted if category(wanted) == 2 else "f32")
        return of_uniform(numbers).to(DTYPES[wanted])
    current.get().check_random(name)
    shape = tuple(map(int, size))
    values = draw(drawing(generator), shape)
    return Array(converted(values, DTYPES[name_of(default if dtype is None else dtype)]))


def uniform(size: Sequence[Any], dtype: str) -> Array:
    """Returns uniform numbers on [0, 1), which a training step that is traced draws."""
    return Array(current.get().uniform(TensorType(dtype, size_of_graph(tuple(size)))))


def gaussian(u: Array) -> Array:
    """Returns numbers of the normal distribution, one for each of twice as many uniform ones.

    u: [2, ...]. Box and Muller, A Note on the Generation of Random Normal Deviates (1958).
    """
    radius = (1 - u[0]).log().mul(-2).sqrt()
    return radius.mul(u[1].mul(2 * math.pi).cos())


def _floats(name: str, dtype: DType) -> None:
    if dtype is not None and category(name_of(dtype)) != 2:
        raise Error(f"{name} draws floats, not {np.dtype(dtype)}")


def rand(*sizes: Any, size: Any = None, generator: Any = None, dtype: DType = None,
         device: Any = None, requires_grad: bool = False) -> Array:
    """Returns numbers from the uniform distribution on [0, 1); float32 by default."""
    check_device(device)
    _floats("rand", dtype)
    return drawn("rand", flat(sizes, size), dtype, generator, lambda g, shape: g.random(shape),
                 of_uniform=lambda u: u).requires_grad_(requires_grad)


def randn(*sizes: Any, size: Any = None, generator: Any = None, dtype: DType = None,
          device: Any = None, requires_grad: bool = False) -> Array:
    """Returns numbers from the normal distribution of mean 0 and variance 1; float32 by default."""
    check_device(device)
    _floats("randn", dtype)
    return drawn("randn", flat(sizes, size), dtype, generator,
                 lambda g, shape: g.standard_normal(shape), of_uniform=gaussian, each=2
                 ).requires_grad_(requires_grad)


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
    return drawn("randint", size, dtype, generator, lambda g, shape: g.integers(first, end, shape),
                 default=np.int64, of_uniform=lambda u: u.mul(end - first).floor().add(first))


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
    if current.get().differentiates and generator is None:
        zeros = Array(np.zeros((), np.float32)).mul(std).add(mean)       # of the shape of both
        return randn(*zeros.shape if size is None else size).mul(std).add(mean)
    if size is None:
        given = [a.numpy() if isinstance(a, Array) else a for a in (mean, std)]
        size = np.broadcast_shapes(*(np.shape(a) for a in given))
        mean, std = given
    return drawn("normal", size, None, generator, lambda g, shape: g.normal(mean, std, shape))


def bernoulli(input: Any, *, generator: Any = None) -> Array:
    """Returns 1 with the probability that the input has at each element, and otherwise 0."""
    x = as_array("bernoulli", input)
    if current.get().differentiates and generator is None:
        return uniform(x.shape, x.type.dtype).lt(x)._cast(x.type.dtype)
    p = x._numbers("bernoulli")
    return drawn("bernoulli", p.shape, x.dtype, generator, lambda g, shape: g.random(shape) < p)


def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None
                ) -> Array:
    """Returns int64 indices that are drawn with the probabilities of the weights: [..., samples].

    input: weights [C] or [N, C], which need no sum of 1. replacement: whether an index may be drawn
    twice in a row; without it, each is drawn by the weights of those that are left, and the indices
    of weight 0 come last. Source: Efraimidis and Spirakis, Weighted random sampling with a
    reservoir (2006).
    Raises InputError for other shapes, for weights that are negative, infinite or NaN, for a
    row of zeros, and for more samples than there are; a training step does not look at the weights.
    """
    x = as_array("multinomial", input).detach()
    _check_choice(x, num_samples, replacement)
    tracing = current.get().differentiates and generator is None
    if not tracing:
        weights = x._numbers("multinomial")
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise InputError("multinomial: a weight is negative, infinite or NaN")
        if not (weights > 0).any(-1).all():
            raise InputError("multinomial: all weights of a row are 0")
        if replacement:
            return _by_sums(weights, num_samples, generator)
    shape = (*x.shape[:-1], *([num_samples] if replacement else []), x.shape[-1])
    u = drawn("multinomial", shape, x.dtype, generator, lambda g, size: g.random(size),
              of_uniform=lambda u: u)
    race = (x.unsqueeze(-2) if replacement else x) / exponential(u)
    return race.argmax(-1) if replacement else race.topk(num_samples, -1)[1]


def exponential(u: Array) -> Array:
    """Returns positive numbers of the exponential distribution, one for each uniform one."""
    return (1 - u).log().neg().clamp(min=1e-30)


def _check_choice(x: Array, count: int, replacement: bool) -> None:
    """Raises InputError where no indices can be drawn by weights of this type."""
    if x.ndim not in (1, 2) or x.type.dtype not in FLOATS:
        raise InputError(f"multinomial takes weights [C] or [N, C] of floats, not {x.type}")
    if not isinstance(count, int) or count < 1:
        raise InputError(f"cannot sample n_sample <= 0 samples: {count!r}")
    size = x.type.shape[-1]
    if not replacement and isinstance(size, int) and count > size:
        raise InputError("cannot sample n_sample > prob_dist.size(-1) samples without replacement: "
                         f"{count} of {size}")


def _by_sums(weights: NDArray, count: int, generator: Any) -> Array:
    """Draws with replacement where the numbers are known: a search in the sums of the weights."""
    rows = weights.reshape(-1, weights.shape[-1]).astype(np.float64)
    u = drawing(generator).random((len(rows), count))
    found = np.empty(u.shape, np.int64)
    for row, numbers, into in zip(rows, u, found, strict=True):
        sums = np.cumsum(row)
        below = np.minimum(numbers * sums[-1], np.nextafter(sums[-1], 0))
        into[:] = np.searchsorted(sums, below, side="right")
    return Array(found.reshape(*weights.shape[:-1], count))
