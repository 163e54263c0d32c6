"""NumPy in, NumPy out: what happens where a forward begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from nncompile.array import Array, mapped, to_array, to_numpy
from nncompile.interpreter import OUTSIDE, Interpreter, current

if TYPE_CHECKING:
    from nncompile.nn.module import Module

P = ParamSpec("P")


def call(function: Callable[..., Any], args: Any, kwargs: Any, root: Module | None = None) -> Any:
    """Run a function on Arrays.  From outside of a forward, ndarrays go in and come out."""
    args, kwargs = mapped(to_array, args), mapped(to_array, kwargs)
    if current.get() is not OUTSIDE:
        return function(*args, **kwargs)
    token = current.set(Interpreter(root))
    try:
        return mapped(to_numpy, function(*args, **kwargs))
    finally:
        current.reset(token)


def from_outside(function: Callable[P, Array]) -> Callable[P, Any]:
    """A function of nn.functional, callable also on ndarrays."""

    @wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> Any:
        return call(function, args, kwargs)

    return public
