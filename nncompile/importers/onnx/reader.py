"""Reads an ONNX file, which may be hostile: every size is checked before memory is allocated.

Nothing here trusts the file. A tensor's shape has to agree with the bytes that are there; data in
other files are refused unless they are asked for, and are then confined to the model's own folder.
"""
from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ir import DTYPES, Error, NDArray, TensorType
from ir.types import product
from nncompile.errors import InputError, ModelImportError
from nncompile.extras import import_extra
from nncompile.importers.names import printable

# TensorProto's numbers for element types, which onnx never changes.
TENSOR_DTYPES = {1: "f32", 2: "u8", 3: "i8", 6: "i32", 7: "i64", 9: "bool", 11: "f64"}
_OTHER_DTYPES = {4: "uint16", 5: "int16", 8: "string", 10: "float16", 12: "uint32", 13: "uint64",
                 14: "complex64", 15: "complex128", 16: "bfloat16"}
_TYPED_FIELDS = {"f32": "float_data", "f64": "double_data", "i64": "int64_data",
                 "i32": "int32_data", "i8": "int32_data", "u8": "int32_data", "bool": "int32_data"}
_TEXT, _MESSAGE = 9, 11                          # FieldDescriptor.TYPE_STRING, TYPE_MESSAGE
_EXTERNAL = 1                                    # TensorProto.DataLocation


def dtype_of(number: int) -> str:
    """Returns the IR's name of an element type. Raises Error for one that the IR lacks."""
    if number in TENSOR_DTYPES:
        return TENSOR_DTYPES[number]
    name = _OTHER_DTYPES.get(number, f"element type {number}")
    there = ", ".join(str(DTYPES[n]) for n in TENSOR_DTYPES.values())
    raise Error(f"{name} is not supported; {there} are")


def read(model: Any) -> tuple[Any, str, Path | None]:
    """Returns a model as a ModelProto, a name for messages, and the folder that the file is in.

    model: a path, the bytes of a file, or a ModelProto.
    Raises InputError where it is none of these, and ModelImportError where it is not a whole file.
    """
    onnx = import_extra("onnx", "onnx", "an ONNX model")
    folder, title = None, "model"
    if isinstance(model, str | PathLike):
        path = Path(fspath(model))
        if not path.is_file():
            raise InputError(f"there is no file {str(path)!r}")
        folder, title = path.resolve().parent, path.name
        model = _parsed(onnx, path.read_bytes(), title)
    elif isinstance(model, bytes | bytearray | memoryview):
        model = _parsed(onnx, bytes(model), title)
    elif not isinstance(model, onnx.ModelProto):
        raise InputError("an ONNX model is a path, the bytes of a file, or an onnx.ModelProto, not "
                         f"an object of type {type(model).__name__}")
    if not _has_texts(model):
        raise ModelImportError(f"{printable(title)} is damaged: a name in it is no text in UTF-8")
    return model, title, folder


def _parsed(onnx: Any, data: bytes, name: str) -> Any:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:                   # of whichever protobuf there is
        raise ModelImportError(f"{printable(name)} is no whole ONNX file: {len(data)} bytes that "
                               f"end too early or are damaged ({printable(str(error))})") from None
    if not model.HasField("graph"):
        raise ModelImportError(f"{printable(name)} is no whole ONNX file: there is no graph in its "
                               f"{len(data)} bytes")
    return model


def _has_texts(model: Any) -> bool:
    """Returns whether all texts in a message are texts; protobuf hands others over as bytes."""
    return not any(field.type == _TEXT and any(isinstance(text, bytes) for text in _listed(value))
                   for message in _messages(model) for field, value in message.ListFields())


def _messages(model: Any) -> Iterator[Any]:
    """Yields a message and all those in it."""
    rest = [model]
    while rest:
        message = rest.pop()
        yield message
        for field, value in message.ListFields():
            if field.type == _MESSAGE:
                rest += _listed(value)


def _listed(value: Any) -> Sequence[Any]:
    """Returns the elements of a field, which may be a single one."""
    return [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value


def inlined(model: Any, tensors: Tensors) -> Any:
    """Returns a model whose numbers are all in itself: a copy, where some are in other files.

    Raises Error where they cannot be read.
    """
    if not any(map(_is_outside, _messages(model))):
        return model
    copy = type(model)()
    copy.CopyFrom(model)
    for tensor in filter(_is_outside, _messages(copy)):
        data = tensors.array(tensor)
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        tensor.raw_data = data.astype(data.dtype.newbyteorder("<")).tobytes()
    return copy


def _is_outside(message: Any) -> bool:
    return bool(message.DESCRIPTOR.name == "TensorProto" and message.data_location == _EXTERNAL)


class Tensors:
    """Decodes the tensors of one model.

    folder: that of the model's file, None for a model in memory. external: whether data may be
    read from other files in the folder.
    """

    def __init__(self, folder: Path | None, external: bool) -> None:
        self.folder, self.external = folder, external
        self._files: dict[tuple[str, int, int, str, tuple[int, ...]], NDArray] = {}

    def array(self, tensor: Any) -> NDArray:
        """Returns a tensor's numbers, which share the memory of the file's bytes where they can.

        Raises Error where shape, element type and data do not agree.
        """
        if tensor.HasField("segment"):
            raise Error("a tensor in segments is not supported")
        dtype = dtype_of(tensor.data_type)
        shape = tuple(tensor.dims)
        TensorType(dtype, shape)                 # negative sizes, and too many axes
        count = int(product(shape))
        if tensor.data_location == _EXTERNAL:
            return self._outside(tensor, dtype, shape, count)
        if tensor.HasField("raw_data"):
            return _from_bytes(tensor.raw_data, dtype, shape, count)
        numbers = getattr(tensor, _TYPED_FIELDS[dtype])
        if len(numbers) != count:
            raise Error(f"a tensor of shape {list(shape)} has {len(numbers)} numbers, not {count}")
        return _fitting(np.array(numbers), dtype).reshape(shape)

    def _outside(self, tensor: Any, dtype: str, shape: tuple[int, ...], count: int) -> NDArray:
        """Returns numbers that are in another file of the folder. Equal places are one array."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if not self.external:
            raise Error(f"its numbers are in another file, {printable(location)!r}, which is not "
                        "read unless you ask for it\n"
                        "do: external_data=True, if you trust the model's folder")
        if self.folder is None:
            raise Error(f"its numbers are in another file, {printable(location)!r}: give the path "
                        "of the model, beside which that file is")
        size = count * DTYPES[dtype].itemsize
        offset = _natural(entries.get("offset", "0"), "offset")
        length = _natural(entries.get("length", str(size)), "length")
        if length != size:
            raise Error(f"its data are {length} bytes of {printable(location)!r}, and a tensor "
                        f"{dtype}{list(shape)} has {size}")
        key = (location, offset, length, dtype, shape)
        if key not in self._files:
            data = _confined(self.folder, location, offset, length)
            self._files[key] = _from_bytes(data, dtype, shape, count)
        return self._files[key]


def _natural(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Error(f"the {what} {printable(text)!r} of its data is no whole number")
    return int(text)


def _confined(folder: Path, location: str, offset: int, length: int) -> bytes:
    """Returns bytes of a file inside of the folder.

    Raises Error for a path that leads out of it, goes through a link, or is no file, and where the
    file is too short.
    """
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location or location.startswith(("/", "\\")) or ":" in parts[0] or (
            {"", ".", ".."} & set(parts)):
        raise Error(f"its numbers are in {printable(location)!r}, which is no plain path inside "
                    "of the model's folder")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise Error(f"its numbers are in {printable(location)!r}, which leads through a link")
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)
                         | getattr(os, "O_NONBLOCK", 0))     # a pipe has nothing to wait for
    except OSError as error:
        raise Error(f"cannot read {printable(location)!r}: {error.strerror}") from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise Error(f"{printable(location)!r} is no file")
    with os.fdopen(handle, "rb") as file:
        if offset + length > status.st_size:
            raise Error(f"its data are the bytes {offset} to {offset + length} of "
                        f"{printable(location)!r}, which has {status.st_size}")
        file.seek(offset)
        return file.read(length)


def _from_bytes(data: bytes, dtype: str, shape: tuple[int, ...], count: int) -> NDArray:
    kind = DTYPES[dtype]
    if len(data) != count * kind.itemsize:
        raise Error(f"a tensor {dtype}{list(shape)} has {len(data)} bytes, not "
                    f"{count * kind.itemsize}")
    if dtype == "bool":                          # a byte that is neither 0 nor 1 is no bool
        truth: NDArray = np.frombuffer(data, np.uint8) != 0
        return truth.reshape(shape)
    numbers: NDArray = np.frombuffer(data, kind.newbyteorder("<"))
    native: NDArray = numbers.astype(kind, copy=False)
    return native.reshape(shape)


def _fitting(numbers: NDArray, dtype: str) -> NDArray:
    """Returns numbers that a file has in a wider type. Raises Error where one does not fit."""
    kind = DTYPES[dtype]
    result: NDArray = numbers.astype(kind)
    if kind.kind in "iu" and not np.array_equal(result, numbers):
        raise Error(f"a tensor of {kind} has numbers that are out of its range")
    return result
