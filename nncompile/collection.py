"""Python's garbage collector while modules are imported and models are compiled."""
from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause garbage collection.

    Compiling makes many small objects, some thousands for each hundred nodes and a hundred
    thousand of numba's, nearly all of which live until it is done; looking through them again and
    again, and through all that was imported, is a tenth of its time.  It is as much of the time of
    an import, whose objects live for good.  The collector looks at them once, later.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
