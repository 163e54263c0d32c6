"""Schedules of learning rates beside torch's, over more steps than each takes."""
from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn, optim
from nncompile.optim import lr_scheduler, swa_utils


class Halving:
    """A callable object, which holds something."""

    def __init__(self, start: float) -> None:
        self.start = start

    def __call__(self, step: float) -> float:
        return self.start / (1 + step)


def swa(schedulers: Any) -> Any:
    """The module of averages beside a module of schedulers."""
    return swa_utils if schedulers is lr_scheduler else torch.optim.swa_utils


Make = Callable[[Any, Any], Any]
SCHEDULES: list[tuple[str, Make]] = [
    ("LambdaLR", lambda m, o: m.LambdaLR(o, lambda step: 0.95**step)),
    ("LambdaLR of each", lambda m, o: m.LambdaLR(o, [lambda s: 1 / (1 + s), Halving(3.0)])),
    ("MultiplicativeLR", lambda m, o: m.MultiplicativeLR(o, lambda step: 0.95)),
    ("StepLR", lambda m, o: m.StepLR(o, 7, 0.5)),
    ("MultiStepLR", lambda m, o: m.MultiStepLR(o, [3, 20, 20, 50], 0.3)),
    ("ConstantLR", lambda m, o: m.ConstantLR(o, 0.25, 11)),
    ("LinearLR", lambda m, o: m.LinearLR(o, 0.2, 0.9, 17)),
    ("ExponentialLR", lambda m, o: m.ExponentialLR(o, 0.97)),
    ("PolynomialLR", lambda m, o: m.PolynomialLR(o, 30, 2.0)),
    ("CosineAnnealingLR", lambda m, o: m.CosineAnnealingLR(o, 13, 0.01)),
    ("WarmRestarts", lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 2, 0.01)),
    ("WarmRestarts 1", lambda m, o: m.CosineAnnealingWarmRestarts(o, 7)),
    ("CyclicLR", lambda m, o: m.CyclicLR(o, [0.01, 0.02], 0.5, 6, 9)),
    ("CyclicLR 2", lambda m, o: m.CyclicLR(o, 0.01, 0.5, 6, mode="triangular2")),
    ("CyclicLR exp", lambda m, o: m.CyclicLR(o, 0.01, 0.5, 6, mode="exp_range", gamma=0.9,
                                            cycle_momentum=False)),
    ("CyclicLR own", lambda m, o: m.CyclicLR(o, 0.01, 0.5, 6, scale_fn=Halving(1.0),
                                            scale_mode="iterations")),
    ("OneCycleLR", lambda m, o: m.OneCycleLR(o, 0.5, 120)),
    ("OneCycleLR 3", lambda m, o: m.OneCycleLR(o, [0.5, 0.1], epochs=10, steps_per_epoch=12,
                                              three_phase=True, anneal_strategy="linear")),
    ("OneCycleLR plain", lambda m, o: m.OneCycleLR(o, 0.5, 120, cycle_momentum=False,
                                                  pct_start=0.0)),
    ("SequentialLR", lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=5), m.CosineAnnealingLR(o, 20), m.ExponentialLR(o, 0.9)],
        [5, 40])),
    ("SequentialLR restarts", lambda m, o: m.SequentialLR(
        o, [m.ConstantLR(o, 0.1, 4), m.CosineAnnealingWarmRestarts(o, 6)], [4])),
    ("SWALR", lambda m, o: swa(m).SWALR(o, [0.05, 0.2], 7)),
    ("SWALR linear", lambda m, o: swa(m).SWALR(o, 0.05, 4, "linear")),
    ("SWALR at once", lambda m, o: swa(m).SWALR(o, 0.05, 0)),
    ("ChainedScheduler", lambda m, o: m.ChainedScheduler(
        [m.ConstantLR(o, 0.1, 5), m.ExponentialLR(o, 0.95)])),
    ("Sequential of chained", lambda m, o: m.SequentialLR(
        o, [m.ExponentialLR(o, 0.95), m.StepLR(o, 10, 0.5)], [30])),
]
by_schedule = pytest.mark.parametrize("make", [make for _, make in SCHEDULES],
                                      ids=[name for name, _ in SCHEDULES])
OPTIMIZERS: list[Callable[[Any, list[Any]], Any]] = [
    lambda m, ps: m.SGD([{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.3}], 0.1, momentum=0.9),
    lambda m, ps: m.Adam([{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.3}], 0.1),
]
OURS = [nn.Parameter(np.ones(2, np.float32)), nn.Parameter(np.ones(2, np.float32))]
THEIRS = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))]


def numbers(optimizer: Any) -> list[tuple[Any, ...]]:
    return [(group["lr"], group.get("momentum"), group.get("betas"))
            for group in optimizer.param_groups]


def near(ours: Any, theirs: Any) -> None:
    """The same structure and types, and nearly the same numbers: one in another order may be."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            near(ours[name], value)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            near(a, b)
    elif isinstance(theirs, float | int) and not isinstance(theirs, bool):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-15)
    else:
        assert ours == theirs


@by_schedule
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["SGD", "Adam"])
def test_a_schedule_is_torchs(make: Make, optimizer: Callable[[Any, list[Any]], Any]) -> None:
    a, b = optimizer(optim, OURS), optimizer(torch.optim, THEIRS)
    ours, theirs = make(lr_scheduler, a), make(torch.optim.lr_scheduler, b)
    for step in range(120):
        near(numbers(a), numbers(b))
        near(ours.get_last_lr(), theirs.get_last_lr())
        if step % 40 == 0:
            near(ours.state_dict(), {k: v for k, v in theirs.state_dict().items()
                                     if k not in ("_scale_fn_ref", "anneal_func")})
        if step == 60:                           # a user's own change stays, or is written over
            for group in (*a.param_groups, *b.param_groups):
                group["lr"] *= 0.5
        a.step()
        b.step()
        ours.step()
        theirs.step()


@by_schedule
def test_a_state_dict_goes_to_torch_and_back(make: Make) -> None:
    a, b = OPTIMIZERS[0](optim, OURS), OPTIMIZERS[0](torch.optim, THEIRS)
    ours, theirs = make(lr_scheduler, a), make(torch.optim.lr_scheduler, b)
    for _ in range(9):
        b.step()
        theirs.step()
    a.load_state_dict(b.state_dict())
    ours.load_state_dict(pickle.loads(pickle.dumps(theirs.state_dict())))
    for _ in range(20):
        a.step()
        b.step()
        ours.step()
        theirs.step()
        near(numbers(a), numbers(b))
    fresh = OPTIMIZERS[0](torch.optim, THEIRS)
    other = make(torch.optim.lr_scheduler, fresh)
    fresh.load_state_dict(a.state_dict())
    other.load_state_dict(ours.state_dict())
    for _ in range(5):
        for each in (a, fresh, ours, other):
            each.step()
        near(numbers(a), numbers(fresh))


@by_schedule
def test_the_older_epoch(make: Make) -> None:
    a, b = OPTIMIZERS[0](optim, OURS), OPTIMIZERS[0](torch.optim, THEIRS)
    ours, theirs = make(lr_scheduler, a), make(torch.optim.lr_scheduler, b)
    if isinstance(ours, lr_scheduler.SequentialLR | lr_scheduler.ChainedScheduler):
        pytest.skip("their steps take no epoch")
    a.step()
    b.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in (1, 2, 8, 3, 30):
            ours.step(epoch)
            theirs.step(epoch)
            near(numbers(a), numbers(b))


def test_restarts_between_two_steps() -> None:
    for mult in (1, 2, 3):
        a, b = OPTIMIZERS[0](optim, OURS), OPTIMIZERS[0](torch.optim, THEIRS)
        ours = lr_scheduler.CosineAnnealingWarmRestarts(a, 4, mult)
        theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(b, 4, mult)
        for epoch in np.arange(0, 30, 0.3):
            ours.step(float(epoch))
            theirs.step(float(epoch))
            near(numbers(a), numbers(b))
        near(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("options", [
    {}, {"patience": 2, "cooldown": 3}, {"mode": "max", "threshold_mode": "abs", "patience": 1},
    {"threshold": 0.1, "threshold_mode": "abs", "patience": 0, "min_lr": [0.01, 0.05]},
    {"mode": "max", "factor": 0.5, "threshold": 0.2, "patience": 3, "eps": 0.01}])
def test_a_plateau(options: dict[str, Any]) -> None:
    a, b = OPTIMIZERS[0](optim, OURS), OPTIMIZERS[0](torch.optim, THEIRS)
    ours = lr_scheduler.ReduceLROnPlateau(a, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options)
    draws = np.random.default_rng(0)
    for step in range(120):
        metric = draws.standard_normal() + 3 * math.exp(-step / 20)
        ours.step(nncompile.tensor(metric, dtype=nncompile.float64))
        theirs.step(torch.tensor(metric, dtype=torch.float64))
        near(numbers(a), numbers(b))
        near(ours.state_dict(), theirs.state_dict())
    other = lr_scheduler.ReduceLROnPlateau(a)
    other.load_state_dict(theirs.state_dict())
    near(other.state_dict(), theirs.state_dict())


def test_a_training_is_resumed() -> None:
    for package, schedules, p in ((optim, lr_scheduler, OURS[0]),
                                  (torch.optim, torch.optim.lr_scheduler, THEIRS[0])):
        with pytest.raises(KeyError, match="initial_lr"):
            schedules.StepLR(package.SGD([p], 0.1), 3, last_epoch=5)
        resumed = package.SGD([{"params": [p], "initial_lr": 0.8}], 0.1)
        schedule = schedules.ExponentialLR(resumed, 0.5, last_epoch=3)
        resumed.step()
        schedule.step()
        assert schedule.get_last_lr() == [0.05] and schedule.base_lrs == [0.8]


def test_the_wrong_order_is_warned_of() -> None:
    schedule = lr_scheduler.StepLR(optim.SGD(OURS, 0.1), 3)
    with pytest.warns(UserWarning, match=r"before `optimizer\.step"):
        schedule.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()


def test_a_rate_in_an_array_is_changed_in_place() -> None:
    rate = nncompile.tensor(0.5)
    made = optim.SGD(OURS, lr=rate)
    schedule = lr_scheduler.ExponentialLR(made, 0.5)
    made.step()
    schedule.step()
    assert rate.item() == 0.25 and made.param_groups[0]["lr"] is rate
    assert schedule.base_lrs[0].item() == 0.5


MISTAKES: list[Make] = [
    lambda m, o: m.StepLR(3, 1), lambda m, o: m.LambdaLR(o, [len]), lambda m, o: m.LinearLR(o, 2.0),
    lambda m, o: m.MultiplicativeLR(o, [1, 2]), lambda m, o: m.ConstantLR(o, 2.0),
    lambda m, o: m.LinearLR(o, 0.5, 2.0), lambda m, o: m.CosineAnnealingWarmRestarts(o, 0),
    lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 0), lambda m, o: m.OneCycleLR(o, 0.1),
    lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, eta_min="0"),
    lambda m, o: m.OneCycleLR(o, 0.1, -1), lambda m, o: m.OneCycleLR(o, 0.1, 5, pct_start=2.0),
    lambda m, o: m.OneCycleLR(o, 0.1, 5, anneal_strategy="x"),
    lambda m, o: m.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=3),
    lambda m, o: m.CyclicLR(o, 0.1, 0.2, mode="x"), lambda m, o: m.CyclicLR(o, [0.1], 0.2),
    lambda m, o: m.ReduceLROnPlateau(o, factor=1.0), lambda m, o: m.ReduceLROnPlateau(o, "x"),
    lambda m, o: m.ReduceLROnPlateau(o, threshold_mode="x"),
    lambda m, o: m.ReduceLROnPlateau(o, min_lr=[0.1]), lambda m, o: m.SequentialLR(o, [], []),
    lambda m, o: m.SequentialLR(o, [m.StepLR(o, 3)], [3]), lambda m, o: m.ChainedScheduler([]),
    lambda m, o: m.ChainedScheduler([m.ReduceLROnPlateau(o)]),
    lambda m, o: swa(m).SWALR(o, 0.1, anneal_strategy="x"), lambda m, o: swa(m).SWALR(o, 0.1, -1),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_for_torch_too(mistake: Make) -> None:
    with pytest.raises((ValueError, TypeError)) as theirs:
        mistake(torch.optim.lr_scheduler, OPTIMIZERS[0](torch.optim, THEIRS))
    with pytest.raises(theirs.type) as ours:
        mistake(lr_scheduler, OPTIMIZERS[0](optim, OURS))
    assert str(ours.value)[:18] == str(theirs.value)[:18]


def test_steps_after_the_last_are_refused() -> None:
    made = optim.SGD(OURS, 0.1, momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(made, 0.5, 2)
    made.step()
    schedule.step()
    schedule.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        schedule.step()
    with pytest.raises(ValueError, match="momentum or beta1"):
        lr_scheduler.OneCycleLR(optim.Adagrad(OURS), 0.5, 2)
