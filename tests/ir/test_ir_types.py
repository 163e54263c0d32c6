"""Sizes as polynomials, against integers; types; sizes read off arrays."""
import operator
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ir
from ir import types
from ir.types import (
    Dim,
    DimExpr,
    TensorType,
    bind_sizes,
    divide,
    evaluate_dim,
    names_in,
    product,
    same,
    symbol,
    symbol_name,
    type_of,
)

B, T, N = map(symbol, "BTN")

dims = st.recursive(
    st.integers(-4, 4) | st.sampled_from([B, T, N]),
    lambda inner: st.builds(lambda f, a, b: f(a, b),
                            st.sampled_from([operator.add, operator.sub, operator.mul]),
                            inner, inner),
    max_leaves=6)
points = st.fixed_dictionaries({name: st.integers(0, 50) for name in "BTN"})
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@given(dims, dims, points)
def test_arithmetic_is_that_of_integers(a: Dim, b: Dim, at: dict[str, int]) -> None:
    x, y = evaluate_dim(a, at), evaluate_dim(b, at)
    assert evaluate_dim(a + b, at) == x + y
    assert evaluate_dim(a - b, at) == x - y
    assert evaluate_dim(a * b, at) == x * y
    assert evaluate_dim(-a, at) == -x
    assert evaluate_dim(product([a, b, a]), at) == x * y * x


@given(dims, dims)
def test_one_polynomial_has_one_form(a: Dim, b: Dim) -> None:
    square = a * a + 2 * a * b + b * b
    assert same((a + b) * (a + b), square)
    assert str((a + b) * (a + b)) == str(square)
    assert hash((a + b) * (a + b)) == hash(square)
    assert a - a == 0 and type(a - a) is int


@given(dims, dims, points)
def test_an_answered_comparison_is_right_for_every_size(a: Dim, b: Dim, at: dict[str, int]) -> None:
    for compare in COMPARISONS:
        try:
            answer = compare(a, b)
        except ir.Error:
            continue
        assert answer == compare(evaluate_dim(a, at), evaluate_dim(b, at))


@given(dims, dims)
def test_exact_division(a: Dim, b: Dim) -> None:
    if same(b, 0):
        assert divide(a, b) is None
    else:
        assert same(divide(a * b, b), a)
        quotient = divide(a, b)
        assert quotient is None or same(quotient * b, a)


def test_division_without_a_quotient() -> None:
    assert divide(B * T, T + 1) is None
    assert divide(3 * B, 2) is None
    assert divide(B, B * T) is None
    assert divide(5, 0) is None and divide(0, 0) is None
    assert divide(0, B) == 0
    assert B * T * 64 // (T * 64) == B and (B * 6) % 3 == 0
    with pytest.raises(ir.Error, match=r"64\*B is not divisible by 7 for every size"):
        B * 64 // 7
    with pytest.raises(ir.Error, match="2 is not divisible by B for every size"):
        2 // B
    with pytest.raises(ir.Error, match="B is not divisible by 2"):
        B % 2


def test_text_of_a_size() -> None:
    assert str(2 * B * T + 1 - B) == "2*B*T - B + 1"
    assert str(-B - 1) == "-B - 1"
    assert str(T * B - 3) == "B*T - 3"
    assert repr((B, 4)) == "(B, 4)"


@pytest.mark.parametrize("question", [
    lambda: B == 1, lambda: B > T, lambda: B != T, lambda: B > 0, lambda: B < 8, lambda: bool(B),
    lambda: (B, 4) == (1, 4), lambda: range(B), lambda: int(B), lambda: [1, 2][B],
])
def test_an_undecidable_question_is_refused(question: Callable[[], object]) -> None:
    with pytest.raises(ir.Error, match="not known before run time"):
        question()


def test_decidable_questions() -> None:
    assert B + 1 > B and T - 1 < T and B != B + 1 and (B == -1) is False
    assert B >= 0 and not B < 0 and bool(B + 1)
    assert B <= B and not B < B and B >= B
    assert B != "B" and (B == 1.5) is False


def test_only_integers_are_sizes() -> None:
    assert same(np.int64(2) * B, 2 * B) and same(B + np.int32(1), B + 1)
    for wrong in (lambda: B * 0.5, lambda: B < 1.5, lambda: B / 2, lambda: "a" + B):
        with pytest.raises(TypeError):
            wrong()


@pytest.mark.parametrize("name", ["b", "", "1", "B*T", "True", "None", "Ä", "B\n", "B T", "_B"])
def test_a_name_that_cannot_name_a_size(name: str) -> None:
    with pytest.raises(ir.Error, match="cannot name a size"):
        symbol(name)


def test_names_of_sizes() -> None:
    assert symbol_name(symbol("Batch_2")) == "Batch_2"
    assert symbol_name(2 * B) is None and symbol_name(B * T) is None and symbol_name(4) is None
    assert symbol_name(B + 1) is None and symbol_name(B * B) is None
    assert names_in(2 * B * T + 1) == {"B", "T"} and names_in(3) == set()
    with pytest.raises(ir.Error, match="the size T is not a size of any input"):
        evaluate_dim(B * T, {"B": 2})


def test_sizes_cannot_explode() -> None:
    size: Dim = 1
    with pytest.raises(ir.Error, match="too complicated"):
        for i in range(40):
            size = size * (symbol(f"A{i}") + 1)
    size = B
    with pytest.raises(ir.Error, match="too complicated"):
        for _ in range(20):
            size = size * size
    with pytest.raises(ir.Error, match="too complicated"):
        B * types.MAX_COEFFICIENT * 2


def test_same_is_about_every_size() -> None:
    assert same((B, 4), [B, 4]) and not same((B, 4), (1, 4)) and not same(B, T)
    assert not same((4,), (4, 4)) and same([], ()) and not same(B, 1) and same(3, 3)
    assert same(TensorType("f32", (B,)), TensorType("f32", (B,)))


def test_types_are_equal_by_their_sizes() -> None:
    a, b = TensorType("f32", (B, 4)), TensorType("f32", (B, 4))
    assert a == b and hash(a) == hash(b) and str(a) == "f32[B, 4]" and a.ndim == 2
    assert a != TensorType("f32", (1, 4)) and a != TensorType("f64", (B, 4))
    assert a != TensorType("f32", (T, 4)) and a != "f32[B, 4]"
    assert str(TensorType("i64", ())) == "i64[]"
    assert pickle.loads(pickle.dumps(a)) == a


def test_illegal_types() -> None:
    for shape in [(-1,), (2**64,), (1,) * 65]:
        with pytest.raises(ir.Error, match=r"no size of an axis|at most 64 axes"):
            TensorType("f32", shape)
    with pytest.raises(ir.Error, match="there is no element type 'float'"):
        TensorType("float", ())
    with pytest.raises(TypeError):
        TensorType("f32", (1.5,))  # type: ignore[arg-type]
    shape = TensorType("f32", (np.int64(3), True)).shape
    assert shape == (3, 1) and all(type(d) is int for d in shape)


def test_types_of_arrays() -> None:
    for name, dtype in types.DTYPES.items():
        assert type_of(np.zeros((0, 3), dtype)) == TensorType(name, (0, 3))
    for wrong in (np.float16, np.uint16, ">f4", np.complex64, object):
        with pytest.raises(ir.Error, match=r"not supported; float32, .*int8, .*bool are"):
            type_of(np.zeros(2, wrong))


def test_sizes_are_read_off_the_arrays() -> None:
    given_types = [ir.parse_type("f32[B, 4]"), ir.parse_type("f32[B, T]")]
    assert bind_sizes(given_types, [np.ones((1, 4)), np.ones((1, 0))]) == {"B": 1, "T": 0}
    with pytest.raises(ir.Error) as error:
        bind_sizes(given_types, [np.ones((3, 4)), np.ones((1, 2))])
    assert str(error.value) == "expected f32[B, T] with B = 3, got an array of shape (1, 2)"
    with pytest.raises(ir.Error) as error:
        bind_sizes(given_types, [np.ones((3, 5)), np.ones((3, 2))], ["%x", "%y"])
    assert str(error.value) == "%x: expected f32[B, 4], got an array of shape (3, 5)"
    with pytest.raises(ir.Error, match=r"expected f32\[B, 4\], got an array of shape \(3,\)"):
        bind_sizes(given_types, [np.ones(3), np.ones((3, 2))])


def test_a_computed_size_is_checked_whatever_the_order() -> None:
    given_types = [ir.parse_type("f32[2*B]"), ir.parse_type("f32[B]")]
    assert bind_sizes(given_types, [np.ones(6), np.ones(3)]) == {"B": 3}
    with pytest.raises(ir.Error, match=r"with 2\*B = 6"):
        bind_sizes(given_types, [np.ones(5), np.ones(3)])


def test_copies_are_the_same_size() -> None:
    assert same(pickle.loads(pickle.dumps(2 * B + 1)), 2 * B + 1)
    assert isinstance(B + 0, DimExpr)
