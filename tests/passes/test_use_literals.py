"""UseLiterals: numbers for arrays of them, and where the array has to stay."""
from dataclasses import replace

import numpy as np
import pytest

import ir
from nncompile.passes import UseLiterals
from tests.passes.common import becomes, nodes, stays


def with_constant(array: np.ndarray, call: str, type_: str = "f32[B, 8]") -> ir.Graph:
    """The graph of this call, with the array as $a."""
    g = ir.parse(f"""
        graph g(%x: f32[B, 8]) -> {type_} {{
          $a: {ir.types.type_of(array)}
          %0: {type_} = {call}
          return %0
        }}""")
    return replace(g, data={g.params[0]: array})


NUMBERS = {
    "a scalar": (np.float32(0.5).reshape(()), "mul(%x, 0.5)"),
    "one element": (np.full((1, 1), 3, np.float32), "mul(%x, 3.0)"),
    "many": (np.full((8,), -0.0, np.float32), "mul(%x, -0.0)"),
    "as stored": (np.full((1,), 0.1, np.float32), "mul(%x, 0.10000000149011612)"),
    "infinite": (np.full((8,), np.inf, np.float32), "mul(%x, inf)"),
}


@pytest.mark.parametrize("array, after", NUMBERS.values(), ids=NUMBERS)
def test_a_constant_that_is_one_number(array, after):
    result = UseLiterals()(with_constant(array, "mul(%x, $a)"))
    assert nodes(result) == [f"%0: f32[B, 8] = {after}", "return %0"]
    assert not result.params


KEPT = {
    "two numbers": np.array([1, 2] * 4, np.float32),
    "two zeros": np.array([0.0, -0.0] * 4, np.float32),
    "what makes the shape": np.ones((3, 1, 8), np.float32),
}


@pytest.mark.parametrize("array", KEPT.values(), ids=KEPT)
def test_other_arrays_stay(array):
    type_ = "f32[3, B, 8]" if array.ndim == 3 else "f32[B, 8]"
    before = with_constant(array, "mul(%x, $a)", type_)
    assert nodes(UseLiterals()(before)) == nodes(before)


def test_the_exponent_of_a_power_stays():
    before = with_constant(np.full((8,), 2, np.float32), "pow(%x, $a)")
    assert nodes(UseLiterals()(before)) == nodes(before)


def test_a_large_whole_number_stays():
    text = """graph g(%n: i64[B]) -> i64[B] {
      $a: i64[1]
      %0: i64[B] = add(%n, $a)
      return %0
    }"""
    for number, kept in ((2**53, False), (2**53 + 1, True), (2**63 - 1, True), (-(2**63), True)):
        g = ir.parse(text)
        g = replace(g, data={g.params[0]: np.array([number], np.int64)})
        assert bool(UseLiterals()(g).params) == kept


def test_a_parameter_stays():
    stays(UseLiterals(), """
        %0: f32[B, 8] = mul(%x, @one)
        return %0""")


def test_what_is_full_of_a_number_and_what_is_expanded():
    becomes(UseLiterals(), """
        %0: f32[B, 8] = full(2.0) {shape = [B, 8], dtype = f32}
        %1: f32[B, 8] = expand(@b) {shape = [B, 8]}
        %2: f32[B, 8] = mul(%0, %x)
        %3: f32[B, 8] = add(%2, %1)
        %4: bool[B, 8] = lt(%3, %0)
        %5: f32[B, 8] = where(%4, %0, %3)
        return %5""", """
        %0: f32[B, 8] = mul(2.0, %x)
        %1: f32[B, 8] = add(%0, @b)
        %2: bool[B, 8] = lt(%1, 2.0)
        %3: f32[B, 8] = where(%2, 2.0, %1)
        return %3""")


def test_what_gives_the_result_its_shape_stays():
    stays(UseLiterals(), """
        %0: f32[B, 8] = full(2.0) {shape = [B, 8], dtype = f32}
        %1: f32[B, 8] = mul(%0, @b)
        %2: f32[B, 8] = expand(@b) {shape = [B, 8]}
        %3: f32[B, 8] = exp(%2)
        %4: f32[B, 8] = exp(%0)
        return %1, %3, %4""")


def test_a_number_with_a_step_behind_it_is_another_number():
    stays(UseLiterals(), """
        %0: f32[B, 8] = full(2.0) {shape = [B, 8], dtype = f32} then neg
        %1: f32[B, 8] = mul(%0, %x)
        return %1""")
