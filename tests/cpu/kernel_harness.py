"""Kernels compiled in this process and called through ctypes, on every target of this machine."""
from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from llvmlite import ir as ll
from numpy.lib.stride_tricks import as_strided
from scipy import special

from ir.types import DTYPES, FLOATS
from nncompile.cpu.kernels import Kernel
from nncompile.cpu.kernels.kernel import INT
from nncompile.cpu.layout import PHASE_WORDS, QUEUE_ME, QUEUE_OTHERS, QUEUE_STRIDE
from nncompile.cpu.objects.link import Linker
from nncompile.cpu.vector import target as targets
from nncompile.cpu.vector.target import Target

TARGETS = {level: targets.named(level) for level in targets.available()}
LEVELS = list(TARGETS)

GUARD = 67                                         # elements, odd: data off every alignment
CANARY = np.uint32(0x7FC0BEEF).view(np.float32)    # a NaN that no computation makes

REFERENCE: dict[str, Callable[..., Any]] = {       # in float64
    "copy": lambda x: x, "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp,
    "log": np.log, "tanh": np.tanh, "sigmoid": special.expit, "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x ** 3)),
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum,
}


class Compiled:
    """Both entry points of a kernel on one target. Arrays are passed where pointers go."""

    def __init__(self, kernel: Kernel, target: Target):
        self.linker, codes = Linker(target), []
        for piece in (kernel, *kernel.parts):
            module = ll.Module(piece.name)
            piece.emit(module, target)
            codes.append(targets.object_code(module, target))
        self.linker.add(*codes)
        self._alone, self._shared = self._function(kernel), self._function(kernel.shared)

    def _function(self, kernel: Kernel) -> Callable[..., None]:
        address = self.linker.address(kernel.symbol)
        types = [ctypes.c_int64 if t == INT else ctypes.c_void_p for t in kernel.types]
        return ctypes.CFUNCTYPE(None, *types)(address)

    def __call__(self, *arguments: Any) -> None:
        self._alone(*map(plain, arguments))

    def shared(self, workers: int, *arguments: Any, missing: Collection[int] = (),
               queues: np.ndarray | None = None) -> None:
        """Run by several workers at a time, but for those that do not come."""
        queues = worker_queues(workers) if queues is None else queues
        values = [*map(plain, arguments)]
        threads = [threading.Thread(target=self._shared, args=[plain(queue), *values])
                   for me, queue in enumerate(queues) if me not in missing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def worker_queues(workers: int) -> np.ndarray:
    """The queue of each worker, a row; nothing is claimed yet."""
    queues = np.zeros((workers, PHASE_WORDS), np.int64)
    queues[:, QUEUE_ME], queues[:, QUEUE_OTHERS] = range(workers), workers - 1
    queues[:, QUEUE_STRIDE] = PHASE_WORDS
    return queues


def plain(argument: Any) -> int:
    return argument.ctypes.data if isinstance(argument, np.ndarray) else int(argument)


@functools.cache
def compiled(kernel: Kernel, level: str) -> Compiled:
    return Compiled(kernel, TARGETS[level])


def run_python(kernel: Kernel, *arguments: Any) -> None:
    """The kernel's numpy body, which takes 1-D arrays."""
    kernel.python(*(flat(a) if isinstance(a, np.ndarray) else a for a in arguments))


def flat(view: np.ndarray) -> np.ndarray:
    """The memory of a strided view from its first element to its last."""
    if view.size == 0:
        return np.empty(0, view.dtype)
    last = sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    return as_strided(view, (last // view.itemsize + 1,), (view.itemsize,))


class Guarded:
    """Arrays inside larger blocks whose other elements must stay as they are.

    The elements around an array are NaN: what is read of them and used shows."""

    def __init__(self) -> None:
        self._blocks: list[tuple[np.ndarray, np.ndarray]] = []

    def array(self, values: Any, stride: int | None = None) -> np.ndarray:
        """A copy of values[rows, N] whose rows are `stride` elements apart."""
        values = np.atleast_2d(np.asarray(values))
        rows, columns = values.shape
        stride = columns if stride is None else stride
        block = np.empty(2 * GUARD + rows * stride, values.dtype)
        block.view(np.uint8)[...] = 0xA5
        if block.dtype.kind == "f":
            block[...] = canary(block.dtype)
        inside = np.zeros(block.size, bool)
        as_strided(inside[GUARD:], (rows, columns), (stride, 1))[...] = True
        view = as_strided(block[GUARD:], (rows, columns),
                          (stride * block.itemsize, block.itemsize))
        view[...] = values
        self._blocks.append((block, inside))
        self._before = [b[~i].tobytes() for b, i in self._blocks]
        return view

    def empty(self, rows: int, columns: int, stride: int | None = None,
              dtype: Any = np.float32) -> np.ndarray:
        """The same, full of canaries: an element that is not written shows."""
        return self.array(np.full((rows, columns), canary(np.dtype(dtype)), dtype), stride)

    def check(self) -> None:
        after = [b[~i].tobytes() for b, i in self._blocks]
        assert after == self._before, "written out of bounds"


def canary(dtype: np.dtype) -> Any:
    return CANARY if dtype == np.float32 else np.nan if dtype.kind == "f" else True


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def some(dtype: str, seed: int, *shape: int) -> np.ndarray:
    """Any numbers of a dtype: normal ones, or all bits of integers."""
    random = np.random.default_rng(seed)
    if dtype in FLOATS:
        return random.standard_normal(shape).astype(DTYPES[dtype])
    if dtype == "bool":
        return random.random(shape) < 0.5
    limits = np.iinfo(DTYPES[dtype])
    return random.integers(limits.min, limits.max, shape, DTYPES[dtype], endpoint=True)


def few(dtype: str, seed: int, *shape: int) -> np.ndarray:
    """Small whole numbers of a dtype: many are equal, and sums of floats are exact."""
    low = 0 if dtype in ("u8", "bool") else -4
    return np.random.default_rng(seed).integers(low, 5, shape).astype(DTYPES[dtype])


def whole_numbers(seed: int, *shape: int) -> np.ndarray:
    """Small integers: their products and sums are exact in float32, in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)
