"""The initial distributions are torch's: their bounds, and Kolmogorov-Smirnov tests by scipy."""

import math

import numpy as np
import pytest

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
