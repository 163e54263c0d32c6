"""No kernel touches memory outside its arrays: each lies against a page that must not be touched.

A canary shows only what is written out of bounds; here a read ends the process, so it is another
one that runs the kernels.
"""
from __future__ import annotations

import ctypes
import mmap
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from nncompile.cpu.kernels import (
    elementwise,
    embedding,
    layer_norm,
    linear,
    matmul,
    pack_linear,
    reduce,
    softmax,
)
from tests.cpu.kernel_harness import LEVELS, TARGETS, compiled, normal

PAGE = mmap.PAGESIZE
PROT_NONE = 0


class Fenced:
    """Arrays that begin or end at a page that cannot be read or written."""

    def __init__(self, at_end: bool):
        self.at_end = at_end
        self._protect = ctypes.CDLL(None, use_errno=True).mprotect
        self._maps: list[tuple[mmap.mmap, int]] = []

    def array(self, values: np.ndarray, stride: int | None = None) -> np.ndarray:
        """A copy of values[rows, N] with rows `stride` elements apart, without gap after the last.
        Where there is nothing in it, it lies in the forbidden page."""
        values = np.atleast_2d(values)
        (rows, N), item = values.shape, values.itemsize
        stride = N if stride is None else stride
        size = ((rows - 1) * stride + N) * item if values.size else 0
        inside = -(-size // PAGE) * PAGE
        block = mmap.mmap(-1, inside + 2 * PAGE)
        self._maps.append((block, inside))
        whole = np.frombuffer(block, np.uint8)
        start = PAGE + inside - size if self.at_end else PAGE - (0 if size else PAGE)
        view = as_strided(whole[start:].view(values.dtype), (rows, N), (stride * item, item))
        view[...] = values
        for page in (0, PAGE + inside):
            assert self._protect(ctypes.c_void_p(whole.ctypes.data + page), PAGE, PROT_NONE) == 0
        return view

    def numbers(self, rows: int, N: int, stride: int | None = None) -> np.ndarray:
        return self.array(normal(rows + N, rows, N), stride)


def run_products(level: str, fenced: Fenced, rows: int, K: int, N: int) -> None:
    target, then = TARGETS[level], (("add", "v"), ("mul", "s"))
    packed = fenced.array(pack_linear(normal(1, N, K), normal(2, N), target))
    further = [fenced.numbers(rows, N, N + 3), N + 3, fenced.numbers(rows, 1, 2), 2]
    compiled(linear(then), level)(fenced.numbers(rows, K, K + 1), K + 1, packed,
                                  fenced.numbers(rows, N, N + 2), N + 2, rows, K, N, *further)
    compiled(matmul(then, 0), level)(
        fenced.numbers(rows, K, K + 1), K + 1, fenced.numbers(K, N, N + 1), N + 1,
        fenced.numbers(rows, N, N + 2), N + 2, rows, K, N, *further)
    long = (("add", "v"), ("gelu", ""))
    compiled(linear(long), level)(fenced.numbers(rows, K), K, packed, fenced.numbers(rows, N), N,
                                  rows, K, N, fenced.numbers(1, N), 0)


def run_rows(level: str, fenced: Fenced, rows: int, N: int) -> None:
    def x() -> np.ndarray:
        return fenced.numbers(rows, N, N + 3)
    one = fenced.numbers(1, 1)
    compiled(softmax(True), level)(x(), N + 3, x(), N + 3, rows, N, one)
    compiled(layer_norm(True, True), level)(x(), N + 3, fenced.numbers(1, N), fenced.numbers(1, N),
                                            one, x(), N + 3, rows, N)
    compiled(reduce("sum"), level)(x(), N + 3, fenced.numbers(1, rows), rows, N)
    chain = (("mul", "vg"), ("add", "s"))
    compiled(elementwise(chain, 1), level)(x(), N, rows, N + 3, x(), N + 3,
                                           fenced.numbers(N, rows), rows, 1,
                                           fenced.numbers(rows, 1), 1)
    compiled(elementwise((("exp", "v"),), 0), level)(fenced.numbers(1, N), N, fenced.numbers(1, N))
    table, fault = fenced.numbers(5, N), fenced.array(np.zeros(3, np.int64))
    ids = fenced.array(np.resize([4, 0, 7, -1, 2 ** 62], rows).astype(np.int64))
    compiled(embedding("i64", 1), level)(ids, table, 5, N, x(), N + 3, fault, 0, rows, 1)


def run_all(level: str) -> None:
    P, W = TARGETS[level].panel_width, TARGETS[level].width
    for at_end in (True, False):
        for N in (0, 1, W - 1, W, W + 1, P, P + W + 3):
            for rows in (0, 1, 7, 13):
                for K in (0, 1, 6):
                    run_products(level, Fenced(at_end), rows, K, N)
                run_rows(level, Fenced(at_end), rows, N)
        run_products(level, Fenced(at_end), 7, 515, P + 3)
        run_rows(level, Fenced(at_end), 3, 5 * W + 1)
    print("within bounds")


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("level", LEVELS)
def test_kernels_stay_in_their_arrays(level: str) -> None:
    code = f"from tests.cpu.test_kernels_bounds import run_all; run_all({level!r})"
    ran = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], capture_output=True,
                         text=True, cwd=pathlib.Path(__file__).parents[2])
    assert ran.returncode == 0 and "within bounds" in ran.stdout, ran.stderr[-3000:]
