"""x[mask] in a trace, where the mask depends on an input: which elements it has, only data say.

x[mask] *= 2, and y[mask] = exp(x[mask]), have a meaning for all data nonetheless: elementwise
functions are computed of all elements, and the assignment takes those where the mask is true. So
the selection is the whole array together with the mask, until it is assigned.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ir import Error
from ir.types import same
from nncompile.array.core import Core, apply
from nncompile.array.dispatch import current
from nncompile.array.dtypes import category
from nncompile.array.elementwise import Elementwise

_DIVISIONS = {"floor_divide", "remainder", "fmod", "div", "divide"}      # by 0 of integers
_OTHERS = {"to", "float", "double", "long", "int", "bool", "clone", "detach", "contiguous"}


class Chosen(NDArrayOperatorsMixin):
    """The elements of `whole` where `mask`, which has its first dimensions, is true."""

    __hash__ = None                              # type: ignore[assignment]

    def __init__(self, whole: Any, mask: Any) -> None:
        self._whole, self._mask = whole, mask

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None,
                        **options: Any) -> Any:
        """Computes a ufunc, which is also where the operators and their in-place forms arrive."""
        if method != "__call__" or options:
            self._refuse(f"numpy.{ufunc.__name__} in this way")
        return self._computed(ufunc.__name__, ufunc, inputs, {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in ("dtype", "device", "is_cuda", "requires_grad"):
            return getattr(self._whole, name)
        function = getattr(type(self._whole), name, None)
        if function is None or (name not in vars(Elementwise) and name not in _OTHERS):
            self._refuse(name)
        return lambda *args, **kwargs: self._computed(name, function, (self, *args), kwargs)

    def _computed(self, name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Returns the selection of what an elementwise function gives."""
        if name in _DIVISIONS and category(self._whole.type.dtype) < 2:
            self._refuse(f"{name} of integers, where a 0 outside of the mask would be an error,")
        result = function(*(self._operand(name, a) for a in args),
                          **{key: self._operand(name, a) for key, a in kwargs.items()})
        if not isinstance(result, Core) or not same(result.shape, self._whole.shape):
            self._refuse(name)
        return Chosen(result, self._mask)

    def _operand(self, name: str, given: Any) -> Any:
        """Returns an operand as one of the whole array: a number, or what the same mask chose."""
        if isinstance(given, Chosen):
            if not is_same_mask(given._mask, self._mask):
                self._refuse(f"{name} of elements that another mask chose")
            return given._whole
        if isinstance(given, Core | np.ndarray) and given.ndim > 0:
            self._refuse(f"{name} with an array")
        return given

    @property
    def _description(self) -> str:
        """What an error says where something else than an elementwise function gets it."""
        return f"{self}, which {_NEEDS}\n  do: keep the shape, by torch.where(mask, x, other)"

    def _refuse(self, what: str) -> NoReturn:
        raise Error(f"{self} {_NEEDS}; {what} is not possible, but elementwise functions of it and "
                    "y[mask] = x[mask] are: compute with where(mask, x, other) instead")

    def __str__(self) -> str:
        return f"x[mask] of {self._whole.type}"

    __repr__ = __str__

    def __len__(self) -> int:
        self._refuse("len()")

    def __iter__(self) -> Any:
        self._refuse("a loop over it")

    def __bool__(self) -> bool:
        self._refuse("`if`")

    def __getitem__(self, index: Any) -> Any:
        self._refuse("an index into it")

    def __setitem__(self, index: Any, value: Any) -> None:
        self._refuse("an assignment to its elements, which are copies,")


_NEEDS = "selects as many elements as the data say, and needs the numbers, which a trace has not"


def depends_on_input(mask: Any) -> bool:
    """Returns whether a mask is an array whose numbers a trace does not know."""
    return isinstance(mask, Core) and not current.get().knows(mask._as_operand())


def is_same_mask(first: Any, second: Any) -> bool:
    """Returns whether two masks are computed alike from the same values."""
    return current.get().is_same(first._as_operand(), second._as_operand())


def written(given: Chosen, target: Any, index: Any) -> Any:
    """Returns the target with the chosen elements in place of its own: target[index] = given.

    Raises Error where another mask chose them, or from an array of another type.
    """
    if not isinstance(index, Core) or index.dtype.kind != "b" or not is_same_mask(
            given._mask, index):
        given._refuse("an assignment to elements that another mask chooses")
    whole = given._whole
    if whole.type.dtype != target.type.dtype or not same(whole.shape, target.shape):
        raise Error(f"{given} does not fit into x[mask] of {target.type}")
    rest = [1] * (target.ndim - index.ndim)
    wide = apply("reshape", index, shape=(*index.shape, *rest)) if rest else index
    return apply("where", wide, whole, target)
