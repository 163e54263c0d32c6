"""FoldBatchNorm, MergeLinear, JoinLinear: fewer and smaller products, and where there are none."""
import pytest

from nncompile.passes import FoldBatchNorm, JoinLinear, MergeLinear
from tests.passes.common import becomes, becomes_in_double, stays

NORM = """
    %0: f32[B, 8] = linear(%x, @w, @b)
    %1: f32[B, 8] = mul(%0, @row)
    %2: f32[B, 8] = add(%1, @b)
    return %2"""


def test_a_scale_and_a_shift_behind_a_linear():
    after = """
        %0: f32[8] = reshape(@row) {shape = [8]}
        %1: f32[8, 1] = reshape(%0) {shape = [8, 1]}
        %2: f32[8, 8] = mul(@w, %1)
        %3: f32[8] = mul(@b, %0)
        %4: f32[8] = add(%3, @b)
        %5: f32[B, 8] = linear(%x, %2, %4)
        return %5"""
    becomes(FoldBatchNorm(), NORM, after)
    becomes_in_double(FoldBatchNorm(), NORM, after)


def test_without_a_bias():
    becomes(FoldBatchNorm(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = sub(%0, @b)
        %2: f32[B, 8] = div(%1, @row)
        return %2""", """
        %0: f32[8] = neg(@b)
        %1: f32[8] = reshape(@row) {shape = [8]}
        %2: f32[8, 1] = reshape(%1) {shape = [8, 1]}
        %3: f32[8, 8] = div(@w, %2)
        %4: f32[8] = div(%0, %1)
        %5: f32[B, 8] = linear(%x, %3, %4)
        return %5""")


def test_a_scale_before_a_linear():
    becomes(FoldBatchNorm(), """
        %0: f32[B, 8] = mul(@row, %x)
        %1: f32[B, 8] = linear(%0, @w, @b)
        return %1""", """
        %0: f32[8] = reshape(@row) {shape = [8]}
        %1: f32[8, 8] = mul(@w, %0)
        %2: f32[B, 8] = linear(%x, %1, @b)
        return %2""")


NO_NORMS = {
    "the product is returned": ("return %2", "return %2, %0"),
    "a scale that is an input": ("mul(%0, @row)", "mul(%0, %k)"),
    "a scale of each row": ("mul(%0, @row)", "mul(%0, %s)"),
    "one number": ("mul(%0, @row)", "mul(%0, @one)"),
    "a literal": ("mul(%0, @row)", "mul(%0, 2.0)"),
    "a step behind the linear": ("linear(%x, @w, @b)", "linear(%x, @w, @b) then relu"),
    "a step behind the scale": ("mul(%0, @row)", "mul(%0, @row) then relu"),
    "a weight that is an input": ("linear(%x, @w, @b)", "linear(%x, %m, @b)"),
    "divided by the product": ("mul(%0, @row)", "div(@row, %0)"),
    "minus the product": ("mul(%0, @row)", "sub(@row, %0)"),
}


@pytest.mark.parametrize("old, new", NO_NORMS.values(), ids=NO_NORMS)
def test_a_scale_that_stays(old, new):
    assert old in NORM
    stays(FoldBatchNorm(), NORM.replace(old, new))


def test_what_a_load_computes_and_what_grows_stays():
    stays(FoldBatchNorm(), """
        %0: f32[8] = linear(@b, @w)
        %1: f32[8] = mul(%0, @b)
        %2: f32[B, 8] = add(%x, %1)
        %3: f32[8] = linear(%k, @w)
        %4: f32[1, 8] = mul(%3, @row)
        return %2, %4""")


def test_a_shift_before_a_linear_stays():
    stays(FoldBatchNorm(), """
        %0: f32[B, 8] = add(%x, @b)
        %1: f32[B, 8] = linear(%0, @w)
        %2: f32[B, 8] = mul(%s, @row)
        %3: f32[B, 8] = linear(%2, @w)
        return %1, %3""")


MERGED = """
    %0: f32[B, 8] = linear(%x, @w, @b)
    %1: f32[B, 8] = linear(%0, @v, @b)
    return %1"""


def test_two_linears():
    after = """
        %0: f32[8, 8] = matmul(@v, @w)
        %1: f32[8] = linear(@b, @v, @b)
        %2: f32[B, 8] = linear(%x, %0, %1)
        return %2"""
    becomes(MergeLinear(), MERGED, after)
    becomes_in_double(MergeLinear(), MERGED, after)


BIASES = [("linear(%x, @w)", "linear(%0, @v, @b)", "", ", @b"),
          ("linear(%x, @w)", "linear(%0, @v)", "", ""),
          ("linear(%x, @w, @b)", "linear(%0, @v)", "%b: f32[8] = linear(@b, @v)", ", %b")]


@pytest.mark.parametrize("first, second, made, bias", BIASES)
def test_two_linears_with_fewer_biases(first, second, made, bias):
    becomes(MergeLinear(), f"""
        %0: f32[B, 8] = {first}
        %1: f32[B, 8] = {second}
        return %1""", f"""
        %0: f32[8, 8] = matmul(@v, @w)
        {made or "%none: f32[8] = neg(@b)"}
        %1: f32[B, 8] = linear(%x, %0{bias})
        return %1""".replace("        %none: f32[8] = neg(@b)\n", ""))


def test_three_linears():
    becomes(MergeLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = linear(%0, @v)
        %2: f32[B, 8] = linear(%1, @w)
        return %2""", """
        %0: f32[8, 8] = matmul(@v, @w)
        %1: f32[8, 8] = matmul(@w, %0)
        %2: f32[B, 8] = linear(%x, %1)
        return %2""")


NOT_MERGED = {
    "the features are returned": ("return %1", "return %1, %0"),
    "a step between": ("linear(%x, @w, @b)", "linear(%x, @w, @b) then relu"),
    "a step behind": ("linear(%0, @v, @b)", "linear(%0, @v, @b) then relu"),
    "a weight that is an input": ("linear(%0, @v, @b)", "linear(%0, %m, @b)"),
    "a bias that is an input": ("linear(%x, @w, @b)", "linear(%x, @w, %k)"),
}


@pytest.mark.parametrize("old, new", NOT_MERGED.values(), ids=NOT_MERGED)
def test_two_linears_that_stay(old, new):
    assert old in MERGED
    stays(MergeLinear(), MERGED.replace(old, new))


def test_two_linears_over_a_narrow_middle_stay():
    stays(MergeLinear(), """
        %0: f32[2, 8] = transpose(@wide) {axes = [1, 0]}
        %1: f32[B, 2] = linear(%x, %0)
        %2: f32[B, 8] = linear(%1, @wide)
        return %2""")


JOINED = """
    %0: f32[B, 8] = linear(%x, @w, @b)
    %1: f32[B, 4] = linear(%x, @t, %a)
    %2: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
    %3: f32[B, 4] = softmax(%1) {axis = 1, scale = 1.0}
    return %2, %3"""
BIAS = """
    %a: f32[4] = slice(@b) {axis = 0, start = 0, stop = 4}"""


def test_linears_of_one_input():
    after = """
        %0: f32[4] = slice(@b) {axis = 0, start = 0, stop = 4}
        %1: f32[12, 8] = concat(@w, @t) {axis = 0}
        %2: f32[12] = concat(@b, %0) {axis = 0}
        %3: f32[B, 12] = linear(%x, %1, %2)
        %4: f32[B, 8] = slice(%3) {axis = 1, start = 0, stop = 8}
        %5: f32[B, 4] = slice(%3) {axis = 1, start = 8, stop = 12}
        %6: f32[B, 8] = softmax(%4) {axis = 1, scale = 1.0}
        %7: f32[B, 4] = softmax(%5) {axis = 1, scale = 1.0}
        return %6, %7"""
    becomes(JoinLinear(), BIAS + JOINED, after)
    becomes_in_double(JoinLinear(), BIAS + JOINED, after)


def test_a_bias_only_somewhere():
    becomes(JoinLinear(), JOINED.replace(", %a)", ")"), """
        %0: f32[12, 8] = concat(@w, @t) {axis = 0}
        %1: f32[4] = full(0.0) {shape = [4], dtype = f32}
        %2: f32[12] = concat(@b, %1) {axis = 0}
        %3: f32[B, 12] = linear(%x, %0, %2)
        %4: f32[B, 8] = slice(%3) {axis = 1, start = 0, stop = 8}
        %5: f32[B, 4] = slice(%3) {axis = 1, start = 8, stop = 12}
        %6: f32[B, 8] = softmax(%4) {axis = 1, scale = 1.0}
        %7: f32[B, 4] = softmax(%5) {axis = 1, scale = 1.0}
        return %6, %7""")


def test_a_weight_that_is_made_later_and_steps_that_are_alike():
    becomes(JoinLinear(), """
        %0: f32[B, 4, 8] = linear(%q, @w) then relu, mul(0.5)
        %1: f32[B, 4, 1] = sum(%0) {axes = [2], keepdims = true}
        %2: f32[8, 8] = neg(@v)
        %3: f32[B, 4, 8] = linear(%q, %2) then relu, mul(0.5)
        %4: f32[B, 4, 8] = softmax(%3) {axis = 2, scale = 1.0}
        return %1, %4""", """
        %0: f32[8, 8] = neg(@v)
        %1: f32[16, 8] = concat(@w, %0) {axis = 0}
        %2: f32[B, 4, 16] = linear(%q, %1) then relu, mul(0.5)
        %3: f32[B, 4, 8] = slice(%2) {axis = 2, start = 0, stop = 8}
        %4: f32[B, 4, 8] = slice(%2) {axis = 2, start = 8, stop = 16}
        %5: f32[B, 4, 1] = sum(%3) {axes = [2], keepdims = true}
        %6: f32[B, 4, 8] = softmax(%4) {axis = 2, scale = 1.0}
        return %5, %6""")


APART = {
    "one is returned": ("return %2, %3", "return %2, %3, %1"),
    "other inputs": ("linear(%x, @t, %a)", "linear(%r, @t, %a)"),
    "other steps": ("linear(%x, @t, %a)", "linear(%x, @t, %a) then relu"),
    "a step with an array": ("linear(%x, @w, @b)", "linear(%x, @w, @b) then add(%r)"),
    "a weight that is an input": ("linear(%x, @w, @b)", "linear(%x, %m, @b)"),
}


@pytest.mark.parametrize("old, new", APART.values(), ids=APART)
def test_linears_that_stay_apart(old, new):
    body = BIAS + JOINED
    assert old in body
    stays(JoinLinear(), body.replace(old, new))
