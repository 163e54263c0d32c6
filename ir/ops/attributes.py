"""The one form of an attribute: a list is a tuple, `scale = 1` is 1.0, a numpy.int64 is an int."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import index
from typing import Any

import numpy as np

from ir.types import DTYPES, Dim, DimExpr


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


def one_of(words: Iterable[str]) -> Callable[[Any], str]:
    def form(value: Any) -> str:
        if word(value) not in words:
            raise TypeError
        return word(value)
    return form


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
    "value": ("a number", number),
    "dtype": (f"an element type: {', '.join(DTYPES)}", one_of(DTYPES)),
    "shape": ("a list of sizes", listed(size)),
    "start": ("a size", size),
    "stop": ("a size", size),
    "step": ("an integer", integer),
    "low": ("a list of sizes", listed(size)),
    "high": ("a list of sizes", listed(size)),
    "k": ("a size", size),
    "largest": ("true or false", truth),
    "sorted": ("true or false", truth),
    "mode": ("sum, mean or max", one_of(("sum", "mean", "max"))),
    "include_last": ("true or false", truth),
    "padding": ("an integer", integer),
    "then": ("a list of ops", listed(word)),
}
