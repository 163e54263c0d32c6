"""The normal form of attributes: lists become tuples, `scale = 1` 1.0, and a numpy.int64 an int."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import index
from typing import Any

import numpy as np

from ir.types import DTYPES, Dim, DimExpr


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return index(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return bool(value)


def _size(value: Any) -> Dim:
    return value if isinstance(value, DimExpr) else _integer(value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _one_of(words: Iterable[str]) -> Callable[[Any], str]:
    def form(value: Any) -> str:
        if _word(value) not in words:
            raise TypeError
        return _word(value)
    return form


def _listed(element: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def form(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list):
            raise TypeError
        return tuple(map(element, value))
    return form


# name: what its value is, for an error, and what gives it its one form or raises TypeError
FORMS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("axis", "step", "stream", "padding", "steps"), ("an integer", _integer)),
    **dict.fromkeys(("scale", "eps", "p", "value", "fill"), ("a number", _number)),
    **dict.fromkeys(("start", "stop", "k", "size", "dim"), ("a size", _size)),
    **dict.fromkeys(("keepdims", "largest", "sorted", "include_last", "seen"),
                    ("true or false", _truth)),
    **dict.fromkeys(("shape", "low", "high"), ("a list of sizes", _listed(_size))),
    "axes": ("a list of integers", _listed(_integer)),
    "then": ("a list of ops", _listed(_word)),
    "dtype": (f"an element type: {', '.join(DTYPES)}", _one_of(DTYPES)),
    "mode": ("sum, mean or max", _one_of(("sum", "mean", "max"))),
    "zeroed": ("none, unseen, masked or undefined",
               _one_of(("none", "unseen", "masked", "undefined"))),
}
