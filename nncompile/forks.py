"""Locks that no child is forked under.

A forked child has the thread that forked and no other. A lock that another thread held at that
moment is never released in the child, and what the lock protects may be half done. So a fork waits
until nobody holds any of the locks made here, holds all of them meanwhile, and releases them in the
parent and in the child.
"""
from __future__ import annotations

import os
import sys
import weakref
from _thread import RLock, _local  # threading has them from there, and takes longer
from collections.abc import Callable, Sequence
from typing import Any

_Lock = Any                                   # threading.Lock or RLock: the classes have no name
_sources: list[Callable[[], _Lock | None]] = []
_fork = _local()                              # the locks that the fork of this thread holds


def lock() -> Any:
    """Returns a new re-entrant lock that no child is forked under."""
    made = RLock()
    also(weakref.ref(made))
    return made


def also(find: Callable[[], _Lock | None]) -> None:
    """Counts another lock as one of these: the one that `find` returns at each fork, if any."""
    _sources.append(find)


def _numba_compiles() -> _Lock | None:
    """The lock of numba's compiler, which a thread may hold for code that is not ours."""
    module = sys.modules.get("numba.core.compiler_lock")
    return getattr(getattr(module, "global_compiler_lock", None), "_lock", None)


def _llvm_works() -> _Lock | None:
    """The lock that llvmlite holds during every call of LLVM."""
    module = sys.modules.get("llvmlite.binding.ffi")
    return getattr(getattr(getattr(module, "lib", None), "_lock", None), "_lock", None)


also(_numba_compiles)
also(_llvm_works)


def _found() -> list[_Lock]:
    return [lock for find in _sources if (lock := find()) is not None]


def _acquire() -> None:
    _fork.held = []
    while (wanted := _found()) != _fork.held:            # others may appear while this one waits
        _release()
        _acquire_all(wanted)
        _fork.held = wanted


def _acquire_all(locks: Sequence[_Lock]) -> None:
    """Waits for one lock at a time while it holds no other, so that no order can block it."""
    first: _Lock = locks[0]
    while True:
        first.acquire()
        held = [first]
        for other in locks:
            if other is first:
                continue
            if not other.acquire(blocking=False):
                break
            held.append(other)
        else:
            return
        for one in held:
            one.release()
        first = other


def _release() -> None:
    while _fork.held:
        _fork.held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release)
