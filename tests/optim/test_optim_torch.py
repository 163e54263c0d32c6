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
    *(("RMSprop", {"momentum": m, "centered": c, **o}) for m, c, o in (
        (0, False, {}), (0.9, True, {}), (0, True, {"weight_decay": 0.1}),
        (0.9, False, {"maximize": True}), (0, True, {"alpha": 0.3}), (0, False, {"eps": 0.1}))),
    ("Adagrad", {}), ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "maximize": True}),
    ("Adadelta", {}), ("Adadelta", {"lr": 0.3, "rho": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}), ("Adamax", {"betas": (0.4, 0.9), "weight_decay": 0.1, "maximize": True}),
    *((name, o) for name in ("NAdam", "RAdam") for o in (
        {}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"maximize": True}, {"betas": (0.5, 0.8)}, {"betas": (0.2, 0.5), "eps": 0.1})),
    ("NAdam", {"momentum_decay": 0.1}),
    ("Rprop", {}), ("Rprop", {"etas": (0.3, 1.5), "step_sizes": (1e-3, 1e-2), "maximize": True}),
    ("ASGD", {}), ("ASGD", {"t0": 2, "lambd": 0.1, "weight_decay": 0.1}),
    ("ASGD", {"alpha": 0.5, "t0": 1, "maximize": True}),
    ("Adafactor", {}), ("Adafactor", {"weight_decay": 0.1, "lr": 0.5, "eps": (1e-3, 1e-2)}),
    ("Adafactor", {"maximize": True, "d": 2.0, "beta2_decay": -0.5}),
]
# torch fuses some multiplications and additions. So the difference of like numbers, such as the
# variance of a centered RMSprop, is further from torch's. By default it is 2 units.
ULPS = {"RMSprop": 64, "Adadelta": 8, "Adamax": 4, "NAdam": 4, "RAdam": 4, "Adafactor": 32,
        "ASGD": 32}


def spelled(case: Any) -> str:
    return case if isinstance(case, str) else ",".join(f"{k}={v}" for k, v in case.items())


def both(name: str, options: dict[str, Any], dtype: Any, shapes: Any = SHAPES
         ) -> tuple[Any, list[Any], Any, list[Any]]:
    """The two optimizers, each with its own parameters."""
    draws = np.random.default_rng(0)
    if name == "Adafactor":                      # torch's divides by the root of the size
        shapes = [shape for shape in shapes if 0 not in shape]
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
    differ = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - theirs)[differ] / np.spacing(
            np.where(np.isfinite(size), size, 0).astype(theirs.dtype))[differ]
    assert not error.size or error.max() <= ulps, (error.max(), ours, theirs)


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
    """From torch's own state, each of many steps is right to units in the last place."""
    a, ours, b, theirs = both(*case, dtype)
    ulps = ULPS.get(case[0], 2)
    draws = np.random.default_rng(1)
    for step in range(6):
        give_gradients(ours, theirs, draws)
        before = [np.abs(q.detach().numpy()) for q in theirs]
        a.step()
        b.step()
        for p, q, scale in zip(ours, theirs, before, strict=True):
            close(p.numpy(), q, ulps, scale)
        mine, other = a.state_dict(), b.state_dict()
        assert mine["param_groups"] == other["param_groups"]
        assert mine["state"].keys() == other["state"].keys()
        for number, state in other["state"].items():
            assert mine["state"][number].keys() == state.keys()
            for name, value in state.items():
                largest = float(value.abs().max()) if value.numel() else 0.0
                close(mine["state"][number][name], value, ulps, largest if name != "step" else 0)
        if step % 2:                             # the other begins where torch is, by either road
            a.load_state_dict(to_numpy(other) if step % 4 == 1 else other)
            b.load_state_dict(b.state_dict())    # which gives mu_product another dtype
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
        close(p.numpy(), q, ULPS.get(case[0], 2), scale)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{spelled(c[1])}")
@pytest.mark.parametrize("gradient", [np.nan, np.inf, 0.0, 1e-30, 1e18])
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


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("history", [2, 100])
def test_lbfgs_takes_torchs_way(search: str | None, history: int) -> None:
    """On Rosenbrock's function, over several steps; gradients by hand."""
    options = {"line_search_fn": search, "history_size": history, "max_iter": 6,
               "lr": 1 if search else 1e-3}
    start = np.array([-1.5, 2.0])
    p, q = nn.Parameter(start.copy()), torch.nn.Parameter(torch.tensor(start))
    a, b = optim.LBFGS([p], **options), torch.optim.LBFGS([q], **options)

    def loss(z: Any) -> Any:
        return (1 - z[0]) ** 2 + 100 * (z[1] - z[0] ** 2) ** 2

    def gradient(z: Any) -> list[float]:
        x, y = float(z[0]), float(z[1])
        return [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]

    def ours() -> Any:
        p.grad = nncompile.from_numpy(np.array(gradient(p.numpy())))
        return loss(p.detach())

    def theirs() -> Any:
        q.grad = torch.tensor(gradient(q.detach().numpy()), dtype=torch.float64)
        return loss(q.detach())

    for _ in range(6):
        assert np.isclose(float(a.step(ours)), float(b.step(theirs)), rtol=1e-5)
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), 1e-6)
    mine, other = a.state_dict()["state"][0], b.state_dict()["state"][0]
    assert mine.keys() == other.keys()
    assert (mine["func_evals"], mine["n_iter"]) == (other["func_evals"], other["n_iter"])
    assert len(mine["old_dirs"]) == len(other["old_dirs"])
    a.load_state_dict(b.state_dict())            # and on, from where torch is
    p.data = q.detach().numpy().copy()
    a.step(ours)
    b.step(theirs)
    np.testing.assert_allclose(p.numpy(), q.detach().numpy(), 1e-6)
    assert not search or loss(p.detach()).item() < 0.02


class Update(nn.Module):
    """An update as a model: what a compiled step traces."""

    def __init__(self, rule: Rule, on: dict[str, bool], slots: list[str], names: list[str]) -> None:
        super().__init__()
        self.rule, self.on, self.slots, self.names = rule, on, slots, names

    def forward(self, p: Any, g: Any, *others: Any) -> Any:
        count = len(self.slots)
        new, state = self.rule.update(p, g, dict(zip(self.slots, others[:count], strict=True)),
                                      dict(zip(self.names, others[count:], strict=True)), self.on)
        return new, *(state[slot] for slot in self.slots)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}-{spelled(c[1])}")
def test_an_update_is_traced_and_no_number_becomes_code(case: tuple[str, dict[str, Any]]) -> None:
    from ir import interpret
    name, options = case
    p = nn.Parameter(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32))
    rule: Any = getattr(optim, name)([p], **options)
    group, texts = rule.param_groups[0], set()
    for step in range(7):
        p.grad = nncompile.tensor(np.random.default_rng(step).standard_normal((3, 4)),
                                  dtype=nncompile.float32)
        on, state = rule.switches(group), rule.state.get(p, {})
        n = rule.numbers(group, state)
        slots = {k: rule.initial(k, group, p) if state.get(k) is None else state[k]
                 for k in rule.slots(on, p)}
        inputs = [p.numpy().copy(), p.grad.numpy(), *(s.numpy().copy() for s in slots.values()),
                  *(np.asarray(v, np.float32) for v in n.values())]
        graph = nncompile.trace(
            Update(rule, on, list(slots), list(n)),
            *(f"f32[{', '.join(map(str, a.shape))}]" for a in inputs))
        texts.add(str(graph))
        results = interpret(graph, inputs)
        rule.step()
        after = [p, *(rule.state[p][k] for k in slots)]
        for ours, eager in zip(results, after, strict=True):
            np.testing.assert_allclose(ours, eager.numpy(), 1e-5, 1e-6)
        group["lr"] *= 0.5
    assert len(texts) == 1                       # whatever the step and the learning rate
