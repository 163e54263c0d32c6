"""FuseSoftmax: the softmax written by hand, and the scale."""
import pytest

from nncompile.passes import FuseSoftmax
from tests.passes.common import becomes, stays

BY_HAND = """
    %0: f32[B, 8] = mul(%x, 0.3)
    %1: f32[B, 1] = max(%0) {axes = [1], keepdims = true}
    %2: f32[B, 8] = sub(%0, %1)
    %3: f32[B, 8] = exp(%2)
    %4: f32[B, 1] = sum(%3) {axes = [1], keepdims = true}
    %5: f32[B, 8] = div(%3, %4)
    return %5"""


def test_written_by_hand():
    becomes(FuseSoftmax(), BY_HAND, """
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 0.3}
        return %0""")


def test_written_by_hand_over_the_first_axis():
    becomes(FuseSoftmax(), """
        %0: f32[1, 8] = max(%x) {axes = [0], keepdims = true}
        %1: f32[B, 8] = sub(%x, %0)
        %2: f32[B, 8] = exp(%1)
        %3: f32[1, 8] = sum(%2) {axes = [0], keepdims = true}
        %4: f32[B, 8] = div(%2, %3)
        return %4""", """
        %0: f32[B, 8] = softmax(%x) {axis = 0, scale = 1.0}
        return %0""")


TWINS = {
    "the exponentials have another user": ("return %5", "return %5, %3"),
    "the sum has another user": ("return %5", "return %5, %4"),
    "the maximum is returned": ("return %5", "return %5, %1"),
    "the difference is returned": ("return %5", "return %5, %2"),
    "the maximum is of another axis": (
        "%1: f32[B, 1] = max(%0) {axes = [1], keepdims = true}",
        "%1: f32[1, 8] = max(%0) {axes = [0], keepdims = true}"),
    "the sum is over another axis": (
        "%4: f32[B, 1] = sum(%3) {axes = [1], keepdims = true}",
        "%4: f32[1, 8] = sum(%3) {axes = [0], keepdims = true}"),
    "over two axes": (
        "%4: f32[B, 1] = sum(%3) {axes = [1], keepdims = true}",
        "%4: f32[1, 1] = sum(%3) {axes = [0, 1], keepdims = true}"),
    "the maximum is of something else": ("max(%0)", "max(%r)"),
    "the sum is of something else": ("sum(%3)", "sum(%r)"),
    "no exponentials": ("exp(%2)", "tanh(%2)"),
    "a mean": ("sum(%3)", "mean(%3)"),
    "the wrong way round to subtract": ("sub(%0, %1)", "sub(%1, %0)"),
    "the wrong way round to divide": ("div(%3, %4)", "div(%4, %3)"),
    "no division": ("div(%3, %4)", "mul(%3, %4)"),
    "a step behind the division": ("div(%3, %4)", "div(%3, %4) then relu"),
    "a step behind the exponentials": ("exp(%2)", "exp(%2) then relu"),
    "a step behind the sum of differences": ("sub(%0, %1)", "sub(%0, %1) then neg"),
}


@pytest.mark.parametrize("old, new", TWINS.values(), ids=TWINS)
def test_what_only_looks_like_a_softmax_stays(old, new):
    assert old in BY_HAND
    stays(FuseSoftmax(), BY_HAND.replace(old, new))


COLUMN = ("f32[8, 1]", "true")
ROW = ("f32[8]", "false")


@pytest.mark.parametrize("top, total", [(ROW, ROW), (COLUMN, ROW), (ROW, COLUMN)])
def test_without_keepdims_it_divides_columns(top, total):
    stays(FuseSoftmax(), f"""
        %0: {top[0]} = max(%m) {{axes = [1], keepdims = {top[1]}}}
        %1: f32[8, 8] = sub(%m, %0)
        %2: f32[8, 8] = exp(%1)
        %3: {total[0]} = sum(%2) {{axes = [1], keepdims = {total[1]}}}
        %4: f32[8, 8] = div(%2, %3)
        return %4""")


def test_exponentials_over_the_sum_of_others_stay():
    others = BY_HAND.replace("sum(%3)", "sum(%r)")
    stays(FuseSoftmax(), others.replace("return %5", "return %5, %3"))


SCALINGS = [
    ("mul(%x, 0.125)", "0.125"), ("mul(0.3, %x)", "0.3"), ("mul(%x, -2.0)", "-2.0"),
    ("mul(%x, 0.0)", "0.0"), ("div(%x, 8.0)", "0.125"), ("div(%x, -0.5)", "-2.0"),
    ("div(%x, 3.0)", "0.3333333333333333"),
]


@pytest.mark.parametrize("scaling, scale", SCALINGS)
def test_a_scale(scaling, scale):
    becomes(FuseSoftmax(), f"""
        %0: f32[B, 8] = {scaling}
        %1: f32[B, 8] = softmax(%0) {{axis = 1, scale = 1.0}}
        return %1""", f"""
        %0: f32[B, 8] = softmax(%x) {{axis = 1, scale = {scale}}}
        return %0""")


UNSCALED = {
    "a division by zero": "div(%x, 0.0)",
    "a division by infinity": "div(%x, inf)",
    "a reciprocal that float32 cannot hold": "div(%x, 1.7014118346046923e+38)",
    "a divisor that is subnormal": "div(%x, 5.877471754111438e-39)",
    "a division of the scale": "div(8.0, %x)",
    "an infinite scale": "mul(%x, inf)",
    "a scale that is no number": "mul(%x, nan)",
    "a scale that is an array": "mul(%x, %r)",
    "a scale that is a parameter": "mul(%x, @one)",
    "a step behind the scale": "mul(%x, 0.5) then relu",
    "a sum": "add(%x, 0.5)",
}


@pytest.mark.parametrize("call", UNSCALED.values(), ids=UNSCALED)
def test_no_scale(call):
    stays(FuseSoftmax(), f"""
        %0: f32[B, 8] = {call}
        %1: f32[B, 8] = softmax(%0) {{axis = 1, scale = 1.0}}
        return %1""")


def test_a_softmax_with_a_step_behind_it_stays():
    stays(FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, 0.5)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0} then add(%r)
        return %1""")


def test_a_scaled_array_with_another_user_stays():
    stays(FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, 0.5)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
        %2: f32[B, 8] = add(%0, %1)
        return %2""")
    stays(FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, 0.5)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
        return %0, %1""")


def test_one_scale_and_no_more():
    becomes(FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, 0.1)
        %1: f32[B, 8] = mul(%0, 0.3)
        %2: f32[B, 8] = softmax(%1) {axis = 1, scale = 1.0}
        return %2""", """
        %0: f32[B, 8] = mul(%x, 0.1)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 0.3}
        return %1""")
