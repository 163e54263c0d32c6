"""The data that estimators of scikit-learn are fitted to, and how a compiled one is compared."""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import nncompile
from ir import NDArray
from nncompile.importers.sklearn.importer import METHODS

ROWS, COLUMNS = 160, 5
X = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)) * [1, 3, 0.2, 9, 1] + [0, 1, 0, 5, 1]
VALUES = X[:, 0] - 2 * X[:, 1] ** 2 + np.sin(X[:, 4])
TWO_VALUES = np.stack([VALUES, X[:, 2] + X[:, 3]], 1)
TWO = np.array(["no", "yes, indeed"])[(VALUES > -6).astype(int)]
THREE = np.array([7, -2, 30])[(VALUES > -2).astype(int) + (X[:, 4] > -1)]
HOLES = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)


def fitted(estimator: Any, x: Any = X, y: Any = TWO) -> Any:
    from sklearn.base import clone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")          # of training that was short
        return clone(estimator).fit(x, y)


def compare(ours: NDArray, theirs: NDArray, tolerance: float = 1e-11) -> None:
    assert ours.shape == theirs.shape
    if theirs.dtype.kind != "f":
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        return
    size = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
    np.testing.assert_allclose(ours, theirs, tolerance, tolerance * size)


def ids(case: tuple[Any, ...]) -> str:
    return f"{case[0]!r}"[:40].replace("\n", " ").replace(" ", "")


def others(x: NDArray) -> NDArray:
    """Returns rows that no estimator was fitted to; of small whole numbers where x is of those."""
    random = np.random.default_rng(2)
    known = x[~np.isnan(x)]
    if (known == known.round()).all():
        return random.integers(0, int(known.max()) + 1, (35, x.shape[1])).astype(np.float64)
    wide = random.standard_normal((33, x.shape[1])) * 4
    return np.concatenate([wide, np.zeros((2, x.shape[1]))])


def agree(estimator: Any, x: Any, y: Any, tolerance: float = 1e-11, **options: Any) -> Any:
    """Checks that the compiled estimator has the methods of the fitted one, and their results."""
    estimator = fitted(estimator, x, y)
    fast = nncompile.compile(estimator, **options)
    wanted = [*options.get("methods", [n for n in METHODS if hasattr(estimator, n)])]
    assert wanted == [*fast.compiled]
    assert all(hasattr(fast, name) == (name in wanted) for name in METHODS)
    for rows in (x, x[:1], others(x), np.asfortranarray(x), x[::3]):
        for name in fast.compiled:
            try:
                expected = getattr(estimator, name)(rows)
            except ValueError:                   # what scikit-learn refuses is refused
                with pytest.raises(ValueError, match="X"):
                    getattr(fast, name)(rows)
                continue
            found = getattr(fast, name)(rows)
            if getattr(expected, "dtype", None) != np.float64:
                assert expected.dtype == found.dtype
            if name == "predict_log_proba":      # that of a tiny one magnifies its rounding
                compare(np.exp(found), np.exp(expected), tolerance)
            else:
                compare(found, expected, tolerance)
    empty = next(iter(fast.compiled))
    assert len(getattr(fast, empty)(x[:0])) == 0
    if hasattr(estimator, "classes_"):
        np.testing.assert_array_equal(fast.classes_, estimator.classes_)
    assert repr(fast).startswith("<nncompile.CompiledEstimator")
    return fast
