"""What the functions of the estimators' table see: a fitted estimator, and the arrays it holds."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from ir import DTYPES, Error, NDArray, Value
from ir.records import dataclass
from nncompile.array import Array
from nncompile.array import apply as apply_any


@dataclass(frozen=True)
class Labels:
    """Predicted classes: their positions, [N] in i64, among the classes of the estimator."""

    positions: Array
    classes: NDArray


class Refused(Exception):
    """Says that an obstacle was noted, and that the import cannot go on behind it."""


Method = Callable[["Fitted", Array], Any]


@dataclass(frozen=True)
class Row:
    """One class of scikit-learn's estimators.

    methods:   what each of its methods computes.
    reads:     the parameters of its constructor that these functions look at.
    training:  those which only steer the training, beside the ones that do so everywhere.
    stateless: whether it computes without having been fitted.
    """

    methods: Mapping[str, Method]
    reads: str = ""
    training: str = ""
    stateless: bool = False


@dataclass(frozen=True)
class Checked:
    """What scikit-learn refuses among the elements of an array: infinity, and NaN if `nan`."""

    array: Array
    nan: bool


class Host(Protocol):
    """What an import does for each of its estimators.

    dtype: that in which the model computes. checks: what calls refuse, by the value it is in.
    sparse: the values that scikit-learn holds as sparse matrices.
    """

    dtype: str
    checks: dict[Value, Checked]
    sparse: set[Value]

    def weight(self, name: str, data: NDArray) -> Array:
        """Returns a parameter of the graph; there is one for each name and its numbers."""

    def method(self, estimator: Any, method: str, x: Array, path: str = "") -> Any:
        """Returns what a method computes of x; path: where the estimator is in the model."""


class Fitted:
    """A fitted estimator that is being imported. path: its place in the model, dotted."""

    def __init__(self, importer: Host, estimator: Any, path: str) -> None:
        self.importer, self.estimator, self.path = importer, estimator, path

    def get(self, name: str) -> Any:
        """Returns a parameter or an attribute. Raises Error where there is none."""
        try:
            return getattr(self.estimator, name)
        except AttributeError:
            raise Error(f"it has no attribute {name}, so it is not fitted, or by a version of "
                        "scikit-learn that is not supported") from None

    def numbers(self, name: str) -> NDArray:
        """Returns an attribute as an array. Raises Error for one that is not made of numbers."""
        array = np.asarray(self.get(name))
        if array.dtype.kind == "O":              # of a training on columns of several dtypes
            with suppress(TypeError, ValueError):
                array = array.astype(np.float64)
        if array.dtype.kind not in "fiub":
            raise Error(f"its {name} is an array of {array.dtype}, and only numbers are supported")
        return array

    def weight(self, name: str, data: Any = None) -> Array:
        """Returns an attribute, or `data` under its name, as a parameter of the graph."""
        array = self.numbers(name) if data is None else np.asarray(data)
        return self.importer.weight(f"{self.path}.{name}" if self.path else name, array)

    def constant(self, data: Any) -> Array:
        """Returns numbers in the dtype in which the model computes."""
        return Array(np.asarray(data, DTYPES[self.importer.dtype]))

    def result(self, x: Array) -> Array:
        """Returns an array in the dtype in which the model computes."""
        return x._cast(self.importer.dtype)

    def checked(self, x: Array, nan: bool = True, instead_of: Array | None = None) -> Array:
        """Returns x. Calls refuse infinity in it, and NaN unless `nan` is False.

        instead_of: an array whose check this one includes, because whatever is refused there gives
        what is refused here.
        """
        checks = self.importer.checks
        if instead_of is not None:
            checks.pop(_payload(instead_of), None)
        key = _payload(x)
        known = checks.get(key)
        checks[key] = Checked(x, nan or (known is not None and known.nan))
        return x

    def required(self, condition: Array) -> None:
        """Lets calls refuse X where an element of a condition does not hold."""
        self.checked(apply("where", condition, self.constant(0.0), self.constant(np.nan)))

    def sparse(self, x: Array) -> Array:
        """Returns x, which scikit-learn holds as a sparse matrix."""
        self.importer.sparse.add(_payload(x))
        return x

    def dense(self, x: Array) -> Array:
        """Returns x, which scikit-learn holds as an array, whatever it is computed from."""
        self.importer.sparse.discard(_payload(x))
        return x

    def is_sparse(self, x: Array) -> bool:
        """Returns whether scikit-learn holds x as a sparse matrix."""
        return _payload(x) in self.importer.sparse

    def of(self, estimator: Any, method: str, x: Array, name: str = "") -> Any:
        """Returns what a method of an estimator inside of this one computes."""
        path = f"{self.path}.{name}" if self.path and name else self.path or name
        return self.importer.method(estimator, method, x, path)

    def each(self, parts: Iterable[Callable[[], Array]]) -> list[Array]:
        """Returns what each part computes; where one is refused, it goes on to find all obstacles.
        """
        results, refused = [], False
        for part in parts:
            try:
                results.append(part())
            except Refused:
                refused = True
        if refused:
            raise Refused
        return results

    def stand_in(self, like: Any, x: Array) -> Array:
        """Returns an array that an estimator takes, for one that was refused before it."""
        count = int(getattr(like, "n_features_in_", width(x)))
        return apply("full", 0.0, shape=(x.type.shape[0], count), dtype=self.importer.dtype)

    def columns(self, x: Array, indices: Any) -> Array:
        """Returns some columns of x, in this order."""
        chosen = np.asarray(indices, np.int64)
        if len(chosen) and (np.diff(chosen) == 1).all():
            return x.narrow(1, int(chosen[0]), len(chosen))
        return apply("take", x, Array(chosen), axis=1)


def apply(name: str, *operands: Array | float, **attrs: Any) -> Array:
    """Returns the result of an op; see nncompile.array.apply."""
    result: Array = apply_any(name, *operands, **attrs)
    return result


def _payload(x: Array) -> Value:
    value = x._as_operand()
    assert isinstance(value, Value)
    return value


def width(x: Array) -> int:
    """Returns the number of columns."""
    return int(x.type.shape[1])
