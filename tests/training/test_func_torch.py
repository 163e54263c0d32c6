"""torch.func, hooks of modules on the way back, and random choices, beside torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn, optim
from nncompile.errors import GradientError, InputError

LIBRARIES = (nncompile, torch)
A, B = np.random.default_rng(0).standard_normal((2, 3, 3))


def plain(value: Any) -> Any:
    if isinstance(value, nncompile.Tensor | torch.Tensor):
        return value.requires_grad, value.detach().numpy().copy()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_allclose(ours, theirs, 1e-10, 1e-12)
    else:
        assert ours == theirs


def on_dict(lib: Any, p: Any, x: Any) -> Any:
    return ((x @ p["w"] + p["b"]).tanh() ** 2).sum()


CASES = {
    "grad": lambda lib, f, a, b: f.grad(lambda x: (x.sin() * b).sum())(a),
    "grad of grad": lambda lib, f, a, b: f.grad(
        lambda x: f.grad(lambda y: (y**3 * x).sum())(x).sum())(a),
    "argnums": lambda lib, f, a, b: f.grad(lambda x, y: (x * y.exp()).sum(), argnums=(0, 1))(a, b),
    "aux": lambda lib, f, a, b: f.grad(lambda x: ((x**2).sum(), x + 1), has_aux=True)(a),
    "value": lambda lib, f, a, b: f.grad_and_value(lambda x, y: (x * y).sum())(a, b),
    "dict": lambda lib, f, a, b: f.grad(lambda p: on_dict(lib, p, b))({"w": a, "b": b[0]}),
    "vjp": lambda lib, f, a, b: (f.vjp(lambda x: x @ b, a)[0], f.vjp(lambda x: x @ b, a)[1](b)),
    "vjp of two": lambda lib, f, a, b: f.vjp(lambda x, y: (x * y, x + y), a, b)[1]((a, b)),
    "jvp": lambda lib, f, a, b: f.jvp(lambda x: x.sin() @ x, (a,), (b,)),
    "jvp of two": lambda lib, f, a, b: f.jvp(lambda x, y: (x * y, x.exp()), (a, b), (b, a)),
    "jacrev": lambda lib, f, a, b: f.jacrev(lambda x: x.exp() * b)(a),
    "jacfwd": lambda lib, f, a, b: f.jacfwd(lambda x: x @ b)(a),
    "jacrev of dicts": lambda lib, f, a, b: f.jacrev(
        lambda p: {"y": p["a"] * 2, "z": p["b"].sum()})({"a": a[0], "b": b[0]}),
    "hessian": lambda lib, f, a, b: f.hessian(lambda x: (x**3).sum())(a[0]),
    "nothing depends": lambda lib, f, a, b: f.grad(lambda x, y: y.sum())(a, b),
    "nothing depends on infinity": lambda lib, f, a, b: f.grad(
        lambda x, y: y.sum(), argnums=(0, 1))(a / 0, b),
    "no element depends on infinity": lambda lib, f, a, b: f.jacrev(lambda x: b[0] * 2)(a[0] / 0),
    "jvp of what depends on nothing": lambda lib, f, a, b: f.jvp(lambda x: b / 0, (a,), (b,)),
    "jvp at infinity": lambda lib, f, a, b: f.jvp(lambda x: x.exp() * 2, (a / 0,), (b,)),
    "a captured leaf": lambda lib, f, a, b: (
        b.requires_grad_(), f.grad(lambda x: (x**2 * b).sum())(a))[1],
    "an argument that is a leaf": lambda lib, f, a, b: f.grad(
        lambda x: (x**3).sum())(a.requires_grad_()),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")        # of torch in itself
@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_torchs(name: str) -> None:
    ours, theirs = (plain(CASES[name](lib, lib.func, *map(lib.from_numpy, (A.copy(), B.copy()))))
                    for lib in LIBRARIES)
    assert_same(ours, theirs)


def test_wrong_calls_of_derivatives() -> None:
    a = nncompile.from_numpy(A)
    with pytest.raises(GradientError, match="scalar"):
        nncompile.func.grad(lambda x: x * 2)(a)
    with pytest.raises(InputError, match="argnums=1"):
        nncompile.func.grad(lambda x: x.sum(), argnums=1)(a)
    with pytest.raises(GradientError, match="floats"):
        nncompile.func.grad(lambda x: x.sum())(nncompile.arange(3))


def tied(lib: Any) -> Any:
    class Tied(lib.nn.Module):                   # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = lib.nn.Linear(3, 3), lib.nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.norm = lib.nn.BatchNorm1d(3)

        def forward(self, x: Any) -> Any:
            return self.b(self.norm(self.a(x)))

    return Tied().eval().double()


@pytest.mark.filterwarnings("ignore:.*stateless.functional_call")
def test_functional_call() -> None:
    found = []
    for lib in LIBRARIES:
        model = tied(lib)
        x = lib.from_numpy(A)
        state = {name: lib.from_numpy(np.full(tuple(p.shape), 0.5))
                 for name, p in model.named_parameters()}
        held = model.a.weight
        outputs = [lib.func.functional_call(model, state, (x,)),
                   lib.func.functional_call(model, state, x),
                   lib.func.functional_call(model, [state, {"norm.running_mean": x[0]}], (),
                                            {"x": x}),
                   lib.nn.utils.stateless.functional_call(model, state, x),
                   lib.func.grad(lambda p, m=model, x=x, lib=lib: lib.func.functional_call(
                       m, p, (x,)).pow(2).sum())(state)]
        assert model.a.weight is held and model.b.weight is held
        with pytest.raises(Exception, match=r"(?i)missing"):
            lib.func.functional_call(model, {"a.weight": held}, (x,), strict=True)
        with pytest.raises(Exception, match=r"(?i)other|unexpected"):
            lib.func.functional_call(model, {"other": held}, (x,), strict=True)
        found.append(plain(outputs))
    assert_same(*found)


WRONG = {
    "a tangent of one element": lambda lib, f, a, b: f.jvp(lambda x: x * 2, (a,), (b[:1, :1],)),
    "a tangent with an axis more": lambda lib, f, a, b: f.jvp(lambda x: x * 2, (a,), (b[None],)),
    "an argument twice": lambda lib, f, a, b: f.grad(lambda x, y: x.sum(), argnums=(0, 0))(a, b),
    "a path twice": lambda lib, f, a, b: f.functional_call(
        lib.nn.Linear(3, 2), ({"bias": a[0]}, {"bias": b[0]}), (a,)),
    "tied, and two arrays": lambda lib, f, a, b: f.functional_call(
        tied(lib), {"a.weight": a, "b.weight": b}, (a,)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_torch_refuses_is_refused(name: str) -> None:
    for lib in LIBRARIES:
        with pytest.raises(Exception, match=r"(?i)tangent|size|unique|twice|several|multiple|two"):
            WRONG[name](lib, lib.func, *map(lib.from_numpy, (A.copy(), B.copy())))


def test_functional_call_without_a_bias() -> None:
    found = [lib.func.functional_call(lib.nn.Linear(2, 2), {
        "weight": lib.ones(2, 2), "bias": None}, lib.tensor([[1.0, 2.0]])) for lib in LIBRARIES]
    assert_same(plain(found[0]), plain(found[1]))


def test_statistics_are_changed_where_they_are_given() -> None:
    """Also where they are zeros and ones, whose elements are one number in memory at first."""
    found = []
    for lib in LIBRARIES:
        x = lib.tensor([[1.0, 2.0], [3.0, 5.0]])
        given = {"running_mean": lib.zeros(2), "running_var": lib.ones(2),
                 "num_batches_tracked": lib.zeros((), dtype=lib.int64)}
        norm = lib.nn.BatchNorm1d(2)
        y = lib.func.functional_call(norm, given, x)
        mean, variance = lib.zeros(2), lib.ones(2)
        z = lib.nn.functional.batch_norm(x, mean, variance, training=True)
        found.append(plain([y, list(given.values()), z, mean, variance, norm.running_mean]))
        norm.running_var = lib.zeros(2)
        norm.reset_running_stats()
        found[-1] += plain([norm.running_var])
    np.testing.assert_allclose(found[0][0][1], found[1][0][1], 1e-5)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(ours[1], theirs[1], 1e-6)
    for ours, theirs in zip(found[0][2:], found[1][2:], strict=True):
        np.testing.assert_allclose(ours[1], theirs[1], 1e-5)


# -- hooks -----------------------------------------------------------------------------------------

def hooked(lib: Any, seen: list[Any]) -> Any:
    class Two(lib.nn.Module):                    # type: ignore[misc,name-defined]
        def forward(self, a: Any, b: Any, c: int = 0) -> Any:
            return a * 2, (a * b).sin(), c

    module = Two()
    module.register_full_backward_hook(lambda m, gi, go: seen.append(("hook", plain(gi),
                                                                      plain(go))))
    module.register_full_backward_pre_hook(lambda m, go: seen.append(("pre", plain(go))))
    return module


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_backward_hooks_see_what_torchs_see() -> None:
    results = []
    for lib in LIBRARIES:
        seen: list[Any] = []
        module = hooked(lib, seen)
        a, b = (lib.from_numpy(x.copy()) for x in (A, B))
        a.requires_grad_()
        first, second, _ = module(a, b, 5)
        (first + second).sum().backward()
        module(a, b)[0].sum().backward()         # one output of two is used
        module(b, a)[1].sum().backward()
        y = module(a, b)[1]
        slope, = lib.autograd.grad(y.sum(), a, create_graph=True)
        slope.pow(2).sum().backward()
        seen.append(plain(a.grad))
        layer = lib.nn.Linear(3, 2).double()
        with lib.no_grad():
            layer.weight.fill_(0.5)
        layer.register_full_backward_hook(
            lambda m, gi, go, seen=seen: seen.append((plain(gi), plain(go))))
        layer(b).sum().backward()                # no input requires a gradient
        results.append(seen)
    assert_same(*results)


def test_backward_hooks_change_gradients_and_can_be_removed() -> None:
    results = []
    for lib in LIBRARIES:
        layer = lib.nn.Linear(3, 3, bias=False).double()
        with lib.no_grad():
            layer.weight.copy_(lib.from_numpy(B))
        x = lib.from_numpy(A.copy()).requires_grad_()
        handles = [layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,)),
                   layer.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,), prepend=True),
                   layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))]
        layer(x).pow(2).sum().backward()
        first = x.grad.clone()
        for handle in handles:
            handle.remove()
        layer(x).pow(2).sum().backward()
        results.append(plain([first, x.grad, layer.weight.grad]))
        layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
        with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2"):
            layer(x).sum().backward()
    assert_same(*results)


def test_a_compiled_step_refuses_backward_hooks_and_inference_does_without() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model[0].register_full_backward_hook(lambda m, gi, go: None)
    with pytest.raises(nncompile.Error, match="hooks on the way back"):
        nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", loss=nn.MSELoss(),
                          optimizer=optim.SGD(model.parameters()))
    nncompile.trace(model, "f32[B, 3]")


@pytest.mark.parametrize("register", [
    lambda m, o: m[0].weight.register_hook(lambda g: g),
    lambda m, o: m[0].weight.register_post_accumulate_grad_hook(lambda p: None),
    lambda m, o: m[0].register_full_backward_hook(lambda m, gi, go: None),
    lambda m, o: m.register_full_backward_pre_hook(lambda m, go: None),
    lambda m, o: o.register_step_pre_hook(lambda *a: None),
    lambda m, o: o.register_step_post_hook(lambda *a: None),
    lambda m, o: optim.optimizer.register_optimizer_step_post_hook(lambda *a: None)],
    ids=["gradient", "accumulated", "module", "before module", "pre", "post", "of all"])
def test_a_compiled_step_refuses_hooks_that_are_registered_later(register: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    step = nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", loss=nn.MSELoss(),
                             optimizer=optimizer)
    x = np.ones((4, 3), np.float32)
    step(x, x[:, :2])
    with register(model, optimizer):
        for _ in range(2):
            before = model[0].weight.detach().numpy().copy()
            with pytest.raises(InputError, match="hooks"):
                step(x, x[:, :2])
            np.testing.assert_array_equal(model[0].weight.detach().numpy(), before)
    other = nn.Linear(2, 2)
    other.register_forward_hook(lambda *a: None)         # of something else
    step(x, x[:, :2])


@pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_compiled_step_refuses_hooks_of_parameters(register: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    handle = getattr(model[0].bias, register)(lambda g: None)
    arguments = {"loss": nn.MSELoss(), "optimizer": optim.SGD(model.parameters())}
    with pytest.raises(InputError, match=r"parameter 0\.bias has hooks"):
        nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", **arguments)
    handle.remove()
    nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", **arguments)


@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_a_compiled_step_refuses_hooks_of_the_optimizers_step(register: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = optim.SGD(model.parameters())
    arguments = {"loss": nn.MSELoss(), "optimizer": optimizer}
    for _ in range(2):                           # of two steps of one optimizer the second, too
        nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", **arguments)
    handle = getattr(optimizer, register)(lambda *_: None)
    with pytest.raises(InputError, match="SGD has hooks of its step"):
        nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", **arguments)
    handle.remove()
    nncompile.compile(model, "f32[B, 3]", "f32[B, 2]", **arguments)


# -- random choices --------------------------------------------------------------------------------

@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_by_the_weights(replacement: bool) -> None:
    nncompile.manual_seed(0)
    weights = nncompile.tensor([0.0, 1.0, 3.0, 0.0, 6.0])
    found = nncompile.multinomial(weights.expand(20000, 5), 2, replacement)
    assert found.dtype == nncompile.int64 and found.shape == (20000, 2)
    first = np.bincount(found[:, 0].numpy(), minlength=5) / 20000
    np.testing.assert_allclose(first, [0, 0.1, 0.3, 0, 0.6], atol=0.015)
    assert ((found[:, 0] == found[:, 1]).any().item()) == replacement
    assert weights.multinomial(1).shape == (1,)
    large = nncompile.ones(50).multinomial(10000, replacement=True)
    assert large.min() >= 0 and large.max() <= 49


@pytest.mark.parametrize(("weights", "count", "replacement"), [
    ([1.0, -1.0], 1, True), ([1.0, np.nan], 1, True), ([0.0, 0.0], 1, True),
    ([1.0, 2.0], 3, False), ([1.0], 0, True), ([[[1.0]]], 1, True)])
def test_multinomial_refuses_what_torch_refuses(weights: Any, count: int, replacement: bool
                                                ) -> None:
    for lib in LIBRARIES:
        with pytest.raises(RuntimeError if lib is torch else nncompile.Error):
            lib.multinomial(lib.tensor(weights), count, replacement)


def test_gumbel_softmax() -> None:
    nncompile.manual_seed(0)
    logits = nncompile.tensor([0.1, 0.3, 0.6]).log().expand(20000, 3).clone().requires_grad_()
    hard = nn.functional.gumbel_softmax(logits, hard=True)
    np.testing.assert_allclose(hard.mean(0).detach().numpy(), [0.1, 0.3, 0.6], atol=0.015)
    np.testing.assert_allclose(hard.detach().sum(1).numpy(), 1, 1e-6)
    soft = nn.functional.gumbel_softmax(logits, tau=0.5, dim=1)
    np.testing.assert_allclose(soft.sum(1).detach().numpy(), 1, 1e-5)
    (hard * nncompile.arange(3)).sum().backward()
    assert logits.grad.abs().sum() > 0


class Chooses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        logits = self.head(x)
        chosen = nncompile.multinomial(logits.softmax(-1), 2)
        also = nncompile.multinomial(logits.softmax(-1), 3, replacement=True)
        picked = logits.log_softmax(-1).gather(1, nncompile.cat([chosen, also], 1))
        mixed = nn.functional.gumbel_softmax(logits, tau=0.7, hard=True)
        return (picked.mean() + (mixed * nncompile.arange(5)).mean()).pow(2)


def test_choices_in_a_compiled_step_depend_on_the_seed_alone() -> None:
    x = np.random.default_rng(0).standard_normal((6, 4)).astype("f4")
    runs = []
    for threads in (1, 2, 1):
        nncompile.manual_seed(3 if threads else 0)
        model = Chooses()
        with nncompile.no_grad():
            model.head.weight.fill_(0.1)
        step = nncompile.compile(model, "f32[B, 4]", threads=threads, check=True,
                                 optimizer=optim.SGD(model.parameters(), lr=0.1))
        nncompile.manual_seed(5)
        runs.append([float(step(x)) for _ in range(6)])
    assert runs[0] == runs[1] == runs[2] and len({*runs[0]}) == 6


def test_states_of_the_generator() -> None:
    nncompile.manual_seed(11)
    assert nncompile.initial_seed() == 11
    nncompile.rand(3)
    state = nncompile.get_rng_state()
    first = nncompile.rand(4)
    with nncompile.random.fork_rng():
        nncompile.rand(9)
    second = nncompile.rand(4)
    nncompile.set_rng_state(state)
    assert (nncompile.rand(4) == first).all() and (nncompile.rand(4) == second).all()
    assert nncompile.seed() == nncompile.initial_seed() != 11
    drawn = nncompile.empty(20000).exponential_(2.0)
    assert abs(float(drawn.mean()) - 0.5) < 0.02
