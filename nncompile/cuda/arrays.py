"""The user's arrays on the device: anything with `__cuda_array_interface__`.

They are CuPy's, torch's on cuda, or numba's own, and are read and written where they are.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from nncompile.cuda.shim import Cuda
from nncompile.errors import InputError

_LEGACY = 1                        # the default stream's number in __cuda_array_interface__


@dataclass(frozen=True)
class DeviceArray:
    """What a call has to know about an array in order to check it and to pass it to a kernel."""

    given: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    contiguous: bool                          # in row-major order, without gaps
    writeable: bool
    interface: dict[str, Any] | None          # None in the simulator, whose arrays have none

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def address(self) -> int:
        """The address of the first element."""
        if self.interface is None:
            return int(self.given._ary.ctypes.data)
        return int(self.interface["data"][0] or 0)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


def is_device_array(given: Any, cuda: Cuda) -> bool:
    """Returns whether the object is an array on the device."""
    if isinstance(given, np.ndarray):
        return False
    if cuda.simulated:
        return isinstance(given, cuda.module.devicearray.FakeCUDAArray)
    return hasattr(given, "__cuda_array_interface__")


def device_array(given: Any, cuda: Cuda) -> DeviceArray:
    """Returns what the array's interface says about it."""
    if cuda.simulated:
        return DeviceArray(given, tuple(given.shape), given.dtype, given.is_c_contiguous(), True,
                           None)
    about = dict(given.__cuda_array_interface__)
    shape, dtype = tuple(about["shape"]), np.dtype(about["typestr"])
    return DeviceArray(given, shape, dtype, _is_row_major(shape, about.get("strides"), dtype),
                       not about["data"][1], about)


def _is_row_major(shape: Sequence[int], strides: Sequence[int] | None,
                  dtype: np.dtype[Any]) -> bool:
    if strides is None or 0 in shape:
        return True
    step = dtype.itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def flat(array: DeviceArray, cuda: Cuda) -> Any:
    """Returns the same memory as the 1-D array that kernels take.

    An empty array becomes one element that is never read, since a kernel needs an address.
    """
    if not prod(array.shape):
        return cuda.module.device_array(1, array.dtype)
    if array.interface is None:
        return array.given.reshape(-1)
    about = array.interface | {"shape": (prod(array.shape),), "strides": None, "stream": None}
    about["data"] = (about["data"][0], False)      # kernels are compiled for arrays they may write
    return cuda.module.from_cuda_array_interface(about, owner=array.given)


def wait_for(arrays: Sequence[DeviceArray], stream: Any, cuda: Cuda) -> None:
    """Waits for work on other streams that the arrays name.

    Work on the call's own stream is ordered anyway.
    """
    own = stream_key(stream) or _LEGACY
    for other in {(a.interface or {}).get("stream") for a in arrays} - {None, own}:
        cuda.module.external_stream(other).synchronize()


def overlap(a: DeviceArray, b: DeviceArray) -> bool:
    """Returns whether two arrays share memory."""
    if not (a.nbytes and b.nbytes):
        return False
    return a.address < b.address + b.nbytes and b.address < a.address + a.nbytes


def new_like(given: Any, shape: tuple[int, ...], dtype: np.dtype[Any], cuda: Cuda) -> Any:
    """Returns a new array of the same library as the given one."""
    library = _library_of(given)
    if library == "torch":
        torch: Any = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype.name), device=given.device)
    if library == "cupy":
        return sys.modules["cupy"].empty(shape, dtype)
    return cuda.module.device_array(shape, dtype)


def _library_of(given: Any) -> str:
    return type(given).__module__.partition(".")[0]


def current_stream(given: Any) -> Any:
    """Returns the stream that the array's library works on now, None where it has no such notion.
    """
    library = _library_of(given)
    if library == "torch":
        return sys.modules["torch"].cuda.current_stream(given.device)
    return sys.modules["cupy"].cuda.get_current_stream() if library == "cupy" else None


def stream_of(given: Any, cuda: Cuda) -> Any:
    """Returns numba's stream for one of numba's, CuPy's or torch's streams, or for a handle.

    None stands for the default stream. Raises InputError for anything else.
    """
    if given is None:
        return 0
    handle = getattr(given, "cuda_stream", getattr(given, "ptr", given))
    if not (isinstance(handle, int) or hasattr(handle, "synchronize")):
        raise InputError(f"stream is a {type(given).__name__}; it has to be numba's, torch's or "
                         "CuPy's stream, or a handle")
    return cuda.module.external_stream(handle) if isinstance(handle, int) and handle else (
        0 if isinstance(handle, int) else given)


def stream_key(stream: Any) -> Any:
    """Returns the same for all objects that stand for one stream: its handle, where it has one."""
    handle = getattr(stream, "handle", stream)
    handle = getattr(handle, "value", handle)
    return int(handle or 0) if hasattr(handle, "__int__") or handle is None else stream
