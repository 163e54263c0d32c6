"""FuseAttention: where the scale of attention goes, and where it stays."""
import pytest

from nncompile.passes import FuseAttention
from tests.passes.common import becomes, becomes_in_double, stays

ATTENTION = """
    %0: f32[B, 4, 8] = mul(%q, 0.3)
    %1: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
    %2: f32[B, 4, 4] = matmul(%0, %1)
    %3: f32[B, 4, 4] = softmax(%2) {axis = 2, scale = 1.0}
    return %3"""
AFTER = """
    %0: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
    %1: f32[B, 4, 4] = matmul(%q, %0)
    %2: f32[B, 4, 4] = softmax(%1) {axis = 2, scale = 0.3}
    return %2"""


def test_scaled_queries():
    becomes(FuseAttention(), ATTENTION, AFTER)
    becomes_in_double(FuseAttention(), ATTENTION, AFTER)


def turned(scores: str, node: str) -> str:
    return f"""
        %p: f32[B, 4, 1] = max(%q) {{axes = [2], keepdims = true}}
        %seen: bool[B, 4, 1] = lt(%p, 0.0)
        %t: f32[B, 8, 4] = transpose(%q) {{axes = [0, 2, 1]}}
        {scores}
        %6: f32[B, 4, 4] = {node}
        %7: f32[B, 4, 4] = softmax(%6) {{axis = 2, scale = 0.5}}
        return %7, %seen"""


@pytest.mark.parametrize("node", ["add(%5, %p)", "where(%seen, %5, -inf)", "mul(%5, %p)"])
def test_a_transposed_product_of_keys_and_queries(node):
    becomes(FuseAttention(), turned("""%4: f32[B, 4, 4] = matmul(%q, %t)
        %5: f32[B, 4, 4] = transpose(%4) {axes = [0, 2, 1]}""", node),
            turned("""%3: f32[B, 4, 8] = transpose(%t) {axes = [0, 2, 1]}
        %4: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %5: f32[B, 4, 4] = matmul(%3, %4)""", node))


def test_a_transposed_product_that_is_used_twice_stays():
    stays(FuseAttention(), """
        %1: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %2: f32[B, 4, 4] = matmul(%q, %1)
        %3: f32[B, 4, 4] = transpose(%2) {axes = [0, 2, 1]}
        %4: f32[B, 4, 4] = softmax(%3) {axis = 2, scale = 1.0}
        return %4, %2""")


def test_scaled_queries_and_keys():
    becomes(FuseAttention(), """
        %0: f32[B, 4, 8] = mul(%q, 0.5)
        %1: f32[B, 4, 8] = mul(0.25, %q)
        %2: f32[B, 8, 4] = transpose(%1) {axes = [0, 2, 1]}
        %3: f32[B, 4, 4] = matmul(%0, %2)
        %4: f32[B, 4, 4] = softmax(%3) {axis = 2, scale = 1.0}
        return %4""", AFTER.replace("0.3", "0.125"))


def masked(where: str, head: str = "matmul(%q, %1)", scale: str = "1.0") -> str:
    return f"""
        %p: f32[B, 4, 1] = max(%q) {{axes = [2], keepdims = true}}
        %seen: bool[B, 4, 1] = lt(%p, 0.0)
        %1: f32[B, 8, 4] = transpose(%q) {{axes = [0, 2, 1]}}
        %2: f32[B, 4, 4] = matmul(%q, %1)
        %3: f32[B, 4, 4] = {head}
        %4: f32[B, 4, 4] = {where}
        %5: f32[B, 4, 4] = softmax(%4) {{axis = 2, scale = {scale}}}
        return %5"""


WHERES = {
    "where(%seen, %3, -inf)": "where(%seen, %2, -inf)",
    "where(%seen, -inf, %3)": "where(%seen, -inf, %2)",
    "where(%seen, -1000.0, %3)": "where(%seen, -2000.0, %2)",
}


def test_divided_scores():
    becomes(FuseAttention(), ATTENTION.replace("mul(%q, 0.3)", "div(%q, 3.0)"),
            AFTER.replace("0.3", "0.3333333333333333"))
    added = masked("add(%3, %p)", "div(%2, 3.0)").replace("%seen: bool[B, 4, 1] = lt(%p, 0.0)", "")
    becomes(FuseAttention(), added, added.replace("div(%2, 3.0)", "mul(%2, 0.3333333333333333)"))


@pytest.mark.parametrize("before, after", WHERES.items())
def test_a_scale_under_a_mask(before, after):
    expected = masked(after, scale="0.5").replace("        %3: f32[B, 4, 4] = matmul(%q, %1)\n", "")
    becomes(FuseAttention(), masked(before, "mul(%2, 0.5)"), expected)


MASKED = {
    "a scale below zero turns the mask": masked("where(%seen, %3, -inf)", "mul(%2, -0.5)"),
    "a number that would overflow": masked("where(%seen, %3, -3e38)", "mul(%2, 0.125)"),
    "an array for what is masked": masked("where(%seen, %3, %2)", "mul(%2, 0.5)"),
    "two scales": masked("where(%seen, %3, -inf)", "mul(%2, 0.5)", scale="0.3"),
    "a scale of nothing": masked("where(%seen, %3, -inf)", "mul(%2, 0.0)"),
    "an infinite scale": masked("where(%seen, %3, -inf)", "mul(%2, inf)"),
    "the scores are returned": masked("where(%seen, %3, -inf)", "mul(%2, 0.5)").replace(
        "return %5", "return %5, %3"),
    "the masked scores are returned": masked("where(%seen, %3, -inf)", "mul(%2, 0.5)").replace(
        "return %5", "return %5, %4"),
    "no scale": masked("where(%seen, %3, -inf)", "relu(%2)"),
}


@pytest.mark.parametrize("body", MASKED.values(), ids=MASKED)
def test_a_mask_that_the_scale_cannot_pass(body):
    stays(FuseAttention(), body)


def test_what_is_added_to_the_scores_is_not_scaled():
    becomes(FuseAttention(), """
        %bias: f32[4, 4] = slice(@t) {axis = 1, start = 0, stop = 4}
        %0: f32[B, 4, 8] = mul(%q, 0.3)
        %1: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %2: f32[B, 4, 4] = matmul(%0, %1)
        %3: f32[B, 4, 4] = add(%bias, %2)
        %4: f32[B, 4, 4] = softmax(%3) {axis = 2, scale = 1.0}
        return %4""", """
        %0: f32[4, 4] = slice(@t) {axis = 1, start = 0, stop = 4}
        %1: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %2: f32[B, 4, 4] = matmul(%q, %1)
        %3: f32[B, 4, 4] = mul(%2, 0.3)
        %4: f32[B, 4, 4] = add(%3, %0)
        %5: f32[B, 4, 4] = softmax(%4) {axis = 2, scale = 1.0}
        return %5""")


STAY = {
    "the queries are returned": ("return %3", "return %3, %0"),
    "the scores are returned": ("return %3", "return %3, %2"),
    "a scale that is an array": ("mul(%q, 0.3)", "mul(%q, @one)"),
    "a scale in the softmax": ("scale = 1.0", "scale = 2.0"),
    "no softmax": ("softmax(%2) {axis = 2, scale = 1.0}", "log_softmax(%2) {axis = 2}"),
    "a step behind the scores": ("matmul(%0, %1)", "matmul(%0, %1) then relu"),
    "a step behind the scale": ("mul(%q, 0.3)", "mul(%q, 0.3) then relu"),
}


@pytest.mark.parametrize("old, new", STAY.values(), ids=STAY)
def test_a_scale_that_stays(old, new):
    assert old in ATTENTION
    stays(FuseAttention(), ATTENTION.replace(old, new))
