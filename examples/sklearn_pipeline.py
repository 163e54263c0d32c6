"""A pipeline of scikit-learn: fitted there, compiled here, compared in results and in time.

    python examples/sklearn_pipeline.py
    nncompile show examples/sklearn_pipeline.py:pipeline        pass by pass
"""
from __future__ import annotations

from timeit import repeat

import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import nncompile

chemistry, cultivar = load_wine(return_X_y=True)
names = np.array(["Barolo", "Grignolino", "Barbera"])[cultivar]
train_x, test_x, train_y, test_y = train_test_split(chemistry, names, random_state=0)


def pipeline() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(train_x, train_y)


def main() -> None:
    fitted = pipeline()
    fast = nncompile.compile(fitted)
    print(fast)
    print(fast.compiled["predict_proba"].ir())

    same = (fast.predict(test_x) == fitted.predict(test_x)).mean()
    furthest = np.abs(fast.predict_proba(test_x) - fitted.predict_proba(test_x)).max()
    print(f"the same label: {same:.1%}, probabilities at most {furthest:.1e} apart")
    print(f"recognised: {(fast.predict(test_x) == test_y).mean():.1%}")

    print(f"{'rows':>5} {'scikit-learn':>13} {'nncompile':>10}   us for predict_proba")
    for rows in (1, len(test_x)):
        x = test_x[:rows]
        times = [min(repeat(lambda call=call, x=x: call(x), number=20, repeat=20)) / 20 * 1e6
                 for call in (fitted.predict_proba, fast.predict_proba)]
        print(f"{rows:>5} {times[0]:>13.1f} {times[1]:>10.1f}")


if __name__ == "__main__":
    main()
