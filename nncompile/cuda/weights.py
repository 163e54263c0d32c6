"""The constants of a program as its kernels read them: arrays that live on the device.

Generated source names them W0, W1, ...; they are passed as an argument. So models of one structure
share their kernels, and new weights need no new code.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ir.types import NDArray
from nncompile.schedule import Constant, Place


def constant_name(place: Place) -> str:
    """Returns the variable of a constant in generated source."""
    return f"W{place.number}"


def about(constant: Constant) -> str:
    """Returns what a comment says of the constant."""
    if constant.layout == "transposed":
        return f"{list(constant.shape)[::-1]}, a weight transposed"
    return f"{list(constant.shape)}"


def upload(constants: Sequence[Constant], sources: Sequence[NDArray], cuda: Any) -> list[Any]:
    """Returns all constants as 1-D device arrays.

    An empty one gets an element that is never read.
    """
    arrays = [np.ascontiguousarray(sources[c.sources[0]].T if c.layout == "transposed"
                                   else sources[c.sources[0]]).ravel() for c in constants]
    return [cuda.to_device(a if a.size else np.zeros(1, a.dtype)) for a in arrays]


def download(constants: Sequence[Constant], weights: Sequence[Any], source: int) -> NDArray:
    """Returns the source of this number, as `upload` was given it."""
    k, constant = next((k, c) for k, c in enumerate(constants) if source in c.sources)
    transposed = constant.layout == "transposed"
    shape = constant.shape[::-1] if transposed else constant.shape
    array: NDArray = weights[k].copy_to_host()[:prod(shape)].reshape(shape)
    return np.ascontiguousarray(array.T) if transposed else array
