"""UseLogSoftmax: the log-softmax written by hand, and what only looks like one."""
import pytest

from nncompile.passes import UseLogSoftmax
from tests.passes.common import becomes, becomes_in_double, stays

SHIFTED = """
    %0: f32[B, 1] = max(%x) {axes = [1], keepdims = true}
    %1: f32[B, 8] = sub(%x, %0)
    %2: f32[B, 8] = exp(%1)
    %3: f32[B, 1] = sum(%2) {axes = [1], keepdims = true}
    %4: f32[B, 1] = log(%3)
    %5: f32[B, 8] = sub(%1, %4)
    return %5"""
AFTER = """
    %0: f32[B, 8] = log_softmax(%x) {axis = 1}
    return %0"""
LOGSUMEXP = """
    %0: f32[B, 1] = max(%x) {axes = [1], keepdims = true}
    %1: bool[B, 1] = isinf(%0)
    %2: f32[B, 1] = where(%1, 0.0, %0)
    %3: f32[B, 8] = sub(%x, %2)
    %4: f32[B, 8] = exp(%3)
    %5: f32[B, 1] = sum(%4) {axes = [1], keepdims = true}
    %6: f32[B, 1] = log(%5)
    %7: f32[B, 1] = add(%6, %2)
    %8: f32[B, 8] = sub(%x, %7)
    return %8"""


@pytest.mark.parametrize("before", [SHIFTED, LOGSUMEXP])
def test_written_by_hand(before):
    becomes(UseLogSoftmax(), before, AFTER)
    becomes_in_double(UseLogSoftmax(), before, AFTER)


def test_the_maximum_by_its_place():
    becomes(UseLogSoftmax(), SHIFTED.replace(
        "%0: f32[B, 1] = max(%x) {axes = [1], keepdims = true}",
        "%p: i64[B, 1] = argmax(%x) {axis = 1, keepdims = true}\n"
        "    %0: f32[B, 1] = take_along(%x, %p) {axis = 1}"), AFTER)


TWINS = {
    "the logarithm is returned": (SHIFTED, "return %5", "return %5, %4"),
    "the exponentials are returned": (SHIFTED, "return %5", "return %5, %2"),
    "the difference is returned": (SHIFTED, "return %5", "return %5, %1"),
    "the maximum of something else": (SHIFTED, "max(%x)", "max(%r)"),
    "a minimum": (SHIFTED, "max(%x)", "min(%x)"),
    "a sum of something else": (SHIFTED, "exp(%1)", "exp(%r)"),
    "a mean": (SHIFTED, "sum(%2)", "mean(%2)"),
    "another base": (SHIFTED, "log(%3)", "log2(%3)"),
    "the wrong way round": (SHIFTED, "sub(%1, %4)", "sub(%4, %1)"),
    "from something else": (SHIFTED, "sub(%1, %4)", "sub(%x, %4)"),
    "a step behind the logarithm": (SHIFTED, "log(%3)", "log(%3) then neg"),
    "the sum of exponentials is returned": (LOGSUMEXP, "return %8", "return %8, %7"),
    "another shift is added": (LOGSUMEXP, "add(%6, %2)", "add(%6, %0)"),
    "infinities become 1": (LOGSUMEXP, "where(%1, 0.0, %0)", "where(%1, 1.0, %0)"),
    "NaN become 0": (LOGSUMEXP, "isinf(%0)", "isnan(%0)"),
}


@pytest.mark.parametrize("before, old, new", TWINS.values(), ids=TWINS)
def test_what_only_looks_like_a_log_softmax_stays(before, old, new):
    assert old in before
    stays(UseLogSoftmax(), before.replace(old, new))


def test_without_the_axis_it_subtracts_columns():
    stays(UseLogSoftmax(), """
        %0: f32[8] = max(%m) {axes = [1], keepdims = false}
        %1: f32[8, 8] = sub(%m, %0)
        %2: f32[8, 8] = exp(%1)
        %3: f32[8] = sum(%2) {axes = [1], keepdims = false}
        %4: f32[8] = log(%3)
        %5: f32[8, 8] = sub(%1, %4)
        return %5""")


def test_the_logarithm_of_a_softmax_on_request():
    before = """
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
        %1: f32[B, 8] = log(%0)
        return %1"""
    stays(UseLogSoftmax(), before)
    becomes(UseLogSoftmax(underflow=True), before, AFTER)
    stays(UseLogSoftmax(underflow=True), before.replace("scale = 1.0", "scale = 2.0"))
    stays(UseLogSoftmax(underflow=True), before.replace("return %1", "return %1, %0"))
