"""Elementwise ops of integers and bools, comparisons, and casts: exact."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from ir.ops import OPS
from ir.types import DTYPES, FLOATS, INTEGERS
from nncompile.cpu.kernels import LANE_OPS, elementwise
from tests.cpu.kernel_harness import LEVELS, compiled

LEVEL = pytest.mark.parametrize("level", LEVELS)
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
ARITHMETIC = [name for name, op in LANE_OPS.items()
              if "i64" in op.dtypes and name not in (*COMPARISONS, "where", "cast", "copy")]
LOGICAL = [name for name, op in LANE_OPS.items() if op.dtypes == ("bool",)]
TESTS = ("isnan", "isinf", "isfinite")


def test_every_op_is_tested():
    """Here, or in test_math.py."""
    here = {*COMPARISONS, *ARITHMETIC, *LOGICAL, *TESTS, "where", "cast", "copy"}
    assert here | {name for name, op in LANE_OPS.items() if op.dtypes == FLOATS} == LANE_OPS.keys()


def values(dtype: str) -> np.ndarray:
    """Small numbers, the extremes, and any; NaN and infinities of floats."""
    kind, generator = DTYPES[dtype], np.random.default_rng(4)
    if dtype == "bool":
        return np.array([False, True, True, False, True], kind)
    if dtype in FLOATS:
        tiny = np.finfo(kind).smallest_subnormal
        return np.array([np.nan, -np.inf, np.inf, 0.0, -0.0, 1, -1, 2.5, -2.5, tiny, -3e38], kind)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    anything = generator.integers(low, high, 9, kind, endpoint=True)
    small = [n for n in (-7, -3, -2, -1, 0, 1, 2, 3, 5, 7) if n >= low]
    return np.concatenate([np.array([*small, low, low + 1, high - 1, high], kind), anything])


def pairs(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(c) for c in (np.repeat(x, y.size), np.tile(y, x.size))]


def run(level, name, operands, dtype, source=None):
    y = np.empty(operands[0].size, DTYPES[dtype])
    kernel = elementwise(((name, "v" * len(operands)),), 0, dtype, source)
    further = [np.zeros(3, np.int64), 0] if "fault" in kernel.arguments else []
    compiled(kernel, level)(y, y.size, *operands, *further)
    return y


@LEVEL
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_integers(level, name, dtype):
    """Every pair; they wrap. An integer divided by 0 is 0."""
    x = values(dtype)
    operands = [x] if LANE_OPS[name].arity == 1 else pairs(x, x)
    y = run(level, name, operands, dtype)
    inside = np.ones(y.size, bool)
    if name in ("floor_div", "remainder"):
        inside = operands[1] != 0
        assert (y[~inside] == 0).all()
    with np.errstate(all="ignore"):
        expected = OPS[name].reference(*(o[inside] for o in operands))
    assert expected.dtype == y.dtype and np.array_equal(y[inside], expected)


@LEVEL
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(level, name, dtype):
    operands = pairs(values(dtype), values(dtype))
    y = run(level, name, operands, "bool", dtype)
    assert np.array_equal(y, OPS[name].reference(*operands))
    assert set(y.view(np.uint8)) <= {0, 1}


@LEVEL
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", TESTS)
def test_tests(level, name, dtype):
    x = values(dtype)
    assert np.array_equal(run(level, name, [x], "bool", dtype), OPS[name].reference(x))


@LEVEL
@pytest.mark.parametrize("name", LOGICAL)
def test_logic(level, name):
    """Any byte but 0 is true."""
    x = np.array([False, True, True, False, True])
    odd = np.array([0, 1, 2, 0, 255], np.uint8).view(bool)
    operands = pairs(odd, odd)[:LANE_OPS[name].arity]
    expected = OPS[name].reference(*pairs(x, x)[:LANE_OPS[name].arity])
    y = run(level, name, operands, "bool")
    assert np.array_equal(y, expected) and set(y.view(np.uint8)) <= {0, 1}


@LEVEL
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_and_copy(level, dtype):
    x = values(dtype)
    c = np.arange(x.size) % 3 == 0
    y = run(level, "where", [c, x, x[::-1].copy()], dtype)
    assert y.tobytes() == np.where(c, x, x[::-1]).tobytes()
    assert run(level, "copy", [x], dtype).tobytes() == x.tobytes()


@LEVEL
@pytest.mark.parametrize("source, dtype", [*itertools.product(DTYPES, DTYPES)])
def test_casts(level, source, dtype):
    x = values(source)
    if source in FLOATS:
        x = np.concatenate([x[3:10], around_limits(source, dtype)])
    y = run(level, "cast", [x], dtype, source)
    with np.errstate(all="ignore"):
        expected = OPS["cast"].reference(x, dtype=dtype)
    assert np.array_equal(y, expected, equal_nan=dtype in FLOATS)


def around_limits(source: str, dtype: str) -> np.ndarray:
    """Floats that an integer dtype holds, up to its limits."""
    kind = DTYPES[source]
    if dtype not in INTEGERS:
        return np.array([1e-30, 300.7, -1e30, np.inf, np.nan], kind)
    info = np.iinfo(DTYPES[dtype])
    high, low = np.array([2.0 ** (info.bits - (info.min < 0)), info.min], kind)
    below = np.nextafter(high, kind.type(0))
    return np.array([below, low, low / 2 - 0.75 * (info.min < 0), high / 2 + 0.75, 0.99], kind)


@LEVEL
@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_beyond_an_integer(level, source, dtype):
    """The least i64 or i32; in narrower ones the low bits of the i32: as x86 has it."""
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0 ** 63, 3e9 if dtype != "i64" else 1e19,
                  *([-2147483648.5, -2147483649.0] if (source, dtype) == ("f64", "i32") else [])],
                 DTYPES[source])
    least = np.iinfo(np.int64 if dtype == "i64" else np.int32).min
    wanted = np.full(x.size, least).astype(DTYPES[dtype])
    assert np.array_equal(run(level, "cast", [x], dtype, source), wanted)
    if dtype in ("i8", "u8"):
        x = np.array([300.7, -300.7, 65535.0, 2147483520.0], DTYPES[source])
        wanted = np.trunc(x).astype(np.int64).astype(DTYPES[dtype])
        assert np.array_equal(run(level, "cast", [x], dtype, source), wanted)
