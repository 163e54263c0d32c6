"""Support vector machines of libsvm, on dense columns."""
from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.estimators.classes import (
    classes_of,
    flat,
    largest,
    of_probabilities,
    ovr_scores,
    positive,
)
from nncompile.importers.sklearn.fitted import Fitted, Labels, Row, apply

# libsvm couples pairwise probabilities in at most 100 rounds, and stops at a residue of 0.005 / k.
# Newton-like rounds need 2 for two classes and 4 for up to ten; a row that is not there after
# these many is refused.
_ROUNDS = 8
_LEAST = 1e-7                                    # of a pairwise probability


def _kernel(f: Fitted, x: Array) -> Array:
    """Returns the kernel of each row and each support vector, [N, vectors]."""
    vectors, gamma = f.numbers("support_vectors_"), float(f.get("_gamma"))
    match f.get("kernel"):
        case "rbf":
            # The vectors' centre first, so that less cancels in the difference of squares.
            centre = vectors.mean(0)
            y, moved = x - f.weight("centre", centre), vectors - centre
            products = apply("linear", y, f.weight("support_vectors_", moved))
            squares = (y * y).sum(1, keepdim=True) + f.weight("squares", (moved ** 2).sum(1))
            distance = apply("maximum", squares - products * 2.0, 0.0)
            result = apply("exp", distance * -gamma)
        case "poly":
            inner = _inner(f, x, vectors)
            result = _power(inner, int(f.get("degree")))
        case "sigmoid":
            result = apply("tanh", _inner(f, x, vectors))
        case kernel:
            raise Error(f"kernel={kernel!r} is not supported, only \"rbf\", \"linear\", \"poly\" "
                        "and \"sigmoid\"")
    known: Array = result
    return known


def _inner(f: Fitted, x: Array, vectors: NDArray) -> Array:
    products = apply("linear", x, f.weight("support_vectors_", vectors))
    result: Array = products * float(f.get("_gamma")) + float(f.get("coef0"))
    return result


def _power(base: Array, degree: int) -> Array:
    """Returns a power as libsvm computes it, by squares."""
    result = apply("full", 1.0, shape=base.type.shape, dtype=base.type.dtype)
    while degree:
        if degree % 2:
            result = result * base
        base, degree = base * base, degree // 2
    product: Array = result
    return product


def _sums(f: Fitted, x: Array, coefficients: NDArray) -> Array:
    """Returns the sums of kernels, [N, sums]. coefficients: [sums, vectors]."""
    if f.get("_sparse"):
        raise Error("it was fitted to a sparse matrix")
    f.checked(x)
    bias = f.weight("intercept_", f.numbers("_intercept_"))
    if f.get("kernel") == "linear":              # one vector for each sum says the same
        matrix = coefficients @ f.numbers("support_vectors_")
        result: Array = apply("linear", x, f.weight("coef_", matrix), bias)
        return result
    known = _kernel(f, x)
    result = apply("linear", known, f.weight("dual_coef_", coefficients), bias)
    return result


def _value(f: Fitted, x: Array) -> Array:
    return flat(_sums(f, x, f.numbers("_dual_coef_")))


def _pairs(f: Fitted, x: Array) -> Array:
    """Returns the score of each pair of classes, positive for the first of them, [N, pairs]."""
    counts, dual = f.numbers("_n_support"), f.numbers("_dual_coef_")
    of = np.repeat(np.arange(len(counts)), counts)
    rows = [np.where(of == i, dual[j - 1], np.where(of == j, dual[i], 0.0))
            for i, j in combinations(range(len(counts)), 2)]
    return _sums(f, x, np.stack(rows))


def _decision(f: Fitted, x: Array) -> Array:
    pairs, count = _pairs(f, x), len(classes_of(f))
    if count == 2:
        return flat(-pairs)
    if f.get("decision_function_shape") == "ovo":
        return pairs
    return ovr_scores(apply("lt", pairs, 0.0), -pairs, count)


def _labels(f: Fitted, x: Array) -> Labels:
    classes = classes_of(f)
    ties, shape = f.get("break_ties"), f.get("decision_function_shape")
    if ties and shape == "ovo":
        raise Error("break_ties needs decision_function_shape=\"ovr\"")
    if ties and len(classes) > 2:
        return Labels(largest(_decision(f, x)), classes)
    pairs = _pairs(f, x)
    if len(classes) == 2:
        return Labels(positive(-pairs, zero_too=True), classes)
    second = apply("le", pairs, 0.0)
    return Labels(largest(ovr_scores(second, None, len(classes))), classes)


def _probability(f: Fitted, x: Array) -> Array:
    """Returns Platt's probabilities of the pairs, coupled as Wu, Lin and Weng's method 2 does."""
    if not f.numbers("_probA").size:
        raise Error("it was fitted with probability=False")
    count = len(classes_of(f))
    scores = _pairs(f, x) * f.weight("probA_", f.numbers("_probA"))
    found = apply("sigmoid", -(scores + f.weight("probB_", f.numbers("_probB"))))
    first = apply("minimum", apply("maximum", found, _LEAST), 1.0 - _LEAST)
    won: dict[tuple[int, int], Array] = {}       # that i, and not j, is the class
    for k, (i, j) in enumerate(combinations(range(count), 2)):
        won[i, j] = first.narrow(1, k, 1)
        won[j, i] = 1.0 - won[i, j]
    rows = []                                    # of the form that is to be minimal, [N, k] each
    for i in range(count):
        others = [j for j in range(count) if j != i]
        own = sum((won[j, i] * won[j, i] for j in others[1:]),
                  won[others[0], i] * won[others[0], i])
        rows.append(cat([own if j == i else -(won[j, i] * won[i, j]) for j in range(count)], 1))
    return _coupled(f, rows)


def _coupled(f: Fitted, rows: list[Array]) -> Array:
    """Returns the p, [N, k], of sum 1 with the least p @ Q @ p. rows: those of Q, [N, k] each."""
    count = len(rows)
    p = apply("full", 1.0 / count, shape=rows[0].type.shape, dtype=rows[0].type.dtype)
    done: Any = None
    for k in range(_ROUNDS + 1):
        slope = cat([(row * p).sum(1, keepdim=True) for row in rows], 1)
        size = (p * slope).sum(1, keepdim=True)
        residue = apply("max", apply("abs", slope - size), axes=(1,), keepdims=True)
        here = apply("lt", residue, 0.005 / count)
        done = here if done is None else apply("logical_or", done, here)
        if k == _ROUNDS:
            break
        p = apply("where", done, p, _round(rows, p, slope, size))
    f.required(done)
    result: Array = p
    return result


def _round(rows: list[Array], p: Array, slope: Array, size: Array) -> Array:
    for t, row in enumerate(rows):
        at, own = slope.narrow(1, t, 1), row.narrow(1, t, 1)
        step = (size - at) / own
        size = (size + step * (step * own + at * 2.0)) / (1.0 + step) / (1.0 + step)
        slope = (slope + step * row) / (1.0 + step)
        here = np.zeros(len(rows))
        here[t] = 1.0
        unit = Array(here.astype(p.type.dtype.replace("f", "float")))
        p = (p + step * unit) / (1.0 + step)
    return p


def _outliers(f: Fitted, x: Array) -> Labels:
    inside = apply("gt", _value(f, x), 0.0)
    return Labels(inside._cast("i64"), np.array([-1, 1], np.intp))


def _samples(f: Fitted, x: Array) -> Array:
    result: Array = _value(f, x) + float(np.asarray(f.get("offset_")).item())
    return result


_KERNEL = "kernel degree gamma coef0"
_classifier = Row(
    {"predict": _labels, "decision_function": _decision}
    | of_probabilities(_probability, predict=False),
    _KERNEL + " decision_function_shape break_ties probability")
_regressor = Row({"predict": _value}, _KERNEL)
ROWS = {
    "svm.SVC": _classifier, "svm.NuSVC": _classifier,
    "svm.SVR": _regressor, "svm.NuSVR": _regressor,
    "svm.OneClassSVM": Row({"predict": _outliers, "decision_function": _value,
                            "score_samples": _samples}, _KERNEL),
}
