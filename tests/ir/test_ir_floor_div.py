"""Sizes that contain a quotient rounded down: what they are, as text, and in compiled code."""
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ir
import nncompile
from ir.types import Floored, evaluate_dim, extent, floor_div, names_in, same, symbol, symbol_name

B, T = symbol("B"), symbol("T")


@st.composite
def quotients(draw):
    """A size with quotients in it, and the same as a function of B and T."""
    size, of = draw(st.sampled_from([(T, lambda b, t: t), (B, lambda b, t: b),
                                     (B * T, lambda b, t: b * t)]))
    for _ in range(draw(st.integers(1, 4))):
        factor, constant, divisor = (draw(st.integers(*r)) for r in ((1, 6), (-9, 9), (1, 5)))
        size, of = (floor_div(size * factor + constant, divisor),
                    lambda b, t, of=of, f=factor, c=constant, d=divisor: (of(b, t) * f + c) // d)
    return size, of


@given(quotients(), st.integers(0, 40), st.integers(0, 40))
def test_a_quotient_is_what_python_says(pair, b, t):
    size, of = pair
    assert evaluate_dim(size, {"B": b, "T": t}) == of(b, t)
    if isinstance(size, ir.DimExpr):
        low, high = extent(size)
        assert low <= of(b, t) <= high


@given(quotients())
def test_it_is_read_back_as_it_is_written(pair):
    size, _ = pair
    read = ir.parse_type(f"f32[{size}]") if extent(size)[0] >= 0 or isinstance(
        size, ir.DimExpr) else None
    if read is not None:
        assert same(read.shape[0], size)
    assert same(pickle.loads(pickle.dumps(size)), size)


@pytest.mark.parametrize("size, text", [
    (floor_div(T, 2), "FloorDiv(T, 2)"), (floor_div(2 * T, 2), "T"),
    (floor_div(2 * T + 3, 2), "T + 1"), (floor_div(T - 1, 2), "FloorDiv(T + 1, 2) - 1"),
    (floor_div(floor_div(T, 2), 3), "FloorDiv(T, 6)"), (floor_div(2 * T + 1, 4), "FloorDiv(T, 2)"),
    (floor_div(T, 2) * 2, "2*FloorDiv(T, 2)"), (floor_div(7, 2), "3"), (floor_div(-7, 2), "-4"),
])
def test_a_quotient_has_one_form(size, text):
    assert str(size) == text


def test_what_a_quotient_is_not():
    assert symbol_name(floor_div(T, 2)) is None
    assert names_in(floor_div(T * B + 1, 2)) == {"B", "T"}
    assert isinstance(floor_div(T, 2).terms[0][0][0], Floored)
    with pytest.raises(ir.Error, match="divided by 0"):
        floor_div(T, 0)
    long = T
    with pytest.raises(ir.Error, match="too complicated"):
        for i in range(400):
            long = floor_div(long * 3 + i % 2 + 1, 2)


@pytest.mark.parametrize("text", [
    "FloorDiv(T, 0)", "FloorDiv(T)", "FloorDiv(3, 2)", "FloorDiv(T + 2, 2)", "FloorDiv(T, B)",
    "FloorDiv(-T, 2)", "FloorDiv(T, 2", "FloorDiv(" * 200,
])
def test_texts_that_are_no_quotients(text):
    with pytest.raises(ir.Error):
        ir.parse_type(f"f32[{text}]")


def test_a_text_of_another_form_is_read_as_the_one_form():
    for text, form in (("FloorDiv(2*T, 2)", "T"),
                       ("FloorDiv(FloorDiv(T, 2), 2)", "FloorDiv(T, 4)")):
        assert str(ir.parse_type(f"f32[{text}]")) == f"f32[{form}]"


@pytest.mark.parametrize("name", ["B", "T"])
def test_halves_are_computed_by_compiled_code(name):
    builder = ir.Builder()
    x = builder.declare("input", "x", ir.parse_type("f32[B, T, 8]"))
    w = builder.declare("parameter", "w", ir.parse_type("f32[8, 8]"), np.eye(8, dtype="f4") * 2)
    axis, size = (0, B) if name == "B" else (1, T)
    half = floor_div(size, 2)
    front = builder.add("slice", builder.add("matmul", x, w), axis=axis, start=0, stop=half, step=1)
    back = builder.add("slice", x, axis=axis, start=half, stop=size, step=1)
    built = builder.build("halves", [builder.add("exp", front), back])
    ir.verify(built)
    assert str(ir.parse(str(built))) == str(built)
    fast = nncompile.compile(built, check=True)
    for b, t in ((0, 3), (1, 1), (3, 5), (8, 4), (65, 7)):
        given_ = np.random.default_rng(0).standard_normal((b, t, 8)).astype("float32")
        for result, expected in zip(fast(given_), ir.interpret(built, [given_]), strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-5)
