"""Each op: its type, its value against formulas that others wrote, and what it refuses."""
import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir import OPS
from ir.ops import evaluate, infer, is_symbolic, normal, split_then
from ir.ops.attributes import FORMS
from ir.types import TensorType, symbol

special = pytest.importorskip("scipy.special")

B, T = symbol("B"), symbol("T")
FLOATS = [np.float32, np.float64]
EDGES = [-math.inf, -1e30, -200, -90, -40, -30.5, -12.5, -9, -3, -1, -1e-5, -1e-30, -1e-42, -0.0,
         0.0, 1e-42, 1e-7, 0.3, 1, 5, 17, 88, 90, 200, 1e30, math.inf, math.nan]


def phi(x: np.ndarray) -> np.ndarray:
    return np.where(np.isneginf(x), -0.0, x * special.ndtr(x))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return np.where(np.isneginf(x), -0.0, x * special.expit(2 * inner))


ORACLES: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum,
    "neg": np.negative, "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt,
    "tanh": np.tanh, "sigmoid": special.expit,
    "relu": lambda x: np.maximum(x, 0), "gelu": phi, "gelu_tanh": gelu_tanh,
}

ELEMENTWISE = [*ORACLES]


def f32(*shape: Any) -> TensorType:
    return TensorType("f32", shape)


def randn(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# -- the table -------------------------------------------------------------------------------------

def test_traits() -> None:
    known = {"elementwise", "commutative", "view", "literal"}
    assert all(op.traits <= known for op in OPS.values())


@pytest.mark.parametrize("name", OPS)
def test_an_op_has_every_aspect(name: str) -> None:
    op = OPS[name]
    assert op.name == name and op.attrs == tuple(a for a in op.attrs if a in FORMS)
    parameters = inspect.signature(op.infer).parameters.values()
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == set(op.attrs)
    assert not (op.elementwise and op.attrs) or name == "cast"
    assert not op.elementwise or op.arity[0] == op.arity[1]


# -- values ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_values(name: str, dtype: Any) -> None:
    x = np.array(EDGES, dtype)
    arrays = [x] if OPS[name].arity[0] == 1 else [a.ravel() for a in np.meshgrid(x, x)]
    with np.errstate(all="ignore"):
        expected = ORACLES[name](*(a.astype(np.float64) for a in arrays)).astype(dtype)
    got = evaluate(name, arrays, {})
    assert got.dtype == dtype
    limits = np.finfo(dtype)
    # gelu's tail squares its argument, and with it the rounding of that argument
    rtol = 1e-13 if name.startswith("gelu") and dtype == np.float64 else 4 * limits.eps
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=4 * limits.smallest_normal)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_elementwise_shapes_and_types(name: str, dtype: Any, shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.5, dtype)
    operands = [x, 0.1][:OPS[name].arity[0]]
    before = x.copy()
    got = evaluate(name, operands, {})
    assert isinstance(got, np.ndarray) and got.shape == shape and got.dtype == dtype
    np.testing.assert_array_equal(x, before)


@settings(max_examples=50)
@given(st.floats(-40, 40))
def test_activations_in_double_precision(number: float) -> None:
    x = np.array([number])
    np.testing.assert_allclose(evaluate("gelu", [x], {}), phi(x), rtol=1e-12, atol=1e-307)
    np.testing.assert_allclose(evaluate("sigmoid", [x], {}), special.expit(x), rtol=1e-15)
    got = evaluate("gelu_tanh", [x], {})
    np.testing.assert_allclose(got, gelu_tanh(x), rtol=1e-12, atol=1e-307)


def test_gelu_of_many_elements() -> None:
    x = randn(100_000, dtype=np.float32)
    np.testing.assert_allclose(evaluate("gelu", [x], {}), phi(x.astype(np.float64)), rtol=1e-7,
                               atol=1e-45)


def test_a_plain_number_takes_the_arrays_type() -> None:
    x = np.float32([1, 2])
    got = evaluate("mul", [x, 0.1], {})
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x * np.float32(0.1))
    assert evaluate("mul", [x, 1e300], {}).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("name", ["maximum", "minimum", "relu"])
def test_nan_in_nan_out(name: str) -> None:
    x = np.float32([math.nan])
    for operands in ([x, np.float32([1])], [np.float32([1]), x], [x, 1.0], [1.0, x]):
        operands = operands[:1] if name == "relu" else operands
        if operands[0] is x or name != "relu":
            assert np.isnan(evaluate(name, operands, {})).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1.0, 0.125, -2.0, 1e3])
def test_softmax(dtype: Any, scale: float) -> None:
    x = randn(4, 5, 3, dtype=dtype) * 10
    for axis in range(3):
        got = evaluate("softmax", [x], {"axis": axis, "scale": scale})
        expected = special.softmax(x.astype(np.float64) * scale, axis)
        assert got.dtype == dtype
        rtol = 1e-4 if dtype == np.float32 else 1e-12
        np.testing.assert_allclose(got, expected, rtol=rtol * max(1, abs(scale)), atol=1e-37)


def test_softmax_at_the_edges() -> None:
    x = np.float32([[-math.inf] * 2, [math.inf, 0], [-math.inf, 0], [3e38, -3e38], [math.nan, 0]])
    got = evaluate("softmax", [x], {"axis": 1, "scale": 1.0})
    nan = [math.nan] * 2
    np.testing.assert_array_equal(got, [nan, nan, [0, 1], [1, 0], nan])
    for shape in [(0, 3), (3, 0), (0, 0)]:
        got = evaluate("softmax", [np.zeros(shape)], {"axis": 1, "scale": 1.0})
        assert got.shape == shape


@pytest.mark.parametrize("dtype", FLOATS)
def test_layer_norm(dtype: Any) -> None:
    x = (randn(4, 3, 8, dtype=dtype) * 5 + 100).astype(dtype)
    w, b = randn(8, dtype=dtype, seed=1), randn(8, dtype=dtype, seed=2)
    z = x.astype(np.float64)
    expected = (z - z.mean(2, keepdims=True)) / np.sqrt(z.var(2, keepdims=True) + 1e-5)
    attrs = {"axes": (2,), "eps": 1e-5}
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-11}
    np.testing.assert_allclose(evaluate("layer_norm", [x], attrs), expected, **tolerance)
    np.testing.assert_allclose(evaluate("layer_norm", [x, w], attrs), expected * w, **tolerance)
    got = evaluate("layer_norm", [x, w, b], attrs)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected * w + b, rtol=1e-3, atol=1e-4)


def test_layer_norm_over_two_axes() -> None:
    x = randn(5, 3, 4)
    got = evaluate("layer_norm", [x, randn(3, 4, seed=1)], {"axes": (1, 2), "eps": 0.5})
    flat = x.reshape(5, 12)
    expected = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 0.5)
    np.testing.assert_allclose(got, expected.reshape(5, 3, 4) * randn(3, 4, seed=1), rtol=1e-12)


@pytest.mark.parametrize("constant", [0.1, 1e6 + 0.1, -3e4, 1e30])
@pytest.mark.parametrize("width", [1, 3, 7, 1000])
def test_layer_norm_of_a_constant_row_is_zero(constant: float, width: int) -> None:
    x = np.full((2, width), constant, np.float32)
    assert not evaluate("layer_norm", [x], {"axes": (1,), "eps": 1e-5}).any()


def test_layer_norm_at_the_edges() -> None:
    attrs = {"axes": (1,), "eps": 1e-5}
    assert evaluate("layer_norm", [np.zeros((0, 3))], attrs).shape == (0, 3)
    assert evaluate("layer_norm", [np.zeros((3, 0))], attrs).shape == (3, 0)
    assert np.isnan(evaluate("layer_norm", [np.float32([[1, math.inf, 2]])], attrs)).all()


def test_linear_and_matmul() -> None:
    x, w, b = randn(2, 3, 4), randn(5, 4, seed=1), randn(5, seed=2)
    expected = np.einsum("abk,nk->abn", x, w)
    np.testing.assert_allclose(evaluate("linear", [x, w], {}), expected, rtol=1e-12)
    np.testing.assert_allclose(evaluate("linear", [x, w, b], {}), expected + b, rtol=1e-12)
    np.testing.assert_allclose(evaluate("linear", [x[0, 0], w], {}), expected[0, 0], rtol=1e-12)
    stack = randn(3, 1, 4, 6, seed=3)
    np.testing.assert_allclose(evaluate("matmul", [randn(2, 5, 4), stack], {}),
                               np.einsum("bmk,ackn->abmn", randn(2, 5, 4), stack), rtol=1e-12)
    for rows, k, n in [(0, 3, 2), (2, 0, 3), (2, 3, 0)]:
        got = evaluate("linear", [np.ones((rows, k)), np.ones((n, k)), np.ones(n)], {})
        np.testing.assert_array_equal(got, np.full((rows, n), k + 1))
        got = evaluate("matmul", [np.ones((rows, k)), np.ones((k, n))], {})
        np.testing.assert_array_equal(got, np.full((rows, n), k))


@pytest.mark.parametrize("integer", [np.int32, np.int64])
def test_embedding(integer: Any) -> None:
    table = randn(5, 3)
    ids = np.array([[0, 4], [2, 2]], integer)
    np.testing.assert_array_equal(evaluate("embedding", [ids, table], {}), table[ids])
    got = evaluate("embedding", [ids[:0], table], {})
    assert got.shape == (0, 2, 3)
    for wrong in (5, -1, 2**31 - 1):
        with pytest.raises(ir.Error, match=rf"no row {wrong}: its table has the rows 0\.\.4"):
            evaluate("embedding", [np.array([1, wrong], integer), table], {})
    with pytest.raises(ir.Error, match="its table is empty"):
        evaluate("embedding", [np.array([0], integer), table[:0]], {})
    assert evaluate("embedding", [ids[:0], table[:0]], {}).shape == (0, 2, 3)


@pytest.mark.parametrize("axes", [(), (0,), (2,), (0, 2), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [True, False])
def test_reductions(axes: tuple[int, ...], keepdims: bool) -> None:
    x = randn(4, 3, 5)
    for name, expected in [("sum", np.sum), ("mean", np.mean), ("max", np.max)]:
        got = evaluate(name, [x], {"axes": axes, "keepdims": keepdims})
        np.testing.assert_allclose(got, expected(x, axis=axes, keepdims=keepdims), rtol=1e-12)
        assert got.shape == infer(name, [TensorType("f64", x.shape)],
                                  {"axes": axes, "keepdims": keepdims}).shape


def test_reductions_over_nothing() -> None:
    x, attrs = np.zeros((3, 0), np.float32), {"axes": (1,), "keepdims": False}
    assert evaluate("sum", [x], attrs).tolist() == [0, 0, 0]
    assert np.isnan(evaluate("mean", [x], attrs)).all()
    assert evaluate("mean", [x], attrs).dtype == np.float32
    with pytest.raises(ir.Error, match="no max"):
        evaluate("max", [x], attrs)
    with pytest.raises(ir.Error, match="no max"):
        infer("max", [f32(B, 0)], attrs)
    for name in ("sum", "mean", "max"):
        assert evaluate(name, [x], {"axes": (0,), "keepdims": False}).shape == (0,)


def test_max_of_a_row_with_nan() -> None:
    x = np.float32([[1, math.nan, 3], [1, -math.inf, 3], [-math.inf] * 3])
    got = evaluate("max", [x], {"axes": (1,), "keepdims": True})
    np.testing.assert_array_equal(got, np.float32([[math.nan], [3], [-math.inf]]))


def test_shapes() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(evaluate("reshape", [x], {"shape": (4, 6)}), x.reshape(4, 6))
    np.testing.assert_array_equal(evaluate("transpose", [x], {"axes": (2, 0, 1)}),
                                  np.moveaxis(x, 2, 0))
    np.testing.assert_array_equal(evaluate("slice", [x], {"axis": 1, "start": 1, "stop": 3}),
                                  x[:, 1:3])
    assert evaluate("slice", [x], {"axis": 2, "start": 4, "stop": 4}).shape == (2, 3, 0)
    np.testing.assert_array_equal(evaluate("concat", [x, x[:, :1], x], {"axis": 1}),
                                  np.concatenate([x, x[:, :1], x], 1))
    assert evaluate("reshape", [np.zeros((0, 3))], {"shape": (5, 0)}).shape == (5, 0)
    assert evaluate("transpose", [np.zeros(())], {"axes": ()}).shape == ()
    for start, stop in [(2, 1), (0, 5), (-1, 2)]:
        with pytest.raises(ir.Error, match=rf"{start}:{stop} is outside axis 2"):
            evaluate("slice", [x], {"axis": 2, "start": start, "stop": stop})
    with pytest.raises(ir.Error, match="a size is negative"):
        evaluate("reshape", [x], {"shape": (-4, -6)})


def test_inference_leaves_identity_and_dropout_alone() -> None:
    x = np.array([1, math.nan])
    assert evaluate("identity", [x], {}) is x
    assert evaluate("dropout", [x], {"p": 0.5}) is x
    assert infer("identity", [TensorType("i64", (B,))], {}) == TensorType("i64", (B,))


# -- types -----------------------------------------------------------------------------------------

TYPES: list[tuple[str, list[Any], dict[str, Any], TensorType]] = [
    ("add", [f32(B, 4), f32(4)], {}, f32(B, 4)),
    ("add", [f32(B, 1), f32(1, T)], {}, f32(B, T)),
    ("add", [f32(), 0.5], {}, f32()),
    ("add", [0.5, f32(1, B)], {}, f32(1, B)),
    ("add", [f32(0), f32(1)], {}, f32(0)),
    ("linear", [f32(B, T, 4), f32(3, 4), f32(3)], {}, f32(B, T, 3)),
    ("linear", [f32(4), f32(3, 4)], {}, f32(3)),
    ("matmul", [f32(B, 1, 2, T), f32(5, T, 3)], {}, f32(B, 5, 2, 3)),
    ("embedding", [TensorType("i32", (B, T)), f32(10, 4)], {}, f32(B, T, 4)),
    ("softmax", [f32(B, T)], {"axis": 1, "scale": 2.0}, f32(B, T)),
    ("layer_norm", [f32(B, 3, 4), f32(3, 4)], {"axes": (1, 2), "eps": 0.1}, f32(B, 3, 4)),
    ("sum", [f32(B, T, 4)], {"axes": (1,), "keepdims": True}, f32(B, 1, 4)),
    ("max", [f32(B, T, 4)], {"axes": (2, 0), "keepdims": False}, f32(T)),
    ("reshape", [f32(B, T, 4)], {"shape": (4 * B, T)}, f32(4 * B, T)),
    ("reshape", [f32(0, 3)], {"shape": (0,)}, f32(0)),
    ("transpose", [f32(B, T, 4)], {"axes": (2, 0, 1)}, f32(4, B, T)),
    ("slice", [f32(B, T)], {"axis": 1, "start": 1, "stop": T}, f32(B, T - 1)),
    ("slice", [f32(B, 8)], {"axis": 1, "start": 2, "stop": 2}, f32(B, 0)),
    ("concat", [f32(B, 2), f32(B, T), f32(B, 2)], {"axis": 1}, f32(B, T + 4)),
    ("concat", [f32(B)], {"axis": 0}, f32(B)),
    ("dropout", [f32(B)], {"p": 0.5}, f32(B)),
    ("linear", [f32(B, 4), f32(3, 4), f32(B, 3)], {"then": ("relu", "add")}, f32(B, 3)),
    ("exp", [f32(B), 2.0, f32()], {"then": ("mul", "add")}, f32(B)),
]


@pytest.mark.parametrize("name, operands, attrs, expected", TYPES)
def test_inferred_types(name: str, operands: list[Any], attrs: dict[str, Any],
                        expected: TensorType) -> None:
    assert infer(name, operands, attrs) == expected


def test_an_inferred_shape_is_the_shape_of_the_value() -> None:
    sizes = {"B": 3, "T": 2}
    for name, types, attrs, expected in TYPES:
        operands = [t if isinstance(t, float) else
                    np.zeros(ir.ops.at_sizes(t.shape, sizes), ir.types.DTYPES[t.dtype])
                    for t in types]
        attrs = {key: ir.ops.at_sizes(value, sizes) for key, value in attrs.items()}
        assert evaluate(name, operands, attrs).shape == ir.ops.at_sizes(expected.shape, sizes), name


INTS = TensorType("i64", (B, 4))
REFUSED: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("add", [f32(B, 4), f32(B, 3)], {}, "cannot broadcast f32[B, 4] with f32[B, 3]: 4 is not 3"),
    ("add", [f32(B), f32(T)], {}, "cannot broadcast f32[B] with f32[T]: B is not T"),
    ("add", [f32(B), f32(4)], {}, "B is not 4"),
    ("add", [f32(0), f32(2)], {}, "0 is not 2"),
    ("add", [f32(B), TensorType("f64", (B,))], {}, "numbers of one type, got f32[B], f64[B]"),
    ("add", [1.0, 2.0], {}, "numbers of one type, got plain numbers only"),
    ("exp", [INTS], {}, "floats of one type, got i64[B, 4]"),
    ("exp", [f32(B), f32(B)], {}, "exp takes 1 operand, not 2"),
    ("add", [f32(B)], {}, "add takes 2 operands, not 1"),
    ("linear", [f32(B)], {}, "linear takes 2 to 3 operands, not 1"),
    ("concat", [], {"axis": 0}, "concat takes at least 1 operands, not 0"),
    ("sine", [f32(B)], {}, "there is no op named sine"),
    ("exp", [f32(B)], {"axis": 1}, "exp has no attributes, not axis"),
    ("softmax", [f32(B)], {"axis": 0}, "softmax has the attributes axis, scale, not axis"),
    ("softmax", [f32(B)], {}, "softmax has the attributes axis, scale, and none were given"),
    ("softmax", [f32(B)], {"axis": 1, "scale": 1.0}, "f32[B] has no axis 1"),
    ("softmax", [f32(B)], {"axis": -1, "scale": 1.0}, "f32[B] has no axis -1"),
    ("softmax", [f32(B)], {"axis": True, "scale": 1.0}, "axis of softmax is an integer, not True"),
    ("softmax", [f32(B)], {"axis": 0, "scale": B}, "scale of softmax is a number, not B"),
    ("softmax", [f32(B)], {"axis": 0, "scale": 10**400}, "scale of softmax is a number"),
    ("softmax", [f32(B)], {"axis": B, "scale": 1.0}, "not known before run time"),
    ("softmax", [0.5], {"axis": 0, "scale": 1.0}, "softmax takes arrays"),
    ("sum", [f32(B)], {"axes": 0, "keepdims": True}, "axes of sum is a list of integers, not 0"),
    ("sum", [f32(B)], {"axes": (0,), "keepdims": 1}, "keepdims of sum is true or false, not 1"),
    ("sum", [f32(B)], {"axes": (0, 0), "keepdims": True}, "[0, 0] name one axis twice"),
    ("sum", [f32(B)], {"axes": (1,), "keepdims": True}, "f32[B] has no axis 1"),
    ("mean", [INTS], {"axes": (1,), "keepdims": True}, "expected floats of one type, got i64"),
    ("linear", [f32(B, 4), f32(3, 5)], {}, "linear expects 5 features, its input has 4"),
    ("linear", [f32(), f32(3, 5)], {}, "linear needs x[..., K] and a weight [N, K], got f32[] and"),
    ("linear", [f32(4), f32(4)], {}, "linear needs x[..., K]"),
    ("linear", [f32(B, 4), f32(3, 4), f32(4)], {}, "linear has 3 outputs, its bias is f32[4]"),
    ("matmul", [f32(4), f32(4)], {}, "cannot multiply matrices f32[4] @ f32[4]"),
    ("matmul", [f32(B, 4), f32(3, 4)], {}, "cannot multiply matrices"),
    ("matmul", [f32(2, B, 4), f32(3, 4, 5)], {}, "cannot broadcast f32[2] with f32[3]"),
    ("embedding", [f32(B), f32(10, 4)], {}, "embedding needs i32 or i64 ids"),
    ("embedding", [INTS, f32(10)], {}, "a table [V, D]"),
    ("embedding", [INTS, TensorType("i64", (10, 2))], {}, "expected floats"),
    ("layer_norm", [f32(B, 4), f32(3)], {"axes": (1,), "eps": 0.1},
     "layer_norm over [4] cannot use a weight or bias f32[3]"),
    ("layer_norm", [f32(B, 4)], {"axes": (0,), "eps": 0.1}, "over the last axes in order"),
    ("layer_norm", [f32(B, 4)], {"axes": (1, 0), "eps": 0.1}, "over the last axes in order"),
    ("layer_norm", [f32(B, 4)], {"axes": (), "eps": 0.1}, "over the last axes in order"),
    ("reshape", [f32(B, 4)], {"shape": (4, 4)}, "reshape f32[B, 4] to [4, 4]: 4*B is not 16"),
    ("reshape", [f32(B, 4)], {"shape": (-1,)}, "-1 is no size of an axis"),
    ("reshape", [f32(B, 4)], {"shape": (0.5,)}, "shape of reshape is a list of sizes"),
    ("transpose", [f32(B, 4)], {"axes": (0,)}, "[0] is not an order of the axes of f32[B, 4]"),
    ("transpose", [f32(B, 4)], {"axes": (0, 0)}, "is not an order"),
    ("slice", [f32(B, 4)], {"axis": 1, "start": 2, "stop": 5}, "2:5 is outside axis 1 of f32[B"),
    ("slice", [f32(B, 4)], {"axis": 1, "start": -1, "stop": 3}, "-1:3 is outside"),
    ("slice", [f32(B, 4)], {"axis": 1, "start": 3, "stop": 2}, "3:2 is outside"),
    ("slice", [f32(B, 4)], {"axis": 0, "start": 0, "stop": B + 1}, "0:B + 1 is outside"),
    ("slice", [f32(B, 4)], {"axis": 2, "start": 0, "stop": 1}, "has no axis 2"),
    ("concat", [f32(B, 2), f32(B, 2, 1)], {"axis": 1}, "cannot concatenate f32[B, 2] and"),
    ("concat", [f32(B, 2), f32(T, 2)], {"axis": 1}, "cannot concatenate"),
    ("concat", [f32(B, 2), TensorType("f64", (B, 2))], {"axis": 1}, "cannot concatenate"),
    ("dropout", [f32(B)], {"p": 1.5}, "dropout needs a probability, got p = 1.5"),
    ("exp", [f32(B)], {"then": ("softmax",)}, "softmax is not elementwise"),
    ("exp", [f32(B)], {"then": ("sine",)}, "there is no op named sine"),
    ("exp", [f32(B)], {"then": ("add",)}, "exp takes 1 operand, not 0"),
    ("exp", [f32(B)], {"then": ("add", "add")}, "takes more operands than 1"),
    ("exp", [f32(B), f32(T, B)], {"then": ("add",)}, "`then add` would change f32[B] into f32[T"),
    ("exp", [f32(B)], {"then": "relu"}, "then of exp is a list of ops, not 'relu'"),
    ("exp", [f32(B)], {"then": (1,)}, "then of exp is a list of ops"),
    ("reshape", [f32(B)], {"shape": (B,), "then": ("exp",)}, "reshape only moves data"),
]


@pytest.mark.parametrize("name, operands, attrs, message", REFUSED)
def test_refused(name: str, operands: list[Any], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(ir.Error) as error:
        infer(name, operands, attrs)
    assert message in str(error.value)


# -- attributes and then ---------------------------------------------------------------------------

def test_attributes_have_one_form() -> None:
    given_attrs = {"scale": np.float32(2), "axis": np.int64(1), "then": []}
    assert repr(normal("softmax", given_attrs)) == repr({"axis": 1, "scale": 2.0})
    attrs = normal("reshape", {"shape": [np.int32(2), B]})
    assert repr(attrs) == "{'shape': (2, B)}"
    assert normal("sum", {"axes": [0], "keepdims": np.bool_(True)})["keepdims"] is True


def test_then_takes_its_operands_from_the_tail() -> None:
    head, own, steps = split_then("linear", ["x", "w", "r", "s"],
                                  {"then": ("add", "relu", "mul")})
    assert head == ["x", "w"] and own == {}
    assert steps == [("add", ["r"]), ("relu", []), ("mul", ["s"])]


def test_then_is_the_composition_of_its_steps() -> None:
    x, w, r = randn(3, 4), randn(5, 4, seed=1), randn(3, 5, seed=2)
    got = evaluate("linear", [x, w, r, 0.5], {"then": ("gelu", "add", "mul")})
    by_hand = evaluate("linear", [x, w], {})
    for name, others in [("gelu", []), ("add", [r]), ("mul", [0.5])]:
        by_hand = evaluate(name, [by_hand, *others], {})
    np.testing.assert_array_equal(got, by_hand)


def test_what_is_symbolic() -> None:
    assert is_symbolic(B) and is_symbolic((1, (2, B))) and not is_symbolic((1, "B"))
