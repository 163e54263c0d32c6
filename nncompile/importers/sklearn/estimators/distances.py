"""Classes and clusters told by distances: normal distributions, discriminants, centres."""
from __future__ import annotations

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.estimators.classes import (
    Compute,
    both,
    classes_of,
    largest,
    of_probabilities,
    of_scores,
    softmax,
)
from nncompile.importers.sklearn.estimators.linear import linear
from nncompile.importers.sklearn.fitted import Fitted, Labels, Method, Row, apply


def _likelihoods(f: Fitted, x: Array) -> Array:
    """Returns the logarithm of prior times likelihood, [N, classes]."""
    f.checked(x)
    variance = f.numbers("var_").astype(np.float64)
    known = np.log(f.numbers("class_prior_")) - 0.5 * np.log(2 * np.pi * variance).sum(1)
    away = x.unsqueeze(1) - f.weight("theta_")
    distance = (away * away / f.weight("var_", variance)).sum(2)
    result: Array = distance * -0.5 + f.weight("class_prior_", known)
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


def _quadratic(f: Fitted, x: Array) -> Array:
    """Returns the logarithm of prior times likelihood of each class, [N, classes]."""
    f.checked(x)
    priors, columns = f.numbers("priors_"), []
    parts = zip(f.get("rotations_"), f.get("scalings_"), f.numbers("means_"), strict=True)
    for i, (rotation, scaling, mean) in enumerate(parts):
        matrix = np.asarray(rotation) * np.asarray(scaling) ** -0.5
        away = apply("linear", x - f.weight(f"means_{i}", mean),
                     f.weight(f"rotations_{i}", matrix.T))
        known = -0.5 * np.log(scaling).sum() + np.log(priors[i])
        columns.append((away * away).sum(1, keepdim=True) * -0.5 + float(known))
    return cat(columns, 1)


def _quadratic_decision(f: Fitted, x: Array) -> Array:
    scores = _quadratic(f, x)
    if scores.type.shape[1] != 2:
        return scores
    result: Array = (scores.narrow(1, 1, 1) - scores.narrow(1, 0, 1)).squeeze(1)
    return result


def _counts(f: Fitted, x: Array) -> Array:
    return _by_logarithms(f, x, f.numbers("feature_log_prob_"), f.numbers("class_log_prior_"))


def _complements(f: Fitted, x: Array) -> Array:
    prior = f.numbers("class_log_prior_")
    return _by_logarithms(f, x, f.numbers("feature_log_prob_"),
                          prior if len(prior) == 1 else np.zeros(len(prior)))


def _presences(f: Fitted, x: Array) -> Array:
    there = f.numbers("feature_log_prob_").astype(np.float64)
    absent = np.log(1 - np.exp(there))
    f.checked(x)
    threshold = f.get("binarize")
    if threshold is not None:
        x = f.result(apply("gt", x, float(threshold)))
    return _by_logarithms(f, x, there - absent, f.numbers("class_log_prior_") + absent.sum(1))


def _by_logarithms(f: Fitted, x: Array, weights: NDArray, bias: NDArray) -> Array:
    f.checked(x)
    return apply("linear", x, f.weight("feature_log_prob_", weights),
                          f.weight("class_log_prior_", bias))


def _bayes(likelihoods: Compute) -> dict[str, Method]:
    def logarithms(f: Fitted, x: Array) -> Array:
        result: Array = apply("log_softmax", likelihoods(f, x), axis=1)
        return result

    return {"predict": lambda f, x: Labels(largest(likelihoods(f, x)), classes_of(f)),
            "predict_proba": lambda f, x: apply("exp", logarithms(f, x)),
            "predict_log_proba": logarithms}


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
_COUNTS = "fit_prior class_prior force_alpha"
ROWS = {
    "naive_bayes.GaussianNB": Row(_bayes(_likelihoods), training="priors var_smoothing"),
    "naive_bayes.MultinomialNB": Row(_bayes(_counts), training=_COUNTS),
    "naive_bayes.ComplementNB": Row(_bayes(_complements), training=_COUNTS + " norm"),
    "naive_bayes.BernoulliNB": Row(_bayes(_presences), "binarize", training=_COUNTS),
    "discriminant_analysis.QuadraticDiscriminantAnalysis": Row(
        _bayes(_quadratic) | {"decision_function": _quadratic_decision},
        training="solver shrinkage priors reg_param store_covariance covariance_estimator"),
    "discriminant_analysis.LinearDiscriminantAnalysis": Row(
        {**of_scores(linear), **of_probabilities(_discriminant, predict=False),
         "transform": _projected}, "solver",
        training="shrinkage priors n_components store_covariance covariance_estimator"),
    "cluster.KMeans": _CENTRES,
    "cluster.MiniBatchKMeans": _CENTRES,
}
