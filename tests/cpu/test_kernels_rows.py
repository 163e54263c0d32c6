"""softmax and layer_norm against float64, and what they do to rows out of the ordinary."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncompile.cpu.kernels import layer_norm, softmax
from tests.cpu.kernel_harness import (
    LEVELS,
    TARGETS,
    Guarded,
    compiled,
    normal,
    run_python,
    same_bits,
)

LEVEL = pytest.mark.parametrize("level", LEVELS)
AFFINE = [(False, False), (True, False), (True, True)]
INF, NAN = np.inf, np.nan
EPS = 1e-5


def lengths(level):
    """Around vectors, the vectors taken together, and a span of them."""
    W = TARGETS[level].width
    return [1, 2, W - 1, W, W + 1, 4 * W - 1, 4 * W, 5 * W + 3, 8 * W, 9 * W + 1,
            256 * W, 261 * W + 3]


def run_softmax(level, x, scale=None, *, gap=0, in_place=False, call=None):
    guarded, (rows, N) = Guarded(), x.shape
    xs = guarded.array(x, N + gap)
    y = xs if in_place else guarded.empty(rows, N, N + 2 * gap)
    last = [] if scale is None else [guarded.array([[np.float32(scale)]])]
    kernel = compiled(softmax(scale is not None), level)
    ldy = y.strides[0] // 4 if N and rows else N
    (call or kernel)(xs, N + gap, y, ldy, rows, N, *last)
    guarded.check()
    return np.array(y)


def exact_softmax(x, scale=1.0):
    with np.errstate(invalid="ignore"):
        powers = np.exp(x * np.float64(scale) - (x * np.float64(scale)).max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@LEVEL
@pytest.mark.parametrize("scale", [None, 0.125, -3.0])
def test_softmax(level, scale):
    for N in lengths(level):
        x = normal(N, 5, N) * 4
        rounded = x if scale is None else x * np.float32(scale)
        for in_place in (False, True):
            y = run_softmax(level, x, scale, gap=0 if in_place else 3, in_place=in_place)
            exact = exact_softmax(rounded)
            bound = 1e-6 + 2.0 ** -24 * (rounded.max(1, keepdims=True) - rounded)
            assert (np.abs(y - exact) <= exact * bound + 1e-44).all()


@LEVEL
def test_softmax_of_unusual_rows(level):
    for N in (1, 5, 37):
        x = normal(1, 7, N)
        x[0], x[1, N // 2], x[2, N - 1], x[3] = -INF, NAN, INF, 3e38
        x[4] = -3e38
        x[5, :-1] = -INF
        y = run_softmax(level, x)
        assert np.isnan(y[:3]).all()                                     # as torch does
        np.testing.assert_allclose(y[3:5], 1 / N, rtol=1e-6)
        assert y[5, -1] == 1 and (y[5, :-1] == 0).all()
        assert same_bits(y[6:], run_softmax(level, x[6:]))
        y = run_softmax(level, x, -1.0)
        assert np.isnan(y[:2]).all() and np.isnan(y[5]).all() == (N > 1)


def run_layer_norm(level, x, gamma=None, beta=None, *, eps=EPS, gap=0, in_place=False, call=None):
    guarded, (rows, N) = Guarded(), x.shape
    xs = guarded.array(x, N + gap)
    y = xs if in_place else guarded.empty(rows, N, N + 2 * gap)
    affine = [guarded.array(a) for a in (gamma, beta) if a is not None]
    kernel = compiled(layer_norm(gamma is not None, beta is not None), level)
    (call or kernel)(xs, N + gap, *affine, guarded.array([[np.float32(eps)]]), y,
                     N + gap * (1 if in_place else 2), rows, N)
    guarded.check()
    return np.array(y)


def exact_layer_norm(x, gamma=None, beta=None, eps=EPS):
    x = x.astype(float)
    x = x - x.mean(1, keepdims=True)
    y = x / np.sqrt((x * x).mean(1, keepdims=True) + float(np.float32(eps)))
    return y * (1 if gamma is None else gamma.astype(float)) + (0 if beta is None else beta)


@LEVEL
@pytest.mark.parametrize(("weight", "bias"), AFFINE)
def test_layer_norm(level, weight, bias):
    for N in lengths(level):
        gamma, beta = normal(2, N) if weight else None, normal(3, N) if bias else None
        x = normal(N, 6, N)
        x[1] += np.float32(1e6)                          # a mean far above the deviation
        x[2] = x[2] * np.float32(1e20)                   # squares overflow
        x[3] = x[3] * np.float32(1e-12)                  # eps is all of the denominator
        x[4, 0] = 1e6                                    # the first centre is far out
        expected = exact_layer_norm(x, gamma, beta)
        for in_place in (False, True):
            y = run_layer_norm(level, x, gamma, beta, gap=3, in_place=in_place)
            np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6)


@LEVEL
def test_layer_norm_of_unusual_rows(level):
    for N in (2, 5, 37, 300):
        gamma, beta = normal(2, N), normal(3, N)
        for value in (0, -0.0, 1, -7.3, 1e6, 1e20, -3e38, 1e-40):
            constant = np.full((1, N), value, np.float32)
            assert same_bits(run_layer_norm(level, constant, gamma, beta), beta[None]), value
        x = normal(4, 5, N)
        x[0, N - 1], x[1, 0], x[2, N // 2], x[3] = NAN, INF, -INF, np.linspace(-3.4e38, 3.4e38, N)
        y = run_layer_norm(level, x, gamma, beta)
        assert np.isnan(y[:3]).all()
        expected = exact_layer_norm(x[3:], gamma, beta)
        np.testing.assert_allclose(y[3:], expected, rtol=2e-6, atol=2e-6)
        assert np.isnan(run_layer_norm(level, np.ones((1, N), np.float32), eps=0.0)).all()


@LEVEL
def test_rows_of_nothing(level):
    for shape in ((0, 5), (3, 0), (0, 0)):
        x = np.zeros(shape, np.float32)
        assert run_softmax(level, x).shape == shape
        assert run_layer_norm(level, x, x[:0].sum(0), x[:0].sum(0)).shape == shape


RUNS = {
    "softmax": (softmax(False), run_softmax),
    "softmax_scaled": (softmax(True), lambda *a, **k: run_softmax(*a, 0.3, **k)),
    "layer_norm": (layer_norm(False, False), run_layer_norm),
}


@LEVEL
@pytest.mark.parametrize("name", RUNS)
@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 200), N=st.integers(1, 200), seed=st.integers(0, 99))
def test_rows_are_bit_identical(level, name, rows, N, seed):
    kernel, run = RUNS[name]
    x = normal(seed, rows, N)
    whole = run(level, x)
    start = seed % rows
    assert same_bits(run(level, x[start:]), whole[start:])
    assert same_bits(run(level, x[start:start + 1], gap=1), whole[start:start + 1])
    shared = compiled(kernel, level).shared
    assert same_bits(run(level, x, call=lambda *a: shared(1 + seed % 3, *a)), whole)


@pytest.mark.parametrize("N", [1, 9, 70])
def test_python_bodies_agree(N):
    x, gamma, beta = normal(1, 5, N), normal(2, N), normal(3, N)
    scale, eps = np.float32([0.3]), np.float32([EPS])
    y = np.zeros((5, N), np.float32)
    run_python(softmax(True), x, N, y, N, 5, N, scale)
    np.testing.assert_allclose(y, exact_softmax(x * scale), rtol=2e-6)
    run_python(softmax(False), x, N, y, N, 5, N)
    np.testing.assert_allclose(y, exact_softmax(x), rtol=2e-6)
    for weight, bias in AFFINE:
        affine = [gamma] * weight + [beta] * bias
        run_python(layer_norm(weight, bias), x, N, *affine, eps, y, N, 5, N)
        np.testing.assert_allclose(y, exact_layer_norm(x, *affine), rtol=2e-6, atol=2e-6)


def test_python_bodies_of_nothing():
    x, eps = np.zeros((3, 0), np.float32), np.float32([EPS])
    run_python(softmax(False), x, 0, x, 0, 3, 0)
    run_python(layer_norm(False, False), x, 0, eps, x, 0, 3, 0)


def test_names_tell_kernels_apart():
    assert [softmax(scaled).name for scaled in (False, True)] == ["softmax", "softmax_scaled"]
    assert [layer_norm(*affine).name for affine in AFFINE] == [
        "layer_norm", "layer_norm_weight", "layer_norm_weight_bias"]
    assert layer_norm(True, True).arguments == (
        "x", "ldx", "gamma", "beta", "eps", "y", "ldy", "rows", "N")
    assert layer_norm(True, True).types == (
        "f32", "int", "f32", "f32", "f32", "f32", "int", "int", "int")


def test_kernels_that_do_not_exist():
    with pytest.raises(ValueError, match="with a bias has a weight"):
        layer_norm(False, True)
