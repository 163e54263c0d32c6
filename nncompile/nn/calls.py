"""NumPy in, NumPy out: what happens where a forward begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from nncompile.array import Array, mapped, to_array, to_numpy
from nncompile.interpreter import OUTSIDE, Interpreter, current

if TYPE_CHECKING:
    from nncompile.nn.module import Module

P = ParamSpec("P")


def call(function: Callable[..., Any], args: Any, kwargs: Any, root: Module | None = None) -> Any:
    """Run a function on Arrays.  From outside of a forward, ndarrays go in and come out; where
    only Arrays go in, Arrays come out, and so they do where a function makes them of nothing."""
    if current.get() is not OUTSIDE:
        return function(*mapped(to_array, args), **mapped(to_array, kwargs))
    token = current.set(Interpreter(root))
    try:
        result = function(*mapped(to_array, args), **mapped(to_array, kwargs))
        given = [*leaves(args), *leaves(kwargs)]
        if any(isinstance(leaf, np.ndarray) for leaf in given):
            return mapped(to_numpy, result)
        of_arrays = any(isinstance(leaf, Array) for leaf in given)
        return result if of_arrays or root is None else mapped(to_numpy, result)
    finally:
        current.reset(token)


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, tuple | list):
        for item in tree:
            yield from leaves(item)
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from leaves(item)
    else:
        yield tree


def from_outside(function: Callable[P, Any]) -> Callable[P, Any]:
    """A function on Arrays, callable also on ndarrays."""

    @wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> Any:
        return call(function, args, kwargs)

    return public
