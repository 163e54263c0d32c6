"""Elementwise chains over strided tensors of every dtype, iota, and a number of the call."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from ir.ops import OPS, evaluate
from ir.types import DTYPES, FLOATS, INTEGERS, NUMBERS
from nncompile.cpu.kernels import LANE_OPS, elementwise, iota, number
from nncompile.cpu.kernels.chain import operand_dtypes, result_dtype
from nncompile.cpu.kernels.rows import CHUNK
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
    whole_numbers,
)

LEVEL = pytest.mark.parametrize("level", LEVELS)
CASES = [(op, source, result_dtype(op, source)) for op, lane in LANE_OPS.items()
         for source in lane.dtypes if op != "cast"]
CASTS = [("cast", source, dtype) for source in DTYPES for dtype in DTYPES]
ERROR = {"f32": 1e-6, "f64": 1e-14}


def with_fault(kernel, fault):
    """The last arguments of a kernel that may divide by 0."""
    return [fault, 4] if "fault" in kernel.arguments else []


@pytest.mark.parametrize(("op", "source", "dtype"), CASES + CASTS)
def test_every_op(op, source, dtype):
    """As its reference in double precision says, by the compiled kernel and by its numpy body.
    What ops compute on each target is tested with them."""
    level = LEVELS[0]
    kinds = "v" * LANE_OPS[op].arity
    kernel = elementwise(((op, kinds),), 0, dtype, source)
    for N in (0, 1, 3 * TARGETS[level].width + 5):
        guarded, fault = Guarded(), np.zeros(3, np.int64)
        operands = [few(d, i, 1, N) for i, d in
                    enumerate(operand_dtypes(((op, kinds),), dtype, source))]
        if op in ("floor_div", "remainder"):
            operands[1] = operands[1] | 1 if source in INTEGERS else operands[1] + 0.5
        if source in FLOATS and dtype != source:
            operands[0].ravel()[N // 2:] = np.nan if dtype == "bool" else -1.5
        y = guarded.empty(1, N, dtype=DTYPES[dtype])
        values = [y, N, *map(guarded.array, operands), *with_fault(kernel, fault)]
        wide = [o.astype(float) if o.dtype == np.float32 else o for o in operands]
        attrs = {"dtype": dtype} if op == "cast" else {}
        expected = wide[0] if op == "copy" else evaluate(op, wide, attrs)
        for call in (compiled(kernel, level), lambda *a: run_python(kernel, *a)):
            y[...] = 0
            call(*values)
            guarded.check()
            if dtype in FLOATS:
                error = ERROR[dtype]
                np.testing.assert_allclose(y, expected, rtol=error, atol=error)
            else:
                assert np.array_equal(y, expected), op
            assert not fault.any()


SAME = ["add", "sub", "mul", "maximum", "minimum", "neg", "abs", "sign", "floor_div", "remainder",
        "relu", "where", "copy", "logical_and", "logical_xor", "logical_not"]
FIRST = [*SAME, "cast", "lt", "ge", "eq", "isnan"]


@st.composite
def chains(draw):
    """A chain of ops that are exact on small whole numbers, and its dtypes."""
    dtype = draw(st.sampled_from([*DTYPES]))
    truths = [op for op in FIRST if op in LANE_OPS and result_dtype(op, "f32") == "bool"]
    firsts = [op for op in SAME if dtype in LANE_OPS[op].dtypes] + ["cast"]
    first = draw(st.sampled_from(firsts + truths * (dtype == "bool")))
    source = None
    if first == "cast" or first in truths:
        source = draw(st.sampled_from([*(DTYPES if first == "cast" else LANE_OPS[first].dtypes)]))
    middle = [op for op in SAME if dtype in LANE_OPS[op].dtypes and op != "copy"
              and (op != "where" or dtype == "bool")]
    ops = [first, *draw(st.lists(st.sampled_from(middle), max_size=2))]
    chain = []
    for place, op in enumerate(ops):
        count = LANE_OPS[op].arity - (place > 0)
        chain.append((op, "".join(draw(st.sampled_from("vsg")) for _ in range(count))))
    return tuple(chain), dtype, source


@LEVEL
@settings(max_examples=150, deadline=None)
@given(made=chains(), rows=st.integers(0, 4), N=st.integers(0, 40), gap=st.integers(0, 2),
       seed=st.integers(0, 99))
def test_chains_of_any_dtypes(level, made, rows, N, gap, seed):
    """The compiled kernel, whoever runs it, and its numpy body agree bit for bit."""
    chain, dtype, source = made
    kernel = elementwise(chain, 1, dtype, source)
    kinds = "".join(kinds for _, kinds in chain)
    guarded, fault = Guarded(), np.zeros(3, np.int64)
    y = guarded.empty(rows, N, N + gap, DTYPES[dtype])
    values = [y, N, rows, N + gap]
    for i, (kind, own) in enumerate(zip(kinds, operand_dtypes(chain, dtype, source), strict=True)):
        if kind == "v":
            values += [guarded.array(few(own, seed + i, rows, N), N + gap), N + gap]
        elif kind == "s":
            values += [guarded.array(few(own, seed + i, rows, 1), 1 + gap), 1 + gap]
        else:
            values += [guarded.array(few(own, seed + i, N, rows), rows + gap), rows + gap, 1]
    values += with_fault(kernel, fault)
    results = []
    for call in (compiled(kernel, level), lambda *a: compiled(kernel, level).shared(2, *a),
                 lambda *a: run_python(kernel, *a)):
        y[...], fault[...] = 0, 0
        call(*values)
        guarded.check()
        results.append((np.array(y), fault.tolist()))
    for result, found in results[1:]:
        assert np.array_equal(result, results[0][0], equal_nan=dtype in FLOATS)
        assert found == results[0][1] and found in ([0, 0, 0], [5, 0, 0])


@LEVEL
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("op", ["floor_div", "remainder"])
def test_integers_divided_by_zero(level, op, dtype):
    """Zeros, and a fault; the lowest number by -1 has no fault and no trap. What lies behind the
    last element is not looked at."""
    limits, kernel = np.iinfo(DTYPES[dtype]), elementwise(((op, "vv"),), 0, dtype)
    for N in (1, 5, TARGETS[level].width + 3):
        x, y = some(dtype, 1, 1, N), np.ones((1, N), DTYPES[dtype])
        x[0, -1], y[0, -1] = limits.min, limits.max if dtype == "u8" else -1
        for bad in (False, True):
            y[0, N // 2] = 0 if bad else y[0, N // 2]
            for call in (compiled(kernel, level), lambda *a: run_python(kernel, *a)):
                guarded, fault = Guarded(), np.zeros(3, np.int64)
                out = guarded.empty(1, N, dtype=x.dtype)
                call(out, N, guarded.array(x), guarded.array(y), fault, 2)
                guarded.check()
                safe = np.where(y == 0, 1, y)
                with np.errstate(over="ignore"):
                    expected = OPS[op].reference(x.astype(np.int64), safe.astype(np.int64))
                expected = np.where(y == 0, 0, expected).astype(x.dtype)
                assert np.array_equal(out, expected)
                assert fault.tolist() == ([3, 0, 0] if bad else [0, 0, 0])


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
@given(data=st.data(), outer=st.integers(0, 3), dtype=st.sampled_from([*DTYPES]))
def test_copies_of_any_strides(level, data, outer, dtype):
    """Permuted, repeated and reversed axes of a tensor."""
    shape = data.draw(st.lists(st.integers(0, 6), min_size=outer + 1, max_size=outer + 1))
    strides = data.draw(st.lists(st.integers(-3, 4), min_size=outer + 1, max_size=outer + 1))
    lowest = sum(min(0, s * (n - 1)) for n, s in zip(shape, strides, strict=True) if n)
    highest = sum(max(0, s * (n - 1)) for n, s in zip(shape, strides, strict=True) if n)
    guarded = Guarded()
    source = guarded.array(some(dtype, 1, 1, highest - lowest + 1))[0, -lowest:]
    view = as_strided(source, shape, [source.itemsize * s for s in strides])
    *axes, N = shape
    rows = int(np.prod(axes, dtype=int))
    y = guarded.empty(rows, N, dtype=source.dtype)
    y_strides = [N * int(np.prod(axes[i + 1:], dtype=int)) for i in range(outer)]
    compiled(elementwise((("copy", "g"),), outer, dtype), level)(
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
@pytest.mark.parametrize("dtype", FLOATS)
def test_units_change_nothing(level, dtype):
    """Chunks of one long row, rows of a tensor; by one thread or several; one element at a time."""
    N = 3 * CHUNK + 7
    chain = (("gelu", "v"),)
    x, y, shared, rows = (some(dtype, 1, N), *(np.zeros(N, DTYPES[dtype]) for _ in range(3)))
    kernel = compiled(elementwise(chain, 0, dtype), level)
    by_row = compiled(elementwise(chain, 1, dtype), level)
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


@LEVEL
@pytest.mark.parametrize("dtype", NUMBERS)
def test_iota(level, dtype):
    for N in (0, 1, TARGETS[level].width + 3, 300, 2 * CHUNK + 5):
        for call in (compiled(iota(dtype), level), lambda *a: run_python(iota(dtype), *a),
                     lambda *a: compiled(iota(dtype), level).shared(3, *a)):
            guarded = Guarded()
            y = guarded.empty(1, N, dtype=DTYPES[dtype])
            call(y, N)
            guarded.check()
            assert np.array_equal(y[0], np.arange(N).astype(DTYPES[dtype]))


@LEVEL
def test_number(level):
    for N, value in ((0, 1), (1, 2**62 + 1), (TARGETS[level].width + 3, -5), (2 * CHUNK + 5, 0)):
        for call in (compiled(number(), level), lambda *a: run_python(number(), *a),
                     lambda *a: compiled(number(), level).shared(3, *a)):
            guarded = Guarded()
            y = guarded.empty(1, N, dtype=np.int64)
            call(y, N, value)
            guarded.check()
            assert (y[0] == value).all()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: elementwise((("add", "v"),), 0), "add takes 2 further operands"),
    (lambda: elementwise((("tanh", "v"),), 0, "i64"), "tanh is not for i64"),
    (lambda: elementwise((("add", "vv"),), 0, "i64", "i32"), "add of i32 is i32, not i64"),
    (lambda: iota("bool"), "iota is there for"),
])
def test_kernels_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_tell_kernels_apart():
    assert elementwise((("lt", "vs"),), 0, "bool", "f32").name == "lt_vs_0_bool_of_f32"
    assert elementwise((("cast", "v"),), 1, "f32", "i8").name == "cast_v_1_of_i8"
    assert elementwise((("add", "vv"),), 1, "f64", "f64").name == "add_vv_1_f64"
    assert elementwise((("where", "vvv"),), 0, "i32").types == (
        "i32", "int", "bool", "i32", "i32")
    assert elementwise((("remainder", "vv"),), 0, "i32").arguments == (
        "y", "N", "r0", "r1", "fault", "step")
