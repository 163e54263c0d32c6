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

from ir.types import DTYPES, FLOATS, INTEGERS, NUMBERS
from nncompile.cpu.kernels import (
    arg,
    cumsum,
    cumsum_columns,
    dot,
    elementwise,
    embedding_bag,
    first_equal,
    iota,
    layer_norm,
    linear,
    matmul,
    number,
    pack_linear,
    put_rows,
    reduce,
    reduce_columns,
    rms_norm,
    scatter_add,
    softmax,
    softmax_columns,
    take,
    take_along,
    topk,
    transpose,
)
from nncompile.cpu.vector.builder import lanes
from tests.cpu.kernel_harness import LEVELS, TARGETS, compiled, some

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

    def numbers(self, rows: int, N: int, stride: int | None = None,
                dtype: str = "f32") -> np.ndarray:
        return self.array(some(dtype, rows + N, rows, N), stride)


def run_products(level: str, fenced: Fenced, rows: int, K: int, N: int, dtype: str) -> None:
    target, then = TARGETS[level], (("add", "v"), ("mul", "s"))

    def numbers(rows: int, N: int, stride: int | None = None) -> np.ndarray:
        return fenced.numbers(rows, N, stride, dtype)

    packed = fenced.array(pack_linear(some(dtype, 1, N, K), some(dtype, 2, N), target))
    further = [numbers(rows, N, N + 3), N + 3, numbers(rows, 1, 2), 2]
    compiled(linear(then, dtype), level)(numbers(rows, K, K + 1), K + 1, packed,
                                         numbers(rows, N, N + 2), N + 2, rows, K, N, *further)
    compiled(matmul(then, 0, dtype), level)(
        numbers(rows, K, K + 1), K + 1, numbers(K, N, N + 1), N + 1, numbers(rows, N, N + 2), N + 2,
        rows, K, N, *further)
    compiled(dot((("add", "s"),), 0, dtype), level)(
        numbers(rows, K, K + 1), K + 1, numbers(1, K), numbers(rows, 1, 2), 2, rows, K,
        numbers(rows, 1, 3), 3)
    long = (("add", "v"), ("gelu", ""))
    compiled(linear(long, dtype), level)(numbers(rows, K), K, packed, numbers(rows, N), N,
                                         rows, K, N, numbers(1, N), 0)


def run_floats(level: str, fenced: Fenced, rows: int, N: int, dtype: str) -> None:
    def x() -> np.ndarray:
        return fenced.numbers(rows, N, N + 3, dtype)

    one, gamma, beta = (fenced.numbers(1, n, dtype=dtype) for n in (1, N, N))
    for log in (False, True):
        compiled(softmax(True, dtype, log), level)(x(), N + 3, x(), N + 3, rows, N, one)
        compiled(softmax_columns(True, 0, dtype, log), level)(x(), N + 3, x(), N + 3, rows, N, one)
    compiled(layer_norm(True, True, dtype), level)(x(), N + 3, gamma, beta, one, x(), N + 3,
                                                   rows, N)
    compiled(rms_norm(True, dtype), level)(x(), N + 3, gamma, one, x(), N + 3, rows, N)
    chain = (("mul", "vg"), ("add", "s"))
    compiled(elementwise(chain, 1, dtype), level)(
        x(), N, rows, N + 3, x(), N + 3, fenced.numbers(N, rows, dtype=dtype), rows, 1,
        fenced.numbers(rows, 1, dtype=dtype), 1)
    compiled(elementwise((("exp", "v"),), 0, dtype), level)(gamma, N, beta)


def run_any(level: str, fenced: Fenced, rows: int, N: int, dtype: str) -> None:
    """The kernels of all dtypes."""
    def x() -> np.ndarray:
        return fenced.numbers(rows, N, N + 3, dtype)

    def ids(values: list[int], *shape: int) -> np.ndarray:
        return fenced.array(np.resize(values, shape).astype(np.int64))

    table, fault = fenced.numbers(5, N, N + 2, dtype), fenced.array(np.zeros(3, np.int64))
    if dtype in INTEGERS:
        compiled(elementwise((("remainder", "vv"),), 1, dtype), level)(
            x(), N, rows, N + 3, x(), N + 3, fenced.numbers(rows, N, N + 3, dtype), N + 3, fault, 0)
    compiled(elementwise((("copy", "g"),), 1, dtype), level)(
        x(), N, rows, N + 3, fenced.numbers(N, rows, dtype=dtype), rows, 1)
    compiled(transpose(0, dtype), level)(x(), N + 3, fenced.numbers(N, rows, rows + 1, dtype),
                                         rows + 1, rows, N)
    if dtype in NUMBERS:
        compiled(elementwise((("cast", "v"),), 1, "f32", dtype), level)(
            fenced.numbers(rows, N), N, rows, N, x(), N + 3)
        compiled(iota(dtype), level)(fenced.numbers(1, N, dtype=dtype), N)
        compiled(number(), level)(fenced.numbers(1, N, dtype="i64"), N, 3)
        compiled(reduce("max", dtype), level)(x(), N + 3, fenced.numbers(1, rows, dtype=dtype),
                                              rows, N)
        compiled(arg("argmin", dtype), level)(x(), N + 3, ids([0], 1, rows), rows, N)
        compiled(cumsum(dtype), level)(x(), N + 3, x(), N + 3, rows, N)
        compiled(cumsum_columns(0, dtype), level)(x(), N + 3, x(), N + 3, rows, N)
        compiled(reduce_columns("max", 0, dtype), level)(
            x(), N + 3, fenced.numbers(1, N, dtype=dtype), rows, N)
        for k in {0, N // 2, N}:
            compiled(topk(True, dtype), level)(x(), N + 3, ids([0], rows, k), k, rows, N, k)
    else:
        compiled(reduce("any", dtype), level)(x(), N + 3, fenced.numbers(1, rows, dtype=dtype),
                                              rows, N)
    some_ids = [4, 0, 7, -1, 2 ** 62]
    compiled(take("i64", 1, dtype), level)(x(), table, ids(some_ids, 1, rows), 5, N + 2, N, fault,
                                           0, rows, N + 3, 0, 1)
    compiled(take_along("i64", 1, dtype), level)(x(), table, ids(some_ids, rows, N), 5, N + 2, N,
                                                 1, 1, fault, 0, rows, N + 3, 0, N)
    compiled(put_rows("i64", dtype), level)(
        fenced.numbers(5, N, dtype=dtype), fenced.numbers(5, N, dtype=dtype),
        fenced.numbers(rows, N, dtype=dtype), ids(some_ids, 1, rows), 5, rows, N)
    compiled(first_equal("i64"), level)(
        fenced.array(np.full(3 * rows, -1)), ids(some_ids, 1, rows), rows)
    if dtype in NUMBERS:
        compiled(scatter_add("i64", 0, True, dtype), level)(
            table, x(), ids(some_ids, 1, rows), 5, N + 2, rows, N + 3, 1, N, fault, 0)
        compiled(scatter_add("i64", 1, False, dtype), level)(
            table, x(), ids(some_ids, rows, N), 5, N + 2, rows, N + 3, N, 1, fault, 0, N, 1, 1, 1)


def run_bags(level: str, fenced: Fenced, rows: int, N: int) -> None:
    ids = fenced.array(np.resize([4, 0, 7, -1, 2 ** 62], 2 * rows).astype(np.int64))
    fault = fenced.array(np.zeros(3, np.int64))
    for last in (0, 1):
        for offsets in (np.arange(rows + last) * 2, np.arange(rows + last) * -9 + 5):
            compiled(embedding_bag("sum", "i64", True), level)(
                ids, fenced.array(offsets), fenced.numbers(5, N), 5, N,
                fenced.numbers(rows, N, N + 3), N + 3, rows, 2 * rows,
                fenced.numbers(1, 2 * rows), 0, fault, 0, last)


def run_all(level: str) -> None:
    target = TARGETS[level]
    for at_end in (True, False):
        for dtype in FLOATS:
            W = lanes(target, dtype)
            P = target.panel * W
            for N in (0, 1, W - 1, W, W + 1, P, P + W + 3):
                for rows in (0, 1, 7, 13):
                    for K in (0, 1, 6):
                        run_products(level, Fenced(at_end), rows, K, N, dtype)
                    run_floats(level, Fenced(at_end), rows, N, dtype)
            run_products(level, Fenced(at_end), 7, 515, P + 3, dtype)
            run_floats(level, Fenced(at_end), 3, 5 * W + 1, dtype)
        W = target.width
        for N in (0, 1, W - 1, W, W + 1, 5 * W + 1):
            for rows in (0, 1, 7):
                for dtype in DTYPES:
                    run_any(level, Fenced(at_end), rows, N, dtype)
                run_bags(level, Fenced(at_end), rows, N)
    print("within bounds")


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect as Linux has it")
@pytest.mark.parametrize("level", LEVELS)
def test_kernels_stay_in_their_arrays(level: str) -> None:
    code = f"from tests.cpu.test_kernels_bounds import run_all; run_all({level!r})"
    ran = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], capture_output=True,
                         text=True, cwd=pathlib.Path(__file__).parents[2])
    assert ran.returncode == 0 and "within bounds" in ran.stdout, ran.stderr[-3000:]
