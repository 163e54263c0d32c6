"""A checkpoint from torch's zip archive, by an interpreter of its pickle that imports nothing.

Pickle is a language of instructions for a stack. Python's own interpreter lets a file call whatever
can be imported. This one has the instructions that make numbers, texts and containers, and a table
of the few names that a file of arrays has; any other instruction or name is an error.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from struct import error as StructError
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.array.core import Device
from nncompile.array.dtypes import TORCH_DTYPES
from nncompile.array.sizes import Size
from nncompile.errors import InputError
from nncompile.nn.parameter import Parameter
from nncompile.serialization.storages import STORAGES, Storage

_LARGEST = 2**28              # elements of an array of which several are one number of the file
_MOST_AXES = 64
_KEYS = (str, bytes, int, float, type(None), Device, np.dtype)
# What a file that was changed makes Python raise here.
_BROKEN = (zipfile.BadZipFile, ValueError, TypeError, KeyError, IndexError, AttributeError,
           EOFError, OverflowError, RecursionError, NotImplementedError, StructError, RuntimeError,
           OSError)


class _Unreadable(Exception):
    """A file whose instructions are not those of a checkpoint; the text says why."""


def read(file: BinaryIO, name: str) -> Any:
    """Returns the checkpoint of a file, which is called so in errors."""
    try:
        start = file.read(2)
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if start != b"PK":
            raise _Unreadable("it is no zip archive, as torch.save writes since 1.6: load it with "
                              "torch and save it again")
        with zipfile.ZipFile(file) as archive:
            return _Interpreter(_Archive(archive, size)).run()
    except _Unreadable as error:
        raise InputError(f"{name} cannot be loaded: {error}") from None
    except _BROKEN as error:
        raise InputError(f"{name} is not a whole checkpoint: {type(error).__name__}: {error}"
                         ) from None


class _Archive:
    """The files of an archive, none of which is compressed."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive, self._left = archive, size
        self._infos = {info.filename: info for info in archive.infolist()}
        pickles = [n for n in self._infos if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(pickles) != 1:
            raise _Unreadable("it has no data.pkl, as torch.save writes one")
        self._root = pickles[0].removesuffix("data.pkl")
        order = f"{self._root}byteorder"
        big = order in self._infos and self.bytes_of("byteorder") == b"big"
        self.order: Literal["<", ">"] = ">" if big else "<"

    def bytes_of(self, name: str) -> bytes:
        """Returns the bytes of a file."""
        info = self._infos.get(self._root + name)
        if info is None:
            raise _Unreadable(f"the file {name} is missing in it")
        if info.compress_type != zipfile.ZIP_STORED:
            raise _Unreadable(f"the file {name} in it is compressed, which torch.save does not do")
        self._left -= info.file_size
        if self._left < 0:
            raise _Unreadable("the files in it overlap")
        return self._archive.read(info)


class _Global(NamedTuple):
    """A name of a file, and what stands for it: a value, or a function of the arguments."""

    value: Any
    call: Callable[..., Any] | None = None


class _Interpreter:
    """The stack that instructions work on, and what they remember."""

    def __init__(self, archive: _Archive) -> None:
        self._archive = archive
        self._stack: list[Any] = []
        self._marks: list[int] = []              # heights of the stack
        self._memory: dict[int, Any] = {}
        self._arrays: dict[str, tuple[Storage, NDArray]] = {}
        self._globals: dict[str, _Global] = {
            "collections OrderedDict": _Global(OrderedDict, _ordered),
            "__builtin__ set": _Global(set, _set), "builtins set": _Global(set, _set),
            "torch Size": _Global(Size, Size), "torch device": _Global(Device, Device),
            "_codecs encode": _Global(None, _latin1),
            "__builtin__ bytes": _Global(bytes, _no_bytes),
            "torch._utils _rebuild_tensor_v2": _Global(None, self._tensor),
            "torch._utils _rebuild_tensor": _Global(None, self._tensor),
            "torch._utils _rebuild_parameter": _Global(None, _parameter),
            **{f"torch {name}": _Global(storage) for name, storage in STORAGES.items()},
        }

    def run(self) -> Any:
        """Returns the value that the instructions make."""
        for instruction, argument, _ in pickletools.genops(self._archive.bytes_of("data.pkl")):
            name = instruction.name
            if name == "STOP":
                return self._stack[-1]
            if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name in _VALUES:
                self._stack.append(argument)
            elif name in _IGNORED:
                continue
            elif name in _DO:
                _DO[name](self, argument)
            else:
                raise _Unreadable(f"its pickle has the instruction {name}, which no file of arrays "
                                  "needs")
        raise _Unreadable("its pickle does not end")

    # -- instructions ------------------------------------------------------------------------------

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        """Takes what is on the stack above the last mark."""
        at = self._marks.pop()
        taken = self._stack[at:]
        del self._stack[at:]
        return taken

    def _tuple(self, _: Any) -> None:
        taken = self._since_mark()
        self._stack.append(tuple(taken))

    def _tuple_of(self, count: int) -> None:
        taken = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(reversed(taken)))

    def _append(self, _: Any) -> None:
        value = self._stack.pop()
        self._container(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._since_mark()
        self._container(list).extend(values)

    def _add_items(self, _: Any) -> None:
        values = self._since_mark()
        self._container(set).update(map(_key, values))

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._container(dict)[_key(key)] = value

    def _set_items(self, _: Any) -> None:
        pairs = self._since_mark()
        self._container(dict).update(zip(map(_key, pairs[::2]), pairs[1::2], strict=True))

    def _container(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise _Unreadable(f"its pickle puts items into a {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _put(self, place: int) -> None:
        self._memory[place] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memory[len(self._memory)] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memory[place])

    def _global(self, name: str) -> None:
        module, _, known_as = name.partition(" ")
        found: Any = self._globals.get(name)
        if found is None and module == "torch":
            found = TORCH_DTYPES.get(known_as)
        if found is None:
            raise _Unreadable(
                f"it holds an object of {name.replace(' ', '.')!r}, which is not made here: files "
                "of state dicts, arrays, numbers and containers are\n  do: in torch, save the "
                "state_dict() of the model")
        self._stack.append(found)

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._global(f"{module} {name}")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Global) or function.call is None:
            raise _Unreadable("its pickle calls what is no function")
        self._stack.append(function.call(*arguments))

    def _build(self, _: Any) -> None:
        """Drops the attributes of an object: a state dict has its _metadata there."""
        self._stack.pop()
        self._container(dict)

    def _persistent(self, _: Any) -> None:
        kind, of, key, _, count = self._stack.pop()
        storage = of.value if isinstance(of, _Global) else None
        if kind != "storage" or type(key) is not str or not isinstance(storage, Storage):
            raise _Unreadable("its arrays are of a kind that is not known here")
        if key not in self._arrays:
            numbers = np.frombuffer(bytearray(self._archive.bytes_of(f"data/{key}")),
                                    storage.dtype.newbyteorder(self._archive.order))
            if numbers.size != count:
                raise _Unreadable(f"data/{key} has {numbers.size} elements, not {count}")
            self._arrays[key] = storage, numbers.astype(storage.dtype, copy=False)
        if self._arrays[key][0] is not storage:
            raise _Unreadable(f"data/{key} is of two element types")
        self._stack.append(self._arrays[key])

    # -- what the names of a file stand for --------------------------------------------------------

    def _tensor(self, held: tuple[Storage, NDArray], offset: int, size: Sequence[int],
                stride: Sequence[int], requires_grad: bool = False, *_: Any) -> Array:
        """Returns an array whose element [i, j] is number offset + i * stride[0] + j * stride[1].
        """
        storage, numbers = held
        shape, steps = tuple(size), tuple(stride)
        if len(shape) != len(steps) or len(shape) > _MOST_AXES or not all(
                type(n) is int and n >= 0 for n in (offset, *shape, *steps)):
            raise _Unreadable(f"it has an array of the shape {shape[:8]} and strides {steps[:8]}")
        count = 1
        for length in shape:
            count *= length
        last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        if count and last >= numbers.size:
            raise _Unreadable("an array of it is larger than its bytes")
        if count > max(numbers.size, _LARGEST):
            raise _Unreadable(f"an array of it repeats {numbers.size} elements {count} times")
        width = storage.dtype.itemsize
        array: NDArray = np.lib.stride_tricks.as_strided(
            numbers[offset if count else 0:], shape, [step * width for step in steps])
        made = Array(array if storage.wide is None else storage.wide(array))
        return made.requires_grad_() if requires_grad else made


def _parameter(data: Array, requires_grad: bool = True, *_: Any) -> Parameter:
    return Parameter(data, bool(requires_grad))


def _key(value: Any) -> Any:
    """Returns a key, if it is one of a few kinds; the hash of tuples in tuples could take forever.
    """
    parts = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(part, _KEYS) for part in parts):
        raise _Unreadable("it has a key that is no number, no text and no tuple of such")
    return value


def _ordered(pairs: Sequence[Sequence[Any]] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((_key(key), value) for key, value in pairs)


def _set(items: Sequence[Any] = ()) -> set[Any]:
    return set(map(_key, items))


def _no_bytes() -> bytes:
    """Returns b"", which has this form; a number as argument would be their count."""
    return b""


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Unreadable(f"its pickle encodes a text as {encoding!r}")
    return text.encode("latin1")


# Instructions that put a value on the stack, and those that put their argument there.
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
           "BINBYTES", "SHORT_BINBYTES"}
_IGNORED = {"PROTO", "FRAME"}
_DO: dict[str, Callable[[_Interpreter, Any], None]] = {
    "MARK": _Interpreter._mark, "TUPLE": _Interpreter._tuple,
    "TUPLE1": lambda self, _: self._tuple_of(1), "TUPLE2": lambda self, _: self._tuple_of(2),
    "TUPLE3": lambda self, _: self._tuple_of(3),
    "APPEND": _Interpreter._append, "APPENDS": _Interpreter._appends,
    "ADDITEMS": _Interpreter._add_items, "SETITEM": _Interpreter._set_item,
    "SETITEMS": _Interpreter._set_items, "BINPUT": _Interpreter._put,
    "LONG_BINPUT": _Interpreter._put, "MEMOIZE": _Interpreter._memoize,
    "BINGET": _Interpreter._get, "LONG_BINGET": _Interpreter._get,
    "GLOBAL": _Interpreter._global, "STACK_GLOBAL": _Interpreter._stack_global,
    "REDUCE": _Interpreter._reduce, "BUILD": _Interpreter._build,
    "BINPERSID": _Interpreter._persistent}
