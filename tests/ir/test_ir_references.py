"""What the ops that are not elementwise compute: by hand, by NumPy and SciPy, and by torch."""
import math
from typing import Any

import numpy as np
import pytest

import ir
from ir.ops import evaluate, infer
from ir.types import DTYPES, FLOATS, NUMBERS, TensorType, symbol

special = pytest.importorskip("scipy.special")
B = symbol("B")
inf, nan = math.inf, math.nan


def randn(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def some(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Small whole numbers of any type, with many that are equal."""
    return np.random.default_rng(seed).integers(0, 5, shape).astype(DTYPES[dtype])


# -- rows and products -----------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
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
    x = np.float32([[-inf] * 2, [inf, 0], [-inf, 0], [3e38, -3e38], [nan, 0]])
    got = evaluate("softmax", [x], {"axis": 1, "scale": 1.0})
    none = [nan] * 2
    np.testing.assert_array_equal(got, [none, none, [0, 1], [1, 0], none])
    for shape in [(0, 3), (3, 0), (0, 0)]:
        got = evaluate("softmax", [np.zeros(shape)], {"axis": 1, "scale": 1.0})
        assert got.shape == shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
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
    assert np.isnan(evaluate("layer_norm", [np.float32([[1, inf, 2]])], attrs)).all()


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


@pytest.mark.parametrize("axis", [0, 1])
def test_log_softmax(axis: int) -> None:
    x = randn(4, 5) * 100
    np.testing.assert_allclose(evaluate("log_softmax", [x], {"axis": axis}),
                               special.log_softmax(x, axis), rtol=1e-13)
    edges = np.float32([[-inf] * 2, [inf, 0], [-inf, 0], [3e38, -3e38], [nan, 0]])
    none = [nan] * 2
    np.testing.assert_array_equal(evaluate("log_softmax", [edges], {"axis": 1}),
                                  np.float32([none, none, [-inf, 0], [0, -inf], none]))
    assert evaluate("log_softmax", [edges[:, :0]], {"axis": 1}).shape == (5, 0)


def test_rms_norm() -> None:
    x, w = randn(5, 3, 4), randn(3, 4, seed=1)
    flat = x.reshape(5, 12)
    expected = (flat / np.sqrt((flat**2).mean(1, keepdims=True) + 0.5)).reshape(x.shape)
    attrs = {"axes": (1, 2), "eps": 0.5}
    np.testing.assert_allclose(evaluate("rms_norm", [x], attrs), expected, rtol=1e-12)
    np.testing.assert_allclose(evaluate("rms_norm", [x, w], attrs), expected * w, rtol=1e-12)
    assert evaluate("rms_norm", [x[:0]], attrs).shape == (0, 3, 4)
    assert evaluate("rms_norm", [np.zeros((3, 0))], {"axes": (1,), "eps": 0.5}).shape == (3, 0)


@pytest.mark.parametrize("op", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("offset, scale", [(1e6, 1), (0, 1e20), (0, 1e-20), (0, 1)])
def test_norms_of_large_small_and_far_off_rows(op: str, offset: float, scale: float) -> None:
    x = (offset + scale * randn(4, 1000)).astype(np.float32)
    attrs = {"axes": (1,), "eps": 1e-5}
    got = evaluate(op, [x], attrs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, evaluate(op, [x.astype(np.float64)], attrs), 2e-7, 2e-7)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_cumsum(dtype: str) -> None:
    x = some(dtype, 3, 0, 4), some(dtype, 3, 100)
    for a, axis in [(x[0], 1), (x[0], 2), (x[1], 0), (x[1], 1)]:
        got = evaluate("cumsum", [a], {"axis": axis})
        assert got.dtype == a.dtype and got.shape == a.shape
        np.testing.assert_array_equal(got, np.cumsum(a, axis).astype(a.dtype))
    if dtype in FLOATS:
        got = evaluate("cumsum", [np.array([1, inf, 2, -inf, 3], DTYPES[dtype])], {"axis": 0})
        np.testing.assert_array_equal(got, [1, inf, inf, nan, nan])


# -- reductions ------------------------------------------------------------------------------------

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
        infer("max", [TensorType("f32", (B, 0))], attrs)
    for name in ("sum", "mean", "max"):
        assert evaluate(name, [x], {"axes": (0,), "keepdims": False}).shape == (0,)


def test_max_of_a_row_with_nan() -> None:
    x = np.float32([[1, nan, 3], [1, -inf, 3], [-inf] * 3])
    got = evaluate("max", [x], {"axes": (1,), "keepdims": True})
    np.testing.assert_array_equal(got, np.float32([[nan], [3], [-inf]]))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [True, False])
def test_reductions_of_any_number(dtype: str, axes: tuple[int, ...], keepdims: bool) -> None:
    x, attrs = some(dtype, 4, 3, 5), {"axes": axes, "keepdims": keepdims}
    for name, expected in [("sum", np.sum), ("prod", np.prod), ("min", np.min), ("max", np.max)]:
        got = evaluate(name, [x], attrs)
        assert got.dtype == x.dtype              # and so integers wrap around
        np.testing.assert_array_equal(got, expected(x, axes, keepdims=keepdims).astype(x.dtype))
    for name, expected in [("any", np.any), ("all", np.all)]:
        got = evaluate(name, [x > 3], attrs)
        assert got.dtype == bool
        np.testing.assert_array_equal(got, expected(x > 3, axes, keepdims=keepdims))


def test_more_reductions_over_nothing_and_nan() -> None:
    x, attrs = np.zeros((2, 0), np.float32), {"axes": (1,), "keepdims": False}
    assert evaluate("prod", [x], attrs).tolist() == [1, 1]
    assert evaluate("any", [x > 0], attrs).tolist() == [False, False]
    assert evaluate("all", [x > 0], attrs).tolist() == [True, True]
    with pytest.raises(ir.Error, match="there is no min"):
        evaluate("min", [x], attrs)
    for name in ("argmax", "argmin"):
        with pytest.raises(ir.Error, match=f"there is no {name}"):
            evaluate(name, [x], {"axis": 1, "keepdims": False})
        assert evaluate(name, [x], {"axis": 0, "keepdims": False}).shape == (0,)
    x = np.float32([[1, nan, 3], [inf, -inf, 3]])
    np.testing.assert_array_equal(evaluate("min", [x], attrs), [nan, -inf])
    np.testing.assert_array_equal(evaluate("prod", [x], attrs), [nan, -inf])


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("axis", [0, 1])
def test_argmax_and_argmin(dtype: str, axis: int) -> None:
    x = some(dtype, 6, 7)
    for name, function, extreme in [("argmax", np.argmax, np.max), ("argmin", np.argmin, np.min)]:
        got = evaluate(name, [x], {"axis": axis, "keepdims": True})
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, function(x, axis, keepdims=True))
        np.testing.assert_array_equal(np.take_along_axis(x, got, axis),
                                      extreme(x, axis, keepdims=True))
    row = np.float32([1, nan, 3, nan, -inf, inf])
    for name in ("argmax", "argmin"):
        assert evaluate(name, [row], {"axis": 0, "keepdims": False}).tolist() == 1


# -- by index --------------------------------------------------------------------------------------

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


BAGS = {"mode": "sum", "include_last": False, "padding": -1}


def test_embedding_bag() -> None:
    w, ids = randn(6, 3), np.array([1, 2, 4, 5, 4, 3, 2, 9 % 6])
    offsets = np.array([0, 4, 4, 7])
    parts = [ids[:4], ids[4:4], ids[4:7], ids[7:]]
    for mode, function in [("sum", np.sum), ("mean", np.mean), ("max", np.max)]:
        expected = [function(w[part], axis=0) if len(part) else [0] * 3 for part in parts]
        got = evaluate("embedding_bag", [ids, offsets, w], {**BAGS, "mode": mode})
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        got = evaluate("embedding_bag", [ids, offsets, w],
                       {**BAGS, "mode": mode, "include_last": True})
        np.testing.assert_allclose(got, expected[:-1], rtol=1e-12)
        kept = [part[part != 4] for part in parts]
        expected = [function(w[part], axis=0) if len(part) else [0] * 3 for part in kept]
        got = evaluate("embedding_bag", [ids, offsets, w], {**BAGS, "mode": mode, "padding": 4})
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    weights = randn(8, seed=1)
    got = evaluate("embedding_bag", [ids, offsets, w, weights], BAGS)
    expected = [weights[a:b] @ w[ids[a:b]] for a, b in [(0, 4), (4, 4), (4, 7), (7, 8)]]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_embedding_bag_of_nothing() -> None:
    w, none = randn(6, 3).astype(np.float32), np.zeros(0, np.int32)
    assert evaluate("embedding_bag", [none, none, w], BAGS).shape == (0, 3)
    assert evaluate("embedding_bag", [none, np.zeros(2, int), w], BAGS).tolist() == [[0] * 3] * 2
    assert evaluate("embedding_bag", [none, np.zeros(1, int), w],
                    {**BAGS, "include_last": True}).shape == (0, 3)
    assert evaluate("embedding_bag", [np.array([1]), none, w], BAGS).shape == (0, 3)
    all_padding = evaluate("embedding_bag", [np.array([2, 2]), np.array([0]), w],
                           {**BAGS, "mode": "max", "padding": 2})
    assert all_padding.tolist() == [[0] * 3]


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3, 2], [0, 5], [0, -1], [-1]])
def test_offsets_that_are_refused(offsets: list[int]) -> None:
    operands = [np.array([0, 1, 2, 3]), np.array(offsets), randn(6, 3)]
    with pytest.raises(ir.Error, match="offsets that begin with 0 and rise up to 4, the number"):
        evaluate("embedding_bag", operands, BAGS)
    with pytest.raises(ir.Error, match="embedding_bag has no row 6: its table has the rows 0"):
        evaluate("embedding_bag", [np.array([0, 6]), np.array([0]), randn(6, 3)], BAGS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("integer", [np.int32, np.int64])
def test_take(dtype: str, integer: Any) -> None:
    x = some(dtype, 3, 4, 5)
    for axis, size in enumerate(x.shape):
        for shape in [(), (0,), (7,), (2, 3)]:
            ids = np.random.default_rng(1).integers(0, size, shape).astype(integer)
            got = evaluate("take", [x, ids], {"axis": axis})
            assert got.dtype == x.dtype
            np.testing.assert_array_equal(got, x[(slice(None),) * axis + (ids,)])
    assert evaluate("take", [x[:0], np.zeros(0, integer)], {"axis": 0}).shape == (0, 4, 5)
    assert evaluate("take", [x[0, 0], np.array(2, integer)], {"axis": 0}).shape == ()


@pytest.mark.parametrize("op", ["take", "take_along"])
def test_what_is_not_there_cannot_be_taken(op: str) -> None:
    x = randn(2, 4)
    for wrong in (4, -1, 2**40):
        ids = np.array([[0, 1, 2], [3, wrong, 3]])
        with pytest.raises(ir.Error, match=rf"{op} has no element {wrong}: axis 1 has the ele.*3$"):
            evaluate(op, [x, ids], {"axis": 1})
    with pytest.raises(ir.Error, match="axis 1 is empty"):
        evaluate(op, [x[:, :0], np.zeros((2, 1), int)], {"axis": 1})


def test_scatter_add_adds_in_order_and_refuses_wrong_ids() -> None:
    x = np.array([1e8, 1.0, -1e8, 1.0], np.float32)
    found = evaluate("scatter_add", [np.zeros(4, int), x], {"axis": 0, "size": 2})
    assert found.tolist() == [1.0, 0.0]          # 1e8 + 1 is 1e8
    for wrong in (2, -1):
        with pytest.raises(ir.Error, match=rf"scatter_add has no element {wrong}: axis 0 has the"):
            evaluate("scatter_add", [np.full(4, wrong), x], {"axis": 0, "size": 2})


def test_put_rows_takes_the_first_of_equal_ids_and_leaves_out_others() -> None:
    ids = np.array([3, -1, 1, 3, 4, 1, -2**63])
    assert evaluate("first_equal", [ids], {}).tolist() == [0, 1, 2, 0, 4, 2, 6]
    rows, x = randn(7, 2), randn(4, 2)
    found = evaluate("put_rows", [ids, rows, x], {})
    np.testing.assert_array_equal(found, [x[0], rows[2], x[2], rows[0]])
    for nothing in (ids[:0], np.full(7, 4)):
        found = evaluate("put_rows", [nothing, rows[:len(nothing)], x], {})
        np.testing.assert_array_equal(found, x)
        assert found is not x
    assert evaluate("put_rows", [ids, rows, x[:0]], {}).shape == (0, 2)


def test_take_along() -> None:
    x = randn(3, 4, 5)
    for axis in range(3):
        for shape in [(3, 4, 5), (2, 4, 1), (3, 0, 5), (1, 1, 1)]:
            shape = (*shape[:axis], 6, *shape[axis + 1:])
            ids = np.random.default_rng(2).integers(0, x.shape[axis], shape)
            got = evaluate("take_along", [x, ids], {"axis": axis})
            part = x[tuple(slice(n) if i != axis else slice(None) for i, n in enumerate(shape))]
            np.testing.assert_array_equal(got, np.take_along_axis(part, ids, axis))
    with pytest.raises(ir.Error, match="reach outside of"):
        evaluate("take_along", [x, np.zeros((4, 2, 5), int)], {"axis": 1})


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_topk_ids(dtype: str, largest: bool) -> None:
    """Of the pairs (number, place) the first: Python's sort keeps the order of equal ones."""
    x = some(dtype, 9)
    order = sorted(range(9), key=lambda i: float(x[i]) * (-1 if largest else 1))
    for k in range(10):
        attrs = {"axis": 0, "k": k, "largest": largest, "sorted": True}
        got = evaluate("topk_ids", [x], attrs)
        assert got.dtype == np.int64 and got.tolist() == order[:k]
        np.testing.assert_array_equal(evaluate("topk_ids", [np.stack([x, x], 1)], attrs),
                                      np.stack([got, got], 1))


def test_topk_ids_of_nan_and_too_many() -> None:
    attrs = {"axis": 0, "k": 5, "largest": True, "sorted": True}
    row = np.float32([1, nan, -inf, nan, inf])
    assert evaluate("topk_ids", [row], attrs).tolist() == [1, 3, 4, 0, 2]
    assert evaluate("topk_ids", [row], {**attrs, "largest": False}).tolist() == [2, 0, 4, 1, 3]
    for k in (6, -1):
        with pytest.raises(ir.Error, match=f"there are no {k} elements along axis 0"):
            evaluate("topk_ids", [row], {**attrs, "k": k})


# -- shapes ----------------------------------------------------------------------------------------

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
    x = np.array([1, nan])
    assert evaluate("identity", [x], {}) is x
    assert evaluate("dropout", [x], {"p": 0.5}) is x
    assert infer("identity", [TensorType("i64", (B,))], {}) == TensorType("i64", (B,))


# -- more shapes -----------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, 1, 5, 8])
def test_slices_with_steps(size: int) -> None:
    """Every slice that is legal, in Python's own words: its range of places."""
    x = np.arange(size)
    for step in (-3, -2, -1, 1, 2, 3):
        for start in range(-1, size + 1):
            for stop in range(-1, size + 1):
                attrs = {"axis": 0, "start": start, "stop": stop, "step": step}
                places = range(start, stop, step)
                if not (0 <= start <= stop if step > 0 else stop <= start < size):
                    with pytest.raises(ir.Error, match="is outside axis 0"):
                        evaluate("slice", [x], attrs)
                    continue
                got = evaluate("slice", [x], attrs)
                assert got.tolist() == [*places]
                assert np.shares_memory(got, x) == (len(got) > 0)
                assert infer("slice", [TensorType("i64", (size,))], attrs).shape == got.shape


def test_expand() -> None:
    x = np.arange(3.0).reshape(3, 1)
    got = evaluate("expand", [x], {"shape": (2, 3, 4)})
    np.testing.assert_array_equal(got, np.tile(x, (2, 1, 4)))
    assert np.shares_memory(got, x)
    assert evaluate("expand", [x], {"shape": (3, 0)}).shape == (3, 0)
    with pytest.raises(ir.Error, match="a size is negative"):
        evaluate("expand", [x], {"shape": (3, -1)})


@pytest.mark.parametrize("dtype", DTYPES)
def test_pad(dtype: str) -> None:
    x = some(dtype, 2, 3)
    attrs = {"low": (1, 0), "high": (0, 2), "value": 1.0}
    got = evaluate("pad", [x], attrs)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, np.pad(x, [(1, 0), (0, 2)], constant_values=1))
    assert evaluate("pad", [x[:0, :0]], attrs).tolist() == [[1, 1]]
    assert evaluate("pad", [x[0, 0]], {"low": (), "high": (), "value": 0.0}) == x[0, 0]
    with pytest.raises(ir.Error, match="a size is negative"):
        evaluate("pad", [x], {**attrs, "low": (1, -1)})


@pytest.mark.parametrize("dtype", DTYPES)
def test_made_of_nothing(dtype: str) -> None:
    number = 1.0 if dtype == "bool" else 7.0
    for shape in [(), (0,), (3, 0, 2), (2, 4)]:
        got = evaluate("full", [number], {"shape": shape, "dtype": dtype})
        assert got.dtype == DTYPES[dtype] and got.shape == shape and (got == number).all()
        for axis in range(len(shape) if dtype in NUMBERS else 0):
            got = evaluate("iota", [], {"shape": shape, "axis": axis, "dtype": dtype})
            assert got.dtype == DTYPES[dtype]
            np.testing.assert_array_equal(got, np.indices(shape)[axis])
    for op, operands, more in [("full", [1.0], {}), ("iota", [], {"axis": 0})]:
        with pytest.raises(ir.Error, match="a size is negative"):
            evaluate(op, operands, {"shape": (-1,), "dtype": "i64", **more})
    size = evaluate("size", [], {"dim": -3})
    assert size == -3 and size.dtype == np.int64 and size.shape == ()
    assert np.isnan(evaluate("full", [nan], {"shape": (2,), "dtype": "f32"})).all()
    assert np.signbit(evaluate("full", [-0.0], {"shape": (2,), "dtype": "f64"})).all()


@pytest.mark.parametrize("dtype", ["i8", "bool"])
def test_moving_data_of_any_type(dtype: str) -> None:
    x = some(dtype, 2, 3)
    for op, operands, attrs in [
            ("reshape", [x], {"shape": (6,)}), ("transpose", [x], {"axes": (1, 0)}),
            ("concat", [x, x], {"axis": 0}), ("identity", [x], {})]:
        assert evaluate(op, operands, attrs).dtype == DTYPES[dtype]


# -- torch -----------------------------------------------------------------------------------------

def edges(dtype: str, *shape: int) -> np.ndarray:
    """Numbers of which some are NaN, infinite, zeros of either sign, or equal."""
    random = np.random.default_rng(3)
    x = random.choice([nan, inf, -inf, 0.0, -0.0, 1.0, 1.0, 2.5, -3.0, 0.3, 1e-40], shape)
    return x.astype(DTYPES[dtype])


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_as_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == "f32" else {"rtol": 1e-12, "atol": 1e-13}
    for x in (edges(dtype, 40, 5), some(dtype, 6, 5), randn(4, 5).astype(DTYPES[dtype])):
        t, w, b = torch.from_numpy(x), randn(5).astype(x.dtype), randn(5, seed=1).astype(x.dtype)
        parameters = [torch.from_numpy(a) for a in (w, b)]
        norm = {"axes": (1,), "eps": 1e-5}
        functional = torch.nn.functional
        for got, expected in [
                (evaluate("softmax", [x], {"axis": 1, "scale": 1.0}), t.softmax(1)),
                (evaluate("log_softmax", [x], {"axis": 0}), t.log_softmax(0)),
                (evaluate("log_softmax", [x], {"axis": 1}), t.log_softmax(1)),
                (evaluate("cumsum", [x], {"axis": 1}), t.cumsum(1)),
                (evaluate("layer_norm", [x, w, b], norm),
                 functional.layer_norm(t, (5,), *parameters, 1e-5)),
                (evaluate("rms_norm", [x, w], norm),
                 functional.rms_norm(t, (5,), parameters[0], 1e-5))]:
            assert got.dtype == expected.numpy().dtype
            np.testing.assert_allclose(got, expected.numpy(), **tolerance)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_reductions_as_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    for x in (some(dtype, 6, 5), edges(dtype, 40, 5) if dtype in FLOATS else some(dtype, 1, 1)):
        t, attrs = torch.from_numpy(x), {"axes": (1,), "keepdims": False}
        pairs = [(evaluate("max", [x], attrs), t.amax(1)), (evaluate("min", [x], attrs), t.amin(1)),
                 (evaluate("sum", [x], attrs), t.sum(1, dtype=t.dtype)),
                 (evaluate("prod", [x], attrs), t.prod(1, dtype=t.dtype))]
        attrs = {"axis": 1, "keepdims": True}
        if dtype in FLOATS:                      # the place of the first is torch's promise there
            pairs += [(evaluate("argmax", [x], attrs), t.argmax(1, True)),
                      (evaluate("argmin", [x], attrs), t.argmin(1, True))]
        for got, expected in pairs:
            assert got.dtype == expected.numpy().dtype
            np.testing.assert_allclose(got, expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_topk_as_torch(dtype: str, largest: bool) -> None:
    """The values: which of equal ones comes first torch does not say."""
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    x = edges(dtype, 20, 7) if dtype in FLOATS else some(dtype, 20, 7)
    ids = evaluate("topk_ids", [x], {"axis": 1, "k": 4, "largest": largest, "sorted": True})
    expected = torch.from_numpy(x).topk(4, 1, largest).values.numpy()
    np.testing.assert_array_equal(np.take_along_axis(x, ids, 1), expected)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("include_last", [True, False])
@pytest.mark.parametrize("padding", [-1, 2])
def test_embedding_bag_as_torch(mode: str, include_last: bool, padding: int) -> None:
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    w = randn(6, 5).astype(np.float32)
    ids = np.random.default_rng(0).integers(0, 6, 20)
    attrs = {"mode": mode, "include_last": include_last, "padding": padding}
    for offsets in [[0, 5, 5, 12, 20], [0, 0, 20], [0, 1, 2, 20]]:
        arrays = [ids, w, np.array(offsets)]
        operands = [ids, np.array(offsets), w]
        weights = None
        if mode == "sum":
            weights = randn(20, seed=4).astype(np.float32)
            operands.append(weights)
        expected = torch.nn.functional.embedding_bag(
            *map(torch.from_numpy, arrays), mode=mode, include_last_offset=include_last,
            padding_idx=None if padding < 0 else padding,
            per_sample_weights=None if weights is None else torch.from_numpy(weights))
        got = evaluate("embedding_bag", operands, attrs)
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_indices_as_torch() -> None:
    torch = pytest.importorskip("torch", reason="the oracle is not installed")
    x, random = randn(4, 5, 6), np.random.default_rng(0)
    t = torch.from_numpy(x)
    for axis, size in enumerate(x.shape):
        ids = random.integers(0, size, (2, 3, 4))
        np.testing.assert_array_equal(evaluate("take_along", [x, ids], {"axis": axis}),
                                      t.gather(axis, torch.from_numpy(ids)).numpy())
        ids = random.integers(0, size, 9)
        np.testing.assert_array_equal(evaluate("take", [x, ids], {"axis": axis}),
                                      t.index_select(axis, torch.from_numpy(ids)).numpy())
