"""Estimators of scikit-learn, compiled, beside scikit-learn itself: a table for docs/import.md.

    python -m benchmarks.estimators            prints the table
    python -m benchmarks.estimators --write    puts it into docs/import.md

Times are CPU seconds of all threads of this process, so that other processes matter little: the
least of several turns, which alternate between the two. Results are compared before.
"""
from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import nncompile

BATCHES = (1, 100, 1000, 10000)
_PAGE = Path(__file__).parents[1] / "docs" / "import.md"
_BEGIN, _END = "<!-- begin: python -m benchmarks.estimators --write -->", "<!-- end -->"
_TURNS, _SECONDS = 5, 0.01


def estimators() -> Iterator[tuple[Any, str]]:
    """Yields what is timed, and its method."""
    from sklearn import (
        calibration,
        discriminant_analysis,
        ensemble,
        linear_model,
        naive_bayes,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )

    scaled = pipeline.make_pipeline(preprocessing.StandardScaler(),
                                    linear_model.LogisticRegression())
    yield scaled, "predict_proba"
    yield linear_model.Ridge(), "predict"
    yield neural_network.MLPClassifier((64, 32), max_iter=20), "predict_proba"
    yield svm.SVC(), "decision_function"
    yield svm.SVR(), "predict"
    yield naive_bayes.GaussianNB(), "predict_proba"
    yield discriminant_analysis.QuadraticDiscriminantAnalysis(), "predict_proba"
    yield tree.DecisionTreeClassifier(), "predict_proba"
    yield ensemble.RandomForestClassifier(100), "predict_proba"
    yield ensemble.RandomForestRegressor(100), "predict"
    yield ensemble.ExtraTreesClassifier(100), "predict_proba"
    yield ensemble.GradientBoostingClassifier(), "predict_proba"
    yield ensemble.GradientBoostingRegressor(n_estimators=20), "predict"
    yield ensemble.HistGradientBoostingClassifier(), "predict_proba"
    yield ensemble.HistGradientBoostingRegressor(), "predict"
    yield ensemble.IsolationForest(), "score_samples"
    yield ensemble.AdaBoostClassifier(), "predict_proba"
    yield ensemble.BaggingClassifier(), "predict_proba"
    yield ensemble.VotingClassifier([("a", scaled), ("b", naive_bayes.GaussianNB()),
                                     ("c", tree.DecisionTreeClassifier(max_depth=6))],
                                    voting="soft"), "predict_proba"
    yield ensemble.StackingClassifier([("a", scaled), ("b", naive_bayes.GaussianNB())],
                                      cv=2), "predict_proba"
    yield calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3), "predict_proba"
    yield calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=3,
                                             method="isotonic"), "predict_proba"
    yield preprocessing.QuantileTransformer(), "transform"
    yield preprocessing.SplineTransformer(), "transform"
    yield preprocessing.PowerTransformer(), "transform"
    yield preprocessing.KBinsDiscretizer(8, encode="onehot-dense", strategy="uniform"), "transform"


def data() -> tuple[Any, Any, Any]:
    """Returns 2,000 rows of 20 columns, a class and a number for each."""
    random = np.random.default_rng(0)
    x = random.standard_normal((2000, 20))
    value = x[:, 0] * 2 + x[:, 1] * x[:, 2] + random.standard_normal(2000) / 2
    return x, (value > 0).astype(int), value


def least(calls: list[Callable[[], Any]]) -> list[float]:
    """Returns the least CPU seconds of a call, of turns in which the calls alternate."""
    counts = []
    for call in calls:
        call()
        begin = time.process_time()
        call()
        counts.append(max(1, int(_SECONDS / max(time.process_time() - begin, 1e-6))))
    best = [float("inf")] * len(calls)
    for _ in range(_TURNS):
        for i, (call, count) in enumerate(zip(calls, counts, strict=True)):
            begin = time.process_time()
            for _ in range(count):
                call()
            best[i] = min(best[i], (time.process_time() - begin) / count)
    return best


def line(estimator: Any, method: str) -> str:
    """Returns the row of an estimator: its times, and how many times as long scikit-learn takes."""
    x, classes, value = data()
    name = type(estimator).__name__
    regressor = estimator.__sklearn_tags__().estimator_type == "regressor"
    model = estimator.fit(x, value if regressor else classes)
    fast = nncompile.compile(model, methods=[method])
    compiled, theirs = fast.compiled[method], getattr(model, method)
    many = np.random.default_rng(1).standard_normal((max(BATCHES), x.shape[1]))
    cells = []
    for batch in BATCHES:
        rows = np.ascontiguousarray(many[:batch])
        np.testing.assert_allclose(compiled(rows)[0], theirs(rows), 1e-7, 1e-9)
        ours, two, sklearn = least([partial(compiled, rows, threads=1),
                                    partial(compiled, rows, threads=2), partial(theirs, rows)])
        cells.append(f"{ours * 1e6:,.1f} ({sklearn / ours:.1f}x, {sklearn / two:.1f}x)")
    if name == "Pipeline":
        name = "StandardScaler, LogisticRegression"
    return f"| {name} | {method} | {' | '.join(cells)} |"


def main() -> None:
    """Prints the table, and writes it into the page if that is wanted."""
    from threadpoolctl import threadpool_limits

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="those whose class has this in its name")
    args = parser.parse_args()
    lines = ["| estimator | method | " + " | ".join(f"{n:,} rows" for n in BATCHES) + " |",
             "|---|---|" + "--:|" * len(BATCHES)]
    print(*lines, sep="\n")
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        for estimator, method in estimators():
            if args.only in type(estimator).__name__:
                lines.append(line(estimator, method))
                print(lines[-1], flush=True)
    if args.write:
        text = _PAGE.read_text()
        before, _, rest = text.partition(_BEGIN)
        _PAGE.write_text(f"{before}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}"
                         + rest.partition(_END)[2])


if __name__ == "__main__":
    main()
