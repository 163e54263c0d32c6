"""Invertible functions of random variables, with the logarithm of |dy/dx|."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array import Array
from nncompile.array.sizes import Size
from nncompile.distributions import constraints
from nncompile.distributions.utils import sum_rightmost
from nncompile.functions import zeros_like
from nncompile.nn.functional import softplus
from nncompile.placeholders import getter

__all__ = ["AbsTransform", "AffineTransform", "ComposeTransform", "ExpTransform",
           "IndependentTransform", "PowerTransform", "SigmoidTransform", "SoftmaxTransform",
           "SoftplusTransform", "TanhTransform", "Transform", "identity_transform"]


class Transform:
    """A function y = f(x) of arrays; a subclass has _call, _inverse and log_abs_det_jacobian.

    cache_size: with 1, the last x and its y are kept, so that the inverse of that y is that x.
    domain, codomain: the sets of x and y. sign: of dy/dx, where that is of one sign.
    """

    bijective = False
    domain: Any
    codomain: Any
    sign: Any

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError(f"cache_size is 0 or 1, not {cache_size}")
        self._cache_size = cache_size
        self._cached: tuple[Any, Any] = (None, None)

    @property
    def inv(self) -> Transform:
        """The inverse function."""
        return _InverseTransform(self)

    @property
    def event_dim(self) -> int:
        """The number of dimensions of an x, where the function takes arrays as wholes."""
        if self.domain.event_dim != self.codomain.event_dim:
            raise ValueError("x and y have different event_dim: use domain and codomain")
        return int(self.domain.event_dim)

    def with_cache(self, cache_size: int = 1) -> Any:
        """Returns the function with a cache of that size."""
        if self._cache_size == cache_size:
            return self
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        Transform.__init__(made, cache_size)
        return made

    def __call__(self, x: Any) -> Any:
        """Returns y."""
        if self._cache_size == 0:
            return self._call(x)
        known, y = self._cached
        if x is not known:
            y = self._call(x)
            self._cached = x, y
        return y

    def _inv_call(self, y: Any) -> Any:
        """Returns x."""
        if self._cache_size == 0:
            return self._inverse(y)
        x, known = self._cached
        if y is not known:
            x = self._inverse(y)
            self._cached = x, y
        return x

    def _call(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _call, which computes y")

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _inverse, which computes x")

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log |dy/dx|, of arrays that are taken as wholes that of the determinant."""
        raise NotImplementedError(f"{type(self).__name__} has no log_abs_det_jacobian")

    def forward_shape(self, shape: Any) -> Size:
        """Returns the shape of y for that of x."""
        return Size(shape)

    def inverse_shape(self, shape: Any) -> Size:
        """Returns the shape of x for that of y."""
        return Size(shape)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cached": (None, None)}

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self._same(other))

    __hash__ = object.__hash__

    def _same(self, other: Any) -> bool:
        """Whether two instances of this class are one function."""
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _InverseTransform(Transform):
    """The inverse of a function."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(transform._cache_size)
        self._of = transform
        self.bijective = transform.bijective

    @property
    def domain(self) -> Any:
        """The other's codomain."""
        return self._of.codomain

    @property
    def codomain(self) -> Any:
        """The other's domain."""
        return self._of.domain

    @property
    def sign(self) -> Any:
        """The other's sign."""
        return self._of.sign

    @property
    def inv(self) -> Transform:
        """The other one."""
        return self._of

    def with_cache(self, cache_size: int = 1) -> Any:
        """Returns the function with a cache of that size."""
        return self._of.with_cache(cache_size).inv

    def __call__(self, x: Any) -> Any:
        """Returns y."""
        return self._of._inv_call(x)

    def _inv_call(self, y: Any) -> Any:
        return self._of(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log |dy/dx|."""
        return -self._of.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Size:
        """Returns the shape of y for that of x."""
        return self._of.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Size:
        """Returns the shape of x for that of y."""
        return self._of.forward_shape(shape)

    def _same(self, other: Any) -> bool:
        return bool(self._of == other._of)

    def __repr__(self) -> str:
        return f"_InverseTransform({self._of!r})"


class ComposeTransform(Transform):
    """Several functions, the first of which is applied first."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = [part.with_cache(cache_size) for part in parts] if cache_size else list(parts)
        self.bijective = all(part.bijective for part in self.parts)

    @property
    def domain(self) -> Any:
        """The first one's domain, of arrays where a later one takes arrays as wholes."""
        if not self.parts:
            return constraints.real
        own = self.parts[0].domain
        dims = self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            dims = max(dims + part.domain.event_dim - part.codomain.event_dim,
                       part.domain.event_dim)
        return _widened(own, dims)

    @property
    def codomain(self) -> Any:
        """The last one's codomain, of arrays where an earlier one takes arrays as wholes."""
        if not self.parts:
            return constraints.real
        dims = self.parts[0].domain.event_dim
        for part in self.parts:
            dims = max(dims + part.codomain.event_dim - part.domain.event_dim,
                       part.codomain.event_dim)
        return _widened(self.parts[-1].codomain, dims)

    @property
    def sign(self) -> Any:
        """The product of the signs."""
        return math.prod(part.sign for part in self.parts)

    @property
    def inv(self) -> Transform:
        """The inverses in reverse order."""
        return ComposeTransform([part.inv for part in reversed(self.parts)])

    def with_cache(self, cache_size: int = 1) -> Any:
        """Returns the function with a cache of that size."""
        if self._cache_size == cache_size:
            return self
        return ComposeTransform([part.with_cache(cache_size) for part in self.parts], cache_size)

    def __call__(self, x: Any) -> Any:
        """Returns y."""
        for part in self.parts:
            x = part(x)
        return x

    def _inv_call(self, y: Any) -> Any:
        for part in reversed(self.parts):
            y = part._inv_call(y)
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns the sum of the parts'."""
        if not self.parts:
            return zeros_like(x)
        dims, total = self.domain.event_dim, 0.0
        for number, part in enumerate(self.parts, 1):
            between = y if number == len(self.parts) else part(x)
            total = total + sum_rightmost(part.log_abs_det_jacobian(x, between),
                                          dims - part.domain.event_dim)
            dims += part.codomain.event_dim - part.domain.event_dim
            x = between
        return total

    def forward_shape(self, shape: Any) -> Size:
        """Returns the shape of y for that of x."""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return Size(shape)

    def inverse_shape(self, shape: Any) -> Size:
        """Returns the shape of x for that of y."""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return Size(shape)

    def _same(self, other: Any) -> bool:
        return bool(self.parts == other.parts)

    def __repr__(self) -> str:
        parts = ",\n    ".join(map(repr, self.parts))
        return f"ComposeTransform(\n    {parts}\n)"


class IndependentTransform(Transform):
    """A function whose last batch dimensions belong to an x: their Jacobians are summed."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int,
                 cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.bijective = base_transform.bijective

    @property
    def domain(self) -> Any:
        """Arrays of the other's domain."""
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @property
    def codomain(self) -> Any:
        """Arrays of the other's codomain."""
        return constraints.independent(self.base_transform.codomain,
                                       self.reinterpreted_batch_ndims)

    @property
    def sign(self) -> Any:
        """The other's sign."""
        return self.base_transform.sign

    def with_cache(self, cache_size: int = 1) -> Any:
        """Returns the function with a cache of that size."""
        return IndependentTransform(self.base_transform, self.reinterpreted_batch_ndims, cache_size)

    def _call(self, x: Any) -> Any:
        return self.base_transform(x)

    def _inverse(self, y: Any) -> Any:
        return self.base_transform._inv_call(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns the sums of the other's."""
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y),
                             self.reinterpreted_batch_ndims)

    def _same(self, other: Any) -> bool:
        return bool(self.base_transform == other.base_transform and
                    self.reinterpreted_batch_ndims == other.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return (f"IndependentTransform({self.base_transform!r}, "
                f"{self.reinterpreted_batch_ndims})")


class _Rising(Transform):
    """A rising function of the real numbers without parameters."""

    bijective = True
    domain: Any = constraints.real
    codomain: Any = constraints.real
    sign = 1

    def _same(self, other: Any) -> bool:
        return True


class ExpTransform(_Rising):
    """y = exp(x)."""

    codomain: Any = constraints.positive

    def _call(self, x: Any) -> Any:
        return x.exp()

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns x."""
        return x


class SigmoidTransform(_Rising):
    """y = sigmoid(x)."""

    codomain: Any = constraints.unit_interval

    def _call(self, x: Any) -> Any:
        limits = np.finfo(x.dtype)
        return x.sigmoid().clamp(min=float(limits.tiny), max=1 - float(limits.eps))

    def _inverse(self, y: Any) -> Any:
        limits = np.finfo(y.dtype)
        y = y.clamp(min=float(limits.tiny), max=1 - float(limits.eps))
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log(y (1 - y))."""
        return -softplus(-x) - softplus(x)


class TanhTransform(_Rising):
    """y = tanh(x). With cache_size=1 the x of a y is not computed anew, which loses digits."""

    codomain: Any = constraints.interval(-1.0, 1.0)

    def _call(self, x: Any) -> Any:
        return x.tanh()

    def _inverse(self, y: Any) -> Any:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log(1 - y^2), in a form that loses no digits near -1 and 1."""
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))


class SoftplusTransform(_Rising):
    """y = log(1 + exp(x)); x itself above 20."""

    codomain: Any = constraints.positive

    def _call(self, x: Any) -> Any:
        return softplus(x)

    def _inverse(self, y: Any) -> Any:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log(sigmoid(x))."""
        return -softplus(-x)


class PowerTransform(Transform):
    """y = x ** exponent, of positive numbers."""

    bijective = True
    domain: Any = constraints.positive
    codomain: Any = constraints.positive

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = exponent

    @property
    def sign(self) -> Any:
        """The sign of the exponent."""
        return _sign(self.exponent)

    def _call(self, x: Any) -> Any:
        return x.pow(self.exponent)

    def _inverse(self, y: Any) -> Any:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log |exponent y / x|."""
        return (self.exponent * y / x).abs().log()

    def _same(self, other: Any) -> bool:
        return _equal(self.exponent, other.exponent)


class AbsTransform(Transform):
    """y = |x|, which has no inverse."""

    domain: Any = constraints.real
    codomain: Any = constraints.positive

    def _call(self, x: Any) -> Any:
        return x.abs()

    def _inverse(self, y: Any) -> Any:
        return y

    def _same(self, other: Any) -> bool:
        return True


class AffineTransform(Transform):
    """y = loc + scale * x. event_dim: the number of dimensions of an x."""

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        """The number of dimensions of an x."""
        return self._event_dim

    @property
    def domain(self) -> Any:
        """The real numbers, or arrays of them."""
        return _widened(constraints.real, self._event_dim)

    codomain = domain

    @property
    def sign(self) -> Any:
        """The sign of the scale."""
        return _sign(self.scale)

    def _call(self, x: Any) -> Any:
        return self.loc + self.scale * x

    def _inverse(self, y: Any) -> Any:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """Returns log |scale|, in the shape of x."""
        if isinstance(self.scale, Array):
            value = self.scale.abs().log() + zeros_like(x)
        else:
            value = zeros_like(x) + (math.log(abs(self.scale)) if self.scale else -math.inf)
        return sum_rightmost(value, self._event_dim)

    def _same(self, other: Any) -> bool:
        return _equal(self.loc, other.loc) and _equal(self.scale, other.scale)


class SoftmaxTransform(Transform):
    """y = softmax(x) along the last dimension, of which log(y) is one x."""

    domain: Any = constraints.real_vector
    codomain: Any = constraints.simplex

    def _call(self, x: Any) -> Any:
        return x.softmax(-1)

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def _same(self, other: Any) -> bool:
        return True


def _widened(constraint: Any, event_dim: int) -> Any:
    more = event_dim - constraint.event_dim
    return constraints.independent(constraint, more) if more > 0 else constraint


def _sign(number: Any) -> Any:
    return number.sign() if isinstance(number, Array) else (number > 0) - (number < 0)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Array) or isinstance(other, Array):
        return one is other or bool((one == other).all())
    return bool(one == other)


identity_transform = ComposeTransform([])


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
