"""Distributions over real numbers whose density is a formula."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nncompile.array.gamma import digamma, lgamma
from nncompile.distributions import constraints
from nncompile.distributions.distribution import HALF_LOG_2PI, Distribution
from nncompile.distributions.utils import are_numbers, broadcast_all
from nncompile.functions import full_like, stack, where
from nncompile.nn.functional import one_hot

EULER = 0.57721566490153286
_SQRT_2 = math.sqrt(2)


class ExponentialFamily(Distribution):
    """A distribution of the exponential family; here it is a name for isinstance."""


class _Location(Distribution):
    """A distribution that is a standard one times a scale plus a location."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        shape = () if are_numbers(loc, scale) else self.loc.shape
        super().__init__(shape, validate_args=validate_args)

    def _standard(self, value: Any) -> Any:
        """Returns a value's distance from the location, in scales."""
        return (value - self.loc) / self.scale

    def _noise(self, draws: Any, shape: Any) -> Any:
        raise NotImplementedError

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples: loc + scale * noise."""
        noise = self._drawn(sample_shape, self.loc, self.loc.shape, self._noise)
        return self.loc + noise * self.scale

    @property
    def mean(self) -> Any:
        """The parameter loc."""
        return self.loc

    @property
    def mode(self) -> Any:
        """The parameter loc."""
        return self.loc


class Normal(_Location, ExponentialFamily):
    """Normal distributions of mean loc and standard deviation scale."""

    def _noise(self, draws: Any, shape: Any) -> Any:
        return draws.standard_normal(shape)

    @property
    def stddev(self) -> Any:
        """The parameter scale."""
        return self.scale

    @property
    def variance(self) -> Any:
        """The square of scale."""
        return self.scale.square()

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        value = self._value(value)
        return -(value - self.loc) ** 2 / (2 * self.variance) - self.scale.log() - HALF_LOG_2PI

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        return 0.5 * (1 + (self._standard(self._value(value)) / _SQRT_2).erf())

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * _SQRT_2

    def entropy(self) -> Any:
        """Returns log(scale) + log(2 pi e) / 2."""
        return 0.5 + HALF_LOG_2PI + self.scale.log()


class Laplace(_Location):
    """Laplace distributions: exponential on both sides of loc."""

    def _noise(self, draws: Any, shape: Any) -> Any:
        return draws.laplace(size=shape)

    @property
    def variance(self) -> Any:
        """Twice the square of scale."""
        return 2 * self.scale.square()

    @property
    def stddev(self) -> Any:
        """It is scale * sqrt(2)."""
        return _SQRT_2 * self.scale

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        return -(2 * self.scale).log() - (self._value(value) - self.loc).abs() / self.scale

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        distance = self._value(value) - self.loc
        return 0.5 - 0.5 * distance.sign() * (-distance.abs() / self.scale).expm1()

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Any:
        """Returns 1 + log(2 scale)."""
        return 1 + (2 * self.scale).log()


class Cauchy(_Location):
    """Cauchy distributions: the tangent of a uniform angle, times scale, plus loc. No mean."""

    def _noise(self, draws: Any, shape: Any) -> Any:
        return draws.standard_cauchy(shape)

    @property
    def mean(self) -> Any:
        """NaN: there is none."""
        return full_like(self.loc, math.nan)

    @property
    def variance(self) -> Any:
        """Infinite."""
        return full_like(self.loc, math.inf)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        return (-math.log(math.pi) - self.scale.log()
                - self._standard(self._value(value)).square().log1p())

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        return self._standard(self._value(value)).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Any:
        """Returns log(4 pi scale)."""
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(_Location):
    """Gumbel distributions: -log(-log(uniform)), times scale, plus loc."""

    def _noise(self, draws: Any, shape: Any) -> Any:
        return draws.gumbel(size=shape)

    @property
    def mean(self) -> Any:
        """It is loc + scale times Euler's constant."""
        return self.loc + self.scale * EULER

    @property
    def stddev(self) -> Any:
        """It is scale * pi / sqrt(6)."""
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Any:
        """The square of stddev."""
        return self.stddev.square()

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        z = (self.loc - self._value(value)) / self.scale
        return z - z.exp() - self.scale.log()

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        return (-(-self._standard(self._value(value))).exp()).exp()

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Any:
        """Returns log(scale) + 1 + Euler's constant."""
        return self.scale.log() + (1 + EULER)


class StudentT(_Location):
    """Student's t-distributions of df degrees of freedom, times scale, plus loc."""

    arg_constraints: ClassVar[Any] = {"df": constraints.positive, "loc": constraints.real,
                                      "scale": constraints.positive}

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0,
                 validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        Distribution.__init__(self, self.df.shape, validate_args=validate_args)

    def _noise(self, draws: Any, shape: Any) -> Any:
        return draws.standard_t(self.df.numpy(), shape)

    @property
    def mean(self) -> Any:
        """The location, where df is above 1; otherwise NaN."""
        return where(self.df > 1, self.loc, math.nan)

    @property
    def variance(self) -> Any:
        """scale^2 df / (df - 2); infinite for df from 1 to 2, and NaN below."""
        above = self.scale.square() * self.df / (self.df - 2)
        return where(self.df > 2, above, where(self.df > 1, math.inf, math.nan).to(above.dtype))

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        y = self._standard(self._value(value))
        z = (self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi)
             + lgamma(0.5 * self.df) - lgamma(0.5 * (self.df + 1)))
        return -0.5 * (self.df + 1) * (y.square() / self.df).log1p() - z

    def entropy(self) -> Any:
        """Returns the entropy."""
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        log_beta = lgamma(half) + lgamma(half.new_full((), 0.5)) - lgamma(more)
        return (self.scale.log() + more * (digamma(more) - digamma(half)) + 0.5 * self.df.log()
                + log_beta)


class Uniform(Distribution):
    """Uniform distributions on [low, high)."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {"low": constraints.dependent, "high": constraints.dependent}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        shape = () if are_numbers(low, high) else self.low.shape
        super().__init__(shape, validate_args=validate_args)
        if self._validate_args:
            self._check("low", self.low, constraints.less_than(self.high))

    @constraints.dependent_property
    def support(self) -> Any:
        """The interval."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Any:
        """The middle."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Any:
        """NaN: all values are equally likely."""
        return math.nan * self.high

    @property
    def stddev(self) -> Any:
        """(high - low) / sqrt(12)."""
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> Any:
        """The square of stddev."""
        return (self.high - self.low).square() / 12

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        noise = self._drawn(sample_shape, self.low, self.low.shape,
                            lambda g, shape: g.random(shape))
        return self.low + noise * (self.high - self.low)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density: -inf outside."""
        value = self._value(value)
        inside = (self.low <= value) & (self.high > value)
        return inside.type_as(self.low).log() - (self.high - self.low).log()

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        return ((self._value(value) - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Any:
        """Returns log(high - low)."""
        return (self.high - self.low).log()


class Exponential(ExponentialFamily):
    """Exponential distributions of a rate."""

    has_rsample = True
    arg_constraints: ClassVar[Any] = {"rate": constraints.positive}
    support: Any = constraints.nonnegative

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self.rate, = broadcast_all(rate)
        super().__init__(() if are_numbers(rate) else self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Any:
        """0."""
        return full_like(self.rate, 0)

    @property
    def stddev(self) -> Any:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Any:
        """1 / rate^2."""
        return self.rate.pow(-2)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        return self._drawn(sample_shape, self.rate, self.rate.shape,
                           lambda g, shape: g.standard_exponential(shape)) / self.rate

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        return self.rate.log() - self.rate * self._value(value)

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        return -(-self.rate * self._value(value)).expm1()

    def icdf(self, value: Any) -> Any:
        """Returns the quantiles of probabilities."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Any:
        """Returns 1 - log(rate)."""
        return 1 - self.rate.log()


class Gamma(ExponentialFamily):
    """Gamma distributions of a shape, concentration, and a rate.

    rsample raises NotImplementedError: its values would not depend on concentration as gradients
    need it.
    """

    arg_constraints: ClassVar[Any] = {"concentration": constraints.positive,
                                      "rate": constraints.positive}
    support: Any = constraints.nonnegative

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        shape = () if are_numbers(concentration, rate) else self.rate.shape
        super().__init__(shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """It is concentration / rate."""
        return self.concentration / self.rate

    @property
    def mode(self) -> Any:
        """(concentration - 1) / rate, or 0 where that is below."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Any:
        """It is concentration / rate^2."""
        return self.concentration / self.rate.square()

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        shape, rate = (x.detach() for x in (self.concentration, self.rate))
        return self._drawn(sample_shape, rate, rate.shape, lambda g, size: g.standard_gamma(
            shape.numpy(), size)).clamp(min=_least(rate)) / rate

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        value = self._value(value)
        return (self.concentration.xlogy(self.rate) + (self.concentration - 1).xlogy(value)
                - self.rate * value - lgamma(self.concentration))

    def entropy(self) -> Any:
        """Returns the entropy."""
        return (self.concentration - self.rate.log() + lgamma(self.concentration)
                + (1 - self.concentration) * digamma(self.concentration))


class Chi2(Gamma):
    """Chi-squared distributions of df degrees of freedom."""

    arg_constraints: ClassVar[Any] = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        df, = broadcast_all(df) if not are_numbers(df) else (df,)
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    @property
    def df(self) -> Any:
        """The degrees of freedom."""
        return self.concentration * 2


class Dirichlet(ExponentialFamily):
    """Dirichlet distributions over vectors of probabilities; concentration is [..., K]."""

    arg_constraints: ClassVar[Any] = {
        "concentration": constraints.independent(constraints.positive, 1)}
    support: Any = constraints.simplex

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        self.concentration, = broadcast_all(concentration)
        if self.concentration.ndim < 1:
            raise ValueError("concentration of Dirichlet needs one dimension or more")
        shape = self.concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """The shares of concentration."""
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Any:
        """The shares of concentration - 1; where all are below 0, the unit vector of the largest.
        """
        above = (self.concentration - 1).clamp(min=0)
        corner = one_hot(self.concentration.argmax(-1), self._event_shape[0])
        below = (self.concentration < 1).all(-1, keepdim=True)
        return where(below, corner.type_as(above), above / above.sum(-1, True))

    @property
    def variance(self) -> Any:
        """The variances of the elements."""
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.square() * (total + 1))

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        shape = self.concentration.detach()
        parts = self._drawn(sample_shape, shape, shape.shape,
                            lambda g, size: g.standard_gamma(shape.numpy(), size))
        parts = parts.clamp(min=_least(shape))
        return parts / parts.sum(-1, True)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        value, shape = self._value(value), self.concentration
        return ((shape - 1).xlogy(value).sum(-1) + lgamma(shape.sum(-1)) - lgamma(shape).sum(-1))

    def entropy(self) -> Any:
        """Returns the entropy."""
        shape, count = self.concentration, self.concentration.shape[-1]
        total = shape.sum(-1)
        return (lgamma(shape).sum(-1) - lgamma(total) - (count - total) * digamma(total)
                - ((shape - 1) * digamma(shape)).sum(-1))


class Beta(ExponentialFamily):
    """Beta distributions on [0, 1] of two concentrations."""

    arg_constraints: ClassVar[Any] = {"concentration1": constraints.positive,
                                      "concentration0": constraints.positive}
    support: Any = constraints.unit_interval

    def __init__(self, concentration1: Any, concentration0: Any,
                 validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        shape = () if are_numbers(concentration1, concentration0) else self.concentration0.shape
        super().__init__(shape, validate_args=validate_args)

    @property
    def _total(self) -> Any:
        return self.concentration1 + self.concentration0

    @property
    def mean(self) -> Any:
        """The share of concentration1."""
        return self.concentration1 / self._total

    @property
    def mode(self) -> Any:
        """(concentration1 - 1) / (concentration1 + concentration0 - 2), or the likelier end."""
        both = stack([self.concentration1, self.concentration0], -1)
        return Dirichlet(both, validate_args=False).mode[..., 0]

    @property
    def variance(self) -> Any:
        """The variances."""
        total = self._total
        return self.concentration1 * self.concentration0 / (total.square() * (total + 1))

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns samples."""
        one, zero = (x.detach() for x in (self.concentration1, self.concentration0))
        return self._drawn(sample_shape, one, one.shape,
                           lambda g, size: g.beta(one.numpy(), zero.numpy(), size))

    def log_prob(self, value: Any) -> Any:
        """Returns the log-density."""
        value = self._value(value)
        return ((self.concentration1 - 1).xlogy(value) + (self.concentration0 - 1).xlogy(1 - value)
                + lgamma(self._total) - lgamma(self.concentration1) - lgamma(self.concentration0))

    def entropy(self) -> Any:
        """Returns the entropy."""
        a, b, total = self.concentration1, self.concentration0, self._total
        return (lgamma(a) + lgamma(b) - lgamma(total) - (2 - total) * digamma(total)
                - (a - 1) * digamma(a) - (b - 1) * digamma(b))


def _least(like: Any) -> float:
    """The least positive normal number of a dtype, which gamma's samples are not below."""
    return 1.1754943508222875e-38 if like.element_size() == 4 else 2.2250738585072014e-308
