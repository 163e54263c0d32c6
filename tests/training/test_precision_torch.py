"""How near a training in float32 stays to the one in float64, and what extreme losses do to it.

The float64 run is torch's. Ours in float32 has to be as near to it as torch's in float32 is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn, optim

_STEPS, _SEEDS = 100, 8
Arrays = list[np.ndarray[Any, Any]]
Run = Callable[[Any, Any, Any, float], Arrays]


def network(lib: Any) -> Any:
    return lib.Sequential(lib.Linear(7, 24), lib.Tanh(), lib.LayerNorm(24), lib.Linear(24, 16),
                          lib.GELU(), lib.Linear(16, 4))


def weights(model: Any) -> Arrays:
    return [p.detach().numpy().copy() for p in model.parameters()]


def batches(seed: int) -> list[tuple[Any, Any]]:
    draws = np.random.default_rng(seed)
    return [(draws.standard_normal((16, 7)).astype("f4"), draws.integers(0, 4, 16))
            for _ in range(_STEPS)]


def scaled(lib: Any, scale: float) -> Callable[[Any, Any], Any]:
    return lambda out, y: lib.nn.functional.cross_entropy(out, y) * scale


def of_torch(model: Any, optimizer: Any, data: Any, scale: float) -> Arrays:
    dtype = next(model.parameters()).dtype
    for x, y in data:
        optimizer.zero_grad()
        scaled(torch, scale)(model(torch.tensor(x, dtype=dtype)), torch.tensor(y)).backward()
        optimizer.step()
    return weights(model)


def eager(model: Any, optimizer: Any, data: Any, scale: float) -> Arrays:
    for x, y in data:
        optimizer.zero_grad()
        out = model(nncompile.from_numpy(x))
        scaled(nncompile, scale)(out, nncompile.from_numpy(y)).backward()
        optimizer.step()
    return weights(model)


def compiled(model: Any, optimizer: Any, data: Any, scale: float) -> Arrays:
    step = nncompile.compile(model, *data[0], loss=scaled(nncompile, scale), optimizer=optimizer)
    for x, y in data:
        step(x, y)
    return weights(model)


def errors(run: Run, kind: str, options: dict[str, Any], scale: float) -> tuple[Any, Any]:
    """The relative distance of the weights from the float64 run, ours and torch's, by seed."""
    ours, theirs = [], []
    for seed in range(_SEEDS):
        torch.manual_seed(seed)
        begin, data = network(torch.nn), batches(seed)
        exact = copy.deepcopy(begin).double()
        other, mine = copy.deepcopy(begin), network(nn)
        mine.load_state_dict(begin.state_dict())
        truth = of_torch(exact, getattr(torch.optim, kind)(exact.parameters(), **options), data,
                         scale)
        their = of_torch(other, getattr(torch.optim, kind)(other.parameters(), **options), data,
                         scale)
        own = run(mine, getattr(optim, kind)(mine.parameters(), **options), data, scale)
        for found, into in (own, ours), (their, theirs):
            assert all(np.isfinite(a).all() for a in found)
            off = sum(((a - b) ** 2).sum() for a, b in zip(found, truth, strict=True))
            into.append(np.sqrt(off / sum((b**2).sum() for b in truth)))
    return np.array(ours), np.array(theirs)


@pytest.mark.parametrize("run", [eager, compiled], ids=lambda run: run.__name__)
@pytest.mark.parametrize(("kind", "options"), [
    ("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 1e-2}),
    ("AdamW", {"lr": 1e-2, "weight_decay": 0.1})])
def test_after_100_steps_weights_are_as_near_to_float64_as_torchs(
        run: Run, kind: str, options: dict[str, Any]) -> None:
    ours, theirs = errors(run, kind, options, 1.0)
    assert theirs.max() < 1e-2                   # the runs have not come apart
    # Geometric means: a training multiplies what its first steps rounded.
    assert np.exp(np.log(ours).mean()) < 1.5 * np.exp(np.log(theirs).mean())


@pytest.mark.parametrize("run", [eager, compiled], ids=lambda run: run.__name__)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_small_and_large_losses(run: Run, scale: float, kind: str) -> None:
    options = {"lr": 0.1 / scale} if kind == "SGD" else {"lr": 1e-2, "eps": 1e-8 * scale}
    ours, theirs = errors(run, kind, options, scale)
    assert np.exp(np.log(ours).mean()) < 1.5 * np.exp(np.log(theirs).mean())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("run", [eager, compiled], ids=lambda run: run.__name__)
def test_a_batch_with_nan_or_infinity_makes_the_weights_that_torch_makes(
        run: Run, bad: float) -> None:
    begin = network(torch.nn)
    model = network(nn)
    model.load_state_dict(begin.state_dict())
    data = batches(0)[:3]
    data[1][0][3, 2] = bad
    found = run(model, optim.Adam(model.parameters(), lr=1e-2), data, 1.0)
    expected = of_torch(begin, torch.optim.Adam(begin.parameters(), lr=1e-2), data, 1.0)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
