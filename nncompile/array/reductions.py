"""Reductions: many elements become one, along one dimension, along several, or along all.

The dimensions are called `dim` as in torch or `axis` as in NumPy, and with `keepdim` or `keepdims`
they stay as dimensions of size 1.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from ir import DimExpr, Error, product, same
from nncompile.array.core import Axes, Core, DType, apply, floating, wants_gradient
from nncompile.array.dispatch import current
from nncompile.array.dtypes import Scalar, name_of
from nncompile.array.elementwise import power, root
from nncompile.array.indexing import axes_of, axis_of
from nncompile.array.shapes import Shapes

_A = TypeVar("_A", bound=Shapes)


class ValuesAndIndices(NamedTuple):
    """The result of max, min, sort and topk along a dimension."""

    values: Any
    indices: Any


class _Extremes(NamedTuple):
    """The result of aminmax."""

    min: Any
    max: Any


class Reductions(Shapes):
    """The methods of Array that reduce it, and those that run along a dimension."""

    def sum(self, dim: Axes = None, keepdim: bool = False, *, dtype: DType = None,
            axis: Axes = None, keepdims: bool = False) -> Self:
        """Returns the sum; integers and bools as int64, unless a dtype is given."""
        return self._totalled("sum", dim, axis, keepdim or keepdims, dtype)

    def prod(self, dim: Axes = None, keepdim: bool = False, *, dtype: DType = None,
             axis: Axes = None, keepdims: bool = False) -> Self:
        """Returns the product; integers and bools as int64, unless a dtype is given."""
        return self._totalled("prod", dim, axis, keepdim or keepdims, dtype)

    def mean(self, dim: Axes = None, keepdim: bool = False, *, dtype: DType = None,
             axis: Axes = None, keepdims: bool = False) -> Self:
        """Returns the mean. Raises Error for integers and bools, unless a float dtype is given."""
        x = self if dtype is None else self._cast(name_of(dtype))
        return _floats_only("mean", x)._reduced("mean", dim, axis, keepdim or keepdims)

    def amax(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
             keepdims: bool = False) -> Self:
        """Returns the largest element; NaN where there is one.

        Raises Error for a dimension of size 0.
        """
        return self._extreme("max", dim, axis, keepdim or keepdims)

    def amin(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
             keepdims: bool = False) -> Self:
        """Returns the smallest element; NaN where there is one.

        Raises Error for a dimension of size 0.
        """
        return self._extreme("min", dim, axis, keepdim or keepdims)

    def max(self, dim: Any = None, keepdim: bool = False, *, axis: Axes = None,
            keepdims: bool = False) -> Any:
        """Returns the largest element of all; with dim, (values, indices) along it.

        With an array in place of dim, returns the elementwise maximum. With axis, returns the
        values alone, as NumPy does.
        """
        return self._max_or_min("amax", "argmax", "maximum", dim, axis, keepdim or keepdims)

    def min(self, dim: Any = None, keepdim: bool = False, *, axis: Axes = None,
            keepdims: bool = False) -> Any:
        """Returns the smallest element of all; with dim, (values, indices) along it; see max."""
        return self._max_or_min("amin", "argmin", "minimum", dim, axis, keepdim or keepdims)

    def argmax(self, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
               keepdims: bool = False) -> Self:
        """Returns the index of the first largest element, int64; by default in the flattened one.

        Raises Error for bools.
        """
        return self._arg_extreme("argmax", dim, axis, keepdim or keepdims, numbers=True)

    def argmin(self, dim: int | None = None, keepdim: bool = False, *, axis: int | None = None,
               keepdims: bool = False) -> Self:
        """Returns the index of the first smallest element, int64; by default in the flattened one.

        Raises Error for bools.
        """
        return self._arg_extreme("argmin", dim, axis, keepdim or keepdims, numbers=True)

    def any(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
            keepdims: bool = False) -> Self:
        """Returns whether any element differs from 0, as bool; of uint8 as uint8.

        No dimensions, `dim=()`, leave each element by itself.
        """
        return self._truth("any", dim, axis, keepdim or keepdims)

    def all(self, dim: Axes = None, keepdim: bool = False, *, axis: Axes = None,
            keepdims: bool = False) -> Self:
        """Returns whether all elements differ from 0, as bool; of uint8 as uint8; see any."""
        return self._truth("all", dim, axis, keepdim or keepdims)

    def count_nonzero(self, dim: Axes = None) -> Self:
        """Returns the number of elements that differ from 0, as int64."""
        return self._cast("bool").sum(dim)

    # -- spread and length -------------------------------------------------------------------------

    def var(self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
            correction: Scalar | None = None, axis: Axes = None, keepdims: bool = False) -> Self:
        """Returns the variance, sum((x - mean)^2) / max(0, n - correction).

        correction: 1 if unbiased, else 0, unless it is given. var(False) is the biased variance of
        all elements, as in torch.
        Raises Error for integers and bools.
        """
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        by = float(unbiased) if correction is None else float(correction)
        x, axes = _floats_only("var", self), self._axes("var", dim, axis)
        keep = keepdim or keepdims
        centred = x - apply("mean", x, axes=axes, keepdims=True)
        squares = centred * centred
        if by == 0:
            return apply("mean", squares, axes=axes, keepdims=keep)
        total = apply("sum", squares, axes=axes, keepdims=keep)
        return total.div(_not_negative(x._count(axes) - by))

    def std(self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
            correction: Scalar | None = None, axis: Axes = None, keepdims: bool = False) -> Self:
        """Returns the standard deviation, the square root of var."""
        return root(self.var(dim, unbiased, keepdim, correction=correction, axis=axis,
                             keepdims=keepdims))

    def var_mean(self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
                 correction: Scalar | None = None) -> tuple[Self, Self]:
        """Returns the variance, as by var, and the mean."""
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        return (self.var(dim, unbiased, keepdim, correction=correction), self.mean(dim, keepdim))

    def std_mean(self, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *,
                 correction: Scalar | None = None) -> tuple[Self, Self]:
        """Returns the standard deviation, as by std, and the mean."""
        variance, mean = self.var_mean(dim, unbiased, keepdim, correction=correction)
        return root(variance), mean

    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> _Extremes:
        """Returns the smallest and the largest element as (min, max)."""
        return _Extremes(self.amin(dim, keepdim), self.amax(dim, keepdim))

    def _count(self, axes: tuple[int, ...]) -> Any:
        """Returns the number of elements that a reduction over these axes takes in.

        A number; a zero-dimensional array where it depends on a symbolic size.
        """
        sizes = tuple(self.shape[axis] for axis in axes)
        if not any(isinstance(size, DimExpr) for size in sizes):
            return product(sizes)
        ones = apply("full", 1.0, shape=sizes, dtype=self._type.dtype)
        return apply("sum", ones, axes=tuple(range(len(sizes))), keepdims=False)

    def norm(self, p: Any = "fro", dim: Axes = None, keepdim: bool = False, *,
             axis: Axes = None, keepdims: bool = False) -> Self:
        """Returns the p-norm of vectors, (sum of |x|^p)^(1/p).

        p: "fro" is 2; inf and -inf give the largest and smallest |x|; 0 the number of elements that
        are not 0. Over two dimensions, too, it is the norm of their elements as one vector.
        Raises Error for integers and bools, and for another text than "fro".
        """
        order = 2.0 if p in ("fro", None) else p
        if isinstance(order, str):
            raise Error(f"norm takes p as a number or 'fro', not {p!r}")
        x, axes = _floats_only("norm", self), self._axes("norm", dim, axis)
        if p == "fro" and dim is not None and len(axes) > 2:
            raise Error(f"norm with p='fro' takes one or two axes, not {dim}")
        return _vector_norm(x, float(order), axes, keepdim or keepdims)

    def logsumexp(self, dim: Axes, keepdim: bool = False) -> Self:
        """Returns log(sum(exp(x))), shifted by the largest element so that nothing overflows."""
        x, axes = floating("logsumexp", self), self._axes("logsumexp", dim, None)
        if same(product(x.shape[axis] for axis in axes), 0):
            return apply("sum", x, axes=axes, keepdims=keepdim).log()
        top = apply("max", x, axes=axes, keepdims=True)
        shift = apply("where", apply("isinf", top), 0.0, top)
        sums = apply("sum", (x - shift).exp(), axes=axes, keepdims=keepdim).log()
        return sums.add(shift.reshape(sums.shape))

    # -- along one axis ----------------------------------------------------------------------------

    def cumsum(self, dim: int, *, dtype: DType = None) -> Self:
        """Returns the cumulative sums along dim; integers and bools as int64, by default."""
        x = self._total(dtype)
        return x._apart() if x.ndim == 0 else apply("cumsum", x, axis=axis_of(x.type, dim))

    def cumprod(self, dim: int, *, dtype: DType = None) -> Self:
        """Returns the cumulative products along dim; integers and bools as int64, by default.

        Each of log2(n) steps multiplies all elements by those that stand 1, 2, 4, ... before them.
        Raises Error where the size of the dimension is not known before run time.
        """
        x = self._total(dtype)
        if x.ndim == 0:
            return x._apart()
        axis = axis_of(x.type, dim)
        size = x.shape[axis]
        if isinstance(size, DimExpr):
            raise Error(f"cumprod along axis {axis} of {x.type}: its size is not known before run "
                        "time\n  do: compile for a fixed size of that dimension")
        result, distance = x._apart(), 1
        while distance < size:
            low = tuple(distance * (i == axis) for i in range(x.ndim))
            before = apply("slice", result, axis=axis, start=0, stop=size - distance, step=1)
            before = apply("pad", before, low=low, high=(0,) * x.ndim, value=1.0)
            result, distance = result.mul(before), 2 * distance
        return result

    def softmax(self, dim: int, dtype: DType = None) -> Self:
        """Returns exp(x) / sum(exp(x)) along dim, computed from x - max(x).

        A row of -inf gives NaN.
        """
        return self._along("softmax", dim, dtype, scale=1.0)

    def log_softmax(self, dim: int, dtype: DType = None) -> Self:
        """Returns x - log(sum(exp(x))) along dim, computed from x - max(x)."""
        return self._along("log_softmax", dim, dtype)

    # -- what these share --------------------------------------------------------------------------

    def _axes(self, name: str, dim: Axes, axis: Axes) -> tuple[int, ...]:
        """The axes in order, counted from 0; all of them where none is given."""
        if dim is not None and axis is not None:
            raise Error(f"{name} got both dim={dim} and axis={axis}: they are the same thing")
        given = axis if dim is None else dim
        if self.ndim == 0 and given in (0, -1, (0,), (-1,)):
            return ()
        everything = given is None or (isinstance(given, tuple | list) and not given)
        return tuple(sorted(axes_of(self._type, range(self.ndim) if everything else given)))

    def _reduced(self, op: str, dim: Axes, axis: Axes, keep: bool) -> Self:
        return apply(op, self, axes=self._axes(op, dim, axis), keepdims=bool(keep))

    def _extreme(self, op: str, dim: Axes, axis: Axes, keep: bool) -> Self:
        if self._type.dtype == "bool":
            if any(same(self.shape[a], 0) for a in self._axes(op, dim, axis)):
                raise Error(f"nothing of {self.type} has no largest and no smallest element")
            return self._reduced("any" if op == "max" else "all", dim, axis, keep)
        return self._reduced(op, dim, axis, keep)

    def _max_or_min(self, of_values: str, of_indices: str, of_two: str, dim: Any, axis: Axes,
                    keep: bool) -> Any:
        if isinstance(dim, Core):
            return getattr(self, of_two)(dim)
        if dim is None:
            return getattr(self, of_values)(None, keep, axis=axis)
        indices = self._arg_extreme(of_indices, dim, None, True)
        result = self._at(indices, dim)              # its gradient is that of the element alone
        if not keep and self.ndim:
            indices, result = indices.squeeze(dim), result.squeeze(dim)
        return ValuesAndIndices(result, indices)

    def _at(self, indices: Self, dim: int) -> Self:
        if self.ndim == 0:
            return self._apart()
        return apply("take_along", self, indices, axis=axis_of(self._type, dim))

    def _arg_extreme(self, op: str, dim: int | None, axis: int | None, keep: bool,
                     numbers: bool = False) -> Self:
        given = axis if dim is None else dim
        if numbers and self._type.dtype == "bool":
            raise Error(f"{op} takes numbers, not {self.type}")
        x = self._cast("u8" if self._type.dtype == "bool" else self._type.dtype)
        if given is None or self.ndim == 0:
            index = apply(op, x.ravel(), axis=0, keepdims=False)
            return index.reshape([1] * self.ndim) if keep else index
        return apply(op, x, axis=axis_of(self._type, given), keepdims=bool(keep))

    def _truth(self, op: str, dim: Axes, axis: Axes, keep: bool) -> Self:
        none = (dim if axis is None else axis) in ((), [])           # as torch and NumPy have it
        result = self.ne(0) if none else self._cast("bool")._reduced(op, dim, axis, keep)
        return result._cast("u8") if self._type.dtype == "u8" else result

    def _totalled(self, op: str, dim: Axes, axis: Axes, keep: bool, dtype: DType) -> Self:
        payload = self._payload
        if (dtype is None and isinstance(payload, np.ndarray) and payload.dtype.kind in "biu"
                and not current.get().records):  # NumPy converts as it goes, and copies no array
            total = getattr(payload, op)(self._axes(op, dim, axis), np.int64, keepdims=bool(keep))
            return self._array(np.asarray(total))
        return self._total(dtype)._reduced(op, dim, axis, keep)

    def _total(self, dtype: DType) -> Self:
        if dtype is not None:
            return self._cast(name_of(dtype))
        return self._cast(self._type.dtype if self.is_floating_point() else "i64")

    def _along(self, op: str, dim: int, dtype: DType, **attrs: Any) -> Self:
        x = _floats_only(op, self if dtype is None else self._cast(name_of(dtype)))
        if x.ndim == 0 and dim in (0, -1):
            return apply(op, x.reshape(1), axis=0, **attrs).reshape(())
        return apply(op, x, axis=axis_of(x.type, dim), **attrs)


def _floats_only(name: str, x: _A) -> _A:
    if not x.is_floating_point():
        raise Error(f"{name} takes floats, not {x.type}: cast it, or give a dtype of floats")
    return x


def _not_negative(count: Any) -> Any:
    return count.clamp(min=0) if isinstance(count, Shapes) else max(count, 0)


def _vector_norm(x: _A, p: float, axes: tuple[int, ...], keep: bool) -> _A:
    def reduced(op: str, values: _A) -> _A:
        return apply(op, values, axes=axes, keepdims=bool(keep))

    if p == 2:
        return root(reduced("sum", apply("mul", x, x)))
    if p == inf or p == -inf:
        return reduced("max" if p > 0 else "min", x.abs())
    if p == 0 and wants_gradient(x):             # the gradient is 0, but there is one
        return reduced("sum", apply("where", apply("isnan", x), 1.0, x.sign().abs()))
    if p == 0:
        return reduced("sum", x.ne(0)._cast(x.type.dtype))
    if p == 1:
        return reduced("sum", x.abs())
    if p < 1 and wants_gradient(x):              # the power's is infinite at 0, where torch has 0
        zero = apply("eq", x, 0.0)
        powers = power(apply("where", zero, 1.0, x.abs()), p)
        total = reduced("sum", apply("where", zero, 0.0 if p > 0 else inf, powers))
        return power(total, 1 / p)
    total = reduced("sum", power(x.abs(), p))
    return root(total, p) if p > 1 else power(total, 1 / p)
