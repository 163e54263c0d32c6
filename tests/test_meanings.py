"""What processors leave to themselves has one meaning here: in NumPy, in kernels, on a device.

A float that no integer of the type can hold, and the larger of 0.0 and -0.0.
"""
import itertools

import numpy as np
import pytest

import nncompile
from ir.ops import evaluate
from ir.types import DTYPES, FLOATS, INTEGERS
from nncompile import nn, options

FAR = [np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**63, -2.0**63, 1e19, 2.0**31, -2.0**31, 3e9, -3e9,
       -2147483648.5, -2147483649.0, 2147483647.5, 300.7, -300.7, 255.9, -0.9, 128.0, -129.0]
ZEROS = np.array([0.0, -0.0])


class Made(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arrays):
        return self.function(*arrays)


def compiled(function, *types):
    return nncompile.compile(Made(function).eval(), *types)


def truncated(x: float, dtype: str) -> int:
    """The stated meaning, in Python's integers."""
    bits = 64 if dtype == "i64" else 32
    limit = 2 ** (bits - 1)
    whole = int(x) if np.isfinite(x) and -limit <= int(x) < limit else -limit
    own = 8 * DTYPES[dtype].itemsize
    whole %= 2**own
    return whole - 2**own if dtype != "u8" and whole >= 2 ** (own - 1) else whole


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_that_no_integer_holds(source, dtype, jit, monkeypatch):
    monkeypatch.setenv(options.JIT.variable, jit)
    x = np.repeat(np.array(FAR, DTYPES[source]), 9)
    wanted = np.array([truncated(float(v), dtype) for v in x], DTYPES[dtype])
    np.testing.assert_array_equal(evaluate("cast", [x], {"dtype": dtype}), wanted)
    fast = compiled(lambda x: x.to(DTYPES[dtype]), f"{source}[B]")
    np.testing.assert_array_equal(fast(x), wanted)
    for end in range(1, 40):
        np.testing.assert_array_equal(fast(x[:end]), wanted[:end])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_that_no_integer_holds_are_what_torch_makes_of_them_on_x86(dtype):
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512", "DEFAULT"):
        pytest.skip("torch has another meaning on another machine")
    x = np.array([v for v in FAR if dtype != "u8" or v != -2147483649.0])   # torch's own low bits
    wanted = torch.from_numpy(x).to(getattr(torch, str(DTYPES[dtype]))).numpy()
    np.testing.assert_array_equal(evaluate("cast", [x], {"dtype": dtype}), wanted)


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_larger_of_two_zeros_is_the_second(dtype, jit, monkeypatch):
    monkeypatch.setenv(options.JIT.variable, jit)
    x, y = (np.repeat(z, 9).astype(DTYPES[dtype]) for z in zip(
        *itertools.product(ZEROS, ZEROS), strict=True))
    for name in ("maximum", "minimum"):
        fast = compiled(lambda x, y, name=name: getattr(x, name)(y), *[f"{dtype}[B]"] * 2)
        for got in (evaluate(name, [x, y], {}), fast(x, y)):
            np.testing.assert_array_equal(np.signbit(got), np.signbit(y))


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_zero_that_is_the_extreme_of_an_axis(dtype, axis, jit, monkeypatch):
    """0.0 is above -0.0, wherever they stand."""
    monkeypatch.setenv(options.JIT.variable, jit)
    generator = np.random.default_rng(0)
    for name, first in (("amax", 0.0), ("amin", -0.0)):
        fast = compiled(lambda x, name=name: getattr(x, name)(axis), f"{dtype}[B, N]")
        for length in (1, 2, 3, 7, 16, 33, 70):
            x = np.full((20, length), -first, DTYPES[dtype])
            x[np.arange(1, 10), generator.integers(0, length, 9)] = first
            x[5:8] = generator.choice(ZEROS, (3, length))
            x[11, length // 2], x[12] = np.nan, -1 if first == 0 else 1
            x = np.ascontiguousarray(x if axis == 1 else x.T)
            there = ((x == 0) & (np.signbit(x) == np.signbit(first))).any(axis)
            zero = np.where(there, first, -first)
            op = {"amax": "max", "amin": "min"}[name]
            for got in (evaluate(op, [x], {"axes": (axis,), "keepdims": False}), fast(x)):
                assert got[got == 0].size >= 18
                np.testing.assert_array_equal(
                    np.signbit(got[got == 0]), np.signbit(zero[got == 0]), str(length))
                assert np.isnan(got[11]) and abs(got[12]) == (1 if length else 0)


EMPTY = {"softmax": lambda x: x.softmax(0), "softmax of rows": lambda x: x.softmax(-1),
         "log_softmax": lambda x: x.log_softmax(-1), "sort": lambda x: x.sort(-1).values,
         "layer_norm": lambda x: nn.functional.layer_norm(x, x.shape[-1:]),
         "cumsum": lambda x: x.cumsum(0), "elementwise": lambda x: (x + 1).exp(),
         "rms_norm": lambda x: nn.functional.rms_norm(x, x.shape[-1:])}


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_computed_of_nothing(name):
    """An axis of size 0 beside a long one: no memory, and no loop over the elements of that."""
    for shape in ((1 << 31, 0), (0, 1 << 31), (1 << 31, 0, 2)):
        if name.startswith("layer") and shape[-1] > 2:
            continue                                     # its weights would be as large
        x = np.zeros(shape, np.float32)
        got = [np.asarray(EMPTY[name](nncompile.tensor(x)))]
        if name != "sort":
            got.append(compiled(EMPTY[name], str(nncompile.tensor(x).type))(x))
        assert all(y.shape == shape for y in got)
