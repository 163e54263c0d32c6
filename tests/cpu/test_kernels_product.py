"""linear and matmul: exact on small integers at every edge, within rounding on real numbers."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir.types import DTYPES, FLOATS
from nncompile.cpu.kernels import GroupEnd, dot, linear, matmul, pack_linear, packed_size
from nncompile.cpu.kernels.chain import evaluate
from nncompile.cpu.kernels.packing import unpack_linear
from nncompile.cpu.vector.builder import lanes
from nncompile.cpu.vector.target import host
from nncompile.schedule.program import ElementOp
from tests.cpu.kernel_harness import (
    LEVELS,
    REFERENCE,
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

CHEAP = (("relu", ""), ("add", "v"), ("mul", "s"))
LONG = (("add", "v"), ("gelu", ""), ("mul", "v"))
LEVEL = pytest.mark.parametrize("level", LEVELS)
DTYPE = pytest.mark.parametrize("dtype", FLOATS)
ROUNDING = {"f32": 2.0 ** -24, "f64": 2.0 ** -53}


def width(level, dtype):
    """Numbers of a vector."""
    return lanes(TARGETS[level], dtype)


def panel(level, dtype):
    """Columns of a panel."""
    return TARGETS[level].panel * width(level, dtype)


def edges(level, dtype):
    """Numbers of columns around vectors and panels."""
    W, P = width(level, dtype), panel(level, dtype)
    return sorted({0, 1, 2, W - 1, W, W + 1, P - W, P - 1, P, P + 1, P + W, 2 * P - 1, 2 * P,
                   2 * P + W + 3})


def run_linear(level, x, weight, bias=None, then=(), further=(), *, gap=0, call=None):
    """The kernel on guarded copies; `further` holds pairs of an array and its row stride."""
    target, guarded = TARGETS[level], Guarded()
    (rows, K), N = x.shape, weight.shape[0]
    packed = guarded.array(pack_linear(weight, bias, target))
    xs, y = guarded.array(x, K + gap), guarded.empty(rows, N, N + 2 * gap, x.dtype)
    operands = []
    for array, stride in further:
        operands += [guarded.array(array, stride or None), stride]
    kernel = compiled(linear(then, ir.type_of(x).dtype), level)
    (call or kernel)(xs, K + gap, packed, y, N + 2 * gap, rows, K, N, *operands)
    guarded.check()
    return np.array(y)


@LEVEL
@DTYPE
def test_linear_at_every_edge(level, dtype):
    bias = few(dtype, 1, 512)
    for N in edges(level, dtype):
        for rows in (*range(15), 96, 97, 103):
            x, w = few(dtype, rows, rows, 5), few(dtype, N, N, 5)
            y = run_linear(level, x, w, bias[:N])
            assert np.array_equal(y, x @ w.T + bias[:N]), (rows, N)


@LEVEL
@DTYPE
@pytest.mark.parametrize("K", [0, 1, 2, 3, 4, 7, 511, 512, 513, 514, 1024, 1027])
def test_linear_at_every_depth(level, dtype, K):
    N = panel(level, dtype) + width(level, dtype) + 3
    for rows in (1, 7, 12):
        x, w, bias = few(dtype, K, rows, K), few(dtype, 1, N, K), few(dtype, 2, N)
        assert np.array_equal(run_linear(level, x, w, bias, gap=3), x @ w.T + bias)
        residual, factor = few(dtype, 3, rows, N), few(dtype, 4, rows, 1)
        y = run_linear(level, x, w, bias, CHEAP, [(residual, N + 5), (factor, 2)], gap=1)
        assert np.array_equal(y, (np.maximum(x @ w.T + bias, 0) + residual) * factor)


@LEVEL
@pytest.mark.parametrize("K", [3, 700])
def test_linear_with_a_long_chain(level, K):
    N = TARGETS[level].panel_width + 5
    x, w, bias = normal(1, 13, K), normal(2, N, K) / 30, normal(3, N)
    row, factor = normal(4, 1, N), normal(5, 13, N)
    y = run_linear(level, x, w, bias, LONG, [(row, 0), (factor, N + 1)], gap=2)
    expected = REFERENCE["gelu"](x.astype(float) @ w.T.astype(float) + bias + row) * factor
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-6)


@LEVEL
def test_linear_without_bias_and_with_one_number_for_all(level):
    x, w, half = whole_numbers(1, 9, 6), whole_numbers(2, 20, 6), np.full((1, 1), 0.5, np.float32)
    y = run_linear(level, x, w, None, (("mul", "s"),), [(half, 0)])
    assert np.array_equal(y, (x @ w.T) * 0.5)


@LEVEL
@DTYPE
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(0, 110), K=st.integers(0, 1100), N=st.integers(0, 150),
       gap=st.integers(0, 3), seed=st.integers(0, 99))
def test_linear_within_rounding(level, dtype, rows, K, N, gap, seed):
    x, w, bias = some(dtype, seed, rows, K), some(dtype, seed + 1, N, K), some(dtype, seed + 2, N)
    y = run_linear(level, x, w, bias, gap=gap)
    bound = (K + 2) * ROUNDING[dtype] * (np.abs(x) @ np.abs(w.T) + np.abs(bias)) * 1.01
    bound *= 1 + (dtype == "f64")                        # what it is compared with is rounded too
    assert (np.abs(y - (x.astype(float) @ w.T.astype(float) + bias)) <= bound).all()


@LEVEL
@DTYPE
@pytest.mark.parametrize("then", [(), LONG], ids=["plain", "gelu"])
def test_linear_rows_are_bit_identical(level, dtype, then):
    rows, K, N = 203, 530, panel(level, dtype) * 2 + width(level, dtype) + 1
    x, w, bias, r = (some(dtype, 1, rows, K), some(dtype, 2, N, K) / DTYPES[dtype].type(20),
                     some(dtype, 3, N), some(dtype, 4, rows, N))

    def run(start, stop, call=None):
        further = [(r[start:stop], N), (r[start:stop], N)] if then else []
        return run_linear(level, x[start:stop], w, bias, then, further, call=call)
    whole = run(0, rows)
    heights = [(height, 2 * height) for height in range(1, 14)]
    for start, stop in [*heights, (0, 1), (202, 203), (90, 101), (1, 98), (95, 203)]:
        assert same_bits(run(start, stop), whole[start:stop]), (start, stop)
    for workers in (1, 2, 3):
        def shared(*arguments, workers=workers):
            compiled(linear(then, dtype), level).shared(workers, *arguments)
        assert same_bits(run(0, rows, shared), whole)
        assert same_bits(run(4, 5, shared), whole[4:5])


@LEVEL
def test_linear_keeps_nan_and_infinity_in_their_rows(level):
    x, w = normal(1, 8, 40), np.abs(normal(2, 70, 40))
    clean = run_linear(level, x, w)
    x[2, 7], x[5, 0] = np.nan, np.inf
    y = run_linear(level, x, w)
    assert np.isnan(y[2]).all() and (y[5] == np.inf).all()
    others = [0, 1, 3, 4, 6, 7]
    assert same_bits(y[others], clean[others])
    assert np.isnan(run_linear(level, x, w, None, (("relu", ""),))[2]).all()


def run_matmul(level, x, w, then=(), further=(), *, gap=0, call=None, turned=""):
    """y[o] = then(x[o] @ w[o]) for x[B, M, K], w[B or 1, K, N]; further: [B, M or 1, N or 1]."""
    guarded = Guarded()
    (B, M, K), N = x.shape, w.shape[2]
    left, right = (array.swapaxes(1, 2) if name in turned else array
                   for name, array in (("x", x), ("w", w)))
    ldx, ldw, ldy = left.shape[2] + gap, right.shape[2] + 2 * gap, N + gap
    xs, y = guarded.array(left.reshape(B * left.shape[1], left.shape[2]), ldx), guarded.empty(
        B * M, N, ldy, x.dtype)
    ws = guarded.array(right.reshape(len(w) * right.shape[1], right.shape[2]), ldw)
    values = [xs, ldx, ws, ldw, y, ldy, M, K, N, B, left.shape[1] * ldx,
              right.shape[1] * ldw * (len(w) == B), M * ldy]
    for array in further:
        stride = array.shape[2] + gap
        rows = guarded.array(array.reshape(-1, array.shape[2]), stride)
        values += [rows, stride * (array.shape[1] == M), array.shape[1] * stride]
    kernel = matmul(then, 1, ir.type_of(x).dtype, turned)
    (call or compiled(kernel, level))(*values)
    guarded.check()
    return np.array(y).reshape(B, M, N)


@LEVEL
@DTYPE
def test_matmul_at_every_edge(level, dtype):
    for N in edges(level, dtype):
        for M in (*range(9), 12, 24, 25, 31):
            x, w = few(dtype, M, 2, M, 5), few(dtype, N, 2, 5, N)
            assert np.array_equal(run_matmul(level, x, w, gap=2), x @ w), (M, N)


@LEVEL
@DTYPE
@pytest.mark.parametrize("turned", ["x", "w", "xw"])
@pytest.mark.parametrize("K", [0, 1, 2, 3, 5, 17, 511, 513, 1027])
def test_a_turned_product_has_the_bits_of_the_other(level, dtype, K, turned):
    then, P = (("add", "s"), ("relu", "")), panel(level, dtype)
    for M, N in ((1, P), (7, P + 3), (25, 2), (31, 2 * P + 1)):
        x, w, bias = some(dtype, 1, 2, M, K), some(dtype, 2, 2, K, N), some(dtype, 3, 2, M, 1)
        found = run_matmul(level, x, w, then, [bias], gap=2, turned=turned)
        assert same_bits(found, run_matmul(level, x, w, then, [bias])), (M, N)
        plain = run_matmul(level, x, w, then, [bias], gap=1, turned=turned,
                           call=lambda *values: run_python(matmul(then, 1, dtype, turned), *values))
        np.testing.assert_allclose(plain, found, rtol=1e-4, atol=1e-4)


@LEVEL
@DTYPE
@pytest.mark.parametrize("turned", ["", "x", "w"])
def test_a_packed_product_has_the_bits_of_one_that_is_not(level, dtype, turned):
    """Rows of a product that is large enough to be packed are those of its parts, which are not."""
    K, N = 640, panel(level, dtype) * 3 + width(level, dtype) + 1
    x, w, r = some(dtype, 1, 1, 200, K), some(dtype, 2, 1, K, N), some(dtype, 3, 1, 200, N)
    for then, further in ((), []), (CHEAP, [r, r[:, :, :1]]), (LONG, [r, r]):
        whole = run_matmul(level, x, w, then, further, gap=3, turned=turned)
        for rows in (slice(0, 7), slice(190, 200)):
            part = run_matmul(level, x[:, rows], w, then, [f[:, rows] for f in further])
            assert same_bits(part, whole[:, rows])


@LEVEL
@pytest.mark.parametrize("K", [40, 520])
def test_a_packed_panel_is_that_of_its_unit(level, K):
    """A unit uses the panel that the one before has packed only where it is its own."""
    N = panel(level, "f32") + width(level, "f32") * 2 + 1
    x, w = some("f32", 1, 2, 200, K), some("f32", 2, 2, K, N)
    kernel = compiled(matmul((), 1, "f32", "w"), level)
    alone = run_matmul(level, x, w, turned="w")
    np.testing.assert_allclose(alone, x @ w, rtol=1e-3, atol=1e-3)
    for workers in (1, 2, 3):
        def shared(*arguments, workers=workers):
            kernel.shared(workers, *arguments)
        assert same_bits(run_matmul(level, x, w, turned="w", call=shared), alone)


def group_end(dtype, count):
    """The end of an update: m = m / 2 + gradient, w = w - m * rate; or of the derivative of ReLU.
    """
    def line(op, *operands, result=dtype):
        return ElementOp(op, operands, dtype, result)
    if count == 1:
        return GroupEnd((line("le", "r0", "r1", result="bool"), line("where", "t0", "r1", "p")),
                        (1,), "vs")
    return GroupEnd((line("mul", "r0", "r1"), line("add", "t0", "p"), line("sqrt", "t1"),
                     line("mul", "t1", "r2"), line("sub", "r3", "t3")), (1, 4), "vssv")


@LEVEL
@DTYPE
@pytest.mark.parametrize("K", [0, 5, 60, 700])
@pytest.mark.parametrize("N", [1, 70, 600])
def test_a_product_may_end_with_a_group(level, dtype, K, N):
    M = 55
    x, w, r0, r3 = (some(dtype, i, *shape) for i, shape in enumerate(
        [(M, K), (K, N), (M, N), (M, N)]))
    half, rate, zero = (np.full(1, value, DTYPES[dtype]) for value in (0.5, 0.25, 0.0))
    sums, apart = np.empty_like(r0), np.empty_like(r0)
    compiled(matmul((), 0, dtype), level)(x, K, w, N, sums, N, M, K, N)
    masked = matmul((), 0, dtype, "", group_end(dtype, 1))
    compiled(masked, level)(x, K, w, N, apart, N, M, K, N, r0, N, zero, 0)
    assert same_bits(apart, np.where(r0 <= 0, zero, sums))
    update, found = matmul((), 0, dtype, "", group_end(dtype, 2)), []
    for call in (compiled(update, level), lambda *values: run_python(update, *values)):
        y, y1 = r0.copy(), r3.copy()                     # each result is an operand, too
        call(x, K, w, N, y, N, M, K, N, y, N, half, 0, rate, 0, y1, N, y1, N)
        found.append((y, y1))
    moment = r0 * half + sums
    assert same_bits(found[0][0], moment) and same_bits(found[0][1], r3 - moment * rate)
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(plain, ours, rtol=1e-4, atol=1e-4)


@LEVEL
@DTYPE
@pytest.mark.parametrize("K", [5, 700])
@pytest.mark.parametrize("then", [(("mul", "s"), ("add", "v")), (("exp", ""), ("add", "v"))])
def test_a_product_may_overwrite_what_is_added_to_it(level, dtype, K, then):
    M, N = 70, panel(level, dtype) * 8 + 3
    x, w, y = some(dtype, 1, M, K), some(dtype, 2, K, N) / 30, some(dtype, 3, M, N)
    further = [np.full(1, 0.5, DTYPES[dtype]), 0] if then[0][0] == "mul" else []
    kernel, apart = compiled(matmul(then, 0, dtype), level), np.empty_like(y)
    kernel(x, K, w, N, apart, N, M, K, N, *further, y, N)
    kernel(x, K, w, N, y, N, M, K, N, *further, y, N)
    assert same_bits(apart, y)


@LEVEL
@DTYPE
@pytest.mark.parametrize("K", [0, 1, 2, 3, 4, 7, 511, 512, 513, 1027])
def test_matmul_at_every_depth(level, dtype, K):
    N = panel(level, dtype) + width(level, dtype) + 3
    x, shared_w = few(dtype, 1, 3, 7, K), few(dtype, 2, 1, K, N)
    assert np.array_equal(run_matmul(level, x, shared_w), x @ shared_w)
    mask, factor = few(dtype, 3, 3, 7, N), few(dtype, 4, 3, 1, 1)
    then = (("mul", "s"), ("add", "v"))
    y = run_matmul(level, x, shared_w, then, [factor, mask], gap=1)
    assert np.array_equal(y, x @ shared_w * factor + mask)


@LEVEL
@pytest.mark.parametrize("outer", [0, 2])
def test_matmul_outer_axes(level, outer):
    """Strides of the outer axes in any order: heads in the middle of the rows, as attention has."""
    B, T, H, K, N = (3, 10, 2, 5, 19) if outer else (1, 10, 1, 5, 19)
    x, w, guarded = whole_numbers(1, B * T, H * K), whole_numbers(2, B * H * K, N), Guarded()
    xs, ws, y = guarded.array(x), guarded.array(w), guarded.empty(B * T, H * N)
    strides = [B, H, T * H * K, K, H * K * N, K * N, T * H * N, N] if outer else []
    values = [xs, H * K, ws, N, y, H * N, T, K, N, *strides]
    compiled(matmul((), outer), level)(*values)
    guarded.check()
    heads = x.reshape(B, T, H, K).transpose(0, 2, 1, 3) @ w.reshape(B, H, K, N)
    expected = heads.transpose(0, 2, 1, 3).reshape(B * T, H * N)
    assert np.array_equal(y, expected)
    y[...] = 0
    run_python(matmul((), outer), *values)
    assert np.array_equal(y, expected)


@LEVEL
@DTYPE
@settings(max_examples=30, deadline=None)
@given(B=st.integers(0, 4), M=st.integers(0, 60), K=st.integers(0, 600), N=st.integers(0, 150),
       gap=st.integers(0, 3), seed=st.integers(0, 99))
def test_matmul_within_rounding(level, dtype, B, M, K, N, gap, seed):
    x, w = some(dtype, seed, B, M, K), some(dtype, seed + 1, B, K, N)
    bound = (K + 2) * ROUNDING[dtype] * (np.abs(x) @ np.abs(w)) * 1.01 * (1 + (dtype == "f64"))
    error = np.abs(run_matmul(level, x, w, gap=gap) - x.astype(float) @ w.astype(float))
    assert (error <= bound).all()


@LEVEL
@DTYPE
def test_matmul_rows_are_bit_identical(level, dtype):
    B, M, K, N = 2, 53, 530, panel(level, dtype) + width(level, dtype) + 1
    x, w = some(dtype, 1, B, M, K), some(dtype, 2, B, K, N)
    whole = run_matmul(level, x, w)
    heights = [(height, 2 * height) for height in range(1, 14)]
    for start, stop in [*heights, (0, 1), (52, 53), (20, 51)]:
        assert same_bits(run_matmul(level, x[:, start:stop], w), whole[:, start:stop])
    assert same_bits(run_matmul(level, x[1:], w[1:]), whole[1:])
    for workers in (1, 2, 3):
        def shared(*arguments, workers=workers):
            compiled(matmul((), 1, dtype), level).shared(workers, *arguments)
        assert same_bits(run_matmul(level, x, w, call=shared), whole)


@LEVEL
@DTYPE
@pytest.mark.parametrize("K", [0, 1, 6])
def test_packed_weights_unpack(level, dtype, K):
    target = TARGETS[level]
    for N in edges(level, dtype):
        weight, bias = few(dtype, N, N, K), few(dtype, 3, N)
        packed = pack_linear(weight, bias, target)
        assert packed.dtype == DTYPES[dtype]
        assert packed.shape == (packed_size(N, K, target, dtype),)
        columns, last = unpack_linear(packed, N, K, target, dtype)
        assert np.array_equal(columns, weight.T) and np.array_equal(last, bias)
        zeros = unpack_linear(pack_linear(weight, None, target), N, K, target, dtype)[1]
        assert np.array_equal(zeros, np.zeros(N))


@DTYPE
@pytest.mark.parametrize("then", [(), CHEAP, LONG], ids=["plain", "cheap", "long"])
def test_python_bodies_agree(then, dtype):
    """The numpy body of linear reads weights packed for the host."""
    rows, K, N = 7, 30, 2 * host().panel_width + 3
    x, w, bias = some(dtype, 1, rows, K + 2), some(dtype, 2, N, K), some(dtype, 3, N)
    operands = {CHEAP: [some(dtype, 4, rows, N), N, some(dtype, 5, rows, 1), 1],
                LONG: [some(dtype, 4, 1, N), 0, some(dtype, 5, rows, N), N]}.get(then, [])
    y = np.zeros((rows, N), DTYPES[dtype])
    run_python(linear(then, dtype), x, K + 2, pack_linear(w, bias, host()), y, N, rows, K, N,
               *operands)
    expected = evaluate(then, x[:, :K] @ w.T + bias, operands[::2], dtype)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_names_tell_kernels_apart():
    assert linear().name == "linear" and linear(CHEAP, "f64").name == "linear_relu_add_mul_vs_f64"
    assert linear(CHEAP).name == "linear_relu_add_mul_vs"
    assert linear(CHEAP).shared.name == "shared_linear_relu_add_mul_vs"
    assert matmul((("mul", "s"),), 2).name == "matmul_mul_s_2"
    assert matmul((("mul", "s"),), 1).arguments == (
        "x", "ldx", "w", "ldw", "y", "ldy", "M", "K", "N", "d0", "x_d0", "w_d0", "y_d0",
        "r0", "ldr0", "r0_d0")
    assert linear(CHEAP).types == (
        "f32", "int", "f32", "f32", *["int"] * 4, "f32", "int", "f32", "int")
    assert linear(CHEAP) == linear(CHEAP) and hash(linear()) == hash(linear())


@pytest.mark.parametrize(("then", "message"), [
    ((("softmax", ""),), "no elementwise op 'softmax'"),
    ((("add", ""),), "add takes 1 further operands"),
    ((("relu", "v"),), "relu takes 0 further operands"),
    ((("add", "g"),), "of the kinds 'vs', not 'g'"),
])
def test_chains_that_make_no_sense(then, message):
    with pytest.raises(ValueError, match=message):
        linear(then)


def test_a_type_without_products():
    with pytest.raises(ValueError, match="a product is there for f32, f64, not for 'i64'"):
        linear((), "i64")


# -- dot ------------------------------------------------------------------------------------------

def run_dot(level, x, w, then=(), further=(), *, gap=0, call=None):
    """Of one outer axis: x[outer, M, K] by w[outer, K]."""
    guarded, (outer, M, K) = Guarded(), x.shape
    y = guarded.empty(outer * M, 1, 1 + gap, x.dtype)
    operands = []
    for array in further:
        operands += [guarded.array(array.reshape(-1, 1)), *([1, M] if array.size > 1 else [0, 0])]
    kernel = compiled(dot(then, 1, ir.type_of(x).dtype), level)
    (call or kernel)(guarded.array(x.reshape(outer * M, K), K + gap), K + gap,
                     guarded.array(w, K + gap), y, 1 + gap, M, K, outer, M * (K + gap), K + gap,
                     M * (1 + gap), *operands)
    guarded.check()
    return np.array(y).reshape(outer, M)


@LEVEL
@DTYPE
def test_dot(level, dtype):
    """Exact, of whole numbers, by the compiled kernel and its numpy body."""
    W = width(level, dtype)
    for K in (0, 1, W - 1, W, W + 1, 4 * W, 9 * W + 3, 257 * W + 1):
        for M in (0, 1, 7):
            x, w, r = few(dtype, K, 2, M, K), few(dtype, 1, 2, K), few(dtype, 2, 2, M)
            exact = np.einsum("omk,ok->om", x, w)
            assert np.array_equal(run_dot(level, x, w), exact)
            then, half = (("add", "s"), ("mul", "s")), np.full((1,), 0.5, x.dtype)
            if M > 1:
                assert np.array_equal(run_dot(level, x, w, then, [r, half], gap=2),
                                      (exact + r) * x.dtype.type(0.5))
            y = np.zeros(2 * M, x.dtype)
            run_python(dot((), 1, dtype), x.reshape(2 * M, K), K, w, y, 1, M, K, 2, M * K, K, M)
            assert np.array_equal(y.reshape(2, M), exact)


@LEVEL
@DTYPE
@settings(max_examples=20, deadline=None)
@given(outer=st.integers(1, 3), M=st.integers(1, 60), K=st.integers(0, 1100),
       seed=st.integers(0, 99))
def test_dot_within_rounding_and_bit_identical(level, dtype, outer, M, K, seed):
    x, w = some(dtype, seed, outer, M, K), some(dtype, seed + 1, outer, K)
    whole = run_dot(level, x, w)
    exact = np.einsum("omk,ok->om", x.astype(np.longdouble), w.astype(np.longdouble))
    bound = np.einsum("omk,ok->om", np.abs(x), np.abs(w)) * (K + 2) * ROUNDING[dtype]
    assert (np.abs(whole - exact) <= bound).all()
    m = seed % M
    assert same_bits(run_dot(level, x[:, m:m + 1], w, gap=1), np.array(whole[:, m:m + 1]))
    kernel = compiled(dot((), 1, dtype), level)
    assert same_bits(run_dot(level, x, w, call=lambda *a: kernel.shared(1 + seed % 3, *a)), whole)
