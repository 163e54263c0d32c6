"""UseLinear: which products are linear layers, and which additions their bias."""
from nncompile.passes import RemoveIdentity, UseLinear
from tests.passes.common import becomes, graph, stays


def test_x_times_w_transposed_plus_bias():
    becomes(UseLinear(), """
        %0: f32[8, 8] = transpose(@w) {axes = [1, 0]}
        %1: f32[B, 8] = matmul(%x, %0)
        %2: f32[B, 8] = add(@b, %1)
        return %2""", """
        %0: f32[B, 8] = linear(%x, @w, @b)
        return %0""")


def test_x_times_w_is_a_linear_by_the_transpose():
    becomes(UseLinear(), """
        %0: f32[B, 2] = matmul(%x, @wide)
        return %0""", """
        %0: f32[2, 8] = transpose(@wide) {axes = [1, 0]}
        %1: f32[B, 2] = linear(%x, %0)
        return %1""")


def test_a_stack_of_rows():
    becomes(UseLinear(), """
        %0: f32[B, 4, 2] = matmul(%q, @wide)
        return %0""", """
        %0: f32[2, 8] = transpose(@wide) {axes = [1, 0]}
        %1: f32[B, 4, 2] = linear(%q, %0)
        return %1""")


def test_a_weight_computed_from_parameters_and_a_constant_one():
    becomes(UseLinear(), """
        %0: f32[8, 8] = mul(@w, @v)
        %1: f32[B, 8] = matmul(%x, %0)
        %2: f32[8, 8] = transpose($c) {axes = [1, 0]}
        %3: f32[B, 8] = matmul(%1, %2)
        return %3""", """
        %0: f32[8, 8] = mul(@w, @v)
        %1: f32[8, 8] = transpose(%0) {axes = [1, 0]}
        %2: f32[B, 8] = linear(%x, %1)
        %3: f32[B, 8] = linear(%2, $c)
        return %3""")


def test_tied_weights_share_the_parameter():
    becomes(UseLinear(), """
        %0: f32[8, 8] = transpose(@w) {axes = [1, 0]}
        %1: f32[B, 8] = matmul(%x, %0)
        %2: f32[B, 8] = matmul(%r, %0)
        return %1, %2""", """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = linear(%r, @w)
        return %0, %1""")


def test_a_bias_that_is_computed_from_parameters():
    becomes(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[8] = exp(@b)
        %2: f32[B, 8] = add(%0, %1)
        return %2""", """
        %0: f32[8] = exp(@b)
        %1: f32[B, 8] = linear(%x, @w, %0)
        return %1""")


def test_products_that_stay():
    stays(UseLinear(), """
        %0: f32[B, 8] = matmul(%x, %m)
        return %0""")                            # of two inputs
    stays(UseLinear(), """
        %0: f32[3, 8, 8] = matmul(%m, @qw)
        return %0""")                            # by a stack of matrices
    stays(UseLinear(), """
        %0: f32[8, 8] = matmul(@w, %m)
        return %0""")                            # the parameter on the left
    stays(UseLinear(), """
        %0: f32[8, 8] = matmul(@w, @v)
        %1: f32[B, 8] = add(%x, @b)
        return %0, %1""")                        # done once, when the weights are loaded
    stays(UseLinear(), """
        %0: f32[B, 8] = matmul(%x, @w) then relu
        return %0""")                            # fused already


def test_a_slice_of_a_parameter_that_ends_at_b_is_not_known_at_load_time():
    stays(UseLinear(), """
        %0: f32[B, 8] = slice(@w) {axis = 0, start = 0, stop = B}
        %1: f32[8, B] = transpose(%0) {axes = [1, 0]}
        %2: f32[B, B] = matmul(%x, %1)
        return %2""")


def test_additions_that_stay():
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, @b)
        %2: f32[B, 8] = mul(%0, %1)
        return %2""")                            # two users of the product
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, @b)
        return %0, %1""")                        # the product is returned
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = add(%0, @b)
        return %1""")                            # it has a bias
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, %r)
        return %1""")                            # not a parameter
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, %k)
        return %1""")                            # of the right shape, but an input
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, @b) then relu
        return %1""")                            # and more besides
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, @one)
        %2: f32[B, 8] = add(%1, @row)
        %3: f32[B, 8] = add(%2, 0.5)
        return %3""")                            # not of shape [8]
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = sub(%0, @b)
        return %1""")                            # not added
    stays(UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w) then relu
        %1: f32[B, 8] = add(%0, @b)
        return %1""")                            # not added to the sum


def test_a_bias_that_grows_the_result_stays():
    stays(UseLinear(), """
        %0: f32[1, 8] = slice(@w) {axis = 0, start = 0, stop = 1}
        %1: f32[B, 1] = linear(%x, %0)
        %2: f32[B, 8] = add(%1, @b)
        return %2""")


def test_the_origins_are_joined():
    before = graph("""
        %0: f32[8, 8] = transpose(@w) {axes = [1, 0]}    # 0 Product   m.py:1
        %1: f32[B, 8] = matmul(%x, %0)                   # 0 Product   m.py:2
        %2: f32[B, 8] = add(%1, @b)                      # 1 Bias      m.py:3
        return %2""")
    [node] = RemoveIdentity()(UseLinear()(before)).nodes
    assert (node.where.layer, node.where.line) == ("0 Product, 1 Bias", "m.py:3")
