"""Changes in place: x[0] = y, x += y, and the methods whose names end in _.

Views see the change, and so does what the array is a view of; see nncompile.array.storage. The
dtype and the shape of the array stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from ir import DimExpr, Error, product, same
from nncompile.array.chosen import Chosen, written
from nncompile.array.core import Core, apply, as_array, filled, in_graph, in_type, operand
from nncompile.array.dispatch import current
from nncompile.array.dtypes import Scalar, category, converted
from nncompile.array.generator import drawing
from nncompile.array.indexing import as_tuple, axis_of, index_items
from nncompile.array.known import is_mask
from nncompile.array.products import Products
from nncompile.array.selection import flat_ids, indices, is_array
from nncompile.array.sizes import is_traced

if TYPE_CHECKING:
    from numpy.random import Generator

_A = TypeVar("_A", bound=Products)


def _changing(name: str) -> Callable[..., Any]:
    """Makes the in-place form of the method of that name."""
    def method(self: Inplace, *args: Any, **kwargs: Any) -> Any:
        return self._become(f"{name}_", getattr(self._as_it_was(), name)(*args, **kwargs))

    method.__name__ = method.__qualname__ = f"{name}_"
    vars(method)["_in_place_of"] = name
    method.__doc__ = f"Writes the result of {name} in place of the elements; returns the array."
    return method


def _reshaping(name: str) -> Callable[..., Any]:
    """Makes the in-place form of a method that returns a view: the array becomes that view."""
    def method(self: Inplace, *args: Any, **kwargs: Any) -> Any:
        view = getattr(self, name)(*args, **kwargs)
        self._view_ops, self._version, self._seen = view._view_ops, view._version, view._seen
        return self

    method.__name__ = method.__qualname__ = f"{name}_"
    vars(method)["_in_place_of"] = name
    method.__doc__ = f"Gives the array the shape that {name} gives it; returns the array."
    return method


class Inplace(Products):
    """The methods of Array that change it."""

    add_, sub_, mul_, div_ = map(_changing, ("add", "sub", "mul", "div"))
    fmod_ = _changing("fmod")
    lgamma_, digamma_ = map(_changing, ("lgamma", "digamma"))
    floor_divide_, remainder_, pow_ = map(_changing, ("floor_divide", "remainder", "pow"))
    exp_, expm1_, log_, log1p_ = map(_changing, ("exp", "expm1", "log", "log1p"))
    sqrt_, rsqrt_, square_, reciprocal_ = map(_changing, ("sqrt", "rsqrt", "square", "reciprocal"))
    sin_, cos_, tanh_, sigmoid_, erf_ = map(_changing, ("sin", "cos", "tanh", "sigmoid", "erf"))
    abs_, neg_, sign_, relu_ = map(_changing, ("abs", "neg", "sign", "relu"))
    floor_, ceil_, round_, trunc_ = map(_changing, ("floor", "ceil", "round", "trunc"))
    clamp_, clip_, nan_to_num_ = map(_changing, ("clamp", "clip", "nan_to_num"))
    masked_fill_, tril_, triu_ = map(_changing, ("masked_fill", "tril", "triu"))
    scatter_, scatter_add_, cumsum_ = map(_changing, ("scatter", "scatter_add", "cumsum"))
    index_add_, lerp_ = _changing("index_add"), _changing("lerp")
    addcmul_, addcdiv_ = _changing("addcmul"), _changing("addcdiv")
    addmm_, baddbmm_ = _changing("addmm"), _changing("baddbmm")
    logical_and_, logical_or_ = _changing("logical_and"), _changing("logical_or")
    logical_xor_, logical_not_ = _changing("logical_xor"), _changing("logical_not")
    absolute_, negative_, frac_ = map(_changing, ("absolute", "negative", "frac"))
    acos_, acosh_, asin_, asinh_ = map(_changing, ("acos", "acosh", "asin", "asinh"))
    atan_, atanh_, tan_, sinh_, cosh_ = map(_changing, ("atan", "atanh", "tan", "sinh", "cosh"))
    erfc_, exp2_, log2_, log10_ = map(_changing, ("erfc", "exp2", "log2", "log10"))
    clamp_min_, clamp_max_ = _changing("clamp_min"), _changing("clamp_max")
    copysign_, cumprod_ = _changing("copysign"), _changing("cumprod")
    bitwise_and_, bitwise_or_ = _changing("bitwise_and"), _changing("bitwise_or")
    bitwise_xor_, bitwise_not_ = _changing("bitwise_xor"), _changing("bitwise_not")
    bitwise_left_shift_ = _changing("bitwise_left_shift")
    bitwise_right_shift_ = _changing("bitwise_right_shift")
    fmod_, atan2_, arctan2_ = _changing("fmod"), _changing("atan2"), _changing("arctan2")
    hypot_, xlogy_, heaviside_ = map(_changing, ("hypot", "xlogy", "heaviside"))
    erfinv_ = _changing("erfinv")
    arcsin_, arccos_, arctan_ = map(_changing, ("arcsin", "arccos", "arctan"))
    arcsinh_, arccosh_, arctanh_ = map(_changing, ("arcsinh", "arccosh", "arctanh"))
    fix_ = _changing("fix")
    eq_, ne_, lt_, le_, gt_, ge_ = map(_changing, ("eq", "ne", "lt", "le", "gt", "ge"))
    less_, less_equal_, not_equal_ = map(_changing, ("less", "less_equal", "not_equal"))
    greater_, greater_equal_ = _changing("greater"), _changing("greater_equal")
    subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_

    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_
    __ifloordiv__, __imod__, __ipow__ = floor_divide_, remainder_, pow_
    __iand__, __ior__, __ixor__ = map(_changing, ("bitwise_and", "bitwise_or", "bitwise_xor"))
    __ilshift__, __irshift__ = _changing("bitwise_left_shift"), _changing("bitwise_right_shift")

    squeeze_, unsqueeze_, t_ = _reshaping("squeeze"), _reshaping("unsqueeze"), _reshaping("t")
    transpose_, swapaxes_ = _reshaping("transpose"), _reshaping("swapaxes")
    swapdims_ = _reshaping("swapdims")

    def __imatmul__(self, other: Any) -> Self:
        """Returns self @ other: as in torch, `x @= y` assigns to the name x and changes no array.
        """
        return self.matmul(other)

    def _become(self, name: str, result: Self) -> Self:
        """Writes the result of an operation in place of these elements, in their dtype.

        Raises Error where the shape would change, or where the result's dtype is of a higher
        category: bool, integer, float.
        """
        if not same(result.shape, self.shape):
            raise Error(f"{name} would change {self.type} into {result.type}, and in place an "
                        "array keeps its shape")
        if category(result.type.dtype) > category(self._type.dtype):
            raise Error(f"{name} would put {result.type} into {self.type}, whose type cannot hold "
                        "it: cast one of them, or write x = f(x)")
        return self._write(name, result._cast(self._type.dtype))

    def copy_(self, src: Any, non_blocking: bool = False) -> Self:
        """Writes the elements of src, which broadcasts, converted to this array's dtype."""
        given = operand("copy_", src)
        if isinstance(given, Core) and given.ndim > self.ndim:
            raise Error(f"{given.type} does not fit into {self.type}")
        return self._write("copy_", self._filled(given))

    def fill_(self, value: Any) -> Self:
        """Writes one number everywhere. Raises Error for an array with dimensions."""
        given = operand("fill_", value)
        if isinstance(given, Core) and given.ndim:
            raise Error(f"fill_ takes one number, not {given.type}")
        return self._write("fill_", self._filled(given))

    def zero_(self) -> Self:
        """Writes 0 everywhere."""
        return self.fill_(0)

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
                ) -> Self:
        """Writes numbers from the normal distribution. Raises Error in a trace."""
        return self._drawn("normal_", generator, lambda g: g.normal(mean, std, self.shape))

    def uniform_(self, *bounds: float, generator: Generator | None = None, **to: float) -> Self:
        """Writes numbers from the uniform distribution on [from, to), by default [0, 1).

        Raises Error in a trace.
        """
        low, high = [*bounds, *[0.0, 1.0][len(bounds):]][:2]
        low, high = to.pop("from", low), to.pop("to", high)
        if to or len(bounds) > 2:
            raise TypeError("Tensor.uniform_() takes from, to and generator, and got an unexpected "
                            f"argument: {[*to, *bounds[2:]][0]!r}")
        if low > high:
            raise Error(f"uniform_ needs from <= to, got {low} and {high}")
        return self._drawn("uniform_", generator, lambda g: g.uniform(low, high, self.shape))

    def bernoulli_(self, p: float = 0.5, *, generator: Generator | None = None) -> Self:
        """Writes 1 with probability p and otherwise 0. Raises Error in a trace."""
        return self._drawn("bernoulli_", generator, lambda g: g.random(self.shape) < p)

    def exponential_(self, lambd: float = 1.0, *, generator: Generator | None = None) -> Self:
        """Writes numbers from the exponential distribution of rate lambd. Raises Error in a trace.
        """
        if not lambd > 0:
            raise Error(f"exponential_ needs lambd > 0, got {lambd}")
        return self._drawn("exponential_", generator,
                           lambda g: g.exponential(1 / lambd, self.shape))

    def random_(self, low: int, high: int | None = None, *, generator: Generator | None = None
                ) -> Self:
        """Writes random integers from low to high - 1; random_(high) starts at 0.

        Raises Error in a trace.
        """
        first, end = (0, low) if high is None else (low, high)
        return self._drawn("random_", generator, lambda g: g.integers(first, end, self.shape))

    def _drawn(self, name: str, generator: Generator | None, draw: Callable[[Generator], Any]
               ) -> Self:
        current.get().check_random(name)
        values = draw(drawing(generator))
        return self._write(name, Core._array(converted(values, self.dtype)))

    def _filled(self, given: Any) -> Self:
        """Returns a number or an array in the shape and the dtype of this one."""
        if is_traced(given):
            given = in_type(given, self._type.dtype)
        if not isinstance(given, Inplace):
            number = converted(given, self.dtype).item()
            return filled(self.shape, number, self.dtype)
        if given.ndim > self.ndim:               # leading axes of size 1 are dropped
            extra = given.ndim - self.ndim
            if not same(given.shape[:extra], [1] * extra):
                raise Error(f"{given.type} does not fit into {self.type}")
            given = given.reshape(given.shape[extra:])
        result: Self = given._cast(self._type.dtype).expand(self.shape)
        return result

    # -- items -------------------------------------------------------------------------------------

    def __setitem__(self, index: Any, value: Any) -> None:
        """Writes to the elements that self[index] selects, or where a mask of bool is true.

        Where arrays of indices name an element twice, the last value counts. With a mask, `value`
        is one number or broadcasts to the dimensions behind the mask's.
        In a trace, where a mask depends on an input, it may also be what the same mask chose, as in
        y[mask] = 2 * x[mask]; other arrays of as many elements raise Error.
        """
        if isinstance(value, Chosen):
            self._write("an assignment to an item", written(value, self, index))
            return
        masks = sum(map(is_mask, as_tuple(index)))
        if masks == 1 and self._set_masked(index, value):
            return
        index = self._without_masks(index)
        chosen = any(is_array(i) for i in as_tuple(index))
        if chosen:
            self._set_chosen(index, value)
            return
        target = self[index]
        target._write("an assignment to an item", target._filled(operand("an item", value)))

    def _set_masked(self, index: Any, value: Any) -> bool:
        """Writes one number, or what broadcasts, where a mask is true; False if it is neither."""
        given = operand("an item", value)
        if any(i is ... or (is_array(i) and not is_mask(i)) for i in as_tuple(index)):
            return False
        items: list[Any] = []
        axis, mask = 0, None
        for item in as_tuple(index):
            if not is_mask(item):
                items.append(item)
                continue
            mask = as_array("a mask", np.asarray(item) if isinstance(item, list) else item)
            axis = sum(isinstance(i, slice) or i is None for i in items)
            items += [slice(None)] * mask.ndim
        assert mask is not None
        target, end = self[tuple(items)], axis + mask.ndim
        if not same(mask.shape, target.shape[axis:end]):
            raise Error(f"the mask {mask.type} does not fit {target.type}, which it is to select "
                        "from")
        rest = target.ndim - end
        if isinstance(given, Inplace) and given.ndim > rest:
            if not same(product(given.shape[: given.ndim - rest]), 1):
                return False
            given = given.reshape(given.shape[given.ndim - rest :])
        if not isinstance(given, Core):
            given = target._filled(given)
        picked = apply("where", mask.reshape(*mask.shape, *[1] * rest),
                       given._cast(self._type.dtype), target)
        target._write("an assignment to an item", picked)
        return True

    def _set_chosen(self, index: Any, value: Any) -> None:
        """Writes to the elements that arrays of indices select, the inverse of `__getitem__`."""
        basic, chosen = [], []
        axis = 0
        for item in index_items(self.type, index):
            if item is not None and is_array(item):
                chosen.append((axis, as_array("an index", indices(item))))
                basic.append(slice(None))
            else:
                basic.append(item)
            axis += item is None or isinstance(item, slice) or is_array(item)
        target = self[tuple(basic)]
        axes = [axis for axis, _ in chosen]
        first = axes[0] if axes == list(range(axes[0], axes[-1] + 1)) else 0
        others = [axis for axis in range(target.ndim) if axis not in axes]
        order = [*others[:first], *axes, *others[first:]]
        moved = target.permute(order)
        ids = flat_ids([i for _, i in chosen], [target.shape[axis] for axis in axes])
        flat = moved.view(*moved.shape[:first], product(moved.shape[first : first + len(axes)]),
                          *moved.shape[first + len(axes) :])
        wanted = (*flat.shape[:first], *ids.shape, *flat.shape[first + 1 :])
        given = operand("an item", value)
        if isinstance(given, Core) and given.ndim > len(wanted):
            raise Error(f"{given.type} does not fit into the chosen {list(wanted)}")
        if isinstance(given, Core) and ids.ndim and given.type.dtype != self._type.dtype:
            raise Error(f"items of {self.type} that are chosen by numbers cannot be {given.type}: "
                        "cast it")
        values = filled(wanted, 0, self.dtype)._filled(given)
        values = values.flatten(first, first + ids.ndim - 1) if ids.ndim else (
            values.unsqueeze(first))
        placed = _put(flat, first, ids.ravel(), values).view(moved.shape)
        moved._write("an assignment to an item", placed)

    # -- by number ---------------------------------------------------------------------------------

    def scatter(self, dim: int, index: Any, src: Any = None, *, value: Any = None,
                reduce: str | None = None) -> Self:
        """Returns self with src[i, j] at [index[i, j], j] for dim 0; other ranks and dims likewise.

        src: an array of self's dtype, or one number as src or value. Where several elements go to
        one place the last one counts. Each place looks through the whole index along dim: O(size *
        indices) work.
        Raises Error where the index has other sizes than self on other dimensions, and for
        `reduce`; an index out of range raises it where it runs.
        """
        if reduce is not None:
            raise Error("scatter has no reduce: scatter_add is there")
        given, axis = src if value is None else value, axis_of(self._type, dim)
        hits, source = self._targets("scatter", dim, index, given)
        taken = apply("take_along", _one_more(source, axis), _last_of(hits, axis), axis=axis)
        return apply("where", hits.any(axis), taken, self)

    def scatter_add(self, dim: int, index: Any, src: Any) -> Self:
        """Returns self with src[i, j] added at [index[i, j], j] for dim 0; otherwise as scatter."""
        hits, source = self._targets("scatter_add", dim, index, src)
        axis = axis_of(self._type, dim)
        zero = apply("full", 0.0, shape=(), dtype=self._type.dtype)
        return self.add(apply("where", hits, source.unsqueeze(axis + 1), zero).sum(
            axis, dtype=self.dtype))

    def index_add(self, dim: int, index: Any, source: Any, *, alpha: Scalar = 1) -> Self:
        """Returns self with alpha * source[k] added at index[k] along dim."""
        axis, ids, given = axis_of(self._type, dim), as_array("index_add", index), as_array(
            "index_add", source)
        if ids.ndim != 1 or not same(given.shape[axis], ids.shape[0]):
            raise Error(f"index_add takes a vector of as many numbers as {given.type} has along "
                        f"axis {dim}, not {ids.type}")
        wide = ids.view(-1, *[1] * (self.ndim - 1 - axis)).expand(given.shape)
        return self.scatter_add(axis, wide, given if alpha == 1 else given.mul(alpha))

    def _targets(self, name: str, dim: int, index: Any, src: Any) -> tuple[Self, Self]:
        """Returns which places each index hits, bool [.., K, size, ..], and what goes there."""
        axis, ids = axis_of(self._type, dim), as_array(name, index)
        others = [a for i, a in enumerate(self.shape) if i != axis]
        if ids.ndim != self.ndim or not same(
                [a for i, a in enumerate(ids.shape) if i != axis], others):
            raise Error(f"{name} along axis {dim} of {self.type} needs an index with the same "
                        f"other sizes, not {ids.type}")
        given = operand(name, src)
        if isinstance(given, Inplace):
            if given.type.dtype != self._type.dtype:
                raise Error(f"{name} takes two arrays of one type, not {self.type} and "
                            f"{given.type}")
            if given.ndim != ids.ndim:
                raise Error(f"{name} needs as many axes in {given.type} as in {ids.type}")
            given = given[tuple(slice(0, size) for size in ids.shape)]
        else:
            given = filled(ids.shape, 0, self.dtype)._filled(given)
        numbers = apply("iota", shape=(self.shape[axis],), axis=0, dtype="i64")
        ids = apply("take", numbers, ids._cast("i64"), axis=0)    # an index out of range raises
        wide = numbers.reshape(-1, *[1] * (self.ndim - 1 - axis))
        return ids.unsqueeze(axis + 1).eq(wide), given


def _put(x: _A, axis: int, ids: Any, values: Any) -> _A:
    """Returns x with values[.., k, ..] at ids[k] along the axis; the last one for each id."""
    size = x.shape[axis]
    column = [-1, *[1] * (x.ndim - 1 - axis)]
    if isinstance(ids._payload, np.ndarray) and not isinstance(size, DimExpr):
        source, there = np.zeros(size, np.int64), np.zeros(size, np.bool_)
        places = ids._numbers("an index of what is changed")
        source[places], there[places] = np.arange(len(places)), True
        if not len(places):
            return x
        last, hit = as_array("", source), as_array("", there)
    else:
        numbers = apply("iota", shape=(size,), axis=0, dtype="i64")
        ids = apply("take", numbers, ids, axis=0)
        hits = ids.unsqueeze(1).eq(numbers)
        hit, last, values = hits.any(0), _last_of(hits, 0), _one_more(values, axis)
    taken = apply("take", values, last, axis=axis)
    return apply("where", hit.reshape(column), taken, x)


def _last_of(hits: _A, axis: int) -> _A:
    """Returns the index of the last hit along the axis, from 1; unspecified without a hit."""
    padded = _one_more(hits._cast("u8"), axis)
    return padded.flip(axis).argmax(axis).neg().add(in_graph(padded.shape[axis]) - 1)


def _one_more(x: _A, axis: int) -> _A:
    """Returns x with one element of padding in front along the axis, so that it is not empty."""
    low = tuple(int(i == axis) for i in range(x.ndim))
    return apply("pad", x, low=low, high=(0,) * x.ndim, value=0.0)
