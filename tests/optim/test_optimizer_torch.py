"""What optimizers have in common beside torch's: groups, hooks, state dicts, errors, text."""
from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn, optim
from nncompile.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    required,
)

torchs = sys.modules["torch.optim.optimizer"]
NAMES = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam",
         "Rprop", "ASGD", "Adafactor", "LBFGS")


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(np.ones(shape, np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_the_arguments_and_the_text_are_torchs(name: str) -> None:
    ours, theirs = getattr(optim, name), getattr(torch.optim, name)
    p, q = parameter(3, 2), torch.nn.Parameter(torch.ones(3, 2))
    assert repr(ours([p])) == repr(theirs([q]))
    assert repr(ours([p], lr=0.25)) == repr(theirs([q], lr=0.25))
    assert ours([p]).defaults == theirs([q]).defaults
    assert ours([p]).state_dict()["param_groups"] == theirs([q]).state_dict()["param_groups"]


ERRORS: list[Callable[[Any, Any], Any]] = [
    lambda o, p: o.SGD([p], lr=-1), lambda o, p: o.Adam([p], lr=-1.0),
    lambda o, p: o.Adam([p], betas=(1.0, 0.9)), lambda o, p: o.Adam([p], betas=(0.9, -0.1)),
    lambda o, p: o.Adam([p], eps=-1.0), lambda o, p: o.AdamW([p], weight_decay=-1.0),
    lambda o, p: o.SGD([p], momentum=-1), lambda o, p: o.SGD([p], weight_decay=-1),
    lambda o, p: o.SGD([p], nesterov=True), lambda o, p: o.RMSprop([p], alpha=-1),
    lambda o, p: o.SGD([p], nesterov=True, momentum=0.9, dampening=0.1),
    lambda o, p: o.RMSprop([p], momentum=-1), lambda o, p: o.Rprop([p], etas=(0.5, 0.9)),
    lambda o, p: o.Adadelta([p], rho=2.0), lambda o, p: o.Adagrad([p], lr_decay=-1),
    lambda o, p: o.Adagrad([p], initial_accumulator_value=-1), lambda o, p: o.ASGD([p], lr=-1),
    lambda o, p: o.NAdam([p], momentum_decay=-1), lambda o, p: o.RAdam([p], eps=-1),
    lambda o, p: o.Adamax([p], betas=(2.0, 0.0)), lambda o, p: o.Adafactor([p], d=0.5),
    lambda o, p: o.Adafactor([p], beta2_decay=1), lambda o, p: o.Adafactor([p], eps=(-1, 0)),
    lambda o, p: o.LBFGS([{"params": [p]}, {"params": []}]),
    lambda o, p: o.SGD([]), lambda o, p: o.SGD(p),
    lambda o, p: o.SGD([{"params": {p}}]), lambda o, p: o.SGD([3]),
    lambda o, p: o.SGD([{"params": [p]}, {"params": [p]}]),
    lambda o, p: o.SGD([p]).add_param_group([p]),
    lambda o, p: o.SGD([("w", p), p]),
    lambda o, p: o.SGD([("w", p)]).add_param_group({"params": []}),
    lambda o, p: o.SGD([p]).load_state_dict({"state": {}, "param_groups": []}),
    lambda o, p: o.SGD([p]).load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]}),
    lambda o, p: o.Optimizer([p], {}).step(),
]


@pytest.mark.parametrize("mistake", ERRORS)
def test_a_mistake_is_one_for_torch_too(mistake: Callable[[Any, Any], Any]) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as theirs:
        mistake(torch.optim, torch.nn.Parameter(torch.ones(2)))
    with pytest.raises(theirs.type) as ours:
        mistake(optim, parameter(2))
    assert str(ours.value)[:20] == str(theirs.value)[:20]


def test_an_option_without_a_default_has_to_be_given() -> None:
    p = parameter(2)
    assert optim.Optimizer([{"params": p, "lr": 1}], {"lr": required}).param_groups[0]["lr"] == 1
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        optim.Optimizer([p], {"lr": required})


def test_options_of_torchs_implementations() -> None:
    for options in ({"foreach": True}, {"fused": True}, {"capturable": True}):
        p = parameter(2)
        p.grad = nncompile.ones(2)
        optim.Adam([p], **options).step()
        assert p[0].item() == pytest.approx(1 - 1e-3)
    with pytest.raises(nncompile.InputError, match="fused"):
        optim.Adam([p], foreach=True, fused=True)
    for name in set(NAMES) - {"Adafactor", "LBFGS"}:
        with pytest.raises(nncompile.InputError, match="differentiable"):
            getattr(optim, name)([p], differentiable=True)


def test_groups_have_options_of_their_own() -> None:
    for package, p, q, ones in (
            (optim, parameter(2), parameter(2), nncompile.ones(2)),
            (torch.optim, *(torch.nn.Parameter(torch.ones(2)) for _ in "pq"), torch.ones(2))):
        made = package.SGD([{"params": p, "lr": 0.5}, {"params": iter([q])}], lr=0.25, momentum=0.5)
        p.grad, q.grad = ones, ones
        made.step()
        assert [p[0].item(), q[0].item()] == [0.5, 0.75]
        r = type(p)(ones)
        made.add_param_group({"params": r, "momentum": 0})
        q.grad, r.grad, p.grad = None, ones, None
        made.step()
        assert [v[0].item() for v in (p, q, r)] == [0.5, 0.75, 0.75]
        assert len(made.state) == 2


def test_a_frozen_or_unused_parameter_stays() -> None:
    p, q = parameter(2), nn.Parameter(np.ones(2, np.float32), requires_grad=False)
    made = optim.Adam([p, q], weight_decay=0.5)
    p.grad = nncompile.ones(2)
    made.step()
    assert p[0].item() != 1 and q[0].item() == 1 and list(made.state) == [p]


def test_names_go_with_the_groups() -> None:
    model, peer = nn.Linear(2, 3), torch.nn.Linear(2, 3)
    ours, theirs = optim.SGD(model.named_parameters()), torch.optim.SGD(peer.named_parameters())
    assert ours.param_groups[0]["param_names"] == ["weight", "bias"]
    assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]
    plain = optim.SGD(model.parameters()).state_dict()
    ours.load_state_dict(plain)
    assert ours.param_groups[0]["param_names"] == ["weight", "bias"]


def test_zero_grad() -> None:
    p, q = parameter(2), parameter(2)
    made = optim.SGD([p, q])
    p.grad = nncompile.ones(2)
    made.zero_grad(set_to_none=False)
    assert p.grad is not None and p.grad.tolist() == [0, 0] and q.grad is None
    made.zero_grad()
    assert p.grad is None


def test_the_closure_runs_with_gradients_and_gives_the_loss() -> None:
    seen = []
    made = optim.SGD([parameter(2)])

    def closure() -> str:
        seen.append(nncompile.is_grad_enabled())
        return "loss"

    with nncompile.no_grad():
        assert made.step(closure) == "loss"
    assert seen == [True]


def test_the_numbers_stay_in_their_memory() -> None:
    """A parameter that shares memory with an ndarray, or that has views, changes in place."""
    memory = np.ones(4, np.float32)
    p = nn.Parameter(memory)
    view = p.detach()[1:]
    made = optim.SGD([p], lr=0.5)
    p.grad = nncompile.ones(4)
    made.step()
    assert memory.tolist() == [0.5] * 4 and view.tolist() == [0.5] * 3


@pytest.mark.parametrize("package", ["ours", "torch"])
def test_hooks_are_called_in_torchs_order(package: str) -> None:
    calls: list[str] = []
    if package == "ours":
        before, after = register_optimizer_step_pre_hook, register_optimizer_step_post_hook
        made = optim.SGD([parameter(2)])
    else:
        before, after = torchs.register_optimizer_step_pre_hook, (
            torchs.register_optimizer_step_post_hook)
        made = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])
    handles = [
        before(lambda *_: calls.append("before all")), after(lambda *_: calls.append("after all")),
        made.register_step_pre_hook(lambda *_: calls.append("before")),
        made.register_step_post_hook(lambda *_: calls.append("after")),
        made.register_state_dict_pre_hook(lambda *_: calls.append("second")),
        made.register_state_dict_pre_hook(lambda *_: calls.append("first"), prepend=True),
        made.register_state_dict_post_hook(lambda _, d: {**d, "more": 1}),
        made.register_load_state_dict_pre_hook(lambda _, d: calls.append(f"load {d['more']}")),
        made.register_load_state_dict_post_hook(lambda _: calls.append("loaded"))]
    made.step()
    state = made.state_dict()
    assert state["more"] == 1
    made.load_state_dict(state)
    assert calls == ["before all", "before", "after", "after all", "first", "second", "load 1",
                     "loaded"]
    for handle in handles:
        handle.remove()
    made.step()
    assert len(calls) == 8


def test_a_hook_may_change_the_arguments() -> None:
    made = optim.SGD([parameter(2)])
    made.register_step_pre_hook(lambda _, args, kwargs: ((lambda: 3,), {}))
    assert made.step() == 3
    made.register_step_pre_hook(lambda *_: 5)
    with pytest.raises(nncompile.InputError, match="hook"):
        made.step()


class Plain(optim.Optimizer):
    """An optimizer of a user's, as they are written for torch."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = state.get("step", 0) + 1
                p.data.add_(p.grad.data, alpha=-group["lr"])


def test_an_optimizer_of_ones_own() -> None:
    p, calls = parameter(2), []
    made = Plain([p], lr=0.5)
    made.register_step_pre_hook(lambda *_: calls.append(1))
    p.grad = nncompile.ones(2)
    made.step()
    made.step()
    assert p.tolist() == [0, 0] and len(calls) == 2
    assert made.state_dict()["state"] == {0: {"step": 2}}


def test_a_learning_rate_may_be_an_array() -> None:
    p = parameter(2)
    rate = nncompile.tensor(0.5)
    made = optim.SGD([p], lr=rate)
    p.grad = nncompile.ones(2)
    made.step()
    rate.fill_(0.25)
    made.step()
    assert p.tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match="1-element"):
        optim.SGD([p], lr=nncompile.ones(2))
    with pytest.raises(ValueError, match="foreach=True"):
        optim.Adam([p], lr=rate, foreach=True)


def test_a_parameter_twice_is_warned_of() -> None:
    p = parameter(2)
    with pytest.warns(UserWarning, match="duplicate"):
        optim.SGD([p, p])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optim.SGD([p])


def test_a_state_dict_of_an_older_version_lacks_options() -> None:
    p = parameter(2)
    made = optim.Adam([p], maximize=True)
    state = made.state_dict()
    for name in ("maximize", "foreach", "fused", "capturable", "decoupled_weight_decay"):
        del state["param_groups"][0][name]
    made.load_state_dict({**state, "state": {0: {"step": 3, "exp_avg": np.ones(2),
                                                 "exp_avg_sq": np.ones(2)}}})
    p.grad = nncompile.ones(2)
    made.step()
    assert made.state[p]["step"].item() == 4 and made.state[p]["exp_avg"].dtype == np.float32
