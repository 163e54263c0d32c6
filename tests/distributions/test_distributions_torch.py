"""Distributions beside torch's: each from the same parameters, eager and in a compiled model."""
from __future__ import annotations

import numpy as np
import pytest

import nncompile
import nncompile.distributions as D
from nncompile import nn

torch = pytest.importorskip("torch", reason="the oracle")
TD = torch.distributions

RNG = np.random.default_rng(3)
REAL = RNG.standard_normal((4, 3)).astype(np.float32)
POSITIVE = (np.abs(REAL) + 0.3).astype(np.float32)
MORE = (POSITIVE[::-1] * 2).copy()
UNIT = (1 / (1 + np.exp(-REAL))).astype(np.float32)
SHARES = (POSITIVE / POSITIVE.sum(-1, keepdims=True)).astype(np.float32)
LOWER = (np.tril(RNG.standard_normal((4, 3, 3)) * 0.3, -1)
         + np.eye(3) * POSITIVE[:, :, None]).astype(np.float32)
COVARIANCE = (LOWER @ LOWER.transpose(0, 2, 1)).astype(np.float32)
BITS = (REAL > 0).astype(np.float32)
COUNTS = np.floor(POSITIVE * 3).astype(np.float32)
CLASSES = np.array([0, 2, 1, 1])
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]


def tanh_normal(d, loc, scale):
    return d.TransformedDistribution(d.Normal(loc, scale), [d.TanhTransform(cache_size=1)])


def chain(d, loc, scale):
    parts = [d.SigmoidTransform(), d.AffineTransform(-1.0, 2.0), d.TanhTransform()]
    return d.TransformedDistribution(d.Independent(d.Normal(loc, scale), 1), parts)


def powers(d, loc, scale):
    parts = [d.ExpTransform(), d.PowerTransform(0.5), d.ExpTransform().inv]
    return d.TransformedDistribution(d.Normal(loc, scale), parts)


def mixture(d, logits, loc, scale):
    return d.MixtureSameFamily(d.Categorical(logits=logits), d.Normal(loc, scale))


def mixture_of_vectors(d, logits, loc, scale):
    parts = d.Independent(d.Normal(loc, scale), 1)
    return d.MixtureSameFamily(d.Categorical(logits=logits[0, 0] + logits[:, 0]), parts)


# A name, what makes it of (the module, arrays), the parameters, and a value that it can have.
CASES = [
    ("Normal", lambda d, a, b: d.Normal(a, b), (REAL, POSITIVE), REAL * 2),
    ("Normal of a number", lambda d, a: d.Normal(a, 0.5), (REAL,), REAL * 2),
    ("Laplace", lambda d, a, b: d.Laplace(a, b), (REAL, POSITIVE), REAL * 2),
    ("Cauchy", lambda d, a, b: d.Cauchy(a, b), (REAL, POSITIVE), REAL * 2),
    ("Gumbel", lambda d, a, b: d.Gumbel(a, b), (REAL, POSITIVE), REAL * 2),
    ("StudentT", lambda d, a, b, c: d.StudentT(a, b, c), (MORE, REAL, POSITIVE), REAL * 2),
    ("Uniform", lambda d, a, b: d.Uniform(a, a + b), (REAL, POSITIVE), REAL + POSITIVE / 3),
    ("Exponential", lambda d, a: d.Exponential(a), (POSITIVE,), MORE),
    ("Gamma", lambda d, a, b: d.Gamma(a, b), (POSITIVE, MORE), MORE),
    ("Chi2", lambda d, a: d.Chi2(a), (POSITIVE,), MORE),
    ("Beta", lambda d, a, b: d.Beta(a, b), (POSITIVE, MORE), UNIT),
    ("Dirichlet", lambda d, a: d.Dirichlet(a), (POSITIVE,), SHARES),
    ("Bernoulli", lambda d, a: d.Bernoulli(a), (UNIT,), BITS),
    ("Bernoulli of logits", lambda d, a: d.Bernoulli(logits=a), (REAL,), BITS),
    ("Geometric", lambda d, a: d.Geometric(a), (UNIT,), COUNTS),
    ("Categorical", lambda d, a: d.Categorical(a), (POSITIVE,), CLASSES),
    ("Categorical of logits", lambda d, a: d.Categorical(logits=a), (REAL,), CLASSES),
    ("OneHotCategorical", lambda d, a: d.OneHotCategorical(logits=a), (REAL,), ONE_HOT),
    ("OneHot straight through", lambda d, a: d.OneHotCategoricalStraightThrough(SHARES_OF(a)),
     (POSITIVE,), ONE_HOT),
    ("Poisson", lambda d, a: d.Poisson(a), (POSITIVE,), COUNTS),
    ("Independent", lambda d, a, b: d.Independent(d.Normal(a, b), 1), (REAL, POSITIVE), REAL * 2),
    ("MultivariateNormal", lambda d, a, b: d.MultivariateNormal(a, scale_tril=b), (REAL, LOWER),
     REAL * 2),
    ("LogNormal", lambda d, a, b: d.LogNormal(a, b), (REAL, POSITIVE), MORE),
    ("HalfNormal", lambda d, a: d.HalfNormal(a), (POSITIVE,), MORE),
    ("HalfCauchy", lambda d, a: d.HalfCauchy(a), (POSITIVE,), MORE),
    ("tanh of Normal", tanh_normal, (REAL, POSITIVE), 2 * UNIT - 1),
    ("chain", chain, (REAL, POSITIVE), np.tanh(UNIT - 0.5)),
    ("powers", powers, (REAL, POSITIVE), REAL),
    ("mixture", mixture, (REAL, REAL, POSITIVE), REAL[:, 0]),
    ("mixture of vectors", mixture_of_vectors, (REAL, REAL, POSITIVE), REAL[0]),
    ("RelaxedBernoulli", lambda d, a: d.RelaxedBernoulli(WARM(a), logits=a), (REAL,), UNIT),
    ("RelaxedOneHot", lambda d, a: d.RelaxedOneHotCategorical(WARM(a), logits=a), (REAL,),
     SHARES),
]
IDS = [case[0] for case in CASES]


def SHARES_OF(x):
    return x / x.sum(-1, True)


def WARM(x):
    return x.new_full((), 0.7)                   # torch takes no number


def both(make, parameters):
    return (make(D, *map(nncompile.from_numpy, parameters)),
            make(TD, *map(torch.from_numpy, parameters)))


def agree(ours, theirs, name=""):
    ours, theirs = ours.numpy(), theirs.numpy()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=3e-6, err_msg=name)


def answer(function):
    """What a function returns, or the class of its error."""
    try:
        return function()
    except NotImplementedError as error:
        return error


@pytest.mark.parametrize("name, make, parameters, value", CASES, ids=IDS)
def test_as_torch(name, make, parameters, value):
    ours, theirs = both(make, parameters)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample or name in ("Gamma", "Chi2", "Beta", "Dirichlet",
                                                              "StudentT")
    assert type(ours).__name__ == type(theirs).__name__
    for what in ("mean", "mode", "variance", "stddev"):
        one, other = answer(lambda w=what: getattr(ours, w)), answer(
            lambda w=what: getattr(theirs, w))
        if isinstance(other, torch.Tensor):
            agree(one, other, what)
        else:
            assert isinstance(one, type(other)), what
    agree(ours.log_prob(nncompile.tensor(value)), theirs.log_prob(torch.from_numpy(value)))
    for what, arguments in (("entropy", ()), ("cdf", (value,)), ("icdf", (UNIT,))):
        one = answer(lambda w=what, a=arguments: getattr(ours, w)(*map(nncompile.from_numpy, a)))
        other = answer(lambda w=what, a=arguments: getattr(theirs, w)(*map(torch.from_numpy, a)))
        if isinstance(other, torch.Tensor) and not isinstance(one, NotImplementedError):
            agree(one, other, what)
        else:                                    # torch's needs the incomplete gamma function
            assert isinstance(other, NotImplementedError) or what == "cdf", what
    if theirs.has_enumerate_support:
        for expand in (True, False):
            agree(ours.enumerate_support(expand), theirs.enumerate_support(expand))


@pytest.mark.parametrize("name, make, parameters, value", CASES, ids=IDS)
def test_expanded(name, make, parameters, value):
    ours, theirs = both(make, parameters)
    shape = (2, *theirs.batch_shape)
    one, other = ours.expand(shape), theirs.expand(shape)
    assert tuple(one.batch_shape) == shape and type(one) is type(ours)
    agree(one.log_prob(nncompile.tensor(value)), other.log_prob(torch.from_numpy(value)))
    assert tuple(one.sample((5,)).shape) == tuple(other.sample((5,)).shape)


@pytest.mark.parametrize("name, make, parameters, value", CASES, ids=IDS)
def test_in_a_model(name, make, parameters, value):
    """Of all sizes of the batch: the parameters and the value are inputs."""
    class Model(nn.Module):
        def forward(self, value, *parameters):
            return make(D, *parameters).log_prob(value)

    compiled = nncompile.compile(Model(), *(
        f"{'f32' if x.dtype == np.float32 else 'i64'}[{', '.join(['B', *map(str, x.shape[1:])])}]"
        if len(x) == 4 else "f32[3]" for x in (value, *parameters)))
    for part in (slice(4), slice(1)):
        inputs = [x[part] if len(x) == 4 else x for x in (value, *parameters)]
        theirs = make(TD, *map(torch.from_numpy, inputs[1:]))
        agree(nncompile.from_numpy(compiled(*inputs)), theirs.log_prob(torch.from_numpy(inputs[0])))


DRAWN = [case for case in CASES if case[0] not in ("Cauchy", "HalfCauchy", "StudentT")]


@pytest.mark.parametrize("name, make, parameters, value", DRAWN, ids=[c[0] for c in DRAWN])
def test_samples(name, make, parameters, value):
    """Their mean is that of torch's; their support holds them; a seed repeats them."""
    nncompile.manual_seed(7)
    torch.manual_seed(7)
    ours, theirs = both(make, parameters)
    drawn = ours.sample((20_000,))
    expected = theirs.sample((20_000,))
    assert tuple(drawn.shape) == tuple(expected.shape)
    assert str(drawn.dtype) == str(expected.dtype)
    spread = expected.double().std(0).numpy() + 1e-3
    np.testing.assert_array_less(
        np.abs(drawn.double().mean(0).numpy() - expected.double().mean(0).numpy()),
        6 * spread * np.sqrt(2 / 20_000))
    assert ours.support.check(drawn).all()
    nncompile.manual_seed(7)
    assert (ours.sample((20_000,)) == drawn).all()


def test_the_heavy_tailed_ones_have_torch_s_quantiles():
    nncompile.manual_seed(1)
    for name, make, parameters, _ in CASES:
        if name in ("Cauchy", "HalfCauchy", "StudentT"):
            ours, theirs = both(make, parameters)
            one, other = ours.sample((20_000,)).numpy(), theirs.sample((20_000,)).numpy()
            for q in (0.25, 0.5, 0.75):
                np.testing.assert_allclose(np.quantile(one, q, 0), np.quantile(other, q, 0),
                                           rtol=0.1, atol=0.1)


PAIRS = [
    ("Normal", lambda d, a, b: d.Normal(a, b)), ("Laplace", lambda d, a, b: d.Laplace(a, b)),
    ("LogNormal", lambda d, a, b: d.LogNormal(a, b)),
    ("HalfNormal", lambda d, a, b: d.HalfNormal(b)),
    ("Gumbel", lambda d, a, b: d.Gumbel(a, b)), ("Exponential", lambda d, a, b: d.Exponential(b)),
    ("Gamma", lambda d, a, b: d.Gamma(b, b + 1)), ("Beta", lambda d, a, b: d.Beta(b, b + 1)),
    ("Dirichlet", lambda d, a, b: d.Dirichlet(b)), ("Poisson", lambda d, a, b: d.Poisson(b)),
    ("Bernoulli", lambda d, a, b: d.Bernoulli(logits=a)),
    ("Geometric", lambda d, a, b: d.Geometric(logits=a)),
    ("Categorical", lambda d, a, b: d.Categorical(logits=a)),
    ("OneHot", lambda d, a, b: d.OneHotCategorical(logits=a)),
    ("Independent", lambda d, a, b: d.Independent(d.Normal(a, b), 1)),
    ("Uniform", lambda d, a, b: d.Uniform(-b - a.abs(), b + a.abs())),
    ("tanh", tanh_normal),
]


@pytest.mark.parametrize("name, make", PAIRS, ids=[p[0] for p in PAIRS])
def test_kl_divergence(name, make):
    p, p_torch = both(make, (REAL, POSITIVE))
    q, q_torch = both(make, (REAL[::-1].copy(), MORE))
    agree(D.kl_divergence(p, q), TD.kl_divergence(p_torch, q_torch))
    agree(D.kl_divergence(p, p), TD.kl_divergence(p_torch, p_torch))


def test_kl_divergence_of_others():
    def vectors(d, a, b):
        return d.MultivariateNormal(a, scale_tril=b)

    (n, n_torch), (m, m_torch) = (both(vectors, (REAL * k, LOWER * k)) for k in (1, 2))
    agree(D.kl_divergence(n, m), TD.kl_divergence(n_torch, m_torch))
    for make, other in ((lambda d, a, b: d.Uniform(a, a + b), lambda d, a, b: d.Normal(a, b)),
                        (lambda d, a, b: d.Normal(a, b), lambda d, a, b: d.Laplace(b, b))):
        (p, p_torch), (q, q_torch) = (both(f, (REAL, POSITIVE)) for f in (make, other))
        agree(D.kl_divergence(p, q), TD.kl_divergence(p_torch, q_torch))
    with pytest.raises(NotImplementedError, match="do: register one with register_kl"):
        D.kl_divergence(p, D.Poisson(1.0))

    class Mine(D.Normal):
        pass

    @D.register_kl(Mine, D.Poisson)
    def _(p, q):
        return p.loc

    assert D.kl_divergence(Mine(3.0, 1.0), D.Poisson(1.0)).item() == 3
    assert D.kl_divergence(Mine(3.0, 1.0), D.Normal(3.0, 1.0)).item() == 0


@pytest.mark.parametrize("how", ["covariance_matrix", "precision_matrix"])
def test_multivariate_normal_of_a_covariance(how):
    ours, theirs = both(lambda d, a, b: d.MultivariateNormal(a, **{how: b}), (REAL, COVARIANCE))
    np.testing.assert_allclose(ours.scale_tril, theirs.scale_tril, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(ours.log_prob(REAL * 2), theirs.log_prob(torch.from_numpy(REAL * 2)),
                               rtol=1e-4)
    np.testing.assert_allclose(ours.covariance_matrix, theirs.covariance_matrix, rtol=1e-3,
                               atol=1e-5)


# A wrong call, and torch's error of it where it is another than ValueError.
WRONG = [
    lambda d, t: d.Normal(t.zeros(2), t.tensor([1.0, -1.0])), lambda d, t: d.Normal("a", 1.0),
    lambda d, t: d.Normal(t.tensor([float("nan")]), 1.0), lambda d, t: d.Bernoulli(t.tensor(1.5)),
    lambda d, t: d.Bernoulli(), lambda d, t: d.Bernoulli(0.5, 0.1),
    lambda d, t: d.Categorical(t.tensor([-1.0, 2.0])), lambda d, t: d.Categorical(t.tensor(1.0)),
    lambda d, t: d.Categorical(t.ones(3)).log_prob(t.tensor(3)),
    lambda d, t: d.Bernoulli(t.tensor(0.5)).log_prob(t.tensor(0.3)),
    lambda d, t: d.Uniform(1.0, 0.0), lambda d, t: d.Exponential(1.0).log_prob(t.tensor(-1.0)),
    lambda d, t: d.Independent(d.Normal(t.zeros(3), 1.0), 2),
    lambda d, t: d.Independent(d.Normal(t.zeros(3), 1.0), 1).log_prob(t.zeros(2)),
    lambda d, t: d.MultivariateNormal(t.zeros(2)),
    lambda d, t: d.MultivariateNormal(t.zeros(2), scale_tril=-t.eye(2)),
    lambda d, t: d.MultivariateNormal(t.zeros(2), covariance_matrix=-t.eye(2)),
    lambda d, t: d.Dirichlet(t.tensor(1.0)), lambda d, t: d.TanhTransform(cache_size=2),
    lambda d, t: d.MixtureSameFamily(d.Categorical(t.ones(2)), d.Normal(t.zeros(3), 1.0)),
    lambda d, t: d.OneHotCategorical(t.ones(3)).log_prob(t.ones(3)),
    lambda d, t: d.TransformedDistribution(d.Normal(0.0, 1.0), [3]),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_calls(number):
    with pytest.raises(ValueError):
        WRONG[number](TD, torch)
    with pytest.raises(ValueError, match=r"\w"):
        WRONG[number](D, nncompile)


def test_arguments_are_checked_unless_that_is_turned_off():
    bad = nncompile.tensor([1.0, -1.0])
    with pytest.raises(ValueError, match=r"Expected parameter scale .* of distribution Normal"
                                         r"\(loc: .*GreaterThan\(lower_bound=0.0\)"):
        D.Normal(0.0, bad)
    assert D.Normal(0.0, bad, validate_args=False).scale.tolist() == [1, -1]
    D.Distribution.set_default_validate_args(False)
    try:
        assert D.Normal(0.0, bad).scale.tolist() == [1, -1]
    finally:
        D.Distribution.set_default_validate_args(True)


class Policy(nn.Module):
    """An actor as soft actor-critic has it: the action, and its log-density."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_std = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x, noise=None):
        base = D.Normal(self.mean(x), self.log_std(x).clamp(-5, 2).exp())
        policy = D.Independent(D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]), 1)
        drawn = base.rsample() if noise is None else base.mean + base.stddev * noise
        action = policy.base_dist.transforms[0](drawn)
        return action, policy.log_prob(action), policy.base_dist.base_dist.entropy().sum(-1)


def test_a_policy_whose_noise_is_an_input():
    model = Policy()
    fast = nncompile.compile(model, "f32[B, 3]", "f32[B, 2]")
    noise = RNG.standard_normal((4, 2)).astype(np.float32)
    for mine, eager in zip(fast(REAL, noise), model(REAL, noise), strict=True):
        np.testing.assert_allclose(mine, eager, rtol=1e-5, atol=1e-6)


def test_drawing_in_a_trace_is_refused():
    with pytest.raises(nncompile.TraceError, match=r"Normal.sample draws at random") as caught:
        nncompile.compile(Policy(), "f32[B, 3]")
    assert "do: " in str(caught.value)
    assert Policy()(REAL)[0].shape == (4, 2)


def test_a_prior_that_a_model_keeps():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.prior = D.Categorical(nncompile.tensor([0.2, 0.3, 0.5]))
            self.normal = D.Normal(nncompile.zeros(3), nncompile.ones(3))

        def forward(self, x):
            return D.kl_divergence(D.Categorical(logits=x), self.prior), self.normal.log_prob(x)

    model = Model()
    for _ in range(2):                           # nothing of a trace is kept
        fast = nncompile.compile(model, "f32[B, 3]")
        for mine, eager in zip(fast(REAL), model(REAL), strict=True):
            np.testing.assert_allclose(mine, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gamma_function(name, dtype):
    scipy = pytest.importorskip("scipy.special", reason="the oracle")
    special = [0.0, -0.0, -1.0, -2.0, -30.0, np.inf, np.nan, 1e-30, -1e-3, 1e30, 1.0, 2.0]
    x = np.concatenate([special, np.linspace(-20.2, 30, 3001), np.geomspace(1e-6, 1e6, 500)])
    x = x.astype(dtype)
    exact = {"lgamma": scipy.gammaln, "digamma": scipy.psi}[name](x.astype(np.float64))
    with np.errstate(over="ignore"):
        exact = exact.astype(dtype)
    got = getattr(nncompile, name)(x)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, exact, rtol=1e-6 if dtype == np.float32 else 1e-11,
                               atol=1e-6 if dtype == np.float32 else 1e-12)
    theirs = getattr(torch, name)(torch.from_numpy(x[:7])).numpy()
    np.testing.assert_array_equal(np.isnan(got[:7]), np.isnan(theirs))
    np.testing.assert_array_equal(np.isinf(got[:7]), np.isinf(theirs))

    class Model(nn.Module):
        def forward(self, x):
            return getattr(x, name)()

    compiled = nncompile.compile(Model(), f"f{8 * x.itemsize}[B]")
    np.testing.assert_allclose(compiled(x), got, rtol=2e-6 if dtype == np.float32 else 1e-11,
                               atol=2e-6 if dtype == np.float32 else 1e-11)


def test_names_are_found_where_torch_has_them():
    from nncompile.distributions.kl import kl_divergence
    from nncompile.distributions.normal import Normal
    from nncompile.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
    from nncompile.distributions.transforms import TanhTransform
    assert (Normal, TanhTransform, kl_divergence) == (D.Normal, D.TanhTransform, D.kl_divergence)
    assert issubclass(LogitRelaxedBernoulli, D.Distribution)
    assert repr(D.constraints.positive) == repr(TD.constraints.positive)
    with pytest.raises(nncompile.Error, match="not in nncompile"):
        D.VonMises(0.0, 1.0)()


@pytest.mark.parametrize("name, make, parameters, value", CASES, ids=IDS)
def test_gradients_of_the_log_density(name, make, parameters, value):
    ours = [nncompile.tensor(p).requires_grad_() for p in parameters]
    theirs = [torch.tensor(p).requires_grad_() for p in parameters]
    make(D, *ours).log_prob(nncompile.tensor(value)).sum().backward()
    make(TD, *theirs).log_prob(torch.tensor(value)).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_samples_have_gradients_where_they_are_functions_of_the_parameters():
    loc, scale = (nncompile.tensor(p).requires_grad_() for p in (REAL, POSITIVE))
    drawn = D.Normal(loc, scale).rsample()
    drawn.sum().backward()
    np.testing.assert_allclose(loc.grad.numpy(), 1)
    noise = (drawn.detach() - loc.detach()) / scale.detach()
    np.testing.assert_allclose(scale.grad.numpy(), noise.numpy(), rtol=1e-4, atol=1e-5)
    assert not D.Normal(loc, scale).sample().requires_grad
