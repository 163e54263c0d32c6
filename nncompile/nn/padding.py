"""Layers that add elements on the sides of their input; see nn.functional.pad for the modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import nncompile.nn.functional as F
from nncompile.array import Array
from nncompile.nn.module import Module
from nncompile.nn.tuples import _ntuple


class _Pad(Module):
    """Pads the last dimensions, as many as the class's name says.

    padding: one number for all sides, or pairs (before, after), for the last dimension first.
    """

    _dimensions: ClassVar[int]
    _mode: ClassVar[str]
    padding: Sequence[int]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._dimensions)(padding)

    def forward(self, input: Array) -> Any:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_Pad):
    """Pads with one number."""

    _mode = "constant"
    value: float

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Array) -> Any:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPadNd(_ConstantPadNd):
    """Pads with zeros."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_Pad):
    """Pads with the input mirrored, without its edge."""

    _mode = "reflect"


class _ReplicationPadNd(_Pad):
    """Pads with the edge of the input."""

    _mode = "replicate"


class _CircularPadNd(_Pad):
    """Pads with what is on the other side of the input."""

    _mode = "circular"


def _layers(base: type[_Pad], name: str) -> list[type[_Pad]]:
    """Makes the layers of a kind for one, two and three dimensions."""
    return [type(f"{name}{n}d", (base,), {"_dimensions": n, "__module__": __name__, "__doc__": (
        f"{str(base.__doc__).removesuffix('.')}, in the last {n} dimensions.")})
        for n in (1, 2, 3)]


ConstantPad1d, ConstantPad2d, ConstantPad3d = _layers(_ConstantPadNd, "ConstantPad")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _layers(_ZeroPadNd, "ZeroPad")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _layers(_ReflectionPadNd, "ReflectionPad")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _layers(_ReplicationPadNd, "ReplicationPad")
CircularPad1d, CircularPad2d, CircularPad3d = _layers(_CircularPadNd, "CircularPad")
