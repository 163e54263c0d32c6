"""Transformers that encode columns anew: categories, powers, quantiles, splines."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import Error, NDArray
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.estimators.intervals import interpolated
from nncompile.importers.sklearn.estimators.preparation import standard
from nncompile.importers.sklearn.fitted import Fitted, Row, apply, width

_TINY = float(np.finfo(np.float64).eps)


# -- categories ------------------------------------------------------------------------------------

def _categories(f: Fitted) -> list[NDArray]:
    found = [np.asarray(each) for each in f.get("categories_")]
    if odd := [str(each.dtype) for each in found if each.dtype.kind not in "fiub"]:
        raise Error(f"categories of {odd[0]} are not supported, only numbers")
    return [each.astype(np.float64) for each in found]


def _encoded(f: Fitted, x: Array, rows: Sequence[NDArray],
             unknown: Sequence[NDArray] | None) -> Array:
    """Returns a row of numbers for the category of each element, those of a row side by side.

    rows: for each column what its categories become, [categories, outputs]. unknown: what any other
    number of each column becomes, [outputs]; None where such a one is refused.
    """
    categories = _categories(f)
    parts = [_one_column(f, x.narrow(1, i, 1), categories[i], table,
                         None if unknown is None else unknown[i])
             for i, table in enumerate(rows)]
    return cat(parts, 1)


def _one_column(f: Fitted, x: Array, categories: NDArray, table: NDArray, other: Any) -> Array:
    is_nan = np.isnan(categories)
    here = apply("eq", x, f.constant(np.where(is_nan, np.inf, categories)))
    if is_nan.any():
        here = apply("logical_or", here, apply("logical_and", apply("isnan", x), Array(is_nan)))
    hot = f.result(here)
    other_finite = None if other is None else np.where(np.isnan(other), 0.0, other)
    values = np.where(np.isnan(table), 0.0, table)
    if table.shape == (len(categories),) * 2 and (table == np.eye(len(categories))).all():
        result = hot
    else:
        result = apply("linear", hot, f.constant(values.T))
    if np.isnan(table).any():                    # a missing one that stays missing
        lost = apply("gt", apply("linear", hot, f.constant(np.isnan(table).T)), 0.0)
        result = apply("where", lost, float("nan"), result)
    known = hot.sum(1, keepdim=True)
    if other is None:
        f.required(apply("gt", known, 0.0))
    elif other_finite is not None and (np.isnan(other).any() or other.any()):
        result = apply("where", apply("gt", known, 0.0), result, f.constant(other))
    encoded: Array = result
    return encoded


def _one_hot(f: Fitted, x: Array) -> Array:
    """Reads what each category becomes from the estimator itself, which knows drop and rare ones.
    """
    _only_float64(f)
    f.checked(x, nan=False)
    categories, unknown = _categories(f), f.get("handle_unknown")
    outputs = [int(n) for n in f.get("_n_features_outs")]
    ends = np.cumsum(outputs)
    rows = []
    for i, own in enumerate(categories):
        sample = np.repeat([[each[0] for each in categories]], len(own), 0)
        sample[:, i] = own
        rows.append(_dense(f.estimator.transform(sample))[:, ends[i] - outputs[i]:ends[i]])
    if unknown == "error":
        result = _encoded(f, x, rows, None)
        return f.sparse(result) if f.get("sparse_output") else result
    if unknown not in ("ignore", "infrequent_if_exist", "warn"):
        raise Error(f"handle_unknown={unknown!r} is not supported")
    others = []
    for i in range(len(categories)):
        rare = getattr(f.estimator, "_infrequent_indices", [None] * len(categories))[i]
        row = np.zeros(outputs[i])
        if rare is not None and unknown != "ignore":
            row = rows[i][int(np.asarray(rare).ravel()[0])]
        others.append(row)
    result = _encoded(f, x, rows, others)
    return f.sparse(result) if f.get("sparse_output") else result


def _dense(found: Any) -> NDArray:
    dense: NDArray = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    return dense


def _only_float64(f: Fitted) -> None:
    if np.dtype(f.get("dtype")) != np.float64:
        raise Error(f"dtype={f.get('dtype')!r} is not supported, only float64")


def _ordinal(f: Fitted, x: Array) -> Array:
    _only_float64(f)
    f.checked(x, nan=False)
    categories, how = _categories(f), f.get("handle_unknown")
    if how not in ("error", "use_encoded_value"):
        raise Error(f"handle_unknown={how!r} is not supported")
    infrequent = getattr(f.estimator, "_default_to_infrequent_mappings", None)
    missing = getattr(f.estimator, "_missing_indices", {})
    rows = []
    for i, own in enumerate(categories):
        codes = np.arange(len(own), dtype=np.float64)
        mapping = None if infrequent is None else infrequent[i]
        if mapping is not None:
            codes[:len(mapping)] = mapping
        if i in missing:
            codes[missing[i]] = f.get("encoded_missing_value")
        rows.append(codes[:, None])
    others = None if how == "error" else [np.array([f.get("unknown_value")], np.float64)
                                          for _ in categories]
    return _encoded(f, x, rows, others)


# -- powers and quantiles --------------------------------------------------------------------------

def _power(f: Fitted, x: Array) -> Array:
    f.checked(x, nan=False)
    power = f.numbers("lambdas_").astype(np.float64)
    if np.isnan(power).any():
        raise Error("one of its lambdas_ is NaN")
    if f.get("method") == "box-cox":
        f.required(apply("logical_not", apply("le", x, 0.0)))
        result = _box_cox(f, apply("log", x), power, "lambdas_")
    else:
        # The part that an element is not in is computed of 0.
        above = apply("where", apply("lt", x, 0.0), 0.0, x)
        below = apply("where", apply("lt", x, 0.0), -x, 0.0)
        result = apply("where", apply("lt", x, 0.0),
                       -_box_cox(f, apply("log1p", below), 2.0 - power, "complements"),
                       _box_cox(f, apply("log1p", above), power, "lambdas_"))
    if not f.get("standardize"):
        changed: Array = result
        return changed
    return standard(Fitted(f.importer, f.get("_scaler"), f"{f.path}.scaler".strip(".")), result)


def _box_cox(f: Fitted, logarithm: Array, power: NDArray, name: str) -> Array:
    zero = np.abs(power) < _TINY
    exponent = f.weight(name, np.where(zero, 1.0, power))
    curved: Array = apply("expm1", logarithm * exponent) / exponent
    return apply("where", Array(zero), logarithm, curved) if zero.any() else curved


def _quantile(f: Fitted, x: Array) -> Array:
    if f.get("output_distribution") != "uniform":
        raise Error("output_distribution=\"normal\" is not supported, only \"uniform\"")
    f.checked(x, nan=False)
    points = [np.asarray(column, np.float64) for column in f.numbers("quantiles_").T]
    of = [f.numbers("references_").astype(np.float64)] * len(points)
    up = interpolated(f, x, points, of)
    down = interpolated(f, -x, [-p[::-1] for p in points], [-r[::-1] for r in of])
    mean = (up - down) * 0.5
    low, high = (f.constant([p[k] for p in points]) for k in (0, -1))
    result = apply("where", apply("eq", x, high), 1.0, mean)
    result = apply("where", apply("eq", x, low), 0.0, result)
    return apply("where", apply("isnan", x), x, result)


# -- splines ---------------------------------------------------------------------------------------

def _spline(f: Fitted, x: Array) -> Array:
    zeros = getattr(f.estimator, "handle_missing", "error") == "zeros"
    f.checked(x, nan=not zeros)
    splines, how = f.get("bsplines_"), f.get("extrapolation")
    degree = int(splines[0].k)
    if degree < {"constant": 1, "linear": 2}.get(how, 0):
        raise Error(f"extrapolation={how!r} of degree {degree} is not supported")
    knots = np.stack([np.asarray(each.t, np.float64) for each in splines])   # [columns, knots]
    first, last = knots[:, degree], knots[:, -degree - 1]
    low, high = f.constant(first), f.constant(last)
    inside = apply("minimum", apply("maximum", x, low), high)
    match how:
        case "continue":
            at = x
        case "constant" | "linear":
            at = inside
        case "error":
            at = x
            f.required(apply("logical_or", apply("eq", inside, x), apply("isnan", x)))
        case "periodic":
            if not (last > first).all():
                raise Error("a column of one value only is not supported with \"periodic\"")
            at = low + apply("remainder", x - low, f.constant(last - first))
        case _:
            raise Error(f"extrapolation={how!r} is not supported")
    bases = _bases(f, at, knots, degree)                        # [N, columns, bases]
    result = cat([_combined(f, bases, i, each) for i, each in enumerate(splines)], 1)
    if how == "linear":
        slopes = [np.stack([each(end, nu=1) for each, end in zip(splines, ends, strict=True)])
                  for ends in (first, last)]
        away = (x - inside).unsqueeze(2)
        low_side, high_side = (f.constant(s) for s in slopes)
        continued = apply("where", apply("lt", away, 0.0), away * low_side, away * high_side)
        result = result + apply("where", apply("eq", away, 0.0), 0.0, continued).reshape(
            *result.type.shape)
    if zeros:
        count = int(result.type.shape[1]) // width(x)
        lost = f.columns(x, np.repeat(np.arange(width(x)), count))
        result = apply("where", apply("isnan", lost), 0.0, result)
    if not f.get("include_bias"):
        count = int(result.type.shape[1]) // width(x)
        kept = [k for k in range(int(result.type.shape[1])) if (k + 1) % count]
        result = apply("take", result, Array(np.array(kept, np.int64)), axis=1)
    return f.sparse(result) if f.get("sparse_output") else result


def _bases(f: Fitted, x: Array, knots: NDArray, degree: int) -> Array:
    """Returns the B-splines by Cox' and de Boor's recursion; outer intervals have no outer end."""
    y, count = x.unsqueeze(2), knots.shape[1] - 1
    lower, upper = knots[:, :-1].copy(), knots[:, 1:].copy()
    lower[:, degree], upper[:, count - degree - 1] = -np.inf, np.inf
    lower[:, :degree], upper[:, count - degree:] = np.inf, -np.inf
    bases = f.result(apply("logical_and", apply("ge", y, f.constant(lower)),
                           apply("lt", y, f.constant(upper))))
    for k in range(1, degree + 1):
        left, right = bases.narrow(2, 0, count - k), bases.narrow(2, 1, count - k)
        rise = _inverse(knots[:, k:-1] - knots[:, :-k - 1])
        fall = _inverse(knots[:, k + 1:] - knots[:, 1:-k])
        bases = ((y - f.constant(knots[:, :-k - 1])) * f.constant(rise) * left
                 + (f.constant(knots[:, k + 1:]) - y) * f.constant(fall) * right)
    return bases


def _inverse(size: NDArray) -> NDArray:
    """Returns 1 / size, and 0 where knots are equal, whose terms count as 0."""
    return np.where(size > 0, 1.0 / np.where(size > 0, size, 1.0), 0.0)


def _combined(f: Fitted, bases: Array, i: int, spline: Any) -> Array:
    own = bases.narrow(1, i, 1).squeeze(1)
    matrix = np.asarray(spline.c, np.float64)
    if matrix.shape[0] == matrix.shape[1] and (matrix == np.eye(len(matrix))).all():
        return own
    return apply("linear", own, f.constant(matrix.T))


_ENCODER = "categories min_frequency max_categories"
ROWS = {
    "preprocessing.OneHotEncoder": Row(
        {"transform": _one_hot}, "dtype handle_unknown sparse_output",
        training=_ENCODER + " drop feature_name_combiner"),
    "preprocessing.OrdinalEncoder": Row(
        {"transform": _ordinal}, "dtype handle_unknown unknown_value encoded_missing_value",
        training=_ENCODER),
    "preprocessing.PowerTransformer": Row({"transform": _power}, "method standardize"),
    "preprocessing.QuantileTransformer": Row(
        {"transform": _quantile}, "output_distribution",
        training="n_quantiles ignore_implicit_zeros"),
    "preprocessing.SplineTransformer": Row(
        {"transform": _spline}, "extrapolation include_bias sparse_output handle_missing",
        training="n_knots degree knots order"),
}
