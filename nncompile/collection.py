"""Python's garbage collector while a model is compiled."""
from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Compiling makes many small objects, some thousands for each hundred nodes and a hundred
    thousand of numba's, nearly all of which live until it is done; looking through them again and
    again, and through all that was imported, is a tenth of its time.  What it leaves is looked
    through once, when objects are made behind it.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
