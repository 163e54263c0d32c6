"""len() while a model is traced: the number of rows of an array, also where it is symbolic.

Python's own len() can only return an int, and `batch = len(x)` is the same question as
`batch = x.shape[0]`. So a trace puts another function in the place of `builtins.len`, and takes it
away again. That function is Python's for everything but an array whose first size is symbolic.
"""
from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nncompile.array.core import Core
from nncompile.forks import lock

_len = builtins.len
_lock = lock()
_tracing: list[Any] = []                         # what was builtins.len before each trace that runs


def len_of_sizes(obj: Any, /) -> Any:
    """Returns the number of items; of an array its first size, as x.shape[0]."""
    if isinstance(obj, Core) and type(obj).__len__ is Core.__len__ and (shape := obj.shape):
        return shape[0]
    return _len(obj)


@contextmanager
def symbolic_lengths() -> Iterator[None]:
    """Makes len() answer for arrays with a symbolic first size until the end of the block.

    Traces may be nested, and several threads may trace at a time: the last one to end restores it.
    """
    with _lock:
        _tracing.append(builtins.len)
        vars(builtins)["len"] = len_of_sizes
    try:
        yield
    finally:
        with _lock:
            before = _tracing.pop()
            if not _tracing and builtins.len is len_of_sizes:
                vars(builtins)["len"] = before
