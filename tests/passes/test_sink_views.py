"""SinkViews: elementwise work before a view, and where it has to stay behind it."""
import pytest

from nncompile.passes import SinkViews
from tests.passes.common import becomes, becomes_in_double, stays

BEFORE = """
    %0: f32[B, 8] = linear(%x, @w)
    %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
    %2: f32[B, 2, 4] = relu(%1)
    %3: f32[B, 2, 4] = mul(0.5, %2)
    return %3"""


def test_before_a_reshape():
    after = """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = relu(%0)
        %2: f32[B, 8] = mul(0.5, %1)
        %3: f32[B, 2, 4] = reshape(%2) {shape = [B, 2, 4]}
        return %3"""
    becomes(SinkViews(), BEFORE, after)
    becomes_in_double(SinkViews(), BEFORE, after)


def test_before_a_transpose_of_a_product():
    becomes(SinkViews(), """
        %0: f32[B, 4, 4] = matmul(%q, @wide4)
        %1: f32[B, 4, 4] = transpose(%0) {axes = [0, 2, 1]}
        %2: f32[B, 4, 4] = add(%1, @one)
        return %2""".replace("@wide4", "@t8").replace("matmul(%q, @t8)", "matmul(%q, %qt)").replace(
        "        %0: f32[B, 4, 4]", """        %qt: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %0: f32[B, 4, 4]""", 1), """
        %qt: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %0: f32[B, 4, 4] = matmul(%q, %qt)
        %1: f32[B, 4, 4] = add(%0, @one)
        %2: f32[B, 4, 4] = transpose(%1) {axes = [0, 2, 1]}
        return %2""")


def test_beside_the_same_view_and_beside_itself():
    becomes(SinkViews(), """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[8, B] = transpose(%0) {axes = [1, 0]}
        %2: f32[8, B] = transpose(%r) {axes = [1, 0]}
        %3: f32[8, B] = sub(%2, %1)
        return %3, %2""", """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[8, B] = transpose(%r) {axes = [1, 0]}
        %2: f32[B, 8] = sub(%r, %0)
        %3: f32[8, B] = transpose(%2) {axes = [1, 0]}
        return %3, %1""")


def test_beside_the_same_view_of_symbolic_sizes():
    becomes(SinkViews(), """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[2*B, 4] = reshape(%0) {shape = [2*B, 4]}
        %2: f32[2*B, 4] = reshape(%r) {shape = [2*B, 4]}
        %3: f32[2*B, 4] = add(%1, %2)
        return %3""", """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[B, 8] = add(%0, %r)
        %2: f32[2*B, 4] = reshape(%1) {shape = [2*B, 4]}
        return %2""")


def test_beside_a_vector_along_the_last_axis():
    becomes(SinkViews(), """
        %0: f32[B, 4, 8] = linear(%q, @w)
        %1: f32[4*B, 8] = reshape(%0) {shape = [4*B, 8]}
        %2: f32[4*B, 8] = add(@b, %1)
        return %2""", """
        %0: f32[B, 4, 8] = linear(%q, @w)
        %1: f32[B, 4, 8] = add(@b, %0)
        %2: f32[4*B, 8] = reshape(%1) {shape = [4*B, 8]}
        return %2""")


STAY = {
    "the view is returned": BEFORE.replace("return %3", "return %3, %1"),
    "what is viewed is returned": BEFORE.replace("return %3", "return %3, %0"),
    "an input": """
        %0: f32[8, B] = transpose(%x) {axes = [1, 0]}
        %1: f32[8, B] = relu(%0)
        return %1""",
    "what cannot be fused with": """
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
        %1: f32[8, B] = transpose(%0) {axes = [1, 0]}
        %2: f32[8, B] = relu(%1)
        return %2""",
    "a slice": """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[B, 4] = slice(%0) {axis = 1, start = 0, stop = 4}
        %2: f32[B, 4] = relu(%1)
        return %2""",
    "a vector along another axis": """
        %0: f32[8, 8] = tanh(%m)
        %1: f32[8, 8] = transpose(%0) {axes = [1, 0]}
        %2: f32[8, 8] = add(%1, %k)
        return %2""",
    "another array": """
        %0: f32[8, 8] = tanh(%m)
        %1: f32[8, 8] = transpose(%0) {axes = [1, 0]}
        %2: f32[8, 8] = add(%1, %m)
        return %2""",
    "a shape that grows": """
        %0: f32[B, 1] = tanh(%s)
        %1: f32[1, B, 1] = reshape(%0) {shape = [1, B, 1]}
        %2: f32[1, B, 8] = mul(%1, %k)
        return %2""",
    "another type": """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[8, B] = transpose(%0) {axes = [1, 0]}
        %2: bool[8, B] = lt(%1, 0.0)
        return %2""",
    "a step behind it": """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[8, B] = transpose(%0) {axes = [1, 0]}
        %2: f32[8, B] = relu(%1) then neg
        return %2""",
}


@pytest.mark.parametrize("body", STAY.values(), ids=STAY)
def test_behind_the_view_it_stays(body):
    stays(SinkViews(), body)
