"""What classifiers have in common: from scores to labels and probabilities."""
from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from ir import DTYPES, Error, NDArray
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.fitted import Fitted, Labels, Method, apply

Compute = Callable[[Fitted, Array], Array]


def classes_of(f: Fitted) -> NDArray:
    """Returns the classes in their own dtype. Raises Error for several outputs."""
    classes = f.get("classes_")
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise Error("it has several outputs, each with its classes, which is not supported")
    return classes


def largest(scores: Array) -> Array:
    """Returns the position of the largest element of each row, the first of equal ones."""
    return apply("argmax", scores, axis=1, keepdims=False)


def positive(scores: Array, zero_too: bool = False) -> Array:
    """Returns 1 where a score, [N, 1], is positive, else 0, as [N] in i64."""
    yes: Array = apply("ge" if zero_too else "gt", scores, 0.0)
    return yes._cast("i64").reshape(scores.type.shape[0])


def flat(scores: Array) -> Array:
    """Returns [N, 1] as [N], and any other array as it is."""
    return scores.reshape(scores.type.shape[0]) if scores.type.shape[1] == 1 else scores


def both(probability: Array) -> Array:
    """Returns the probabilities of two classes from that of the second, [N, 1]."""
    return cat([1.0 - probability, probability], 1)


def softmax(scores: Array) -> Array:
    """Returns the softmax of each row."""
    return apply("softmax", scores, axis=1, scale=1.0)


def shares(probability: Array) -> Array:
    """Returns each row divided by its sum; equal shares where that is 0."""
    total = probability.sum(1, keepdim=True)
    zero = apply("eq", total, 0.0)
    ones = apply("where", zero, 1.0, probability)
    width = float(probability.type.shape[1])
    return apply("div", ones, apply("where", zero, width, total))


def ovr_scores(second: Array, confidence: Array | None, count: int) -> Array:
    """Returns a score for each of `count` classes from what is known of each pair of them.

    second: whether a pair's second class wins, [N, pairs]. confidence: how much that is so; None
    leaves the votes alone.
    """
    pairs = list(combinations(range(count), 2))
    table = np.zeros((count, len(pairs)))
    for k, (i, j) in enumerate(pairs):
        table[i, k], table[j, k] = -1.0, 1.0
    kind = DTYPES["f64" if confidence is None else confidence.type.dtype]
    matrix = Array(table.astype(kind))
    # The first of a pair has the vote unless the second has it: count them all for the first.
    votes = apply("linear", second._cast("f64" if kind == np.float64 else "f32"), matrix,
                  Array((table < 0).sum(1).astype(kind)))
    if confidence is None:
        result: Array = votes
        return result
    total = apply("linear", confidence, matrix)
    result = votes + total / ((apply("abs", total) + 1.0) * 3.0)
    return result


def values_of(f: Fitted, found: Any) -> Array:
    """Returns predicted numbers, where the classes of a classifier are numbers, too."""
    if not isinstance(found, Labels):
        result: Array = found
        return result
    if found.classes.dtype.kind not in "iub":
        raise Error(f"labels of {found.classes.dtype} are used as numbers")
    result = apply("take", f.constant(found.classes), found.positions, axis=0)
    return result


def among(found: Labels, classes: NDArray) -> Array:
    """Returns the positions of labels among the classes of an estimator that has more of them."""
    if len(found.classes) == len(classes) and (found.classes == classes).all():
        return found.positions
    where = np.searchsorted(classes, found.classes).astype(np.int64)
    return apply("take", Array(where), found.positions, axis=0)


def of_scores(scores: Compute, zero_too: bool = False) -> dict[str, Method]:
    """Returns the methods of a classifier with scores, [N, classes], or [N, 1] of the second."""
    def predict(f: Fitted, x: Array) -> Labels:
        found = scores(f, x)
        one = found.type.shape[1] == 1
        return Labels(positive(found, zero_too) if one else largest(found), classes_of(f))

    return {"predict": predict, "decision_function": lambda f, x: flat(scores(f, x))}


def of_probabilities(proba: Compute, predict: bool = True) -> dict[str, Method]:
    """Returns the methods of a classifier with probabilities, [N, classes].

    predict: whether its prediction is the class with the largest one.
    """
    methods: dict[str, Method] = {
        "predict_proba": proba, "predict_log_proba": lambda f, x: apply("log", proba(f, x))}
    if predict:
        methods["predict"] = lambda f, x: Labels(largest(proba(f, x)), classes_of(f))
    return methods
