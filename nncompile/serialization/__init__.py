"""Checkpoints in torch's format: `save` and `load`, as torch.save and torch.load with weights_only.

A file is a zip archive: a pickle, which says how numbers, lists and dicts are nested, and the bytes
of each array beside it. torch reads what is written here, and the other way round. The pickle is
read by an interpreter of its own, which knows what such a file needs and imports nothing.

    writing    the instructions of a pickle, from a checkpoint
    reading    a checkpoint, from such instructions
    storages   the element types of both, and the files that the bytes are in
"""

from __future__ import annotations

import io
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO

from nncompile.array.naming import named
from nncompile.errors import InputError
from nncompile.placeholders import getter
from nncompile.serialization.reading import read
from nncompile.serialization.writing import write
from nncompile.statefile import check_folder, check_regular, replace_file

__all__ = ["load", "save"]

File = str | PathLike[str] | BinaryIO


def save(obj: Any, f: File, pickle_module: Any = None, pickle_protocol: int = 2,
         _use_new_zipfile_serialization: bool = True, _disable_byteorder_record: bool = False
         ) -> None:
    """Writes a checkpoint that `load` and torch.load read.

    obj: arrays and ndarrays, numbers, strings, bytes, None, sizes, element types and devices,
    nested in dicts, lists, tuples and sets; so a state dict of a model or of an optimizer, and a
    dict of several. Arrays that are the same memory are written once. f: a path, whose file is
    replaced in one step, or a file that is open for bytes. The other arguments change nothing.
    Raises InputError for what is none of these, as a module is, and names its place.
    """
    if isinstance(f, str | PathLike):
        check_folder(f)
    content = io.BytesIO()
    write(obj, content)
    if isinstance(f, str | PathLike):
        replace_file(f, [content.getbuffer()])
    else:
        f.write(content.getbuffer())


def load(f: File, map_location: Any = None, pickle_module: Any = None, *,
         weights_only: bool | None = None, mmap: bool | None = None, **pickle_load_args: Any
         ) -> Any:
    """Returns what a file of `save` or of torch.save holds, as arrays in the nesting it had.

    f: a path or a file that is open for bytes. float16 and bfloat16 become float32, which holds
    each of their numbers exactly. Nothing in the file is run and nothing imported for it, also with
    weights_only=False; every array is on the CPU, and the other arguments change nothing.
    Raises InputError where it is no whole file of this kind, or holds an object of another class:
    a whole model is one, of which torch can save the state_dict().
    """
    if not isinstance(f, str | PathLike):
        return read(f, "the checkpoint")
    check_regular(f)
    try:
        with open(f, "rb") as file:
            return read(file, str(f))
    except OSError as error:
        raise InputError(f"cannot read {f}: {error.strerror}") from None


load, save = named(load, "load"), named(save, "save")


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
