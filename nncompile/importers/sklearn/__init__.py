"""Fitted estimators of scikit-learn, which is not imported here: a user who has one did that."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import ir
from ir.float_mode import StandardFloats
from ir.records import replace
from nncompile.errors import InputError
from nncompile.importers.imported import EstimatorFacts, ImportedEstimator
from nncompile.importers.obstacles import Obstacles
from nncompile.importers.sklearn.check import check_against_sklearn, timed_against
from nncompile.importers.sklearn.importer import METHODS, ImportedMethod, Importer


def import_estimator(estimator: Any, *inputs: Any, methods: Sequence[str] | None = None,
                     dtype: Any = "float64") -> ImportedEstimator:
    """Returns the graphs of an estimator's methods; see `from_sklearn`."""
    if inputs:
        raise InputError(f"an estimator knows its columns: leave {len(inputs)} inputs out")
    kind, wanted = _kind(dtype), _wanted(estimator, methods)
    found = _imported(estimator, kind, wanted)
    facts = _facts(estimator, kind, found)
    graphs = {name: method.graph for name, method in found.items()}
    check = partial(check_against_sklearn, estimator, facts)
    plain = ImportedEstimator(facts, graphs, check)
    return replace(plain, peers={"sklearn": timed_against(estimator, facts, plain.method)})


def _kind(dtype: Any) -> str:
    try:
        return {"float64": "f64", "float32": "f32"}[np.dtype(dtype).name]
    except (TypeError, KeyError):
        raise InputError(f"dtype={dtype!r}: an estimator computes in float64 or float32") from None


def _wanted(estimator: Any, methods: Sequence[str] | None) -> list[str]:
    """Returns the methods to import: those asked for, or all that there are."""
    there = [name for name in METHODS if hasattr(estimator, name)]
    wanted = [methods] if isinstance(methods, str) else [*(there if methods is None else methods)]
    if missing := [name for name in wanted if name not in there]:
        raise InputError(f"{type(estimator).__name__} has no method {missing[0]!r} that can be "
                         f"compiled; it has {', '.join(there) or 'none'}")
    return wanted


def _imported(estimator: Any, kind: str, wanted: Sequence[str]) -> dict[str, ImportedMethod]:
    """Returns each method as a graph. Raises ModelImportError, which lists all obstacles."""
    title, obstacles = type(estimator).__name__, Obstacles()
    if not wanted:
        obstacles.add(title, f"it has none of the methods {', '.join(METHODS)}", "the model")
    with StandardFloats():                       # what is computed here is the same everywhere
        found = {name: Importer(estimator, kind, obstacles).run(name) for name in wanted}
    if obstacles:
        raise obstacles.error(title)
    return {name: method for name, method in found.items() if method is not None}


def _facts(estimator: Any, kind: str, found: Mapping[str, ImportedMethod]) -> EstimatorFacts:
    columns = getattr(estimator, "feature_names_in_", None)
    classes = getattr(estimator, "classes_", None)
    return EstimatorFacts(
        type(estimator).__name__, kind, int(estimator.n_features_in_),
        None if columns is None else tuple(map(str, columns)),
        classes.copy() if isinstance(classes, np.ndarray) else None,
        {name: method.classes for name, method in found.items()})


def from_sklearn(estimator: Any, method: str | None = None, dtype: Any = "float64") -> ir.Graph:
    """Returns the graph of a method of a fitted estimator of scikit-learn, with its data.

    method: its name; None: "predict_proba", or the first that there is of "decision_function",
            "predict", "transform" and "score_samples".
    dtype:  float64, in which scikit-learn computes, or float32.

    The graph's input is X, [B, features]. Its outputs are the result, [B, ...], which for labels
    are their positions in `classes_`; and a bool, whether X has only elements that scikit-learn
    takes: most estimators refuse NaN and infinity.
    Raises ModelImportError, which lists all that stands in the way, and InputError where the
    estimator has no such method.
    """
    wanted = None if method is None else [method]
    return import_estimator(estimator, methods=wanted, dtype=dtype).graph


__all__ = ["from_sklearn", "import_estimator"]
