"""Estimators that combine what several others predict."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.estimators.classes import (
    among,
    both,
    classes_of,
    flat,
    largest,
    of_probabilities,
    ovr_scores,
    positive,
    shares,
    softmax,
    values_of,
)
from nncompile.importers.sklearn.estimators.intervals import interpolated
from nncompile.importers.sklearn.fitted import Fitted, Labels, Row, apply


def _all(f: Fitted, x: Array, compute: Callable[[Any, str], Array]) -> list[Array]:
    """Returns what `compute` makes of each of estimators_ and its place."""
    return f.each(partial(compute, each, f"estimators_{i}")
                  for i, each in enumerate(f.get("estimators_")))


def _total(parts: Sequence[Array]) -> Array:
    return reduce(lambda a, b: a + b, parts)


def _column(x: Array) -> Array:
    """Returns [N] as [N, 1], and any other array as it is."""
    return x.unsqueeze(1) if x.ndim == 1 else x


def _one_hot(f: Fitted, positions: Array, count: int) -> Array:
    hot: Array = apply("eq", positions.unsqueeze(1), Array(np.arange(count)))
    return f.result(hot)


# -- voting ----------------------------------------------------------------------------------------

def _vote_weights(f: Fitted) -> list[float]:
    given, estimators = f.get("weights"), f.get("estimators")
    if given is None:
        return [1.0] * len(f.get("estimators_"))
    return [float(w) for w, (_, each) in zip(given, estimators, strict=True)
            if not isinstance(each, str)]


def _weighted(f: Fitted, parts: Sequence[Array]) -> Array:
    weights = _vote_weights(f)
    if len(set(weights)) == 1:
        weights = [1.0] * len(parts)             # the same ones do not change the mean
    total = _total([p if w == 1 else p * w for p, w in zip(parts, weights, strict=True)])
    result: Array = total / float(sum(weights))
    return result


def _soft(f: Fitted, x: Array) -> Array:
    return _weighted(f, _all(f, x, lambda each, name: f.of(each, "predict_proba", x, name)))


def _votes(f: Fitted, x: Array) -> list[Array]:
    """Returns the position among the classes that each classifier votes for, [N] each."""
    codes = np.arange(len(classes_of(f)))        # they were trained on these
    return _all(f, x, lambda each, name: among(f.of(each, "predict", x, name), codes))


def _vote(f: Fitted, x: Array) -> Labels:
    if f.get("voting") == "soft":
        return Labels(largest(_soft(f, x)), classes_of(f))
    count, weights = len(classes_of(f)), _vote_weights(f)
    hot = [_one_hot(f, at, count) * w for at, w in zip(_votes(f, x), weights, strict=True)]
    return Labels(largest(_total(hot)), classes_of(f))


def _vote_features(f: Fitted, x: Array) -> Any:
    if f.get("voting") == "hard":
        voted = cat([at.unsqueeze(1) for at in _votes(f, x)], 1)
        return Labels(voted, np.arange(len(classes_of(f))))
    if not f.get("flatten_transform"):
        raise Error("flatten_transform=False is not supported: its rows are not the first axis")
    return cat(_all(f, x, lambda each, name: f.of(each, "predict_proba", x, name)), 1)


def _mean_value(f: Fitted, x: Array) -> Array:
    return _weighted(f, _predicted(f, x))


def _predicted(f: Fitted, x: Array) -> list[Array]:
    return _all(f, x, lambda each, name: values_of(f, f.of(each, "predict", x, name)))


def _side_by_side(f: Fitted, x: Array) -> Array:
    return cat([_column(each) for each in _predicted(f, x)], 1)


# -- stacking --------------------------------------------------------------------------------------

def _stacked(f: Fitted, x: Array) -> Array:
    """Returns what the first layer predicts, and X itself beside it if passthrough."""
    two = len(getattr(f.estimator, "classes_", ())) == 2
    kept = [each for each in f.get("estimators_") if not isinstance(each, str)]
    methods = f.get("stack_method_")
    if len(methods) != len(kept):
        raise Error("its stack_method_ does not fit its estimators_")

    def part(i: int) -> Array:
        found = _column(values_of(f, f.of(kept[i], methods[i], x, f"estimators_{i}")))
        last = int(found.type.shape[1]) - 1
        return found.narrow(1, 1, last) if methods[i] == "predict_proba" and two else found

    parts = f.each(partial(part, i) for i in range(len(kept)))
    return cat([*parts, x] if f.get("passthrough") else parts, 1)


def _stack_features(f: Fitted, x: Array) -> Any:
    """Returns the first layer's predictions; as whole numbers where all of them are labels."""
    kept = [each for each in f.get("estimators_") if not isinstance(each, str)]
    labels = set(f.get("stack_method_")) == {"predict"} and not any(map(_is_regressor, kept))
    if not labels or f.get("passthrough"):
        return _stacked(f, x)
    found = _stacked(f, x)
    return Labels(found._cast("i64"), np.arange(len(classes_of(f))))


def _final(method: str) -> Any:
    def compute(f: Fitted, x: Array) -> Any:
        found = f.of(f.get("final_estimator_"), method, _stacked(f, x), "final_estimator_")
        if not isinstance(found, Labels):
            return found
        classes = classes_of(f)                  # the last one was trained on their positions
        return Labels(among(found, np.arange(len(classes))), classes)
    return compute


# -- bagging ---------------------------------------------------------------------------------------

def _bagged(f: Fitted, x: Array, compute: Callable[[Any, Array, str], Array]) -> list[Array]:
    features = f.get("estimators_features_")

    def part(i: int, each: Any) -> Array:
        return compute(each, f.columns(x, features[i]), f"estimators_{i}")

    return f.each(partial(part, i, each) for i, each in enumerate(f.get("estimators_")))


def _bag_probability(f: Fitted, x: Array) -> Array:
    count = len(classes_of(f))

    def part(each: Any, y: Array, name: str) -> Array:
        if hasattr(each, "predict_proba"):
            return _widened(f, f.of(each, "predict_proba", y, name), each.classes_, count)
        return _one_hot(f, among(f.of(each, "predict", y, name), np.arange(count)), count)

    parts = _bagged(f, x, part)
    result: Array = _total(parts) / float(len(parts))
    return result


def _widened(f: Fitted, probability: Array, classes: NDArray, count: int) -> Array:
    """Returns columns for all classes, from those of the classes that an estimator has seen."""
    if len(classes) == count:
        return probability
    table = np.zeros((count, len(classes)))
    table[np.asarray(classes, np.int64), np.arange(len(classes))] = 1.0
    return apply("linear", probability, f.constant(table))


def _bag_logarithm(f: Fitted, x: Array) -> Array:
    if not hasattr(f.get("estimator_"), "predict_log_proba"):
        result: Array = apply("log", _bag_probability(f, x))
        return result
    count = len(classes_of(f))

    def part(each: Any, y: Array, name: str) -> Array:
        if len(each.classes_) != count:
            raise Error("one of its estimators has not seen all classes, and its logarithms are "
                        "not supported\ndo: methods=[...] names the others")
        found: Array = f.of(each, "predict_log_proba", y, name)
        return found

    parts = _bagged(f, x, part)
    most = reduce(lambda a, b: apply("maximum", a, b), parts)
    most = apply("where", apply("isfinite", most), most, 0.0)
    total = _total([apply("exp", p - most) for p in parts])
    logarithm: Array = most + apply("log", total) - float(np.log(len(parts)))
    return logarithm


def _bag_mean(method: str) -> Any:
    def compute(f: Fitted, x: Array) -> Array:
        parts = _bagged(f, x, lambda each, y, name: f.of(each, method, y, name))
        result: Array = _total(parts) / float(len(parts))
        return result
    return compute


# -- AdaBoost --------------------------------------------------------------------------------------

def _boost_decision(f: Fitted, x: Array) -> Array:
    """Returns [N, classes], or [N, 1] of the second of two."""
    f.checked(x)
    classes, weights = classes_of(f), f.numbers("estimator_weights_").astype(np.float64)
    count = len(classes)
    if count == 1:
        raise Error("it has one class only")

    def part(i: int, each: Any) -> Array:
        at = among(f.of(each, "predict", x, f"estimators_{i}"), classes)
        hot = _one_hot(f, at, count)
        result: Array = hot * float(weights[i]) + (1.0 - hot) * float(-weights[i] / (count - 1))
        return result

    parts = f.each(partial(part, i, each) for i, each in enumerate(f.get("estimators_")))
    total = _total(parts) / float(weights.sum())
    result: Array = total.narrow(1, 1, 1) - total.narrow(1, 0, 1) if count == 2 else total
    return result


def _boost_probability(f: Fitted, x: Array) -> Array:
    decision = _boost_decision(f, x)
    if decision.type.shape[1] == 1:
        return softmax(cat([-decision, decision], 1) / 2.0)
    return softmax(decision / float(len(classes_of(f)) - 1))


def _boost_labels(f: Fitted, x: Array) -> Labels:
    decision = _boost_decision(f, x)
    one = decision.type.shape[1] == 1
    return Labels(positive(decision) if one else largest(decision), classes_of(f))


# -- one classifier for each class, pair of classes, or bit of a code ------------------------------

def _is_regressor(estimator: Any) -> bool:
    return bool(estimator.__sklearn_tags__().estimator_type == "regressor")


def _binary(f: Fitted, estimator: Any, x: Array, name: str) -> Array:
    """Returns how much a binary estimator is for the second class, [N, 1]."""
    if _is_regressor(estimator):
        return _column(f.of(estimator, "predict", x, name))
    if hasattr(estimator, "decision_function"):
        return _column(f.of(estimator, "decision_function", x, name))
    found: Array = f.of(estimator, "predict_proba", x, name)
    return found.narrow(1, 1, 1)


def _threshold(estimator: Any) -> float:
    scores = hasattr(estimator, "decision_function") and not _is_regressor(estimator)
    return 0.0 if scores else 0.5


def _scores(f: Fitted, x: Array) -> Array:
    if f.get("label_binarizer_").y_type_.startswith("multilabel"):
        raise Error("several labels for each row are not supported")
    return cat(_all(f, x, lambda each, name: _binary(f, each, x, name)), 1)


def _rest_labels(f: Fitted, x: Array) -> Labels:
    scores = _scores(f, x)
    if scores.type.shape[1] > 1:
        return Labels(largest(scores), classes_of(f))
    return Labels(positive(scores - _threshold(f.get("estimators_")[0])), classes_of(f))


def _rest_decision(f: Fitted, x: Array) -> Array:
    _scores_of = _all(f, x, lambda each, name: _column(f.of(each, "decision_function", x, name)))
    return flat(cat(_scores_of, 1))


def _rest_probability(f: Fitted, x: Array) -> Array:
    if f.get("label_binarizer_").y_type_.startswith("multilabel"):
        raise Error("several labels for each row are not supported")
    second = cat(_all(f, x, lambda each, name: f.of(
        each, "predict_proba", x, name).narrow(1, 1, 1)), 1)
    if second.type.shape[1] == 1:
        return both(second)
    result: Array = second / second.sum(1, keepdim=True)
    return result


def _constant(f: Fitted, x: Array) -> Array:
    """Returns what a stand-in for a classifier says whose rows were all of one class."""
    return apply("full", float(f.numbers("y_")[0]), shape=(x.type.shape[0],),
                         dtype=f.importer.dtype)


def _pair_scores(f: Fitted, x: Array) -> Array:
    if f.get("pairwise_indices_") is not None:
        raise Error("estimators on precomputed kernels are not supported")
    estimators = list(enumerate(f.get("estimators_")))

    def second(i: int, each: Any) -> Array:
        found = f.of(each, "predict", x, f"estimators_{i}")
        if not isinstance(found, Labels):
            raise Error("regressors for pairs of classes are not supported")
        return among(found, np.arange(2)).unsqueeze(1)

    confidence = f.each(partial(_binary, f, each, x, f"estimators_{i}") for i, each in estimators)
    won = f.each(partial(second, i, each) for i, each in estimators)
    return ovr_scores(cat(won, 1), cat(confidence, 1), len(classes_of(f)))


def _pair_decision(f: Fitted, x: Array) -> Array:
    scores = _pair_scores(f, x)
    return flat(scores.narrow(1, 1, 1)) if scores.type.shape[1] == 2 else scores


def _pair_labels(f: Fitted, x: Array) -> Labels:
    scores = _pair_scores(f, x)
    if scores.type.shape[1] > 2:
        return Labels(largest(scores), classes_of(f))
    limit = _threshold(f.get("estimators_")[0])
    return Labels(positive(scores.narrow(1, 1, 1) - limit), classes_of(f))


def _code_labels(f: Fitted, x: Array) -> Labels:
    bits = cat(_all(f, x, lambda each, name: _binary(f, each, x, name)), 1)
    book = f.numbers("code_book_").astype(np.float64)
    nearness = apply("linear", bits, f.weight("code_book_", -2.0 * book),
                     f.weight("squares", (book ** 2).sum(1)))
    nearest: Array = apply("argmin", nearness, axis=1, keepdims=False)
    return Labels(nearest, classes_of(f))


# -- calibration -----------------------------------------------------------------------------------

def _calibrated(f: Fitted, x: Array) -> Array:
    """Returns the mean of the calibrated probabilities, [N, classes]."""
    parts = f.each(partial(_calibrated_by, f, x, i, each)
                   for i, each in enumerate(f.get("calibrated_classifiers_")))
    result: Array = _total(parts) / float(len(parts))
    return result


def _calibrated_by(f: Fitted, x: Array, i: int, each: Any) -> Array:
    name, inner = f"calibrated_classifiers_{i}", each.estimator
    if each.method not in ("sigmoid", "isotonic"):
        raise Error(f"method={each.method!r} is not supported, only \"sigmoid\" and \"isotonic\"")
    if len(inner.classes_) != len(classes_of(f)):
        raise Error("one of its classifiers has not seen all classes, which is not supported")
    if hasattr(inner, "decision_function"):
        scores = _column(f.of(inner, "decision_function", x, name))
    else:
        scores = f.of(inner, "predict_proba", x, name)
        scores = scores.narrow(1, 1, 1) if len(inner.classes_) == 2 else scores
    fixed = cat([_calibrate(f, scores.narrow(1, k, 1), calibrator, f"{name}_{k}")
                 for k, calibrator in enumerate(each.calibrators)], 1)
    return both(fixed) if fixed.type.shape[1] == 1 else shares(fixed)


def _calibrate(f: Fitted, score: Array, calibrator: Any, name: str) -> Array:
    if hasattr(calibrator, "a_"):
        parameters = f.weight(name, np.array([calibrator.a_, calibrator.b_]))
        slope, bias = parameters.narrow(0, 0, 1), parameters.narrow(0, 1, 1)
        found: Array = apply("sigmoid", -(score * slope + bias))
        return found
    if calibrator.out_of_bounds != "clip":
        raise Error(f"out_of_bounds={calibrator.out_of_bounds!r} is not supported")
    return interpolated(f, score, [calibrator.X_thresholds_], [calibrator.y_thresholds_])


# -- the table -------------------------------------------------------------------------------------

_STACK = Row({method: _final(method) for method in (
    "predict", "predict_proba", "decision_function")} | {"transform": _stack_features},
    "passthrough", training="estimators final_estimator stack_method")
_BAG = "estimator bootstrap_features"
ROWS = {
    "ensemble.VotingClassifier": Row(
        {"predict": _vote, "predict_proba": _soft, "transform": _vote_features},
        "estimators weights voting flatten_transform"),
    "ensemble.VotingRegressor": Row(
        {"predict": _mean_value, "transform": _side_by_side}, "estimators weights"),
    "ensemble.StackingClassifier": _STACK,
    "ensemble.StackingRegressor": _STACK,
    "ensemble.BaggingClassifier": Row(
        of_probabilities(_bag_probability) | {"predict_log_proba": _bag_logarithm}
        | {"decision_function": _bag_mean("decision_function")}, training=_BAG),
    "ensemble.BaggingRegressor": Row({"predict": _bag_mean("predict")}, training=_BAG),
    "ensemble.AdaBoostClassifier": Row(
        {"predict": _boost_labels, "decision_function": lambda f, x: flat(_boost_decision(f, x))}
        | of_probabilities(_boost_probability, predict=False),
        training="estimator algorithm learning_rate"),
    "multiclass.OneVsRestClassifier": Row(
        {"predict": _rest_labels, "predict_proba": _rest_probability,
         "decision_function": _rest_decision}, training="estimator"),
    "multiclass.OneVsOneClassifier": Row(
        {"predict": _pair_labels, "decision_function": _pair_decision}, training="estimator"),
    "multiclass.OutputCodeClassifier": Row({"predict": _code_labels},
                                           training="estimator code_size"),
    "multiclass._ConstantPredictor": Row(
        {"decision_function": _constant,
         "predict_proba": lambda f, x: both(_constant(f, x).unsqueeze(1))}),
    "multioutput.MultiOutputRegressor": Row({"predict": _side_by_side}, training="estimator"),
    "calibration.CalibratedClassifierCV": Row(
        {"predict": lambda f, x: Labels(largest(_calibrated(f, x)), classes_of(f)),
         "predict_proba": _calibrated}, training="estimator method ensemble"),
}
