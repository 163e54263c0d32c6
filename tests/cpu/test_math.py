"""Vector mathematics against float64, over one in about a thousand of all float32."""
from __future__ import annotations

import functools

import numpy as np
import pytest

from nncompile.cpu.kernels import elementwise
from tests.cpu.kernel_harness import LEVELS, REFERENCE, TARGETS, compiled

# In units in the last place, with fma and without: a little more than the module's docstring gives.
BOUNDS = {"exp": (0.89, 1.17), "log": (0.82, 0.82), "tanh": (1.36, 1.36), "sigmoid": (1.95, 1.95),
          "gelu": (3.75, 3.85), "gelu_tanh": (3.1, 3.1), "sqrt": (0.5, 0.5)}
STRIDE = 1021
TINY = 2e-44                     # gelu_tanh below 1e-37 is right to within this

INF, NAN = np.inf, np.nan


def run(name, level, x):
    y = np.empty_like(x)
    compiled(elementwise(((name, "v"),), 0), level)(y, x.size, x)
    return y


@functools.cache
def sample():
    return np.arange(0, 2 ** 32, STRIDE, dtype=np.uint64).astype(np.uint32).view(np.float32)


@functools.cache
def expected(name):
    with np.errstate(all="ignore"):                          # signalling NaNs, overflow
        x = sample().astype(float)
        y = REFERENCE[name](np.clip(x, -40, 3e38) if name.startswith("gelu") else x)
        if name.startswith("gelu"):
            y = np.where(x > 40, x, np.where(x < -39, 0.0, y))
    return y


def ulps(y, exact):
    """|y - exact| in units in the last place of the exact result."""
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = exact.astype(np.float32)
        unit = np.spacing(np.minimum(np.abs(nearest), np.float32(3e38))).astype(float)
        error = np.abs(y - exact) / unit
    error[(nearest == y) | (np.isnan(exact) & np.isnan(y))] = 0
    return np.where(np.isnan(error), INF, error)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", BOUNDS)
def test_error_over_all_exponents(name, level):
    exact, x = expected(name), sample()
    y = run(name, level, x)
    error = ulps(y, exact)
    if name == "gelu_tanh":
        small = np.abs(exact) < 1e-37
        assert (np.abs(y - exact)[small] <= TINY).all()
        error[small] = 0
    bound = BOUNDS[name][0 if TARGETS[level].fma else 1]
    worst = np.argmax(error)
    assert error[worst] <= bound, (x[worst], y[worst], exact[worst])


SPECIAL = {                      # pairs: as keys of a dict 0.0 and -0.0 would be one
    "exp": [(-INF, 0), (INF, INF), (0, 1), (-0.0, 1), (88.72283, 3.4027892e38), (88.722845, INF),
            (-88, 6.0546e-39), (-103.2, 1.4e-45), (-104, 0), (-3e38, 0), (3e38, INF)],
    "log": [(0, -INF), (-0.0, -INF), (-1, NAN), (-INF, NAN), (INF, INF), (1, 0), (-1e-45, NAN),
            (1.4e-45, -103.27893), (1e-40, -92.103401), (3.4e38, 88.722)],
    "tanh": [(-INF, -1), (INF, 1), (0, 0), (-0.0, -0.0), (1e-40, 1e-40), (-1e-40, -1e-40),
             (50, 1), (-3e38, -1)],
    "sigmoid": [(-INF, 0), (INF, 1), (0, 0.5), (-0.0, 0.5), (-100, 3.78e-44), (-3e38, 0),
                (3e38, 1)],
    "gelu": [(-INF, 0), (INF, INF), (0, 0), (-0.0, -0.0), (-3e38, 0), (3e38, 3e38), (20, 20),
             (1e-40, 5e-41), (-1e-40, -5e-41)],
    "gelu_tanh": [(-INF, 0), (INF, INF), (0, 0), (-0.0, -0.0), (-3e38, 0), (3e38, 3e38),
                  (30, 30), (1e-40, 5e-41)],
    "sqrt": [(0, 0), (-0.0, -0.0), (INF, INF), (-1, NAN), (4, 2), (1e-40, 1e-20)],
    "relu": [(-INF, 0), (INF, INF), (-1, 0), (2, 2), (1e-40, 1e-40)],
    "abs": [(-INF, INF), (-0.0, 0), (-1, 1)],
    "neg": [(INF, -INF), (0, -0.0), (1, -1)],
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name, level):
    pairs = np.array([*SPECIAL[name], (NAN, NAN), (-NAN, NAN)])
    x, wanted = pairs[:, 0].astype(np.float32), pairs[:, 1]
    y = run(name, level, x)
    finite = np.isfinite(wanted)
    assert np.isnan(y[np.isnan(wanted)]).all()
    assert (y[np.isinf(wanted)] == wanted[np.isinf(wanted)]).all()
    np.testing.assert_allclose(y[finite], wanted[finite], rtol=2e-5, atol=7e-46)
    zero = [i for i, value in enumerate(wanted) if value == 0 and x[i] == 0]
    assert (np.signbit(y[zero]) == np.signbit(wanted[zero])).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["maximum", "minimum", "add", "sub", "mul", "div"])
def test_two_operands(name, level):
    """Every pair, at either place; NaN in either gives NaN."""
    values = np.array([NAN, -INF, INF, -2.5, -1e-40, 0, 3e38, 1], np.float32)
    x, y = (np.ascontiguousarray(a).ravel() for a in np.meshgrid(values, values))
    result = np.empty_like(x)
    compiled(elementwise(((name, "vv"),), 0), level)(result, x.size, x, y)
    with np.errstate(all="ignore"):
        assert np.array_equal(result, REFERENCE[name](x, y), equal_nan=True)
