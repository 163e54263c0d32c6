"""Kernels as numba types them: through its compiler for the CPU, as one block of one thread.

The simulator computes with NumPy's numbers, whose types do not mix as numba's do: numba makes int64
of two int8, and float64 of an int64 and a uint64.
"""
import math

import numba
import numpy as np
import pytest

from ir.ops import evaluate
from ir.types import DTYPES, FLOATS
from nncompile.cuda import kernels
from nncompile.cuda.primitives import MATH, TYPES
from nncompile.cuda.target import SIMULATOR
from tests.cuda.cases import CASES, castable, check_cast, check_elementwise, operand_types, operands

PLAIN = {"@cuda.jit": "", "cuda.blockIdx.x": "0", "cuda.threadIdx.x": "0", "cuda.gridDim.x": "1",
         "cuda.blockDim.x": "1", "cuda.syncthreads()": "pass", "cuda.shared.array(": "empty(",
         "cuda.atomic.compare_and_swap(fault, int64(0), step + 1)": "report(fault, step)"}
WORDS = {name: getattr(np, name) for name in TYPES} | {
    name: getattr(math, name) for name in MATH} | {"inf": math.inf, "empty": np.empty}


@numba.njit
def report(fault, step):
    before = fault[0]
    fault[0] = step + 1 if before == 0 else before
    return before


def function(kernel: kernels.Kernel):
    text = kernel.text
    for word, other in PLAIN.items():
        text = text.replace(word, other)
    assert "cuda." not in text
    scope = WORDS | {"report": report}
    exec(text, scope)
    return numba.njit(error_model="numpy")(scope[kernel.name])


@pytest.mark.parametrize("dtype", ["i8", "u8", "bool"])
def test_elementwise(dtype):
    for op in (op for op, operand in CASES if operand == dtype):
        arrays, types = operands(op, dtype), operand_types(op, dtype)
        result = op.infer(*types).dtype
        kernel = kernels.elementwise(((op.name, "v" * len(arrays)),), 1, result, SIMULATOR, dtype)
        y = np.zeros(len(arrays[0]), DTYPES[result])
        fault = [np.zeros(3, np.int64), 4] if "fault" in kernel.arguments else []
        function(kernel)(y, 0, len(y), 1, *(n for a in arrays for n in (a, 0, 1)), *fault)
        check_elementwise(op, y, arrays)


@pytest.mark.parametrize("source", ["f32", "i8", "u8", "i64", "bool"])
def test_casts(source):
    x = castable(source)
    for dtype in ("f32", "i8", "u8", "i64", "bool"):
        y = np.zeros(len(x), DTYPES[dtype])
        kernel = kernels.elementwise((("cast", "v"),), 1, dtype, SIMULATOR, source)
        function(kernel)(y, 0, len(y), 1, x, 0, 1)
        check_cast(x, y)


@pytest.mark.parametrize("dtype", ["f32", "i8", "u8", "i64"])
def test_rows(dtype):
    random = np.random.default_rng(0)
    x = (random.standard_normal((3, 7)) * 90).astype(np.int64).astype(DTYPES[dtype])
    rows, wide = (x.ravel(), 0, 7), (3, 7)

    def check(kernel, shape, result, op, *arguments, ldy=(), **attrs):
        y = np.zeros(shape, DTYPES[result])
        function(kernel)(*rows, y.ravel(), 0, *ldy, *wide, *arguments)
        np.testing.assert_allclose(y, evaluate(op, [x], attrs), rtol=1e-5)

    for op in ("sum", "prod", "max", "min", *["mean"] * (dtype in FLOATS)):
        check(kernels.reduce(op, dtype, 1), 3, dtype, op, axes=(1,), keepdims=False)
    for op in ("argmax", "argmin"):
        check(kernels.arg(op, dtype, 1), 3, "i64", op, axis=1, keepdims=False)
    for largest in (True, False):
        check(kernels.topk(largest, dtype, 1), (3, 4), "i64", "topk_ids", 4, ldy=(4,), axis=1, k=4,
              largest=largest, sorted=True)
    check(kernels.cumsum(dtype, 1), (3, 7), dtype, "cumsum", ldy=(7,), axis=1)


@pytest.mark.parametrize("dtype", ["f32", "u8", "bool"])
def test_gathers(dtype):
    x = np.random.default_rng(0).integers(0, 2, (5, 4)).astype(DTYPES[dtype])
    ids, fault = np.array([3, 0, 9], np.int32), np.zeros(3, np.int64)
    y = np.ones((3, 4), DTYPES[dtype])
    function(kernels.take("i32", 1, dtype, SIMULATOR))(
        y.ravel(), 0, x.ravel(), 0, ids, 0, 5, 4, 4, fault, 6, 3, 0, 1)
    np.testing.assert_array_equal(y, np.vstack([x[3], x[0], np.zeros(4, DTYPES[dtype])]))
    assert fault.tolist() == [7, 9, 5]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("missing", [False, True])
def test_walks(dtype, missing):
    x = np.array([[1, 9], [3, 9], [np.nan, 9]], DTYPES[dtype])
    nodes = np.array([[0, 2, 1, 1], [0, 1, 1, 1], [0, 2, 2, 2]], np.int32)[:, :3 + missing]
    y = np.zeros(3, np.int32)
    function(kernels.tree_walk(missing, dtype, SIMULATOR))(
        x.ravel(), 0, 2, nodes.ravel(), 0, np.full(3, 2, DTYPES[dtype]), 0,
        np.zeros(1, np.int32), 0, y, 0, 3, 1, 1)
    assert y.tolist() == [1, 2, 1 if missing else 2]
