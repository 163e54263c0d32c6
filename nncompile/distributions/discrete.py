"""Distributions over classes, bits and counts."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from nncompile.array.gamma import lgamma
from nncompile.array.random import drawn
from nncompile.distributions import constraints
from nncompile.distributions.continuous import ExponentialFamily
from nncompile.distributions.distribution import Distribution
from nncompile.distributions.utils import (
    are_numbers,
    broadcast_all,
    cross_entropy_of_bits,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from nncompile.functions import arange, broadcast_tensors, full_like, where
from nncompile.nn.functional import one_hot


def check_one_of(name: str, probs: Any, logits: Any) -> None:
    """Raises ValueError unless one of both is given."""
    if (probs is None) == (logits is None):
        raise ValueError(f"{name} takes either probs or logits, and one of both has to be given")


class _OfProbability(Distribution):
    """Distributions of one probability, which is given as probs or by its log-odds, logits."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
                 ) -> None:
        check_one_of(type(self).__name__, probs, logits)
        given = probs if logits is None else logits
        value, = broadcast_all(given)
        setattr(self, "probs" if logits is None else "logits", value)
        super().__init__(() if are_numbers(given) else value.shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Any:
        """The log-odds of the probabilities."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        """The probabilities."""
        return logits_to_probs(self.logits, is_binary=True)


class Bernoulli(_OfProbability, ExponentialFamily):
    """Distributions over 0 and 1: probs is the probability of 1, and logits its log-odds."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.unit_interval,
                                      "logits": constraints.real}
    support: Any = constraints.boolean
    has_enumerate_support = True

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return _given(self).shape

    @property
    def mean(self) -> Any:
        """The probabilities of 1."""
        return self.probs

    @property
    def mode(self) -> Any:
        """1 where that is likelier, otherwise 0; NaN where both are equally likely."""
        likelier = (self.probs >= 0.5).type_as(self.probs)
        return where(self.probs == 0.5, math.nan, likelier)

    @property
    def variance(self) -> Any:
        """It is probs * (1 - probs)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns zeros and ones, in the dtype of the parameter."""
        probs = self.probs.detach()
        return self._drawn(sample_shape, probs, probs.shape,
                           lambda g, shape: g.random(shape) < probs.numpy())

    def log_prob(self, value: Any) -> Any:
        """Returns the log-probability."""
        return -cross_entropy_of_bits(*broadcast_all(self.logits, self._value(value)))

    def entropy(self) -> Any:
        """Returns the entropy."""
        return cross_entropy_of_bits(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Returns 0 and 1, along a new first dimension."""
        values = arange(2, dtype=self.probs.dtype).reshape(2, *[1] * len(self._batch_shape))
        return values.expand(2, *self._batch_shape) if expand else values


class Categorical(Distribution):
    """Distributions over the classes 0 to K - 1; probs or logits are [..., K].

    probs need not sum to 1.
    """

    arg_constraints: ClassVar[Any] = {"probs": constraints.independent(constraints.nonnegative, 1),
                                      "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
                 ) -> None:
        check_one_of("Categorical", probs, logits)
        value, = broadcast_all(probs if logits is None else logits)
        if value.ndim < 1:
            raise ValueError("the parameter of Categorical needs one dimension or more")
        if logits is None:
            self.probs = value / value.sum(-1, keepdim=True)
        else:
            self.logits = value - value.logsumexp(-1, keepdim=True)
        super().__init__(value.shape[:-1], validate_args=validate_args)

    @property
    def _num_events(self) -> Any:
        return _given(self).shape[-1]

    @lazy_property
    def logits(self) -> Any:
        """The log-probabilities of the classes."""
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Any:
        """The probabilities of the classes."""
        return logits_to_probs(self.logits)

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return _given(self).shape

    @constraints.dependent_property
    def support(self) -> Any:
        """The numbers of the classes."""
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Any:
        """NaN: the numbers of classes have no mean."""
        return full_like(self.probs.select(-1, 0), math.nan)

    @property
    def mode(self) -> Any:
        """The likeliest class."""
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Any:
        """NaN, as the mean."""
        return full_like(self.probs.select(-1, 0), math.nan)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns classes, int64."""
        probs = self.probs.detach()
        return drawn(f"{type(self).__name__}.sample", (*sample_shape, *probs.shape[:-1]), "int64",
                     None, lambda g, shape: _chosen(g, probs.numpy(), shape))

    def log_prob(self, value: Any) -> Any:
        """Returns the log-probabilities of classes."""
        classes = self._value(value).long().unsqueeze(-1)
        *batch, count = broadcast_tensors(classes, self.logits)[1].shape
        return self.logits.expand(*batch, count).gather(
            -1, classes.expand(*batch, 1)).squeeze(-1)

    def entropy(self) -> Any:
        """Returns the entropy."""
        logits = self.logits.clamp(min=_lowest(self.logits))
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        """Returns all classes, along a new first dimension."""
        count = self._num_events
        values = arange(count).reshape(count, *[1] * len(self._batch_shape))
        return values.expand(count, *self._batch_shape) if expand else values


class OneHotCategorical(Distribution):
    """Distributions over the unit vectors of K classes; probs or logits are [..., K]."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.simplex,
                                      "logits": constraints.real_vector}
    support: Any = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
                 ) -> None:
        check_one_of(type(self).__name__, probs, logits)
        self._categorical = Categorical(probs, logits, validate_args)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Returns the distribution with its batch expanded to a shape."""
        new = super().expand(batch_shape, _instance)
        new._categorical = self._categorical.expand(batch_shape)
        return new

    @property
    def logits(self) -> Any:
        """The log-probabilities of the classes."""
        return self._categorical.logits

    @property
    def probs(self) -> Any:
        """The probabilities of the classes."""
        return self._categorical.probs

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._categorical.param_shape

    @property
    def mean(self) -> Any:
        """The probabilities."""
        return self.probs

    @property
    def mode(self) -> Any:
        """The unit vector of the likeliest class."""
        return one_hot(self.probs.argmax(-1), self._event_shape[0]).type_as(self.probs)

    @property
    def variance(self) -> Any:
        """It is probs * (1 - probs)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns unit vectors, in the dtype of the parameter."""
        probs = self.probs.detach()
        classes = self._categorical.sample(sample_shape)
        return one_hot(classes, self._event_shape[0]).type_as(probs)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-probabilities of unit vectors."""
        return self._categorical.log_prob(self._value(value).argmax(-1))

    def entropy(self) -> Any:
        """Returns the entropy."""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Any:
        """Returns all unit vectors, along a new first dimension."""
        count = self._event_shape[0]
        values = one_hot(arange(count), count).type_as(self.probs)
        values = values.reshape(count, *[1] * len(self._batch_shape), count)
        return values.expand(count, *self._batch_shape, count) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategorical whose samples have the gradients of the probabilities.

    Bengio et al. (2013), arXiv:1308.3432.
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns unit vectors; their gradients are those of the probabilities."""
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Poisson(ExponentialFamily):
    """Poisson distributions of a rate."""

    arg_constraints: ClassVar[Any] = {"rate": constraints.nonnegative}
    support: Any = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self.rate, = broadcast_all(rate)
        super().__init__(() if are_numbers(rate) else self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Any:
        """The rate."""
        return self.rate

    @property
    def mode(self) -> Any:
        """The rate, rounded down."""
        return self.rate.floor()

    @property
    def variance(self) -> Any:
        """The rate."""
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns counts, in the dtype of the rate."""
        rate = self.rate.detach()
        return self._drawn(sample_shape, rate, rate.shape,
                           lambda g, shape: g.poisson(rate.numpy(), shape))

    def log_prob(self, value: Any) -> Any:
        """Returns the log-probability."""
        rate, value = broadcast_all(self.rate, self._value(value))
        return value.xlogy(rate) - rate - lgamma(value + 1)


class Geometric(_OfProbability):
    """Distributions of the number of failures before the first success."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.unit_interval,
                                      "logits": constraints.real}
    support: Any = constraints.nonnegative_integer

    @property
    def mean(self) -> Any:
        """1 / probs - 1."""
        return 1 / self.probs - 1

    @property
    def mode(self) -> Any:
        """0."""
        return full_like(self.probs, 0)

    @property
    def variance(self) -> Any:
        """(1 / probs - 1) / probs."""
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns counts, in the dtype of the parameter."""
        probs = self.probs.detach()
        return self._drawn(sample_shape, probs, probs.shape,
                           lambda g, shape: g.geometric(probs.numpy(), shape) - 1)

    def log_prob(self, value: Any) -> Any:
        """Returns the log-probability."""
        value, probs = broadcast_all(self._value(value), self.probs)
        probs = where((probs == 1) & (value == 0), 0.0, probs)
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self) -> Any:
        """Returns the entropy."""
        return cross_entropy_of_bits(self.logits, self.probs) / self.probs


def _given(distribution: Any) -> Any:
    """The parameter that was given, of probs and logits."""
    known = vars(distribution)
    return known["logits"] if "logits" in known else known["probs"]


def _lowest(like: Any) -> float:
    """The lowest number of a dtype, which stands for the logarithm of 0."""
    return -3.4028234663852886e38 if like.element_size() == 4 else -1.7976931348623157e308


def _chosen(draws: Any, probs: Any, shape: Any) -> Any:
    """Returns classes drawn by their probabilities: how many of the sums up to them are passed."""
    sums = probs.astype("float64").cumsum(-1)
    sums = sums[..., :-1] / sums[..., -1:]
    return (draws.random((*shape, 1)) >= sums).sum(-1)
