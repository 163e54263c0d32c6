"""The optimizer's state is one for compiled steps, the eager loop and whoever changes it."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile

LIBRARIES = (nncompile, torch)
X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)


def model_of(lib: Any) -> Any:
    model = lib.nn.Linear(4, 2)
    with lib.no_grad():
        for p in model.parameters():
            p.copy_(lib.from_numpy(np.linspace(-1, 1, p.numel(), dtype=np.float32)).reshape(
                p.shape))
    return model


def clear(lib: Any, optimizer: Any, p: Any) -> None:
    optimizer.state.clear()


def put_new(lib: Any, optimizer: Any, p: Any) -> None:
    optimizer.state = defaultdict(dict)


def delete(lib: Any, optimizer: Any, p: Any) -> None:
    for each in optimizer.param_groups[0]["params"]:
        del optimizer.state[each]


def replace_average(lib: Any, optimizer: Any, p: Any) -> None:
    optimizer.state[p]["exp_avg"] = lib.ones(2, 4)


def change_average(lib: Any, optimizer: Any, p: Any) -> None:
    optimizer.state[p]["exp_avg"].zero_()


def set_the_count(lib: Any, optimizer: Any, p: Any) -> None:
    for each in optimizer.param_groups[0]["params"]:
        optimizer.state[each]["step"].fill_(0.0)


def load_it(lib: Any, optimizer: Any, p: Any) -> None:
    optimizer.load_state_dict(optimizer.state_dict())


CHANGES = (clear, put_new, delete, replace_average, change_average, set_the_count, load_it)


def same_states(ours: Any, theirs: Any) -> None:
    mine, its = ours.state_dict()["state"], theirs.state_dict()["state"]
    assert mine.keys() == its.keys()
    for number, state in its.items():
        assert mine[number].keys() == state.keys()
        for slot, value in state.items():
            np.testing.assert_allclose(np.asarray(mine[number][slot]), np.asarray(value), 1e-4,
                                       1e-7)


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_step_sees_changes_of_the_optimizers_state(change: Callable[..., None]) -> None:
    made = []
    for lib in LIBRARIES:
        model = model_of(lib)
        optimizer, loss = lib.optim.Adam(model.parameters(), lr=0.05), lib.nn.MSELoss()
        step = nncompile.compile(model, "f32[B, 4]", "f32[B, 2]", loss=loss,
                                 optimizer=optimizer) if lib is nncompile else None
        for k in range(5):
            if k == 3:
                change(lib, optimizer, model.weight)
            if step is not None:
                step(X, X[:, :2])
                continue
            optimizer.zero_grad()
            loss(model(lib.from_numpy(X)), lib.from_numpy(X[:, :2].copy())).backward()
            optimizer.step()
        made.append((model, optimizer))
    (ours, mine), (theirs, its) = made
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), 1e-4,
                               1e-6)
    same_states(mine, its)


@pytest.mark.parametrize("kind", ["Adam", "SGD", "NAdam"])
def test_two_steps_and_the_eager_loop_share_an_optimizer(kind: str) -> None:
    """Each goes on where another one has stopped: counts, averages and numbers of them."""
    options = {"lr": 0.05, **({"momentum": 0.9} if kind == "SGD" else {})}
    ours, theirs = (model_of(lib) for lib in LIBRARIES)
    mine, its = (getattr(lib.optim, kind)(model.parameters(), **options)
                 for lib, model in zip(LIBRARIES, (ours, theirs), strict=True))
    losses = ("MSELoss", "L1Loss", "SmoothL1Loss")
    steps = [nncompile.compile(ours, "f32[B, 4]", "f32[B, 2]", loss=getattr(nncompile.nn, loss)(),
                               optimizer=mine) for loss in losses[:2]]
    for which in (0, 1, 1, 0, 2, 0, 2, 1, 0):
        for lib, model, optimizer in zip(LIBRARIES, (ours, theirs), (mine, its), strict=True):
            if lib is nncompile and which < 2:
                steps[which](X, X[:, :2])
                continue
            optimizer.zero_grad()
            getattr(lib.nn, losses[which])()(
                model(lib.from_numpy(X)), lib.from_numpy(X[:, :2].copy())).backward()
            optimizer.step()
        np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(),
                                   1e-4, 1e-6)
        same_states(mine, its)


def test_a_step_leaves_no_hooks_with_the_optimizer() -> None:
    model = model_of(nncompile)
    optimizer = nncompile.optim.Adam(model.parameters())
    for _ in range(2):
        nncompile.compile(model, "f32[B, 4]", "f32[B, 2]", loss=nncompile.nn.MSELoss(),
                          optimizer=optimizer)
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_load_state_dict_post_hooks
