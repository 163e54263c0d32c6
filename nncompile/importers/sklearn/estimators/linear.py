"""Linear models, and networks of them."""
from __future__ import annotations

import numpy as np

from ir import Error
from nncompile.array import Array
from nncompile.importers.sklearn.estimators.classes import (
    both,
    classes_of,
    flat,
    largest,
    of_probabilities,
    of_scores,
    positive,
    shares,
    softmax,
)
from nncompile.importers.sklearn.fitted import Fitted, Labels, Method, Row, apply, width


def linear(f: Fitted, x: Array) -> Array:
    """Returns x @ coef_.T + intercept_, [N, outputs]."""
    coefficients = f.numbers("coef_")
    rows = coefficients.reshape(-1, coefficients.shape[-1])
    if rows.shape[1] != width(x):
        raise Error(f"it has {rows.shape[1]} coefficients for {width(x)} columns")
    bias = np.broadcast_to(f.numbers("intercept_"), rows.shape[:1])
    result = apply("linear", x, f.weight("coef_", rows), f.weight("intercept_", bias))
    return f.checked(result, instead_of=x)


def _value(f: Fitted, x: Array) -> Array:
    result = linear(f, x)
    return flat(result) if f.numbers("coef_").ndim == 1 else result


def _exponential(f: Fitted, x: Array) -> Array:
    return apply("exp", _value(f, x))


def _tweedie(f: Fitted, x: Array) -> Array:
    link, power = f.get("link"), f.get("power")
    return _exponential(f, x) if link == "log" or (link == "auto" and power > 0) else _value(f, x)


def _latent(f: Fitted, x: Array) -> Array:
    """Returns the regression of partial least squares."""
    f.checked(x)
    y = x - f.weight("x_mean_", f.numbers("_x_mean"))
    result = apply("linear", y, f.weight("coef_"), f.weight("intercept_"))
    return flat(result) if f.get("_predict_1d") else result


def _latent_scores(rotations: str) -> Method:
    def compute(f: Fitted, x: Array) -> Array:
        f.checked(x)
        y = (x - f.weight("x_mean_", f.numbers("_x_mean"))) / f.weight(
            "x_std_", f.numbers("_x_std"))
        result: Array = apply("linear", y, f.weight(rotations, f.numbers(rotations).T))
        return result
    return compute


def _scores(f: Fitted, x: Array) -> Array:
    binarizer = getattr(f.estimator, "_label_binarizer", None)
    if getattr(binarizer, "y_type_", "").startswith("multilabel"):
        raise Error("several labels for each row are not supported")
    return linear(f, x)


def _one_against_rest(f: Fitted, x: Array) -> Array:
    probability = apply("sigmoid", _scores(f, x))
    return both(probability) if probability.type.shape[1] == 1 else shares(probability)


def _logistic(f: Fitted, x: Array) -> Array:
    scores, how = _scores(f, x), getattr(f.estimator, "multi_class", "auto")
    if scores.type.shape[1] == 1:
        if how == "multinomial":
            raise Error("multi_class=\"multinomial\" of two classes is not supported")
        return both(apply("sigmoid", scores))
    rest = how == "ovr" or f.get("solver") == "liblinear"
    return _one_against_rest(f, x) if rest else softmax(scores)


def _stochastic(f: Fitted, x: Array) -> Array:
    if f.get("loss") == "log_loss":
        return _one_against_rest(f, x)
    scores = _scores(f, x)
    probability = (apply("minimum", apply("maximum", scores, -1.0), 1.0) + 1.0) / 2.0
    return both(probability) if scores.type.shape[1] == 1 else shares(probability)


# -- networks --------------------------------------------------------------------------------------

_ACTIVATIONS = {"identity": None, "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def _network(f: Fitted, x: Array) -> Array:
    """Returns the last layer's output, [N, outputs], before out_activation_."""
    f.checked(x)
    activation = _ACTIVATIONS[f.get("activation")]
    weights, biases = f.get("coefs_"), f.get("intercepts_")
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = apply("linear", x, f.weight(f"coefs_{i}", weight.T), f.weight(f"intercepts_{i}", bias))
        if i < len(weights) - 1 and activation is not None:
            x = apply(activation, x)
    return x


def _network_value(f: Fitted, x: Array) -> Array:
    how = f.get("out_activation_")
    if how not in ("identity", "exp"):
        raise Error(f"the output activation {how!r} is not supported")
    result = _network(f, x)
    return flat(apply("exp", result) if how == "exp" else result)


def _network_probability(f: Fitted, x: Array) -> Array:
    _check_labels(f)
    scores, how = _network(f, x), f.get("out_activation_")
    if how == "softmax":
        return softmax(scores)
    return both(apply("sigmoid", scores))


def _network_labels(f: Fitted, x: Array) -> Labels:
    _check_labels(f)
    probability = _network_probability(f, x)
    if f.get("out_activation_") == "softmax":
        return Labels(largest(probability), classes_of(f))
    second = probability.narrow(1, 1, 1)
    return Labels(positive(second - 0.5), classes_of(f))


def _check_labels(f: Fitted) -> None:
    if f.get("_label_binarizer").y_type_.startswith("multilabel"):
        raise Error("several labels for each row are not supported")


# -- the table -------------------------------------------------------------------------------------

_regressor = Row({"predict": _value}, training="loss learning_rate")
_scorer = Row(of_scores(_scores), training="loss learning_rate multi_class")
_logistic_row = Row(of_scores(_scores) | of_probabilities(_logistic, predict=False),
                    "multi_class solver")
ROWS = {
    **{f"linear_model.{name}": _regressor for name in (
        "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV",
        "SGDRegressor", "HuberRegressor")},
    "svm.LinearSVR": _regressor,
    **{f"linear_model.{name}": Row({"predict": _value}, training=training) for name, training in {
        "Lars": "n_nonzero_coefs", "LassoLars": "", "LarsCV": "max_n_alphas",
        "LassoLarsCV": "max_n_alphas", "OrthogonalMatchingPursuit": "n_nonzero_coefs",
        "BayesianRidge": "", "ARDRegression": "threshold_lambda",
        "TheilSenRegressor": "max_subpopulation n_subsamples",
        "QuantileRegressor": "quantile solver_options", "MultiTaskLasso": "",
        "MultiTaskElasticNet": ""}.items()},
    **{f"linear_model.{name}": Row({"predict": _exponential}, training="solver") for name in (
        "PoissonRegressor", "GammaRegressor")},
    "linear_model.TweedieRegressor": Row({"predict": _tweedie}, "link power"),
    **{f"cross_decomposition.{name}": Row(
        {"predict": _latent, "transform": _latent_scores("x_rotations_")},
        training="n_components scale algorithm") for name in (
        "PLSRegression", "PLSCanonical", "CCA")},
    "cross_decomposition.PLSSVD": Row({"transform": _latent_scores("x_weights_")},
                                      training="n_components scale"),
    **{f"linear_model.{name}": _scorer for name in (
        "RidgeClassifier", "RidgeClassifierCV", "Perceptron")},
    "svm.LinearSVC": _scorer,
    "linear_model.LogisticRegression": _logistic_row,
    "linear_model.LogisticRegressionCV": _logistic_row,
    "linear_model.SGDClassifier": Row(
        of_scores(_scores) | of_probabilities(_stochastic, predict=False), "loss",
        training="learning_rate"),
    "neural_network.MLPRegressor": Row({"predict": _network_value}, "activation",
                                       training="hidden_layer_sizes learning_rate loss"),
    "neural_network.MLPClassifier": Row(
        of_probabilities(_network_probability, predict=False) | {"predict": _network_labels},
        "activation", training="hidden_layer_sizes learning_rate"),
}
