"""RemoveIdentity: what it drops, what looks alike and must stay, and the bits."""
import numpy as np
import pytest

import ir
from nncompile.passes import RemoveIdentity
from tests.passes.common import becomes, graph, nodes, same_bits, stays

NO_OPS = {
    "identity": "identity(%x)",
    "dropout": "dropout(%x) {p = 0.5}",
    "times one": "mul(%x, 1.0)",
    "one times": "mul(1.0, %x)",
    "over one": "div(%x, 1.0)",
    "minus zero": "sub(%x, 0.0)",
    "plus minus zero": "add(%x, -0.0)",
    "minus zero plus": "add(-0.0, %x)",
    "reshape to the same": "reshape(%x) {shape = [B, 8]}",
    "transpose that keeps the order": "transpose(%x) {axes = [0, 1]}",
    "all of an axis": "slice(%x) {axis = 1, start = 0, stop = 8}",
    "all of a symbolic axis": "slice(%x) {axis = 0, start = 0, stop = B}",
    "one thing concatenated": "concat(%x) {axis = 0}",
    "expand to the same": "expand(%x) {shape = [B, 8]}",
    "nothing around it": "pad(%x) {low = [0, 0], high = [0, 0], value = 1.0}",
    "its own type": "cast(%x) {dtype = f32}",
    "to the first power": "pow(%x, 1.0)",
    "at least minus infinity": "maximum(%x, -inf)",
    "at most infinity": "minimum(inf, %x)",
    "the larger of it and itself": "maximum(%x, %x)",
    "the smaller of it and itself": "minimum(%x, %x)",
}


@pytest.mark.parametrize("call", NO_OPS.values(), ids=NO_OPS)
def test_a_no_op_is_dropped(call):
    result = becomes(RemoveIdentity(), f"""
        %0: f32[B, 8] = {call}
        %1: f32[B, 8] = exp(%0)
        return %1, %0""", """
        %0: f32[B, 8] = exp(%x)
        return %0, %x""")
    assert result.outputs[1] is result.inputs[0]


TWINS = {
    "plus zero makes 0.0 of -0.0": ("f32[B, 8]", "add(%x, 0.0)"),
    "zero plus": ("f32[B, 8]", "add(0.0, %x)"),
    "minus minus zero": ("f32[B, 8]", "sub(%x, -0.0)"),
    "zero minus": ("f32[B, 8]", "sub(0.0, %x)"),
    "one over": ("f32[B, 8]", "div(1.0, %x)"),
    "times minus one": ("f32[B, 8]", "mul(%x, -1.0)"),
    "times zero": ("f32[B, 8]", "mul(%x, 0.0)"),
    "transpose of equal sizes": ("f32[8, 8]", "transpose(%m) {axes = [1, 0]}"),
    "a part of an axis": ("f32[B, 7]", "slice(%x) {axis = 1, start = 1, stop = 8}"),
    "an axis backwards": ("f32[B, 8]",
                          "slice(%x) {axis = 1, start = 7, stop = -1, step = -1}"),
    "reshape to another rank": ("f32[B, 1, 8]", "reshape(%x) {shape = [B, 1, 8]}"),
    "at most minus infinity": ("f32[B, 8]", "minimum(%x, -inf)"),
    "at least infinity": ("f32[B, 8]", "maximum(%x, inf)"),
    "at most a large number": ("f32[B, 8]", "minimum(%x, 3e38)"),
    "one to a power": ("f32[B, 8]", "pow(1.0, %x)"),
    "to the power of nothing": ("f32[B, 8]", "pow(%x, 0.0)"),
    "rounded down over one": ("f32[B, 8]", "floor_div(%x, 1.0)"),
    "another type": ("f64[B, 8]", "cast(%x) {dtype = f64}"),
    "something in front": ("f32[B + 1, 8]",
                           "pad(%x) {low = [1, 0], high = [0, 0], value = 1.0}"),
    "an expand that repeats": ("f32[B, 8]", "expand(%s) {shape = [B, 8]}"),
    "two things concatenated": ("f32[2*B, 8]", "concat(%x, %x) {axis = 0}"),
    "a step behind the no-op": ("f32[B, 8]", "mul(%x, 1.0) then exp"),
}


@pytest.mark.parametrize("type_, call", TWINS.values(), ids=TWINS)
def test_its_twin_stays(type_, call):
    before = graph(f"%0: {type_} = {call}\nreturn %0")
    assert nodes(RemoveIdentity()(before)) == nodes(before)


def test_a_sum_with_ones_is_no_product_with_one():
    stays(RemoveIdentity(), """
        %0: f32[B, 8] = mul(%x, @one)
        return %0""")


@pytest.mark.parametrize("call", [c for c in NO_OPS.values() if "(%x" in c or "%x)" in c])
def test_every_bit_is_kept(call):
    before = graph(f"%0: f32[B, 8] = {call}\nreturn %0")
    special = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38]], np.float32)
    inputs = [special if v.name == "x" else np.zeros([1 if str(d) == "B" else d for d in
              v.type.shape], np.float32) for v in before.inputs]
    [expected], [got] = ir.interpret(before, inputs), ir.interpret(RemoveIdentity()(before), inputs)
    assert same_bits(expected, got) and same_bits(got, special)


def test_two_negations():
    becomes(RemoveIdentity(), """
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = neg(%0)
        %2: f32[B, 8] = neg(%1)
        return %1, %2""", """
        %0: f32[B, 8] = neg(%x)
        return %x, %0""")


def test_two_negations_with_a_step_between_stay():
    stays(RemoveIdentity(), """
        %0: f32[B, 8] = neg(%x) then exp
        %1: f32[B, 8] = neg(%0)
        return %1""")


def test_no_ops_of_parameters_and_in_a_row():
    becomes(RemoveIdentity(), """
        %0: f32[8] = identity(@b)
        %1: f32[8] = mul(%0, 1.0)
        %2: f32[8] = sub(%1, 0.0)
        %3: f32[B, 8] = add(%x, %2)
        %4: f32[B, 8] = dropout(%3) {p = 0.1}
        return %4""", """
        %0: f32[B, 8] = add(%x, @b)
        return %0""")


def test_whole_numbers_have_no_minus_zero():
    becomes(RemoveIdentity(), """
        %0: i64[B, 8] = cast(%x) {dtype = i64}
        %1: i64[B, 8] = add(%0, 0.0)
        %2: i64[B, 8] = sub(%1, -0.0)
        %3: i64[B, 8] = floor_div(%2, 1.0)
        %4: i64[B, 8] = mul(1.0, %3)
        %5: i64[B, 8] = abs(%4)
        return %5""", """
        %0: i64[B, 8] = cast(%x) {dtype = i64}
        %1: i64[B, 8] = abs(%0)
        return %1""")


@pytest.mark.parametrize("call", [
    "logical_and(%0, 1.0)", "logical_or(0.0, %0)", "logical_xor(%0, 0.0)", "eq(%0, 1.0)",
    "ne(%0, 0.0)", "logical_and(%0, %0)", "logical_or(%0, %0)", "cast(%0) {dtype = bool}"])
def test_what_decides_nothing(call):
    becomes(RemoveIdentity(), f"""
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: bool[B, 8] = {call}
        %2: bool[B, 8] = logical_not(%1)
        return %2""", """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: bool[B, 8] = logical_not(%0)
        return %1""")


@pytest.mark.parametrize("call", [
    "logical_and(%0, 0.0)", "logical_or(%0, 1.0)", "logical_xor(%0, 1.0)", "eq(%0, 0.0)",
    "ne(%0, 1.0)", "eq(%0, %0)", "logical_xor(%0, %0)"])
def test_what_decides_something_stays(call):
    stays(RemoveIdentity(), f"""
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: bool[B, 8] = {call}
        return %1""")


def test_a_choice_of_one_thing():
    becomes(RemoveIdentity(), """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: f32[B, 8] = where(%0, %r, %r)
        %2: f32[B, 8] = exp(%1)
        return %2""", """
        %0: f32[B, 8] = exp(%r)
        return %0""")
    stays(RemoveIdentity(), """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: f32[B, 8] = where(%0, %s, %s)
        return %1""")                            # as large as its condition


@pytest.mark.parametrize("op", ["abs", "relu", "floor", "ceil", "round", "trunc", "sign"])
def test_once_is_enough(op):
    becomes(RemoveIdentity(), f"""
        %0: f32[B, 8] = {op}(%x)
        %1: f32[B, 8] = {op}(%0)
        %2: f32[B, 8] = neg(%1)
        return %2, %0""", f"""
        %0: f32[B, 8] = {op}(%x)
        %1: f32[B, 8] = neg(%0)
        return %1, %0""")


def test_twice_is_not_once():
    stays(RemoveIdentity(), """
        %0: f32[B, 8] = tanh(%x)
        %1: f32[B, 8] = tanh(%0)
        return %1""")


def test_not_not():
    becomes(RemoveIdentity(), """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: bool[B, 8] = logical_not(%0)
        %2: bool[B, 8] = logical_not(%1)
        %3: f32[B, 8] = where(%2, %x, %r)
        return %3""", """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: f32[B, 8] = where(%0, %x, %r)
        return %1""")
