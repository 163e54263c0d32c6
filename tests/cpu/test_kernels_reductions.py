"""reduce, arg, cumsum and topk of every dtype against the references of the ops."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir.ops import evaluate
from ir.types import DTYPES, FLOATS, NUMBERS
from nncompile.cpu.kernels import arg, cumsum, reduce, topk
from nncompile.cpu.kernels.reductions import REDUCTIONS
from tests.cpu.kernel_harness import (
    LEVELS,
    TARGETS,
    Guarded,
    compiled,
    few,
    normal,
    run_python,
    same_bits,
    some,
)

LEVEL = pytest.mark.parametrize("level", LEVELS)
CASES = [(op, dtype) for op, dtypes in REDUCTIONS.items() for dtype in dtypes]
INF, NAN = np.inf, np.nan


def lengths(level):
    """Around vectors, the vectors taken together, and a span of them."""
    W = TARGETS[level].width
    return [1, 2, W // 2 + 1, W - 1, W, W + 1, 4 * W, 5 * W + 3, 128 * W + 1, 261 * W + 3]


def run_reduce(level, kernel, x, dtype=None, *, gap=0, call=None):
    guarded, (rows, N) = Guarded(), x.shape
    y = guarded.empty(1, rows, dtype=dtype or x.dtype)
    (call or compiled(kernel, level))(guarded.array(x, N + gap), N + gap, y, rows, N)
    guarded.check()
    return np.array(y[0])


def expected(op, x):
    return evaluate(op, [x], {"axes": (1,), "keepdims": False})


@LEVEL
@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_reduce(level, op, dtype):
    """Exact: of integers by any values, of floats by small whole ones."""
    kernel = reduce(op, dtype)
    for N in lengths(level):
        x = few(dtype, N, 4, N) if dtype in FLOATS else some(dtype, N, 4, N)
        if op == "prod" and dtype in FLOATS:
            x = np.where(x < 0, -1, 1).astype(x.dtype)
            x[:, :9:2] = 2
        if op in ("any", "all"):
            x[0], x[1] = op == "all", op == "any"
            x[1, N // 2] ^= True
            x[2], x[2, -1] = op == "all", op == "any"
        wide = expected(op, x.astype(float) if dtype in FLOATS else x).astype(x.dtype)
        assert np.array_equal(run_reduce(level, kernel, x, gap=2), wide), N
        y = np.zeros(4, x.dtype)
        run_python(kernel, x, N, y, 4, N)
        assert np.array_equal(y, wide)


CONVERTING = [("sum", "i64", "u8"), ("sum", "i64", "bool"), ("prod", "i64", "i8"),
              ("mean", "f32", "u8"), ("mean", "f64", "f32"), ("mean", "f32", "i64"),
              ("max", "f32", "bool"), ("min", "i32", "i64"), ("any", "bool", "f32"),
              ("all", "bool", "u8"), ("all", "bool", "f64")]


@LEVEL
@pytest.mark.parametrize(("op", "dtype", "source"), CONVERTING)
def test_reduce_of_another_dtype(level, op, dtype, source):
    """The result has the bits of the reduction of elements that were converted before."""
    for N in [0, *lengths(level)]:
        x = some(source, N, 4, N) if source != "bool" else np.random.default_rng(N).random(
            (4, N)) < 0.9
        x[:2, ::3] = 0
        wide = x.astype(DTYPES[dtype])
        before = run_reduce(level, reduce(op, dtype), wide)
        kernel = reduce(op, dtype, source)
        assert kernel.name.endswith(f"_of_{source}")
        after = run_reduce(level, kernel, x, DTYPES[dtype], gap=2)
        assert same_bits(after, before), N
        y = np.zeros(4, DTYPES[dtype])
        run_python(kernel, x, N, y, 4, N)
        np.testing.assert_allclose(y, before, rtol=1e-5)


@LEVEL
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["sum", "mean", "max", "min", "prod"])
def test_nan_and_infinity(level, op, dtype):
    for N in lengths(level):
        x = few(dtype, N, 5, N)
        for place in (0, N // 2, N - 1):
            x[1, place], x[2, place], x[3, place] = NAN, -INF, INF
        x[4] = INF if op == "min" else -INF
        assert np.array_equal(run_reduce(level, reduce(op, dtype), x), expected(op, x),
                              equal_nan=True), N


@LEVEL
@pytest.mark.parametrize(("op", "dtype"), CASES)
def test_reduce_nothing(level, op, dtype):
    kernel, start = reduce(op, dtype), {"sum": 0, "prod": 1, "mean": NAN, "any": 0, "all": 1}
    if dtype in FLOATS:
        start |= {"max": -INF, "min": INF}
    elif dtype != "bool":
        limits = np.iinfo(DTYPES[dtype])
        start |= {"max": limits.min, "min": limits.max}
    nothing = np.full(3, start[op], DTYPES[dtype])
    x = np.zeros((3, 0), DTYPES[dtype])
    assert np.array_equal(run_reduce(level, kernel, x), nothing, equal_nan=True)
    y = np.zeros(3, x.dtype)
    run_python(kernel, x, 0, y, 3, 0)
    assert np.array_equal(y, nothing, equal_nan=True)
    assert run_reduce(level, kernel, np.zeros((0, 5), DTYPES[dtype])).shape == (0,)


@LEVEL
@pytest.mark.parametrize(("dtype", "error"), [("f32", 1e-6), ("f64", 1e-15)])
def test_long_sums_are_accurate(level, dtype, error):
    """A million numbers of one sign: sums of spans keep the error from growing with the length."""
    x = np.abs(normal(1, 1, 1_000_003)).astype(DTYPES[dtype])
    exact = x.astype(np.longdouble).sum()
    assert abs(run_reduce(level, reduce("sum", dtype), x)[0] / exact - 1) < error


@LEVEL
@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=30, deadline=None)
@given(N=st.integers(1, 3000), seed=st.integers(0, 99))
def test_sums_and_products_within_rounding(level, dtype, N, seed):
    x = some(dtype, seed, 2, N)
    wide, unit = x.astype(np.longdouble), np.finfo(x.dtype).eps
    size = np.abs(wide).sum(1)
    bound = 12 * unit * size                             # of spans, ways and lanes, each its error
    assert (np.abs(run_reduce(level, reduce("sum", dtype), x) - wide.sum(1)) <= bound).all()
    mean = run_reduce(level, reduce("mean", dtype), x)
    assert (np.abs(mean - wide.mean(1)) <= bound / N).all()
    x = np.exp2(x / x.dtype.type(100))
    product = x.astype(np.longdouble).prod(1)
    error = np.abs(run_reduce(level, reduce("prod", dtype), x) / product - 1)
    assert (error <= N * unit).all()


# -- arg ------------------------------------------------------------------------------------------

@LEVEL
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_arg(level, op, dtype):
    kernel = arg(op, dtype)
    for N in lengths(level):
        x = np.concatenate([few(dtype, N, 4, N), some(dtype, 1, 3, N)])
        x[1] = x[1, 0]
        if dtype in FLOATS:
            x[2, N // 2:], x[3, ::2], x[3, 1::2] = NAN, -0.0, 0.0
            x[4], x[5] = INF, -INF
        places = evaluate(op, [x], {"axis": 1, "keepdims": False})
        assert np.array_equal(run_reduce(level, kernel, x, np.int64, gap=1), places), N
        y = np.zeros(7, np.int64)
        run_python(kernel, x, N, y, 7, N)
        assert np.array_equal(y, places)
    assert np.array_equal(run_reduce(level, kernel, x[:, :0], np.int64), np.zeros(7))
    assert run_reduce(level, kernel, x[:0], np.int64).shape == (0,)


# -- cumsum ---------------------------------------------------------------------------------------

def run_cumsum(level, x, *, gap=0, in_place=False, call=None):
    guarded, (rows, N) = Guarded(), x.shape
    xs = guarded.array(x, N + gap)
    y = xs if in_place else guarded.empty(rows, N, N + 2 * gap, x.dtype)
    ldy = N + gap * (1 if in_place else 2)
    kernel = compiled(cumsum(ir.type_of(x).dtype), level)
    (call or kernel)(xs, N + gap, y, ldy, rows, N)
    guarded.check()
    return np.array(y)


@LEVEL
@pytest.mark.parametrize("dtype", NUMBERS)
def test_cumsum(level, dtype):
    for N in (0, 1, 2, 17, 300):
        for rows in (0, 1, 5):
            x = some(dtype, N, rows, N)
            if dtype in FLOATS and N > 2 and rows > 2:
                x[0, 2], x[1, 1] = NAN, INF
            sums = evaluate("cumsum", [x], {"axis": 1})
            for in_place in (False, True):
                y = run_cumsum(level, x, gap=3, in_place=in_place)
                assert np.array_equal(y, sums, equal_nan=dtype in FLOATS)
            y = np.zeros((rows, N), x.dtype)
            run_python(cumsum(dtype), x, N, y, N, rows, N)
            assert np.array_equal(y, sums, equal_nan=dtype in FLOATS)


# -- topk -----------------------------------------------------------------------------------------

def run_topk(level, x, k, largest, *, gap=0, call=None):
    guarded, (rows, N) = Guarded(), x.shape
    y = guarded.empty(rows, k, k + gap, np.int64)
    kernel = compiled(topk(largest, ir.type_of(x).dtype), level)
    (call or kernel)(guarded.array(x, N + gap), N + gap, y, k + gap, rows, N, k)
    guarded.check()
    return np.array(y)


@LEVEL
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", NUMBERS)
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(0, 4), N=st.integers(0, 70), part=st.floats(0, 1), seed=st.integers(0, 99))
def test_topk(level, largest, dtype, rows, N, part, seed):
    k = round(part * N)
    x = few(dtype, seed, rows, N) if seed % 2 else some(dtype, seed, rows, N)
    if dtype in FLOATS:
        rare = np.random.default_rng(seed).random(x.shape)
        x[rare < 0.1], x[rare > 0.95], x[(rare > 0.4) & (rare < 0.5)] = NAN, -INF, -0.0
    attrs = {"axis": 1, "k": k, "largest": largest, "sorted": True}
    places = evaluate("topk_ids", [x], attrs)
    assert np.array_equal(run_topk(level, x, k, largest, gap=seed % 3), places)
    y = np.zeros((rows, k), np.int64)
    run_python(topk(largest, dtype), x, N, y, k, rows, N, k)
    assert np.array_equal(y, places)


@LEVEL
@pytest.mark.parametrize("dtype", NUMBERS)
def test_long_rows_in_order(level, dtype):
    x = some(dtype, 1, 2, 5001)
    order = np.argsort(x, kind="stable")
    for k in (1, 7, 5001):
        assert np.array_equal(run_topk(level, x, k, False), order[:, :k])


# -- all of them ----------------------------------------------------------------------------------

RUNS = {
    **{f"{op}_{dtype}": (reduce(op, dtype), lambda level, x, op=op, dtype=dtype, **k:
                         run_reduce(level, reduce(op, dtype), x, **k)[:, None])
       for op, dtype in [("sum", "f32"), ("max", "f32"), ("sum", "f64"), ("mean", "f64")]},
    "argmax_f32": (arg("argmax"), lambda level, x, **k:
                   run_reduce(level, arg("argmax"), x, np.int64, **k)[:, None]),
    "cumsum_f32": (cumsum(), run_cumsum),
    "topk_f32": (topk(True), lambda level, x, **k:
                 run_topk(level, x, min(3, x.shape[1]), True, **k)),
}


@LEVEL
@pytest.mark.parametrize("name", RUNS)
@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 200), N=st.integers(1, 200), seed=st.integers(0, 99))
def test_rows_are_bit_identical(level, name, rows, N, seed):
    kernel, run = RUNS[name]
    x = some(name.rpartition("_")[2], seed, rows, N)
    whole = run(level, x)
    start = seed % rows
    assert same_bits(run(level, x[start:]), whole[start:])
    assert same_bits(run(level, x[start:start + 1], gap=1), whole[start:start + 1])
    shared = compiled(kernel, level).shared
    assert same_bits(run(level, x, call=lambda *a: shared(1 + seed % 3, *a)), whole)


def test_names_tell_kernels_apart():
    assert reduce("sum").name == "reduce_sum" and reduce("any", "bool").name == "reduce_any_bool"
    assert arg("argmin", "i8").name == "argmin_i8" and cumsum("f64").name == "cumsum_f64"
    assert topk(True).name == "topk_largest" and topk(False, "u8").name == "topk_smallest_u8"
    assert topk(True).types == ("f32", "int", "i64", "int", "int", "int", "int")
    assert arg("argmax", "u8").types == ("u8", "int", "i64", "int", "int")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: reduce("median"), "no reduction 'median'"),
    (lambda: reduce("mean", "i64"), "mean is there for f32, f64, not for 'i64'"),
    (lambda: reduce("any"), "any is there for bool"),
    (lambda: arg("max"), "no reduction to a place 'max'"),
    (lambda: arg("argmax", "bool"), "argmax is there for"),
    (lambda: cumsum("bool"), "cumsum is there for"),
    (lambda: topk(True, "bool"), "topk is there for"),
])
def test_kernels_that_do_not_exist(make, message):
    with pytest.raises(ValueError, match=message):
        make()
