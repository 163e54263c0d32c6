"""The initial distributions are torch's: their bounds, and Kolmogorov-Smirnov tests by scipy."""

import math

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.errors import InputError
from nncompile.nn import init

stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle of distributions, is missing")


@pytest.fixture(autouse=True)
def seed():
    nn.manual_seed(20)


def looks_like(values, distribution):
    assert stats.kstest(np.ravel(values), distribution.cdf).pvalue > 1e-3


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


@pytest.mark.parametrize("inputs, outputs", [(1, 3000), (30, 500), (1000, 300)])
def test_linear(inputs, outputs):
    layer = nn.Linear(inputs, outputs)
    bound = 1 / math.sqrt(inputs)
    for parameter in (layer.weight, layer.bias):
        assert np.abs(parameter.data).max() <= bound
        looks_like(parameter.data, uniform(bound))
    assert not np.array_equal(layer.bias.data, nn.Linear(inputs, outputs).bias.data)


def test_linear_without_inputs():
    assert not nn.Linear(0, 5).bias.data.any()


def test_embedding_and_layer_norm():
    looks_like(nn.Embedding(300, 100).weight.data, stats.norm)
    norm = nn.LayerNorm((3, 4))
    assert (norm.weight.data == 1).all() and (norm.bias.data == 0).all()


@pytest.mark.parametrize("shape, fan_in, fan_out",
                         [((400, 100), 100, 400), ((50, 20, 9), 180, 450)])
def test_by_fans(shape, fan_in, fan_out):
    weight = nn.Parameter(np.empty(shape, np.float32))
    assert init.xavier_uniform_(weight, gain=2) is weight
    looks_like(weight.data, uniform(2 * math.sqrt(6 / (fan_in + fan_out))))
    looks_like(init.xavier_normal_(weight).data, stats.norm(0, math.sqrt(2 / (fan_in + fan_out))))
    looks_like(init.kaiming_uniform_(weight, nonlinearity="relu").data,
               uniform(math.sqrt(6 / fan_in)))
    looks_like(init.kaiming_normal_(weight, 0.5, mode="fan_out").data,
               stats.norm(0, math.sqrt(2 / 1.25 / fan_out)))


def test_plain_ones():
    array = np.empty((50, 60))
    looks_like(init.uniform_(array, 2, 5), stats.uniform(2, 3))
    looks_like(init.normal_(array, 1, 3), stats.norm(1, 3))
    assert (init.constant_(array, 4) == 4).all()
    assert (init.ones_(array) == 1).all() and (init.zeros_(array) == 0).all()


def test_seeds_and_generators():
    def draw(**options):
        return init.uniform_(np.empty(4), **options)

    first = nn.manual_seed(3) and draw()
    assert np.array_equal(first, nn.manual_seed(3) and draw())
    given = [draw(generator=np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(*given) and not np.array_equal(first, given[0])


@pytest.mark.parametrize(("draw", "whole"), [
    (lambda t, g: init.uniform_(t, -2, 3, g), lambda g, shape: g.uniform(-2, 3, shape)),
    (lambda t, g: init.normal_(t, -2, 3, g), lambda g, shape: g.normal(-2, 3, shape)),
    (lambda t, g: init.normal_(t, 0, 0.3, g), lambda g, shape: g.normal(0, 0.3, shape)),
])
def test_numbers_are_those_of_one_large_draw(draw, whole):
    expected = whole(np.random.default_rng(5), (123, 321)).astype(np.float32)
    read_only = np.zeros((123, 321), np.float32)
    read_only.flags.writeable = False
    for tensor in (nn.Parameter(np.zeros((123, 321), np.float32)), nn.Parameter(read_only),
                   np.zeros((123, 321), np.float32), np.zeros((123, 642), np.float32)[:, ::2],
                   nncompile.zeros(123, 321)):
        drawn = draw(tensor, np.random.default_rng(5))
        assert drawn is tensor
        np.testing.assert_array_equal(np.asarray(drawn), expected)


def test_views_of_a_parameter_see_what_is_drawn():
    weight = nn.Parameter(np.zeros((4, 3), np.float32))
    row = weight.data[1]
    init.normal_(weight)
    np.testing.assert_array_equal(row.numpy(), weight.numpy()[1])
    assert row.numpy().any()


def test_nothing_is_drawn_in_a_trace():
    class Drawing(nn.Linear):
        def forward(self, x):
            return super().forward(init.normal_(self.weight).new_zeros(1) + x)

    layer = Drawing(3, 3)
    before = layer.weight.numpy().copy()
    with pytest.raises(nncompile.TraceError):
        nncompile.trace(layer, "f32[B, 3]")
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_gains_are_torchs():
    torch = pytest.importorskip("torch", reason="torch, the oracle of the gains, is not installed")
    for args in [("linear",), ("sigmoid",), ("tanh",), ("relu",), ("selu",), ("leaky_relu",),
                 ("leaky_relu", 0.3)]:
        assert math.isclose(init.calculate_gain(*args), torch.nn.init.calculate_gain(*args))


def test_errors():
    with pytest.raises(InputError, match="two dimensions"):
        init.xavier_uniform_(np.empty(3))
    with pytest.raises(InputError, match="fan_in"):
        init.kaiming_normal_(np.empty((3, 3)), mode="fan")
    with pytest.raises(InputError, match="'gelu'"):
        init.calculate_gain("gelu")


def test_truncated_normal():
    array = np.empty((40, 50))
    for mean, std, a, b in [(0, 1, -2, 2), (1, 2, 0, 3), (0, 1, 1.5, 4), (0, 0.02, -2, 2)]:
        init.trunc_normal_(array, mean, std, a, b)
        assert array.min() >= a and array.max() <= b
        looks_like(array, stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std))
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(array, 0, 1, 3, 4)
    looks_like(array, stats.truncnorm(3, 4))
    assert init.trunc_normal_(np.empty(0)).size == 0


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 3), (1, 1)])
def test_orthogonal(shape):
    q = init.orthogonal_(np.empty(shape), gain=2).reshape(shape[0], -1)
    small = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    first = [init.orthogonal_(np.empty((3, 3)))[0, 0] for _ in range(400)]
    looks_like(np.square(first), stats.beta(0.5, 1))       # a coordinate of a point on the sphere


def test_identities_and_zeros():
    assert np.array_equal(init.eye_(np.empty((2, 3))), np.eye(2, 3))
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    for shape, groups in [((4, 2, 3), 1), ((4, 2, 3), 2), ((6, 2, 3, 5), 3), ((2, 4, 2, 2, 2), 1)]:
        want = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
        assert np.array_equal(init.dirac_(np.empty(shape, np.float32), groups), want)
    array = init.sparse_(np.empty((50, 40)), 0.3, std=2)
    assert ((array == 0).sum(0) == 15).all()
    looks_like(array[array != 0], stats.norm(0, 2))


def test_gains_and_fans_are_torchs():
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    for name in ("linear", "conv1d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)
    for shape in [(3, 4), (3, 4, 5), (2, 3, 4, 5)]:
        want = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
        assert init._calculate_fan_in_and_fan_out(np.empty(shape)) == want


def test_defaults_of_the_wide_layers():
    layer = nn.Bilinear(30, 20, 40)
    looks_like(layer.weight.data, uniform(1 / math.sqrt(30)))
    looks_like(nn.EmbeddingBag(300, 40).weight.data, stats.norm)
    attention = nn.MultiheadAttention(48, 4, add_bias_kv=True)
    looks_like(attention.in_proj_weight.data, uniform(math.sqrt(6 / (4 * 48))))
    looks_like(attention.out_proj.weight.data, uniform(1 / math.sqrt(48)))
    assert not attention.in_proj_bias.data.any() and not attention.out_proj.bias.data.any()
    apart = nn.MultiheadAttention(48, 4, kdim=20)
    looks_like(apart.k_proj_weight.data, uniform(math.sqrt(6 / 68)))
    assert (nn.PReLU(3).weight.data == 0.25).all() and (nn.RMSNorm(4).weight.data == 1).all()


def test_old_names_warn():
    with pytest.warns(FutureWarning, match="deprecated"):
        assert init.constant(np.empty(2), 3).tolist() == [3, 3]


@pytest.mark.parametrize("call", [
    lambda: init.eye_(np.empty(3)), lambda: init.dirac_(np.empty((2, 2))),
    lambda: init.dirac_(np.empty((3, 2, 2)), 2), lambda: init.orthogonal_(np.empty(3)),
    lambda: init.sparse_(np.empty(3), 0.5), lambda: init.trunc_normal_(np.empty(3), a=2, b=1),
    lambda: init.kaiming_normal_(np.empty((2, 2)), mode="fan_up")])
def test_refused(call):
    with pytest.raises(InputError):
        call()
