"""Messages for faults: what a step's kernel reports where a number among the data is wrong.

The kernels of every target report the same: the step, the number, and the size that it has to fit.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping

from nncompile.errors import InputError
from nncompile.schedule.program import Step


def fault(step: Step, number: int, size: int) -> InputError:
    """Returns the error to raise for what the kernel of this step has reported."""
    message = _MESSAGES.get(step.kind, _index_of_axis)
    return InputError(f"{message(number, size)}{step.node.where.note}")


def _divided(number: int, size: int) -> str:
    return "an integer is divided by zero"


def _index_of_axis(number: int, size: int) -> str:
    return f"index {number} is outside an axis of {size} elements"


def _row(number: int, size: int) -> str:
    return f"index {number} is outside an embedding of {size} rows"


def _row_or_offset(number: int, size: int) -> str:
    """Returns the message for a wrong index or offset.

    A wrong offset is reported with -1 - the number of ids in place of the size.
    """
    if size >= 0:
        return _row(number, size)
    return (f"offset {number} is none of a bag: offsets begin with 0 and rise up to {-1 - size}, "
            "the number of ids")


# Kinds of steps that report anything but an index outside an axis.
_MESSAGES: Mapping[str, Callable[[int, int], str]] = {
    "elementwise": _divided, "embedding": _row, "embedding_bag": _row_or_offset}
