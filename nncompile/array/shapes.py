"""Methods that give the same elements in another shape or order, or repeat them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import numpy as np

from ir import Dim, DimExpr, Error, product, same
from nncompile.array.core import Axes, Core, apply, as_array
from nncompile.array.dtypes import ElementType, name_of
from nncompile.array.elementwise import Elementwise
from nncompile.array.indexing import (
    axes_of,
    axis_of,
    flat,
    quotient,
    whole_multiples,
    without_wildcard,
)
from nncompile.array.sizes import required, size_of_graph, size_seen

_A = TypeVar("_A", bound=Core)


class Shapes(Elementwise):
    """The methods of Array about shapes; sizes are given one by one or as one sequence."""

    def view(self, *given: Any, size: Any = None, dtype: Any = None) -> Self:
        """Returns a view of the same elements, in row-major order, in another shape.

        One size may be -1: the one that fits. Unlike in torch, every array has a view of every
        shape with as many elements. Where a symbolic size T becomes T // 2 and 2, or -1 and 2,
        calls check that it is even.
        Raises Error for another number of elements, or where the size for -1 depends on a symbolic
        size, and for a view of the memory as another dtype.
        """
        if dtype is not None or (len(given) == 1 and isinstance(given[0], ElementType | np.dtype)):
            if name_of(given[0] if dtype is None else dtype) == self._type.dtype:
                return self
            raise Error("view(dtype) reads the bytes of numbers as other numbers, which no graph "
                        "can: to(dtype) converts the numbers")
        wanted = flat(given, size)
        x = self._of_whole_multiples(wanted)
        sizes = without_wildcard(x._type, wanted)
        if same(sizes, self.shape):
            return self
        return apply("reshape", x, shape=sizes)

    def _of_whole_multiples(self, shape: Sequence[Any]) -> Self:
        """Returns the array with the sizes that a reshape to this shape divides as multiples."""
        x = self
        if any(isinstance(size, DimExpr) for size in self.shape):
            sizes = whole_multiples(self._type.shape, list(map(_size, shape)))
            for axis, (size, multiple) in enumerate(zip(self.shape, sizes, strict=True)):
                if not same(size, multiple) and required(size, "==", size_seen(multiple)):
                    x = apply("slice", x, axis=axis, start=0, stop=multiple, step=1)
        return x

    def reshape(self, *given: Any, shape: Any = None) -> Self:
        """Returns the same elements in another shape, as view does.

        Whether the result shares memory depends on strides in torch, so that after a change in
        place of one of the two arrays, using the other raises Error.
        """
        result = self.view(flat(given, shape))
        return result if result is self else result._perhaps_apart(self)

    def view_as(self, other: Self) -> Self:
        """Returns a view in the shape of `other`."""
        return self.view(as_array("view_as", other).shape)

    def reshape_as(self, other: Self) -> Self:
        """Returns the same elements in the shape of `other`."""
        return self.reshape(as_array("reshape_as", other).shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Self:
        """Returns the array with dimensions start_dim to end_dim, both included, merged into one.
        """
        if self.ndim == 0:
            if not {start_dim, end_dim} <= {0, -1}:
                raise Error(f"{self.type} has no axis to flatten")
            return self.reshape(1)
        start, end = axis_of(self._type, start_dim), axis_of(self._type, end_dim)
        if start > end:
            raise Error(f"flatten cannot start at axis {start_dim} and end before it, at {end_dim}")
        one = product(self.shape[start : end + 1])
        return self.reshape(*self.shape[:start], one, *self.shape[end + 1 :])

    def ravel(self) -> Self:
        """Returns the array with all dimensions merged into one."""
        return self.reshape(-1) if self.ndim != 1 else self.reshape(self.shape)

    def unflatten(self, dim: int, sizes: Any) -> Self:
        """Returns the array with one dimension split into several, of which one size may be -1.

        Raises Error where the product of the sizes is not the size of the dimension.
        """
        axis, sizes = axis_of(self._type, dim), list(sizes)
        if not sizes:
            raise Error("unflatten needs one size or more")
        known = [s for s in sizes if isinstance(s, DimExpr) or s != -1]
        size = self.shape[axis]
        whole = whole_multiples([size_of_graph(size)], list(map(_size, sizes)))
        fit: Dim | None
        if known == sizes:
            fit = 1 if same(product(sizes), whole[0]) else None
        else:
            fit = quotient(whole, known) if len(sizes) - len(known) == 1 else None
        if fit is None:
            raise Error(f"unflatten: the sizes {sizes} do not multiply to {size}, the size of "
                        f"axis {dim} of {self.type}")
        sizes = [fit if same(s, -1) else s for s in sizes]
        return self.view(*self.shape[:axis], *sizes, *self.shape[axis + 1 :])

    def unsqueeze(self, dim: int) -> Self:
        """Returns a view with a dimension of size 1 inserted at dim."""
        axis = axis_of(self._type, dim, extra=1)
        return self.view(*self.shape[:axis], 1, *self.shape[axis:])

    def squeeze(self, dim: Axes = None) -> Self:
        """Returns a view without the given dimensions of size 1; by default without all of them.

        Raises Error where it depends on a symbolic size whether it is 1.
        """
        if self.ndim == 0:
            return self.view(())
        axes = axes_of(self._type, range(self.ndim) if dim is None else dim)
        return self.view([size for i, size in enumerate(self.shape)
                          if not (i in axes and size == 1)])

    def permute(self, *given: Any, dims: Any = None) -> Self:
        """Returns a view with the dimensions in another order."""
        axes = axes_of(self._type, flat(given, dims))
        if axes == tuple(range(self.ndim)):
            return self
        return apply("transpose", self, axes=axes)

    def transpose(self, dim0: int, dim1: int) -> Self:
        """Returns a view with two dimensions swapped, as in torch (not as in NumPy)."""
        if self.ndim == 0 and {dim0, dim1} <= {0, -1}:
            return self.permute(())
        axes = list(range(self.ndim))
        first, second = axis_of(self._type, dim0), axis_of(self._type, dim1)
        axes[first], axes[second] = second, first
        return self.permute(axes)

    def swapaxes(self, axis0: int, axis1: int) -> Self:
        """Returns a view with two dimensions swapped; see transpose."""
        return self.transpose(axis0, axis1)

    swapdims = transpose

    def movedim(self, source: Any, destination: Any) -> Self:
        """Returns a view with dimensions moved to other places; the others keep their order."""
        if self.ndim == 0 and source in (0, -1) and destination in (0, -1):
            return self
        sources, targets = axes_of(self._type, source), axes_of(self._type, destination)
        if len(sources) != len(targets):
            raise Error(f"movedim: {source} and {destination} are not equally many axes")
        moved = dict(zip(targets, sources, strict=True))
        rest = iter(i for i in range(self.ndim) if i not in sources)
        return self.permute([moved[i] if i in moved else next(rest) for i in range(self.ndim)])

    moveaxis = movedim

    def t(self) -> Self:
        """Returns a matrix transposed, and a vector as it is.

        Raises Error for more than two dimensions.
        """
        if self.ndim > 2:
            raise Error(f"t() takes a matrix or a vector, not {self.type}")
        return self.T

    @property
    def T(self) -> Self:
        """A view with the dimensions in reverse order."""
        return self.permute(range(self.ndim)[::-1])

    @property
    def mT(self) -> Self:
        """A view with the last two dimensions swapped. Raises Error for a vector."""
        if self.ndim == 1:
            raise Error(f"mT needs a matrix, got {self.type}")
        return self.transpose(-2, -1) if self.ndim else self

    def contiguous(self, memory_format: Any = None) -> Self:
        """Returns the array; see is_contiguous. memory_format has no meaning here."""
        return self._perhaps_apart(self) if self._view_ops else self

    def clone(self, *, memory_format: Any = None) -> Self:
        """Returns a copy. memory_format has no meaning here."""
        return self._apart()

    # -- elements more than once -------------------------------------------------------------------

    def expand(self, *given: Any, size: Any = None) -> Self:
        """Returns a view in which dimensions of size 1, and new ones in front, are repeated.

        A size of -1 keeps the size there is.
        Raises Error where a dimension has neither the size 1 nor the one that is asked for.
        """
        wanted = flat(given, size)
        new = len(wanted) - self.ndim
        if new < 0 or any(same(size, -1) for size in wanted[:new]):
            raise Error(f"cannot expand {self.type} to {wanted}")
        shape = [old if same(size, -1) else size
                 for size, old in zip(wanted, (*wanted[:new], *self.shape), strict=True)]
        if same(shape, list(self.shape)):
            return self
        return apply("expand", self, shape=tuple(shape))

    def expand_as(self, other: Self) -> Self:
        """Returns a view expanded to the shape of `other`."""
        return self.expand(as_array("expand_as", other).shape)

    def broadcast_to(self, *given: Any, size: Any = None) -> Self:
        """Returns a view expanded to the given shape; see expand."""
        return self.expand(*given, size=size)

    def repeat(self, *given: Any, repeats: Any = None) -> Self:
        """Returns the array repeated as a whole, so many times along each dimension.

        More numbers than dimensions add dimensions in front; fewer raise Error.
        """
        times = flat(given, repeats)
        if len(times) < self.ndim:
            raise Error(f"repeat needs a number for each axis of {self.type}, got {times}")
        shape = [1] * (len(times) - self.ndim) + list(self.shape)
        pairs = list(zip(times, shape, strict=True))
        apart = self.reshape([size for _, size in pairs for size in (1, size)])
        return apart.expand([d for pair in pairs for d in pair]).reshape(
            [count * size for count, size in pairs])._apart()

    def tile(self, *given: Any, dims: Any = None) -> Self:
        """Returns the array repeated along its last dimensions, as by repeat."""
        times = flat(given, dims)
        return self.repeat([1] * (self.ndim - len(times)) + times)

    def repeat_interleave(self, repeats: int, dim: int | None = None) -> Self:
        """Returns each element repeated along dim; by default along the flattened array."""
        if dim is None:
            return self.ravel().repeat_interleave(repeats, 0)
        axis = axis_of(self._type, dim)
        count = repeats if isinstance(repeats, DimExpr) else operator.index(repeats)
        wide = [*self.shape[: axis + 1], count, *self.shape[axis + 1 :]]
        return self.unsqueeze(axis + 1).expand(wide).flatten(axis, axis + 1)._apart()

    def flip(self, *given: Any, dims: Any = None) -> Self:
        """Returns the array with the order of elements reversed along the given dimensions."""
        result = self
        for axis in axes_of(self._type, flat(given, dims)) if self.ndim else ():
            result = apply("slice", result, axis=axis, start=self.shape[axis] - 1, stop=-1, step=-1)
        return result._apart()

    def fliplr(self) -> Self:
        """Returns the array reversed along its second dimension."""
        return self.flip(1)

    def flipud(self) -> Self:
        """Returns the array reversed along its first dimension."""
        return self.flip(0)

    def roll(self, shifts: Any, dims: Any = None) -> Self:
        """Returns the array rotated along dimensions; by default along the flattened array.

        Raises Error unless there is one shift for each dimension.
        """
        if dims is None:
            return self.ravel().roll(shifts, 0).reshape(self.shape)
        by, axes = flat([shifts]), flat([dims])
        if len(by) != len(axes):
            raise Error(f"roll needs a shift for each axis, got {by} for {axes}")
        result = self
        for shift, dim in zip(by, axes, strict=True):
            result = _rolled(result, operator.index(shift), axis_of(self._type, dim))
        return result._apart()


def _rolled(x: _A, shift: int, axis: int) -> _A:
    size: Dim = x.shape[axis]
    if not isinstance(size, DimExpr):
        shift = shift % size if size else 0
    if shift == 0:
        return x
    cut = size - shift if shift > 0 else -shift
    parts = [apply("slice", x, axis=axis, start=start, stop=stop, step=1)
             for start, stop in ((cut, size), (0, cut))]
    return apply("concat", *parts, axis=axis)


def _size(given: Any) -> Dim:
    """Returns a size that was given, as the graph has it."""
    size: Dim = size_of_graph(given) if isinstance(given, DimExpr) else operator.index(given)
    return size
