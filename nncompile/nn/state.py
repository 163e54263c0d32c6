"""Loading a state dict: every problem is found first and named at once, then all is copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nncompile.array import Array
from nncompile.errors import InputError
from nncompile.nn.parameter import UninitializedParameter, as_data


class IncompatibleKeys(NamedTuple):
    """The keys that a load with strict=False passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (f"IncompatibleKeys(missing_keys={self.missing_keys}, "
                f"unexpected_keys={self.unexpected_keys})")


def load(name: str, own: Mapping[str, Array], state: Mapping[str, Any], strict: bool,
         assign: bool = False) -> IncompatibleKeys:
    """Copy the values of `state` into the arrays of `own`, all of them or none; with `assign`, the
    arrays themselves.

    Each array is replaced, not written to, so a graph traced before keeps its numbers.
    Errors: InputError naming each key that is missing, unexpected (both only if strict), of
    another shape, or no array of real numbers.
    """
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    problems = []
    if strict and missing:
        problems.append(f"missing keys: {', '.join(missing)}")
    if strict and unexpected:
        problems.append(f"unexpected keys: {', '.join(map(str, unexpected))}")
    loaded: dict[str, NDArray[Any]] = {}
    for key, array in own.items():
        if key not in state:
            continue
        try:
            loaded[key] = fitting(state[key], array, assign)
        except (InputError, TypeError, ValueError, RuntimeError) as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise InputError("\n  ".join([f"the state dict does not fit {name}:", *problems]))
    for key, values in loaded.items():
        if isinstance(array := own[key], UninitializedParameter):
            array.materialize(values.shape)
        array.payload = values
    return IncompatibleKeys(missing, unexpected)


def fitting(given: Any, target: Array, assign: bool) -> NDArray[Any]:
    """The given numbers in an array of their own, of the target's shape and type; with `assign`,
    in their own array and type."""
    values = np.asarray(given)
    if values.dtype.kind not in "fiub" or (values.dtype.kind == "f") > (target.dtype.kind == "f"):
        raise InputError(f"values of type {values.dtype} cannot become {target.type}")
    if values.shape != target.shape and not isinstance(target, UninitializedParameter):
        raise InputError(f"the shape is {list(values.shape)}, the model's {list(target.shape)}")
    return as_data(values) if assign else np.array(values, target.dtype, order="C")
