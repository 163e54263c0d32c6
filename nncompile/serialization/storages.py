"""What the bytes of a checkpoint's arrays are: torch's storages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ir import NDArray


class Storage(NamedTuple):
    """A class of torch's for bytes of one element type.

    dtype: of the bytes; wide: what makes an array of a type that is here of one that is not.
    """

    dtype: np.dtype[np.generic]
    wide: Callable[[NDArray], NDArray] | None = None


def _of_half(numbers: NDArray) -> NDArray:
    return numbers.astype(np.float32)


def _of_bfloat16(numbers: NDArray) -> NDArray:
    """Returns float32, of which a bfloat16 is the upper 16 bits."""
    return (numbers.astype(np.uint32) << 16).view(np.float32)


STORAGES = {
    "FloatStorage": Storage(np.dtype("f4")), "DoubleStorage": Storage(np.dtype("f8")),
    "CharStorage": Storage(np.dtype("i1")), "ByteStorage": Storage(np.dtype("u1")),
    "IntStorage": Storage(np.dtype("i4")), "LongStorage": Storage(np.dtype("i8")),
    "BoolStorage": Storage(np.dtype("?")), "HalfStorage": Storage(np.dtype("f2"), _of_half),
    "BFloat16Storage": Storage(np.dtype("u2"), _of_bfloat16),
}
NAMES = {storage.dtype: name for name, storage in STORAGES.items() if storage.wide is None}
