"""The constants of a program in one block of memory, as its kernels read them.

Generated source names their places in it (W0 = 0, W1 = 401920, ...); the memory is an argument. So
models of one structure share their code, and new weights need no new code.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from ir.records import dataclass
from ir.types import DTYPES, NDArray
from nncompile.cpu.driver.values import Call, Formal, Number, Pointer
from nncompile.cpu.kernels import pack_linear, packed_size, unpack_linear
from nncompile.cpu.layout import LINE_FLOATS, aligned_zeros
from nncompile.cpu.vector import Target
from nncompile.schedule import Constant, Place

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Entry:
    """Where `count` numbers of a dtype lie; the offset counts units of 4 bytes."""

    name: str
    offset: int
    count: int
    dtype: str
    about: str
    content: Constant | Number

    @property
    def bytes(self) -> int:
        """Bytes of its numbers."""
        return self.count * DTYPES[self.dtype].itemsize

    @property
    def stop(self) -> int:
        """The offset of the first cache line behind it."""
        return self.offset + -(-self.bytes // 4 // LINE_FLOATS) * LINE_FLOATS


class Arena:
    """The layout of this memory: an entry for each constant and plain number.

    calls: they use the constants and plain numbers that have an entry, in this order.
    """

    def __init__(self, constants: Sequence[Constant], calls: Sequence[Call],
                 target: Target) -> None:
        self.target = target
        self.entries: dict[Place | Number, _Entry] = {}
        self.size = 0                         # units of 4 bytes
        for key in _used_by(calls):
            content = key if isinstance(key, Number) else constants[key.number]
            about, count = _described(content, target)
            about += f" of {content.dtype}" * (content.dtype != "f32")
            entry = _Entry(f"W{len(self.entries)}", self.size, count, content.dtype, about, content)
            self.entries[key], self.size = entry, entry.stop
        self.size = max(LINE_FLOATS, self.size)         # one line even without weights

    def pack(self, sources: Sequence[NDArray]) -> _Floats:
        """Fills new memory, which starts on a cache line, with these sources.

        The array is float32; the numbers of other dtypes lie in it as their bits.
        """
        arena = aligned_zeros(self.size, np.float32)
        with np.errstate(over="ignore"):
            for entry in self.entries.values():
                self._fill(entry.content, sources, self._place(arena, entry))
        return arena

    def _place(self, arena: _Floats, entry: _Entry) -> NDArray:
        """The elements of an entry, as a 1-D view of the memory."""
        return arena[entry.offset:].view(np.uint8)[:entry.bytes].view(DTYPES[entry.dtype])

    def unpack(self, arena: _Floats, source: int) -> NDArray:
        """The source of this number, bit for bit as `pack` was given it.

        It is a read-only view of the memory where the layout allows it, and a copy otherwise.
        """
        holding = [(entry, c) for entry in self.entries.values()
                   if isinstance(c := entry.content, Constant) and source in c.sources]
        entry, constant = min(holding, key=lambda pair: pair[1].layout != "rows")
        place = self._place(arena, entry)
        place.flags.writeable = False
        if constant.layout == "panels":
            N, K = constant.shape
            weight, bias = unpack_linear(place, N, K, self.target, constant.dtype)
            return np.ascontiguousarray(weight.T) if source == constant.sources[0] else bias
        return place.reshape(constant.shape)

    def _fill(self, content: Constant | Number, sources: Sequence[NDArray], out: NDArray) -> None:
        if isinstance(content, Number):
            out[...] = np.array([float(content.text)])   # casts, where a plain number must fit
            return
        first, *further = (sources[i] for i in content.sources)
        if content.layout == "panels":
            pack_linear(first, further[0] if further else None, self.target, out)
        else:
            out.reshape(content.shape)[...] = first


def _used_by(calls: Sequence[Call]) -> Iterable[Place | Number]:
    """The constants and plain numbers that kernels are given, each once."""
    bases = (argument.base for call in calls for argument in call.arguments
             if isinstance(argument, Pointer))
    return dict.fromkeys(base for base in bases if not isinstance(base, Formal) and (
        isinstance(base, Number) or base.kind == "constant"))


def _described(content: Constant | Number, target: Target) -> tuple[str, int]:
    """The description of a constant or number, and how many elements it takes."""
    if isinstance(content, Number):
        return content.text, 1
    if content.layout == "panels":
        N, K = content.shape
        return f"linear {K} -> {N}: panels, bias", packed_size(N, K, target, content.dtype)
    return f"array {list(content.shape)}", prod(content.shape)
