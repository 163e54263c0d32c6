"""Averages of weights beside torch's."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn
from nncompile.optim import swa_utils

OPTIONS: list[Callable[[Any], dict[str, Any]]] = [
    lambda m: {}, lambda m: {"use_buffers": True}, lambda m: {"avg_fn": m.get_ema_avg_fn(0.7)},
    lambda m: {"multi_avg_fn": m.get_ema_multi_avg_fn(0.7), "use_buffers": True},
    lambda m: {"multi_avg_fn": m.get_swa_multi_avg_fn()}, lambda m: {"avg_fn": m.get_swa_avg_fn()},
    lambda m: {"avg_fn": lambda average, current, number: average + number * current}]


def models() -> tuple[Any, Any]:
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def same(ours: Any, theirs: Any) -> None:
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for name, value in other.items():
        np.testing.assert_allclose(mine[name], value.numpy(), 1e-5, 1e-6)


@pytest.mark.parametrize("options", OPTIONS)
def test_averages_are_torchs(options: Callable[[Any], dict[str, Any]]) -> None:
    ours, theirs = models()
    if options(swa_utils).get("multi_avg_fn") and options(swa_utils).get("use_buffers"):
        for module in ours[1], theirs[1]:        # torch's lists have one dtype each
            module.num_batches_tracked.fill_(2)
    a = swa_utils.AveragedModel(ours, **options(swa_utils))
    b = torch.optim.swa_utils.AveragedModel(theirs, **options(torch.optim.swa_utils))
    draws = np.random.default_rng(0)
    for step in range(5):
        state = {name: draws.standard_normal(np.shape(v)).astype(np.float32) if np.ndim(v) else
                 np.int64(step) for name, v in ours.state_dict().items()}
        ours.load_state_dict(state)
        theirs.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
        a.update_parameters(ours)
        b.update_parameters(theirs)
        same(a, b)
    x = draws.standard_normal((6, 3)).astype(np.float32)
    np.testing.assert_allclose(a.eval()(x), b.eval()(torch.tensor(x)).detach(), 1e-4, 1e-5)
    assert a.module is not ours


def test_the_statistics_are_computed_anew() -> None:
    ours, theirs = models()
    draws = np.random.default_rng(0)
    batches = [draws.standard_normal((n, 3)).astype(np.float32) for n in (8, 4, 6)]
    swa_utils.update_bn([(batch, None) for batch in batches], ours.eval())
    torch.optim.swa_utils.update_bn([torch.tensor(batch) for batch in batches], theirs.eval())
    same(ours, theirs)
    assert not ours.training and ours[1].momentum == 0.1
    swa_utils.update_bn([], nn.Linear(2, 2))     # there is none


def test_mistakes() -> None:
    with pytest.raises(nncompile.InputError, match="Only one"):
        swa_utils.AveragedModel(nn.Linear(2, 2), avg_fn=swa_utils.get_swa_avg_fn(),
                                multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    for make in swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn:
        with pytest.raises(ValueError, match="Invalid decay value"):
            make(1.5)
