"""Element types: their names, and torch's rules for promoting them to a common one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from ir import Error, NDArray
from ir.ops import evaluate
from ir.types import name_of_dtype

float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
int8, uint8, int32, int64 = map(np.dtype, (np.int8, np.uint8, np.int32, np.int64))
bool_ = np.dtype(np.bool_)

Scalar = bool | int | float

# In this order a later type takes an earlier one in; u8 and i8 alone have no common type here.
_ORDER = ("bool", "u8", "i8", "i32", "i64", "f32", "f64")
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}
DEFAULT_FLOAT = "f32"


class _Typed(Protocol):
    @property
    def ndim(self) -> int: ...
    @property
    def type(self) -> Any: ...


def category(dtype: str) -> int:
    """Returns torch's category of a dtype: 0 for bool, 1 for integers, 2 for floats."""
    return _CATEGORY[dtype[0]]


def name_of(dtype: DTypeLike) -> str:
    """Returns the IR's name of a dtype: "f32" for numpy.float32.

    Python's `float` and `int` mean what they mean in torch: float32 and int64.
    Raises Error where the IR has no such dtype.
    """
    if dtype is float:
        return DEFAULT_FLOAT
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise Error(f"{dtype!r} is no element type") from None
    return name_of_dtype(wanted)


def converted(values: Any, dtype: np.dtype[Any]) -> NDArray:
    """Returns the values as a new ndarray of the dtype, which the IR has, as the op `cast` does.

    NumPy reports nothing about numbers that do not fit.
    """
    return evaluate("cast", [np.asarray(values)], {"dtype": name_of_dtype(dtype)})


def _promoted(first: str, second: str) -> str:
    """Returns the smaller of the dtypes that can represent both."""
    if {first, second} == {"u8", "i8"}:
        raise Error("uint8 and int8 together make int16, which is not supported: cast one of them")
    return max(first, second, key=_ORDER.index)


def result_type(operands: Iterable[_Typed | Scalar]) -> str:
    """Returns the common dtype of operands, by the rules of torch.result_type.

    Operands fall into three ranks: arrays with dimensions, arrays without, and Python numbers.
    Within a rank the widest dtype wins; a lower rank counts only where its dtype is of a higher
    category.
    """
    ranks: tuple[list[str], list[str], list[str]] = ([], [], [])
    for operand in operands:
        if isinstance(operand, bool | int | float):
            ranks[2].append(scalar_type(operand))
        else:
            ranks[operand.ndim == 0].append(operand.type.dtype)
    types = [reduce(_promoted, rank) for rank in ranks if rank]
    return reduce(lambda high, low: low if category(low) > category(high) else high, types)


def scalar_type(value: Scalar) -> str:
    """Returns the dtype that a Python number has by itself: "bool", "i64" or "f32"."""
    if isinstance(value, bool):
        return "bool"
    return "i64" if isinstance(value, int) else DEFAULT_FLOAT
