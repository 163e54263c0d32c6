"""Classical models: ai.onnx.ml's scalers, linear models and ensembles of trees.

Trees are walked as `nncompile.importers.trees` says. Results are float32, as the operators' types
say, also where X is float64. Where ONNX Runtime, onnx.reference and the text about an operator do
not agree on a result, the node is refused.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error, NDArray
from ir.records import dataclass
from ir.types import FLOATS
from nncompile.array import Array, apply
from nncompile.array.creation import cat
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.trees import COMPARISONS, Trees, depth, walked

_learned = partial(Operator, domain="ai.onnx.ml")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC")


def _floats(x: Array) -> Array:
    return x if x.type.dtype in FLOATS else x._cast("f32")


def _vector(values: Sequence[float], dtype: str) -> Array:
    return Array(np.array(values, DTYPES[dtype]))


def _transformed(node: Node, scores: Array) -> Array:
    how = node.one_of("post_transform", _TRANSFORMS, "NONE")
    if how == "SOFTMAX":
        scores = apply("softmax", scores, axis=scores.ndim - 1, scale=1.0)
    return (apply("sigmoid", scores) if how == "LOGISTIC" else scores)._cast("f32")


def _disagreed(what: str) -> Error:
    return Error(f"what {what} is not agreed on: ONNX's text, its reference and ONNX Runtime "
                 "differ")


def _width(x: Array) -> int:
    if x.ndim != 2 or isinstance(x.type.shape[1], DimExpr):
        raise Error(f"it takes [N, C] with a C that is a number, not {x.type}")
    return int(x.type.shape[1])


# -- preparation -----------------------------------------------------------------------------------

def _scaler(node: Node, x: Array) -> Array:
    x = _floats(x)
    offset, scale = (_vector(node.floats(name), x.type.dtype) for name in ("offset", "scale"))
    offset, scale = (v.view([]) if v.type.shape == (1,) else v for v in (offset, scale))
    return apply("mul", apply("sub", x, offset), scale)._cast("f32")


def _normalizer(node: Node, x: Array) -> Array:
    how = node.one_of("norm", ("MAX", "L1", "L2"), "MAX")
    if how == "MAX":
        raise _disagreed("norm='MAX' divides negative numbers by")
    x = _floats(x)
    size = apply("mul", x, x) if how == "L2" else apply("abs", x)
    norm = apply("sum", size, axes=(x.ndim - 1,), keepdims=True)
    norm = apply("sqrt", norm) if how == "L2" else norm
    return apply("div", x, apply("maximum", norm, 1e-30))._cast("f32")


def _zip_map(node: Node, x: Array) -> Array:
    node.irrelevant("classlabels_int64s", "classlabels_strings")
    node.notes.append("ZipMap: the probabilities are an array with a column for each class, not a "
                      "list of dicts")
    return x


# -- linear models ---------------------------------------------------------------------------------

def _linear(node: Node, x: Array, rows: int | None) -> Array:
    numbers, width = np.array(node.floats("coefficients"), np.float32), _width(x)
    if rows is None:
        rows = numbers.size // max(width, 1)
    if rows < 1 or numbers.size != rows * width:
        raise Error(f"{numbers.size} coefficients do not fit {width} columns")
    weight = Array(numbers.reshape(rows, width).astype(x.dtype))
    bias = node.floats("intercepts", None)
    if bias is None:
        return apply("linear", x, weight)
    if len(bias) != rows:
        raise Error(f"{len(bias)} intercepts do not fit {rows} results")
    return apply("linear", x, weight, _vector(bias, x.type.dtype))


def _linear_regressor(node: Node, x: Array) -> Array:
    scores = _linear(node, _floats(x), node.int("targets", 1))
    return _transformed(node, scores)


def _labels(node: Node, integers: str) -> NDArray | None:
    """Returns the labels of the classes, None for texts."""
    numbers = node.ints(integers, None)
    texts = node.has("classlabels_strings")
    if (numbers is None) == (not texts):
        raise Error("it has labels as integers or as texts")
    if texts and any(node.outputs[:1]):
        raise Error("its output 0 is texts, and only arrays of numbers are supported\n"
                    "do: remove this output of the model; the scores are output 1")
    return None if numbers is None else np.array(numbers, np.int64)


def _chosen(labels: NDArray | None, position: Array) -> Array:
    """Returns the label at a position; of texts, which nothing uses, the position."""
    return position if labels is None else apply("take", Array(labels), position, axis=0)


def _linear_classifier(node: Node, x: Array) -> Any:
    node.irrelevant("multi_class")
    labels = _labels(node, "classlabels_ints")
    count = None if labels is None else len(labels)
    scores = _linear(node, _floats(x), None)
    if scores.type.shape[1] == 1 and (count is None or count == 2):
        if node.one_of("post_transform", _TRANSFORMS, "NONE") != "LOGISTIC":
            raise _disagreed("the scores of two classes with one score and no LOGISTIC are")
        scores = cat([apply("neg", scores), scores], 1)
    if scores.type.shape[1] == 1 or count not in (None, scores.type.shape[1]):
        raise Error(f"{count} labels do not fit {scores.type.shape[1]} scores")
    best = apply("argmax", scores, axis=1, keepdims=False)   # LOGISTIC makes large scores equal
    return _chosen(labels, best), _transformed(node, scores)


# -- trees -----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Ensemble:
    """Trees, and what a leaf adds to each result."""

    trees: Trees
    weights: NDArray


def _read_trees(node: Node, prefix: str, count: int) -> _Ensemble:
    """Returns the trees that the attributes describe. Raises Error for those that are none."""
    node.irrelevant("nodes_hitrates", "nodes_hitrates_as_tensor")
    tree, own = node.ints("nodes_treeids"), node.ints("nodes_nodeids")
    size = len(own)
    feature, true, false = (np.array(node.ints(f"nodes_{n}"), np.int64) for n in (
        "featureids", "truenodeids", "falsenodeids"))
    modes = tuple(bytes(m).decode("utf-8", "replace") for m in node.texts("nodes_modes"))
    value = _numbers(node, "nodes_values")
    tracks = np.array(node.ints("nodes_missing_value_tracks_true", [0] * size), np.int64)
    if {len(tree), len(feature), len(true), len(false), len(modes), len(value), len(tracks)} != {
            size} or not size:
        raise Error("its lists of nodes have different lengths, or none")
    if unknown := set(modes) - {*COMPARISONS, "LEAF"}:
        raise Error(f"nodes of the mode {min(unknown)!r} are not supported")
    place = {key: i for i, key in enumerate(zip(tree, own, strict=True))}
    if len(place) != size:
        raise Error("it has a node twice")
    here = np.arange(size)
    leaf = np.array([mode == "LEAF" for mode in modes])
    try:
        next_true, next_false = (np.array([i if leaf[i] else place[tree[i], int(ids[i])]
                                           for i in here], np.int64) for ids in (true, false))
    except KeyError:
        raise Error("a node leads to one that there is not") from None
    first = {t: i for i, t in reversed([*enumerate(tree)])}
    roots = np.array([place.get((t, 0), first[t]) for t in dict.fromkeys(tree)], np.int64)
    weights = _leaf_weights(node, prefix, place, size, count)
    trees = Trees(np.where(leaf, 0, feature), value, modes, (tracks != 0) & ~leaf, next_true,
                  next_false, roots, depth(roots, next_true, next_false, leaf))
    return _Ensemble(trees, weights)


def _numbers(node: Node, name: str) -> NDArray:
    """Returns numbers that are a list of float32, or a tensor."""
    if node.has(f"{name}_as_tensor"):
        array: NDArray = node.tensor(f"{name}_as_tensor").reshape(-1)
        return array
    return np.array(node.floats(name), np.float32)


def _leaf_weights(node: Node, prefix: str, place: dict[tuple[int, int], int], size: int, count: int
                  ) -> NDArray:
    tree, leaf, result = (node.ints(f"{prefix}_{n}") for n in ("treeids", "nodeids", "ids"))
    weight = _numbers(node, f"{prefix}_weights")
    if not len(tree) == len(leaf) == len(result) == len(weight):
        raise Error("its lists of weights have different lengths")
    if size * count > 1 << 26:
        raise Error(f"{size} nodes with {count} weights each are too many")
    table = np.zeros((size, count), weight.dtype)
    for t, n, r, w in zip(tree, leaf, result, weight, strict=True):
        if (t, n) not in place or not 0 <= r < count:
            raise Error(f"there is a weight for the node {n} of tree {t} and the result {r}, and "
                        "one of these there is not")
        table[place[t, n], r] += w
    return table


def _summed(ensemble: _Ensemble, x: Array, how: str = "SUM") -> Array:
    """Returns what the leaves of each row add up to, [N, results]."""
    dtype = x.type.dtype
    leaves = apply("take", Array(ensemble.weights.astype(x.dtype)),
                   walked(ensemble.trees, x), axis=0)
    op = {"SUM": "sum", "AVERAGE": "sum", "MIN": "min", "MAX": "max"}[how]
    total = apply(op, leaves, axes=(1,), keepdims=False)
    count = float(len(ensemble.trees.roots))
    return apply("div", total, count) if how == "AVERAGE" and dtype else total


def _with_base(node: Node, scores: Array) -> Array:
    """Returns the scores with what the node adds to each. Raises Error where they do not fit."""
    if not node.has("base_values") and not node.has("base_values_as_tensor"):
        return scores
    found, count = _numbers(node, "base_values"), scores.type.shape[1]
    if found.size not in (0, count):
        raise Error(f"{found.size} base_values do not fit {count} scores")
    return apply("add", scores, Array(found.astype(scores.dtype))) if found.size else scores


def _tree_regressor(node: Node, x: Array) -> Array:
    x, count = _floats(x), node.int("n_targets", 1)
    how = node.one_of("aggregate_function", ("SUM", "AVERAGE", "MIN", "MAX"), "SUM")
    trees = _read_trees(node, "target", count)
    if how in ("MIN", "MAX") and count > 1:
        raise Error(f"aggregate_function={how!r} of several targets is not supported")
    if count == 1 and node.one_of("post_transform", _TRANSFORMS, "NONE") != "NONE":
        raise _disagreed("a post_transform of one target does")
    return _transformed(node, _with_base(node, _summed(trees, x, how)))


def _tree_classifier(node: Node, x: Array) -> Any:
    x = _floats(x)
    labels = _labels(node, "classlabels_int64s")
    count = len(labels) if labels is not None else len(node.texts("classlabels_strings"))
    trees = _read_trees(node, "class", count)
    how = node.one_of("post_transform", _TRANSFORMS, "NONE")
    if count < 2:
        raise Error("it has one label")
    total = _summed(trees, x)
    used = {*node.ints("class_ids")}
    if len(used) == 1 and count == 2:            # one score, of the second class
        is_positive = not (trees.weights < 0).any()
        if is_positive != (how == "NONE") or how == "SOFTMAX":
            sign = "positive weight" if is_positive else "weight"
            raise _disagreed(f"the scores of two classes with one {sign} and post_transform="
                             f"{how!r} are")
        score = _with_base(node, total.narrow(1, used.pop(), 1))
        first = apply("sub", 1.0, score) if how == "NONE" else apply("neg", score)
        total = cat([first, score], 1)
    else:
        plain, total = total, _with_base(node, total)
        if count == 2 and total is not plain:
            raise _disagreed("base_values of two classes with two weights do")
        if count == 2 and node.outputs[0] and (trees.weights < 0).any():
            raise _disagreed("the label of two classes with negative weights is")
    best = apply("argmax", total, axis=1, keepdims=False)
    return _chosen(labels, best), _transformed(node, total)


_NODES = ("nodes_falsenodeids nodes_featureids nodes_hitrates nodes_hitrates_as_tensor "
          "nodes_missing_value_tracks_true nodes_modes nodes_nodeids nodes_treeids "
          "nodes_truenodeids nodes_values nodes_values_as_tensor base_values "
          "base_values_as_tensor post_transform ")

ROWS: Rows = (
    _learned("Scaler", (1,), _scaler, "offset scale"),
    _learned("Normalizer", (1,), _normalizer, "norm"),
    _learned("ZipMap", (1,), _zip_map, "classlabels_int64s classlabels_strings"),
    _learned("LinearRegressor", (1,), _linear_regressor,
             "coefficients intercepts post_transform targets"),
    _learned("LinearClassifier", (1,), _linear_classifier,
             "classlabels_ints classlabels_strings coefficients intercepts multi_class "
             "post_transform"),
    _learned("TreeEnsembleRegressor", (1, 3, 5), _tree_regressor,
             _NODES + "aggregate_function n_targets target_ids target_nodeids target_treeids "
             "target_weights target_weights_as_tensor"),
    _learned("TreeEnsembleClassifier", (1, 3, 5), _tree_classifier,
             _NODES + "class_ids class_nodeids class_treeids class_weights "
             "class_weights_as_tensor classlabels_int64s classlabels_strings"),
)
