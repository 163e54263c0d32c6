"""The base class of distributions: shapes, checks, and what follows from a few methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ir import same
from nncompile.array import Array, as_array
from nncompile.array.dispatch import current
from nncompile.array.gradients import no_grad
from nncompile.array.random import drawn
from nncompile.array.sizes import Size
from nncompile.distributions.constraints import Constraint, is_dependent
from nncompile.errors import InputError
from nncompile.placeholders import getter

if TYPE_CHECKING:
    from numpy import random as numpy_random


class Distribution:
    """A distribution over numbers or arrays, or a batch of such: torch.distributions.Distribution.

    batch_shape: the shape of the batch; each of its distributions is over arrays of event_shape.
    Parameters and results are Arrays. Parameters and values are checked where their numbers are
    known, which are those of a trace in part: see validate_args.
    Drawing needs random numbers, so that sample and rsample raise Error in a trace, while density,
    moments and entropy are part of the graph.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args: bool = __debug__
    arg_constraints: ClassVar[Any]               # of the parameters, by name: Constraints
    support: Any                                 # a Constraint

    def __init__(self, batch_shape: Any = (), event_shape: Any = (),
                 validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Says whether distributions check their parameters and values from now on."""
        Distribution._validate_args = bool(value)

    # -- shapes ------------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one value of one distribution."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        """The shape of so many samples."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Returns the distribution with its batch expanded to a shape, as Array.expand does it."""
        new = self._get_checked_instance(Distribution, _instance)
        dims = {name: constraint.event_dim for cls in type(self).__mro__
                for name, constraint in getattr(cls, "arg_constraints", {}).items()}
        for name, value in vars(self).items():
            if name in dims:
                value = value.expand(*batch_shape, *value.shape[value.ndim - dims[name]:])
            vars(new)[name] = value
        new._batch_shape = Size(batch_shape)
        return new

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Self:
        """Returns an instance without values, which expand fills."""
        return type(self).__new__(type(self)) if _instance is None else _instance

    def _constraints(self) -> Mapping[str, Constraint]:
        return getattr(self, "arg_constraints", {})

    # -- checks ------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        """Raises InputError where a parameter that is given is not of those that it may be."""
        for name, constraint in self._constraints().items():
            if is_dependent(constraint) or name not in vars(self):
                continue
            self._check(name, getattr(self, name), constraint)

    def _check(self, name: str, value: Any, constraint: Constraint) -> None:
        if not _all(constraint.check, value):
            raise InputError(
                f"Expected parameter {name} ({type(value).__name__} of shape "
                f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                f"{constraint!r}, but found invalid values:\n{value!r}\n  do: make {name} so, "
                "for a scale by softplus or exp, or pass validate_args=False")

    def _validate_sample(self, value: Any) -> None:
        """Raises InputError where a value is none of the distribution's."""
        if not isinstance(value, Array):
            raise InputError(f"the value argument to {type(self).__name__}.log_prob must be a "
                             f"Tensor, not {type(value).__name__}")
        event = len(self._event_shape)
        wrong = value.ndim < event or any(
            type(here) is type(there) is int and here != there and (i < event or 1 not in pair)
            for i, pair in enumerate(zip(reversed(value.shape), reversed(self._extended_shape()),
                                         strict=False)) for here, there in [pair])
        if wrong:
            raise InputError(f"a value of {type(self).__name__} has the shape batch_shape + "
                             f"event_shape, {(*self._batch_shape, *self._event_shape)}, or one "
                             f"whose first dimensions broadcast with it; not {value.type}")
        support = getattr(self, "support", None)
        if support is not None and not is_dependent(support) and not _all(support.check, value):
            raise InputError(f"Expected value argument ({type(value).__name__} of shape "
                             f"{tuple(value.shape)}) to be within the support ({support!r}) of the "
                             f"distribution {self!r}, but found invalid values:\n{value!r}\n"
                             "  do: pass values that it can have, or validate_args=False")

    def _value(self, value: Any) -> Any:
        """Returns a value of the distribution as an Array, checked where that is asked for."""
        value = as_array(f"{type(self).__name__}.log_prob", value)
        if self._validate_args:
            self._validate_sample(value)
        return value

    # -- what a distribution has -------------------------------------------------------------------

    @property
    def mean(self) -> Any:
        """The means."""
        raise NotImplementedError(self._lacks("mean"))

    @property
    def mode(self) -> Any:
        """The likeliest values."""
        raise NotImplementedError(self._lacks("mode"))

    @property
    def variance(self) -> Any:
        """The variances."""
        raise NotImplementedError(self._lacks("variance"))

    @property
    def stddev(self) -> Any:
        """The standard deviations."""
        return self.variance.sqrt()

    def log_prob(self, value: Any) -> Any:
        """Returns the logarithm of the density, or of the probability, of a value."""
        raise NotImplementedError(self._lacks("log_prob"))

    def cdf(self, value: Any) -> Any:
        """Returns the probability of what is not above a value."""
        raise NotImplementedError(self._lacks("cdf"))

    def icdf(self, value: Any) -> Any:
        """Returns the value below which a probability lies."""
        raise NotImplementedError(self._lacks("icdf"))

    def entropy(self) -> Any:
        """Returns the entropy, in nats."""
        raise NotImplementedError(self._lacks("entropy"))

    def perplexity(self) -> Any:
        """Returns exp of the entropy."""
        return self.entropy().exp()

    def enumerate_support(self, expand: bool = True) -> Any:
        """Returns all values, along a new first dimension."""
        raise NotImplementedError(self._lacks("enumerate_support"))

    def _lacks(self, name: str) -> str:
        return (f"{type(self).__name__} has no {name}: no closed form of it is known here; "
                "estimate it from samples")

    # -- random numbers ----------------------------------------------------------------------------

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Returns samples as a function of the parameters and of random numbers.

        Raises Error in a trace, and NotImplementedError where there is no such function.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rsample, as in torch: sample() "
                                  "draws its values")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Returns samples of shape sample_shape + batch_shape + event_shape.

        Raises Error in a trace.
        """
        with no_grad():
            return self.rsample(sample_shape).detach()

    def sample_n(self, n: int) -> Any:
        """Returns n samples."""
        return self.sample((n,))

    def _drawn(self, sample_shape: Any, like: Any, shape: Any,
               draw: Callable[[numpy_random.Generator, tuple[int, ...]], Any]) -> Any:
        """Returns random numbers of the shape, behind that of the samples, in the dtype of `like`.

        Raises Error in a trace.
        """
        return drawn(f"{type(self).__name__}.sample", (*sample_shape, *shape), like.dtype, None,
                     draw)

    def __repr__(self) -> str:
        names = [name for name in self._constraints() if name in vars(self)]
        shown = [f"{name}: {value if same(value.numel(), 1) else value.size()}"
                 for name in names if isinstance(value := vars(self)[name], Array)]
        return f"{type(self).__name__}({', '.join(shown)})"


def _all(check: Callable[[Any], Any], value: Any) -> bool:
    """Returns whether all of an array passes a check; True where the numbers are not known."""
    if current.get().records:
        return True
    return bool(check(value).all())


HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
