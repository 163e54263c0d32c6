"""FuseLinear: chains behind linear and matmul, and where they end."""
import pytest

from nncompile.passes import FuseLinear
from tests.passes.common import becomes, stays


def test_a_chain_with_a_residual():
    becomes(FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = gelu(%0)
        %2: f32[B, 8] = add(%r, %1)
        %3: f32[B, 8] = mul(%2, 0.5)
        %4: f32[B, 8] = sub(%3, %x)
        return %4""", """
        %0: f32[B, 8] = linear(%x, @w, @b) then gelu, add(%r), mul(0.5), sub(%x)
        return %0""")


def test_a_residual_that_is_computed_after_the_product():
    becomes(FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = exp(%r)
        %2: f32[B, 8] = add(%0, %1)
        return %2""", """
        %0: f32[B, 8] = exp(%r)
        %1: f32[B, 8] = linear(%x, @w, @b) then add(%0)
        return %1""")


def test_of_two_products_one_is_taken_in():
    becomes(FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = linear(%r, @w, @b)
        %2: f32[B, 8] = mul(%0, %1)
        return %2""", """
        %0: f32[B, 8] = linear(%r, @w, @b)
        %1: f32[B, 8] = linear(%x, @w) then mul(%0)
        return %1""")


def test_a_chain_that_is_fused_already():
    becomes(FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b) then relu
        %1: f32[B, 8] = add(%0, %r) then tanh, mul(%x)
        return %1""", """
        %0: f32[B, 8] = linear(%x, @w, @b) then relu, add(%r), tanh, mul(%x)
        return %0""")


OPERANDS = {
    "a vector": "@b",
    "a row": "@row",
    "one number": "@one",
    "a literal": "0.5",
    "a whole matrix": "%r",
    "a number a row": "%s",
}


@pytest.mark.parametrize("operand", OPERANDS.values(), ids=OPERANDS)
def test_operands_that_fit_rows(operand):
    becomes(FuseLinear(), f"""
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = mul(%0, {operand})
        return %1""", f"""
        %0: f32[B, 8] = linear(%x, @w) then mul({operand})
        return %0""")


def test_a_stack_of_rows_with_a_number_a_row():
    becomes(FuseLinear(), """
        %0: f32[B, 4, 1] = max(%q) {axes = [2], keepdims = true}
        %1: f32[B, 4, 8] = linear(%q, @w)
        %2: f32[B, 4, 8] = sub(%1, %0)
        return %2""", """
        %0: f32[B, 4, 1] = max(%q) {axes = [2], keepdims = true}
        %1: f32[B, 4, 8] = linear(%q, @w) then sub(%0)
        return %1""")


def test_an_operand_that_fits_no_rows_stays_outside():
    stays(FuseLinear(), """
        %0: f32[B, 4, 8] = linear(%q, @w)
        %1: f32[B, 4, 8] = add(%0, @t)
        return %1""")                            # [4, 8] beside [B, 4, 8]
    stays(FuseLinear(), """
        %0: f32[B, 1, 1] = max(%q) {axes = [1, 2], keepdims = true}
        %1: f32[B, 4, 8] = linear(%q, @w)
        %2: f32[B, 4, 8] = sub(%1, %0)
        return %2""")                            # [B, 1, 1] beside [B, 4, 8]
    stays(FuseLinear(), """
        %0: f32[B, 4, 8] = linear(%q, @w)
        %1: f32[B, 4, 8] = exp(%q) then add(@t)
        %2: f32[B, 4, 8] = add(%0, %1) then add(@t)
        return %2""")                            # in the chain that would come along


def test_a_matmul_takes_whatever_keeps_its_shape():
    becomes(FuseLinear(), """
        %0: f32[B, 4, 8] = matmul(%q, %m)
        %1: f32[B, 4, 8] = add(%0, @t)
        %2: f32[B, 4, 8] = relu(%1)
        return %2""", """
        %0: f32[B, 4, 8] = matmul(%q, %m) then add(@t), relu
        return %0""")


TWINS = {
    "two users of the product": """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = relu(%0)
        %2: f32[B, 8] = add(%0, %1)
        return %2""",
    "one user that uses it twice": """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = mul(%0, %0)
        return %1""",
    "a product that is returned": """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = relu(%0)
        return %1, %0""",
    "a divisor": """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = div(1.0, %0)
        return %1""",
    "a further operand of a chain": """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = exp(%r) then add(%0)
        return %1""",
    "a broadcast that grows it": """
        %0: f32[1, 8] = slice(@w) {axis = 0, start = 0, stop = 1}
        %1: f32[B, 1] = linear(%x, %0)
        %2: f32[B, 8] = add(%1, %r)
        return %2""",
    "a broadcast that adds an axis": """
        %0: f32[8, 8] = linear(%m, @w)
        %1: f32[3, 8, 8] = add(%0, @qw)
        return %1""",
    "an op that is not elementwise": """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
        return %1""",
    "an op with an attribute": """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = dropout(%0) {p = 0.5}
        return %1""",
    "a product of parameters, computed when they are loaded": """
        %0: f32[8, 8] = linear(@v, @w)
        %1: f32[8, 8] = add(%0, %m)
        return %1""",
    "a head of another kind": """
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
        %1: f32[B, 8] = relu(%0)
        return %1""",
}


@pytest.mark.parametrize("body", TWINS.values(), ids=TWINS)
def test_stays(body):
    stays(FuseLinear(), body)


def test_the_chain_has_a_longest():
    chain = [f"%{i}: f32[B, 8] = tanh(%{i - 1})" for i in range(1, 6)]
    before = "\n".join(["%0: f32[B, 8] = linear(%x, @w)", *chain, "return %5"])
    becomes(FuseLinear(steps=3), before, """
        %0: f32[B, 8] = linear(%x, @w) then tanh, tanh, tanh
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 8] = tanh(%1)
        return %2""")


def test_a_product_that_is_subtracted():
    becomes(FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = sub(%r, %0)
        return %1""", """
        %0: f32[B, 8] = linear(%x, @w, @b) then neg, add(%r)
        return %0""")
