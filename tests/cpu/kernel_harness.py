"""Kernels compiled in this process and called through ctypes, on every target of this machine."""
from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from nncompile.cpu import target as targets
from nncompile.cpu.kernels import Kernel
from nncompile.cpu.kernels.kernel import PHASE_WORDS
from nncompile.cpu.target import Target

TARGETS = [targets.named(level) for level in targets.available()]
BY_LEVEL = {target.level: target for target in TARGETS}
LEVELS = list(BY_LEVEL)

GUARD = 67                                 # elements, odd: data off every alignment
CANARY = np.uint32(0x7FC0BEEF).view(np.float32)    # a NaN that no computation makes
C_TYPES = {"p": ctypes.c_void_p, "w": ctypes.c_void_p, "i": ctypes.c_int64}


class Compiled:
    """Both entry points of a kernel on one target.  Arrays are passed where pointers go."""

    def __init__(self, kernel: Kernel, target: Target):
        module = ir.Module(kernel.name)
        kernel.emit(module, target)
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), targets.machine(target))
        code = targets.object_code(module, target)
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self.engine.finalize_object()
        self.alone = self._function(kernel)
        self._shared = self._function(kernel.shared)

    def _function(self, kernel: Kernel) -> Callable[..., None]:
        address = self.engine.get_function_address(kernel.symbol)
        return ctypes.CFUNCTYPE(None, *(C_TYPES[t] for t in kernel.types))(address)

    def __call__(self, *arguments: Any) -> None:
        self.alone(*map(plain, arguments))

    def shared(self, workers: int, *arguments: Any) -> None:
        """Run by several threads on one queue."""
        queue = np.zeros(PHASE_WORDS, np.int64)
        values = [plain(queue), *map(plain, arguments)]
        threads = [threading.Thread(target=self._shared, args=values) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def plain(argument: Any) -> Any:
    return argument.ctypes.data if isinstance(argument, np.ndarray) else int(argument)


@functools.cache
def compiled(kernel: Kernel, level: str) -> Compiled:
    return Compiled(kernel, BY_LEVEL[level])


class Guarded:
    """Arrays inside larger blocks whose other elements must stay as they are."""

    def __init__(self) -> None:
        self.blocks: list[tuple[np.ndarray, np.ndarray]] = []

    def array(self, values: np.ndarray, stride: int | None = None, offset: int = 0) -> np.ndarray:
        """A [rows, stride] block that holds values[rows, N] as a view of its first N columns."""
        values = np.atleast_2d(np.asarray(values))
        rows, columns = values.shape
        stride = columns if stride is None else stride
        filler = CANARY if values.dtype == np.float32 else values.dtype.type(-7)
        block = np.full(2 * GUARD + offset + rows * stride, filler, values.dtype)
        inside = np.zeros(block.size, bool)
        start = GUARD + offset
        view = np.lib.stride_tricks.as_strided(
            block[start:], (rows, columns), (stride * block.itemsize, block.itemsize))
        np.lib.stride_tricks.as_strided(inside[start:], (rows, columns), (stride, 1))[...] = True
        view[...] = values
        self.blocks.append((block, inside))
        return view

    def empty(self, rows: int, columns: int, stride: int | None = None) -> np.ndarray:
        """The same, full of canaries: an element that is not written shows."""
        return self.array(np.full((rows, columns), CANARY, np.float32), stride)

    def check(self) -> None:
        for block, inside in self.blocks:
            outside = block[~inside]
            filler = np.full(1, CANARY if block.dtype == np.float32 else -7, block.dtype)
            assert outside.tobytes() == filler.tobytes() * outside.size, "written out of bounds"


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()
