"""Pausing Python's garbage collector while modules are imported and models are compiled."""
from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Turns the garbage collector off in the body of a `with`, or in a decorated function.

    Compiling makes many small objects, some thousands for each hundred nodes and a hundred thousand
    in numba, nearly all of which live until it is done. To look through them again and again, and
    through all that was imported, takes a tenth of its time, and as large a part of an import,
    whose objects are never freed. The collector looks at them once, later.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
