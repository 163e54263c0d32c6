"""Messages for faults: what a step's kernel reports where a number among the data is wrong.

The kernels of every target report the same: the step, the number, and the size that it has to fit.
"""
from __future__ import annotations

from ir.graph import Node
from nncompile.errors import InputError
from nncompile.schedule.program import Step

_INDEX = "index {number} is outside an axis of {size} elements"
_ROW = "index {number} is outside an embedding of {size} rows"
_OFFSET = ("offset {number} is none of a bag: offsets begin with 0 and rise up to {ids}, the "
           "number of ids")

_INDEXED = ("take_along", "take", "scatter_add")

# Kinds of steps that report anything but an index outside an axis.
_MESSAGES = {"elementwise": "an integer is divided by zero", "embedding": _ROW,
             "embedding_bag": _ROW}


def fault(step: Step, number: int, size: int) -> InputError:
    """Returns the error to raise for what the kernel of this step has reported.

    The kernel of a bag reports a wrong offset with -1 - the number of ids in place of the size.
    """
    is_offset = step.kind == "embedding_bag" and size < 0
    message = _OFFSET if is_offset else _MESSAGES.get(step.kind, _INDEX)
    text = message.format(number=number, size=size, ids=-1 - size)
    return InputError(f"{text}{_node(step).where.note}")


def _node(step: Step) -> Node:
    """The node that may have met a wrong number: of a row group the one that has an index."""
    return next((node for node in step.nodes if node.op in _INDEXED), step.node)
