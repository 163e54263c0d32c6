"""Transformers of columns of numbers."""
from __future__ import annotations

from typing import Any

import numpy as np

from ir import Error
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.estimators.intervals import counted
from nncompile.importers.sklearn.fitted import Fitted, Method, Row, apply, width


def standard(f: Fitted, x: Array) -> Array:
    """Returns (x - mean_) / scale_."""
    y = x - f.weight("mean_") if f.get("with_mean") else x
    y = y / f.weight("scale_") if f.get("with_std") else y
    return f.checked(y, nan=False, instead_of=x)


def _standard_back(f: Fitted, x: Array) -> Array:
    y = f.checked(x, nan=False)
    y = y * f.weight("scale_") if f.get("with_std") else y
    return y + f.weight("mean_") if f.get("with_mean") else y


def _robust_back(f: Fitted, x: Array) -> Array:
    y = f.checked(x, nan=False)
    y = y * f.weight("scale_") if f.get("with_scaling") else y
    return y + f.weight("center_") if f.get("with_centering") else y


def _min_max_back(f: Fitted, x: Array) -> Array:
    result: Array = (f.checked(x, nan=False) - f.weight("min_")) / f.weight("scale_")
    return result


def _max_abs_back(f: Fitted, x: Array) -> Array:
    result: Array = f.checked(x, nan=False) * f.weight("scale_")
    return result


def _robust(f: Fitted, x: Array) -> Array:
    y = x - f.weight("center_") if f.get("with_centering") else x
    y = y / f.weight("scale_") if f.get("with_scaling") else y
    return f.checked(y, nan=False, instead_of=x)


def _clipped(f: Fitted, x: Array, y: Array, low: float, high: float) -> Array:
    if not f.get("clip"):
        return f.checked(y, nan=False, instead_of=x)
    f.checked(x, nan=False)
    kept = apply("minimum", apply("maximum", y, float(low)), float(high))
    return apply("where", apply("isnan", y), y, kept)


def _min_max(f: Fitted, x: Array) -> Array:
    low, high = f.get("feature_range")
    return _clipped(f, x, x * f.weight("scale_") + f.weight("min_"), low, high)


def _max_abs(f: Fitted, x: Array) -> Array:
    return _clipped(f, x, x / f.weight("scale_"), -1.0, 1.0)


def _normalized(f: Fitted, x: Array) -> Array:
    f.checked(x)
    size = apply("abs", x)
    match f.get("norm"):
        case "l1":
            norm = size.sum(1, keepdim=True)
        case "l2":
            norm = apply("sqrt", (x * x).sum(1, keepdim=True))
        case _:
            norm = apply("max", size, axes=(1,), keepdims=True)
    least = 10 * float(np.finfo(x.type.dtype.replace("f", "float")).eps)
    return apply("div", x, apply("where", apply("lt", norm, least), 1.0, norm))


def _binarized(f: Fitted, x: Array) -> Array:
    return f.result(apply("gt", f.checked(x), float(f.get("threshold"))))


def _imputed(f: Fitted, x: Array) -> Array:
    missing = f.get("missing_values")
    if not (isinstance(missing, float) and np.isnan(missing)):
        raise Error(f"missing_values={missing!r} is not supported, only numpy.nan")
    statistics = f.numbers("statistics_").astype(np.float64)
    f.checked(x, nan=False)
    empty = np.isnan(statistics)
    kept, filler = np.flatnonzero(~empty), np.where(empty, 0.0, statistics)
    if f.get("keep_empty_features") or f.get("strategy") == "constant":
        kept = np.arange(len(filler))
    filled = apply("where", apply("isnan", x), f.weight("statistics_", filler), x)
    result = f.columns(filled, kept) if len(kept) < len(filler) else filled
    if not f.get("add_indicator"):
        return result
    of = np.asarray(f.get("indicator_").features_)
    return cat([result, f.result(apply("isnan", f.columns(x, of)))], 1)


def _selected(f: Fitted, x: Array) -> Array:
    return f.columns(f.checked(x), f.estimator.get_support(indices=True))


def _varying(f: Fitted, x: Array) -> Array:
    return f.columns(f.checked(x, nan=False), f.estimator.get_support(indices=True))


def _selected_by_tag(f: Fitted, x: Array) -> Array:
    allowed = f.estimator.__sklearn_tags__().input_tags.allow_nan
    if not allowed:
        f.checked(x)
    return f.columns(x, f.estimator.get_support(indices=True))


def _polynomial(f: Fitted, x: Array) -> Array:
    f.checked(x)
    powers = f.numbers("powers_").astype(np.int64)       # [outputs, columns]
    if powers.size > 1 << 24:
        raise Error(f"{len(powers)} columns are too many")
    degree = int(powers.sum(1).max(initial=0))
    factors = np.full((degree, len(powers)), width(x), np.int64)      # that column is all ones
    for i, row in enumerate(powers):
        named = np.repeat(np.arange(len(row)), row)
        factors[:len(named), i] = named
    ones = apply("full", 1.0, shape=(x.type.shape[0], 1), dtype=x.type.dtype)
    columns, result = cat([x, ones], 1), None
    for chosen in factors:
        factor = apply("take", columns, Array(chosen), axis=1)
        result = factor if result is None else result * factor
    return ones if result is None else result


def _binned(f: Fitted, x: Array) -> Array:
    f.checked(x)
    if f.get("dtype") not in (None, np.float64):
        raise Error(f"dtype={f.get('dtype')!r} is not supported")
    inner = [np.asarray(edges)[1:-1] for edges in f.get("bin_edges_")]
    bins = f.result(counted(f, x, inner, True))
    if f.get("encode") == "ordinal":
        return bins
    counts = f.numbers("n_bins_").astype(np.int64)
    of = np.repeat(np.arange(len(counts)), counts)
    number = np.concatenate([np.arange(n) for n in counts])
    result = f.result(apply("eq", f.columns(bins, of), f.constant(number)))
    return f.sparse(result) if f.get("encode") == "onehot" else result


# -- projections -----------------------------------------------------------------------------------

def _rotated(x: Array, matrix: Array, bias: Array | None = None) -> Array:
    """Returns x @ matrix.T + bias."""
    result: Array = apply("linear", x, matrix) if bias is None else apply("linear", x, matrix, bias)
    return result


def _pca(f: Fitted, x: Array) -> Array:
    matrix = f.numbers("components_").astype(np.float64)
    scale = np.ones(len(matrix))
    if f.get("whiten"):
        scale = np.sqrt(f.numbers("explained_variance_").astype(np.float64))
        scale = np.maximum(scale, np.finfo(np.float64).eps)
    # x - mean first, and not the mean's projection afterwards: it loses fewer digits.
    y = x - f.weight("mean_")
    return f.checked(_rotated(y, f.weight("components_", matrix / scale[:, None])), instead_of=x)


def _likelihood(f: Fitted, x: Array) -> Array:
    """Returns the log-likelihood of each row under the model of probabilistic PCA, [N]."""
    precision = np.asarray(f.estimator.get_precision(), np.float64)
    y = x - f.weight("mean_")
    distance = (y * _rotated(y, f.weight("precision_", precision.T))).sum(1)
    sign, size = np.linalg.slogdet(precision)
    logarithm = size if sign > 0 else -np.inf
    result: Array = distance * -0.5 - 0.5 * (len(precision) * np.log(2 * np.pi) - logarithm)
    return f.checked(result, instead_of=x)


def _by_selected(method: str) -> Method:
    def compute(f: Fitted, x: Array) -> Any:
        return f.of(f.get("estimator_"), method, _selected_by_tag(f, x), "estimator_")
    return compute


def _svd(f: Fitted, x: Array) -> Array:
    return f.checked(_rotated(x, f.weight("components_")), instead_of=x)


# What is computed by functions of NumPy, which are known; any other is refused.
_FUNCTIONS: dict[Any, str] = {
    np.exp: "exp", np.exp2: "exp2", np.expm1: "expm1", np.log: "log", np.log2: "log2",
    np.log10: "log10", np.log1p: "log1p", np.sqrt: "sqrt", np.abs: "abs", np.sin: "sin",
    np.cos: "cos", np.tan: "tan", np.tanh: "tanh", np.sign: "sign", np.negative: "neg",
}


def _called(function: str, arguments: str) -> Method:
    def compute(f: Fitted, x: Array) -> Array:
        if f.get("validate"):
            f.checked(x)
        given = f.get(function)
        if given is None:
            return x
        name = _FUNCTIONS.get(given) if isinstance(given, np.ufunc) else None
        if name is None or f.get(arguments):
            raise Error("it calls a function of Python, which cannot be read")
        result: Array = apply(name, x)
        return result
    return compute


def selector(training: str, how: Any = _selected) -> Row:
    """Returns the row of a transformer that keeps some columns."""
    return Row({"transform": how}, training=training)


ROWS = {
    "preprocessing.StandardScaler": Row(
        {"transform": standard, "inverse_transform": _standard_back}, "with_mean with_std"),
    "preprocessing.MinMaxScaler": Row(
        {"transform": _min_max, "inverse_transform": _min_max_back}, "feature_range clip"),
    "preprocessing.MaxAbsScaler": Row(
        {"transform": _max_abs, "inverse_transform": _max_abs_back}, "clip"),
    "preprocessing.RobustScaler": Row(
        {"transform": _robust, "inverse_transform": _robust_back}, "with_centering with_scaling",
                                      training="quantile_range unit_variance"),
    "preprocessing.Normalizer": Row({"transform": _normalized}, "norm", stateless=True),
    "preprocessing.Binarizer": Row({"transform": _binarized}, "threshold", stateless=True),
    "preprocessing.PolynomialFeatures": Row(
        {"transform": _polynomial}, training="degree interaction_only include_bias order"),
    "preprocessing.KBinsDiscretizer": Row({"transform": _binned}, "encode dtype",
                                          training="n_bins strategy quantile_method"),
    "preprocessing.FunctionTransformer": Row(
        {"transform": _called("func", "kw_args"),
         "inverse_transform": _called("inverse_func", "inv_kw_args")},
        "func validate inverse_func kw_args inv_kw_args", stateless=True,
        training="accept_sparse check_inverse feature_names_out"),
    "impute.SimpleImputer": Row({"transform": _imputed},
                                "missing_values strategy add_indicator keep_empty_features",
                                training="fill_value"),
    "decomposition.PCA": Row(
        {"transform": _pca, "score_samples": _likelihood}, "whiten",
        training="n_components svd_solver iterated_power n_oversamples "
                 "power_iteration_normalizer"),
    "decomposition.TruncatedSVD": Row(
        {"transform": _svd}, training="n_components algorithm n_iter n_oversamples "
                                      "power_iteration_normalizer"),
    "feature_selection.VarianceThreshold": selector("threshold", _varying),
    "feature_selection.SelectKBest": selector("score_func k"),
    "feature_selection.SelectPercentile": selector("score_func percentile"),
    "feature_selection.SelectFromModel": selector(
        "estimator threshold prefit norm_order importance_getter", _selected_by_tag),
    "feature_selection.RFE": Row(
        {"transform": _selected_by_tag} | {method: _by_selected(method) for method in (
            "predict", "predict_proba", "predict_log_proba", "decision_function")},
        training="estimator n_features_to_select step importance_getter"),
}
