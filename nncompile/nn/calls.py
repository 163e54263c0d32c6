"""The boundary of a forward: ndarrays become Arrays on the way in, and back on the way out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ParamSpec

import numpy as np

from ir import Error
from nncompile.array import Array, to_array, to_numpy
from nncompile.array.dispatch import INSIDE, OUTSIDE, current
from nncompile.array.naming import explain
from nncompile.nn.running import Layer, Run, running
from nncompile.structure import Copy, flatten, mapped

_P = ParamSpec("_P")

_PLAIN = (bool, int, float, str, type(None))


def as_arrays(args: tuple[Any, ...], kwargs: dict[str, Any]
              ) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns arguments with Arrays in place of ndarrays, which containers are changed to hold."""
    if _are_arrays(args, kwargs):
        return args, kwargs
    return mapped(to_array, args, True), mapped(to_array, kwargs, True)


def _are_arrays(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the arguments are Arrays, numbers and texts, as most are: nothing is in a container.

    It is a fraction of the time that it takes to walk through containers.
    """
    for values in (args, kwargs.values()):
        for value in values:
            if type(value) not in _PLAIN and not isinstance(value, Array):
                return False
    return True


def call(function: Callable[..., Any], args: Any, kwargs: Any, root: Layer | None = None) -> Any:
    """Calls a function of Arrays; from outside of a forward, ndarrays go in and come out.

    Where all arrays given are Arrays, Arrays come out, too; so they do where a function that takes
    no arrays creates some.
    """
    if current.get() is not OUTSIDE:
        args, kwargs = as_arrays(args, kwargs)
        return function(*args, **kwargs)
    inside, run = current.set(INSIDE), running.set(Run(root))
    try:
        if _are_arrays(args, kwargs) and any(isinstance(a, Array) for a in args):
            return function(*args, **kwargs)
        copies: list[Copy] = []
        result = function(*mapped(to_array, args, copies=copies),
                          **mapped(to_array, kwargs, copies=copies))
        for copy in copies:                      # what the function did to lists and dicts
            copy.write_back(to_numpy)
        given, _ = flatten([args, kwargs], lambda leaf: isinstance(leaf, np.ndarray | Array))
        only_arrays = all(isinstance(leaf, Array) for leaf in given) and (given or root is None)
        return result if only_arrays else mapped(to_numpy, result)
    finally:
        running.reset(run)
        current.reset(inside)


def own_call(function: Any) -> Any:
    """Returns a module's own __call__ as one that gets Arrays where it is called from outside."""
    if not callable(function) or hasattr(function, "__wrapped__"):
        return function

    @wraps(function)
    def __call__(self: Layer, *args: Any, **kwargs: Any) -> Any:
        if current.get() is not OUTSIDE:
            return function(self, *args, **kwargs)
        return call(partial(function, self), args, kwargs, root=self)

    return __call__


def placed(input: Any, result: Array, inplace: bool) -> Array:
    """Returns the result, written into the input where that is an Array and inplace is set."""
    return input._become("inplace=True", result) if inplace and isinstance(input, Array) else result


def changing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with inplace=True, under its name in torch, which ends in _."""
    def in_place(input: Any, *args: Any, **kwargs: Any) -> Any:
        return function(input, *args, **kwargs, inplace=True)

    in_place.__name__ = in_place.__qualname__ = f"{function.__name__}_"
    in_place.__doc__ = f"Computes {function.__name__} with inplace=True."
    return in_place


def from_outside(function: Callable[_P, Any]) -> Callable[_P, Any]:
    """Returns a function of Arrays as one that also takes ndarrays; see call."""

    @wraps(function)
    def public(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        try:
            return call(function, args, kwargs)
        except (TypeError, Error) as error:
            explain(public, args, kwargs, error)
            raise

    return public
