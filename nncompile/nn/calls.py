"""NumPy in, NumPy out: what happens where a forward begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from nncompile.array import Array, to_array, to_numpy
from nncompile.interpreter import OUTSIDE, Interpreter, current
from nncompile.structure import flatten, mapped

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
        given, _ = flatten([args, kwargs], lambda leaf: isinstance(leaf, np.ndarray | Array))
        only_arrays = all(isinstance(leaf, Array) for leaf in given) and (given or root is None)
        return result if only_arrays else mapped(to_numpy, result)
    finally:
        current.reset(token)


def from_outside(function: Callable[P, Any]) -> Callable[P, Any]:
    """A function on Arrays, callable also on ndarrays."""

    @wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> Any:
        return call(function, args, kwargs)

    return public
