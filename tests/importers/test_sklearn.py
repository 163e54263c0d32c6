"""Estimators of scikit-learn, compiled, beside scikit-learn itself."""
from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

import nncompile
from ir import NDArray
from nncompile.errors import InputError, ModelImportError
from tests.importers.sklearn_cases import (
    COLUMNS,
    HOLES,
    THREE,
    TWO,
    TWO_VALUES,
    VALUES,
    X,
    agree,
    compare,
    fitted,
    ids,
)

pytest.importorskip("sklearn")

from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

# What is fitted, and to what: X, or HOLES, which has NaN.
TRANSFORMERS = [
    StandardScaler(), StandardScaler(with_mean=False), StandardScaler(with_std=False),
    MinMaxScaler(), MinMaxScaler((-2, 3), clip=True), MaxAbsScaler(), MaxAbsScaler(clip=True),
    RobustScaler(), RobustScaler(with_scaling=False, unit_variance=True),
    Normalizer(), Normalizer("l1"), Normalizer("max"), Binarizer(threshold=0.3),
    PolynomialFeatures(2), PolynomialFeatures(3, interaction_only=True, include_bias=False),
    PolynomialFeatures((2, 3)), PolynomialFeatures(0),
    KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    KBinsDiscretizer([2, 3, 4, 5, 6], encode="onehot-dense", strategy="uniform"),
    SimpleImputer(), SimpleImputer(strategy="median", add_indicator=True),
    SimpleImputer(strategy="constant", fill_value=-1.5), PCA(), PCA(2, whiten=True),
    TruncatedSVD(3), VarianceThreshold(0.5), SelectKBest(lambda X, y: np.abs(X).sum(0), k=2),
    SelectPercentile(lambda X, y: np.abs(X).sum(0), percentile=50),
    SelectFromModel(LinearRegression(), threshold="mean"), RFE(Ridge(), n_features_to_select=3),
    FeatureUnion([("a", PCA(2)), ("b", "passthrough"), ("c", "drop"), ("d", StandardScaler())],
                 transformer_weights={"a": 2.5}),
    ColumnTransformer([("scaled", StandardScaler(), [3, 0]), ("none", "drop", [1]),
                       ("bins", KBinsDiscretizer(3, encode="ordinal", strategy="uniform"), [2])],
                      remainder="passthrough"),
    ColumnTransformer([("a", "passthrough", slice(1, 3)),
                       ("b", MinMaxScaler(), [True, False, True, False, False])]),
    make_pipeline(SimpleImputer(), StandardScaler(), "passthrough", PCA(3)),
    FunctionTransformer(), KMeans(4, n_init=2, random_state=0),
    MiniBatchKMeans(3, n_init=2, random_state=0),
]
CLASSIFIERS = [
    LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression(C=3)),
    LogisticRegressionCV(Cs=2, cv=2, l1_ratios=(0,), use_legacy_attributes=False),
    SGDClassifier(random_state=0), SGDClassifier(loss="log_loss", random_state=0),
    SGDClassifier(loss="modified_huber", random_state=0), LinearSVC(), RidgeClassifier(),
    RidgeClassifierCV(), Perceptron(),
    MLPClassifier((8, 7), max_iter=20, random_state=0),
    MLPClassifier(4, activation="tanh", max_iter=20, random_state=0),
    DecisionTreeClassifier(random_state=0), ExtraTreeClassifier(max_depth=3, random_state=0),
    DecisionTreeClassifier(max_depth=0 + 1), DecisionTreeClassifier(min_samples_split=1000),
    RandomForestClassifier(9, random_state=0), ExtraTreesClassifier(5, max_depth=4, random_state=0),
    GradientBoostingClassifier(n_estimators=4, random_state=0),
    GradientBoostingClassifier(n_estimators=3, init="zero"),
    HistGradientBoostingClassifier(max_iter=4), GaussianNB(),
]
REGRESSORS = [
    LinearRegression(), LinearRegression(fit_intercept=False), Ridge(), RidgeCV(), Lasso(),
    LassoCV(cv=2), ElasticNet(), ElasticNetCV(cv=2), SGDRegressor(random_state=0), HuberRegressor(),
    LinearSVR(random_state=0),
    MLPRegressor(hidden_layer_sizes=6, activation="logistic", max_iter=20, random_state=0),
    DecisionTreeRegressor(random_state=0), ExtraTreeRegressor(random_state=0),
    RandomForestRegressor(7, random_state=0), ExtraTreesRegressor(3, random_state=0),
    GradientBoostingRegressor(n_estimators=5, random_state=0),
    GradientBoostingRegressor(loss="huber", n_estimators=3, random_state=0),
    HistGradientBoostingRegressor(max_iter=4),
]
SEVERAL = [LinearRegression(), Ridge(),
           MLPRegressor(hidden_layer_sizes=6, max_iter=20, random_state=0),
           DecisionTreeRegressor(random_state=0), RandomForestRegressor(4, random_state=0)]
HOLEY = [DecisionTreeClassifier(random_state=0), RandomForestClassifier(5, random_state=0),
         HistGradientBoostingClassifier(max_iter=4),
         make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=2)),
         make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())]
CASES = [*((e, X, VALUES) for e in TRANSFORMERS),
         *((e, HOLES, VALUES) for e in TRANSFORMERS if isinstance(e, SimpleImputer)),
         *((e, X, TWO) for e in CLASSIFIERS), *((e, X, THREE) for e in CLASSIFIERS),
         (GradientBoostingClassifier(loss="exponential", n_estimators=3), X, TWO),
         *((e, X, VALUES) for e in REGRESSORS), *((e, X, TWO_VALUES) for e in SEVERAL),
         (LinearDiscriminantAnalysis(), X, TWO), (LinearDiscriminantAnalysis(), X, THREE),
         (HistGradientBoostingRegressor(loss="poisson", max_iter=3), X, np.abs(VALUES)),
         *((e, HOLES, THREE) for e in HOLEY)]


@pytest.mark.parametrize("case", CASES, ids=ids)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_it_has_the_methods_of_the_estimator_and_their_results(case: tuple[Any, ...]) -> None:
    agree(*case)


@pytest.mark.parametrize("estimator", [
    make_pipeline(StandardScaler(), LogisticRegression()), MLPClassifier(6, max_iter=9),
    RandomForestClassifier(5), HistGradientBoostingClassifier(max_iter=3)], ids=str)
def test_float32_on_request(estimator: Any) -> None:
    model = fitted(estimator, X, THREE)
    fast = nncompile.compile(model, dtype="float32")
    result = fast.predict_proba(X.astype(np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, model.predict_proba(X.astype(np.float32)), 1e-4, 1e-4)


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.bool_, list])
def test_other_numbers_are_taken_as_float64(kind: Any) -> None:
    model = fitted(LogisticRegression())
    given: Any = X.tolist() if kind is list else X.astype(kind)
    found = nncompile.compile(model).predict_proba(given)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, model.predict_proba(np.asarray(given, np.float64)), 1e-12)


def test_splits_are_those_of_float32_on_both_sides_of_every_threshold() -> None:
    model = fitted(DecisionTreeRegressor(random_state=0), X.astype(np.float32), VALUES)
    fast = nncompile.compile(model)
    inner = model.tree_.children_left != -1
    for column, threshold in zip(model.tree_.feature[inner], model.tree_.threshold[inner],
                                 strict=True):
        near = np.float32(threshold)
        values = [near, np.nextafter(near, np.float32(9e9)), np.nextafter(near, np.float32(-9e9)),
                  threshold, np.nextafter(threshold, 9e9), np.nextafter(threshold, -9e9)]
        rows = np.repeat(X[:1], len(values), 0)
        rows[:, column] = values
        np.testing.assert_array_equal(fast.predict(rows), model.predict(rows))


def test_histogram_splits_compare_float64() -> None:
    model = fitted(HistGradientBoostingRegressor(max_iter=3), X, VALUES)
    fast = nncompile.compile(model)
    for stage in model._predictors:
        for node in stage[0].nodes[stage[0].nodes["is_leaf"] == 0]:
            at = node["num_threshold"]
            rows = np.repeat(X[:1], 4, 0)
            rows[:, node["feature_idx"]] = [at, np.nextafter(at, 9e9), np.inf, -np.inf]
            np.testing.assert_allclose(fast.predict(rows), model.predict(rows), 1e-13)


@pytest.mark.parametrize("estimator", [
    LogisticRegression(), RandomForestClassifier(3), GradientBoostingClassifier(n_estimators=2),
    make_pipeline(StandardScaler(), LogisticRegression()), MLPClassifier(3, max_iter=2),
    make_pipeline(PCA(2), DecisionTreeClassifier()), StandardScaler(), Normalizer(), PCA(),
    SimpleImputer(), HistGradientBoostingClassifier(max_iter=2), PolynomialFeatures()], ids=str)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e300])
def test_it_refuses_the_numbers_that_scikit_learn_refuses(estimator: Any, number: float) -> None:
    model = fitted(estimator, X, TWO)
    fast = nncompile.compile(model)
    rows = X[:4].copy()
    rows[2, 3] = number
    for name in fast.compiled:
        try:
            with np.errstate(all="ignore"):
                expected = getattr(model, name)(rows)
        except ValueError:
            with pytest.raises(ValueError, match=r"Input X contains|so large"):
                getattr(fast, name)(rows)
            continue
        if np.asarray(expected).dtype.kind == "f" and np.isinf(expected).any():
            continue
        compare(getattr(fast, name)(rows), expected)


def test_absent_methods_are_absent() -> None:
    fast = nncompile.compile(fitted(LinearSVC()))
    with pytest.raises(AttributeError):
        fast.predict_proba(X)
    assert not hasattr(nncompile.compile(fitted(StandardScaler())), "classes_")


def test_methods_can_be_chosen() -> None:
    fast = nncompile.compile(fitted(LogisticRegression()), methods=["predict"])
    assert [*fast.compiled] == ["predict"]
    assert not hasattr(fast, "predict_proba")
    with pytest.raises(InputError, match="no method 'transform'"):
        nncompile.compile(fitted(LogisticRegression()), methods=["transform"])


def test_each_method_is_a_compiled_model() -> None:
    fast = nncompile.compile(fitted(make_pipeline(StandardScaler(), LogisticRegression())))
    model = fast.compiled["predict_proba"]
    assert isinstance(model, nncompile.CompiledModel)
    assert "logisticregression.coef_" in str(model.ir("traced"))
    assert "linear" in model.explain()
    assert "def " in model.source


def test_graphs_are_had_without_compiling() -> None:
    graph = nncompile.from_sklearn(fitted(LogisticRegression()))
    assert graph.name == "LogisticRegression_predict_proba"
    assert str(graph.inputs[0].type) == f"f64[B, {COLUMNS}]"
    narrow = nncompile.from_sklearn(fitted(StandardScaler()), "transform", "float32")
    assert str(narrow.outputs[0].type) == f"f32[B, {COLUMNS}]"


def test_pickles() -> None:
    fast = nncompile.compile(fitted(LogisticRegression()))
    again = pickle.loads(pickle.dumps(fast))
    np.testing.assert_array_equal(again.predict(X), fast.predict(X))
    np.testing.assert_array_equal(again.classes_, fast.classes_)


@pytest.mark.parametrize("estimator", [
    make_pipeline(StandardScaler(), LogisticRegression()), RandomForestClassifier(3),
    HistGradientBoostingClassifier(max_iter=2), SimpleImputer()], ids=str)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_check_compares_with_scikit_learn(estimator: Any) -> None:
    assert nncompile.compile(fitted(estimator), check=True).compiled


def test_check_finds_a_difference() -> None:
    model = fitted(LinearRegression(), X, VALUES)
    fast = nncompile.compile(model)
    model.intercept_ += 1e-6
    from nncompile.importers.sklearn import import_estimator
    with pytest.raises(nncompile.CompileError, match=r"predict differs from scikit-learn's"):
        import_estimator(model).check(fast)


class Frame:
    """What a data frame is to us: columns, and numbers by to_numpy or __array__."""

    def __init__(self, columns: list[str], numbers: NDArray) -> None:
        self.columns, self.numbers, self.shape = columns, numbers, numbers.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray:
        return self.numbers


def test_frames_are_taken_if_their_columns_are_those_of_the_training() -> None:
    model = fitted(LogisticRegression())
    names = ["a", "b", "c", "d", "e"]
    model.feature_names_in_ = np.array(names, object)
    fast = nncompile.compile(model)
    assert fast.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(fast.predict(Frame(names, X)), fast.predict(X))
    with pytest.raises(InputError, match="another order"):
        fast.predict(Frame(["b", "a", "c", "d", "e"], X))
    with pytest.raises(InputError, match="missing 'e'; unexpected 'z'"):
        fast.predict(Frame(["a", "b", "c", "d", "z"], X))


class Nullable(Frame):
    """A frame of pandas in which numbers are missing: objects, unless it is told what they are."""

    convert_dtypes = None

    def to_numpy(self, dtype: Any = object, na_value: Any = None) -> NDArray:
        missing = np.isnan(self.numbers)
        return np.where(missing, na_value, self.numbers.astype(object)).astype(dtype)


def test_missing_numbers_of_pandas_are_nan() -> None:
    model, gaps = fitted(DecisionTreeClassifier(max_depth=3)), X.copy()
    gaps[::3, 1] = np.nan
    fast = nncompile.compile(model)
    np.testing.assert_array_equal(fast.predict(Nullable(list("abcde"), gaps)), fast.predict(gaps))


def test_methods_take_x_alone() -> None:
    """What stands behind X was meant as an output, perhaps: nothing is written."""
    fast, out = nncompile.compile(fitted(LogisticRegression())), np.full(len(X), 7.0)
    for call in (lambda: fast.predict(X, out), lambda: fast.predict(X, out=out)):
        with pytest.raises(InputError, match="predict takes 1 input, got 2: it takes X alone"):
            call()
    with pytest.raises(InputError, match="takes methods, dtype and the options of compile: got an"):
        nncompile.compile(fitted(LogisticRegression()), input=X)
    run = fast.compiled["predict"]
    with pytest.raises(InputError, match="takes 1 input, got 3; outputs are given as out="):
        run(X, out, out)
    assert (out == 7).all()
    np.testing.assert_array_equal(fast.predict(X=X), fast.predict(X))


def test_masks_and_tensors() -> None:
    fast = nncompile.compile(fitted(LogisticRegression()))
    with pytest.raises(InputError, match="mask would be dropped"):
        fast.predict(np.ma.array(X, mask=X > 0))
    torch = pytest.importorskip("torch")
    given = torch.from_numpy(X.copy()).requires_grad_()
    np.testing.assert_array_equal(fast.predict(given), fast.predict(X))
    with pytest.raises(InputError, match="sparse"):
        fast.predict(torch.from_numpy(X).to_sparse())


@pytest.mark.parametrize("given", [X[0], X[:, :3], [["a"] * COLUMNS], X[None], "text"])
def test_what_is_no_table_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"X|shape"):
        nncompile.compile(fitted(LogisticRegression())).predict(given)


# -- what is refused -------------------------------------------------------------------------------

class Own(LogisticRegression):
    """A class of a user's, which may compute anything."""


def renamed(**attributes: Any) -> Any:
    model = fitted(LogisticRegression())
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(("estimator", "message"), [
    (LogisticRegression(), "it is not fitted"),
    (fitted(Own()), "derived from LogisticRegression"),
    (fitted(make_pipeline(FunctionTransformer(np.cbrt), Ridge()), X, VALUES), "function of Python"),
    (fitted(make_pipeline(StandardScaler().set_output(transform="pandas"))), "pandas frames"),
    (fitted(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")), "sparse matrix"),
    (fitted(DecisionTreeClassifier(), X, np.stack([TWO, TWO], 1)), "several outputs"),
    (renamed(predict=lambda X: X), "its method predict was replaced"),
    (fitted(SimpleImputer(missing_values=0)), "missing_values=0"),
], ids=lambda given: f"{given!r}"[:30])
def test_what_is_not_supported_is_refused(estimator: Any, message: str) -> None:
    with pytest.raises(ModelImportError, match=message):
        nncompile.compile(estimator)


def test_an_error_lists_every_obstacle() -> None:
    pipeline = make_pipeline(FeatureUnion([
        ("a", FunctionTransformer(np.cbrt)), ("b", FunctionTransformer(np.cbrt)),
        ("c", SimpleImputer(missing_values=0))]), Own())
    with pytest.raises(ModelImportError, match="3 obstacles") as caught:
        nncompile.compile(fitted(pipeline), methods=["predict"])
    assert "featureunion.a" in str(caught.value)
    assert "featureunion.c" in str(caught.value)


def test_inputs_and_other_dtypes_are_refused() -> None:
    model = fitted(LogisticRegression())
    with pytest.raises(InputError, match="leave 1 inputs out"):
        nncompile.compile(model, X)
    with pytest.raises(InputError, match="float64 or float32"):
        nncompile.compile(model, dtype="float16")


@pytest.mark.parametrize("made", ["LogisticRegression().fit(X, y)",
                                  "RandomForestClassifier(3).fit(X, y)",
                                  "LinearSVC().fit(X, y)", "Perceptron().fit(X, y)",
                                  "KMeans(3).fit(X)"])
def test_bench_times_scikit_learn_beside_it(made: str, tmp_path: Any, capsys: Any) -> None:
    from nncompile.cli import main
    file = tmp_path / "model.py"
    file.write_text("import numpy as np\nfrom sklearn.linear_model import *\n"
                    "from sklearn.cluster import KMeans\nfrom sklearn.svm import LinearSVC\n"
                    "from sklearn.ensemble import RandomForestClassifier\n"
                    "X = np.random.default_rng(0).standard_normal((60, 4))\n"
                    f"y = np.array(['no', 'yes'])[(X[:, 0] > 0).astype(int)]\nnet = {made}\n")
    figures = tmp_path / "figures.json"
    assert main(["bench", f"{file}:net", "--batch", "1,7", "--rounds", "1", "--vs",
                 "sklearn,onnxruntime", "--json", str(figures)]) == 0
    assert "sklearn" in capsys.readouterr().out
    rows = json.loads(figures.read_text())["rows"]
    assert [row["batch"] for row in rows] == [1, 7]
    for row in rows:
        assert all(row["results"][name]["seconds"] for name in ("nncompile", "sklearn"))


def test_show_and_run_take_an_estimator(tmp_path: Any, capsys: Any) -> None:
    from nncompile.cli import main
    file = tmp_path / "model.py"
    file.write_text("import numpy as np\nfrom sklearn.linear_model import LinearRegression\n"
                    "net = LinearRegression().fit(np.eye(3), [1, 2, 4])\n")
    assert main(["show", f"{file}:net"]) == 0
    assert "linear(%X, @coef_, @intercept_)" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", np.eye(3))
    paths = ["--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    assert main(["run", *paths, f"{file}:net"]) == 0
    assert "float64 [3], predict" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), [1, 2, 4], rtol=1e-12)
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    for more, message in ((["--method", "transform"], "has predict"),
                          (["--weights", str(tmp_path / "w.npz")], "are of a model"),
                          (["--output", str(tmp_path / "z.npy")], "has one --output")):
        assert main(["run", *paths, *more, f"{file}:net"]) == 1
        assert message in capsys.readouterr().err
    file.write_text("import numpy as np\nfrom sklearn.linear_model import LogisticRegression\n"
                    "net = LogisticRegression().fit(np.eye(3), np.array(['a', 'b', 'c'], object))\n"
                    "from nncompile.nn import Linear\nplain = Linear(3, 2)\n")
    assert main(["run", *paths, f"{file}:net"]) == 0
    assert np.load(tmp_path / "y.npy").tolist() == ["a", "b", "c"]
    assert main(["run", *paths, "--method", "predict_proba", f"{file}:net"]) == 0
    assert np.load(tmp_path / "y.npy").shape == (3, 3)
    assert main(["run", *paths, "--method", "predict", f"{file}:plain"]) == 1
    assert "is none" in capsys.readouterr().err
