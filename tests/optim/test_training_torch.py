"""The loop as people write it, beside torch's, from the same weights."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn, optim


def network(package: Any) -> Any:
    return package.Sequential(package.Linear(6, 16), package.Tanh(), package.LayerNorm(16),
                              package.Linear(16, 8), package.GELU(), package.Linear(8, 4))


def train(package: Any, model: Any, loss: Any, optimizer: Any, schedule: Any, batches: Any
          ) -> list[float]:
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        value = loss(model(package.tensor(x)), package.tensor(y))
        value.backward()
        package.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses


LOSSES: dict[str, tuple[dict[str, Any], str]] = {
    "CrossEntropyLoss": ({"label_smoothing": 0.1}, "classes"), "MSELoss": ({}, "numbers"),
    "BCEWithLogitsLoss": ({}, "truths"), "HuberLoss": ({"delta": 0.3}, "numbers"),
    "MultiMarginLoss": ({}, "classes"),
}
STEPPERS = {"SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True}, "AdamW": {"lr": 0.01},
            "RMSprop": {"lr": 0.003, "centered": True}, "NAdam": {"lr": 0.01},
            "Adafactor": {}, "Rprop": {}}


@pytest.mark.parametrize(("loss", "name"), [
    *(("CrossEntropyLoss", name) for name in STEPPERS),
    *((loss, "AdamW") for loss in LOSSES if loss != "CrossEntropyLoss")])
def test_a_training_is_torchs(loss: str, name: str) -> None:
    draws = np.random.default_rng(0)
    kind = {"classes": lambda: draws.integers(0, 4, 9),
            "numbers": lambda: draws.standard_normal((9, 4)),
            "truths": lambda: draws.integers(0, 2, (9, 4)) * 1.0}[LOSSES[loss][1]]
    batches = [(draws.standard_normal((9, 6)), kind()) for _ in range(25)]
    ours, theirs = network(nn).double(), network(torch.nn).double()
    ours.load_state_dict(theirs.state_dict())
    results = []
    for package, model in (nncompile, ours), (torch, theirs):
        optimizer = getattr(package.optim, name)(model.parameters(), **STEPPERS[name])
        schedule = package.optim.lr_scheduler.OneCycleLR(
            optimizer, STEPPERS[name].get("lr", 0.01), 25, cycle_momentum=False)
        results.append(train(package, model, getattr(package.nn, loss)(**LOSSES[loss][0]),
                             optimizer, schedule, batches))
    np.testing.assert_allclose(results[0], results[1], 1e-8)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-6, 1e-8)


def test_a_newcomers_first_lines() -> None:
    param = nn.Parameter(nncompile.ones(3))
    (param * 2).sum().backward()
    assert param.grad.tolist() == [2, 2, 2]
    model = nn.Linear(1, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = nncompile.tensor([[0.0], [1.0], [2.0]])
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), 3 * x + 1)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
    np.testing.assert_allclose(model.weight.item(), 3, 0.1)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")    # torch's own
def test_lbfgs_by_its_closure() -> None:
    draws = np.random.default_rng(0)
    x, y = draws.standard_normal((20, 6)), draws.integers(0, 4, 20)
    losses = []
    start = network(torch.nn).double().state_dict()
    for package in nncompile, torch:
        model = network(package.nn).double()
        model.load_state_dict(start)
        optimizer = package.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")

        def closure(package: Any = package, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = package.nn.functional.cross_entropy(model(package.tensor(x)), package.tensor(y))
            loss.backward()
            return loss

        losses.append([float(optimizer.step(closure)) for _ in range(2)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][1] < 0.5 * losses[0][0]
