"""FuseElementwise: chains of elementwise ops, and where they end."""
import numpy as np
import pytest

import ir
from nncompile.passes import FuseElementwise
from tests.passes.common import becomes, graph, same_bits, stays


def test_a_chain():
    becomes(FuseElementwise(), """
        %0: f32[B, 8] = sub(0.5, %x)
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 8] = add(%r, %1)
        %3: f32[B, 8] = div(%2, %s)
        return %3""", """
        %0: f32[B, 8] = sub(0.5, %x) then tanh, add(%r), div(%s)
        return %0""")


def test_further_operands_may_broadcast_in_any_way():
    becomes(FuseElementwise(), """
        %0: f32[B, 4, 8] = exp(%q)
        %1: f32[B, 4, 8] = mul(%0, @t)
        %2: f32[B, 4, 8] = add(@one, %1)
        return %2""", """
        %0: f32[B, 4, 8] = exp(%q) then mul(@t), add(@one)
        return %0""")


def test_the_first_step_may_broadcast():
    becomes(FuseElementwise(), """
        %0: f32[B, 8] = add(%s, @b)
        %1: f32[B, 8] = relu(%0)
        return %1""", """
        %0: f32[B, 8] = add(%s, @b) then relu
        return %0""")


def test_a_maximum_takes_the_value_on_the_left_or_beside_a_number_that_is_not_zero():
    becomes(FuseElementwise(), """
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = maximum(%0, %r)
        %2: f32[B, 8] = minimum(6.0, %1)
        %3: f32[B, 8] = maximum(%2, 0.0)
        return %3""", """
        %0: f32[B, 8] = neg(%x) then maximum(%r), minimum(6.0), maximum(0.0)
        return %0""")


def test_of_two_chains_the_first_goes_on():
    becomes(FuseElementwise(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = tanh(%r)
        %2: f32[B, 8] = sub(%0, %1)
        return %2""", """
        %0: f32[B, 8] = tanh(%r)
        %1: f32[B, 8] = exp(%x) then sub(%0)
        return %1""")


def test_arithmetic_of_parameters_fuses_too():
    becomes(FuseElementwise(), """
        %0: f32[8, 8] = exp(@w)
        %1: f32[8, 8] = mul(%0, @v)
        %2: f32[8, 8] = add(%1, %m)
        return %2""", """
        %0: f32[8, 8] = exp(@w) then mul(@v)
        %1: f32[8, 8] = add(%0, %m)
        return %1""")                            # but no call repeats it


TWINS = {
    "two users": """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 1] = sum(%0) {axes = [1], keepdims = true}
        return %1, %2""",
    "returned in the middle": """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = tanh(%0)
        return %1, %0""",
    "a broadcast that grows it": """
        %0: f32[B, 1] = exp(%s)
        %1: f32[B, 8] = add(%0, %r)
        return %1""",
    "a broadcast that adds an axis": """
        %0: f32[8, 8] = exp(%m)
        %1: f32[3, 8, 8] = add(%0, @qw)
        return %1""",
    "a comparison": """
        %0: f32[B, 8] = exp(%x)
        %1: bool[B, 8] = lt(%0, 0.5)
        return %1""",
    "a test": """
        %0: f32[B, 8] = exp(%x)
        %1: bool[B, 8] = isnan(%0)
        return %1""",
    "a cast, to its own type too": """
        %0: f32[B, 8] = exp(%x)
        %1: i64[B, 8] = cast(%0) {dtype = i64}
        %2: f32[B, 8] = exp(%r)
        %3: f32[B, 8] = cast(%2) {dtype = f32}
        return %1, %3""",
    "a choice by the value": """
        %0: bool[B, 8] = lt(%x, 0.5)
        %1: f32[B, 8] = where(%0, %x, 2.0)
        return %1""",
    "a choice of the value": """
        %0: f32[B, 8] = exp(%x)
        %1: bool[B, 8] = lt(%r, 0.5)
        %2: f32[B, 8] = where(%1, %0, %r)
        return %2""",
    "the value on the wrong side of a div": """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = div(1.0, %0)
        return %1""",
    "the value on the right of a maximum, which may choose between two zeros": """
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = maximum(%r, %0)
        return %1""",
    "a zero on the left of a maximum": """
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = maximum(0.0, %0)
        return %1""",
    "a zero on the left of a minimum": """
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = minimum(-0.0, %0)
        return %1""",
    "a head that is a product": """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = relu(%0)
        return %1""",
    "a head with an attribute": """
        %0: f32[B, 8] = dropout(%x) {p = 0.5}
        %1: f32[B, 8] = relu(%0)
        return %1""",
    "a reduction between": """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 1] = sum(%0) {axes = [1], keepdims = true}
        %2: f32[B, 1] = log(%1)
        return %2""",
}


@pytest.mark.parametrize("body", TWINS.values(), ids=TWINS)
def test_stays(body):
    stays(FuseElementwise(), body)


def test_the_chain_has_a_longest():
    chain = [f"%{i}: f32[B, 8] = tanh(%{i - 1})" for i in range(1, 7)]
    before = "\n".join(["%0: f32[B, 8] = exp(%x)", *chain, "return %6"])
    becomes(FuseElementwise(steps=2), before, """
        %0: f32[B, 8] = exp(%x) then tanh, tanh
        %1: f32[B, 8] = tanh(%0) then tanh, tanh
        %2: f32[B, 8] = tanh(%1)
        return %2""")


def test_a_long_chain_in_linear_time_of_walks():
    chain = [f"%{i}: f32[B, 8] = tanh(%{i - 1})" for i in range(1, 300)]
    becomes(FuseElementwise(), "\n".join(["%0: f32[B, 8] = exp(%x)", *chain, "return %299"]),
            "\n".join(["%0: f32[B, 8] = exp(%x) then " + ", ".join(["tanh"] * 16),
                       *(f"%{i}: f32[B, 8] = tanh(%{i - 1}) then " + ", ".join(["tanh"] * 16)
                         for i in range(1, 17)),
                       "%17: f32[B, 8] = tanh(%16) then " + ", ".join(["tanh"] * 10),
                       "return %17"]))


def test_a_value_that_is_subtracted():
    becomes(FuseElementwise(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = sub(1.0, %0)
        %2: f32[B, 8] = sub(%s, %1)
        return %2""", """
        %0: f32[B, 8] = exp(%x) then neg, add(1.0), neg, add(%s)
        return %0""")
    becomes(FuseElementwise(steps=1), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = sub(1.0, %0)
        return %1""", """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = sub(1.0, %0)
        return %1""")


def test_a_subtraction_keeps_every_bit():
    numbers = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, 1e-45, 3e38], np.float32)
    before = graph("""
        %0: f32[B, 8] = abs(%x)
        %1: f32[B, 8] = sub(%r, %0)
        return %1""")
    after = FuseElementwise()(before)
    assert len(after.nodes) == 1
    for shift in range(8):
        arrays = [{"x": numbers[None], "r": np.roll(numbers, shift)[None]}.get(
            v.name, np.zeros([1 if str(d) == "B" else d for d in v.type.shape], np.float32))
            for v in before.inputs]
        [expected], [got] = ir.interpret(before, arrays), ir.interpret(after, arrays)
        assert same_bits(expected, got)


def test_truth_and_whole_numbers():
    becomes(FuseElementwise(), """
        %0: bool[B, 8] = lt(%x, 0.5)
        %1: bool[B, 8] = logical_not(%0)
        %2: i64[B, 8] = cast(%1) {dtype = i64}
        %3: i64[B, 8] = add(%2, 2.0)
        %4: i64[B, 8] = remainder(%3, 3.0)
        return %4""", """
        %0: bool[B, 8] = lt(%x, 0.5) then logical_not
        %1: i64[B, 8] = cast(%0) {dtype = i64}
        %2: i64[B, 8] = add(%1, 2.0) then remainder(3.0)
        return %2""")
