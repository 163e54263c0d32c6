"""Files of weights: safetensors, read and written by its own package, and NumPy's .npz."""
from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.extras import import_extra

# The dtypes of a file that NumPy has, by safetensors' names for them.
_NUMPY_HAS = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64",
              "C64"}
_SAVED = "biufc"                                 # the kinds of dtype that save_file writes


def load_file(path: str | PathLike[str], *, widen: bool = False) -> dict[str, NDArray]:
    """Returns the arrays of a safetensors file, each under its name.

    widen: float16 and bfloat16 become float32, which holds each of their numbers exactly. Without
    it float16 stays, and bfloat16, which NumPy does not have, is refused.
    Nothing in the file is executed; the package safetensors checks its bounds.
    Raises InputError where the file cannot be read, is no whole safetensors file, or has arrays
    of a dtype that NumPy lacks, all of which are named; MissingExtraError without safetensors.
    """
    safetensors = import_extra("safetensors", "files", f"reading {fspath(path)}")
    check_regular(path)
    try:
        with safetensors.safe_open(fspath(path), framework="numpy") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
            _check_types(path, types, widen)
            _check_names(path)
            arrays = {name: file.get_tensor(name) for name, type_ in types.items()
                      if type_ != "BF16"}
    # ValueError: a shape such as [2**62, 0], which is legal in a file and not in NumPy
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{fspath(path)} is not a whole safetensors file: {error}") from None
    if "BF16" in types.values():
        arrays |= _bfloat16s(safetensors, path)
    return {name: _wide(arrays[name]) if widen else arrays[name] for name in types}


def check_regular(path: str | PathLike[str]) -> None:
    """Raises InputError unless there is a file: to open a pipe would wait for its other end."""
    if not Path(path).is_file():
        raise InputError(f"there is no file {fspath(path)!r}" if not Path(path).exists() else
                         f"{fspath(path)} is not a file that can be read as a whole")


def _check_names(path: str | PathLike[str]) -> None:
    """Raises InputError where a header names an array twice, of which the package takes one."""
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for k, (name, _) in enumerate(pairs)
                         if name in {other for other, _ in pairs[:k]})
            raise InputError(f"{fspath(path)} is not a whole safetensors file: its header has "
                             f"{twice!r} twice")
        return found
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")      # which the package has checked
        json.loads(file.read(size), object_pairs_hook=once)


def _check_types(path: str | PathLike[str], types: Mapping[str, str], widen: bool) -> None:
    """Raises InputError that names all arrays of a dtype that NumPy lacks."""
    known = {*_NUMPY_HAS, "BF16"} if widen else _NUMPY_HAS
    wrong = [f"  {name!r} is {type_}" for name, type_ in types.items() if type_ not in known]
    if wrong:
        hint = "\n  do: load_file(path, widen=True) makes float32 of bfloat16" \
            if not widen and "BF16" in types.values() else ""
        more = f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise InputError(f"{fspath(path)} has arrays of a dtype that NumPy does not have:\n"
                         + "\n".join(wrong[:10]) + more + hint)


def _bfloat16s(safetensors: Any, path: str | PathLike[str]) -> dict[str, NDArray]:
    """Returns the bfloat16 arrays of a file as float32, of which they are the upper 16 bits."""
    arrays = {}
    for name, raw in safetensors.deserialize(Path(path).read_bytes()):
        if raw["dtype"] == "BF16":
            upper = np.frombuffer(raw["data"], "<u2").astype(np.uint32)
            arrays[name] = (upper << 16).view(np.float32).reshape(raw["shape"])
    return arrays


def _wide(array: NDArray) -> NDArray:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def save_file(state: Mapping[str, Any], path: str | PathLike[str],
              metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays under their names into a safetensors file, in one step.

    state: a state dict, or any mapping of names to what numpy.asarray takes. The arrays keep their
    dtypes; those of any memory order are written row by row.
    metadata: texts to store beside them.
    Raises InputError that names every array that is not of numbers or bools, and where the file
    cannot be written; MissingExtraError without safetensors.
    """
    numpy_files = import_extra("safetensors.numpy", "files", f"writing {fspath(path)}")
    if not isinstance(state, Mapping):
        raise InputError(f"a state dict maps names to arrays, got {type(state).__name__}")
    arrays = {name: a.numpy() if isinstance(a, Array) else np.asarray(a)
              for name, a in state.items()}
    wrong = [f"{name!r} is of {array.dtype}" for name, array in arrays.items()
             if array.dtype.kind not in _SAVED or array.dtype.itemsize > 8]
    wrong += [f"the name {name!r} is no text" for name in arrays if not isinstance(name, str)]
    if wrong:
        raise InputError("safetensors holds arrays of numbers and bools: " + "; ".join(wrong))
    check_folder(path)
    content = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    replace_file(path, numpy_files.save(content, dict(metadata) if metadata else None))


def check_folder(path: str | PathLike[str]) -> None:
    """Raises InputError where there is no folder to write such a file into."""
    if not Path(path).parent.is_dir():
        raise InputError(f"cannot write {fspath(path)}: there is no folder {Path(path).parent}")


def replace_file(path: str | PathLike[str], content: bytes | Iterable[bytes | memoryview]) -> None:
    """Writes a file in one step, so that a reader sees the old content or the new one.

    content: as a whole or in parts.
    Raises InputError where that fails; then the old file is as it was.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
        partial.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def load_weights(path: str) -> dict[str, NDArray]:
    """Returns the arrays of a .safetensors or .npz file; halves become float32.

    Raises InputError for another file, and for one that cannot be read.
    """
    if path.endswith(".safetensors"):
        return load_file(path, widen=True)
    if not path.endswith(".npz"):
        raise InputError(f"weights are a .safetensors or .npz file, not {path}")
    check_regular(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: _wide(array) for name, array in arrays.items()}
    except (OSError, ValueError, EOFError, AttributeError, BadZipFile):
        raise InputError(f"{path} is not a whole .npz file of numbers, as numpy.savez writes one"
                         ) from None
