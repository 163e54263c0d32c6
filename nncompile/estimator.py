"""CompiledEstimator: a compiled estimator of scikit-learn, with the methods that it has."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ir import DTYPES, NDArray
from nncompile.conversion import numbers
from nncompile.errors import InputError
from nncompile.importers.imported import EstimatorFacts
from nncompile.model import CompiledModel


class CompiledEstimator:
    """An estimator of scikit-learn, compiled: `fast.predict(X)`, `fast.predict_proba(X)`, ...

    It has those of predict, predict_proba, predict_log_proba, decision_function, transform and
    score_samples that the estimator has, each a compiled model of its own in `compiled`.

    compiled:          the CompiledModel of each method, by its name. Its outputs are the method's
                       result, labels as positions in `classes_`; and whether X was legal.
    classes_:          those of the estimator, in their own dtype, where it has some.
    n_features_in_:    how many columns X has.
    feature_names_in_: their names, where it was fitted with names.
    """

    classes_: NDArray
    feature_names_in_: NDArray

    def __init__(self, facts: EstimatorFacts, compiled: Mapping[str, CompiledModel]) -> None:
        """Makes the methods of an estimator."""
        self._facts = facts
        self.compiled = dict(compiled)
        self.n_features_in_ = facts.features
        if facts.classes is not None:
            self.classes_ = facts.classes
        if facts.columns is not None:
            self.feature_names_in_ = np.array(facts.columns, object)
        for name, model in self.compiled.items():
            setattr(self, name, self._method(name, model, facts.labels[name]))

    def _method(self, name: str, run: CompiledModel, classes: NDArray | None
                ) -> Callable[[Any], NDArray]:
        """Returns a method of X; what is in its way costs nothing unless it is there."""
        call, dtype = run.__call__, np.dtype(DTYPES[self._facts.dtype])
        array, prepared, refuse = np.ndarray, self._prepared, self._refuse

        def method(X: Any, out: None = None) -> NDArray:   # any more are Python's own TypeError
            if out is not None:
                raise InputError(f"{method.__qualname__} takes 1 input, got 2: it takes X alone, "
                                 "and returns new arrays")
            if type(X) is not array or X.dtype is not dtype:
                X = prepared(X)
            result, legal = call(X)
            if not legal:
                refuse(name, X)
            labels: NDArray = result if classes is None else classes.take(result)
            return labels

        method.__name__, method.__qualname__ = name, f"{self._facts.title}.{name}"
        method.__doc__ = f"Returns what {self._facts.title}.{name} returns for X."
        return method

    def _prepared(self, given: Any) -> NDArray:
        """Returns the numbers in X, an array, a list or a frame.

        Raises InputError where they are none, or a frame has other columns.
        """
        names = getattr(given, "columns", None)
        if names is not None and self._facts.columns is not None:
            self._check_columns([str(name) for name in names])
        try:
            if hasattr(given, "to_numpy") and not isinstance(given, np.ndarray):
                given = _numbers_of_frame(given)
            # numbers() refuses a list with None in it, which are missing values here
            array = np.asarray(given) if isinstance(given, list | tuple) else numbers(given)[0]
            if array.dtype.kind not in "fiubO" or array.ndim != 2:
                raise TypeError(f"an array of {array.dtype} with {array.ndim} dimensions")
            cast = array.astype(DTYPES[self._facts.dtype])
        except (TypeError, ValueError) as error:
            raise InputError(f"X is no table of numbers, [rows, {self.n_features_in_}]: {error}"
                             ) from None
        return cast if array.flags.c_contiguous else np.ascontiguousarray(cast)

    def _check_columns(self, names: list[str]) -> None:
        expected = [*(self._facts.columns or ())]
        if names == expected:
            return
        if sorted(names) == sorted(expected):
            raise InputError("the columns of X are in another order than those it was fitted with"
                             f"\n  do: X[{expected[:4]}{'...' if len(expected) > 4 else ''}]")
        odd = {"missing": set(expected) - set(names), "unexpected": set(names) - set(expected)}
        wrong = [f"{what} {', '.join(sorted(map(repr, found))[:5])}"
                 for what, found in odd.items() if found]
        raise InputError(f"X has other columns than those it was fitted with: {'; '.join(wrong)}")

    def _refuse(self, name: str, given: NDArray) -> None:
        """Raises InputError for an X that scikit-learn refuses, too."""
        what = "infinity" if np.isinf(given).any() else "NaN" if np.isnan(given).any() else None
        if what is not None:
            raise InputError(f"Input X contains {what}, which {self._facts.title}.{name} does "
                             "not take")
        raise InputError(f"{self._facts.title}.{name} does not take a number in X: it is so large "
                         "that infinity or NaN is computed on the way, or beyond what the model "
                         "was fitted to, such as a category that is not among the known ones")

    def __repr__(self) -> str:
        methods = ", ".join(self.compiled)
        return f"<nncompile.CompiledEstimator {self._facts.title}: {methods}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledEstimator, (self._facts, self.compiled)


def _numbers_of_frame(frame: Any) -> Any:
    """Returns the numbers of a frame, in which pandas.NA is a NaN, as for scikit-learn."""
    found = frame.to_numpy()
    if found.dtype == object and hasattr(frame, "convert_dtypes"):     # pandas's own
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return found
