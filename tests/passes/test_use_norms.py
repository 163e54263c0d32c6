"""UseLayerNorm and UseRMSNorm: the norms written by hand, and what only looks like one."""
import pytest

from nncompile.passes import UseLayerNorm, UseRMSNorm
from tests.passes.common import becomes, becomes_in_double, stays

LAYER_NORM = """
    %0: f32[B, 1] = mean(%x) {axes = [1], keepdims = true}
    %1: f32[B, 8] = sub(%x, %0)
    %2: f32[B, 8] = mul(%1, %1)
    %3: f32[B, 1] = mean(%2) {axes = [1], keepdims = true}
    %4: f32[B, 1] = add(%3, 1e-05)
    %5: f32[B, 1] = sqrt(%4)
    %6: f32[B, 8] = div(%1, %5)
    %7: f32[B, 8] = mul(%6, @b)
    %8: f32[B, 8] = add(%7, %k)
    return %8"""
RMS_NORM = """
    %0: f32[B, 8] = mul(%x, %x)
    %1: f32[B, 1] = mean(%0) {axes = [1], keepdims = true}
    %2: f32[B, 1] = add(1e-06, %1)
    %3: f32[B, 1] = rsqrt(%2)
    %4: f32[B, 8] = mul(%x, %3)
    %5: f32[B, 8] = mul(@b, %4)
    return %5"""


def test_a_layer_norm():
    after = """
        %0: f32[B, 8] = layer_norm(%x, @b, %k) {axes = [1], eps = 1e-05}
        return %0"""
    becomes(UseLayerNorm(), LAYER_NORM, after)
    becomes_in_double(UseLayerNorm(), LAYER_NORM, after)


LAYER_NORMS = {
    "the weight first": [("div(%1, %5)", "mul(@b, %1)"), ("mul(%6, @b)", "div(%6, %5)")],
    "by the reciprocal": [("sqrt", "rsqrt"), ("div(%1, %5)", "mul(%1, %5)")],
    "by the reciprocal, weighted": [("div(%1, %5)", "mul(%1, @b)"), ("sqrt", "rsqrt"),
                                    ("mul(%6, @b)", "mul(%5, %6)")],
    "by powers": [("mul(%1, %1)", "pow(%1, 2.0)"), ("sqrt(%4)", "pow(%4, 0.5)")],
    "by a negative power": [("sqrt(%4)", "pow(%4, -0.5)"), ("div(%1, %5)", "mul(%5, %1)")],
    "the other way round": [("add(%3, 1e-05)", "add(1e-05, %3)"), ("add(%7, %k)", "add(%k, %7)")],
    "sums over the count": [
        ("%3: f32[B, 1] = mean(%2) {axes = [1], keepdims = true}",
         "%2s: f32[B, 1] = sum(%2) {axes = [1], keepdims = true}\n"
         "    %3: f32[B, 1] = mul(%2s, 0.125)")],
}


@pytest.mark.parametrize("changes", LAYER_NORMS.values(), ids=LAYER_NORMS)
def test_a_layer_norm_in_other_words(changes):
    before = LAYER_NORM
    for old, new in changes:
        assert old in before
        before = before.replace(old, new)
    becomes(UseLayerNorm(), before, """
        %0: f32[B, 8] = layer_norm(%x, @b, %k) {axes = [1], eps = 1e-05}
        return %0""")


def test_a_layer_norm_by_two_moments():
    becomes(UseLayerNorm(), """
        %0: f32[B, 1] = mean(%x) {axes = [1], keepdims = true}
        %1: f32[B, 8] = sub(%x, %0)
        %2: f32[B, 8] = mul(%x, %x)
        %3: f32[B, 1] = mean(%2) {axes = [1], keepdims = true}
        %4: f32[B, 1] = mul(%0, %0)
        %5: f32[B, 1] = sub(%3, %4)
        %6: f32[B, 1] = add(%5, 0.1)
        %7: f32[B, 1] = rsqrt(%6)
        %8: f32[B, 8] = mul(%1, %7)
        return %8""", """
        %0: f32[B, 8] = layer_norm(%x) {axes = [1], eps = 0.1}
        return %0""")


def test_a_layer_norm_by_two_moments_that_are_limited():
    for limit in "maximum(%5, 0.0)", "maximum(0.0, %5)", "relu(%5)":
        becomes(UseLayerNorm(), f"""
            %0: f32[B, 1] = mean(%x) {{axes = [1], keepdims = true}}
            %1: f32[B, 8] = sub(%x, %0)
            %2: f32[B, 8] = mul(%x, %x)
            %3: f32[B, 1] = mean(%2) {{axes = [1], keepdims = true}}
            %4: f32[B, 1] = mul(%0, %0)
            %5: f32[B, 1] = sub(%3, %4)
            %l: f32[B, 1] = {limit}
            %6: f32[B, 1] = add(%l, 0.1)
            %7: f32[B, 1] = sqrt(%6)
            %8: f32[B, 8] = div(%1, %7)
            return %8""", """
            %0: f32[B, 8] = layer_norm(%x) {axes = [1], eps = 0.1}
            return %0""")


SHIFTED = """
    %0: f32[B, 1] = mean(%x) {axes = [1], keepdims = true}
    %1: f32[B, 8] = sub(%x, %0)
    %2: f32[B, 8] = mul(%1, %1)
    %3: f32[B, 1] = mean(%2) {axes = [1], keepdims = true}
    %4: f32[B, 1] = add(%3, 1e-05)
    %5: f32[B, 1] = rsqrt(%4)
    %6: f32[B, 8] = mul(%5, @b)
    %7: f32[B, 8] = mul(%x, %6)
    %8: f32[B, 8] = mul(%0, %6)
    %9: f32[B, 8] = sub(%k, %8)
    %10: f32[B, 8] = add(%7, %9)
    return %10"""


def test_a_layer_norm_by_scale_and_shift():
    after = """
        %0: f32[B, 8] = layer_norm(%x, @b, %k) {axes = [1], eps = 1e-05}
        return %0"""
    becomes(UseLayerNorm(), SHIFTED, after)
    becomes_in_double(UseLayerNorm(), SHIFTED, after)
    becomes(UseLayerNorm(), SHIFTED.replace("add(%7, %9)", "add(%9, %7)").replace(
        "mul(%0, %6)", "mul(%6, %0)").replace("mul(%x, %6)", "mul(%6, %x)"), after)


@pytest.mark.parametrize("old, new", [
    ("sub(%k, %8)", "sub(%8, %k)"), ("mul(%x, %6)", "mul(%r, %6)"), ("mul(%0, %6)", "mul(%3, %6)"),
    ("mul(%1, %1)", "mul(%x, %1)"), ("mul(%5, @b)", "mul(%4, @b)"),
    ("return %10", "return %10, %6"),
])
def test_what_only_looks_like_a_scale_and_shift_stays(old, new):
    assert old in SHIFTED
    stays(UseLayerNorm(), SHIFTED.replace(old, new))


def test_a_layer_norm_over_two_axes():
    becomes(UseLayerNorm(), """
        %0: f32[B, 1, 1] = mean(%q) {axes = [1, 2], keepdims = true}
        %1: f32[B, 4, 8] = sub(%q, %0)
        %2: f32[B, 4, 8] = mul(%1, %1)
        %3: f32[B, 1, 1] = mean(%2) {axes = [1, 2], keepdims = true}
        %4: f32[B, 1, 1] = add(%3, 0.1)
        %5: f32[B, 1, 1] = sqrt(%4)
        %6: f32[B, 4, 8] = div(%1, %5)
        %7: f32[B, 4, 8] = mul(%6, @t)
        return %7""", """
        %0: f32[B, 4, 8] = layer_norm(%q, @t) {axes = [1, 2], eps = 0.1}
        return %0""")


def test_a_weight_that_broadcasts_otherwise_stays_outside():
    for weight in ("@row", "%r", "@one", "2.0"):
        becomes(UseLayerNorm(), LAYER_NORM.replace("mul(%6, @b)", f"mul(%6, {weight})"), f"""
            %0: f32[B, 8] = layer_norm(%x) {{axes = [1], eps = 1e-05}}
            %1: f32[B, 8] = mul(%0, {weight})
            %2: f32[B, 8] = add(%1, %k)
            return %2""")


def test_a_norm_with_another_user_takes_no_weight():
    becomes(UseLayerNorm(), LAYER_NORM.replace("return %8", "return %8, %6"), """
        %0: f32[B, 8] = layer_norm(%x) {axes = [1], eps = 1e-05}
        %1: f32[B, 8] = mul(%0, @b)
        %2: f32[B, 8] = add(%1, %k)
        return %2, %0""")


NO_LAYER_NORMS = {
    "the mean is returned": ("return %8", "return %8, %0"),
    "the difference is returned": ("return %8", "return %8, %1"),
    "the variance is returned": ("return %8", "return %8, %3"),
    "the root is returned": ("return %8", "return %8, %5"),
    "a mean of something else": ("mean(%x)", "mean(%r)"),
    "over another axis": ("%3: f32[B, 1] = mean(%2) {axes = [1], keepdims = true}",
                          "%3: f32[1, 8] = mean(%2) {axes = [0], keepdims = true}"),
    "no eps": ("add(%3, 1e-05)", "mul(%3, 1e-05)"),
    "an eps of zero": ("add(%3, 1e-05)", "add(%3, 0.0)"),
    "a negative eps": ("add(%3, 1e-05)", "add(%3, -1e-05)"),
    "an eps that float32 cannot hold": ("add(%3, 1e-05)", "add(%3, 1e-50)"),
    "an eps that is an array": ("add(%3, 1e-05)", "add(%3, @one)"),
    "a cube": ("mul(%1, %1)", "pow(%1, 3.0)"),
    "a square of something else": ("mul(%1, %1)", "mul(%1, %r)"),
    "no root": ("sqrt(%4)", "exp(%4)"),
    "the wrong root": ("sqrt(%4)", "rsqrt(%4)"),
    "the wrong way round": ("div(%1, %5)", "div(%5, %1)"),
    "a step behind the difference": ("sub(%x, %0)", "sub(%x, %0) then relu"),
    "a step behind the quotient": ("div(%1, %5)", "div(%1, %5) then relu"),
}


@pytest.mark.parametrize("old, new", NO_LAYER_NORMS.values(), ids=NO_LAYER_NORMS)
def test_what_only_looks_like_a_layer_norm_stays(old, new):
    before = LAYER_NORM
    if "f32[1, 8]" in new:
        before = before.replace("%4: f32[B, 1]", "%4: f32[1, 8]")
        before = before.replace("%5: f32[B, 1]", "%5: f32[1, 8]")
    assert old in before
    stays(UseLayerNorm(), before.replace(old, new))


def test_a_norm_over_the_first_axis_stays():
    stays(UseLayerNorm(), """
        %0: f32[1, 8] = mean(%m) {axes = [0], keepdims = true}
        %1: f32[8, 8] = sub(%m, %0)
        %2: f32[8, 8] = mul(%1, %1)
        %3: f32[1, 8] = mean(%2) {axes = [0], keepdims = true}
        %4: f32[1, 8] = add(%3, 0.1)
        %5: f32[1, 8] = sqrt(%4)
        %6: f32[8, 8] = div(%1, %5)
        return %6""")


def test_an_rms_norm():
    after = """
        %0: f32[B, 8] = rms_norm(%x, @b) {axes = [1], eps = 1e-06}
        return %0"""
    becomes(UseRMSNorm(), RMS_NORM, after)
    becomes_in_double(UseRMSNorm(), RMS_NORM, after)


RMS_NORMS = {
    "by the root": [("rsqrt", "sqrt"), ("mul(%x, %3)", "div(%x, %3)")],
    "by the root, the weight first": [("rsqrt", "sqrt"), ("mul(%x, %3)", "mul(%x, @b)"),
                                      ("mul(@b, %4)", "div(%4, %3)")],
    "by powers": [("mul(%x, %x)", "pow(%x, 2.0)"), ("rsqrt(%2)", "pow(%2, -0.5)")],
    "the weight beside the root": [("mul(%x, %3)", "mul(%x, @b)"), ("mul(@b, %4)", "mul(%4, %3)")],
}


@pytest.mark.parametrize("changes", RMS_NORMS.values(), ids=RMS_NORMS)
def test_an_rms_norm_in_other_words(changes):
    before = RMS_NORM
    for old, new in changes:
        assert old in before
        before = before.replace(old, new)
    becomes(UseRMSNorm(), before, """
        %0: f32[B, 8] = rms_norm(%x, @b) {axes = [1], eps = 1e-06}
        return %0""")


def test_an_rms_norm_of_a_product():
    becomes(UseRMSNorm(), """
        %p: f32[B, 8] = mul(%x, %r)
        %0: f32[B, 8] = mul(%p, %p)
        %1: f32[B, 1] = mean(%0) {axes = [1], keepdims = true}
        %2: f32[B, 1] = add(%1, 0.1)
        %3: f32[B, 1] = sqrt(%2)
        %4: f32[B, 8] = div(%p, %3)
        return %4, %p""", """
        %0: f32[B, 8] = mul(%x, %r)
        %1: f32[B, 8] = rms_norm(%0) {axes = [1], eps = 0.1}
        return %1, %0""")


NO_RMS_NORMS = {
    "the mean is returned": ("return %5", "return %5, %1"),
    "the squares are returned": ("return %5", "return %5, %0"),
    "something else is divided": ("mul(%x, %3)", "mul(%r, %3)"),
    "more than one is divided": ("mul(%x, %3)", "mul(%0, %3)"),
    "a sum": ("mean(%0)", "sum(%0)"),
    "a maximum": ("mean(%0)", "max(%0)"),
    "no eps": ("add(1e-06, %1)", "add(%1, %1)"),
    "an infinite eps": ("add(1e-06, %1)", "add(inf, %1)"),
    "divided twice": ("mul(@b, %4)", "mul(%3, %4)"),
    "a step behind the root": ("rsqrt(%2)", "rsqrt(%2) then relu"),
}


@pytest.mark.parametrize("old, new", NO_RMS_NORMS.values(), ids=NO_RMS_NORMS)
def test_what_only_looks_like_an_rms_norm_stays(old, new):
    assert old in RMS_NORM
    result = RMS_NORM.replace(old, new)
    if new == "mul(%3, %4)":                     # the first division is one
        becomes(UseRMSNorm(), result.replace("return %5", "return %5, %3"),
                result.replace("return %5", "return %5, %3"))
    else:
        stays(UseRMSNorm(), result)
