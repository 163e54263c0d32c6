"""Python's garbage collector: paused while models are compiled, spared what is imported."""
from __future__ import annotations

import gc
import os
from _thread import get_ident
from collections.abc import Iterator
from contextlib import contextmanager

_pausing: int | None = None                   # the thread that will turn the collector on again


@contextmanager
def paused_collection() -> Iterator[None]:
    """Turns the garbage collector off in the body of a `with`, or in a decorated function.

    Compiling makes many small objects, some thousands for each hundred nodes and a hundred thousand
    in numba, nearly all of which live until it is done. To look through them again and again, and
    through all that was imported, takes a tenth of its time. The collector looks at them once,
    later.
    """
    global _pausing
    collects = gc.isenabled()
    gc.disable()
    if collects:
        _pausing = get_ident()
    try:
        yield
    finally:
        if collects:
            _pausing = None
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Turns the garbage collector off in the body of a `with` that imports modules.

    What they define is never freed. Looking through it once would take a tenth of the time of
    `import nncompile` or more, so it joins the oldest objects, at which only a full collection
    looks; so do the objects that are young at that moment.
    """
    with paused_collection():
        yield
        if gc.get_freeze_count() == 0:        # else the process has frozen objects, and they stay
            gc.freeze()                       # takes all objects out of their generations
            gc.unfreeze()                     # puts them into the oldest one


def _go_on() -> None:
    """In a forked child, in which the thread that paused the collector may not exist."""
    global _pausing
    if _pausing not in (None, get_ident()):
        _pausing = None
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_go_on)
