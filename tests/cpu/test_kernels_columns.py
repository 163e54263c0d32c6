"""Kernels that go down columns, and the transpose, against the same ops along rows and float64."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.ops import evaluate
from ir.types import DTYPES, FLOATS, NUMBERS
from nncompile.cpu.kernels import cumsum_columns, reduce_columns, softmax_columns, transpose
from nncompile.cpu.kernels.reductions import REDUCTIONS
from nncompile.cpu.vector.builder import lanes
from tests.cpu.kernel_harness import (
    LEVELS,
    TARGETS,
    Guarded,
    compiled,
    few,
    run_python,
    same_bits,
    some,
)

LEVEL = pytest.mark.parametrize("level", LEVELS)
CASES = [(op, dtype) for op, dtypes in REDUCTIONS.items() for dtype in dtypes]
INF, NAN = np.inf, np.nan
UNIT = {"f32": 2.0 ** -24, "f64": 2.0 ** -53}


def widths(level, dtype):
    """Around vectors and panels of them."""
    W = lanes(TARGETS[level], dtype)
    return [0, 1, W - 1, W, W + 1, 4 * W + 3, 8 * W, 9 * W + 1]


def run(level, kernel, x, *last, rows=True, dtype=None, gap=0, in_place=False, call=None):
    """A kernel of one outer axis on x[outer, K, N]; its result has K rows an outer index, or one.
    """
    guarded, (outer, K, N) = Guarded(), x.shape
    xs = guarded.array(x.reshape(outer * K, N), N + gap)
    lines = K if rows else 1
    y = xs if in_place else guarded.empty(outer * lines, N, N + gap, dtype or x.dtype)
    ld = N + gap
    (call or compiled(kernel, level))(xs, ld, y, *[ld] * rows, K, N, outer, K * ld, lines * ld,
                                      *map(guarded.array, last))
    guarded.check()
    return np.array(y).reshape((outer, K, N) if rows else (outer, N))


def exact_softmax(x, log):
    x = x.astype(np.longdouble)
    with np.errstate(invalid="ignore"):
        shifted = x - x.max(1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(1, keepdims=True)
    return shifted - np.log(total) if log else powers / total


@LEVEL
@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_reduce(level, op, dtype):
    """Exact: of integers by any values, of floats by small whole ones, but for the mean's quotient.
    """
    kernel = reduce_columns(op, 1, dtype)
    for N in widths(level, dtype):
        for K in (1, 2, 64, 65, 131):
            x = few(dtype, N, 2, K, N) if dtype in FLOATS else some(dtype, N, 2, K, N)
            if op == "prod" and dtype in FLOATS:
                x = np.where(x < 0, -1, 1).astype(x.dtype)
            wide = evaluate(op, [x.astype(float) if dtype in FLOATS else x],
                            {"axes": (1,), "keepdims": False}).astype(x.dtype)
            assert np.array_equal(run(level, kernel, x, rows=False, gap=2), wide)
            y = np.zeros((2, N), x.dtype)
            run_python(kernel, x, N, y, K, N, 2, K * N, N)
            assert np.array_equal(y, wide)


@LEVEL
@pytest.mark.parametrize(("op", "dtype", "source"), [
    ("sum", "i64", "u8"), ("sum", "i64", "bool"), ("mean", "f32", "u8"), ("mean", "f64", "f32"),
    ("max", "f32", "i64"), ("any", "bool", "f32"), ("all", "bool", "u8")])
def test_reduce_of_another_dtype(level, op, dtype, source):
    """The result has the bits of the reduction of elements that were converted before."""
    kernel = reduce_columns(op, 1, dtype, source)
    for N in widths(level, dtype):
        for K in (0, 1, 65, 131):
            x = some(source, N, 2, K, N)
            x[:, ::3] = 0
            before = run(level, reduce_columns(op, 1, dtype), x.astype(DTYPES[dtype]), rows=False)
            after = run(level, kernel, x, rows=False, dtype=DTYPES[dtype], gap=2)
            assert same_bits(after, before)
            y = np.zeros((2, N), DTYPES[dtype])
            run_python(kernel, x, N, y, K, N, 2, K * N, N)
            np.testing.assert_allclose(y, before, rtol=1e-5)


@LEVEL
@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_and_infinity(level, dtype):
    N = 9 * lanes(TARGETS[level], dtype) + 1
    x = few(dtype, 1, 1, 70, N)
    for place, value in enumerate([NAN, INF, -INF, NAN]):
        x[0, (0, 30, 69, 65)[place], place::5] = value
    for op in ("sum", "mean", "max", "min"):
        wide = evaluate(op, [x.astype(float)], {"axes": (1,), "keepdims": False}).astype(x.dtype)
        np.testing.assert_array_equal(run(level, reduce_columns(op, 1, dtype), x, rows=False), wide)
    y = run(level, softmax_columns(False, 1, dtype), x)
    assert np.isnan(y[..., 0::5]).all() and np.isnan(y[..., 1::5]).all()
    assert (y[0, 69, 2::5] == 0).all() and np.isfinite(y[..., 4::5]).all()


@LEVEL
@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_reduce_nothing(level, op, dtype):
    x = np.zeros((3, 0, 5), DTYPES[dtype])
    kernel = reduce_columns(op, 1, dtype)
    got, plain = run(level, kernel, x, rows=False), np.ones((3, 5), x.dtype)
    run_python(kernel, x, 5, plain, 0, 5, 3, 0, 5)
    assert np.array_equal(got, plain, equal_nan=dtype in FLOATS)
    if op in ("max", "min"):
        limits = np.iinfo(x.dtype) if x.dtype.kind in "iu" else None
        low, high = (limits.min, limits.max) if limits else (-INF, INF)
        assert (got == (low if op == "max" else high)).all()
    else:
        nothing = {"sum": 0, "prod": 1, "mean": NAN, "any": 0, "all": 1}[op]
        assert np.array_equal(got, np.full((3, 5), nothing, x.dtype), equal_nan=dtype in FLOATS)
    assert run(level, reduce_columns(op, 1, dtype), x.reshape(0, 3, 5), rows=False).shape == (0, 5)


@LEVEL
@pytest.mark.parametrize(("dtype", "error"), [("f32", 1e-5), ("f64", 1e-14)])
def test_long_sums_are_accurate(level, dtype, error):
    """Sums of spans keep the error of a column from growing with its length."""
    x = np.abs(some(dtype, 1, 1, 100_003, 5))
    exact = x.astype(np.longdouble).sum(1)
    assert np.abs(run(level, reduce_columns("sum", 1, dtype), x, rows=False) / exact - 1
                  ).max() < error


@LEVEL
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("scale", [None, -3.0])
def test_softmax(level, dtype, log, scale):
    kernel = softmax_columns(scale is not None, 1, dtype, log)
    last = [] if scale is None else [np.array([[scale]], DTYPES[dtype])]
    for N in widths(level, dtype):
        for K in (0, 1, 2, 70):
            x = some(dtype, N, 2, K, N) * DTYPES[dtype].type(4)
            rounded = x * x.dtype.type(1 if scale is None else scale)
            exact = exact_softmax(rounded, log) if x.size else x
            distance = np.ptp(rounded) if x.size else 0
            bound = UNIT[dtype] * (20 + K + distance) * (1 + np.abs(exact) if log else exact)
            for in_place in (False, True):
                y = run(level, kernel, x, *last, gap=3, in_place=in_place)
                assert (np.abs(y - exact) <= bound + 1e-44).all()
            y = np.zeros_like(x)
            run_python(kernel, x, N, y, N, K, N, 2, K * N, K * N, *last)
            assert (np.abs(y - exact) <= bound + 1e-44).all()


@LEVEL
@pytest.mark.parametrize("dtype", NUMBERS)
def test_cumsum(level, dtype):
    kernel = cumsum_columns(1, dtype)
    for N in widths(level, dtype):
        for K in (0, 1, 70):
            x = some(dtype, N, 2, K, N)
            sums = evaluate("cumsum", [x], {"axis": 1})
            for in_place in (False, True):
                assert np.array_equal(run(level, kernel, x, gap=1, in_place=in_place), sums)
            y = np.zeros_like(x)
            run_python(kernel, x, N, y, N, K, N, 2, K * N, K * N)
            assert np.array_equal(y, sums)


KERNELS = {"sum": (reduce_columns("sum", 1), False), "mean": (reduce_columns("mean", 1), False),
           "softmax": (softmax_columns(False, 1), True),
           "log_softmax": (softmax_columns(False, 1, log=True), True),
           "cumsum": (cumsum_columns(1), True)}


@LEVEL
@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=15, deadline=None)
@given(outer=st.integers(1, 4), K=st.integers(1, 80), N=st.integers(1, 300),
       seed=st.integers(0, 99))
def test_columns_are_bit_identical(level, name, outer, K, N, seed):
    """Wherever they are, however many there are, whoever computes them."""
    kernel, rows = KERNELS[name]
    x = some("f32", seed, outer, K, N)
    whole = run(level, kernel, x, rows=rows)
    o, n = seed % outer, seed % N
    assert same_bits(run(level, kernel, x[o:, :, n:], rows=rows), np.array(whole[o:, ..., n:]))
    one = run(level, kernel, x[o:o + 1, :, n:n + 1], rows=rows, gap=1)
    assert same_bits(one, np.array(whole[o:o + 1, ..., n:n + 1]))
    shared = compiled(kernel, level).shared
    assert same_bits(run(level, kernel, x, rows=rows, call=lambda *a: shared(1 + seed % 3, *a)),
                     whole)


@LEVEL
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15, deadline=None)
@given(outer=st.integers(0, 3), M=st.integers(0, 80), N=st.integers(0, 80), gap=st.integers(0, 2),
       seed=st.integers(0, 99))
def test_transpose(level, dtype, outer, M, N, gap, seed):
    kernel, x = transpose(1, dtype), some(dtype, seed, outer * N, M)
    wanted = x.reshape(outer, N, M).transpose(0, 2, 1).reshape(outer * M, N)
    for call in (compiled(kernel, level), lambda *a: compiled(kernel, level).shared(2, *a),
                 lambda *a: run_python(kernel, *a)):
        guarded = Guarded()
        y = guarded.empty(outer * M, N, N + gap, x.dtype)
        call(y, N + gap, guarded.array(x, M + gap), M + gap, M, N, outer, M * (N + gap),
             N * (M + gap))
        guarded.check()
        assert same_bits(np.array(y), np.array(wanted))


def test_names_tell_kernels_apart():
    assert reduce_columns("sum", 2, "f64").name == "reduce_columns_sum_2_f64"
    assert softmax_columns(True, 1, log=True).name == "log_softmax_columns_scaled_1"
    assert cumsum_columns(0, "i8").name == "cumsum_columns_0_i8"
    assert transpose(1, "bool").name == "transpose_1_bool"
    assert reduce_columns("sum", 1).arguments == ("x", "ldx", "y", "K", "N", "d0", "x_d0", "y_d0")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: reduce_columns("argmax", 0), "no reduction 'argmax'"),
    (lambda: softmax_columns(False, 0, "i64"), "softmax is there for"),
    (lambda: cumsum_columns(0, "bool"), "cumsum is there for"),
])
def test_kernels_that_do_not_exist(make, message):
    with pytest.raises(ValueError, match=message):
        make()
