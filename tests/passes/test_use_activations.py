"""UseGELU and UseSiLU: the activations written by hand, and what only looks like one."""
import pytest

import ir
from nncompile.passes import UseGELU, UseSiLU
from tests.passes.common import becomes, becomes_in_double, graph, nodes, stays

ERF = """
    %0: f32[B, 8] = div(%x, 1.4142135623730951)
    %1: f32[B, 8] = erf(%0)
    %2: f32[B, 8] = add(%1, 1.0)
    %3: f32[B, 8] = mul(%x, %2)
    %4: f32[B, 8] = mul(%3, 0.5)
    return %4"""
TANH = """
    %0: f32[B, 8] = mul(%x, %x)
    %1: f32[B, 8] = mul(%0, %x)
    %2: f32[B, 8] = mul(0.044715, %1)
    %3: f32[B, 8] = add(%x, %2)
    %4: f32[B, 8] = mul(0.7978845608028654, %3)
    %5: f32[B, 8] = tanh(%4)
    %6: f32[B, 8] = add(1.0, %5)
    %7: f32[B, 8] = mul(0.5, %x)
    %8: f32[B, 8] = mul(%7, %6)
    return %8"""
GELU = """
    %0: f32[B, 8] = gelu(%x)
    return %0"""


@pytest.mark.parametrize("before, op", [(ERF, "gelu"), (TANH, "gelu_tanh")])
def test_a_gelu(before, op):
    becomes(UseGELU(), before, GELU.replace("gelu", op))
    becomes_in_double(UseGELU(), before, GELU.replace("gelu", op))


ERFS = {
    "by the reciprocal": [("div(%x, 1.4142135623730951)", "mul(0.7071067811865476, %x)")],
    "the half first": [("mul(%x, %2)", "mul(0.5, %2)"), ("mul(%3, 0.5)", "mul(%x, %3)")],
    "in float32": [("1.4142135623730951", "1.4142135381698608")],
    "by the reciprocal in float32": [
        ("div(%x, 1.4142135623730951)", "mul(%x, 0.7071067690849304)")],
    "half of it": [("mul(%3, 0.5)", "div(%3, 2.0)")],
    "half of x": [("mul(%x, %2)", "mul(%x, 0.5)"), ("mul(%3, 0.5)", "mul(%3, %2)")],
    "a sum": [("add(%1, 1.0)", "mul(%x, %1)"), ("mul(%x, %2)", "add(%x, %2)")],
    "by the complement": [("div(%x, 1.4142135623730951)", "mul(%x, -0.7071067811865476)"),
                          ("erf(", "erfc("), ("add(%1, 1.0)", "mul(%1, 0.5)"),
                          ("%4: f32[B, 8] = mul(%3, 0.5)\n    return %4", "return %3")],
}


@pytest.mark.parametrize("changes", ERFS.values(), ids=ERFS)
def test_a_gelu_in_other_words(changes):
    before = ERF
    for old, new in changes:
        assert old in before
        before = before.replace(old, new)
    becomes(UseGELU(), before, GELU)


TANHS = {
    "a power": [("mul(%0, %x)", "pow(%x, 3.0)")],
    "factored": [("mul(%0, %x)", "mul(%0, 0.044715)"), ("mul(0.044715, %1)", "add(1.0, %1)"),
                 ("add(%x, %2)", "mul(%x, %2)")],
    "in float32": [("0.7978845608028654", "0.7978845834732056"),
                   ("0.044715", "0.044714998453855515")],
    "ten digits": [("0.7978845608028654", "0.79788456080287")],
    "a sigmoid": [("0.7978845608028654", "1.5957691216057308"), ("tanh", "sigmoid"),
                  ("add(1.0, %5)", "mul(%x, %5)"), ("%7: f32[B, 8] = mul(0.5, %x)\n    ", ""),
                  ("%8: f32[B, 8] = mul(%7, %6)\n    return %8", "return %6")],
}


@pytest.mark.parametrize("changes", TANHS.values(), ids=TANHS)
def test_a_gelu_by_a_tanh_in_other_words(changes):
    before = TANH
    for old, new in changes:
        assert old in before
        before = before.replace(old, new)
    becomes(UseGELU(), before, GELU.replace("gelu", "gelu_tanh"))


def test_a_gelu_of_a_product_and_of_a_gelu():
    twice = ERF.replace("%x", "%p").replace("return %4", "")
    again = "".join(f"%{i + 5}: {line.split(': ', 1)[1]}\n" for i, line in enumerate(
        ERF.replace("%x", "%4").replace("return %4", "").strip().splitlines()))
    for i in (3, 2, 1, 0):
        again = again.replace(f"(%{i})", f"(%{i + 5})").replace(f" %{i})", f" %{i + 5})")
        again = again.replace(f"(%{i},", f"(%{i + 5},")
    becomes(UseGELU(), "%p: f32[B, 8] = mul(%x, %r)\n" + twice + again + "return %9", """
        %0: f32[B, 8] = mul(%x, %r)
        %1: f32[B, 8] = gelu(%0)
        %2: f32[B, 8] = gelu(%1)
        return %2""")


NO_GELUS = {
    "the erf is returned": (ERF, "return %4", "return %4, %1"),
    "the product is returned": (ERF, "return %4", "return %4, %3"),
    "another root": (ERF, "1.4142135623730951", "1.41421"),
    "no half": (ERF, "mul(%3, 0.5)", "mul(%3, 0.51)"),
    "no one": (ERF, "add(%1, 1.0)", "add(%1, 2.0)"),
    "minus one": (ERF, "add(%1, 1.0)", "sub(%1, 1.0)"),
    "of something else": (ERF, "mul(%x, %2)", "mul(%r, %2)"),
    "half of something else": (ERF, "mul(%3, 0.5)", "mul(%3, %r)"),
    "of a column": (ERF, "mul(%x, %2)", "mul(%s, %2)"),
    "a step behind the erf": (ERF, "erf(%0)", "erf(%0) then relu"),
    "a tanh without a cube": (ERF, "erf(%0)", "tanh(%0)"),
    "another cube": (TANH, "0.044715", "0.0447"),
    "a cube of something else": (TANH, "mul(%0, %x)", "mul(%0, %r)"),
    "a square": (TANH, "mul(%0, %x)", "mul(%0, 1.0)"),
    "the square is returned": (TANH, "return %8", "return %8, %0"),
    "the tanh is returned": (TANH, "return %8", "return %8, %5"),
    "a sine": (TANH, "tanh(%4)", "sin(%4)"),
}


@pytest.mark.parametrize("number", ["1.41421", "1.4142146110534668"])
def test_numbers_are_compared_in_the_dtype_of_the_graph(number):
    stays(UseGELU(), ERF.replace("1.4142135623730951", number))
    in_double = str(graph(ERF.replace("1.4142135623730951", "1.4142135381698608")))
    before = ir.check.with_data(ir.parse(in_double.replace("f32", "f64")))
    assert nodes(UseGELU()(before)) == nodes(before)


@pytest.mark.parametrize("before, old, new", NO_GELUS.values(), ids=NO_GELUS)
def test_what_only_looks_like_a_gelu_stays(before, old, new):
    assert old in before
    stays(UseGELU(), before.replace(old, new))


SILU = """
    %0: f32[B, 8] = neg(%x)
    %1: f32[B, 8] = exp(%0)
    %2: f32[B, 8] = add(%1, 1.0)
    %3: f32[B, 8] = div(1.0, %2)
    %4: f32[B, 8] = mul(%x, %3)
    return %4"""


def test_a_silu():
    after = """
        %0: f32[B, 8] = silu(%x)
        return %0"""
    becomes(UseSiLU(), SILU, after)
    becomes_in_double(UseSiLU(), SILU, after)
    becomes(UseSiLU(), SILU.replace("mul(%x, %3)", "mul(%3, %x)"), after)
    becomes(UseSiLU(), SILU.replace("neg(%x)", "mul(-1.0, %x)"), after)
    becomes(UseSiLU(), SILU.replace("div(1.0, %2)", "div(%x, %2)").replace(
        "mul(%x, %3)", "identity(%3)"), """
        %0: f32[B, 8] = silu(%x)
        %1: f32[B, 8] = identity(%0)
        return %1""")
    becomes(UseSiLU(), """
        %0: f32[B, 8] = sigmoid(%x)
        %1: f32[B, 8] = mul(%0, %x)
        return %1""", after)


def test_a_silu_by_a_tanh():
    becomes(UseSiLU(), """
        %0: f32[B, 8] = mul(%x, 0.5)
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 8] = add(%1, 1.0)
        %3: f32[B, 8] = mul(%0, %2)
        return %3""", """
        %0: f32[B, 8] = silu(%x)
        return %0""")


def test_a_sigmoid():
    becomes(UseSiLU(), SILU.replace("mul(%x, %3)", "mul(%r, %3)"), """
        %0: f32[B, 8] = sigmoid(%x)
        %1: f32[B, 8] = mul(%r, %0)
        return %1""")


NO_SILUS = {
    "the sum is returned": ("return %4", "return %4, %2"),
    "the exponential is returned": ("return %4", "return %4, %1"),
    "no sign": ("neg(%x)", "abs(%x)"),
    "two": ("add(%1, 1.0)", "add(%1, 2.0)"),
    "another function": ("exp(%0)", "exp2(%0)"),
    "two over it": ("div(1.0, %2)", "div(2.0, %2)"),
    "the wrong way round": ("div(1.0, %2)", "div(%2, 1.0)"),
    "a step behind the sum": ("add(%1, 1.0)", "add(%1, 1.0) then relu"),
}


@pytest.mark.parametrize("old, new", NO_SILUS.values(), ids=NO_SILUS)
def test_what_only_looks_like_a_silu_stays(old, new):
    assert old in SILU
    stays(UseSiLU(), SILU.replace(old, new))


def test_a_sigmoid_with_another_user_stays():
    stays(UseSiLU(), """
        %0: f32[B, 8] = sigmoid(%x)
        %1: f32[B, 8] = mul(%0, %x)
        return %1, %0""")
    stays(UseSiLU(), """
        %0: f32[B, 1] = sigmoid(%s)
        %1: f32[B, 8] = mul(%0, %x)
        return %1""")


def test_long_sums_of_products_are_looked_at_quickly():
    lines = ["%0: f32[B, 8] = erf(%x)"]
    lines += [f"%{i + 1}: f32[B, 8] = mul(%{i}, %{i})" for i in range(200)]
    before = graph("\n".join([*lines, "return %200"]))
    assert nodes(ir.run([UseGELU(), UseSiLU()], before)) == nodes(before)
