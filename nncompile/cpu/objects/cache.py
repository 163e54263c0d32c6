"""The object cache: code that is compiled once on a machine and loaded by every later process.

The option CACHE_DIR names the folder or turns the cache off. What is loaded is run, so only files
that this user alone can write are read: a folder or file that belongs to another user, that others
may write, or that is a symbolic link is not used. Without a usable folder everything works, and is
compiled anew in each process, of which a warning tells once.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np

from ir.records import dataclass
from nncompile import forks, options
from nncompile.cpu.vector import Target

MAX_BYTES = 256 << 20             # of the whole folder; the least recently used entries are removed
_LOOKS = 64                       # at the size of the folder, while a process fills it
_MAGIC = b"nncompile object 2\n"
_SUFFIX, _UNFINISHED = ".o", ".tmp"
_ABOUT = 100                      # bytes of an entry that say what it is, for people
_DIGEST = hashlib.sha256().digest_size
_HOUR = 3600.0
_NO_HOME = "there is no home folder"


@dataclass(frozen=True)
class Entry:
    """An entry for people: what it is, its size, when it was used last, and what is wrong with it.

    kind: such as "driver", the code of a model, or "kernel", which all models share. about: the
    types and steps of a model, or a kernel's name. wrong: "" for a whole entry.
    """

    kind: str
    about: str
    bytes: int
    used: float                   # seconds since 1970
    wrong: str
    path: Path


@dataclass(frozen=True)
class Info:
    """The state of the cache: its folder, or why there is none, and its size."""

    folder: Path | None
    reason: str                   # why `folder` is None, "" otherwise
    entries: int
    bytes: int


class Slot:
    """The place of one object in the cache. `code` is what is there, None where there is nothing.

    sources: modules that decide, besides nncompile.cpu, what is there; of a package all in it.
    """

    def __init__(self, kind: str, name: str, target: Target, sources: Sequence[str] = ()) -> None:
        digests = [_digest_of(module) for module in sources]
        words = "\n".join((kind, name, repr(target), environment(), *digests))
        self._key = hashlib.sha256(words.encode()).digest()
        self._about = name.strip('"').partition("\n")[0].encode()[:_ABOUT].ljust(_ABOUT)
        self._folder, reason = usable_folder()
        if "" in digests:
            self._folder, reason = None, "the sources of nncompile cannot be read"
        self.code: bytes | None = None
        if self._folder is not None:
            self._path = self._folder / f"{kind}-{self._key.hex()[:32]}{_SUFFIX}"
            self.code = _read(self._path, self._key)
        elif options.CACHE_DIR.value() != "off":
            _warn(reason)

    @property
    def keeps(self) -> bool:
        """Whether later processes find here what is kept."""
        return self._folder is not None

    def keep(self, code: bytes) -> bytes:
        """Returns the code, which later processes find here."""
        if self._folder is not None:
            try:
                entry = _entry(self._key, self._about, code)
                write(self._path, entry)
                _keep_bounded(self._folder, len(entry))
            except OSError as error:                  # the disk is full or read-only
                _warn(f"{self._folder}: {error.strerror or error}")
        return code


def cached(kind: str, name: str, target: Target, build: Callable[[], bytes]) -> bytes:
    """Returns `build()`, or what it returned in an earlier process.

    Entries are found by their content: `kind` and `name` together with everything that decides what
    is built, which are the target, our sources, and the versions of llvmlite, numba, NumPy and
    Python.
    """
    slot = Slot(kind, name, target)
    return slot.keep(build()) if slot.code is None else slot.code


@functools.cache                                      # once in a process
def _warn(reason: str) -> None:
    warnings.warn(f"machine code cannot be kept, so each process compiles anew: {reason}\n"
                  f"  do: let {options.CACHE_DIR.variable} name a folder that this user alone can "
                  "write, or set it to off", stacklevel=3)


def info() -> Info:
    """Returns where the cache is and how much it holds."""
    folder, reason = usable_folder()
    sizes = [size for _, size, _ in entries(folder)] if folder is not None else []
    return Info(folder, reason, len(sizes), sum(sizes))


def listed() -> list[Entry]:
    """Returns every entry, the one that was used last first."""
    folder, _ = usable_folder()
    found = []
    for used, size, path in reversed(entries(folder) if folder is not None else []):
        about, wrong = _inspected(path)
        found.append(Entry(path.name.partition("-")[0], about, size, used, wrong, path))
    return found


def clear() -> int:
    """Deletes every entry, and returns how many there were."""
    folder, _ = usable_folder()
    return _remove_oldest(folder, 0) if folder is not None else 0


# -- keys ------------------------------------------------------------------------------------------

@functools.cache
def environment() -> str:
    """Returns what decides, besides the target, which code is built; "" where that is unknown."""
    sources = digest_of_modules(os.path.dirname(os.path.dirname(__file__)),
                                getattr(globals()["__loader__"], "archive", None))
    if not sources:
        return ""
    versions = (llvmlite.__version__, _numba_version(), np.__version__, sys.version,
                sys.implementation.cache_tag, getattr(sys, "abiflags", ""))
    return f"{sources} {versions}"


def digest_of_modules(folder: str, archive: str | None = None) -> str:
    """Returns a digest of the sources in the folder and below, or of byte code without sources.

    Modules that are imported from a zip file have no folder: then it is a digest of that file, the
    `archive`. "" where nothing can be read.
    """
    digest, folders, found = hashlib.sha256(), [folder], False
    with contextlib.suppress(OSError):
        for place in folders:                     # grows in the loop
            for entry in sorted(os.scandir(place), key=lambda e: e.name):
                if entry.name.endswith((".py", ".pyc")):
                    with open(entry.path, "rb", buffering=0) as file:
                        text = file.read()
                    digest.update(f"{entry.path[len(folder):]} {len(text)}\n".encode() + text)
                    found = True
                elif entry.name != "__pycache__" and entry.is_dir():
                    folders.append(entry.path)
    with contextlib.suppress(OSError):
        if not found and archive is not None:
            digest.update(Path(archive).read_bytes())
            found = True
    return digest.hexdigest() if found else ""


@functools.cache
def _digest_of(module: str) -> str:
    """A digest of the sources of a module, and of all that is in a package; "" for none.

    The module need not be loaded, but what it is in.
    """
    spec: Any = find_spec(module)
    if spec.submodule_search_locations is None:
        return hashlib.sha256(spec.loader.get_data(spec.origin)).hexdigest()
    return digest_of_modules(spec.submodule_search_locations[0],
                             getattr(spec.loader, "archive", None))


def _numba_version() -> str:
    """Returns numba's version.

    It imports neither numba nor importlib.metadata, which take longer than all else here.
    """
    spec = find_spec("numba")
    if spec is None or spec.origin is None:
        return "none"
    try:
        return Path(spec.origin).with_name("_version.py").read_text()
    except OSError:
        return spec.origin


# -- the folder ------------------------------------------------------------------------------------

_making = forks.lock()                # held while the folder is made


def usable_folder() -> tuple[Path | None, str]:
    """Returns the folder, which is made if need be, or None and why."""
    if options.CACHE_DIR.value() == "off":
        return None, f"{options.CACHE_DIR.variable}=off"
    if not environment():
        return None, "nncompile's modules cannot be read, so its versions cannot be told apart"
    path = wanted_folder()
    if path is None:
        return None, _NO_HOME if not options.CACHE_DIR.value() else (
            f"{options.CACHE_DIR.variable}={options.CACHE_DIR.value()}: there is no such user")
    try:
        with _making, contextlib.suppress(FileExistsError):        # then _mistrust says what it is
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = _mistrust(path.lstat(), stat.S_ISDIR)
        return (None, f"{path} {why}") if why else (path, "")
    except OSError as error:
        return None, f"{path}: {error.strerror or error}"


def wanted_folder() -> Path | None:
    """Returns the folder that the option or the environment names; None without a home folder."""
    try:
        if own := options.CACHE_DIR.value():
            return Path(own).expanduser()
        if (xdg := os.environ.get("XDG_CACHE_HOME")) and os.path.isabs(xdg):
            return Path(xdg) / "nncompile"
        return Path.home() / ".cache" / "nncompile"
    except RuntimeError:                                   # neither HOME nor a known user
        return None


def _mistrust(status: os.stat_result, is_kind: Callable[[int], bool]) -> str:
    """Returns why a folder or file is not used; "" if it may be."""
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not is_kind(status.st_mode):
        return "is of another kind, such as a pipe or a device"
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        return "belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by other users"
    return ""


# -- entries ---------------------------------------------------------------------------------------

def _entry(key: bytes, about: bytes, code: bytes) -> bytes:
    """Returns the content of a file: a digest of all that follows, the key, words, and the code."""
    rest = key + about + code
    return _MAGIC + hashlib.sha256(rest).digest() + rest


def _inspected(path: Path) -> tuple[str, str]:
    """Returns what an entry says that it is, and what is wrong with it."""
    blob = contents(path)
    if blob is None:
        return "", "not this user's own file, or not readable"
    if not blob.startswith(_MAGIC):
        return "", ("of another version" if blob.startswith(_MAGIC[:17]) else "damaged")
    start = len(_MAGIC) + _DIGEST
    rest = blob[start:]
    key, about = rest[:_DIGEST], rest[_DIGEST:_DIGEST + _ABOUT]
    whole = (hashlib.sha256(rest).digest() == blob[len(_MAGIC):start]
             and path.stem.endswith(f"-{key.hex()[:32]}"))
    return about.decode(errors="replace").strip(), "" if whole else "damaged"


def _read(path: Path, key: bytes) -> bytes | None:
    """Returns the code at `path`, or None where it is missing, damaged, or of another key."""
    blob = contents(path)
    if blob is None:
        return None
    with contextlib.suppress(OSError):                     # the folder may be read-only
        os.utime(path, follow_symlinks=False)              # marks it as used
    start = len(_MAGIC) + _DIGEST
    rest = blob[start:]
    whole = rest.startswith(key) and blob[:start] == _MAGIC + hashlib.sha256(rest).digest()
    return rest[_DIGEST + _ABOUT:] if whole else None


def contents(path: Path) -> bytes | None:
    """Returns what the file holds; None unless it can be read and is this user's own file.

    It never waits, as reading a pipe would.
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):     # of which no system has all
        flags |= getattr(os, name, 0)
    try:
        file = os.open(path, flags)
        try:
            status = os.fstat(file)
            if _mistrust(status, stat.S_ISREG):
                return None
            return os.read(file, min(status.st_size, MAX_BYTES))
        finally:
            os.close(file)
    except OSError:
        return None


def write(path: Path, contents: bytes) -> None:
    """Writes a file in one step, so that another process never sees a part of it."""
    number, name = tempfile.mkstemp(_UNFINISHED, dir=path.parent)
    try:
        with open(number, "wb") as file:
            file.write(contents)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def entries(folder: Path) -> list[tuple[float, int, Path]]:
    """Returns the time of last use, the size and the path of every entry, the oldest first."""
    found = []
    for path in folder.glob("*" + _SUFFIX):
        with contextlib.suppress(OSError):
            status = path.lstat()
            found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


_unseen: dict[Path, int] = {}         # bytes written to a folder since this process looked at it


def _keep_bounded(folder: Path, written: int) -> None:
    """Removes entries if the folder may be too large, after a write of so many bytes.

    To look takes as long as there are entries, and a model writes dozens. So a process looks when
    it first writes, and whenever it has written a small part of what the folder may hold.
    """
    unseen = _unseen.get(folder, MAX_BYTES) + written
    if unseen > MAX_BYTES // _LOOKS:
        _remove_oldest(folder, MAX_BYTES)
        unseen = 0
    _unseen[folder] = unseen


def _remove_oldest(folder: Path, most: int) -> int:
    """Leaves at most `most` bytes, and no file that a process left unfinished an hour ago."""
    for path in folder.glob("*" + _UNFINISHED):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < time.time() - _HOUR:
                path.unlink()
    found, removed = entries(folder), 0
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= most and most > 0:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            removed += 1
        total -= size
    return removed
