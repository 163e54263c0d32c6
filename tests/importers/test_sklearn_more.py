"""Kernels, ensembles of any estimators, categories and splines, beside scikit-learn."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nncompile
from nncompile.errors import ModelImportError
from nncompile.importers.sklearn.estimators import ESTIMATORS
from nncompile.importers.sklearn.importer import kind_of
from tests.importers.sklearn_cases import (
    HOLES,
    THREE,
    TWO,
    TWO_VALUES,
    VALUES,
    X,
    agree,
    fitted,
    ids,
)
from tests.importers.test_sklearn import CASES as FIRST_CASES

pytest.importorskip("sklearn")

from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.decomposition import TruncatedSVD
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    GammaRegressor,
    Lars,
    LarsCV,
    LassoLars,
    LassoLarsCV,
    LogisticRegression,
    MultiTaskElasticNet,
    MultiTaskLasso,
    OrthogonalMatchingPursuit,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    TheilSenRegressor,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

COUNTS = np.abs(X).round() % 4                   # small whole numbers: categories, or counts
COUNT_HOLES = np.where(np.isnan(HOLES), np.nan, COUNTS)
MANY = np.array(["p", "q", "r", "s", "t"])[np.digitize(VALUES, [-30, -9, -3, 1])]
FOUR = np.array([3, 1, 7, -5])[np.digitize(VALUES, [-12, -5, -2])]
TREE = DecisionTreeClassifier(max_depth=3, random_state=0)
LOGISTIC = LogisticRegression()
SCALED = make_pipeline(StandardScaler(), LogisticRegression())

CLASSIFIERS = [
    SVC(), SVC(kernel="linear"), SVC(kernel="poly", degree=2, coef0=1, gamma=0.02),
    SVC(kernel="sigmoid", gamma=0.01), SVC(decision_function_shape="ovo"), SVC(break_ties=True),
    NuSVC(nu=0.1), make_pipeline(StandardScaler(), SVC(C=5, gamma=0.3)),
    QuadraticDiscriminantAnalysis(), QuadraticDiscriminantAnalysis(reg_param=0.3),
    CalibratedClassifierCV(LinearSVC(), cv=2), CalibratedClassifierCV(GaussianNB(), cv=2),
    CalibratedClassifierCV(TREE, method="isotonic", cv=3),
    CalibratedClassifierCV(LOGISTIC, method="isotonic", ensemble=False, cv=2),
    OneVsRestClassifier(LinearSVC()), OneVsRestClassifier(SCALED),
    OneVsRestClassifier(GaussianNB()), OneVsRestClassifier(Ridge()),
    OneVsOneClassifier(LinearSVC()), OneVsOneClassifier(GaussianNB()), OneVsOneClassifier(SVC()),
    VotingClassifier([("a", SCALED), ("b", TREE), ("c", GaussianNB())]),
    VotingClassifier([("a", SCALED), ("b", TREE), ("c", GaussianNB())], weights=[1, 2.5, 1.2]),
    VotingClassifier([("a", SCALED), ("b", TREE), ("c", "drop")], voting="soft", weights=[1, 3, 9]),
    StackingClassifier([("a", SCALED), ("b", TREE)], cv=2),
    StackingClassifier([("a", LinearSVC()), ("b", TREE), ("c", Ridge())], TREE, cv=2,
                       passthrough=True),
    StackingClassifier([("a", SCALED), ("b", TREE)], cv=2, stack_method="predict"),
    BaggingClassifier(n_estimators=4, random_state=0),
    BaggingClassifier(SCALED, 3, max_features=3, random_state=0),
    BaggingClassifier(LinearSVC(), 3, bootstrap_features=True, random_state=0),
    AdaBoostClassifier(n_estimators=6, random_state=0),
    AdaBoostClassifier(LogisticRegression(C=0.01), n_estimators=3, random_state=0),
    GridSearchCV(SCALED, {"logisticregression__C": [0.1, 1]}, cv=2),
    RandomizedSearchCV(SVC(), {"C": [0.1, 1]}, n_iter=2, cv=2, random_state=0),
    GradientBoostingClassifier(n_estimators=2, init=RandomForestClassifier(3, random_state=0)),
]
REGRESSORS = [
    SVR(), SVR(kernel="linear", C=0.1), SVR(kernel="poly"), NuSVR(kernel="sigmoid"),
    PLSRegression(2), Lars(), LassoLars(0.01), LarsCV(cv=2), LassoLarsCV(cv=2),
    OrthogonalMatchingPursuit(),
    BayesianRidge(), ARDRegression(), TheilSenRegressor(max_subpopulation=50, random_state=0),
    QuantileRegressor(alpha=0.1), TweedieRegressor(power=0),
    VotingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=4))], weights=[1, 3]),
    StackingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=4))], cv=2),
    StackingRegressor([("a", Ridge()), ("b", SVR())], DecisionTreeRegressor(max_depth=3), cv=2,
                      passthrough=True),
    BaggingRegressor(n_estimators=4, random_state=0),
    BaggingRegressor(Ridge(), 3, max_features=2, random_state=0),
    TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
    TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler()),
    TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler(clip=True)),
    TransformedTargetRegressor(Ridge(), transformer=MaxAbsScaler()),
    TransformedTargetRegressor(Ridge(), transformer=RobustScaler()),
    GradientBoostingRegressor(n_estimators=3, init=DecisionTreeRegressor(max_depth=2)),
    GridSearchCV(Ridge(), {"alpha": [0.1, 1]}, cv=2),
]
POSITIVE = [
    PoissonRegressor(), GammaRegressor(), TweedieRegressor(power=1.5),
    TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    TransformedTargetRegressor(SVR(), func=np.log, inverse_func=np.exp),
]
SEVERAL = [PLSRegression(2), PLSCanonical(2), CCA(1), MultiTaskLasso(0.1), MultiTaskElasticNet(0.1),
           MultiOutputRegressor(SVR()), StackingRegressor([("a", Ridge())], cv=2),
           TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
           BaggingRegressor(n_estimators=3, random_state=0)][:6]
TRANSFORMERS = [
    PowerTransformer(), PowerTransformer(standardize=False),
    QuantileTransformer(n_quantiles=30), QuantileTransformer(n_quantiles=160),
    SplineTransformer(), SplineTransformer(4, 2, knots="quantile", extrapolation="linear"),
    SplineTransformer(4, 1, include_bias=False), SplineTransformer(5, 3, extrapolation="continue"),
    SplineTransformer(3, 0, extrapolation="continue"),
    SplineTransformer(6, 3, extrapolation="periodic"),
    FunctionTransformer(np.sin), FunctionTransformer(np.exp, validate=True),
    IsolationForest(n_estimators=7, random_state=0),
    IsolationForest(n_estimators=5, max_features=3, contamination=0.2, random_state=0),
    OneClassSVM(), OneClassSVM(kernel="linear", nu=0.3), FrozenEstimator(StandardScaler().fit(X)),
    make_pipeline(KBinsDiscretizer(3, strategy="uniform"), TruncatedSVD(3)),
]
ENCODERS = [
    OneHotEncoder(sparse_output=False), OneHotEncoder(sparse_output=False, drop="first"),
    OneHotEncoder(sparse_output=False, drop="if_binary"),
    OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
    OneHotEncoder(sparse_output=False, min_frequency=30, handle_unknown="infrequent_if_exist"),
    OneHotEncoder(sparse_output=False, max_categories=2, drop="first"),
    OrdinalEncoder(), OrdinalEncoder(min_frequency=30),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    ColumnTransformer([("a", OneHotEncoder(), [0, 2]), ("b", StandardScaler(), [1, 3, 4])]),
    MultinomialNB(), MultinomialNB(fit_prior=False), ComplementNB(), ComplementNB(norm=True),
    BernoulliNB(), BernoulliNB(binarize=None), BernoulliNB(binarize=1.5),
    make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()),
    make_pipeline(FeatureUnion([("a", OneHotEncoder()), ("b", StandardScaler())]),
                  RandomForestClassifier(3, random_state=0)),
    HistGradientBoostingClassifier(max_iter=4, categorical_features=[0, 3]),
    HistGradientBoostingClassifier(max_iter=3, categorical_features=[0, 1, 2, 3, 4]),
]
HOLEY = [PowerTransformer(), QuantileTransformer(n_quantiles=20),
         IsolationForest(n_estimators=4, random_state=0),
         SplineTransformer(handle_missing="zeros"),
         SplineTransformer(handle_missing="zeros", extrapolation="linear"),
         BaggingClassifier(n_estimators=2, random_state=0)]
HOLEY_ENCODERS = [
    OneHotEncoder(sparse_output=False), OrdinalEncoder(), OrdinalEncoder(encoded_missing_value=-5),
    HistGradientBoostingClassifier(max_iter=4, categorical_features=[1, 2, 4])]
CASES = [
    *((e, X, TWO) for e in CLASSIFIERS), *((e, X, FOUR) for e in CLASSIFIERS),
    (SVC(), X, MANY), (SVC(decision_function_shape="ovo"), X, MANY),
    (OneVsOneClassifier(SCALED), X, MANY),
    (OutputCodeClassifier(LinearSVC(), random_state=0), X, THREE),
    (OutputCodeClassifier(SCALED, code_size=3, random_state=0), X, MANY),
    *((e, X, VALUES) for e in REGRESSORS), *((e, X, np.abs(VALUES) + 0.1) for e in POSITIVE),
    *((e, X, TWO_VALUES) for e in SEVERAL), (PLSSVD(1), X, TWO_VALUES),
    *((e, X, THREE) for e in TRANSFORMERS),
    (PowerTransformer("box-cox"), np.abs(X) + 0.1, VALUES),
    (SplineTransformer(extrapolation="error"), COUNTS, VALUES),
    *((e, COUNTS, TWO) for e in ENCODERS),
    (HistGradientBoostingRegressor(max_iter=3, categorical_features=[0, 1]), COUNTS, VALUES),
    *((e, HOLES, TWO) for e in HOLEY), *((e, COUNT_HOLES, THREE) for e in HOLEY_ENCODERS)]


@pytest.mark.parametrize("case", CASES, ids=ids)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning",
                            "ignore:invalid value:RuntimeWarning",
                            "ignore:Found unknown categories:UserWarning")
def test_it_has_the_methods_of_the_estimator_and_their_results(case: tuple[Any, ...]) -> None:
    agree(*case)


@pytest.mark.parametrize(("estimator", "y"), [
    (GradientBoostingClassifier(n_estimators=3, init=LOGISTIC), TWO),
    (GradientBoostingClassifier(n_estimators=3, init=LOGISTIC), FOUR),
    (GradientBoostingClassifier(loss="exponential", n_estimators=2, init=LOGISTIC), TWO),
    (GradientBoostingRegressor(n_estimators=3, init=Ridge()), VALUES)], ids=str)
def test_boosting_begins_with_linear_models(estimator: Any, y: Any) -> None:
    agree(estimator, X, y, 1e-5)                 # there they compute in float32


@pytest.mark.parametrize("kind", [SVC, NuSVC])
@pytest.mark.parametrize("y", [TWO, FOUR], ids=["two", "four"])
@pytest.mark.filterwarnings("ignore:.*probability.*:FutureWarning")
def test_probabilities_of_support_vector_machines(kind: Any, y: Any) -> None:
    options = {"nu": 0.1} if kind is NuSVC else {}
    agree(kind(probability=True, random_state=0, **options), X, y)


@pytest.mark.parametrize(("estimator", "x", "y", "message"), [
    (OneHotEncoder(), COUNTS, TWO, "sparse matrix"),
    (make_pipeline(OneHotEncoder(), MaxAbsScaler()), COUNTS, TWO, "sparse matrix"),
    (OneHotEncoder(sparse_output=False), np.array([["a"], ["b"]]), [0, 1], "categories of <U1"),
    (OrdinalEncoder(dtype=np.float32), COUNTS, TWO, "dtype="),
    (SVC(kernel=lambda a, b: a @ b.T), X, TWO, "how many columns"),
    (SVC(kernel="precomputed"), X @ X.T, TWO, "kernel='precomputed'"),
    (QuantileTransformer(n_quantiles=9, output_distribution="normal"), X, TWO, "normal"),
    (SplineTransformer(3, 1, extrapolation="linear"), X, TWO, "degree"),
    (VotingClassifier([("a", TREE)], voting="soft", flatten_transform=False), X, TWO, "flatten"),
    (CalibratedClassifierCV(LOGISTIC, method="temperature", cv=2), X, TWO, "temperature"),
    (TransformedTargetRegressor(Ridge(), func=lambda y: y, inverse_func=lambda y: y), X, VALUES,
     "function of Python"),
    (GradientBoostingRegressor(n_estimators=2, init=SVR()), X, VALUES, "init=SVR"),
    (VotingClassifier([("a", make_pipeline(OrdinalEncoder(dtype=np.float32), TREE)), ("b", TREE),
                       ("c", make_pipeline(FunctionTransformer(np.cbrt), LOGISTIC))]), X, TWO,
     "2 obstacles"),
], ids=lambda given: f"{given!r}"[:30])
def test_what_is_not_supported_is_refused(estimator: Any, x: Any, y: Any, message: str) -> None:
    with pytest.raises(ModelImportError, match=message):
        nncompile.compile(fitted(estimator, x, y), methods=None)


def test_every_row_of_the_table_is_among_the_cases() -> None:
    def inside(estimator: Any) -> set[str]:
        found = {kind_of(estimator)}
        for value in estimator.get_params().values():
            found |= {kind_of(value)} if isinstance(value, BaseEstimator) else set()
        return found

    cases = [*CASES, *FIRST_CASES]
    tested = set().union(*(inside(case[0]) for case in cases))
    # The stand-in of codes is inside of a case, if only when that is fitted.
    assert tested | {"multiclass._ConstantPredictor"} >= set(ESTIMATORS)


