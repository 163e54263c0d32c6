"""The one form of an attribute: a list is a tuple, `scale = 1` is 1.0, a numpy.int64 is an int."""
from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import numpy as np

from ir.types import Dim, DimExpr


def integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return index(value)


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError
    return float(value)


def truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return bool(value)


def size(value: Any) -> Dim:
    return value if isinstance(value, DimExpr) else integer(value)


def word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def listed(element: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def form(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list):
            raise TypeError
        return tuple(map(element, value))
    return form


# name: what its value is, for an error, and what gives it its one form or raises TypeError
FORMS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "axis": ("an integer", integer),
    "axes": ("a list of integers", listed(integer)),
    "keepdims": ("true or false", truth),
    "scale": ("a number", number),
    "eps": ("a number", number),
    "p": ("a number", number),
    "shape": ("a list of sizes", listed(size)),
    "start": ("a size", size),
    "stop": ("a size", size),
    "then": ("a list of ops", listed(word)),
}
