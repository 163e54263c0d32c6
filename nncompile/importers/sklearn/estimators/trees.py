"""Decision trees and ensembles of them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array, apply
from nncompile.importers.sklearn.estimators.classes import (
    both,
    classes_of,
    flat,
    of_probabilities,
    of_scores,
    softmax,
)
from nncompile.importers.sklearn.fitted import Fitted, Row
from nncompile.importers.trees import Trees, depth, walked


def _table(sizes: Sequence[int], parts: Sequence[dict[str, Any]]) -> Trees:
    """Returns the trees with their nodes one behind the other.

    parts: for each tree left, right, feature, value and nan_left of its nodes; a leaf's are -1.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
    here = np.arange(sum(sizes))
    together = {name: np.concatenate([np.asarray(p[name]) for p in parts]) for name in parts[0]}
    own = np.repeat(starts, sizes)
    leaf = together["leaf"]
    left, right = (np.where(leaf, here, together[name].astype(np.int64) + own)
                   for name in ("left", "right"))
    feature = np.where(leaf, 0, together["feature"]).astype(np.int64)
    mode = ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf]
    return Trees(feature, np.where(leaf, 0.0, together["value"]), mode,
                 together["nan_left"].astype(bool) & ~leaf, left, right, starts,
                 depth(starts, left, right, leaf))


def rounded_down(threshold: NDArray) -> NDArray:
    """Returns the largest float32 that are not above: x <= threshold is the same for float32 x."""
    near = threshold.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    rounded: NDArray = np.where(near.astype(np.float64) > threshold, below, near)
    return rounded


def _leaves(f: Fitted, x: Array, trees: Sequence[Any]) -> Array:
    """Returns the leaf of each row in each of tree.DecisionTree*, whose columns are float32."""
    parts = [{"leaf": t.children_left == -1, "left": t.children_left, "right": t.children_right,
              "feature": t.feature, "value": rounded_down(t.threshold),
              "nan_left": t.missing_go_to_left} for t in (tree.tree_ for tree in trees)]
    table = _table([len(p["leaf"]) for p in parts], parts)
    return walked(table, x._cast("f32"))


def _values(f: Fitted, trees: Sequence[Any]) -> NDArray:
    """Returns what the leaves hold: [nodes, outputs, classes]."""
    return np.concatenate([tree.tree_.value for tree in trees]).astype(np.float64)


def _checked(f: Fitted, x: Array, tree: Any) -> Array:
    """Notes what scikit-learn refuses: in float32, which is what it compares."""
    nan = tree.__sklearn_tags__().input_tags.allow_nan and tree.monotonic_cst is None
    return f.checked(x._cast("f32"), nan=not nan)


def _gathered(f: Fitted, at: Array, table: NDArray) -> Array:
    gathered: Array = apply("take", f.weight("value", table), at, axis=0)
    return gathered


def _averaged(f: Fitted, x: Array, trees: Sequence[Any]) -> Array:
    """Returns the mean of the trees' values, [N, outputs or classes]."""
    values, one = _values(f, trees), trees[0]
    _checked(f, x, one)
    at = _leaves(f, x, trees)
    table = values[:, :, 0] if values.shape[2] == 1 else values[:, 0, :]
    if table.shape[1] == 1:
        found = _gathered(f, at, table[:, 0]).unsqueeze(2)
    else:
        found = _gathered(f, at, table)
    mean: Array = found.squeeze(1) if len(trees) == 1 else found.sum(1) / float(len(trees))
    return mean


def _trees(f: Fitted) -> Sequence[Any]:
    return list(getattr(f.estimator, "estimators_", [f.estimator]))


def _probability(f: Fitted, x: Array) -> Array:
    classes_of(f)
    return _averaged(f, x, _trees(f))


def _value(f: Fitted, x: Array) -> Array:
    return flat(_averaged(f, x, _trees(f)))


# -- boosting --------------------------------------------------------------------------------------

def _boosted(f: Fitted, x: Array) -> Array:
    """Returns the raw predictions, [N, trees of one stage]."""
    start, trees = f.get("init_"), f.get("estimators_")
    if start != "zero" and type(start).__module__ != "sklearn.dummy":
        raise Error(f"init={type(start).__name__} is not supported, only \"zero\" and the default")
    empty = np.zeros((1, f.get("n_features_in_")), np.float32)
    base = f.get("_raw_predict_init")(empty)
    f.checked(x._cast("f32"))
    all_trees = list(trees.ravel())
    at = _leaves(f, x, all_trees)
    leaves = _gathered(f, at, f.get("learning_rate") * _values(f, all_trees)[:, 0, 0])
    raw: Array = leaves.reshape(x.type.shape[0], *trees.shape).sum(1) + f.weight("init_", base[0])
    return raw


def _boosted_probability(f: Fitted, x: Array) -> Array:
    raw = _boosted(f, x)
    if raw.type.shape[1] > 1:
        return softmax(raw)
    return both(apply("sigmoid", raw * 2.0 if f.get("loss") == "exponential" else raw))


def _histogram(f: Fitted, x: Array) -> Array:
    """Returns the raw predictions of HistGradientBoosting*, which compares float64."""
    if f.get("_preprocessor") is not None or f.get("is_categorical_") is not None:
        raise Error("categorical features are not supported")
    stages = f.get("_predictors")
    parts = [{"leaf": n["is_leaf"] != 0, "left": n["left"], "right": n["right"],
              "feature": n["feature_idx"], "value": n["num_threshold"],
              "nan_left": n["missing_go_to_left"], "holds": n["value"]}
             for n in (tree.nodes for stage in stages for tree in stage)]
    if any(tree.nodes["is_categorical"].any() for stage in stages for tree in stage):
        raise Error("categorical features are not supported")
    base = f.numbers("_baseline_prediction").reshape(-1)
    if not parts:
        raise Error("it has no trees")
    at = walked(_table([len(p["leaf"]) for p in parts], parts), x._cast("f64"))
    leaves = _gathered(f, at, np.concatenate([p["holds"] for p in parts]))
    sums = leaves.reshape(x.type.shape[0], len(stages), len(base)).sum(1)
    raw: Array = sums + f.weight("_baseline_prediction", base)
    return raw


def _histogram_probability(f: Fitted, x: Array) -> Array:
    raw = _histogram(f, x)
    return softmax(raw) if raw.type.shape[1] > 1 else both(apply("sigmoid", raw))


def _histogram_value(f: Fitted, x: Array) -> Array:
    raw, loss = flat(_histogram(f, x)), f.get("loss")
    if loss in ("squared_error", "absolute_error", "quantile"):
        return raw
    if loss not in ("poisson", "gamma"):
        raise Error(f"loss={loss!r} is not supported")
    exponential: Array = apply("exp", raw)
    return exponential


_TREE = "criterion splitter max_leaf_nodes"
_GRADIENT = "criterion init alpha"
_HISTOGRAM = ("learning_rate l2_regularization max_bins categorical_features quantile")
_classifier = Row(of_probabilities(_probability), training=_TREE)
_regressor = Row({"predict": _value}, training=_TREE)
ROWS = {
    "tree.DecisionTreeClassifier": _classifier,
    "tree.ExtraTreeClassifier": _classifier,
    "ensemble.RandomForestClassifier": _classifier,
    "ensemble.ExtraTreesClassifier": _classifier,
    "tree.DecisionTreeRegressor": _regressor,
    "tree.ExtraTreeRegressor": _regressor,
    "ensemble.RandomForestRegressor": _regressor,
    "ensemble.ExtraTreesRegressor": _regressor,
    "ensemble.GradientBoostingClassifier": Row(
        of_scores(_boosted, zero_too=True) | of_probabilities(_boosted_probability, predict=False),
        "loss learning_rate init", training=_GRADIENT),
    "ensemble.GradientBoostingRegressor": Row(
        {"predict": lambda f, x: flat(_boosted(f, x))}, "learning_rate init",
        training=_GRADIENT + " loss"),
    "ensemble.HistGradientBoostingClassifier": Row(
        of_scores(_histogram) | of_probabilities(_histogram_probability, predict=False), "loss",
        training=_HISTOGRAM),
    "ensemble.HistGradientBoostingRegressor": Row({"predict": _histogram_value}, "loss",
                                                  training=_HISTOGRAM),
}
