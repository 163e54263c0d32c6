"""Classes and clusters told by distances: normal distributions, discriminants, centres."""
from __future__ import annotations

import numpy as np

from ir import Error
from nncompile.array import Array, apply
from nncompile.importers.sklearn.estimators.classes import (
    both,
    classes_of,
    largest,
    of_probabilities,
    of_scores,
    softmax,
)
from nncompile.importers.sklearn.estimators.linear import linear
from nncompile.importers.sklearn.fitted import Fitted, Labels, Row


def _likelihoods(f: Fitted, x: Array) -> Array:
    """Returns the logarithm of prior times likelihood, [N, classes]."""
    f.checked(x)
    variance = f.numbers("var_").astype(np.float64)
    known = np.log(f.numbers("class_prior_")) - 0.5 * np.log(2 * np.pi * variance).sum(1)
    away = x.unsqueeze(1) - f.weight("theta_")
    distance = (away * away / f.weight("var_", variance)).sum(2)
    result: Array = distance * -0.5 + f.weight("class_prior_", known)
    return result


def _log_shares(f: Fitted, x: Array) -> Array:
    result: Array = apply("log_softmax", _likelihoods(f, x), axis=1)
    return result


def _discriminant(f: Fitted, x: Array) -> Array:
    scores = linear(f, x)
    return both(apply("sigmoid", scores)) if scores.type.shape[1] == 1 else softmax(scores)


def _projected(f: Fitted, x: Array) -> Array:
    how, most = f.get("solver"), f.get("_max_components")
    if how == "lsqr":
        raise Error("solver=\"lsqr\" has no transform\ndo: methods=[...] names the others")
    y = x - f.weight("xbar_") if how == "svd" else x
    matrix = f.weight("scalings_", f.numbers("scalings_")[:, :most].T)
    return f.checked(apply("linear", y, matrix), instead_of=x)


def _squares(f: Fitted, x: Array) -> Array:
    """Returns the squared distance to each centre, [N, clusters]."""
    f.checked(x)
    away = x.unsqueeze(1) - f.weight("cluster_centers_")
    result: Array = (away * away).sum(2)
    return result


def _nearest(f: Fitted, x: Array) -> Labels:
    nearest: Array = apply("argmin", _squares(f, x), axis=1, keepdims=False)
    return Labels(nearest, np.arange(len(f.get("cluster_centers_")), dtype=np.int32))


_CENTRES = Row({"predict": _nearest, "transform": lambda f, x: apply("sqrt", _squares(f, x))},
               training="n_clusters init algorithm max_no_improvement init_size "
                        "reassignment_ratio compute_labels")
ROWS = {
    "naive_bayes.GaussianNB": Row(
        {"predict": lambda f, x: Labels(largest(_likelihoods(f, x)), classes_of(f)),
         "predict_proba": lambda f, x: apply("exp", _log_shares(f, x)),
         "predict_log_proba": _log_shares}, training="priors var_smoothing"),
    "discriminant_analysis.LinearDiscriminantAnalysis": Row(
        {**of_scores(linear), **of_probabilities(_discriminant, predict=False),
         "transform": _projected}, "solver",
        training="shrinkage priors n_components store_covariance covariance_estimator"),
    "cluster.KMeans": _CENTRES,
    "cluster.MiniBatchKMeans": _CENTRES,
}
