"""NNCOMPILE_DUMP=folder: every compilation writes its stages there, as numbered text files.

    folder/001-Sequential/00-traced.ir      the graph, then after each pass, when it is reached:
                          01-remove_identity.ir       what precedes an error is there too
                          ...
                          12-program.txt    steps, views and buffers
                          13-source.py      what the target was given

A compilation makes its own folder, which only this user can read, and replaces nothing.
"""
from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

from nncompile import options
from nncompile.errors import CompileError

_Write = Callable[[str, object], None]           # (file name, what str() makes the text of)


def dump(name: str) -> _Write:
    """Returns a function that writes the stages of a compilation of this name.

    It does nothing unless NNCOMPILE_DUMP is set. Both raise CompileError where the folder cannot be
    written.
    """
    asked = options.DUMP.value()
    if not asked:
        return lambda *_: None
    numbers = count()
    try:
        folder = _new_folder(Path(asked).expanduser(), _safe(name))
    except OSError as error:
        raise _refused(error) from None

    def write(file: str, content: object) -> None:
        path = folder / f"{next(numbers):02}-{_safe(file)}"
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(number, "w", encoding="utf-8") as opened:
                opened.write(str(content).rstrip("\n") + "\n")
        except OSError as error:
            raise _refused(error) from None
    return write


def _new_folder(parent: Path, name: str) -> Path:
    """Returns a new folder with the next free number, which `mkdir` decides among processes."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in count(1 + sum(1 for _ in parent.iterdir())):
        path = parent / f"{number:03}-{name}"
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError("numbers do not end")


def _safe(name: str) -> str:
    """Returns the name as part of a file's name: no separators, not hidden, not too long."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)[:80].lstrip(".") or "_"


def _refused(error: OSError) -> CompileError:
    where = f": {error.filename}" if error.filename else ""
    return CompileError(f"{options.DUMP.variable} asks for files that cannot be written{where}: "
                        f"{error.strerror or error}\n"
                        "  do: name a folder of your own, or unset it")
