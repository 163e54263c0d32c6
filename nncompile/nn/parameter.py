"""Parameters and buffers: arrays that a model owns and that its state dict holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike

from ir import NDArray, type_of
from ir.float_mode import StandardFloats
from nncompile.array import Array
from nncompile.array.core import check_device, data_of
from nncompile.array.indexing import whole
from nncompile.array.tape import Payload
from nncompile.errors import InputError
from nncompile.nn.running import running
from nncompile.placeholders import getter

_OWN_PAGES = 1 << 17                     # bytes: the C library's limit before it grows


class _Owned(Array):
    """An array whose numbers can be replaced, and whose changes in place go into its ndarray."""

    _in_memory = True

    def __init__(self, data: Any) -> None:
        super().__init__(as_data(data))

    def _as_operand(self) -> Payload:
        running.get().use(self)
        return super()._as_operand()

    @property
    def data(self) -> Self:
        """The same array as a view that may be changed in place. Assigning replaces the numbers."""
        return self.detach()

    @data.setter
    def data(self, data: Any) -> None:
        self._payload = as_data(data)


class Parameter(_Owned):
    """An array that becomes part of the module it is assigned to, under that name.

    data: an array, which is shared and keeps its dtype; numbers and lists become float32.
    Raises InputError for integers or bools with requires_grad.
    """

    def __init__(self, data: Any = (), requires_grad: bool = True) -> None:
        super().__init__(data)
        if requires_grad and self.dtype.kind != "f":
            raise InputError(f"only arrays of floats can require a gradient, not {self.type}")
        self.requires_grad = requires_grad

    @property
    def _leaf(self) -> Parameter:
        """The Parameter itself."""
        return self

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(_Owned):
    """An array that becomes a buffer of the module it is assigned to: saved, but not trained.

    persistent: whether it is part of the state dict.
    """

    def __init__(self, data: Any = (), *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent


class Uninitialized(_Owned):
    """An array of a lazy layer that has no shape before its first call."""

    def materialize(self, shape: tuple[int, ...], device: Any = None,
                    dtype: DTypeLike | None = None) -> None:
        """Turns this into an array of zeros of the given shape."""
        self._payload = empty(shape, device, self.dtype if dtype is None else dtype)._payload
        self.__class__ = Parameter if isinstance(self, Parameter) else Buffer  # type: ignore

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(Uninitialized, Parameter):
    """A Parameter whose shape is not known yet."""

    def __init__(self, requires_grad: bool = True, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        Parameter.__init__(self, empty((0,), device, dtype), requires_grad)


class UninitializedBuffer(Uninitialized, Buffer):
    """A Buffer whose shape is not known yet."""

    def __init__(self, requires_grad: bool = False, device: Any = None,
                 dtype: DTypeLike | None = None) -> None:
        Buffer.__init__(self, empty((0,), device, dtype))


def as_data(data: Any) -> NDArray:
    """Returns the data as an ndarray of a dtype that the IR has; numbers and lists as float32."""
    if isinstance(data, Array):
        return data.numpy()
    array = data_of(data)
    if not hasattr(data, "__array__"):
        with StandardFloats():
            array = np.asarray(array, np.float32)
    type_of(array)
    return array


def empty(shape: tuple[int, ...], device: Any = None, dtype: DTypeLike | None = None) -> Parameter:
    """Returns a Parameter of zeros that is to be filled, and checks a layer's arguments.

    Raises InputError for a negative size, another device than the CPU, and another dtype than
    float32 and float64.
    """
    check_device(device)
    if negative := [size for size in map(whole, shape) if size < 0]:
        raise InputError(f"sizes cannot be negative, got {negative[0]}")
    resolved = np.dtype(np.float32 if dtype is None else dtype)
    if resolved not in (np.float32, np.float64):
        raise InputError(f"dtype={resolved}: parameters are float32 or float64")
    return Parameter(_zeros(shape, resolved))


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    """Zeros; many of them are in pages of their own.

    So the system gets these back as soon as a model is dropped, for instance when it is compiled.
    The allocator of the C library would keep them for the process, as it keeps all that is not
    above a limit which grows with what a program has used.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _OWN_PAGES:
        return np.zeros(shape, dtype)
    import mmap
    if not hasattr(mmap, "MAP_PRIVATE"):         # Windows
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype).reshape(shape)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
