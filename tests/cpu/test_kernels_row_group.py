"""row_group: the bits of single kernels, at every level and length, within bounds."""
import numpy as np
import pytest

from nncompile.cpu.kernels import (
    elementwise,
    layer_norm,
    reduce,
    reduce_columns,
    row_group,
    softmax_columns,
)
from nncompile.cpu.kernels import softmax as softmax_rows
from nncompile.schedule.program import ElementOp
from tests.cpu.kernel_harness import LEVELS, Guarded, compiled, normal, run_python, same_bits

LEVEL = pytest.mark.parametrize("level", LEVELS)

# The gradient of a cross entropy, with a sum in between; r1 are indices, r2 and t5 a number a row.
LOSS = (ElementOp("log_softmax", ("r0",), "f32", "f32", True),
        ElementOp("pick", ("t0", "r1"), "i64", "f32"),
        ElementOp("exp", ("t0",), "f32", "f32", True),
        ElementOp("mul", ("t2", "r2"), "f32", "f32", True),
        ElementOp("sum", ("t3",), "f32", "f32"),
        ElementOp("add", ("t4", "r2"), "f32", "f32"),
        ElementOp("sub", ("t3", "t5"), "f32", "f32", True))
# A norm of rows times a row, of which the mean is taken and the largest is found.
NORM = (ElementOp("layer_norm", ("r0", "r1", "r2"), "f32", "f32", True),
        ElementOp("mul", ("t0", "r3"), "f32", "f32", True),
        ElementOp("mean", ("t1",), "f32", "f32"),
        ElementOp("max", ("t1",), "f32", "f32"),
        ElementOp("sub", ("t1", "t2"), "f32", "f32", True))
ONE_HOT = (ElementOp("one_hot", ("r0", "r1"), "i32", "f32", True),
           ElementOp("prod", ("t0",), "f32", "f32"),
           ElementOp("sum", ("t0",), "f32", "f32"))


def run(kernel, level, *arguments):
    compiled(kernel, level)(*arguments)


def of_rows(level, x, share, ids):
    """The results of LOSS by single kernels, for rows of x."""
    rows, N = x.shape
    logs, terms, total = np.empty_like(x), np.empty_like(x), np.empty(rows, "f4")
    run(softmax_rows(False, "f32", True), level, x, N, logs, N, rows, N)
    run(elementwise((("exp", "v"),), 0), level, terms, rows * N, logs)
    terms *= share
    run(reduce("sum"), level, terms, N, total, rows, N)
    total = total[:, None] + share
    return [np.take_along_axis(logs, ids, 1), terms - total, total]


def of_columns(level, x, share, ids):
    """The same for columns of x."""
    N, rows = x.shape
    logs, terms, total = np.empty_like(x), np.empty_like(x), np.empty(rows, "f4")
    run(softmax_columns(False, 0, "f32", True), level, x, rows, logs, rows, N, rows)
    run(elementwise((("exp", "v"),), 0), level, terms, rows * N, logs)
    terms *= share
    run(reduce_columns("sum", 0), level, terms, rows, total, N, rows)
    total = total + share
    return [np.take_along_axis(logs, ids, 0), terms - total, total]


def check_loss(kernel, level, arguments, results, expected, fault, guarded):
    """Both forms of the kernel compute what is expected, the compiled one to the last bit."""
    run(kernel, level, *arguments)
    guarded.check()
    assert all(map(same_bits, map(np.array, results), expected)) and not fault.any()
    run_python(kernel, *arguments)
    for y, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(y, wanted, rtol=2e-5, atol=2e-6)


@LEVEL
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("length", [4, 7, 16, 33, 130, 600])
def test_a_loss_of_rows_has_the_bits_of_single_kernels(level, known, length):
    kernel = row_group(LOSS, (6, 1, 5), "mnn", False, length if known else 0)
    x, share = normal(length, 5, length), normal(1, 5, 1)
    ids = np.random.default_rng(0).integers(0, length, (5, 1))
    expected = of_rows(level, x, share, ids)
    guarded = Guarded()
    y0, r0 = guarded.empty(5, length), guarded.array(x, length + 3)
    y1, y2 = guarded.empty(5, 1), guarded.empty(5, 1)
    fault = np.zeros(3, "i8")
    arguments = (5, length, y0, y1, y2, r0, length + 3, ids, 1, share, 1, fault, 7)
    check_loss(kernel, level, arguments, (y1, y0, y2), expected, fault, guarded)


@LEVEL
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 16, 35])
@pytest.mark.parametrize("length", [2, 6, 33])
def test_a_loss_of_columns_has_the_bits_of_single_kernels(level, known, rows, length):
    kernel = row_group(LOSS, (6, 1, 5), "mnn", True, length if known else 0)
    x, share = normal(length, length, rows), normal(1, 1, rows)
    ids = np.random.default_rng(0).integers(0, length, (1, rows))
    expected = of_columns(level, x, share, ids)
    guarded = Guarded()
    y0, r0 = guarded.empty(length, rows), guarded.array(x, rows + 3)
    y1, y2 = guarded.empty(1, rows), guarded.empty(1, rows)
    r1, r2, fault = guarded.array(ids), guarded.array(share), np.zeros(3, "i8")
    arguments = (rows, length, y0, y1, y2, r0, rows + 3, r1, r2, fault, 7)
    check_loss(kernel, level, arguments, (y1, y0, y2), expected, fault, guarded)


@LEVEL
@pytest.mark.parametrize("columns", [False, True])
def test_the_first_wrong_index_is_reported(level, columns):
    kernel = row_group(LOSS, (6, 1, 5), "mnn", columns, 8)
    x, share, ids = normal(0, 20, 8), normal(1, 20, 1), np.zeros((20, 1), "i8")
    ids[18] = 8
    x = np.ascontiguousarray(x.T) if columns else x
    for call in (compiled(kernel, level), lambda *values: run_python(kernel, *values)):
        fault, y1 = np.zeros(3, "i8"), np.empty((20, 1), "f4")
        strides = [[x.shape[1]], [1] * (not columns), [1] * (not columns)]
        call(20, 8, np.empty_like(x), y1, np.empty((20, 1), "f4"), x, *strides[0], ids,
             *strides[1], share, *strides[2], fault, 7)
        assert fault.tolist() == [8, 8, 8] and y1[18] == 0


@LEVEL
@pytest.mark.parametrize("length", [4, 16, 31, 64, 257])
def test_a_norm_has_the_bits_of_single_kernels_in_place(level, length):
    kernel = row_group(NORM, (4, 2, 3), "mksm", False, length)
    x, w, z = normal(0, 6, length), normal(1, length), normal(2, 6, length)
    eps, made = np.array([1e-5], "f4"), np.empty_like(x)
    run(layer_norm(True, False), level, x, length, w, eps, made, length, 6, length)
    made *= z
    mean, most = np.empty(6, "f4"), np.empty(6, "f4")
    run(reduce("mean"), level, made, length, mean, 6, length)
    run(reduce("max"), level, made, length, most, 6, length)
    guarded = Guarded()
    y0, y1, y2 = guarded.array(z), guarded.empty(6, 1), guarded.empty(6, 1)
    run(kernel, level, 6, length, y0, y1, y2, x, length, w, eps, y0, length)      # y0 is r3
    guarded.check()
    assert same_bits(np.array(y0), made - mean[:, None])
    assert same_bits(np.array(y1)[:, 0], mean) and same_bits(np.array(y2)[:, 0], most)


@LEVEL
@pytest.mark.parametrize("columns", [False, True])
def test_one_number_a_row_is_put_where_its_index_is(level, columns):
    kernel = row_group(ONE_HOT, (0, 1, 2), "nn", columns)
    ids, value = np.array([2, 0, 4], "i4"), np.array([3.0, -0.0, np.nan], "f4")
    y, product, total = np.empty((3, 5), "f4"), np.empty(3, "f4"), np.empty(3, "f4")
    strides = [] if columns else [1]
    run(kernel, level, 3, 5, y, product, total, ids, *strides, value, *strides,
        np.zeros(3, "i8"), 0)
    expected = np.zeros((3, 5), "f4")
    expected[np.arange(3), ids] += value
    y = y.reshape(5, 3).T if columns else y
    np.testing.assert_array_equal(y, expected)
    assert not np.signbit(y[1]).any()                            # 0 + -0 is 0
    np.testing.assert_array_equal(product, [0, 0, np.nan])
    np.testing.assert_array_equal(total, [3, 0, np.nan])


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_rows(workers):
    kernel = row_group(NORM, (4, 2, 3), "mksm", False, 24)
    x, w, z = normal(0, 70, 24), normal(1, 24), normal(2, 70, 24)
    eps, found = np.array([1e-5], "f4"), []
    for run_it in (compiled(kernel, LEVELS[0]), lambda *values: compiled(
            kernel, LEVELS[0]).shared(workers, *values)):
        ys = np.empty_like(x), np.empty(70, "f4"), np.empty(70, "f4")
        run_it(70, 24, *ys, x, 24, w, eps, z, 24)
        found.append([y.tobytes() for y in ys])
    assert found[0] == found[1]


def test_the_name_tells_lines_results_kinds_layout_and_length():
    names = {row_group(NORM, outputs, kinds, False, length).name
             for outputs in ((4,), (4, 2)) for kinds in ("mksm", "mkkm") for length in (0, 24, 32)}
    names |= {row_group(LOSS, (6,), "mnn", columns, 8).name for columns in (False, True)}
    assert len(names) == 14
