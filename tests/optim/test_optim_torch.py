"""The optimizers beside torch's: the same gradients give the same parameters and states."""
from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn, optim
from nncompile.optim.rule import Rule

SHAPES = ((5, 3), (7,), (), (1, 4), (0, 2), (2, 3, 4))


def combinations(**options: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*options.values()):
        yield dict(zip(options, values, strict=True))


CASES: list[tuple[str, dict[str, Any]]] = [
    *(("SGD", o) for o in combinations(momentum=(0, 0.9), dampening=(0, 0.3),
                                       weight_decay=(0, 0.1), maximize=(False, True))),
    *(("SGD", {"momentum": 0.7, "nesterov": True, **o}) for o in combinations(
        weight_decay=(0, 0.1), maximize=(False, True))),
    *(("Adam", o) for o in combinations(amsgrad=(False, True), weight_decay=(0, 0.1),
                                        maximize=(False, True),
                                        decoupled_weight_decay=(False, True))),
    ("Adam", {"betas": (0.3, 0.9)}), ("Adam", {"betas": (0.0, 0.0)}), ("Adam", {"eps": 0.1}),
    *(("AdamW", o) for o in combinations(amsgrad=(False, True), weight_decay=(0, 0.1),
                                         maximize=(False, True))),
]


def spelled(case: Any) -> str:
    return case if isinstance(case, str) else ",".join(f"{k}={v}" for k, v in case.items())


def both(name: str, options: dict[str, Any], dtype: Any, shapes: Any = SHAPES
         ) -> tuple[Any, list[Any], Any, list[Any]]:
    """The two optimizers, each with its own parameters."""
    draws = np.random.default_rng(0)
    starts = [np.asarray(draws.standard_normal(shape), dtype) for shape in shapes]
    ours = [nn.Parameter(start.copy()) for start in starts]
    theirs = [torch.nn.Parameter(torch.tensor(start)) for start in starts]
    options = {**options, "foreach": False}
    return (getattr(optim, name)(ours, **options), ours,
            getattr(torch.optim, name)(theirs, **options), theirs)


def give_gradients(ours: list[Any], theirs: list[Any], draws: np.random.Generator) -> None:
    for p, q in zip(ours, theirs, strict=True):
        size = 10.0 ** draws.integers(-4, 2)
        g = np.asarray(size * draws.standard_normal(p.shape), p.numpy().dtype)
        p.grad, q.grad = nncompile.from_numpy(g.copy()), torch.tensor(g)


def close(ours: Any, theirs: Any, ulps: float, scale: float = 0.0) -> None:
    """At most so many units in the last place of the number, or of what it is the difference of."""
    ours, theirs = np.asarray(ours), theirs.detach().numpy()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    size = np.maximum(np.abs(theirs), scale)
    bound = ulps * np.spacing(np.where(np.isfinite(size), size, 0).astype(theirs.dtype))
    differ = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    with np.errstate(invalid="ignore"):
        assert (np.abs(ours - theirs)[differ] <= bound[differ]).all(), (ours, theirs)


def exchanged(state: Any, leaf: Callable[[Any], Any]) -> Any:
    """A state dict with each array replaced."""
    if isinstance(state, dict):
        return {name: exchanged(v, leaf) for name, v in state.items()}
    if isinstance(state, list):
        return [exchanged(v, leaf) for v in state]
    return leaf(state) if isinstance(state, np.ndarray | torch.Tensor) else state


def to_torch(state: Any) -> Any:
    return exchanged(state, lambda a: torch.tensor(np.asarray(a)))


def to_numpy(state: Any) -> Any:
    return exchanged(state, lambda a: a.detach().numpy().copy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{spelled(c[1])}")
def test_each_step_is_torchs(case: tuple[str, dict[str, Any]], dtype: Any) -> None:
    """From torch's own state, each of many steps is right to two units in the last place."""
    a, ours, b, theirs = both(*case, dtype)
    draws = np.random.default_rng(1)
    for step in range(6):
        give_gradients(ours, theirs, draws)
        before = [np.abs(q.detach().numpy()) for q in theirs]
        a.step()
        b.step()
        for p, q, scale in zip(ours, theirs, before, strict=True):
            close(p.numpy(), q, 2, scale)
        mine, other = a.state_dict(), b.state_dict()
        assert mine["param_groups"] == other["param_groups"]
        assert mine["state"].keys() == other["state"].keys()
        for number, state in other["state"].items():
            assert mine["state"][number].keys() == state.keys()
            for name, value in state.items():
                largest = float(value.abs().max()) if value.numel() else 0.0
                close(mine["state"][number][name], value, 2, largest if name != "step" else 0)
        if step % 2:                             # the other begins where torch is, by either road
            a.load_state_dict(to_numpy(other) if step % 4 == 1 else other)
            for p, q in zip(ours, theirs, strict=True):
                p.data = q.detach().numpy().copy()


@pytest.mark.parametrize(("dtype", "case"), [
    *((np.float32, case) for case in CASES),
    *((np.float64, case) for case in {case[0]: case for case in CASES}.values()),
], ids=lambda c: f"{c[0]}-{spelled(c[1])}" if isinstance(c, tuple) else c.__name__)
def test_many_steps_stay_with_torchs(dtype: Any, case: tuple[str, dict[str, Any]]) -> None:
    """Hundreds of steps without a look at torch's state; then torch goes on from ours."""
    a, ours, b, theirs = both(*case, dtype, SHAPES[:1])
    draws = np.random.default_rng(2)
    for _ in range(200):
        give_gradients(ours, theirs, draws)
        a.step()
        b.step()
    tolerance = 2e-5 if dtype is np.float32 else 1e-13
    for p, q in zip(ours, theirs, strict=True):
        scale = float(q.detach().abs().max())
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), tolerance, tolerance * scale)
    b.load_state_dict(to_torch(a.state_dict()))
    for p, q in zip(ours, theirs, strict=True):
        q.data = torch.tensor(p.numpy())
    give_gradients(ours, theirs, draws)
    before = [np.abs(q.detach().numpy()) for q in theirs]
    a.step()
    b.step()
    for p, q, scale in zip(ours, theirs, before, strict=True):
        close(p.numpy(), q, 2, scale)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{spelled(c[1])}")
@pytest.mark.parametrize("gradient", [np.nan, np.inf, 0.0, 1e-30, 1e30])
def test_extreme_gradients_give_what_torch_gives(case: tuple[str, dict[str, Any]], gradient: float
                                                 ) -> None:
    a, ours, b, theirs = both(*case, np.float32, SHAPES[1:3])
    for value in (gradient, 1.0):
        for p, q in zip(ours, theirs, strict=True):
            g = np.full(p.shape, value, np.float32)
            p.grad, q.grad = nncompile.from_numpy(g), torch.tensor(g)
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), 1e-6, 1e-7)


RULES = sorted({name for name, _ in CASES})


@pytest.mark.parametrize("name", RULES)
def test_what_update_reads_is_declared(name: str) -> None:
    """It is a pure function of what it is given, so that a compiled step can trace it."""
    rule: Rule = getattr(optim, name)([nn.Parameter(np.ones((2, 3), np.float32))])
    group, p = rule.param_groups[0], rule.param_groups[0]["params"][0]
    on = rule.switches(group)
    n = rule.numbers(group, {})
    assert all(type(value) is bool for value in on.values())
    assert all(isinstance(value, int | float) for value in n.values())
    assert set(rule.counters) <= set(n)
    state = {slot: rule.initial(slot, group, p) for slot in rule.slots(on, p)}
    kept = {slot: value.numpy().copy() for slot, value in state.items()}
    g = nncompile.from_numpy(np.full((2, 3), 0.5, np.float32))
    rule.param_groups.clear()                    # no option is read but by way of n and on
    new, after = rule.update(p.detach(), g, state, n, on)
    assert list(after) == list(state)
    assert np.array_equal(p.numpy(), np.ones((2, 3))) and np.array_equal(g.numpy(), 0.5 * p.numpy())
    for slot, value in kept.items():
        assert np.array_equal(state[slot].numpy(), value), slot
    as_arrays = {key: nncompile.tensor(float(v)) for key, v in n.items()}
    again, _ = rule.update(p.detach(), g, state, as_arrays, on)
    np.testing.assert_allclose(again.numpy(), new.numpy(), 1e-6)
    assert again.dtype == new.dtype == p.dtype


@pytest.mark.parametrize("name", RULES)
def test_pickle_and_deepcopy_go_on_alike(name: str) -> None:
    rule = getattr(optim, name)([nn.Parameter(np.ones(4, np.float32))])
    p = rule.param_groups[0]["params"][0]
    p.grad = nncompile.ones(4)
    rule.step()
    for other in (pickle.loads(pickle.dumps(rule)), copy.deepcopy(rule)):
        q = other.param_groups[0]["params"][0]
        assert q is not p and other.state[q].keys() == rule.state[p].keys()
        q.grad = nncompile.ones(4)
        other.step()
        q_after = q.numpy()
        fresh = copy.deepcopy(rule)
        (r,) = fresh.param_groups[0]["params"]
        r.grad = nncompile.ones(4)
        fresh.step()
        assert np.array_equal(q_after, r.numpy())
