"""Who computes the ops of a forward: payloads in, payloads out.

A payload is what an array holds: an ndarray, or a value of the graph that is being traced.  Every
function of arrays ends in ops of the IR, and hands them to the current dispatcher.  The one here is
eager, it evaluates each op at once; `nncompile.trace` has another, which records it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ir import Error, TensorType, Value, type_of
from ir.ops import Attrs, evaluate, infer

Payload = NDArray[Any] | Value


class Change(NamedTuple):
    """A change of an array in place that is about to happen."""

    what: str                                    # the operation that changes it
    type: TensorType                             # of the array
    payload: Payload                             # of the array that it is, or shows a part of
    made_in: int                                 # the number of the dispatcher that made this one
    frozen: bool                                 # a Parameter whose gradient is kept, as in torch


class Dispatcher:
    """The eager dispatcher: it evaluates each op by its reference."""

    _numbers = count()

    def __init__(self) -> None:
        self.number = next(self._numbers)        # says which dispatcher made a storage

    def op(self, name: str, operands: Sequence[Payload | float], attrs: Attrs) -> Payload:
        """The result of an op.  Raises Error where the op does not take these operands."""
        arrays = [o if isinstance(o, float) else self.numbers(o, name) for o in operands]
        # The same type rules as in a trace, so that what runs here can also be compiled.
        infer(name, [type_of(a) if isinstance(a, np.ndarray) else a for a in arrays], attrs)
        return evaluate(name, arrays, attrs)

    def numbers(self, payload: Payload, what: str) -> NDArray[Any]:
        """The numbers of a payload, which `what` asks for.  Raises Error where it has none."""
        if isinstance(payload, Value):
            raise Error(f"{what} got an array that was kept from a trace: it has no numbers")
        return payload

    def check_random(self, what: str) -> None:
        """Raises Error where `what` may not draw random numbers."""

    def check_change(self, change: Change) -> None:
        """Raises Error where an array may not be changed in place."""
        if change.frozen:
            raise Error(f"{change.what} changes a Parameter that requires a gradient: do it with "
                        "no_grad(), or change its .data")


OUTSIDE = Dispatcher()                           # of every forward
INSIDE = Dispatcher()                            # of a forward that is not traced
current: ContextVar[Dispatcher] = ContextVar("dispatcher", default=OUTSIDE)
