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


def test_a_reshape_of_a_reshape():
    becomes(RemoveIdentity(), """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
        %2: f32[B, 4, 2] = reshape(%1) {shape = [B, 4, 2]}
        return %2""", """
        %0: f32[B, 4, 2] = reshape(%x) {shape = [B, 4, 2]}
        return %0""")


def test_a_reshape_there_and_back_is_nothing():
    becomes(RemoveIdentity(), """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 8] = reshape(%0) {shape = [B, 8]}
        %2: f32[B, 8] = exp(%1)
        return %2""", """
        %0: f32[B, 8] = exp(%x)
        return %0""")


def test_a_view_of_a_view_with_other_users():
    becomes(RemoveIdentity(), """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
        return %0, %1""", """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 2, 4] = reshape(%x) {shape = [B, 2, 4]}
        return %0, %1""")


def test_transposes_are_composed():
    # axis i of %1 is axis [2, 0, 1][[1, 0, 2][i]] of %q
    becomes(RemoveIdentity(), """
        %0: f32[8, B, 4] = transpose(%q) {axes = [2, 0, 1]}
        %1: f32[B, 8, 4] = transpose(%0) {axes = [1, 0, 2]}
        return %1""", """
        %0: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        return %0""")
    becomes(RemoveIdentity(), """
        %0: f32[8, B, 4] = transpose(%q) {axes = [2, 0, 1]}
        %1: f32[B, 4, 8] = transpose(%0) {axes = [1, 2, 0]}
        %2: f32[B, 4, 8] = exp(%1)
        return %2""", """
        %0: f32[B, 4, 8] = exp(%q)
        return %0""")


def test_a_reshape_of_a_transpose_stays():
    stays(RemoveIdentity(), """
        %0: f32[8, B] = transpose(%x) {axes = [1, 0]}
        %1: f32[8*B] = reshape(%0) {shape = [8*B]}
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
