"""Bits of integers, angles, other functions of two numbers against torch: eager and compiled."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nncompile
from ir import Error
from ir.types import DTYPES, FLOATS, INTEGERS
from nncompile import nn

torch = pytest.importorskip("torch")

EDGES = {"f32": [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3e38, -3e38, 1e-45, -1e-40, 3e-20, np.inf,
                 -np.inf, np.nan, 7.25, 16777217.0],
         "f64": [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e308, -1e308, 5e-324, -1e-310, 3e-200, np.inf,
                 -np.inf, np.nan, 7.25, 2.0**53]}


class Model(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any, y: Any) -> Any:
        return self.function(nncompile, x, y)


def values(dtype: str) -> np.ndarray:
    if dtype in FLOATS:
        return np.array(EDGES[dtype], DTYPES[dtype])
    if dtype == "bool":
        return np.array([False, True])
    info = np.iinfo(DTYPES[dtype])
    numbers = [0, 1, 2, 3, 5, 7, 8, 31, 32, 63, 64, 100, -1, -2, -7, -64, int(info.max),
               int(info.min), int(info.max) // 3]
    return np.array([n for n in numbers if info.min <= n <= info.max], DTYPES[dtype])


def pairs(left: str, right: str) -> list[np.ndarray]:
    x, y = values(left), values(right)
    return [np.repeat(x, y.size), np.tile(y, x.size)]


def check(function: Callable[..., Any], x: np.ndarray, y: np.ndarray, types: tuple[str, str],
          units: float = 0, signs: bool = False) -> None:
    """units: of the last place, by which floats may differ from torch's result in float64.

    signs: zeros have torch's signs.
    """
    want = exact = by_element(function, x, y) if not units else function(
        torch, torch.from_numpy(x), torch.from_numpy(y)).numpy()
    if units:
        wide = (torch.from_numpy(operand).double() for operand in (x, y))
        with np.errstate(over="ignore"):
            exact = function(torch, *wide).numpy().astype(want.dtype)
    model = Model(function).eval()
    fast = nncompile.compile(model, *(f"{t}[B]" for t in types))
    for got in (model(x, y), fast(x, y), fast(x[:1], y[:1])):
        assert got.dtype == want.dtype
        if not units:
            np.testing.assert_array_equal(got, want[:len(got)])
            continue
        near = np.finfo(want.dtype)
        np.testing.assert_allclose(got, exact[:len(got)], rtol=units * near.eps,
                                   atol=float(near.smallest_subnormal))
    if signs:
        plain = ~np.isnan(want)
        assert (np.signbit(fast(x, y)) == np.signbit(want))[plain].all()


def by_element(function: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each pair alone: torch's vector code for fmod has NaN where a quotient overflows."""
    pairs = ((torch.from_numpy(o[i:i + 1]) for o in (x, y)) for i in range(x.size))
    return torch.cat([function(torch, *pair) for pair in pairs]).numpy()


BITS = {
    "and": lambda n, x, y: x & y, "or": lambda n, x, y: x | y, "xor": lambda n, x, y: x ^ y,
    "left": lambda n, x, y: x << y, "right": lambda n, x, y: x >> y,
    "not": lambda n, x, y: ~x ^ n.bitwise_not(y),
    "functions": lambda n, x, y: n.bitwise_and(x, y) + n.bitwise_or(x, y) * n.bitwise_xor(x, y),
    "shifts": lambda n, x, y: n.bitwise_left_shift(x, y) ^ x.bitwise_right_shift(y),
    "numbers": lambda n, x, y: (x << 3) ^ (x >> 1) ^ (y & 5) ^ (y | 2) ^ (3 ^ x) ^ (2 << y),
    "in place": lambda n, x, y: _in_place(n, x, y),
}


def _in_place(n: Any, x: Any, y: Any) -> Any:
    z = x.clone()
    z &= y
    z |= 5
    z ^= x
    z <<= 2
    z >>= 1
    return z.bitwise_left_shift_(y & 3).bitwise_right_shift_(1).bitwise_and_(x).bitwise_or_(y)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", BITS)
def test_bits(name, dtype):
    """Negative shifts and shifts by all bits and more too."""
    check(BITS[name], *pairs(dtype, dtype), (dtype, dtype))


@pytest.mark.parametrize("name", ["and", "or", "xor", "left", "right"])
@pytest.mark.parametrize("types", [("u8", "i64"), ("i8", "i64"), ("i32", "i8"), ("bool", "i32")])
def test_bits_of_two_types(name, types):
    check(BITS[name], *pairs(*types), types)


@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_bits_of_bools(name):
    check(BITS[name], *pairs("bool", "bool"), ("bool", "bool"))


@pytest.mark.parametrize("types", [("f32", "i64"), ("i32", "f32"), ("f64", "f64")])
@pytest.mark.parametrize("name", ["and", "or", "xor", "left", "right"])
def test_floats_have_no_bits(name, types):
    x, y = pairs(*types)
    with pytest.raises(NotImplementedError):
        BITS[name](torch, torch.from_numpy(x), torch.from_numpy(y))
    with pytest.raises(Error, match=r"bitwise_\w+ takes integers.*, not"):
        Model(BITS[name])(x, y)


def test_bools_are_not_shifted():
    x, y = pairs("bool", "bool")
    with pytest.raises(Error, match="bitwise_left_shift takes integers, not bool"):
        Model(BITS["left"])(x, y)


FLOAT = {
    "fmod": (lambda n, x, y: n.fmod(x, y), 0), "fmax": (lambda n, x, y: n.fmax(x, y), 0),
    "fmin": (lambda n, x, y: x.fmin(y), 0), "heaviside": (lambda n, x, y: n.heaviside(x, y), 0),
    "atan2": (lambda n, x, y: n.atan2(x, y), 2), "arctan2": (lambda n, x, y: x.arctan2(y), 2),
    "hypot": (lambda n, x, y: n.hypot(x, y), 3), "xlogy": (lambda n, x, y: n.xlogy(x, y), 3),
    "rsub": (lambda n, x, y: n.rsub(x, y), 0),
    "in place": (lambda n, x, y: x.clone().fmod_(y), 0),
    "angles in place": (lambda n, x, y: x.clone().atan2_(y), 2),
    "lengths in place": (lambda n, x, y: x.clone().hypot_(y), 3),
    "xlogy in place": (lambda n, x, y: x.clone().xlogy_(y), 3),
    "steps in place": (lambda n, x, y: x.clone().heaviside_(y), 0),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", FLOAT)
def test_floats(name, dtype):
    """Zeros of both signs, infinities, NaN, the smallest and the largest numbers."""
    function, units = FLOAT[name]
    check(function, *pairs(dtype, dtype), (dtype, dtype), units,
          name not in ("fmax", "fmin"))          # whose zeros are either


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["atan2", "hypot", "xlogy", "fmod"])
def test_any_floats(name, dtype):
    function, units = FLOAT[name]
    random = np.random.default_rng(5)
    x, y = ((random.standard_normal(2000) * 10.0 ** random.integers(-6, 7, 2000)).astype(
        DTYPES[dtype]) for _ in range(2))
    check(function, x, np.abs(y) if name == "xlogy" else y, (dtype, dtype), units)


@pytest.mark.parametrize("types", [("u8", "u8"), ("i8", "i8"), ("i32", "i64"), ("i64", "i64"),
                                   ("f32", "i32"), ("i64", "f32")])
@pytest.mark.parametrize("name", ["fmod", "fmax", "fmin", "rsub"])
def test_integers(name, types):
    function, _ = FLOAT[name]
    x, y = pairs(*types)
    if name == "fmod":
        x, y = x[y != 0], y[y != 0]
    check(function, x, y, types)
    if name == "rsub" and types[0] == types[1]:
        check(lambda n, x, y: n.rsub(x, y, alpha=3), x, y, types)


@pytest.mark.parametrize("types", [("u8", "i32"), ("bool", "i64"), ("i64", "f64"), ("f32", "u8")])
@pytest.mark.parametrize("name", ["atan2", "xlogy"])
def test_integers_as_floats(name, types):
    x, y = pairs(*types)
    model = Model(FLOAT[name][0]).eval()
    want = FLOAT[name][0](torch, torch.from_numpy(x), torch.from_numpy(y)).numpy()
    for got in (model(x, y), nncompile.compile(model, *(f"{t}[B]" for t in types))(x, y)):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_what_has_no_meaning_is_refused():
    x, y = pairs("i64", "i64")
    with pytest.raises(Error, match="hypot takes floats, not i64"):
        nncompile.hypot(x, y)
    with pytest.raises(Error, match="heaviside takes arrays of one dtype"):
        nncompile.heaviside(x, y.astype(np.float32))
    with pytest.raises(Error, match="divided by zero"):
        nncompile.fmod(x, y)
    with pytest.raises(Error, match="bool"):
        nncompile.rsub(x > 0, y > 0)


NUMPY = {
    "shift": lambda x, y: np.left_shift(x, 3) + np.right_shift(y, 1) + (x << 2) + (1 << (y & 3)),
    "floats": lambda x, y: np.fmax(x * 0.5, y) + np.fmin(x, 2.5) + np.fmod(x * 0.5, 3.0),
    "angles": lambda x, y: np.arctan2(x * 0.5, y) + np.hypot(x * 0.5, 3.0)
    + np.heaviside(x * 0.5, 0.5),
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpy(name):
    """NumPy's functions and operators stay arrays of a trace."""
    function = NUMPY[name]
    x, y = pairs("i32", "i32")
    x, y = x % 100, y % 90 + 1
    model = Model(lambda n, x, y: function(x, y)).eval()
    fast = nncompile.compile(model, "i32[B]", "i32[B]")
    np.testing.assert_allclose(fast(x, y), function(x, y), rtol=1e-6)
    np.testing.assert_allclose(model(x, y), function(x, y), rtol=1e-6)


def test_integers_have_no_matrix_product():
    x = np.ones((2, 2), np.int64)
    with pytest.raises(Error, match=r"matmul takes floats, not i64\[2, 2\] @ i64\[2, 2\]\n  do: "):
        nncompile.matmul(x, x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_erfinv(dtype):
    """As near to scipy's in float64 as torch is, up to the last number below 1."""
    special = pytest.importorskip("scipy.special")
    ends = 1 - 10.0 ** -np.arange(1, 17)
    x = np.concatenate([np.linspace(-1, 1, 4001), ends, -ends, [0.0, -0.0, 1e-30, 2.0, np.nan]])
    x = np.append(x.astype(DTYPES[dtype]), np.nextafter(DTYPES[dtype].type(1), 0))
    y, exact = np.asarray(nncompile.erfinv(x)), special.erfinv(x.astype(np.float64))
    np.testing.assert_allclose(y, exact, rtol=3 * np.finfo(y.dtype).eps, atol=0)
    assert np.array_equal(np.signbit(y[~np.isnan(y)]), np.signbit(x[~np.isnan(y)]))

    class Model(nncompile.nn.Module):
        def forward(self, x):
            return x.erfinv()

    got = nncompile.compile(Model(), f"{dtype}[N]")(x)
    np.testing.assert_allclose(got, exact, rtol=6 * np.finfo(y.dtype).eps, atol=0)
