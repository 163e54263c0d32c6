"""What Python calls a method or a constructor in the error of a wrong call: torch's name of it."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def named(function: FunctionType, name: str) -> FunctionType:
    """Returns the function under a full name: itself, or a copy where it has another name already.
    """
    if function.__qualname__ == name:
        return function
    made = FunctionType(function.__code__, function.__globals__, function.__name__,
                        function.__defaults__, function.__closure__)
    made.__kwdefaults__, made.__doc__ = function.__kwdefaults__, function.__doc__
    made.__annotations__, made.__module__ = function.__annotations__, function.__module__
    vars(made).update(vars(function))
    made.__qualname__ = name
    return made


def name_methods(cls: Any, package: str) -> None:
    """Gives the public methods of a class of arrays, also the inherited, torch's names of them."""
    for base in cls.__mro__:
        if not base.__module__.startswith(package):
            continue
        for name, method in list(vars(base).items()):
            if isinstance(method, FunctionType) and not name.startswith("_"):
                setattr(base, name, named(method, f"Tensor.{name}"))
