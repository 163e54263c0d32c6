"""Imports one method of a fitted estimator, by calling what its table's row says on a symbol."""
from __future__ import annotations

from typing import Any

import ir
from ir import DTYPES, Error, NDArray, TensorType, Value, Where
from ir.records import dataclass
from ir.types import symbol
from nncompile.array import Array, apply
from nncompile.array.dispatch import current
from nncompile.importers.names import graph_name
from nncompile.importers.obstacles import Obstacles
from nncompile.importers.recorder import ImportRecorder
from nncompile.importers.sklearn.estimators import ESTIMATORS
from nncompile.importers.sklearn.fitted import Checked, Fitted, Labels, Refused, Row

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform",
           "score_samples")
# Parameters that steer the training of whatever estimator has them, and nothing else.
_TRAINING = """
    C Cs alpha alphas alpha_1 alpha_2 alpha_init alpha_per_target average batch_size beta_1
    beta_2 bootstrap cache_size ccp_alpha class_weight compute_score copy copy_X copy_x cv dual
    early_stopping eps epsilon eta0 fit_intercept fit_path gcv_mode intercept_scaling
    interaction_cst jitter l1_ratio l1_ratios lambda_1 lambda_2 lambda_init learning_rate_init
    max_depth max_features max_fun max_iter max_leaf_nodes max_samples memory
    min_impurity_decrease min_samples_leaf min_samples_split min_weight_fraction_leaf momentum
    monotonic_cst n_estimators n_init n_iter_no_change n_jobs nesterovs_momentum nu oob_score
    penalty positive power_t precompute random_state refit scoring selection shrinking shuffle
    solver store_cv_results store_cv_values subsample tol use_legacy_attributes
    validation_fraction verbose warm_start
"""


@dataclass(frozen=True)
class ImportedMethod:
    """A method as a graph of X, [B, features]: its result, and whether X was legal, a bool.

    classes: those whose positions the result is, or None where it is the result itself.
    """

    graph: ir.Graph
    classes: NDArray | None


class Importer:
    """One import of one method of an estimator."""

    def __init__(self, estimator: Any, dtype: str, obstacles: Obstacles) -> None:
        self.estimator, self.dtype, self.obstacles = estimator, dtype, obstacles
        self.recorder = ImportRecorder()
        self.checks: dict[Value, Checked] = {}
        self.sparse: set[Value] = set()
        self._weights: dict[tuple[str, bytes], Array] = {}
        self._names: set[str] = set()

    def run(self, method: str) -> ImportedMethod | None:
        """Returns the graph of a method, or None where there are obstacles, which are noted."""
        title = f"{type(self.estimator).__name__}.{method}"
        token = current.set(self.recorder)
        try:
            count = self._features()
            x = Array(self.recorder.declare("input", "X", TensorType(self.dtype, (
                symbol("B"), count))))
            result = self.method(self.estimator, method, x)
            positions = isinstance(result, Labels)
            if not positions and result._as_operand() in self.sparse:
                self.obstacles.add(title, _SPARSE, "the model")
                return None
            output = result.positions if positions else Fitted(self, None, "").result(result)
            outputs = [output, self._legal()]
            values = [self.recorder.value(o._as_operand()) for o in outputs]
        except Refused:
            return None
        finally:
            current.reset(token)
        graph = self.recorder.builder.build(graph_name(title), values)
        ir.verify(graph, built=True)
        return ImportedMethod(graph, result.classes if positions else None)

    def method(self, estimator: Any, method: str, x: Array, path: str = "") -> Any:
        """Returns what a method computes of x; path: where the estimator is in the model."""
        kind = kind_of(estimator)
        what = f"{type(estimator).__name__}.{method}"
        place = path or "the model"
        row = ESTIMATORS.get(kind)
        if row is None:
            why = unknown(estimator)
        elif method not in row.methods:
            why = "this method is not supported\n" + "do: methods=[...] names those to compile"
        elif not hasattr(estimator, method):
            why = f"it has no method {method}"
        else:
            problems = _problems(estimator, row)
            for problem in problems:
                self.obstacles.add(what, problem, place)
            if problems:
                raise Refused
            outer, self.recorder.origin = self.recorder.origin, Where(
                " / ".join(filter(None, [path, what])))
            try:
                result = row.methods[method](Fitted(self, estimator, path), x)
                if method == "transform" and kind not in _DENSE and x._as_operand() in self.sparse:
                    self.sparse.add(result._as_operand())
                return result
            except Error as error:
                why = str(error)
            finally:
                self.recorder.origin = outer
        self.obstacles.add(what, why, place)
        raise Refused

    def weight(self, name: str, data: NDArray) -> Array:
        """Returns a parameter of the graph; there is one for each name and its numbers."""
        data = data.astype(DTYPES[self.dtype])
        key = (name, data.tobytes())
        if key not in self._weights:
            plain = ".".join(graph_name(part) + "_" * part.endswith("_")
                             for part in name.split("."))
            unique, count = plain, 1
            while unique in self._names:
                count += 1
                unique = f"{plain}{count}"
            self._names.add(unique)
            type_ = TensorType(self.dtype, data.shape)
            self._weights[key] = Array(self.recorder.declare("parameter", unique, type_, data))
        return self._weights[key]

    def _features(self) -> int:
        try:
            return int(self.estimator.n_features_in_)
        except (AttributeError, TypeError):
            pass
        kind, place = type(self.estimator).__name__, "the model"
        if kind_of(self.estimator) not in ESTIMATORS:
            why = unknown(self.estimator)
        elif _is_fitted(self.estimator):
            why = "it does not know how many columns it was fitted to (n_features_in_)"
        else:
            why = _NOT_FITTED
        self.obstacles.add(kind, why, place)
        raise Refused

    def _legal(self) -> Array:
        """Returns whether no element is one that scikit-learn refuses."""
        legal: Array | None = None
        for check in self.checks.values():
            array = check.array
            good = apply("isfinite", array) if check.nan else apply(
                "logical_not", apply("isinf", array))
            here = apply("all", good, axes=tuple(range(array.ndim)), keepdims=False)
            legal = here if legal is None else apply("logical_and", legal, here)
        return apply("full", 1.0, shape=(), dtype="bool") if legal is None else legal


_SPARSE = ("its result is a sparse matrix\ndo: sparse_output=False, encode=\"onehot-dense\" or "
           "sparse_threshold=0, by their names in the estimator that makes it")
# Those whose transform gives an array, even of a sparse matrix.
_DENSE = {"decomposition.PCA", "decomposition.TruncatedSVD", "cluster.KMeans",
          "cluster.MiniBatchKMeans", "compose.ColumnTransformer"}
_NOT_FITTED = "it is not fitted\ndo: call fit first"


def kind_of(estimator: Any) -> str:
    """Returns an estimator's public name within scikit-learn, such as "svm.SVC"."""
    kind = type(estimator)
    parts = kind.__module__.split(".")
    return f"{parts[1]}.{kind.__name__}" if parts[0] == "sklearn" and len(parts) > 1 else ""


def unknown(estimator: Any) -> str:
    """Says why an estimator is not in the table."""
    kind = type(estimator)
    base = next((b.__name__ for b in kind.__mro__[1:] if b.__module__.startswith("sklearn.")
                 and f"{b.__module__.split('.')[1]}.{b.__name__}" in ESTIMATORS), None)
    if base is not None and not kind.__module__.startswith("sklearn."):
        return (f"it is a class of your own, derived from {base}, and may compute something else\n"
                f"do: use {base} itself")
    if kind.__name__ == "FunctionTransformer":
        return "it calls a function of Python, which cannot be read"
    return f"the class {kind.__module__}.{kind.__name__} is not supported"


def _problems(estimator: Any, row: Row) -> list[str]:
    """Returns what about an estimator of the table is in the way."""
    if not row.stateless and not _is_fitted(estimator):
        return [_NOT_FITTED]
    known = {*_TRAINING.split(), *row.reads.split(), *row.training.split()}
    problems = [f"its parameter {name} is not known" for name in sorted(
        estimator.get_params(deep=False).keys() - known)]
    wanted = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    if wanted not in (None, "default"):
        problems.append(f"set_output asks for {wanted} frames, and only arrays are supported\n"
                        "do: set_output(transform=\"default\")")
    own = set(METHODS) & vars(estimator).keys()
    problems.extend(f"its method {name} was replaced" for name in sorted(own))
    return problems


def _is_fitted(estimator: Any) -> bool:
    """As sklearn.utils.validation.check_is_fitted tells."""
    says = getattr(estimator, "__sklearn_is_fitted__", None)
    if says is not None:
        return bool(says())
    return any(name.endswith("_") and not name.startswith("__") for name in vars(estimator))
