"""The dispatcher, which computes or records each op of a forward: payloads in, payloads out.

A payload is what an array holds: an ndarray, an ndarray whose gradient may be asked for, or a value
of the graph that is being traced. Every function of arrays ends in ops of the IR, and hands them to
the current dispatcher. The one here is eager and evaluates each op at once; `nncompile.trace` has
another, which records it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ir
from ir import Dim, Error, NDArray, TensorType, Value, type_of
from ir.ops import Attrs, evaluate, infer
from nncompile.array.gradients import grad_enabled
from nncompile.array.tape import Payload, Tracked, bare
from nncompile.errors import GradientError

# Frames of these packages are not the user's.
_OURS = (str(Path(__file__).parents[1]) + os.sep, *(
    str(Path(str(package.__file__)).parent) + os.sep
    for package in (ir, np)
))


@lru_cache(maxsize=4096)
def is_ours(file: str) -> bool:
    """Returns whether a file belongs to the packages whose frames are not the user's.

    It is asked about each frame around each op. einops is one of them where a program uses it.
    """
    einops = str(getattr(sys.modules.get("einops"), "__file__", None) or "")
    return file.startswith(_OURS) or (einops != "" and file.startswith(os.path.dirname(einops)))


# What the type rules have allowed. A loop asks for the same few again and again.
_allowed: set[tuple[Any, ...]] = set()
_MOST_ALLOWED = 8192


def _check(name: str, operands: Sequence[NDArray | float], attrs: Attrs) -> None:
    """Raises Error where the type rule of an op refuses its operands or attributes.

    They are the same rules as in a trace, so that what runs here can also be compiled.
    """
    # Of a float dtype every number is an element, whereas whether 300 is a uint8 depends on it. The
    # text of the attributes keeps 1, 1.0 and True apart.
    are_floats = any([isinstance(o, np.ndarray) and o.dtype.kind == "f" for o in operands])
    key = (name, *[(o.dtype.char, o.shape) if isinstance(o, np.ndarray) else
                   None if are_floats else o for o in operands], repr(attrs) if attrs else "")
    if key in _allowed:
        return
    infer(name, [type_of(o) if isinstance(o, np.ndarray) else o for o in operands], attrs)
    if len(_allowed) >= _MOST_ALLOWED:
        _allowed.clear()
    _allowed.add(key)


class Change(NamedTuple):
    """A change in place that is about to happen to an array."""

    what: str                                    # the operation that changes the array
    type: TensorType                             # the array's
    payload: Payload                             # of its storage, which views share
    made_in: int                                 # the number of the dispatcher that made it
    frozen: bool                                 # a leaf that requires a gradient, or its view


class Dispatcher:
    """The eager dispatcher: it evaluates each op by its NumPy reference."""

    records = False                              # whether a model is being traced
    differentiates = False                       # whether it is traced for its gradients
    _numbers = count()

    def __init__(self) -> None:
        self.number = next(self._numbers)        # says which dispatcher made a storage
        self.examples: dict[str, int] = {}       # of the named sizes of a trace

    def op(self, name: str, operands: Sequence[Payload | float], attrs: Attrs) -> Payload:
        """Returns the result of an op.

        Raises Error where the op's type rule refuses the operands.
        """
        arrays = [o if isinstance(o, float | np.ndarray) else self.numbers(o, name)
                  for o in operands]
        _check(name, arrays, attrs)
        result = evaluate(name, arrays, attrs)
        if any(isinstance(o, Tracked) for o in operands) and result.dtype.kind == "f" and (
                grad_enabled.get()):
            return Tracked(result, name, operands, attrs)
        return result

    def numbers(self, payload: Payload, what: str) -> NDArray:
        """Returns the numbers of a payload, which the operation `what` needs.

        Raises Error where the payload was kept from a trace.
        """
        if isinstance(payload, Value):
            raise Error(f"{what} got an array that was kept from a trace: it has no numbers")
        return payload.numbers if isinstance(payload, Tracked) else payload

    def knows(self, payload: Payload) -> bool:
        """Returns whether the numbers of a payload are known: all are, outside of a trace."""
        return True

    def is_same(self, first: Payload | float, second: Payload | float) -> bool:
        """Returns whether two payloads are certainly the same numbers in every call."""
        return first is second

    def detached(self, payload: Payload) -> Payload:
        """Returns a payload that gradients count as a constant."""
        return bare(payload)

    def copied(self, payload: Payload) -> Payload:
        """Returns a payload that no later change of the numbers reaches."""
        if isinstance(payload, Tracked):
            copy = payload.numbers.copy()
            return Tracked(copy, "identity", [payload]) if grad_enabled.get() else copy
        return payload.copy() if isinstance(payload, np.ndarray) else payload

    def decide(self, left: Dim, relation: str, right: Dim) -> bool:
        """Returns how two sizes compare, which is not the same in every call.

        Raises Error outside of a trace, whose calls could check it.
        """
        raise Error(f"whether {left} {relation} {right} is not known before run time")

    def require(self, left: Dim, relation: str, right: Dim) -> None:
        """Makes calls check a comparison of sizes. Raises Error outside of a trace."""
        self.decide(left, relation, right)

    def check_random(self, what: str) -> None:
        """Raises Error where `what` may not draw random numbers: in a trace."""

    def check_training(self, what: str, type_: TensorType) -> None:
        """Raises Error in a trace, where `what` is not possible since only training does it.

        type_: of the array that it is done with.
        """

    def uniform(self, type_: TensorType) -> Payload:
        """Returns random numbers on [0, 1) of this type, drawn anew in each run of the graph.

        Only what `differentiates` has it: other graphs are the same in every call.
        """
        raise NotImplementedError

    def trains(self, payloads: Iterable[Payload]) -> bool:
        """Returns whether a gradient is wanted by something that one of these depends on.

        Only what `differentiates` has it.
        """
        raise NotImplementedError

    def note_sparse(self, table: Payload, ids: Payload, padding: int | None) -> None:
        """Is told that the gradient of a table is to have the rows alone that are looked up now.

        padding: the id of a row that its gradient has not.
        """

    def keep(self, owned: Payload, new: Payload) -> None:
        """Makes `new` what an array of the model holds after each run of the graph.

        Only what `differentiates` has it: other graphs change nothing.
        """
        raise NotImplementedError

    def check_change(self, change: Change) -> None:
        """Raises Error where an array may not be changed in place."""
        if change.frozen:
            raise GradientError(f"{change.what} changes an array that requires a gradient (a leaf "
                                "Variable that requires grad is being used in an in-place "
                                "operation): do it with no_grad(), or change its .data")


OUTSIDE = Dispatcher()                           # of every forward
INSIDE = Dispatcher()                            # of a forward that is not traced
current: ContextVar[Dispatcher] = ContextVar("dispatcher", default=OUTSIDE)
