"""Losses beside torch's: values, gradients, extremes, and the same code compiled."""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
import nncompile.nn.functional as F
from nncompile import nn

Draw = np.random.Generator
Case = tuple[str, dict[str, Any], Callable[[Draw, int], list[Any]]]


def normal(*shape: int) -> Callable[[Draw, int], Any]:
    return lambda d, n: d.standard_normal((n, *shape))


def chance(*shape: int) -> Callable[[Draw, int], Any]:
    return lambda d, n: d.uniform(0.01, 0.99, (n, *shape))


def signs(*shape: int) -> Callable[[Draw, int], Any]:
    return lambda d, n: d.choice([-1.0, 1.0], (n, *shape))


def classes(count: int, *shape: int, ignored: int | None = None) -> Callable[[Draw, int], Any]:
    def draw(d: Draw, n: int) -> Any:
        ids = d.integers(0, count, (n, *shape))
        return ids if ignored is None else np.where(d.random(ids.shape) < 0.3, ignored, ids)
    return draw


def of(*parts: Callable[[Draw, int], Any]) -> Callable[[Draw, int], list[Any]]:
    return lambda d, n: [part(d, n) for part in parts]


def simplex(*shape: int) -> Callable[[Draw, int], Any]:
    def draw(d: Draw, n: int) -> Any:
        x = d.uniform(0.1, 1, (n, *shape))
        return x / x.sum(1, keepdims=True)
    return draw


def labels(count: int) -> Callable[[Draw, int], Any]:
    """Classes up to a -1, and after it whatever."""
    def draw(d: Draw, n: int) -> Any:
        rows = np.array([d.permutation(count) for _ in range(n)]).reshape(n, count)
        for row in rows:
            row[d.integers(0, count)] = -1
        return rows
    return draw


W4 = np.array([0.5, 1.0, 2.0, 0.25])
PAIR, LOGITS = of(normal(4), normal(4)), of(normal(4), classes(4))
CASES: list[Case] = [
    ("l1_loss", {}, PAIR), ("mse_loss", {}, PAIR), ("smooth_l1_loss", {}, PAIR),
    ("smooth_l1_loss", {"beta": 0.3}, PAIR), ("smooth_l1_loss", {"beta": 0.0}, PAIR),
    ("huber_loss", {}, PAIR), ("huber_loss", {"delta": 0.4}, PAIR),
    ("soft_margin_loss", {}, of(normal(4), signs(4))),
    ("hinge_embedding_loss", {}, of(normal(4), signs(4))),
    ("hinge_embedding_loss", {"margin": 0.3}, of(normal(), signs())),
    ("margin_ranking_loss", {"margin": 0.2}, of(normal(), normal(), signs())),
    ("kl_div", {}, of(normal(4), simplex(4))), ("kl_div", {"log_target": True}, PAIR),
    ("poisson_nll_loss", {}, of(normal(4), lambda d, n: d.poisson(2.0, (n, 4)) * 1.0)),
    ("poisson_nll_loss", {"log_input": False, "full": True},
     of(chance(4), lambda d, n: d.poisson(2.0, (n, 4)) * 1.0)),
    ("gaussian_nll_loss", {}, of(normal(4), normal(4), chance(4))),
    ("gaussian_nll_loss", {"full": True, "eps": 0.001}, of(normal(4), normal(4), chance(1))),
    ("gaussian_nll_loss", {}, of(normal(4), normal(4), chance())),
    ("binary_cross_entropy", {}, of(chance(4), chance(4))),
    ("binary_cross_entropy", {"weight": W4}, of(chance(4), chance(4))),
    ("binary_cross_entropy_with_logits", {}, of(normal(4), chance(4))),
    ("binary_cross_entropy_with_logits", {"weight": W4, "pos_weight": W4[::-1].copy()},
     of(normal(4), chance(4))),
    ("multilabel_soft_margin_loss", {}, of(normal(4), lambda d, n: d.integers(0, 2, (n, 4)) * 1.0)),
    ("multilabel_soft_margin_loss", {"weight": W4}, of(normal(4), chance(4))),
    ("nll_loss", {}, LOGITS), ("nll_loss", {"weight": W4}, of(normal(4), classes(4, ignored=-100))),
    ("nll_loss", {"ignore_index": 2}, of(normal(4, 3, 2), classes(4, 3, 2))),
    ("cross_entropy", {}, LOGITS), ("cross_entropy", {"weight": W4}, LOGITS),
    ("cross_entropy", {"ignore_index": 1}, LOGITS),
    ("cross_entropy", {"weight": W4}, of(normal(4), classes(4, ignored=-100))),
    ("cross_entropy", {"label_smoothing": 0.1}, of(normal(4), classes(4, ignored=-100))),
    ("cross_entropy", {"label_smoothing": 0.3, "weight": W4, "ignore_index": 0},
     of(normal(4, 5), classes(4, 5))),
    ("cross_entropy", {}, of(normal(4, 2, 3), classes(4, 2, 3))),
    ("cross_entropy", {}, of(normal(4), simplex(4))),
    ("cross_entropy", {"weight": W4, "label_smoothing": 0.2}, of(normal(4, 3), simplex(4, 3))),
    ("multi_margin_loss", {}, LOGITS), ("multi_margin_loss", {"p": 2, "margin": 0.5}, LOGITS),
    ("multi_margin_loss", {"weight": W4}, LOGITS),
    ("multilabel_margin_loss", {}, of(normal(4), labels(4))),
    ("cosine_embedding_loss", {}, of(normal(4), normal(4), signs())),
    ("cosine_embedding_loss", {"margin": 0.3}, of(normal(4), normal(4), signs())),
    ("triplet_margin_loss", {}, of(normal(4), normal(4), normal(4))),
    ("triplet_margin_loss", {"p": 1, "swap": True, "margin": 0.5},
     of(normal(4), normal(4), normal(4))),
    ("triplet_margin_with_distance_loss", {"swap": True}, of(normal(4), normal(4), normal(4))),
    ("l1_loss", {"weight": "like"}, PAIR), ("mse_loss", {"weight": "like"}, PAIR),
    ("huber_loss", {"weight": "like"}, PAIR),
]
by_case = pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(
    [c[0], *(f"{k}={v}" if np.isscalar(v) else k for k, v in c[1].items())]))
quiet = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides", "ignore:Using a target size")


def given(case: Case, dtype: Any, count: int, seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """A case's operands and options, as ndarrays with this many examples."""
    _, options, operands = case
    draws = np.random.default_rng(seed)
    arrays = [np.asarray(a, dtype if a.dtype.kind == "f" else a.dtype)
              for a in operands(draws, count)]
    made = {k: draws.uniform(0.5, 2, arrays[0].shape) if isinstance(v, str) else v
            for k, v in options.items()}
    return arrays, {k: v.astype(dtype) if isinstance(v, np.ndarray) else v
                    for k, v in made.items()}


def mapped(function: Callable[[Any], Any], options: dict[str, Any]) -> dict[str, Any]:
    return {k: function(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


def peer(name: str, arrays: list[Any], options: dict[str, Any], **more: Any) -> Any:
    return getattr(torch.nn.functional, name)(
        *map(torch.as_tensor, arrays), **mapped(torch.as_tensor, options), **more)


@quiet
@by_case
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("count", [1, 5])
def test_the_value_is_torchs(case: Case, reduction: str, count: int) -> None:
    for dtype, tolerance in (np.float64, 1e-12), (np.float32, 2e-6):
        arrays, options = given(case, dtype, count)
        ours = getattr(F, case[0])(*arrays, **options, reduction=reduction)
        theirs = peer(case[0], arrays, options, reduction=reduction).numpy()
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


# torch has no gradient of these targets, or NaN for a target of 0.
OF_THE_FIRST = ("soft_margin_loss", "poisson_nll_loss")


@quiet
@by_case
def test_the_gradient_is_torchs(case: Case) -> None:
    arrays, options = given(case, np.float64, 6)
    wanted = [a.dtype.kind == "f" and (not i or case[0] not in OF_THE_FIRST)
              for i, a in enumerate(arrays)]
    ours = [nncompile.tensor(a, requires_grad=w) for a, w in zip(arrays, wanted, strict=True)]
    theirs = [torch.tensor(a, requires_grad=w) for a, w in zip(arrays, wanted, strict=True)]
    for reduction in ("mean", "sum"):
        getattr(F, case[0])(*ours, **mapped(nncompile.from_numpy, options),
                            reduction=reduction).backward()
        getattr(torch.nn.functional, case[0])(
            *theirs, **mapped(torch.as_tensor, options), reduction=reduction).backward()
    for a, b in zip(ours, theirs, strict=True):
        if b.requires_grad and b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-10, 1e-12)


@quiet
@by_case
def test_no_examples(case: Case) -> None:
    """The mean of nothing is NaN, as in torch; the compiler's own batch of 0 is one of these."""
    if case[0] in ("multi_margin_loss", "multilabel_margin_loss"):
        pytest.skip("torch returns memory that it has not written")
    arrays, options = given(case, np.float32, 0)
    for reduction in ("none", "mean", "sum"):
        theirs = peer(case[0], arrays, options, reduction=reduction).numpy()
        ours = getattr(F, case[0])(*arrays, **options, reduction=reduction)
        np.testing.assert_array_equal(ours, theirs)


class Loss(nn.Module):
    """A model whose forward returns the loss."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.name, self.options = name, options

    def forward(self, *operands: Any) -> Any:
        return getattr(F, self.name)(*operands, **self.options)


def types(arrays: list[Any], case: Case) -> list[str]:
    """The operands' types, open in the examples where no option has their number."""
    short = {"float64": "f64", "float32": "f32", "int64": "i64"}
    rows = "5" if "like" in map(str, case[1].values()) else "B"
    return [f"{short[str(a.dtype)]}[{', '.join([rows, *map(str, a.shape[1:])])}]" for a in arrays]


@quiet
@by_case
def test_it_is_traced_for_every_batch_size(case: Case) -> None:
    from ir import interpret
    arrays, options = given(case, np.float32, 5)
    graph = nncompile.trace(Loss(case[0], options), *types(arrays, case))
    for count in (5, 1, 7) if "[B" in types(arrays, case)[0] else (5,):
        arrays, _ = given(case, np.float32, count)
        (ours,) = interpret(graph, arrays)
        theirs = peer(case[0], arrays, options).numpy()
        np.testing.assert_allclose(ours, theirs, 2e-6, 2e-6)


COMPILED = [c for c in CASES if c[0] in (
    "cross_entropy", "binary_cross_entropy", "mse_loss", "smooth_l1_loss", "kl_div",
    "multilabel_margin_loss", "triplet_margin_loss")]


@quiet
@pytest.mark.parametrize("case", COMPILED[::2], ids=lambda c: "-".join([c[0], *c[1]]))
def test_it_compiles(case: Case) -> None:
    arrays, options = given(case, np.float32, 5)
    fast = nncompile.compile(Loss(case[0], options), *types(arrays, case), check=True)
    for count in (5, 64, 1) if "[B" in types(arrays, case)[0] else (5,):
        arrays, _ = given(case, np.float32, count)
        np.testing.assert_allclose(fast(*arrays), peer(case[0], arrays, options).numpy(), 5e-6,
                                   5e-6)


def test_a_model_with_its_loss_compiles() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.loss = nn.Linear(6, 4), nn.CrossEntropyLoss(weight=nncompile.tensor(
                W4.astype(np.float32)))

        def forward(self, x: Any, y: Any) -> Any:
            return self.loss(self.layer(x), y)

    net = Net()
    fast = nncompile.compile(net, "f32[B, 6]", "i64[B]")
    x = np.random.default_rng(0).standard_normal((9, 6), np.float32)
    y = np.arange(9) % 4
    y[3] = -100
    assert fast(x, y) == pytest.approx(float(net(x, y)), rel=1e-5)
    y[:] = -100
    assert np.isnan(fast(x, y))                  # of nothing
    y[0] = 4
    with pytest.raises(nncompile.Error):
        fast(x, y)
    with pytest.raises(nncompile.Error):
        net(x, y)


EXTREMES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("cross_entropy", [[[1e4, -1e4, 0.0], [-1e4, 1e4, 3e4]], [0, 0]], {}),
    ("cross_entropy", [[[1e4, -1e4]], [[0.5, 0.5]]], {}),
    ("cross_entropy", [[[np.inf, 0.0], [np.nan, 0.0], [-np.inf, 0.0]], [1, 0, 0]], {}),
    ("cross_entropy", [[[1.0, 2.0], [3.0, 4.0]], [-100, -100]], {}),
    ("cross_entropy", [[[1.0, 2.0], [3.0, 4.0]], [-100, -100]], {"label_smoothing": 0.1}),
    ("cross_entropy", [[1.0, 2.0, 3.0], 1], {}), ("cross_entropy", [[1.0, 2.0], [0.3, 0.7]], {}),
    ("nll_loss", [[-1.0, -2.0, -3.0], 2], {}),
    ("binary_cross_entropy", [[0.0, 1.0, 0.0, 1.0, 0.5], [0.0, 1.0, 1.0, 0.0, 1.0]], {}),
    ("binary_cross_entropy", [[0.0, 1.0, 1e-30], [0.3, 0.3, 0.5]], {}),
    ("binary_cross_entropy_with_logits", [[1e4, -1e4, 1e4, 0.0], [0.0, 1.0, 1.0, 0.5]], {}),
    ("kl_div", [[-1.0, -2.0, -3.0], [0.0, 1.0, 0.5]], {}),
    ("kl_div", [[-1.0, -2.0], [-np.inf, 0.0]], {"log_target": True}),
    ("mse_loss", [[1e30, np.inf, np.nan], [-1e30, 0.0, 0.0]], {}),
    ("smooth_l1_loss", [[1e30, -1.0, 1.0, np.nan], [-1e30, 0.0, 0.0, 0.0]], {}),
    ("huber_loss", [[1.0, -1.0, 0.5, np.inf], [0.0, 0.0, 0.5, 0.0]], {}),
    ("l1_loss", [[1.0, -np.inf, 2.0], [1.0, 0.0, np.nan]], {}),
    ("hinge_embedding_loss", [[1.0, 0.0, np.nan], [-1.0, 1.0, 1.0]], {}),
    ("margin_ranking_loss", [[1.0, 2.0], [1.0, 1.0], [1.0, -1.0]], {}),
    ("gaussian_nll_loss", [[1.0, 2.0], [1.0, 3.0], [1.0, 0.5]], {}),
    ("gaussian_nll_loss", [[1.0, 2.0], [1.0, 3.0], 0.7], {}),
    ("multi_margin_loss", [[0.1, 0.2, 0.4], 2], {}),
    ("multilabel_margin_loss", [[0.1, 0.2, 0.4, 0.8], [3, 0, -1, 1]], {}),
    ("multilabel_margin_loss", [[[0.1, 0.2], [0.3, 0.1]], [[-1, 0], [0, 1]]], {}),
    ("cosine_embedding_loss", [[0.0, 0.0], [1.0, 2.0], 1], {}),
    ("triplet_margin_loss", [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], {}),
]


def single(values: Any) -> Any:
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


@quiet
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", EXTREMES, ids=lambda c: c[0])
def test_extremes_are_torchs(case: tuple[str, list[Any], dict[str, Any]], reduction: str) -> None:
    name, values, options = case
    arrays = [v if isinstance(v, float) and name == "gaussian_nll_loss" else single(v)
              for v in values]
    ours = getattr(F, name)(*arrays, **options, reduction=reduction)
    theirs = getattr(torch.nn.functional, name)(
        *(a if isinstance(a, float) else torch.as_tensor(a) for a in arrays), **options,
        reduction=reduction)
    assert np.shape(ours) == theirs.numpy().shape
    np.testing.assert_allclose(ours, theirs.numpy(), 2e-6)


@quiet
@pytest.mark.parametrize("case", [c for c in EXTREMES if isinstance(c[1][0], list)],
                         ids=lambda c: c[0])
def test_gradients_at_extremes_are_torchs(case: tuple[str, list[Any], dict[str, Any]]) -> None:
    """At kinks and bounds, too. A NaN of the data stays where it is."""
    name, values, options = case
    first, *others = map(single, values)
    if name == "binary_cross_entropy":           # within 1e-12 of 0, torch bounds the slope
        first = np.where(first == np.float32(1e-30), np.float32(0.25), first)
    x, y = nncompile.tensor(first, requires_grad=True), torch.tensor(first, requires_grad=True)
    getattr(F, name)(x, *map(nncompile.tensor, others), **options, reduction="sum").backward()
    getattr(torch.nn.functional, name)(
        y, *map(torch.as_tensor, others), **options, reduction="sum").backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), 1e-5, 1e-7)


def test_large_margins_have_their_limit() -> None:
    """torch's soft margin loss overflows there."""
    x = np.array([1e4, -1e4], np.float32)
    assert F.soft_margin_loss(x, -np.ones(2, np.float32), reduction="none").tolist() == [1e4, 0]


X, Y = np.ones((3, 4), np.float32), np.array([0, 1, 2])
MISTAKES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("cross_entropy", [X, np.array([0, 1, 4])], {}),
    ("cross_entropy", [X, np.array([0, -1, 2])], {}),
    ("cross_entropy", [X, np.array([0, 1])], {}), ("cross_entropy", [X, Y], {"label_smoothing": 2}),
    ("cross_entropy", [X, Y], {"weight": np.ones(3, np.float32)}),
    ("cross_entropy", [X, Y], {"reduction": "average"}), ("cross_entropy", [X, Y * 1.0], {}),
    ("cross_entropy", [X, X[:, :3]], {}), ("cross_entropy", [X, X], {"ignore_index": 1}),
    ("nll_loss", [X, np.array([0, 1, 9])], {}), ("nll_loss", [X[0, 0], Y[0]], {}),
    ("binary_cross_entropy", [X, X[0]], {}), ("binary_cross_entropy", [X + 1, X], {}),
    ("binary_cross_entropy", [X * np.nan, X], {}),
    ("binary_cross_entropy_with_logits", [X, X[0]], {}), ("mse_loss", [X, X], {"reduction": "x"}),
    ("mse_loss", [X, X], {"weight": X[0]}), ("huber_loss", [X, X], {"delta": 0.0}),
    ("smooth_l1_loss", [X, X], {"beta": -1.0}), ("gaussian_nll_loss", [X, X, -X], {}),
    ("gaussian_nll_loss", [X, X, X[:, :2]], {}), ("margin_ranking_loss", [X, X, X[0]], {}),
    ("multi_margin_loss", [X, Y], {"p": 3}), ("multi_margin_loss", [X, np.array([0, 1, 4])], {}),
    ("multilabel_margin_loss", [X, Y], {}), ("triplet_margin_loss", [X, X, X], {"margin": 0.0}),
    ("triplet_margin_loss", [X, X, X[0]], {}), ("cosine_embedding_loss", [X, X, X], {}),
    ("linear_cross_entropy", [X, np.ones((5, 3), np.float32), Y], {}),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m[0])
def test_a_mistake_is_one_for_torch_too(mistake: tuple[str, list[Any], dict[str, Any]]) -> None:
    name, arrays, options = mistake
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        peer(name, arrays, options)
    with pytest.raises(nncompile.Error):
        getattr(F, name)(*arrays, **options)


def test_the_older_arguments() -> None:
    for size_average in (None, True, False):
        for reduce in (None, True, False):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = torch.nn.MSELoss(size_average, reduce)
            assert nn.MSELoss(size_average, reduce).reduction == theirs.reduction
            ours = F.mse_loss(X, 2 * X, size_average, reduce)
            assert np.shape(ours) == (() if theirs.reduction != "none" else X.shape)


def test_a_broadcast_target_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="target size"):
        F.mse_loss(X, X[0])
    with pytest.warns(UserWarning, match="batchmean"):
        F.kl_div(X, X)
    assert F.kl_div(X, 2 * X, reduction="batchmean") == pytest.approx(
        torch.nn.functional.kl_div(torch.tensor(X), torch.tensor(2 * X),
                                   reduction="batchmean").item())


def test_linear_cross_entropy() -> None:
    draws = np.random.default_rng(0)
    x = draws.standard_normal((5, 3)).astype(np.float32)
    for outputs, target in ((), np.arange(5) % 4), ((2,), np.arange(10).reshape(5, 2) % 4), (
            (), draws.random((5, 4)).astype(np.float32)):
        for options in ({"bias": True}, {"label_smoothing": 0.2, "reduction": "sum"}):
            theirs = torch.nn.LinearCrossEntropyLoss(3, 4, out_features=outputs, **options)
            ours = nn.LinearCrossEntropyLoss(3, 4, out_features=outputs, **options)
            ours.load_state_dict(theirs.state_dict())
            expected = theirs(torch.tensor(x), torch.tensor(target)).item()
            assert float(ours(x, target)) == pytest.approx(expected, rel=1e-5)
            assert repr(ours) == repr(theirs)


LAYERS: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("L1Loss", {}, [X, 2 * X]), ("MSELoss", {"reduction": "sum"}, [X, 2 * X]),
    ("SmoothL1Loss", {"beta": 0.5}, [X, 2 * X]), ("HuberLoss", {"delta": 0.5}, [X, 2 * X]),
    ("SoftMarginLoss", {}, [X, -X]), ("HingeEmbeddingLoss", {"margin": 3.0}, [X, -X]),
    ("MarginRankingLoss", {"margin": 0.5}, [X, 2 * X, X]),
    ("KLDivLoss", {"reduction": "batchmean"}, [X, X]),
    ("PoissonNLLLoss", {"full": True}, [X, 3 * X]),
    ("GaussianNLLLoss", {"full": True}, [X, 2 * X, X]), ("BCELoss", {}, [X / 3, X]),
    ("BCEWithLogitsLoss", {"pos_weight": W4.astype(np.float32)}, [X, X]),
    ("MultiLabelSoftMarginLoss", {}, [X, X]), ("NLLLoss", {"ignore_index": 1}, [X, Y]),
    ("CrossEntropyLoss", {"weight": W4.astype(np.float32), "label_smoothing": 0.1}, [X, Y]),
    ("MultiMarginLoss", {"p": 2}, [X, Y]), ("CosineEmbeddingLoss", {}, [X, 2 * X, Y * 0 + 1]),
    ("MultiLabelMarginLoss", {}, [X, np.tile([2, -1, 0, 0], (3, 1))]),
    ("TripletMarginLoss", {"p": 1.0}, [X, 2 * X, 0 * X]),
    ("TripletMarginWithDistanceLoss", {"margin": 2.0}, [X, 2 * X, 0 * X]),
]


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c[0])
def test_layers_are_torchs(case: tuple[str, dict[str, Any], list[Any]]) -> None:
    name, options, arrays = case
    ours = getattr(nn, name)(**mapped(nncompile.from_numpy, options))
    theirs = getattr(torch.nn, name)(**mapped(torch.as_tensor, options))
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    np.testing.assert_allclose(ours(*arrays), theirs(*map(torch.as_tensor, arrays)), 1e-6)


def test_every_loss_is_compared() -> None:
    here = {name for name, *_ in LAYERS} | {"CTCLoss", "LinearCrossEntropyLoss", "NLLLoss2d"}
    assert set(nn.losses.__all__) == here == set(torch.nn.modules.loss.__all__)
    assert {name for name, *_ in CASES} | {"ctc_loss", "linear_cross_entropy"} == {
        *nn.functional.losses.__all__}
    with pytest.warns(FutureWarning, match="deprecated"):
        loss = nn.NLLLoss2d(ignore_index=1)
    assert loss(X, Y) == nn.NLLLoss(ignore_index=1)(X, Y)


@pytest.mark.parametrize("make", [
    lambda m, w: m.MultiMarginLoss(p=3), lambda m, w: m.MultiMarginLoss(weight=w.reshape(2, 2)),
    lambda m, w: m.TripletMarginLoss(margin=0.0),
    lambda m, w: m.TripletMarginWithDistanceLoss(margin=-1.0)])
def test_options_are_checked_when_it_is_made(make: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"p == 1|1D|greater") as theirs:
        make(torch.nn, torch.ones(4))
    with pytest.raises(ValueError, match=r"p == 1|1D|greater") as ours:
        make(nn, nncompile.ones(4))
    assert str(ours.value)[:40] == str(theirs.value)[:40]


def sequences(steps: int, count: int, size: int, seed: int = 0) -> tuple[Any, ...]:
    draws = np.random.default_rng(seed)
    logits = draws.standard_normal((steps, count, 5))
    targets = draws.integers(1, 5, (count, size))
    targets[0, 1:] = targets[0, 0]               # repeated: a blank has to be in between
    times = draws.integers(size, steps + 1, count)
    times[0] = steps
    sizes = draws.integers(0, size + 1, count)
    sizes[-1] = size
    return logits, targets, times, sizes


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc(reduction: str, zero_infinity: bool) -> None:
    options = {"reduction": reduction, "zero_infinity": zero_infinity}
    for seed, (steps, count, size) in enumerate([(7, 4, 3), (3, 3, 3), (1, 2, 1), (12, 2, 5)]):
        logits, targets, times, sizes = sequences(steps, count, size, seed)
        x, y = nncompile.tensor(logits, requires_grad=True), torch.tensor(logits,
                                                                          requires_grad=True)
        for padded in (True, False):
            given = targets if padded else np.concatenate(
                [row[:n] for row, n in zip(targets, sizes, strict=True)])
            ours = F.ctc_loss(x.log_softmax(2), nncompile.tensor(given), tuple(times.tolist()),
                              nncompile.tensor(sizes), **options)
            theirs = torch.nn.functional.ctc_loss(
                y.log_softmax(2), torch.tensor(given), torch.tensor(times), torch.tensor(sizes),
                **options)
            np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-10)
            if np.isfinite(theirs.detach().numpy()).all():
                x.grad = y.grad = None
                ours.sum().backward()
                theirs.sum().backward()
                np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), 1e-9, 1e-11)


def test_ctc_of_one_sequence_and_as_a_layer() -> None:
    logits, targets, times, sizes = sequences(7, 1, 3)
    logs = torch.tensor(logits).log_softmax(2)
    for reduction in ("none", "mean"):
        args = (targets[0][:sizes[0]], times[0], sizes[0])
        ours = nn.CTCLoss(reduction=reduction, blank=0)(logs.numpy()[:, 0], *map(np.asarray, args))
        theirs = torch.nn.CTCLoss(reduction=reduction)(logs[:, 0], *map(torch.tensor, args))
        np.testing.assert_allclose(ours, theirs.numpy(), 1e-10)
        assert np.shape(ours) == theirs.shape


def test_ctc_is_traced() -> None:
    from ir import interpret
    model = Loss("ctc_loss", {})
    graph = nncompile.trace(model, "f32[7, B, 5]", "i64[B, 3]", "i64[B]", "i64[B]")
    for count in (4, 2):
        logits, *others = sequences(7, count, 3)
        logs = torch.tensor(logits.astype(np.float32)).log_softmax(2)
        (ours,) = interpret(graph, [logs.numpy(), *others])
        theirs = torch.nn.functional.ctc_loss(logs, *map(torch.tensor, others))
        np.testing.assert_allclose(ours, theirs.numpy(), 1e-5)


def test_a_variance_below_its_least_value_has_a_gradient() -> None:
    """It is that of the least value, so that training leaves it; in a compiled step, too."""
    found = []
    for lib in (nncompile, torch):
        var = lib.tensor([0.0, 1e-7, 0.5, 1e-6, float("nan")], requires_grad=True)
        lib.nn.functional.gaussian_nll_loss(lib.ones(5), lib.zeros(5), var).backward()
        found.append(var.grad.numpy())
    np.testing.assert_allclose(*found, 1e-5)

    class Fixed(nncompile.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.var = nncompile.nn.Parameter(nncompile.tensor([0.0, 0.5]))

        def forward(self, x: Any) -> Any:
            return nncompile.nn.functional.gaussian_nll_loss(x, x * 0, self.var.expand(3, 2))

    model = Fixed()
    step = nncompile.compile(model, "f32[3, 2]", optimizer=nncompile.optim.SGD(
        model.parameters(), lr=1e-12), check=True)
    step(np.ones((3, 2), np.float32))
    assert model.var[0].item() > 0.1
