"""Elementwise chains over strided tensors, and embedding."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from nncompile.cpu.kernels import LANE_OPS, elementwise, embedding
from nncompile.cpu.kernels.elementwise import CHUNK
from tests.cpu.kernel_harness import (
    LEVELS,
    REFERENCE,
    TARGETS,
    Guarded,
    compiled,
    normal,
    run_python,
    same_bits,
    whole_numbers,
)

LEVEL = pytest.mark.parametrize("level", LEVELS)


@LEVEL
@pytest.mark.parametrize("op", LANE_OPS)
def test_every_op(level, op):
    kinds = "v" * LANE_OPS[op].arity
    for N in (0, 1, 2, TARGETS[level].width, 3 * TARGETS[level].width + 5):
        guarded = Guarded()
        operands = [np.abs(normal(i, 1, N)) + 0.1 for i in range(len(kinds))]
        y = guarded.empty(1, N)
        arrays = [guarded.array(a) for a in operands]
        compiled(elementwise(((op, kinds),), 0), level)(y, N, *arrays)
        guarded.check()
        expected = REFERENCE[op](*(a.astype(float) for a in operands))
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)
        y[...] = 0
        run_python(elementwise(((op, kinds),), 0), y, N, *arrays)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@LEVEL
def test_a_chain_of_all_kinds(level):
    """(relu(a + b) * column) - transposed"""
    chain = (("add", "vv"), ("relu", ""), ("mul", "s"), ("sub", "g"))
    kernel = elementwise(chain, 1)
    assert kernel.name == "add_relu_mul_sub_vvsg_1"
    assert kernel.arguments == ("y", "N", "d0", "y_d0", "r0", "r0_d0", "r1", "r1_d0",
                                "r2", "r2_d0", "r3", "r3_inner", "r3_d0")
    for rows in (0, 1, 7, 150):
        for N in (0, 1, 3, 16, 17, 40):
            a, row, column = whole_numbers(1, rows, N), whole_numbers(2, 1, N), normal(3, rows, 1)
            transposed, guarded = normal(4, N, rows), Guarded()
            y = guarded.empty(rows, N, N + 3)
            values = [y, N, rows, N + 3, guarded.array(a, N + 1), N + 1, guarded.array(row), 0,
                      guarded.array(column, 2), 2, guarded.array(transposed), rows, 1]
            compiled(kernel, level)(*values)
            guarded.check()
            expected = np.maximum(a + row, 0) * column - transposed.T
            assert np.array_equal(y, expected)
            y[...] = 0
            run_python(kernel, *values)
            assert np.array_equal(y, expected)


@LEVEL
@settings(max_examples=40, deadline=None)
@given(data=st.data(), outer=st.integers(0, 3))
def test_copies_of_any_strides(level, data, outer):
    """Permuted, repeated and reversed axes of a tensor."""
    shape = data.draw(st.lists(st.integers(0, 6), min_size=outer + 1, max_size=outer + 1))
    strides = data.draw(st.lists(st.integers(-3, 4), min_size=outer + 1, max_size=outer + 1))
    lowest = sum(min(0, s * (n - 1)) for n, s in zip(shape, strides, strict=True) if n)
    highest = sum(max(0, s * (n - 1)) for n, s in zip(shape, strides, strict=True) if n)
    guarded = Guarded()
    source = guarded.array(normal(1, 1, highest - lowest + 1))[0, -lowest:]
    view = as_strided(source, shape, [4 * s for s in strides])
    *axes, N = shape
    rows = int(np.prod(axes, dtype=int))
    y = guarded.empty(rows, N)
    y_strides = [N * int(np.prod(axes[i + 1:], dtype=int)) for i in range(outer)]
    compiled(elementwise((("copy", "g"),), outer), level)(
        y, N, *axes, *y_strides, source, strides[-1], *strides[:-1])
    guarded.check()
    assert np.array_equal(y.reshape(shape), view)


@LEVEL
def test_in_place(level):
    x = normal(1, 5, 37)
    y = x.copy()
    compiled(elementwise((("tanh", "v"), ("add", "v")), 1), level)(y, 37, 5, 37, y, 37, x, 37)
    np.testing.assert_allclose(y, np.tanh(x.astype(float)) + x, rtol=1e-6)


@LEVEL
def test_units_change_nothing(level):
    """Chunks of one long row, rows of a tensor; by one thread or several; one element at a time."""
    N = 3 * CHUNK + 7
    chain = (("gelu", "v"),)
    x, y, shared, rows = (normal(1, N), *(np.zeros(N, np.float32) for _ in range(3)))
    kernel, by_row = compiled(elementwise(chain, 0), level), compiled(elementwise(chain, 1), level)
    kernel(y, N, x)
    for workers in (1, 2, 3):
        shared[...] = 0
        kernel.shared(workers, shared, N, x)
        assert same_bits(shared, y)
    by_row(rows, 1, N, 1, x, 1)
    assert same_bits(rows, y)
    rows[...] = 0
    by_row.shared(3, rows, 1, N, 1, x, 1)
    assert same_bits(rows, y)


def test_chains_that_make_no_sense():
    with pytest.raises(ValueError, match="add takes 2 further operands"):
        elementwise((("add", "v"),), 0)


# -- embedding ----------------------------------------------------------------------------------

@LEVEL
@pytest.mark.parametrize("index", ["i64", "i32"])
def test_embedding(level, index):
    dtype = np.dtype(f"int{index[1:]}")
    for D in (0, 1, TARGETS[level].width, 2 * TARGETS[level].width + 5):
        for shape in ((0,), (1,), (200,), (3, 5), ()):
            guarded, table = Guarded(), normal(1, 11, D)
            ids = np.random.default_rng(2).integers(0, 11, shape).astype(dtype)
            y, fault = guarded.empty(ids.size, D, D + 2), np.zeros(3, np.int64)
            strides = [2 * s // ids.itemsize for s in ids.strides]         # every second one
            spread = guarded.array(np.repeat(ids.ravel(), 2)[None] if ids.size else ids[None])
            kernel = embedding(index, len(shape))
            values = [spread, guarded.array(table), 11, D, y, D + 2, fault, 4, *shape, *strides]
            compiled(kernel, level)(*values)
            guarded.check()
            assert np.array_equal(y, table[ids.ravel()]) and not fault.any()
            y[...] = 0
            compiled(kernel, level).shared(3, *values)
            assert np.array_equal(y, table[ids.ravel()]) and not fault.any()
            y[...] = 0
            run_python(kernel, *values)
            assert np.array_equal(y, table[ids.ravel()]) and not fault.any()


@LEVEL
@pytest.mark.parametrize("index", ["i64", "i32"])
def test_embedding_of_unknown_ids(level, index):
    """A row of zeros, and the fault reported; nothing outside the table is read."""
    dtype = np.dtype(f"int{index[1:]}")
    limits = np.iinfo(dtype)
    for bad in (-1, 7, limits.min, limits.max):
        ids, table = np.array([3, bad, 0, bad], dtype), normal(1, 7, 21)
        for call in (compiled(embedding(index, 1), level),
                     lambda *a: run_python(embedding(index, 1), *a)):
            guarded, fault = Guarded(), np.zeros(3, np.int64)
            y = guarded.empty(4, 21)
            call(ids, guarded.array(table), 7, 21, y, 21, fault, 4, 4, 1)
            guarded.check()
            assert np.array_equal(y[::2], table[[3, 0]]) and (y[1::2] == 0).all()
            assert fault.tolist() == [5, bad, 7]


@LEVEL
def test_embedding_reports_one_fault(level):
    """The first of several; an empty table knows no id."""
    ids, table = np.array([5, 9], np.int64), np.zeros((0, 3), np.float32)
    for call in (compiled(embedding("i64", 1), level),
                 lambda *a: run_python(embedding("i64", 1), *a)):
        y, fault = np.ones((2, 3), np.float32), np.zeros(3, np.int64)
        call(ids, table, 0, 3, y, 3, fault, 0, 2, 1)
        assert (y == 0).all() and fault.tolist() == [1, 5, 0]
        call(ids, table, 0, 3, y, 3, fault, 7, 2, 1)
        assert fault.tolist() == [1, 5, 0]


def test_ids_of_another_type():
    with pytest.raises(ValueError, match="i64 or i32"):
        embedding("i16", 1)
