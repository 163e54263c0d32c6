"""Sets of numbers: what a distribution is over, and what its parameters are taken from.

`constraint.check(values)` says of each number, or vector or matrix, whether it is in the set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nncompile.array import Array
from nncompile.array.linear_algebra import eigh
from nncompile.placeholders import getter

__all__ = ["Constraint", "boolean", "dependent", "dependent_property", "greater_than",
           "greater_than_eq", "half_open_interval", "independent", "integer_interval", "interval",
           "is_dependent", "less_than", "lower_cholesky", "lower_triangular", "nonnegative",
           "nonnegative_integer", "one_hot", "positive", "positive_definite", "positive_integer",
           "positive_semidefinite", "real", "real_vector", "simplex", "square", "symmetric",
           "unit_interval"]


class Constraint:
    """A set of numbers, or of vectors or matrices: of arrays with event_dim dimensions."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Any) -> Any:
        """Returns whether each number, vector or matrix is in the set."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}()"


class _Set(Constraint):
    """A set given by a function."""

    def __init__(self, name: str, check: Callable[[Any], Any], event_dim: int = 0,
                 is_discrete: bool = False) -> None:
        self._name, self._check = name, check
        self.event_dim, self.is_discrete = event_dim, is_discrete

    def check(self, value: Any) -> Any:
        """Returns whether each one is in the set."""
        return self._check(value)

    def __repr__(self) -> str:
        return f"{self._name}()"


class _Bounded(Constraint):
    """A set between bounds, which are attributes; the text shows them."""

    def __init__(self, **bounds: Any) -> None:
        vars(self).update(bounds)

    def __repr__(self) -> str:
        name = "".join(part.title() for part in type(self).__name__.split("_"))
        return f"{name}({', '.join(f'{key}={value}' for key, value in vars(self).items())})"


class greater_than(_Bounded):
    """The numbers above a bound."""

    lower_bound: Any

    def __init__(self, lower_bound: Any) -> None:
        super().__init__(lower_bound=lower_bound)

    def check(self, value: Any) -> Any:
        """Returns whether each number is above the bound."""
        return self.lower_bound < value


class greater_than_eq(greater_than):
    """The numbers from a bound on."""

    def check(self, value: Any) -> Any:
        """Returns whether each number is at the bound or above it."""
        return self.lower_bound <= value


class less_than(_Bounded):
    """The numbers below a bound."""

    upper_bound: Any

    def __init__(self, upper_bound: Any) -> None:
        super().__init__(upper_bound=upper_bound)

    def check(self, value: Any) -> Any:
        """Returns whether each number is below the bound."""
        return value < self.upper_bound


class interval(_Bounded):
    """The numbers between two bounds, which are in it."""

    lower_bound: Any
    upper_bound: Any

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        super().__init__(lower_bound=lower_bound, upper_bound=upper_bound)

    def check(self, value: Any) -> Any:
        """Returns whether each number is at the bounds or between them."""
        return (self.lower_bound <= value) & (value <= self.upper_bound)


class half_open_interval(interval):
    """The numbers between two bounds, of which the upper is not in it."""

    def check(self, value: Any) -> Any:
        """Returns whether each number is at the lower bound, or between both."""
        return (self.lower_bound <= value) & (value < self.upper_bound)


class integer_interval(interval):
    """The whole numbers between two bounds, which are in it."""

    is_discrete = True

    def check(self, value: Any) -> Any:
        """Returns whether each number is whole, and at the bounds or between them."""
        return (value % 1 == 0) & super().check(value)


class _IntegerAbove(greater_than_eq):
    is_discrete = True

    def check(self, value: Any) -> Any:
        return (value % 1 == 0) & super().check(value)

    def __repr__(self) -> str:
        return f"IntegerGreaterThan(lower_bound={self.lower_bound})"


class _IndependentConstraint(Constraint):
    """A set of arrays each of whose elements is in another set."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def check(self, value: Any) -> Any:
        """Returns whether all elements of each array are in the set."""
        result = self.base_constraint.check(value)
        if result.ndim < self.reinterpreted_batch_ndims:
            raise ValueError(f"the value needs {self.event_dim} dimensions or more, not "
                             f"{value.ndim}")
        for _ in range(self.reinterpreted_batch_ndims):
            result = result.all(-1)
        return result

    def __repr__(self) -> str:
        return (f"IndependentConstraint({self.base_constraint!r}, "
                f"{self.reinterpreted_batch_ndims})")


class _Dependent(Constraint):
    """A set that depends on the parameters of a distribution; as a function, one of these."""

    def __init__(self, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: bool = False, event_dim: int = 0) -> _Dependent:
        """Returns such a set of numbers or of arrays."""
        return _Dependent(is_discrete=is_discrete, event_dim=event_dim)

    def check(self, value: Any) -> Any:
        """Raises ValueError: without the parameters the set is not known."""
        raise ValueError("which set it is depends on the parameters of a distribution")


class dependent_property(property, _Dependent):
    """A property of distributions whose value is a set that depends on their parameters."""

    def __init__(self, fn: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        property.__init__(self, fn)
        _Dependent.__init__(self, is_discrete=is_discrete, event_dim=event_dim)

    def __call__(self, fn: Any) -> Any:          # type: ignore[override]
        """Returns the property of a function."""
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    """Returns whether a set depends on the parameters of a distribution."""
    return isinstance(constraint, _Dependent)


def _is_symmetric(value: Array) -> Any:
    return _is_square(value) & value.isclose(value.mT, atol=1e-6).all(-2).all(-1)


def _is_square(value: Array) -> Any:
    is_square = value.shape[-1] == value.shape[-2]
    return value.new_full(value.shape[:-2], is_square, dtype="bool")


def _eigenvalues(value: Array) -> Array:
    return eigh(value).eigenvalues


def _is_lower(value: Array) -> Any:
    return (value.tril() == value).all(-1).all(-1)


independent = _IndependentConstraint
dependent = _Dependent()
boolean = _Set("Boolean", lambda v: (v == 0) | (v == 1), is_discrete=True)
one_hot = _Set("OneHot", lambda v: ((v == 0) | (v == 1)).all(-1) & (v.sum(-1) == 1), 1, True)
real = _Set("Real", lambda v: v == v)            # all but NaN
real_vector = independent(real, 1)
positive, nonnegative = greater_than(0.0), greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
nonnegative_integer, positive_integer = _IntegerAbove(0), _IntegerAbove(1)
simplex = _Set("Simplex", lambda v: (v >= 0).all(-1) & ((v.sum(-1) - 1).abs() < 1e-6), 1)
lower_triangular = _Set("LowerTriangular", _is_lower, 2)
lower_cholesky = _Set("LowerCholesky", lambda v: _is_lower(v)
                      & (v.diagonal(0, -2, -1) > 0).all(-1), 2)
square = _Set("Square", _is_square, 2)
symmetric = _Set("Symmetric", _is_symmetric, 2)
positive_definite = _Set("PositiveDefinite", lambda v: _is_symmetric(v)
                         & (_eigenvalues(v) > 0).all(-1), 2)
positive_semidefinite = _Set("PositiveSemidefinite", lambda v: _is_symmetric(v)
                             & (_eigenvalues(v) >= 0).all(-1), 2)


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
