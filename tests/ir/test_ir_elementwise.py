"""Each elementwise op's value: against NumPy's and SciPy's, against torch's, and at the edges."""
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir import OPS
from ir.ops import evaluate, infer, with_trait
from ir.types import DTYPES, FLOATS, INTEGERS, type_of
from nncompile.counterparts import expression, literal

special = pytest.importorskip("scipy.special")
from tests.exact import EXACT, PARAMETERS  # noqa: E402

inf, nan = math.inf, math.nan

EDGES = [-inf, -1e30, -200, -90, -40, -30.5, -12.5, -9, -3, -2.5, -1, -0.5, -1e-5, -1e-30, -1e-42,
         -0.0, 0.0, 1e-42, 1e-7, 0.3, 0.5, 1, 1.5, 5, 17, 88, 90, 200, 1e30, inf, nan]
FEW = [-inf, -4.0, -1.5, -1.0, -0.0, 0.0, 1.0, 2.5, 4.0, inf, nan]

# name: the function in double precision, and the values of its further operands
FEWER = with_trait("division") | with_trait("predicate") | {"pow"}
ORACLES: dict[str, tuple[Any, ...]] = {
    name: (function, *PARAMETERS.get(name, [FEW if name in FEWER else EDGES]
                                     * (int(OPS[name].arity[0]) - 1)))
    for name, function in EXACT.items()}
BOOLS = ["logical_and", "logical_or", "logical_xor", "logical_not"]
CANCELS = ["tanhshrink", "softshrink"]           # as the formulas do: exact to the operand's size
SQUARES = ["gelu", "gelu_tanh", "erfc"]          # the rounding of the operand counts x^2 times


def grid(name: str, dtype: Any) -> list[np.ndarray]:
    further = ORACLES[name][1:]
    return [a.ravel() for a in np.meshgrid(*(np.array(v, dtype) for v in (EDGES, *further)))]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ORACLES)
def test_floats(name: str, dtype: str) -> None:
    arrays = grid(name, DTYPES[dtype])
    with np.errstate(all="ignore"):
        expected = ORACLES[name][0](*(a.astype(np.float64) for a in arrays))
    got = evaluate(name, arrays, {})
    assert got.dtype == DTYPES[infer(name, [type_of(a) for a in arrays], {}).dtype]
    if got.dtype == bool:
        return np.testing.assert_array_equal(got, expected)
    limits = np.finfo(got.dtype)
    rtol = np.full(expected.shape, 1e-13 if name in SQUARES and dtype == "f64" else 4 * limits.eps)
    atol = 4 * limits.smallest_normal
    if name in CANCELS:
        with np.errstate(invalid="ignore"):
            atol = np.where(np.isfinite(arrays[0]), np.abs(arrays[0]), 0) * limits.eps + atol
    with np.errstate(all="ignore"):
        expected = expected.astype(got.dtype)
        close = np.abs(got - expected) <= rtol * np.abs(expected) + atol
    wrong = ~(close | (got == expected) | (np.isnan(got) & np.isnan(expected)))
    assert not wrong.any(), [[float(a[wrong][0]) for a in (*arrays, got, expected)], wrong.sum()]


@settings(max_examples=50)
@given(st.floats(-40, 40))
def test_activations_in_double_precision(number: float) -> None:
    x = np.array([number])
    for name in ("gelu", "gelu_tanh", "silu", "mish"):
        expected = ORACLES[name][0](x)
        np.testing.assert_allclose(evaluate(name, [x], {}), expected, rtol=1e-12, atol=1e-307)
    np.testing.assert_allclose(evaluate("sigmoid", [x], {}), special.expit(x), rtol=1e-15)


def test_gelu_of_many_elements() -> None:
    x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    expected = ORACLES["gelu"][0](x.astype(np.float64))
    np.testing.assert_allclose(evaluate("gelu", [x], {}), expected, rtol=1e-7, atol=1e-45)


# -- types and shapes ------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [*ORACLES, *BOOLS])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_shapes_and_types(name: str, shape: tuple[int, ...]) -> None:
    for dtype in ("f32", "f64") if name in ORACLES else ("bool",):
        x = np.ones(shape, DTYPES[dtype])
        before, count = x.copy(), int(OPS[name].arity[0])
        for operands in ([x, *[1.0] * (count - 1)], [x] * count, [*[1.0] * (count - 1), x]):
            got = evaluate(name, operands, {})
            types = [o if isinstance(o, float) else type_of(o) for o in operands]
            assert isinstance(got, np.ndarray) and type_of(got) == infer(name, types, {})
            assert got.shape == shape
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", ORACLES)
def test_operands_broadcast(name: str) -> None:
    count = int(OPS[name].arity[0])
    shapes = [(2, 1, 4), (3, 1), (4,)][:count]
    arrays = [np.random.default_rng(0).uniform(0.5, 1, shape) for shape in shapes]
    full = [np.broadcast_to(a, np.broadcast_shapes(*shapes)).copy() for a in arrays]
    np.testing.assert_array_equal(evaluate(name, arrays, {}), evaluate(name, full, {}))


def test_a_plain_number_takes_the_arrays_type() -> None:
    x = np.float32([1, 2])
    got = evaluate("mul", [x, 0.1], {})
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x * np.float32(0.1))
    assert evaluate("mul", [x, 1e300], {}).tolist() == [inf, inf]
    assert evaluate("eq", [np.float32([0.1]), 0.1], {}).all()
    for dtype in INTEGERS:
        got = evaluate("add", [np.array([1], DTYPES[dtype]), 2.0], {})
        assert got.dtype == DTYPES[dtype] and got == 3
    chosen = evaluate("where", [np.array([True, False]), 1.0, x], {})
    assert chosen.dtype == np.float32 and chosen.tolist() == [1, 2]
    assert evaluate("where", [np.array([True, False]), x, -1.0], {}).tolist() == [1, -1]
    assert evaluate("logical_xor", [np.array([True, False]), 1.0], {}).tolist() == [False, True]


# -- integers and bools ----------------------------------------------------------------------------

def whole(dtype: str) -> list[int]:
    """Small ones and the largest, as plain Python integers."""
    info = np.iinfo(DTYPES[dtype])
    return [n for n in (*range(-9, 10), int(info.min), int(info.max), int(info.max) // 3)
            if info.min <= n <= info.max]


EXACT: dict[str, Any] = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "mul": lambda x, y: x * y,
    "maximum": max, "minimum": min, "neg": lambda x: -x, "abs": abs,
    "sign": lambda x: (x > 0) - (x < 0),
    "floor_div": lambda x, y: x // y, "remainder": lambda x, y: x % y,
    "pow": lambda x, y: x**y if y >= 0 else {1: 1, -1: (-1) ** y}.get(x, 0),
    "bitwise_and": lambda x, y: x & y, "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
    "left_shift": lambda x, y: x << y if 0 <= y < 64 else 0,
    "right_shift": lambda x, y: x >> (y if 0 <= y < 64 else 64),
    "eq": lambda x, y: x == y, "ne": lambda x, y: x != y, "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y, "gt": lambda x, y: x > y, "ge": lambda x, y: x >= y,
}


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", EXACT)
def test_integers_are_exact_and_wrap_around(name: str, dtype: str) -> None:
    numbers = whole(dtype)
    pairs = [(x, y) for x in numbers for y in numbers
             if not (y == 0 and name in ("floor_div", "remainder"))]
    if name == "pow":
        pairs = [(x, y) for x, y in pairs if abs(y) < 100]
    rows = pairs if OPS[name].arity[0] == 2 else [(x,) for x in numbers]
    columns = [np.array(column, DTYPES[dtype]) for column in zip(*rows, strict=True)]
    got = evaluate(name, columns, {})
    bits = 8 * got.dtype.itemsize
    expected = [EXACT[name](*row) for row in rows]
    if got.dtype != bool:
        assert got.dtype == DTYPES[dtype]
        signed = got.dtype.kind == "i"
        low = -2**(bits - 1) if signed else 0
        expected = [int(int(n) - low) % 2**bits + low for n in expected]
    assert got.tolist() == expected


@pytest.mark.parametrize("name", ["floor_div", "remainder"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_an_integer_divided_by_zero(name: str, dtype: str) -> None:
    x = np.ones(3, DTYPES[dtype])
    with pytest.raises(ir.Error, match="an integer is divided by zero"):
        evaluate(name, [x, np.array([1, 0, 2], DTYPES[dtype])], {})
    with pytest.raises(ir.Error, match="an integer is divided by zero"):
        evaluate(name, [x, 0.0], {})
    assert evaluate(name, [x[:0], x[:0]], {}).shape == (0,)


def test_bools() -> None:
    x, y = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    assert evaluate("logical_and", [x, y], {}).tolist() == [0, 0, 0, 1]
    assert evaluate("logical_or", [x, y], {}).tolist() == [0, 1, 1, 1]
    assert evaluate("logical_xor", [x, y], {}).tolist() == [0, 1, 1, 0]
    assert evaluate("logical_not", [x], {}).tolist() == [1, 1, 0, 0]
    assert evaluate("lt", [x, y], {}).tolist() == [0, 1, 0, 0]
    assert evaluate("eq", [x, 1.0], {}).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype: str) -> None:
    a, b = np.array([[1, 0, 1]], DTYPES[dtype]), np.array([[0], [1]], DTYPES[dtype])
    c = np.array([True, False, True])
    got = evaluate("where", [c, a, b], {})
    assert got.dtype == DTYPES[dtype] and got.tolist() == [[1, 0, 1], [1, 1, 1]]
    x = np.array([nan, 1])                       # what is not chosen does not matter
    assert evaluate("where", [np.array([False, True]), x, 0.0], {}).tolist() == [0, 1]


@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("target", DTYPES)
def test_cast(source: str, target: str) -> None:
    x = np.array([0, 1, 5, 100], DTYPES[source])
    got = evaluate("cast", [x], {"dtype": target})
    assert got.dtype == DTYPES[target]
    assert got.tolist() == ([bool(n) for n in x] if target == "bool" else x.tolist())


def test_cast_of_odd_numbers() -> None:
    x = np.array([-2.7, -0.5, -0.0, 0.9, 1e-40, 2.5])
    assert evaluate("cast", [x], {"dtype": "i32"}).tolist() == [-2, 0, 0, 0, 0, 2]
    assert evaluate("cast", [x], {"dtype": "bool"}).tolist() == [1, 1, 0, 1, 1, 1]
    assert evaluate("cast", [np.float32([nan, inf])], {"dtype": "bool"}).all()
    assert evaluate("cast", [np.array([nan, 3e38, 1e300])], {"dtype": "f32"}).tolist()[2] == inf
    evaluate("cast", [np.array([nan, inf, 1e30])], {"dtype": "i8"})          # and no warning
    assert evaluate("cast", [np.array([300, -1])], {"dtype": "u8"}).tolist() == [44, 255]


# -- torch -----------------------------------------------------------------------------------------

# Where torch's formula is NaN, or overflows, and the function has a limit: we give the limit.
BETTER = {"gelu": "not finite or large", "gelu_tanh": "not finite", "silu": "not finite",
          "mish": "not finite", "hardswish": "not finite or large", "softsign": "not finite"}


def torch_function(torch: Any, name: str) -> Any:
    """(tensor, *further) -> tensor, by the table of counterparts; parameters are plain numbers."""
    def function(x: Any, *further: Any) -> Any:
        operands = [literal(y) if isinstance(y, float) else f"y{i}" for i, y in enumerate(further)]
        text = expression(name, "torch", ["x", *operands], {})
        names = {"torch": torch, "F": torch.nn.functional, "x": x}
        return eval(text, names | {f"y{i}": y for i, y in enumerate(further)})

    return function


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ORACLES)
def test_as_torch(name: str, dtype: str) -> None:
    """NaN, infinities and the signs of zeros; numbers as close as torch's own rounding allows."""
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    function = torch_function(torch, name)
    x = np.array(EDGES, DTYPES[dtype])
    further: list[Any] = [()]
    if OPS[name].arity[0] > 1:
        further = np.array(np.meshgrid(*ORACLES[name][1:])).reshape(len(ORACLES[name]) - 1, -1).T
    for numbers in further:
        rest = [float(n) for n in numbers]
        if name in PARAMETERS:
            expected = function(torch.from_numpy(x), *rest).numpy()
        else:
            others = [torch.full((x.size,), n, dtype=torch.from_numpy(x).dtype) for n in rest]
            expected = function(torch.from_numpy(x), *others).numpy()
        got = evaluate(name, [x, *rest], {})
        assert got.dtype == expected.dtype
        if got.dtype == bool:
            np.testing.assert_array_equal(got, expected)
            continue
        ours = np.zeros(x.shape, bool)
        if name in BETTER:
            large = np.abs(x) > 1e29 if "large" in BETTER[name] else np.isinf(x)
            ours = large & ~np.isnan(x)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected) & ~ours)
        ours |= np.isnan(got)
        rtol = 2e-6 if dtype == "f32" else 1e-12
        if name in ("gelu", "mish", "erfc", "gelu_tanh"):
            rtol *= 100                          # torch cancels there
        atol = {"gelu": 1e-7, "gelu_tanh": 1e-7, "tanhshrink": 1e-7}.get(name, 1e-37)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(got[~ours], expected[~ours], rtol, atol, err_msg=str(rest))
        zeros = ~ours & (got == 0) & (expected == 0)
        # Of 0.0 and -0.0 torch takes the one or the other by the length; so is softshrink's sign.
        if name not in ("maximum", "minimum", "softshrink"):
            np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(expected[zeros]),
                                          err_msg=str((x[zeros], rest)))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", EXACT)
def test_integers_as_torch(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    x = np.arange(256).astype(DTYPES[dtype])
    function = torch_function(torch, name)
    if OPS[name].arity[0] == 1:
        got = [evaluate(name, [x], {})]
        expected = [function(torch.from_numpy(x))]
    else:
        others = [np.full_like(x, n) for n in (1, 2, 3, 7)]
        if dtype != "u8":
            others += [np.full_like(x, n) for n in (-2, -3, -7)]
        got = [evaluate(name, [x, y], {}) for y in others]
        expected = [function(torch.from_numpy(x), torch.from_numpy(y)) for y in others]
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == theirs.numpy().dtype
        np.testing.assert_array_equal(ours, theirs.numpy())
