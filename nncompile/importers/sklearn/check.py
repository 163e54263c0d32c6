"""Compares compiled methods with the estimator's own, on random and on edge inputs."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np

import ir
from ir import DTYPES, NDArray
from nncompile.errors import CompileError
from nncompile.importers.imported import EstimatorFacts

_ROWS = (1, 3, 64)
_RELATIVE = {"f64": 1e-9, "f32": 1e-3}           # and of the largest element


def check_against_sklearn(estimator: Any, facts: EstimatorFacts, compiled: Any) -> None:
    """Raises CompileError where a method's result differs from the estimator's.

    Inputs that the estimator refuses prove nothing; where it takes none, that is an error too.
    """
    # A dependency of scikit-learn. Its threads wait for each other longer than these rows take.
    from threadpoolctl import threadpool_limits
    random, tried = np.random.default_rng(0), 0
    with threadpool_limits(1):
        for kind in ("normal", "wide", "zero", "missing"):
            x = _inputs(random, kind, facts)
            for name in facts.labels:
                tried += _check_method(estimator, facts, compiled, name, kind, x)
    if not tried:
        raise CompileError(f"{facts.title} could not be checked: it takes none of the inputs "
                           "that were tried")


def timed_against(estimator: Any, facts: EstimatorFacts, method: str) -> Any:
    """Returns the estimator's own method as a peer of the benchmark: it gives what the graph gives.
    """
    call, classes = getattr(estimator, method), facts.labels[method]

    def ways(graph: ir.Graph, sets: Sequence[Sequence[NDArray]], threads: int) -> list[Any]:
        following = cycle([x for (x,) in sets]).__next__

        def run() -> list[NDArray]:
            found = np.asarray(call(following()))
            positions = found if classes is None else np.argmax(
                found[:, None] == classes, axis=1)
            return [positions, np.asarray(True)]

        return [run]

    return ways


def _inputs(random: np.random.Generator, kind: str, facts: EstimatorFacts) -> NDArray:
    x = random.standard_normal((sum(_ROWS), facts.features))
    x = x * {"normal": 1.0, "wide": 100.0, "zero": 0.0, "missing": 1.0}[kind]
    if kind == "missing":
        x[random.random(x.shape) < 0.3] = np.nan
    return x.astype(DTYPES[facts.dtype])


def _check_method(estimator: Any, facts: EstimatorFacts, compiled: Any, name: str, kind: str,
                  x: NDArray) -> bool:
    """Compares a method in batches of several sizes; returns whether the estimator takes x."""
    try:
        expected = np.asarray(getattr(estimator, name)(x))
    except ValueError:                           # it does not take NaN
        return False
    for part in np.split(np.arange(len(x)), np.cumsum(_ROWS)[:-1]):
        found, wanted = np.asarray(getattr(compiled, name)(x[part])), expected[part]
        if name == "predict_log_proba":          # that of a tiny one magnifies its rounding
            found, wanted = np.exp(found), np.exp(wanted)
        if why := _difference(found, wanted, facts.dtype):
            raise CompileError(f"{facts.title}.{name} differs from scikit-learn's, for "
                               f"{len(part)} rows of {kind} inputs: {why}")
    return True


def _difference(ours: NDArray, theirs: NDArray, dtype: str) -> str:
    if ours.shape != theirs.shape:
        return f"the shape {ours.shape} is not {theirs.shape}"
    if theirs.dtype.kind != "f" or ours.dtype.kind != "f":
        wrong = np.asarray(ours != theirs)
    else:
        finite = theirs[np.isfinite(theirs)]
        size = float(np.abs(finite).max(initial=0))
        wrong = ~np.isclose(ours, theirs, _RELATIVE[dtype], _RELATIVE[dtype] * size,
                            equal_nan=True)
    if not wrong.any():
        return ""
    first = tuple(int(k) for k in np.argwhere(wrong)[0])
    return (f"{int(wrong.sum())} of {wrong.size} elements, the first at {first}: {ours[first]} is "
            f"not {theirs[first]}")
