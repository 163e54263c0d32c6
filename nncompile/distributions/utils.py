"""What distributions share: parameters brought to one shape, probabilities and their logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array, as_array
from nncompile.array.array import apply, in_type
from nncompile.array.creation import broadcast_tensors
from nncompile.array.dtypes import DEFAULT_FLOAT, Scalar
from nncompile.array.sizes import is_traced
from nncompile.errors import InputError
from nncompile.functions import where
from nncompile.nn.functional import logsigmoid
from nncompile.placeholders import getter

__all__ = ["broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits"]


def broadcast_all(*values: Any) -> tuple[Array, ...]:
    """Returns arrays and numbers as arrays of the shape that they broadcast to.

    Numbers take the dtype of the first array; where there is none, they are float32.
    Raises InputError for anything else.
    """
    for value in values:
        if not isinstance(value, Array | np.ndarray | bool | int | float) and not is_traced(value):
            raise InputError("the parameters of a distribution are arrays and numbers, not "
                             f"{type(value).__name__}")
    first = next((as_array("a distribution", v) for v in values
                  if isinstance(v, Array | np.ndarray)), None)
    dtype = DEFAULT_FLOAT if first is None else first.type.dtype
    return broadcast_tensors(*(_parameter(value, dtype) for value in values))


def _parameter(value: Any, dtype: str) -> Array:
    if isinstance(value, Array | np.ndarray):
        return as_array("a distribution", value)
    made = in_type(value, dtype)
    return made if isinstance(made, Array) else apply("full", made, shape=(), dtype=dtype)


def are_numbers(*values: Any) -> bool:
    """Returns whether all are numbers, so that a distribution of them has no batch."""
    return all(isinstance(value, Scalar) for value in values)


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """Returns probabilities: of 1, or of each class along the last dimension."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Returns the log-odds of probabilities, or their logarithms along the last dimension."""
    kept = clamp_probs(probs)
    return kept.log() - (-kept).log1p() if is_binary else kept.log()


def clamp_probs(probs: Any) -> Any:
    """Returns probabilities that are neither 0 nor 1, so that their logits are finite."""
    least = float(np.finfo(probs.dtype).eps)
    return probs.clamp(min=least, max=1 - least)


def cross_entropy_of_bits(logits: Any, bits: Any) -> Any:
    """Returns -log of the probability of 0 or 1, or of the mean of both where it is between."""
    return where(bits == 0, 0.0, -bits * logsigmoid(logits)) + where(
        bits == 1, 0.0, (bits - 1) * logsigmoid(-logits))


def sum_rightmost(value: Any, count: int) -> Any:
    """Returns the sum over the last dimensions."""
    return value.sum(tuple(range(-count, 0))) if count else value


class lazy_property:
    """An attribute that is computed when it is asked for, unless the instance has it.

    It is computed each time, so that an object which outlives a trace keeps none of its values.
    """

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped, self.__doc__ = wrapped, wrapped.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else self.wrapped(instance)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
