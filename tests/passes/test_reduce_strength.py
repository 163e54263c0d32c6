"""ReduceStrength: the cheaper way, what is not the same, and the bits."""
import numpy as np
import pytest

import ir
from nncompile.passes import ReduceStrength
from tests.passes.common import becomes, graph, nodes, same_bits, stays

CHEAPER = {
    "div(%x, 8.0)": "mul(%x, 0.125)",
    "div(%x, -0.5)": "mul(%x, -2.0)",
    "mul(%x, -1.0)": "neg(%x)",
    "mul(-1.0, %x)": "neg(%x)",
    "div(%x, -1.0)": "neg(%x)",
    "sub(%x, 3.0)": "add(%x, -3.0)",
    "sub(%x, -0.0)": "add(%x, 0.0)",
    "sub(%x, inf)": "add(%x, -inf)",
}
SIGNS = {
    "add(%r, %0)": "sub(%r, %x)",
    "add(%0, %r)": "sub(%r, %x)",
    "add(%0, 2.0)": "sub(2.0, %x)",
    "sub(%r, %0)": "add(%r, %x)",
    "sub(1.0, %0)": "add(1.0, %x)",
    "mul(%0, 3.0)": "mul(%x, -3.0)",
    "mul(-0.5, %0)": "mul(%x, 0.5)",
    "abs(%0)": "abs(%x)",
}
SPECIAL = np.array([[0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3e38]], np.float32)


@pytest.mark.parametrize("before, after", CHEAPER.items())
def test_one_node(before, after):
    lines = "%0: f32[B, 8] = {}\nreturn %0"
    becomes(ReduceStrength(), lines.format(before), lines.format(after))


@pytest.mark.parametrize("before, after", SIGNS.items())
def test_a_sign(before, after):
    becomes(ReduceStrength(), f"""
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = {before}
        return %1""", f"""
        %0: f32[B, 8] = {after}
        return %0""")
    stays(ReduceStrength(), f"""
        %0: f32[B, 8] = neg(%x)
        %1: f32[B, 8] = {before}
        return %1, %0""") if before != "sub(1.0, %0)" else None


@pytest.mark.parametrize("call", [*CHEAPER, *SIGNS])
def test_every_bit_is_kept(call):
    before = graph(f"%0: f32[B, 8] = neg(%x)\n%1: f32[B, 8] = {call}\nreturn %1")
    after = ReduceStrength()(before)
    for r in (SPECIAL, -SPECIAL, SPECIAL[:, ::-1], np.ones((1, 8), np.float32)):
        inputs = [{"x": SPECIAL, "r": r}.get(v.name, np.zeros(
            [1 if str(d) == "B" else d for d in v.type.shape], np.float32)) for v in before.inputs]
        [expected], [got] = ir.interpret(before, inputs), ir.interpret(after, inputs)
        assert same_bits(expected, got)


TWINS = [
    "div(%x, 3.0)", "div(%x, 0.0)", "div(%x, inf)", "div(%x, 5.877471754111438e-39)",
    "div(8.0, %x)", "sub(3.0, %x)", "sub(%x, %r)", "mul(%x, -2.0)", "pow(%x, 2.0)",
    "pow(%x, 0.5)", "pow(%x, -1.0)", "div(%x, 8.0) then relu",
]


@pytest.mark.parametrize("call", TWINS)
def test_what_rounds_otherwise_stays(call):
    before = graph(f"%0: f32[B, 8] = {call}\nreturn %0")
    assert nodes(ReduceStrength()(before)) == nodes(before)


def test_an_unsigned_number_has_no_negative():
    stays(ReduceStrength(), """
        %0: u8[B, 8] = cast(%x) {dtype = u8}
        %1: u8[B, 8] = sub(%0, 3.0)
        return %1""")
    becomes(ReduceStrength(), """
        %0: i64[B, 8] = cast(%x) {dtype = i64}
        %1: i64[B, 8] = sub(%0, 3.0)
        %2: i64[B, 8] = neg(%1)
        %3: i64[B, 8] = add(%2, 1.0)
        return %3""", """
        %0: i64[B, 8] = cast(%x) {dtype = i64}
        %1: i64[B, 8] = sub(%0, 3.0)
        %2: i64[B, 8] = sub(1.0, %1)
        return %2""")


def test_the_reciprocal_of_a_root():
    before = """
        %0: f32[B, 8] = sqrt(%x)
        %1: f32[B, 8] = div(1.0, %0)
        return %1"""
    becomes(ReduceStrength(), before, """
        %0: f32[B, 8] = rsqrt(%x)
        return %0""")
    stays(ReduceStrength(), before.replace("return %1", "return %1, %0"))
    stays(ReduceStrength(), before.replace("1.0", "2.0"))
    stays(ReduceStrength(), before.replace("sqrt(%x)", "sqrt(%x) then relu"))


@pytest.mark.parametrize("call", ["div(%0, 8.0)", "mul(%0, 0.125)", "mul(0.125, %0)"])
def test_a_mean(call):
    before = f"""
        %0: f32[B, 1] = sum(%x) {{axes = [1], keepdims = true}}
        %1: f32[B, 1] = {call}
        return %1"""
    becomes(ReduceStrength(), before, """
        %0: f32[B, 1] = mean(%x) {axes = [1], keepdims = true}
        return %0""")
    scaled = "mul(%0, 0.125)"
    becomes(ReduceStrength(), before.replace("return %1", "return %1, %0"), before.replace(
        call, scaled if "div" in call else call).replace("return %1", "return %1, %0"))


def test_a_mean_over_two_axes():
    becomes(ReduceStrength(), """
        %0: f32[B] = sum(%q) {axes = [1, 2], keepdims = false}
        %1: f32[B] = div(%0, 32.0)
        return %1""", """
        %0: f32[B] = mean(%q) {axes = [1, 2], keepdims = false}
        return %0""")


def test_a_sum_over_another_count_is_no_mean():
    becomes(ReduceStrength(), """
        %0: f32[B] = sum(%x) {axes = [1], keepdims = false}
        %1: f32[B] = div(%0, 4.0)
        return %1""", """
        %0: f32[B] = sum(%x) {axes = [1], keepdims = false}
        %1: f32[B] = mul(%0, 0.25)
        return %1""")
    stays(ReduceStrength(), """
        %0: f32[8] = sum(%x) {axes = [0], keepdims = false}
        %1: f32[8] = div(%0, 3.0)
        return %1""")


def test_the_opposite_condition():
    becomes(ReduceStrength(), """
        %0: bool[B, 8] = eq(%x, 0.0)
        %1: bool[B, 8] = logical_not(%0)
        %2: bool[B, 8] = lt(%x, %r)
        %3: bool[B, 8] = logical_not(%2)
        %4: f32[B, 8] = where(%3, %x, 1.0)
        return %1, %4""", """
        %0: bool[B, 8] = ne(%x, 0.0)
        %1: bool[B, 8] = lt(%x, %r)
        %2: f32[B, 8] = where(%1, 1.0, %x)
        return %0, %2""")
    stays(ReduceStrength(), """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: bool[B, 8] = logical_not(%0)
        return %1""")                            # NaN is neither below nor above


BOUNDED = {
    "div(%x, 3.0)": "mul(%x, 0.3333333333333333)",
    "pow(%x, 2.0)": "mul(%x, %x)",
    "pow(%x, 0.5)": "sqrt(%x)",
    "pow(%x, -0.5)": "rsqrt(%x)",
    "pow(%x, -1.0)": "div(1.0, %x)",
}


@pytest.mark.parametrize("before, after", BOUNDED.items())
def test_on_request(before, after):
    lines = "%0: f32[B, 8] = {}\nreturn %0"
    result = ReduceStrength(bounded=True)(graph(lines.format(before)))
    assert nodes(result) == nodes(graph(lines.format(after)))
    assert not ReduceStrength(bounded=True).exact and ReduceStrength().exact


@pytest.mark.parametrize("call", ["div(%x, inf)", "div(%x, 1e-40)", "pow(%x, 3.5)", "pow(2.0, %x)"])
def test_not_even_on_request(call):
    stays(ReduceStrength(bounded=True), f"%0: f32[B, 8] = {call}\nreturn %0")


@pytest.mark.parametrize("call", ["sqrt(%2)", "pow(%2, 0.25)"])
def test_a_root_with_a_gradient_at_zero(call):
    text = """
        %0: bool[B, 8] = eq(%x, 0.0)
        %1: bool[B, 8] = {test}
        %2: f32[B, 8] = where(%1, 1.0, %x)
        %3: f32[B, 8] = {call}
        %4: f32[B, 8] = where(%0, {value}, %3)
        return %4"""
    becomes(ReduceStrength(), text.format(call=call, test="eq(0.0, %x)", value="%x"), f"""
        %0: f32[B, 8] = {call.replace("%2", "%x")}
        return %0""")
    stays(ReduceStrength(), text.format(call=call, test="eq(%x, 1.0)", value="%x"))
    stays(ReduceStrength(), text.format(call=call, test="eq(%r, 0.0)", value="%x"))
    stays(ReduceStrength(), text.format(call=call, test="eq(%x, 0.0)", value="%r"))
    negative = text.format(call="pow(%2, -0.5)", test="eq(%x, 0.0)", value="%x")
    stays(ReduceStrength(), negative)


@pytest.mark.parametrize("test, op", [("le", "maximum"), ("ge", "minimum")])
@pytest.mark.parametrize("bound", ["0.0", "-0.0", "6.0", "inf"])
def test_a_bound(test, op, bound):
    text = f"%0: bool[B, 8] = {test}(%x, {bound})\n%1: f32[B, 8] = where(%0, {{}}, %x)\nreturn %1"
    becomes(ReduceStrength(), text.format(bound), f"%0: f32[B, 8] = {op}(%x, {bound})\nreturn %0")
    before = graph(text.format(bound))
    for x in (SPECIAL, -SPECIAL):
        inputs = [x if v.name == "x" else np.zeros([1 if str(d) == "B" else d
                                                   for d in v.type.shape],
                                                  np.float32) for v in before.inputs]
        [expected], [got] = ir.interpret(before, inputs), ir.interpret(ReduceStrength()(before),
                                                                       inputs)
        assert same_bits(expected, got)
    stays(ReduceStrength(), text.format("1.0"))
    stays(ReduceStrength(), text.format("nan").replace(bound, "nan"))
