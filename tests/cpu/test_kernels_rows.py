"""softmax, log_softmax, layer_norm and rms_norm against float64 and beyond, and what they do to
rows out of the ordinary."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir.types import DTYPES, FLOATS
from nncompile.cpu.kernels import layer_norm, rms_norm, softmax
from nncompile.cpu.vector.builder import lanes
from tests.cpu.kernel_harness import LEVELS, TARGETS, Guarded, compiled, run_python, same_bits, some

LEVEL = pytest.mark.parametrize("level", LEVELS)
DTYPE = pytest.mark.parametrize("dtype", FLOATS)
LOG = pytest.mark.parametrize("log", [False, True], ids=["softmax", "log_softmax"])
AFFINE = [(False, False), (True, False), (True, True)]
INF, NAN = np.inf, np.nan
EPS = 1e-5
UNIT = {"f32": 2.0 ** -24, "f64": 2.0 ** -53}
LARGEST = {"f32": 3e38, "f64": 1.5e308}
SQUARE_OVERFLOWS = {"f32": 1e20, "f64": 1e160}
# Of normalised rows, which are about 1; what is left of 1e6 + noise decides it.
NORM_ERROR = {"f32": 2e-6, "f64": 4e-15}


def lengths(level, dtype):
    """Around vectors, the vectors taken together, and a span of them."""
    W = lanes(TARGETS[level], dtype)
    return [1, 2, W - 1, W, W + 1, 4 * W - 1, 4 * W, 5 * W + 3, 8 * W, 9 * W + 1,
            256 * W, 261 * W + 3]


# -- softmax ------------------------------------------------------------------------------------

def run_softmax(level, x, scale=None, *, log=False, gap=0, in_place=False, call=None):
    guarded, (rows, N), dtype = Guarded(), x.shape, ir.type_of(x).dtype
    xs = guarded.array(x, N + gap)
    y = xs if in_place else guarded.empty(rows, N, N + 2 * gap, x.dtype)
    last = [] if scale is None else [guarded.array([[x.dtype.type(scale)]])]
    kernel = compiled(softmax(scale is not None, dtype, log), level)
    ldy = y.strides[0] // y.itemsize if N and rows else N
    (call or kernel)(xs, N + gap, y, ldy, rows, N, *last)
    guarded.check()
    return np.array(y)


def exact_softmax(x, scale=1.0, log=False):
    x = x.astype(np.longdouble) * scale
    with np.errstate(invalid="ignore"):
        shifted = x - x.max(1, keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(1, keepdims=True)
    return shifted - np.log(total) if log else powers / total


@LEVEL
@DTYPE
@LOG
@pytest.mark.parametrize("scale", [None, 0.125, -3.0])
def test_softmax(level, dtype, log, scale):
    for N in lengths(level, dtype):
        x = some(dtype, N, 5, N) * DTYPES[dtype].type(4)
        rounded = x if scale is None else x * x.dtype.type(scale)
        distance = rounded.max(1, keepdims=True) - rounded
        for in_place in (False, True):
            y = run_softmax(level, x, scale, log=log, gap=0 if in_place else 3, in_place=in_place)
            exact = exact_softmax(rounded, log=log)
            error = np.abs(y - exact)
            if log:
                assert (error <= UNIT[dtype] * (12 + 3 * np.abs(exact) + distance)).all()
            else:
                assert (error <= exact * UNIT[dtype] * (17 + distance) + 1e-44).all()


@LEVEL
@DTYPE
def test_softmax_of_unusual_rows(level, dtype):
    for N in (1, 5, 37):
        x = some(dtype, 1, 7, N)
        x[0], x[1, N // 2], x[2, N - 1], x[3] = -INF, NAN, INF, LARGEST[dtype]
        x[4] = -LARGEST[dtype]
        x[5, :-1] = -INF
        y = run_softmax(level, x)
        assert np.isnan(y[:3]).all()                                     # as torch does
        np.testing.assert_allclose(y[3:5], 1 / N, rtol=1e-6)
        assert y[5, -1] == 1 and (y[5, :-1] == 0).all()
        assert same_bits(y[6:], run_softmax(level, x[6:]))
        y = run_softmax(level, x, -1.0)
        assert np.isnan(y[:2]).all() and np.isnan(y[5]).all() == (N > 1)
        y = run_softmax(level, x, log=True)
        assert np.isnan(y[:3]).all()
        np.testing.assert_allclose(y[3:5], -np.log(N), rtol=1e-6, atol=1e-7)
        assert y[5, -1] == 0 and (y[5, :-1] == -INF).all()


@LEVEL
@DTYPE
def test_log_softmax_far_below(level, dtype):
    """Where the softmax itself is 0."""
    x = np.zeros((1, 40), DTYPES[dtype])
    x[0, 1:] = -1e4
    assert run_softmax(level, x, log=True).tolist() == [[0, *[-1e4] * 39]]


# -- norms ----------------------------------------------------------------------------------------

def run_layer_norm(level, x, gamma=None, beta=None, *, eps=EPS, gap=0, in_place=False, call=None,
                   rms=False):
    guarded, (rows, N), dtype = Guarded(), x.shape, ir.type_of(x).dtype
    xs = guarded.array(x, N + gap)
    y = xs if in_place else guarded.empty(rows, N, N + 2 * gap, x.dtype)
    affine = [guarded.array(a) for a in (gamma, beta) if a is not None]
    made = (rms_norm(gamma is not None, dtype) if rms
            else layer_norm(gamma is not None, beta is not None, dtype))
    (call or compiled(made, level))(xs, N + gap, *affine, guarded.array([[x.dtype.type(eps)]]), y,
                                    N + gap * (1 if in_place else 2), rows, N)
    guarded.check()
    return np.array(y)


def run_rms_norm(level, x, gamma=None, **options):
    return run_layer_norm(level, x, gamma, rms=True, **options)


def exact_norm(x, gamma=None, beta=None, eps=EPS, rms=False):
    eps, x = np.longdouble(x.dtype.type(eps)), x.astype(np.longdouble)
    for _ in range(0 if rms else 2):                   # the second takes out the mean's rounding
        x = x - x.mean(1, keepdims=True)
    y = x / np.sqrt((x * x).mean(1, keepdims=True) + eps)
    return y * (1 if gamma is None else gamma.astype(float)) + (0 if beta is None else beta)


def unusual(dtype, N):
    x = some(dtype, N, 6, N)
    x[1] += x.dtype.type(1e6)                        # a mean far above the deviation
    x[2] = x[2] * x.dtype.type(SQUARE_OVERFLOWS[dtype])
    x[3] = x[3] * x.dtype.type(1e-12)                # eps is all of the denominator
    x[4, 0] = 1e6                                    # the first centre is far out
    return x


@LEVEL
@DTYPE
@pytest.mark.parametrize(("weight", "bias"), AFFINE)
def test_layer_norm(level, dtype, weight, bias):
    for N in lengths(level, dtype):
        gamma = some(dtype, 2, N) if weight else None
        beta = some(dtype, 3, N) if bias else None
        x = unusual(dtype, N)
        expected = exact_norm(x, gamma, beta)
        for in_place in (False, True):
            y = run_layer_norm(level, x, gamma, beta, gap=3, in_place=in_place)
            np.testing.assert_allclose(y, expected, rtol=NORM_ERROR[dtype], atol=NORM_ERROR[dtype])


@LEVEL
@DTYPE
@pytest.mark.parametrize("weight", [False, True])
def test_rms_norm(level, dtype, weight):
    for N in lengths(level, dtype):
        gamma, x = some(dtype, 2, N) if weight else None, unusual(dtype, N)
        expected = exact_norm(x, gamma, rms=True)
        for in_place in (False, True):
            y = run_rms_norm(level, x, gamma, gap=3, in_place=in_place)
            np.testing.assert_allclose(y, expected, rtol=NORM_ERROR[dtype], atol=1e-30)


@LEVEL
@DTYPE
def test_layer_norm_of_unusual_rows(level, dtype):
    large = LARGEST[dtype]
    for N in (2, 5, 37, 300):
        gamma, beta = some(dtype, 2, N), some(dtype, 3, N)
        for value in (0, -0.0, 1, -7.3, 1e6, 1e20, -large, 1e-40):
            constant = np.full((1, N), value, DTYPES[dtype])
            assert same_bits(run_layer_norm(level, constant, gamma, beta), beta[None]), value
        x = some(dtype, 4, 5, N)
        x[0, N - 1], x[1, 0], x[2, N // 2] = NAN, INF, -INF
        x[3] = np.linspace(-large / 2, large / 2, N) * 2
        y = run_layer_norm(level, x, gamma, beta)
        assert np.isnan(y[:3]).all()
        expected = exact_norm(x[3:], gamma, beta)
        np.testing.assert_allclose(y[3:], expected, rtol=NORM_ERROR[dtype], atol=NORM_ERROR[dtype])
        assert np.isnan(run_layer_norm(level, np.ones((1, N), x.dtype), eps=0.0)).all()


@LEVEL
@DTYPE
def test_rms_norm_of_unusual_rows(level, dtype):
    large = LARGEST[dtype]
    for N in (1, 5, 37, 300):
        x = some(dtype, 4, 7, N)
        x[0, N - 1], x[1, 0], x[2, N // 2] = NAN, INF, -INF
        x[3], x[4], x[5] = 0, -large, np.linspace(-large / 2, large / 2, N) * 2
        y = run_rms_norm(level, x)
        assert np.isnan(y[0]).all()
        for row, place in ((1, 0), (2, N // 2)):               # inf / inf, and the others 0
            assert np.isnan(y[row, place]) and not np.delete(y[row], place).any()
        np.testing.assert_allclose(y[3:], exact_norm(x[3:], rms=True), rtol=NORM_ERROR[dtype])
        assert np.isnan(run_rms_norm(level, np.zeros((1, N), x.dtype), eps=0.0)).all()


# -- all of them ----------------------------------------------------------------------------------

@LEVEL
@DTYPE
def test_rows_of_nothing(level, dtype):
    for shape in ((0, 5), (3, 0), (0, 0)):
        x = np.zeros(shape, DTYPES[dtype])
        gamma = x[:0].sum(0)
        assert run_softmax(level, x).shape == shape
        assert run_softmax(level, x, log=True).shape == shape
        assert run_layer_norm(level, x, gamma, gamma).shape == shape
        assert run_rms_norm(level, x, gamma).shape == shape


RUNS = {
    "softmax_f32": (softmax(False), run_softmax),
    "softmax_scaled_f64": (softmax(True, "f64"), lambda *a, **k: run_softmax(*a, 0.3, **k)),
    "log_softmax_f32": (softmax(False, "f32", True),
                        lambda *a, **k: run_softmax(*a, log=True, **k)),
    "layer_norm_f32": (layer_norm(False, False), run_layer_norm),
    "layer_norm_f64": (layer_norm(False, False, "f64"), run_layer_norm),
    "rms_norm_f32": (rms_norm(False), run_rms_norm),
}


@LEVEL
@pytest.mark.parametrize("name", RUNS)
@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 200), N=st.integers(1, 200), seed=st.integers(0, 99))
def test_rows_are_bit_identical(level, name, rows, N, seed):
    kernel, run = RUNS[name]
    x = some(name[-3:], seed, rows, N)
    whole = run(level, x)
    start = seed % rows
    assert same_bits(run(level, x[start:]), whole[start:])
    assert same_bits(run(level, x[start:start + 1], gap=1), whole[start:start + 1])
    shared = compiled(kernel, level).shared
    assert same_bits(run(level, x, call=lambda *a: shared(1 + seed % 3, *a)), whole)


@DTYPE
@pytest.mark.parametrize("N", [1, 9, 70])
def test_python_bodies_agree(dtype, N):
    x, gamma, beta = some(dtype, 1, 5, N), some(dtype, 2, N), some(dtype, 3, N)
    scale, eps = np.array([0.3], x.dtype), np.array([EPS], x.dtype)
    y, error = np.zeros((5, N), x.dtype), NORM_ERROR[dtype]
    for log in (False, True):
        run_python(softmax(True, dtype, log), x, N, y, N, 5, N, scale)
        np.testing.assert_allclose(y, exact_softmax(x * scale, log=log), rtol=error, atol=error)
        run_python(softmax(False, dtype, log), x, N, y, N, 5, N)
        np.testing.assert_allclose(y, exact_softmax(x, log=log), rtol=error, atol=error)
    for weight, bias in AFFINE:
        affine = [gamma] * weight + [beta] * bias
        run_python(layer_norm(weight, bias, dtype), x, N, *affine, eps, y, N, 5, N)
        np.testing.assert_allclose(y, exact_norm(x, *affine), rtol=error, atol=error)
        if not bias:
            run_python(rms_norm(weight, dtype), x, N, *affine, eps, y, N, 5, N)
            np.testing.assert_allclose(y, exact_norm(x, *affine, rms=True), rtol=error)


def test_python_bodies_of_nothing():
    x, eps = np.zeros((3, 0), np.float32), np.float32([EPS])
    run_python(softmax(False), x, 0, x, 0, 3, 0)
    run_python(layer_norm(False, False), x, 0, eps, x, 0, 3, 0)
    run_python(rms_norm(False), x, 0, eps, x, 0, 3, 0)


def test_names_tell_kernels_apart():
    assert [softmax(scaled).name for scaled in (False, True)] == ["softmax", "softmax_scaled"]
    assert softmax(True, "f64", log=True).name == "log_softmax_scaled_f64"
    assert [layer_norm(*affine).name for affine in AFFINE] == [
        "layer_norm", "layer_norm_weight", "layer_norm_weight_bias"]
    assert rms_norm(True, "f64").name == "rms_norm_weight_f64"
    assert layer_norm(True, True).arguments == (
        "x", "ldx", "gamma", "beta", "eps", "y", "ldy", "rows", "N")
    assert layer_norm(True, True, "f64").types == (
        "f64", "int", "f64", "f64", "f64", "f64", "int", "int", "int")


def test_kernels_that_do_not_exist():
    with pytest.raises(ValueError, match="with a bias has a weight"):
        layer_norm(False, True)
    for make in (lambda: softmax(True, "i64"), lambda: layer_norm(False, False, "i64"),
                 lambda: rms_norm(False, "i64")):
        with pytest.raises(ValueError, match=r"is there for f32, f64, not for 'i64'"):
            make()
