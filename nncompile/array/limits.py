"""The limits of element types, as torch.finfo and torch.iinfo have them: Python's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ir import Error
from nncompile.array.dtypes import OF_IR, TORCH_DTYPES, ElementType, bfloat16, float32, name_of

# NumPy has no bfloat16: eight bits of exponent and seven of mantissa.
_BFLOAT16 = {"bits": 16, "eps": 2.0**-7, "max": (2 - 2.0**-7) * 2.0**127,
             "min": -(2 - 2.0**-7) * 2.0**127, "tiny": 2.0**-126, "resolution": 0.01}


def _element_type(dtype: Any) -> ElementType:
    return dtype if isinstance(dtype, ElementType) else OF_IR[name_of(dtype)]


class finfo:
    """The limits of a type of floats; float32 by default.

    bits, eps, max, min, tiny and smallest_normal, which are the same, and resolution.
    Raises Error for another type.
    """

    bits: int
    eps: float
    max: float
    min: float
    tiny: float
    resolution: float

    def __init__(self, type: Any = float32) -> None:
        kind = _element_type(type)
        if not kind.is_floating_point:
            raise Error(f"torch.finfo takes a type of floats, not {kind}: torch.iinfo has the "
                        "limits of integers")
        self.dtype = kind.torch_name
        limits = _BFLOAT16
        if kind is not bfloat16:
            known = np.finfo(kind.dtype)
            limits = {name: getattr(known, name).item() for name in
                      ("eps", "max", "min", "tiny")}
            limits |= {"bits": known.bits, "resolution": 10.0**-known.precision}
        vars(self).update(limits)

    @property
    def smallest_normal(self) -> float:
        """The smallest number above 0 that has all its bits of precision."""
        return self.tiny

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        values = ", ".join(f"{name}={getattr(self, name):g}" for name in names)
        return f"finfo({values}, dtype={self.dtype})"


class iinfo:
    """The limits of a type of integers: bits, max and min. Raises Error for another type."""

    def __init__(self, type: Any) -> None:
        kind = _element_type(type)
        if kind.is_floating_point or kind.is_complex or kind is TORCH_DTYPES["bool"]:
            raise Error(f"torch.iinfo takes a type of integers, not {kind}: torch.finfo has the "
                        "limits of floats")
        known = np.iinfo(kind.dtype)
        self.dtype = kind.torch_name
        self.bits, self.max, self.min = known.bits, int(known.max), int(known.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
