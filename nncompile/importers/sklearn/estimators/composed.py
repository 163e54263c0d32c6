"""Estimators that are made of others."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ir import Error
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.importers.sklearn.fitted import Fitted, Refused, Row

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform",
            "score_samples")


def _steps(f: Fitted, x: Array, method: str) -> Any:
    *before, (name, last) = f.get("steps")
    refused = False
    for i, (own, step) in enumerate(before, 1):
        try:
            x = x if _is_nothing(step) else f.of(step, "transform", x, own)
        except Refused:
            refused, x = True, f.stand_in(f.get("steps")[i][1], x)
    result = x if _is_nothing(last) else f.of(last, method, x, name)
    if refused:
        raise Refused
    return result


def _is_nothing(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _union(f: Fitted, x: Array) -> Array:
    return _side_by_side(f, [(name, each, x) for name, each in f.get("transformer_list")])


def _by_columns(f: Fitted, x: Array) -> Array:
    places = f.get("_transformer_to_input_indices")
    chosen = [(name, each, np.asarray(places[name], np.int64))
              for name, each, _ in f.get("transformers_")]
    result = _side_by_side(f, [(name, each, f.columns(x, indices))
                               for name, each, indices in chosen if len(indices)])
    return f.sparse(result) if f.get("sparse_output_") else f.dense(result)


def _side_by_side(f: Fitted, parts: Sequence[tuple[str, Any, Array]]) -> Array:
    """Returns what each transformer makes of its columns, with its weight."""
    weights = f.get("transformer_weights") or {}

    def part(name: str, each: Any, x: Array) -> Array:
        made: Array = x if _is_nothing(each) else f.of(each, "transform", x, name)
        return made * float(weights[name]) if name in weights else made

    kept = [p for p in parts if not (isinstance(p[1], str) and p[1] == "drop")]
    if not kept:
        raise Error("all of its columns are dropped")
    made = f.each(partial(part, *p) for p in kept)
    result = cat(made, 1)
    return f.sparse(result) if any(f.is_sparse(each) for each in made) else result


def _best(method: str) -> Any:
    return lambda f, x: f.of(f.get("best_estimator_"), method, x, "best_estimator_")


def _frozen(method: str) -> Any:
    return lambda f, x: f.of(f.get("estimator"), method, x)


def _target_back(f: Fitted, x: Array) -> Array:
    """Returns the predictions of the regressor, taken back from the scale it was trained on."""
    found = f.of(f.get("regressor_"), "predict", x, "regressor_")
    table = found.unsqueeze(1) if found.ndim == 1 else found
    back = f.of(f.get("transformer_"), "inverse_transform", table, "transformer_")
    one = f.get("_training_dim") == 1 and back.type.shape[1] == 1
    result: Array = back.squeeze(1) if one else back
    return result


def _step(method: str) -> Any:
    return lambda f, x: _steps(f, x, method)


ROWS = {
    "pipeline.Pipeline": Row({method: _step(method) for method in _METHODS}, "steps",
                             training="transform_input"),
    **{f"model_selection.{name}": Row(
        {method: _best(method) for method in _METHODS},
        training="estimator param_grid param_distributions error_score pre_dispatch n_iter "
                 "return_train_score") for name in ("GridSearchCV", "RandomizedSearchCV")},
    "frozen.FrozenEstimator": Row({method: _frozen(method) for method in _METHODS}, "estimator",
                                  stateless=True),
    "compose.TransformedTargetRegressor": Row(
        {"predict": _target_back}, training="regressor transformer func inverse_func "
                                            "check_inverse"),
    "pipeline.FeatureUnion": Row({"transform": _union}, "transformer_list transformer_weights",
                                 training="verbose_feature_names_out"),
    "compose.ColumnTransformer": Row(
        {"transform": _by_columns}, "transformers transformer_weights",
        training="remainder sparse_threshold verbose_feature_names_out "
                 "force_int_remainder_cols"),
}
