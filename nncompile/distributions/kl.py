"""kl_divergence, and the table of pairs of distributions that it is known for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nncompile.array.gamma import digamma, lgamma
from nncompile.distributions.compound import (
    HalfNormal,
    Independent,
    LogNormal,
    MultivariateNormal,
    TransformedDistribution,
    solved_lower,
)
from nncompile.distributions.continuous import (
    Beta,
    Dirichlet,
    Exponential,
    Gamma,
    Gumbel,
    Laplace,
    Normal,
    Uniform,
)
from nncompile.distributions.discrete import (
    Bernoulli,
    Categorical,
    Geometric,
    OneHotCategorical,
    Poisson,
)
from nncompile.distributions.utils import sum_rightmost
from nncompile.functions import where
from nncompile.nn.functional import softplus
from nncompile.placeholders import getter

__all__ = ["kl_divergence", "register_kl"]

_Divergence = Callable[[Any, Any], Any]
_DIVERGENCES: dict[tuple[type, type], _Divergence] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[_Divergence], _Divergence]:
    """Returns a decorator for the function of (p, q) that kl_divergence calls for these classes.

    Of several that fit, the one of the nearest classes is called.
    """
    if not (isinstance(type_p, type) and isinstance(type_q, type)):
        raise TypeError(f"register_kl takes two classes, not {type_p!r} and {type_q!r}")

    def register(function: _Divergence) -> _Divergence:
        _DIVERGENCES[type_p, type_q] = function
        return function

    return register


def kl_divergence(p: Any, q: Any) -> Any:
    """Returns the Kullback-Leibler divergence of q from p, for each distribution of the batch.

    Raises NotImplementedError where none is known for their classes; see register_kl.
    """
    for class_p in type(p).__mro__:
        for class_q in type(q).__mro__:
            if (class_p, class_q) in _DIVERGENCES:
                return _DIVERGENCES[class_p, class_q](p, q)
    raise NotImplementedError(
        f"no KL(p || q) is known for p type {type(p).__name__} and q type {type(q).__name__}\n"
        "  do: register one with register_kl, or estimate it from samples, "
        "(p.log_prob(x) - q.log_prob(x)).mean()")


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Any:
    ratio = (p.scale / q.scale).square()
    distance = ((p.loc - q.loc) / q.scale).square()
    return 0.5 * (ratio + distance - 1 - ratio.log())


@register_kl(LogNormal, LogNormal)
@register_kl(HalfNormal, HalfNormal)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Any:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(TransformedDistribution, TransformedDistribution)
def _same_transforms(p: TransformedDistribution, q: TransformedDistribution) -> Any:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("KL of transformed distributions needs the same transforms")
    more = len(p.event_shape) - len(p.base_dist.event_shape)
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), more)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL of Independents needs the same reinterpreted_batch_ndims")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL of vectors needs one size, got {p.event_shape} and {q.event_shape}")
    # |inv(Lq) Lp|^2, a column of Lp at a time
    columns = p.scale_tril.transpose(-2, -1)
    trace = solved_lower(q.scale_tril.unsqueeze(-3), columns).square().sum((-2, -1))
    distance = solved_lower(q.scale_tril, q.loc - p.loc).square().sum(-1)
    return (q._half_log_det() - p._half_log_det()
            + 0.5 * (trace + distance - p.event_shape[0]))


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    ones = where(q.probs == 0, math.inf, ones)
    ones = where(p.probs == 0, 0.0, ones)
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    zeros = where(q.probs == 1, math.inf, zeros)
    zeros = where(p.probs == 1, 0.0, zeros)
    return ones + zeros


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Any:
    parts = p.probs * (p.logits - q.logits)
    parts = where((q.probs == 0).expand_as(parts), math.inf, parts)
    return where((p.probs == 0).expand_as(parts), 0.0, parts).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Any:
    return _categorical(p._categorical, q._categorical)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Any:
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Any:
    return (q.concentration * (p.rate / q.rate).log()
            + lgamma(q.concentration) - lgamma(p.concentration)
            + (p.concentration - q.concentration) * digamma(p.concentration)
            + (q.rate - p.rate) * (p.concentration / p.rate))


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Any:
    (a, b), (c, d) = ((x.concentration1, x.concentration0) for x in (p, q))
    return (lgamma(c) + lgamma(d) + lgamma(a + b) - lgamma(c + d) - lgamma(a) - lgamma(b)
            + (a - c) * digamma(a) + (b - d) * digamma(b) + (c + d - a - b) * digamma(a + b))


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Any:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    difference = (a - b) * (digamma(a) - digamma(total).unsqueeze(-1))
    return (lgamma(total) - lgamma(b.sum(-1)) - (lgamma(a) - lgamma(b)).sum(-1)
            + difference.sum(-1))


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Any:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Any:
    euler = 0.57721566490153286
    ratio, shift = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return -ratio.log() - 1 - shift + euler * (ratio - 1) + (shift + lgamma(1 + ratio)).exp()


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Any:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Any:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Any:
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return where((q.low > p.low) | (q.high < p.high), math.inf, result)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Any:
    width, middle = p.high - p.low, (p.high + p.low - 2 * q.loc) / 2
    return ((math.sqrt(2 * math.pi) * q.scale / width).log()
            + (width.square() / 12 + middle.square()) / (2 * q.scale.square()))


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Any:
    z = (p.loc - q.loc) / p.scale
    spread = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z.square()).exp()
    shift = (p.loc - q.loc) * (z / math.sqrt(2)).erf()
    return (-(p.scale / q.scale).log() + (spread + shift) / q.scale
            - (0.5 + 0.5 * math.log(0.5 * math.pi)))


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
