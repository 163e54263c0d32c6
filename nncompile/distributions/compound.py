"""Distributions that are made of others: of several numbers, transformed, or mixed."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nncompile.array import Array
from nncompile.array.linear_algebra import cholesky, inv
from nncompile.distributions import constraints
from nncompile.distributions.continuous import Cauchy, Normal
from nncompile.distributions.discrete import Categorical, check_one_of
from nncompile.distributions.distribution import HALF_LOG_2PI, Distribution
from nncompile.distributions.transforms import (
    AbsTransform,
    ComposeTransform,
    ExpTransform,
    SigmoidTransform,
    Transform,
)
from nncompile.distributions.utils import (
    are_numbers,
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
    sum_rightmost,
)
from nncompile.functions import broadcast_tensors, stack, where
from nncompile.nn.functional import softplus


class Independent(Distribution):
    """A distribution whose last batch dimensions count as dimensions of its values."""

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int,
                 validate_args: bool | None = None) -> None:
        batch = base_distribution.batch_shape
        if reinterpreted_batch_ndims > len(batch):
            raise ValueError("reinterpreted_batch_ndims is at most the number of batch dimensions, "
                             f"{len(batch)}, not {reinterpreted_batch_ndims}")
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        shape = (*batch, *base_distribution.event_shape)
        kept = len(batch) - reinterpreted_batch_ndims
        super().__init__(shape[:kept], shape[kept:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the distribution with its batch expanded to a shape."""
        own = self._event_shape[:self.reinterpreted_batch_ndims]
        return type(self)(self.base_dist.expand((*batch_shape, *own)),
                          self.reinterpreted_batch_ndims, validate_args=False)

    @property
    def has_rsample(self) -> bool:               # type: ignore[override]
        """Whether the other has it."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:     # type: ignore[override]
        """Whether the other has it, and no dimension is taken."""
        return self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support

    @constraints.dependent_property
    def support(self) -> Any:
        """Arrays of the other's support."""
        if not self.reinterpreted_batch_ndims:
            return self.base_dist.support
        return constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims)

    @property
    def mean(self) -> Any:
        """The other's means."""
        return self.base_dist.mean

    @property
    def mode(self) -> Any:
        """The other's modes."""
        return self.base_dist.mode

    @property
    def variance(self) -> Any:
        """The other's variances."""
        return self.base_dist.variance

    @property
    def stddev(self) -> Any:
        """The other's standard deviations."""
        return self.base_dist.stddev

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples of the other."""
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns samples of the other."""
        return self.base_dist.sample(sample_shape)

    def log_prob(self, value: Any) -> Any:
        """Returns the sums of the other's over the dimensions of a value."""
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Any:
        """Returns the sums of the other's."""
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Returns all values of the other, where no dimension is taken."""
        if self.reinterpreted_batch_ndims:
            raise NotImplementedError("Independent lists no values of several numbers")
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class MultivariateNormal(Distribution):
    """Normal distributions of vectors [..., K].

    One of covariance_matrix, precision_matrix and scale_tril is given, each [..., K, K]; scale_tril
    is the lower Cholesky factor of the covariance, and positive on its diagonal. A graph has no op
    that factorises: in a trace, a covariance or precision has to be known.
    """

    has_rsample = True
    arg_constraints: ClassVar[Any] = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky}
    support: Any = constraints.real_vector

    def __init__(self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None,
                 scale_tril: Any = None, validate_args: bool | None = None) -> None:
        given = {name: matrix for name, matrix in (
            ("covariance_matrix", covariance_matrix), ("precision_matrix", precision_matrix),
            ("scale_tril", scale_tril)) if matrix is not None}
        if len(given) != 1:
            raise ValueError("MultivariateNormal takes exactly one of covariance_matrix, "
                             f"precision_matrix and scale_tril, not {len(given)}")
        (name, matrix), = given.items()
        loc, matrix = (broadcast_all(x)[0] for x in (loc, matrix))
        if loc.ndim < 1 or matrix.ndim < 2:
            raise ValueError(f"loc has one dimension or more and {name} two or more, not "
                             f"{loc.ndim} and {matrix.ndim}")
        loc, row = broadcast_tensors(loc, matrix[..., 0])
        matrix = matrix.expand(*row.shape[:-1], *matrix.shape[-2:])
        self.loc = loc
        setattr(self, name, matrix)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)
        if name == "covariance_matrix":
            self.scale_tril = cholesky(matrix)
        elif name == "precision_matrix":
            # of L L^T = P, turned over: the inverse of P is lower times its transpose
            turned = cholesky(matrix.flip(-2, -1)).flip(-2, -1).transpose(-2, -1)
            self.scale_tril = inv(turned)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariances."""
        return self.scale_tril.matmul(self.scale_tril.transpose(-2, -1))

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverses of the covariances."""
        return inv(self.covariance_matrix)

    @property
    def mean(self) -> Any:
        """The parameter loc."""
        return self.loc

    @property
    def mode(self) -> Any:
        """The parameter loc."""
        return self.loc

    @property
    def variance(self) -> Any:
        """The diagonals of the covariances."""
        return self.scale_tril.square().sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples: loc + scale_tril @ noise."""
        noise = self._drawn(sample_shape, self.loc, self.loc.shape,
                            lambda g, shape: g.standard_normal(shape))
        return self.loc + self.scale_tril.matmul(noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        distance = solved_lower(self.scale_tril, self._value(value) - self.loc)
        return (-0.5 * distance.square().sum(-1) - self._event_shape[0] * HALF_LOG_2PI
                - self._half_log_det())

    def entropy(self) -> Any:
        """Returns the entropy."""
        return self._event_shape[0] * (0.5 + HALF_LOG_2PI) + self._half_log_det()

    def _half_log_det(self) -> Any:
        return self.scale_tril.diagonal(0, -2, -1).log().sum(-1)


def solved_lower(lower: Any, vectors: Any) -> Any:
    """Returns the x [..., K] of which lower @ x is a vector, for lower matrices [..., K, K].

    By forward substitution: one number of x in each of K steps.
    """
    solved: list[Any] = []
    for row in range(vectors.shape[-1]):
        rest = vectors[..., row]
        if solved:
            rest = rest - (lower[..., row, :row] * stack(solved, -1)).sum(-1)
        solved.append(rest / lower[..., row, row])
    return stack(solved, -1)


class TransformedDistribution(Distribution):
    """The distribution of a function, or of several in a row, of a random variable."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(self, base_distribution: Distribution, transforms: Any,
                 validate_args: bool | None = None) -> None:
        self.transforms: list[Transform] = (
            [transforms] if isinstance(transforms, Transform) else list(transforms))
        if not all(isinstance(part, Transform) for part in self.transforms):
            raise ValueError("transforms is a Transform or a list of Transforms, not "
                             f"{transforms!r}")
        whole = ComposeTransform(self.transforms)
        batch, event = base_distribution.batch_shape, base_distribution.event_shape
        if len(batch) + len(event) < whole.domain.event_dim:
            raise ValueError(f"base_distribution needs shapes of {whole.domain.event_dim} "
                             f"dimensions or more, and has {(*batch, *event)}")
        base = base_distribution
        wider = whole.domain.event_dim - len(event)
        if wider > 0:
            base = Independent(base, wider)
        self.base_dist = base
        shape = whole.forward_shape((*base.batch_shape, *base.event_shape))
        own = max(whole.codomain.event_dim,
                  len(base.event_shape) + whole.codomain.event_dim - whole.domain.event_dim)
        kept = len(shape) - own
        super().__init__(shape[:kept], shape[kept:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the distribution with its batch expanded to a shape."""
        new = self._get_checked_instance(TransformedDistribution, _instance)
        shape = ComposeTransform(self.transforms).inverse_shape((*batch_shape, *self._event_shape))
        base = self.base_dist.expand(shape[:len(shape) - len(self.base_dist.event_shape)])
        TransformedDistribution.__init__(new, base, self.transforms, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def has_rsample(self) -> bool:               # type: ignore[override]
        """Whether the other has it."""
        return self.base_dist.has_rsample

    @constraints.dependent_property
    def support(self) -> Any:
        """The last function's codomain."""
        if not self.transforms:
            return self.base_dist.support
        last = self.transforms[-1].codomain
        more = len(self._event_shape) - last.event_dim
        return constraints.independent(last, more) if more > 0 else last

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns the function of samples of the other."""
        x = self.base_dist.rsample(sample_shape)
        for part in self.transforms:
            x = part(x)
        return x

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns the function of samples of the other."""
        x = self.base_dist.sample(sample_shape)
        for part in self.transforms:
            x = part(x)
        return x

    def log_prob(self, value: Any) -> Any:
        """Returns the other's log-density at the x of a y, less log |dy/dx|."""
        y, total, dims = self._value(value), 0.0, len(self._event_shape)
        for part in reversed(self.transforms):
            x = part._inv_call(y)
            dims += part.domain.event_dim - part.codomain.event_dim
            total = total - sum_rightmost(part.log_abs_det_jacobian(x, y),
                                          dims - part.domain.event_dim)
            y = x
        more = dims - len(self.base_dist.event_shape)
        return total + sum_rightmost(self.base_dist.log_prob(y), more)

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        value = self._value(value)
        for part in reversed(self.transforms):
            value = part._inv_call(value)
        return self._turned(self.base_dist.cdf(value))

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        value = self.base_dist.icdf(self._turned(value))
        for part in self.transforms:
            value = part(value)
        return value

    def _turned(self, probability: Any) -> Any:
        """The other's probability for that of a function, which may fall."""
        sign = math.prod(part.sign for part in self.transforms)
        if isinstance(sign, int) and sign == 1:
            return probability
        return sign * (probability - 0.5) + 0.5

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Derived(TransformedDistribution):
    """A function of a distribution whose parameters are that one's."""

    def __repr__(self) -> str:
        return Distribution.__repr__(self)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the distribution with its batch expanded to a shape."""
        return super().expand(batch_shape, self._get_checked_instance(_Derived, _instance))


class LogNormal(_Derived):
    """Distributions of exp(x), for a normal x of mean loc and standard deviation scale."""

    arg_constraints: ClassVar[Any] = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.positive

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args=validate_args), ExpTransform(),
                         validate_args=validate_args)

    @property
    def loc(self) -> Any:
        """The mean of x."""
        return self.base_dist.loc                # type: ignore[attr-defined]

    @property
    def scale(self) -> Any:
        """The standard deviation of x."""
        return self.base_dist.scale              # type: ignore[attr-defined]

    @property
    def mean(self) -> Any:
        """exp(loc + scale^2 / 2)."""
        return (self.loc + self.scale.square() / 2).exp()

    @property
    def mode(self) -> Any:
        """exp(loc - scale^2)."""
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Any:
        """The variances."""
        square = self.scale.square()
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self) -> Any:
        """Returns the entropy of x, plus loc."""
        return self.base_dist.entropy() + self.loc


class _Half(_Derived):
    """The absolute values of a distribution around 0."""

    arg_constraints: ClassVar[Any] = {"scale": constraints.positive}
    support: Any = constraints.nonnegative

    @property
    def scale(self) -> Any:
        """The other's scale."""
        return self.base_dist.scale              # type: ignore[attr-defined]

    @property
    def mode(self) -> Any:
        """0."""
        return self.scale * 0

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density: -inf below 0."""
        value = self._value(value)
        return where(value >= 0, self.base_dist.log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        return 2 * self.base_dist.cdf(self._value(value)) - 1

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Any:
        """Returns the other's, less log(2)."""
        return self.base_dist.entropy() - math.log(2)


class HalfNormal(_Half):
    """Distributions of |x|, for a normal x of mean 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), AbsTransform(),
                         validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """It is scale * sqrt(2 / pi)."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Any:
        """scale^2 (1 - 2 / pi)."""
        return self.scale.square() * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """Distributions of |x|, for a Cauchy-distributed x of location 0."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(),
                         validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """Infinite."""
        return self.base_dist.variance

    @property
    def variance(self) -> Any:
        """Infinite."""
        return self.base_dist.variance


class MixtureSameFamily(Distribution):
    """Mixtures: a Categorical chooses along the last batch dimension of a distribution."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution,
                 validate_args: bool | None = None) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError("mixture_distribution is a Categorical, not "
                             f"{type(mixture_distribution).__name__}")
        batch = component_distribution.batch_shape
        if len(batch) < 1 or batch[-1] != mixture_distribution._num_events:
            raise ValueError(f"the last batch dimension of the components, {tuple(batch)}, is that "
                             f"of the mixture's classes, {mixture_distribution._num_events}")
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        self._event_ndims = len(component_distribution.event_shape)
        super().__init__(batch[:-1], component_distribution.event_shape, validate_args=False)
        if validate_args is not None:
            self._validate_args = validate_args

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the distribution with its batch expanded to a shape."""
        count = self._mixture_distribution._num_events
        return type(self)(self._mixture_distribution.expand(batch_shape),
                          self._component_distribution.expand((*batch_shape, count)))

    @property
    def mixture_distribution(self) -> Categorical:
        """What chooses."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """What it chooses from."""
        return self._component_distribution

    @constraints.dependent_property
    def support(self) -> Any:
        """The components' support."""
        return self._component_distribution.support

    def _of_events(self, x: Any) -> Any:
        """Puts dimensions of size 1 behind, one for each of a value."""
        for _ in range(self._event_ndims):
            x = x.unsqueeze(-1)
        return x

    @property
    def mean(self) -> Any:
        """The means of the components' means."""
        probs = self._of_events(self._mixture_distribution.probs)
        return (probs * self._component_distribution.mean).sum(-1 - self._event_ndims)

    @property
    def variance(self) -> Any:
        """The mean of the components' variances, plus the variance of their means."""
        dim = -1 - self._event_ndims
        probs = self._of_events(self._mixture_distribution.probs)
        spread = self._component_distribution.mean - self.mean.unsqueeze(dim)
        return (probs * (self._component_distribution.variance + spread.square())).sum(dim)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        value = self._value(value).unsqueeze(-1 - self._event_ndims)
        weights = self._mixture_distribution.logits.log_softmax(-1)
        return (self._component_distribution.log_prob(value) + weights).logsumexp(-1)

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        below = self._component_distribution.cdf(self._value(value).unsqueeze(-1))
        return (below * self._mixture_distribution.probs).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        chosen = self._mixture_distribution.sample(sample_shape)
        values = self._component_distribution.sample(sample_shape)
        dim = values.ndim - 1 - self._event_ndims
        index = self._of_events(chosen.unsqueeze(-1))
        index = index.expand(*values.shape[:dim], 1, *values.shape[dim + 1:])
        return values.gather(dim, index).squeeze(dim)

    def __repr__(self) -> str:
        return (f"MixtureSameFamily(\n  {self._mixture_distribution!r},\n  "
                f"{self._component_distribution!r})")


class _Relaxed(Distribution):
    """What the two relaxations of discrete distributions have: probs or logits, a temperature."""

    has_rsample = True

    def __init__(self, name: str, temperature: Any, probs: Any, logits: Any) -> None:
        check_one_of(name, probs, logits)
        self.temperature = temperature


class LogitRelaxedBernoulli(_Relaxed):
    """The log-odds of RelaxedBernoulli."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.unit_interval,
                                      "logits": constraints.real}
    support: Any = constraints.real

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None) -> None:
        super().__init__("LogitRelaxedBernoulli", temperature, probs, logits)
        given = probs if logits is None else logits
        value, = broadcast_all(given)
        setattr(self, "probs" if logits is None else "logits", value)
        Distribution.__init__(self, () if are_numbers(given) else value.shape,
                              validate_args=validate_args)

    @lazy_property
    def logits(self) -> Any:
        """The log-odds of 1."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """The probabilities of 1."""
        return logits_to_probs(self.logits, is_binary=True)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        noise = self._drawn(sample_shape, self.probs, self._batch_shape,
                            lambda g, shape: g.random(shape))
        uniform, probs = clamp_probs(noise), clamp_probs(self.probs)
        return (uniform.log() - (-uniform).log1p() + probs.log() - (-probs).log1p()
                ) / self.temperature

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        logits, value = broadcast_all(self.logits, self._value(value))
        difference = logits - value * self.temperature
        return _log(self.temperature) + difference - 2 * softplus(difference)


class RelaxedBernoulli(_Derived):
    """Distributions over [0, 1] that are near 0 and 1 at a low temperature.

    Maddison et al. (2016), arXiv:1611.00712.
    """

    arg_constraints: ClassVar[Any] = LogitRelaxedBernoulli.arg_constraints
    support: Any = constraints.unit_interval

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None) -> None:
        super().__init__(LogitRelaxedBernoulli(temperature, probs, logits), SigmoidTransform(),
                         validate_args=validate_args)

    temperature = property(lambda self: self.base_dist.temperature)
    logits = property(lambda self: self.base_dist.logits)
    probs = property(lambda self: self.base_dist.probs)


class ExpRelaxedCategorical(_Relaxed):
    """The logarithms of RelaxedOneHotCategorical."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.simplex,
                                      "logits": constraints.real_vector}
    support: Any = constraints.real_vector

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None) -> None:
        super().__init__("ExpRelaxedCategorical", temperature, probs, logits)
        self._categorical = Categorical(probs, logits)
        shape = self._categorical.param_shape
        Distribution.__init__(self, shape[:-1], shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the distribution with its batch expanded to a shape."""
        new = super().expand(batch_shape, _instance)
        new._categorical = self._categorical.expand(batch_shape)
        return new

    logits = property(lambda self: self._categorical.logits)
    probs = property(lambda self: self._categorical.probs)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        noise = self._drawn(sample_shape, self.logits, self.logits.shape,
                            lambda g, shape: g.random(shape))
        gumbels = -(-clamp_probs(noise).log()).log()
        scores = (self.logits + gumbels) / self.temperature
        return scores - scores.logsumexp(-1, keepdim=True)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        value, count = self._value(value), self._event_shape[0]
        logits, value = broadcast_all(self.logits, value)
        score = logits - value * self.temperature
        score = (score - score.logsumexp(-1, keepdim=True)).sum(-1)
        return score + math.lgamma(count) + (count - 1) * _log(self.temperature)


class RelaxedOneHotCategorical(_Derived):
    """Distributions over vectors of probabilities, near unit vectors at a low temperature.

    Jang et al. (2016), arXiv:1611.01144.
    """

    arg_constraints: ClassVar[Any] = ExpRelaxedCategorical.arg_constraints
    support: Any = constraints.simplex

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None) -> None:
        super().__init__(ExpRelaxedCategorical(temperature, probs, logits), ExpTransform(),
                         validate_args=validate_args)

    temperature = property(lambda self: self.base_dist.temperature)
    logits = property(lambda self: self.base_dist.logits)
    probs = property(lambda self: self.base_dist.probs)


def _log(number: Any) -> Any:
    return number.log() if isinstance(number, Array) else math.log(number)


