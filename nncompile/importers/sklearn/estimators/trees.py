"""Decision trees and ensembles of them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.estimators.classes import (
    both,
    classes_of,
    flat,
    of_probabilities,
    of_scores,
    softmax,
)
from nncompile.importers.sklearn.fitted import Fitted, Labels, Row, apply
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


def _leaves(f: Fitted, x: Array, trees: Sequence[Any], columns: Any = None) -> Array:
    """Returns the leaf of each row in each of tree.DecisionTree*, whose columns are float32.

    columns: for each tree the columns that it was trained on, or None for all.
    """
    parts = [{"leaf": t.children_left == -1, "left": t.children_left, "right": t.children_right,
              "feature": t.feature, "value": rounded_down(t.threshold),
              "nan_left": t.missing_go_to_left} for t in (tree.tree_ for tree in trees)]
    if columns is not None:
        for part, of in zip(parts, columns, strict=True):
            part["feature"] = np.asarray(of)[np.where(part["leaf"], 0, part["feature"])]
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
    return apply("take", f.weight("value", table), at, axis=0)


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


# -- isolation ------------------------------------------------------------------------------------

def _isolated(f: Fitted, x: Array) -> Array:
    """Returns the opposite of the anomaly score of each row, [N]."""
    trees, chosen = list(f.get("estimators_")), f.get("estimators_features_")
    lengths = [a + b - 1.0 for a, b in zip(
        f.get("_decision_path_lengths"), f.get("_average_path_length_per_tree"), strict=True)]
    at = _leaves(f, x, trees, chosen)
    total = _gathered(f, at, np.concatenate(lengths)).sum(1)
    average = _average_path(int(f.get("_max_samples")))
    scale = len(trees) * average
    score: Array = apply("exp2", total * (-1.0 / scale)) if scale else apply(
        "full", 0.5, shape=total.type.shape, dtype=f.importer.dtype)
    result: Array = -score
    return result


def _average_path(count: int) -> float:
    """Returns the mean depth at which a tree of so many rows isolates one."""
    if count <= 2:
        return float(max(count - 1, 0))
    return float(2.0 * (np.log(count - 1.0) + np.euler_gamma) - 2.0 * (count - 1.0) / count)


def _isolation(f: Fitted, x: Array) -> Array:
    result: Array = _isolated(f, x) - float(f.get("offset_"))
    return result


def _isolation_labels(f: Fitted, x: Array) -> Labels:
    inside = apply("ge", _isolation(f, x), 0.0)
    return Labels(inside._cast("i64"), np.array([-1, 1]))


# -- boosting --------------------------------------------------------------------------------------

def _boosted(f: Fitted, x: Array) -> Array:
    """Returns the raw predictions, [N, trees of one stage]."""
    trees = f.get("estimators_")
    f.checked(x._cast("f32"))
    base = _beginning(f, x)
    all_trees = list(trees.ravel())
    at = _leaves(f, x, all_trees)
    leaves = _gathered(f, at, f.get("learning_rate") * _values(f, all_trees)[:, 0, 0])
    raw: Array = leaves.reshape(x.type.shape[0], *trees.shape).sum(1) + base
    return raw


def _beginning(f: Fitted, x: Array) -> Array:
    """Returns what boosting begins with: [N, trees of one stage], or without the N."""
    start = f.get("init_")
    package = type(start).__module__.split(".")[:2]
    if isinstance(start, str) or package == ["sklearn", "dummy"]:
        empty = np.zeros((1, f.get("n_features_in_")), np.float32)
        return f.weight("init_", f.get("_raw_predict_init")(empty)[0])
    if package not in (["sklearn", "linear_model"], ["sklearn", "tree"], ["sklearn", "ensemble"]):
        raise Error(f"init={type(start).__name__} is not supported, only \"zero\", linear models, "
                    "trees and their ensembles")
    narrow = f.result(x._cast("f32"))            # it is given what the trees are given
    if start.__sklearn_tags__().estimator_type != "classifier":
        result: Array = f.of(start, "predict", narrow, "init_").unsqueeze(1)
        return result
    share = f.of(start, "predict_proba", narrow, "init_")
    least = float(np.finfo(np.float64).eps)
    share = apply("minimum", apply("maximum", share, least), 1.0 - least)
    if f.get("estimators_").shape[1] > 1:
        logarithm = apply("log", share)
        centred: Array = logarithm - logarithm.mean(1, keepdim=True)
        return centred
    second = share.narrow(1, 1, 1)
    odds: Array = apply("log", second / (1.0 - second))
    return odds * 0.5 if f.get("loss") == "exponential" else odds


def _boosted_probability(f: Fitted, x: Array) -> Array:
    raw = _boosted(f, x)
    if raw.type.shape[1] > 1:
        return softmax(raw)
    return both(apply("sigmoid", raw * 2.0 if f.get("loss") == "exponential" else raw))


def _histogram(f: Fitted, x: Array) -> Array:
    """Returns the raw predictions of HistGradientBoosting*, which compares float64."""
    stages = f.get("_predictors")
    x = _preprocessed(f, x)
    parts = [{"leaf": n["is_leaf"] != 0, "left": n["left"], "right": n["right"],
              "feature": n["feature_idx"], "value": n["num_threshold"],
              "nan_left": n["missing_go_to_left"], "holds": n["value"]}
             for n in (tree.nodes for stage in stages for tree in stage)]
    if f.get("is_categorical_") is not None:
        known, place = f.get("_bin_mapper").make_known_categories_bitsets()
        parts = [_by_thresholds(part, tree, known, place) for part, tree in zip(
            parts, (tree for stage in stages for tree in stage), strict=True)]
    base = f.numbers("_baseline_prediction").reshape(-1)
    if not parts:
        raise Error("it has no trees")
    at = walked(_table([len(p["leaf"]) for p in parts], parts), x._cast("f64"))
    leaves = _gathered(f, at, np.concatenate([p["holds"] for p in parts]))
    sums = leaves.reshape(x.type.shape[0], len(stages), len(base)).sum(1)
    raw: Array = sums + f.weight("_baseline_prediction", base)
    return raw


def _preprocessed(f: Fitted, x: Array) -> Array:
    """Returns the columns of categories, as their numbers, and then the others."""
    before = f.get("_preprocessor")
    if before is None:
        return x
    places = before._transformer_to_input_indices
    encoder = before.named_transformers_["encoder"]
    codes = f.of(encoder, "transform", f.columns(x, places["encoder"]), "encoder")
    others = places["numerical"]
    return cat([codes, f.columns(x, others)], 1) if len(others) else codes


def _by_thresholds(part: dict[str, Any], tree: Any, known: NDArray, place: NDArray
                   ) -> dict[str, Any]:
    """Returns the nodes of a tree, with each split of categories replaced by several of numbers.

    A first node tells NaN from numbers; the others tell, by halves, the runs of categories that go
    to the same side. Categories that the training did not see go where NaN goes.
    """
    table = {name: np.asarray(of).tolist() for name, of in part.items()}

    def add(feature: int, value: float, left: int, right: int) -> int:
        new = {"leaf": False, "left": left, "right": right, "feature": feature, "value": value,
               "nan_left": 0, "holds": 0.0}
        for name, of in table.items():
            of.append(new[name])
        return len(table["leaf"]) - 1

    def halves(feature: int, ends: list[int], sides: list[int]) -> int:
        if len(sides) == 1:
            return sides[0]
        k = len(sides) // 2
        return add(feature, float(ends[k - 1]), halves(feature, ends[:k - 1], sides[:k]),
                   halves(feature, ends[k:], sides[k:]))

    for i in np.flatnonzero((tree.nodes["is_categorical"] != 0) & (tree.nodes["is_leaf"] == 0)):
        node = tree.nodes[i]
        left, right, feature = int(node["left"]), int(node["right"]), int(node["feature_idx"])
        missing = left if node["missing_go_to_left"] else right
        lefts = _bits(tree.raw_left_cat_bitsets[node["bitset_idx"]])
        rights = _bits(known[place[feature]])
        sides = [left if a else right if b else missing
                 for a, b in zip(lefts, rights, strict=True)]
        ends = [k for k in range(len(sides) - 1) if sides[k] != sides[k + 1]]
        inner = halves(feature, ends, [sides[k] for k in [*ends, len(sides) - 1]])
        table["left"][i], table["right"][i] = inner, missing
        table["value"][i], table["nan_left"][i] = np.inf, 0
    return {name: np.array(of) for name, of in table.items()}


def _bits(words: NDArray) -> NDArray:
    """Returns the 256 bits of a set of categories."""
    bits: NDArray = np.unpackbits(np.asarray(words, "<u4").view(np.uint8), bitorder="little")
    return bits


def _histogram_probability(f: Fitted, x: Array) -> Array:
    raw = _histogram(f, x)
    return softmax(raw) if raw.type.shape[1] > 1 else both(apply("sigmoid", raw))


def _histogram_value(f: Fitted, x: Array) -> Array:
    raw, loss = flat(_histogram(f, x)), f.get("loss")
    if loss in ("squared_error", "absolute_error", "quantile"):
        return raw
    if loss not in ("poisson", "gamma"):
        raise Error(f"loss={loss!r} is not supported")
    return apply("exp", raw)


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
    "ensemble.IsolationForest": Row(
        {"predict": _isolation_labels, "decision_function": _isolation,
         "score_samples": _isolated}, training="contamination"),
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
