"""A checkpoint as torch's zip archive: the instructions of a pickle of protocol 2, and bytes."""

from __future__ import annotations

import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, ClassVar

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.array.core import Device
from nncompile.array.dtypes import ElementType
from nncompile.array.sizes import Size
from nncompile.errors import InputError
from nncompile.nn.parameter import Parameter
from nncompile.serialization.storages import NAMES

_ROOT = "archive"                                # the folder inside of the archive
_DEEPEST = 200                                   # nested dicts, lists and tuples


def write(checkpoint: Any, file: BinaryIO) -> None:
    """Writes a checkpoint to a file. Raises InputError for what it cannot hold."""
    pickled = _Pickle()
    pickled.add(checkpoint, "the checkpoint", 0)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{_ROOT}/data.pkl", b"\x80\x02" + b"".join(pickled.parts) + b".")
        archive.writestr(f"{_ROOT}/byteorder", "little")
        for number, array in enumerate(pickled.arrays):
            archive.writestr(f"{_ROOT}/data/{number}",
                             array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        archive.writestr(f"{_ROOT}/version", "3\n")


class _Pickle:
    """The instructions that make a value, and the arrays that they refer to."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.arrays: list[NDArray] = []
        self._numbers: dict[Any, int] = {}       # of arrays by the memory that they are
        self._places: dict[int, int] = {}        # of dicts and lists, in the pickle's memory

    def add(self, value: Any, where: str, depth: int) -> None:
        """Adds the instructions for a value. Raises InputError for one of another class."""
        if depth > _DEEPEST:
            raise InputError(f"{where[:80]}... is nested in more than {_DEEPEST} others")
        if isinstance(value, Array | np.ndarray):
            self._add_array(value, where)
        elif (of_scalar := self._of_scalar(value)) is not None:
            self.parts.append(of_scalar)
        elif (add := self._CONTAINERS.get(type(value))) is not None:
            add(self, value, where, depth + 1)
        else:
            raise InputError(
                f"{where} is a {type(value).__name__}: a checkpoint holds arrays, numbers and "
                "strings in dicts, lists and tuples\n  do: save the state_dict() of a module or "
                "of an optimizer, and of other objects what they are made from")

    def _of_scalar(self, value: Any) -> bytes | None:
        """The instructions for a value that has no parts; None for another."""
        if value is None:
            return b"N"
        if isinstance(value, bool | np.bool_):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int | np.integer):
            return _integer(int(value))
        if isinstance(value, float | np.floating):
            return b"G" + struct.pack(">d", value)
        if isinstance(value, Device):            # which is a str here
            return _call("torch", "device", _text(value) + b"\x85")
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, bytes):
            return _call("_codecs", "encode",
                         _text(value.decode("latin1")) + _text("latin1") + b"\x86")
        if isinstance(value, ElementType):
            return _global("torch", value.torch_name)
        return None

    def _add_dict(self, value: dict[Any, Any], where: str, depth: int) -> None:
        if self._is_known(value):
            return
        ordered = type(value) is OrderedDict
        self.parts.append(_call("collections", "OrderedDict", b")") if ordered else b"}")
        self._remember(value)
        self.parts.append(b"(")
        for key, item in value.items():
            self.add(key, f"a key of {where}", depth)
            self.add(item, f"{where}[{key!r}]", depth)
        self.parts.append(b"u")

    def _add_list(self, value: list[Any], where: str, depth: int) -> None:
        if self._is_known(value):
            return
        self.parts.append(b"]")
        self._remember(value)
        self._add_each(value, where, depth)
        self.parts.append(b"e")

    def _add_tuple(self, value: Iterable[Any], where: str, depth: int) -> None:
        self._add_each(value, where, depth)
        self.parts.append(b"t")

    def _add_size(self, value: Size, where: str, depth: int) -> None:
        self.parts.append(_global("torch", "Size"))
        self._add_tuple(map(int, value), where, depth)
        self.parts.append(b"\x85R")

    def _add_set(self, value: set[Any], where: str, depth: int) -> None:
        self.parts += [_global("__builtin__", "set"), b"]"]
        self._add_each(value, where, depth)
        self.parts.append(b"e\x85R")

    def _add_each(self, values: Iterable[Any], where: str, depth: int) -> None:
        self.parts.append(b"(")
        for number, item in enumerate(values):
            self.add(item, f"{where}[{number}]", depth)

    _CONTAINERS: ClassVar[dict[type, Callable[[_Pickle, Any, str, int], None]]] = {
        dict: _add_dict, OrderedDict: _add_dict, list: _add_list, tuple: _add_tuple,
        Size: _add_size, set: _add_set}

    def _is_known(self, value: Any) -> bool:
        """Adds what gets a dict or list that was made before, if it was."""
        place = self._places.get(id(value))
        if place is not None:
            self.parts.append(b"j" + struct.pack("<I", place))
        return place is not None

    def _remember(self, value: Any) -> None:
        self._places[id(value)] = place = len(self._places)
        self.parts.append(b"r" + struct.pack("<I", place))

    def _add_array(self, value: Any, where: str) -> None:
        array: NDArray = value.detach().numpy() if isinstance(value, Array) else value
        storage = NAMES.get(array.dtype.newbyteorder("="))
        if storage is None:
            raise InputError(f"{where} is an array of {array.dtype}, which no checkpoint holds")
        requires = isinstance(value, Array) and value.requires_grad and value.is_leaf
        strides = [int(np.prod(array.shape[axis + 1:])) for axis in range(array.ndim)]
        kept = _call("torch._utils", "_rebuild_tensor_v2", b"".join([
            b"((", _text("storage"), _global("torch", storage), _text(str(self._number(array))),
            _text("cpu"), _integer(array.size), b"tQ", _integer(0), _tuple(array.shape),
            _tuple(strides), _truth(requires), _call("collections", "OrderedDict", b")"), b"t"]))
        if isinstance(value, Parameter):
            kept = _call("torch._utils", "_rebuild_parameter", b"".join([
                b"(", kept, _truth(value.requires_grad),
                _call("collections", "OrderedDict", b")"), b"t"]))
        self.parts.append(kept)

    def _number(self, array: NDArray) -> int:
        """The number of the file with the array's bytes: one for arrays that are the same memory.
        """
        key = (array.ctypes.data, array.shape, array.strides, array.dtype) if array.size else None
        if key is None or key not in self._numbers:
            self.arrays.append(array)            # which keeps the memory from being used again
            self._numbers[key or id(array)] = len(self.arrays) - 1
            return len(self.arrays) - 1
        return self._numbers[key]


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _call(module: str, name: str, arguments: bytes) -> bytes:
    return _global(module, name) + arguments + b"R"


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _truth(value: bool) -> bytes:
    return b"\x88" if value else b"\x89"


def _tuple(numbers: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"


def _integer(value: int) -> bytes:
    if -2**31 <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    if size > 255:
        raise InputError(f"a checkpoint holds no integer of {value.bit_length()} bits")
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
