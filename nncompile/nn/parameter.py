"""Parameter: an array that a model owns and that its weights are loaded into."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ir import type_of
from nncompile.array import Array
from nncompile.errors import InputError


class Parameter(Array):
    """An array that becomes part of the module it is assigned to, under that name.

    `data` is an array of floats, which is shared and keeps its type; plain numbers and lists
    become float32.  Errors: InputError for another type than float32 and float64.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(as_data(data))
        self.requires_grad = requires_grad
        if requires_grad and self.dtype.kind != "f":
            raise InputError(f"only arrays of floats can require a gradient, not {self.type}")

    @property
    def data(self) -> NDArray[Any]:
        """The numbers themselves, not copied.  Assigning puts another array in their place."""
        return super().data

    @data.setter
    def data(self, data: Any) -> None:
        self.payload = as_data(data)

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Kept for torch's sake: nothing here is trained."""
        self.requires_grad = requires_grad
        return self

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


def as_data(data: Any) -> NDArray[Any]:
    """An array of a type that the IR knows."""
    if isinstance(data, Array):
        return data.numpy()
    has_type = hasattr(data, "__array__")
    array = np.asarray(data) if has_type else np.asarray(data, np.float32)
    type_of(array)
    return array


def empty(shape: tuple[int, ...], device: Any = None, dtype: DTypeLike | None = None) -> Parameter:
    """A parameter to be filled, checked as a layer's arguments are: the device can only be a CPU.

    Errors: InputError for a negative size, another device, or a type other than f32 and f64.
    """
    if device is not None and str(device) != "cpu":
        raise InputError(f"device={device!r}: modules hold NumPy arrays, leave it out")
    if negative := [size for size in shape if size < 0]:
        raise InputError(f"sizes cannot be negative, got {negative[0]}")
    resolved = np.dtype(np.float32 if dtype is None else dtype)
    if resolved not in (np.float32, np.float64):
        raise InputError(f"dtype={resolved}: parameters are float32 or float64")
    return Parameter(np.zeros(shape, resolved))
