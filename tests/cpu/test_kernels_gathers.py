"""Elements by index: every dtype, any strides, and wrong ids.
"""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.ops import evaluate
from ir.types import DTYPES, FLOATS, NUMBERS
from nncompile.cpu.kernels import (
    embedding_bag,
    first_equal,
    put_rows,
    scatter_add,
    take,
    take_along,
)
from tests.cpu.kernel_harness import LEVELS, TARGETS, Guarded, compiled, few, run_python, some

LEVEL = pytest.mark.parametrize("level", LEVELS)
INDEX = pytest.mark.parametrize("index", ["i64", "i32"])
ENDS = {"i64": np.iinfo(np.int64), "i32": np.iinfo(np.int32)}


def ways(kernel, level):
    """The ways to run a kernel that must all do the same."""
    return (compiled(kernel, level), lambda *a: compiled(kernel, level).shared(3, *a),
            lambda *a: run_python(kernel, *a))


def equal(a, b):
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


# -- take -----------------------------------------------------------------------------------------

@LEVEL
@INDEX
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_table(level, index, dtype):
    """As embedding does: one outer axis, or none, of ids that are not side by side."""
    W = TARGETS[level].width
    for N in (0, 1, W, 2 * W + 5):
        for shape in ((0,), (1,), (70,), (3, 5), ()):
            table, rank = some(dtype, 1, 11, N), len(shape)
            ids = np.random.default_rng(2).integers(0, 11, shape).astype(DTYPES[index])
            strides = [int(np.prod(shape[i + 1:], dtype=int)) for i in range(rank)]
            for call in ways(take(index, rank, dtype), level):
                guarded, fault = Guarded(), np.zeros(3, np.int64)
                y = guarded.empty(ids.size, N, N + 2, table.dtype)
                spread = guarded.array(np.repeat(ids.ravel(), 2)[None])          # every second one
                call(y, guarded.array(table, N + 1), spread, 11, N + 1, N, fault, 4, *shape,
                     *((N + 2) * s for s in strides), *[0] * rank, *(2 * s for s in strides))
                guarded.check()
                assert equal(np.array(y), table[ids.ravel()]) and not fault.any()


@LEVEL
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_take_along_any_axis(level, data):
    """x[A, V, N] and ids[M]: the outer axes are A and M."""
    A, V, N, M = (data.draw(st.integers(low, 5)) for low in (0, 1, 0, 0))
    dtype, index = data.draw(st.sampled_from([*DTYPES])), data.draw(st.sampled_from(["i32", "i64"]))
    x = some(dtype, V, A * V, N).reshape(A, V, N)
    ids = np.random.default_rng(N).integers(0, V, M).astype(DTYPES[index])
    for call in ways(take(index, 2, dtype), level):
        guarded, fault = Guarded(), np.zeros(3, np.int64)
        y = guarded.empty(A * M, N, dtype=x.dtype)
        call(y, guarded.array(x.reshape(A * V, N)), guarded.array(ids), V, N, N, fault, 0, A, M,
             M * N, N, V * N, 0, 0, 1)
        guarded.check()
        assert equal(np.array(y).reshape(A, M, N), evaluate("take", [x, ids], {"axis": 1}))
        assert not fault.any()


@LEVEL
def test_rows_in_reverse(level):
    """A flipped tensor begins at its last row."""
    table, ids, fault = some("f64", 1, 7, 5), np.array([0, 6, 2]), np.zeros(3, np.int64)
    for call in ways(take("i64", 1, "f64"), level):
        guarded = Guarded()
        y = guarded.empty(3, 5, dtype=table.dtype)
        call(y, guarded.array(table)[6:], ids, 7, -5, 5, fault, 0, 3, 5, 0, 1)
        guarded.check()
        assert np.array_equal(y, table[::-1][ids]) and not fault.any()


@LEVEL
@INDEX
@pytest.mark.parametrize("dtype", ["f32", "f64", "bool"])
def test_take_of_unknown_ids(level, index, dtype):
    """A row of zeros, and the fault reported; nothing outside the table is read."""
    for bad in (-1, 7, ENDS[index].min, ENDS[index].max):
        ids, table = np.array([3, bad, 0, bad], DTYPES[index]), some(dtype, 1, 7, 21)
        for call in ways(take(index, 1, dtype), level):
            guarded, fault = Guarded(), np.zeros(3, np.int64)
            y = guarded.empty(4, 21, dtype=table.dtype)
            call(y, guarded.array(table), ids, 7, 21, 21, fault, 4, 4, 21, 0, 1)
            guarded.check()
            assert np.array_equal(y[::2], table[[3, 0]]) and not y[1::2].any()
            assert fault.tolist() == [5, bad, 7]


@LEVEL
def test_take_reports_one_fault(level):
    """The first of several; an empty table knows no id."""
    ids, table = np.array([5, 9], np.int64), np.zeros((0, 3), np.float32)
    for call in (compiled(take("i64", 1), level), lambda *a: run_python(take("i64", 1), *a)):
        y, fault = np.ones((2, 3), np.float32), np.zeros(3, np.int64)
        call(y, table, ids, 0, 3, 3, fault, 0, 2, 3, 0, 1)
        assert (y == 0).all() and fault.tolist() == [1, 5, 0]
        call(y, table, ids, 0, 3, 3, fault, 7, 2, 3, 0, 1)
        assert fault.tolist() == [1, 5, 0]


# -- take_along -----------------------------------------------------------------------------------

@LEVEL
@settings(max_examples=40, deadline=None)
@given(data=st.data(), axis=st.integers(0, 1))
def test_take_along(level, data, axis):
    """x[V, N] along its first axis, or its transpose along its last; ids transposed too."""
    A, V, N, M = (data.draw(st.integers(low, 9)) for low in (0, 1, 0, 0))
    dtype, index = data.draw(st.sampled_from([*DTYPES])), data.draw(st.sampled_from(["i32", "i64"]))
    x = some(dtype, V, A * V, N).reshape(A, V, N)
    shape = (A, M, N) if axis == 0 else (A, N, M)
    ids = np.random.default_rng(N).integers(0, V, shape).astype(DTYPES[index])
    if axis == 0:              # unit (a, m), along n
        strides = [A, M, M * N, N, V * N, 0, M * N, N]
        ldx, count, inner = N, N, (1, 1)
        expected = evaluate("take_along", [x, ids], {"axis": 1})
    else:                      # unit (a, n), along m
        strides = [A, N, M * N, M, V * N, 1, M * N, M]
        ldx, count, inner = N, M, (0, 1)
        expected = evaluate("take_along", [x.transpose(0, 2, 1), ids], {"axis": 2})
    for call in ways(take_along(index, 2, dtype), level):
        guarded, fault = Guarded(), np.zeros(3, np.int64)
        y = guarded.empty(1, A * M * N, dtype=x.dtype)
        call(y, guarded.array(x.reshape(A * V, N)), guarded.array(ids.reshape(1, -1)), V, ldx,
             count, *inner, fault, 3, *strides)
        guarded.check()
        assert equal(np.array(y).reshape(expected.shape), expected) and not fault.any()


@LEVEL
def test_take_along_in_one_dim(level):
    """Units are chunks of the ids; every second one is taken."""
    x, y = some("f32", 1, 50), np.zeros(9001, np.float32)
    ids, fault = np.random.default_rng(1).integers(0, 50, 18001), np.zeros(3, np.int64)
    for call in ways(take_along("i64", 0), level):
        y[...] = 0
        call(y, x, ids, 50, 1, 9001, 0, 2, fault, 0)
        assert np.array_equal(y, x[ids[::2]]) and not fault.any()


@LEVEL
@INDEX
@pytest.mark.parametrize("dtype", ["f32", "f64", "bool"])
def test_take_along_of_unknown_ids(level, index, dtype):
    for bad in (-1, 7, ENDS[index].min, ENDS[index].max):
        ids, x = np.array([3, bad, 0, bad], DTYPES[index]), some(dtype, 1, 7, 4)
        for call in ways(take_along(index, 0, dtype), level):
            guarded, fault = Guarded(), np.zeros(3, np.int64)
            y = guarded.empty(1, 4, dtype=x.dtype)
            call(y, guarded.array(x), ids, 7, 4, 4, 1, 1, fault, 4)
            guarded.check()
            assert y.tolist() == [[x[3, 0], 0, x[0, 2], 0]] and fault.tolist() == [5, bad, 7]


# -- scatter_add -----------------------------------------------------------------------------------

@LEVEL
@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.booleans())
def test_scatter_add(level, data, rows):
    """x[A, M, N] with ids [A, M], of which each adds a row, or [A, M, N]; the bits are the same."""
    A, V, M, N = (data.draw(st.integers(low, 20)) for low in (0, 1, 0, 0))
    dtype, index = data.draw(st.sampled_from(NUMBERS)), data.draw(st.sampled_from(["i32", "i64"]))
    x = some(dtype, V, A * M, N).reshape(A, M, N)
    ids = np.random.default_rng(N).integers(0, V, (A, M, 1 if rows else N)).astype(DTYPES[index])
    expected = evaluate("scatter_add", [ids, x], {"axis": 1, "size": V})
    wide = ids.shape[2]
    outer = [A, V * N, M * N, M] if rows else [A, N, V * N, 1, M * N, 1, M * N, 1]
    kernel = scatter_add(index, 1 if rows else 2, rows, dtype)
    for call in ways(kernel, level):
        guarded, fault = Guarded(), np.zeros(3, np.int64)
        y = guarded.array(np.zeros((1, A * V * N), x.dtype))
        call(y, guarded.array(x.reshape(1, -1)), guarded.array(ids.reshape(1, -1)), V, N, M, N,
             wide, N if rows else 1, fault, 3, *outer)
        guarded.check()
        assert np.array_equal(np.array(y).reshape(expected.shape), expected) and not fault.any()


@LEVEL
@INDEX
@pytest.mark.parametrize("dtype", ["f32", "i8"])
@pytest.mark.parametrize("rows", [True, False])
def test_scatter_add_of_unknown_ids(level, index, dtype, rows):
    """They add nothing and are reported, also where there is no place to add to."""
    N = 21 if rows else 1
    for V, bad in ((7, -1), (7, 7), (7, ENDS[index].min), (7, ENDS[index].max), (0, 0)):
        ids, x = np.array([bad, 3, bad], DTYPES[index]), some(dtype, 1, 3, N)
        for call in ways(scatter_add(index, 0, rows, dtype), level):
            guarded, fault = Guarded(), np.zeros(3, np.int64)
            y = guarded.array(np.zeros((V, N), x.dtype))
            call(y, guarded.array(x), ids[:1] if V == 0 else ids, V, N, 1 if V == 0 else 3, N, 1, N,
                 fault, 4)
            guarded.check()
            assert fault.tolist() == [5, bad, V]
            assert V == 0 or (np.array_equal(y[3], x[1]) and np.count_nonzero(y[[0, 6]]) == 0)


# -- first_equal and put_rows ----------------------------------------------------------------------

@LEVEL
@INDEX
def test_first_equal(level, index):
    """Few and many different ids, and those that a hash could mistake for others."""
    random, far = np.random.default_rng(0), ENDS[index]
    for ids in ([], [5], [7] * 9, random.integers(-3, 4, 50), random.integers(0, 10**6, 3000),
                np.arange(2000)[::-1] * 64, [far.min, far.max, -1, 0, far.min, 1, far.max],
                np.repeat(np.arange(500), 3)):
        ids = np.array(ids, DTYPES[index])
        for call in ways(first_equal(index), level):
            guarded = Guarded()
            y = guarded.array(np.full((1, 3 * len(ids)), -1))
            call(y, guarded.array(ids[None]), len(ids))
            guarded.check()
            assert equal(np.array(y)[0, :len(ids)], evaluate("first_equal", [ids], {}))


@LEVEL
@settings(max_examples=60, deadline=None)
@given(data=st.data(), in_place=st.booleans())
def test_put_rows(level, data, in_place):
    """Equal ids, and ids outside; into a copy and where x is."""
    V, M, N = (data.draw(st.integers(0, 20)) for _ in range(3))
    dtype, index = data.draw(st.sampled_from([*DTYPES])), data.draw(st.sampled_from(["i32", "i64"]))
    x, rows = some(dtype, V, V, N), some(dtype, M + 1, M, N)
    ids = np.random.default_rng(N).integers(-2, V + 2, M).astype(DTYPES[index])
    ids[ids == V + 1] = ENDS[index].max
    expected = evaluate("put_rows", [ids, rows, x], {})
    for call in ways(put_rows(index, dtype), level):
        guarded = Guarded()
        target = guarded.array(x.reshape(1, -1))
        y = target if in_place else guarded.empty(1, V * N, dtype=x.dtype)
        call(y, target, guarded.array(rows.reshape(1, -1)), guarded.array(ids[None]), V, M, N)
        guarded.check()
        assert equal(np.array(y).reshape(V, N), expected)
        assert in_place or equal(np.array(target).reshape(V, N), x)


# -- embedding_bag --------------------------------------------------------------------------------

KINDS = [("sum", False), ("sum", True), ("mean", False), ("max", False)]


def bag_arguments(guarded, ids, offsets, table, weights, padding, last, step=0):
    """Arguments of embedding_bag; its y and its fault."""
    bags, D = len(offsets) - last, table.shape[1]
    y, fault = guarded.empty(bags, D, D + 3, table.dtype), np.zeros(3, np.int64)
    further = [] if weights is None else [guarded.array(weights)]
    return (guarded.array(ids), guarded.array(offsets), guarded.array(table), *table.shape, y,
            D + 3, bags, len(ids), *further, padding, fault, step, last), y, fault


@LEVEL
@pytest.mark.parametrize(("mode", "weighted"), KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_embedding_bag(level, mode, weighted, dtype, data):
    count, D, last = (data.draw(st.integers(0, n)) for n in (20, 40, 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), min_size=last, max_size=8)))
    index, other = (data.draw(st.sampled_from(["i32", "i64"])) for _ in range(2))
    offsets = np.array([0, *cuts][:len(cuts) + 1], DTYPES[other])
    ids = np.random.default_rng(count).integers(0, 6, count).astype(DTYPES[index])
    table, weights = few(dtype, 1, 6, D), few(dtype, 2, count) if weighted else None
    padding = data.draw(st.integers(-1, 6))
    expected = evaluate("embedding_bag", [ids, offsets, table, *([weights] if weighted else [])],
                        {"mode": mode, "include_last": bool(last), "padding": padding})
    for call in ways(embedding_bag(mode, index, weighted, dtype, other), level):
        guarded = Guarded()
        arguments, y, fault = bag_arguments(guarded, ids, offsets, table, weights, padding, last)
        call(*arguments)
        guarded.check()
        assert equal(np.array(y), expected) and not fault.any()


@LEVEL
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_max_of_a_bag_with_nan(level, dtype):
    table = np.array([[np.nan, 1, -np.inf], [2, np.nan, -np.inf], [3, 4, -5]], DTYPES[dtype])
    ids, offsets = np.array([0, 2, 1, 2, 0, 1], np.int64), np.array([0, 2, 4], np.int64)
    guarded = Guarded()
    arguments, y, _ = bag_arguments(guarded, ids, offsets, table, None, -1, 0)
    compiled(embedding_bag("max", "i64", False, dtype), level)(*arguments)
    assert equal(np.array(y), np.array([[np.nan, 4, -5], [3, np.nan, -5],
                                        [np.nan, np.nan, -np.inf]], table.dtype))


@LEVEL
@INDEX
@pytest.mark.parametrize(("offsets", "fault"), [
    ([1, 2], [3, 1, -6]), ([0, -1], [3, -1, -6]), ([0, 6], [3, 6, -6]), ([0, 4, 2], [3, 2, -6]),
    ([-1, 0], [3, -1, -6]), ([0, "least", 5], [3, "least", -6]), ([0, "most"], [3, "most", -6])])
def test_offsets_that_are_wrong(level, index, offsets, fault):
    """Nothing outside the ids is read; one of the offsets is reported."""
    ends = {"least": ENDS[index].min, "most": ENDS[index].max}
    offsets = np.array([ends.get(o, o) for o in offsets], DTYPES[index])
    ids, table = np.arange(5).astype(DTYPES[index]), few("f32", 1, 5, 3)
    for last in (0, 1):
        for call in (compiled(embedding_bag("sum", index, False), level),
                     lambda *a: run_python(embedding_bag("sum", index, False), *a)):
            guarded = Guarded()
            arguments, _, found = bag_arguments(guarded, ids, offsets, table, None, -1, last, 2)
            call(*arguments)
            guarded.check()
            assert found.tolist() == [ends.get(f, f) for f in fault]


@LEVEL
@INDEX
def test_ids_of_a_bag_that_are_wrong(level, index):
    for bad in (-1, 5, ENDS[index].min, ENDS[index].max):
        ids, offsets = np.array([1, bad, 2], DTYPES[index]), np.zeros(1, DTYPES[index])
        table = few("f32", 1, 5, 3)
        for padding in (-1, 1):
            for call in ways(embedding_bag("sum", index, False), level):
                guarded = Guarded()
                arguments, _, fault = bag_arguments(guarded, ids, offsets, table, None, padding, 0)
                call(*arguments)
                guarded.check()
                assert fault.tolist() == [1, bad, 5]


@pytest.mark.parametrize(("make", "message"), [
    (lambda: take("i16", 1), "an id is there for i64, i32, not for 'i16'"),
    (lambda: take_along("f32", 1), "an id is there for"),
    (lambda: embedding_bag("min", "i64", False), "no mode 'min' of embedding_bag"),
    (lambda: embedding_bag("mean", "i64", True), "rows with weights are summed"),
    (lambda: embedding_bag("mean", "i64", False, "i32"), "embedding_bag is there for f32, f64"),
])
def test_kernels_that_do_not_exist(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_tell_kernels_apart():
    assert take("i64", 1).name == "take_i64_1" and take("i32", 2, "i8").name == "take_i32_2_i8"
    assert embedding_bag("sum", "i64", True).name == "embedding_bag_sum_weighted_i64"
    assert embedding_bag("max", "i64", False, "f64", "i32").name == "embedding_bag_max_i64_i32_f64"
    assert take("i32", 1, "u8").types == ("u8", "u8", "i32", "int", "int", "int", "words", "int",
                                          "int", "int", "int", "int")
