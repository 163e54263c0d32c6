"""Handwritten digits: trained by scikit-learn, compiled by nncompile, compared with both sides.

    python examples/digits.py
    nncompile show examples/digits.py:network        pass by pass
"""
from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

import nncompile
from nncompile import nn
from nncompile.bench import side_by_side

inputs = "f32[B, 64]"                            # 8 x 8 grey values, any number of images

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0)


def trained() -> MLPClassifier:
    with threadpool_limits(1):                   # matrices so small that threads only wait
        return MLPClassifier((256, 128), random_state=0, max_iter=400).fit(train_x, train_y)


def network(classifier: MLPClassifier | None = None) -> nn.Sequential:
    """The classifier's layers and weights. scikit-learn's are [inputs, outputs], torch's and ours
    [outputs, inputs]."""
    classifier = classifier or trained()
    model = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(),
        nn.Linear(256, 128), nn.ReLU(),
        nn.Linear(128, 10), nn.Softmax(dim=-1),
    )
    weights = {}
    for layer, weight, bias in zip((0, 2, 4), classifier.coefs_, classifier.intercepts_,
                                   strict=True):
        weights[f"{layer}.weight"] = weight.T
        weights[f"{layer}.bias"] = bias
    model.load_state_dict(weights)
    return model.eval()


def by_hand(classifier: MLPClassifier, x: np.ndarray) -> np.ndarray:
    """The same in plain NumPy."""
    *hidden, last = zip(classifier.coefs_, classifier.intercepts_, strict=True)
    for weight, bias in hidden:
        x = np.maximum(x @ weight + bias, 0)
    weight, bias = last
    scores = x @ weight + bias
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def main() -> None:
    classifier = trained()
    model = network(classifier)
    fast = nncompile.compile(model, inputs)

    print(f"As traced:\n{fast.ir('traced')}\n\nAfter fusion:\n{fast.ir('fused')}\n")

    digits = fast(test_x).argmax(axis=1)
    expected = classifier.predict(test_x)
    assert np.array_equal(digits, expected), "other predictions than scikit-learn's"
    assert np.allclose(fast(test_x), classifier.predict_proba(test_x), rtol=1e-4, atol=1e-6)
    print(f"Held-out images: {len(test_x)}, recognised: {np.mean(digits == test_y):.1%}; "
          "every prediction is scikit-learn's, row by row.\n")

    print(f"Microseconds a call, {fast.threads} threads (in brackets: times nncompile's)\n")
    print(f"{'images':>8}{'nncompile':>12}{'plain NumPy':>20}{'predict_proba':>20}")
    for x in (images[:1], images[:64], images):
        times = side_by_side({
            "nncompile": lambda x=x: fast(x),
            "numpy": lambda x=x: by_hand(classifier, x),
            "scikit-learn": lambda x=x: classifier.predict_proba(x),
        }, rounds=5, park=0.2)
        ours, *others = (1e6 * np.median(taken) for taken in times.values())
        print(f"{len(x):8d}{ours:12.1f}", *(f"{f'{t:.1f} ({t / ours:.1f})':>19}" for t in others))


if __name__ == "__main__":
    main()
