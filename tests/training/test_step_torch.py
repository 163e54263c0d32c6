"""Compiled training steps beside torch's loop: the same numbers, whatever the optimizer is."""

import copy
import pickle

import numpy as np
import pytest

import nncompile
from nncompile import nn, optim
from nncompile.errors import CompileError, InputError, TraceError

torch = pytest.importorskip("torch", reason="torch, the oracle of training, is not installed")

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((12, 5)).astype("f4")
Y = RANDOM.integers(0, 3, 12)


def net(lib, seed=0):
    """The same small net in each library, with the same weights."""
    ours = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    random = np.random.default_rng(seed)
    state = {name: random.standard_normal(a.shape).astype("f4") * 0.4
             for name, a in ours.state_dict().items()}
    if lib is nncompile:
        ours.load_state_dict(state)
        return ours
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8),
                                 torch.nn.Linear(8, 3))
    theirs.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    return theirs


def numbers(model):
    return [p.detach().numpy() for p in model.parameters()]


def assert_same(ours, theirs, **tolerance):
    for a, b in zip(numbers(ours), numbers(theirs), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 2e-4, "atol": 2e-6, **tolerance})


def torch_step(model, optimizer, x=X, y=Y, loss=None):
    optimizer.zero_grad()
    made = (loss or torch.nn.functional.cross_entropy)(model(torch.tensor(x)), torch.tensor(y))
    made.backward()
    optimizer.step()
    return made.item()


OPTIMIZERS = {
    "SGD": {"lr": 0.1},
    "SGD momentum": {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    "SGD nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "SGD maximize": {"lr": 0.05, "maximize": True},
    "Adam": {"lr": 0.01},
    "Adam amsgrad": {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 0.1},
    "Adadelta": {"lr": 1.0},
    "Adamax": {"lr": 0.01},
    "NAdam": {"lr": 0.01},
    "RAdam": {"lr": 0.01},
    "Rprop": {"lr": 0.01},
    "ASGD": {"lr": 0.05},
    "Adafactor": {"lr": 0.05},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_torchs(name):
    kind, options = name.split()[0], OPTIMIZERS[name]
    ours, theirs = net(nncompile), net(torch)
    own = getattr(optim, kind)(ours.parameters(), **options)
    other = getattr(torch.optim, kind)(theirs.parameters(), **options)
    step = nncompile.compile(ours, "f32[B, 5]", "i64[B]", loss=nn.CrossEntropyLoss(),
                             optimizer=own, check=True)
    for number in range(12):
        rows = slice(0, (12, 7, 1)[number % 3])          # no recompile for another batch
        loss = step(X[rows], Y[rows])
        assert isinstance(loss, np.ndarray) and loss.shape == ()
        np.testing.assert_allclose(loss, torch_step(theirs, other, X[rows], Y[rows]), rtol=2e-4)
    assert_same(ours, theirs)
    mine, its = own.state_dict()["state"], other.state_dict()["state"]
    assert mine.keys() == its.keys()
    for number, state in its.items():
        assert mine[number].keys() == state.keys()
        for slot, value in state.items():
            np.testing.assert_allclose(np.asarray(mine[number][slot]), np.asarray(value),
                                       rtol=1e-3, atol=1e-5, err_msg=slot)


def test_the_parameters_are_the_models_own():
    model = net(nncompile)
    before = [a.copy() for a in numbers(model)]
    held = model[0].weight.detach()
    step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(),
                             optimizer=optim.SGD(model.parameters(), lr=0.5))
    first = model(X)
    step(X, Y)
    assert any((a != b).any() for a, b in zip(before, numbers(model), strict=True))
    assert (model(X) != first).any()
    np.testing.assert_array_equal(held.numpy(), model[0].weight.detach().numpy())
    np.testing.assert_array_equal(model.state_dict()["0.weight"], held.numpy())
    step.sync()


def test_eager_and_compiled_steps_can_be_mixed():
    ours, theirs = net(nncompile), net(torch)
    own = optim.Adam(ours.parameters(), lr=0.02)
    other = torch.optim.Adam(theirs.parameters(), lr=0.02)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own)
    x, y = nncompile.from_numpy(X), nncompile.from_numpy(Y)
    for number in range(9):
        if number % 3 == 1:
            own.zero_grad()
            nn.functional.cross_entropy(ours(x), y).backward()
            own.step()
        else:
            step(X, Y)
        torch_step(theirs, other)
        if number == 5:
            own.load_state_dict(copy.deepcopy(own.state_dict()))
    assert_same(ours, theirs)


def test_schedules_and_rates_change_numbers_only():
    ours, theirs = net(nncompile), net(torch)
    own = optim.SGD(ours.parameters(), lr=0.3)
    other = torch.optim.SGD(theirs.parameters(), lr=0.3)
    mine = optim.lr_scheduler.ExponentialLR(own, 0.7)
    its = torch.optim.lr_scheduler.ExponentialLR(other, 0.7)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own)
    for number in range(6):
        step(X, Y)
        torch_step(theirs, other)
        mine.step()
        its.step()
        if number == 3:
            step.lr = 0.01
            other.param_groups[0]["lr"] = 0.01
        assert step.lr == pytest.approx(other.param_groups[0]["lr"])
    assert_same(ours, theirs)


def test_groups_and_frozen_parameters():
    ours, theirs = net(nncompile), net(torch)
    pairs = []
    for lib, model in ((nncompile, ours), (torch, theirs)):
        model[2].weight.requires_grad_(False)
        groups = [{"params": model[0].parameters(), "lr": 0.1},
                  {"params": [*model[2].parameters(), model[3].weight], "momentum": 0.9}]
        pairs.append(lib.optim.SGD(groups, lr=0.05))
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=pairs[0])
    for _ in range(5):
        step(X, Y)
        torch_step(theirs, pairs[1])
    assert_same(ours, theirs)
    assert "&3.bias" not in str(step.ir("traced")) and "&2.weight" not in str(step.ir("traced"))


def test_a_frozen_parameter_may_be_changed_between_steps():
    ours, theirs = net(nncompile), net(torch)
    own = optim.SGD([*ours[0].parameters()], lr=0.1)
    other = torch.optim.SGD([*theirs[0].parameters()], lr=0.1)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own)
    for number in range(4):
        step(X, Y)
        torch_step(theirs, other)
        if number == 1:
            with nncompile.no_grad():
                ours[3].weight.mul_(1.5)
            with torch.no_grad():
                theirs[3].weight.mul_(1.5)
        if number == 2:
            ours[0].load_state_dict({"weight": np.ones((8, 5), "f4"), "bias": np.zeros(8, "f4")})
            theirs[0].load_state_dict({"weight": torch.ones(8, 5), "bias": torch.zeros(8)})
    assert_same(ours, theirs)


class Tied(nn.Module):
    def __init__(self, lib=nncompile):
        super().__init__()
        self.embed = lib.nn.Embedding(6, 4)
        self.head = lib.nn.Linear(4, 6)
        self.head.weight = self.embed.weight

    def forward(self, ids, target):
        return nn.functional.cross_entropy(self.head(self.embed(ids)), target)


def test_a_weight_that_is_computed_of_others():
    ours, theirs = (lib.nn.Sequential(
        lib.nn.utils.parametrizations.weight_norm(lib.nn.Linear(5, 8)), lib.nn.Tanh(),
        lib.nn.Linear(8, 3)) for lib in (nncompile, torch))
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    own = optim.AdamW(ours.parameters(), lr=0.02)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.02)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own, check=True)
    for _ in range(5):
        step(X, Y)
        torch_step(theirs, other)
    for (name, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6, err_msg=name)


def test_tied_weights_and_a_loss_that_the_model_returns():
    class Theirs(torch.nn.Module):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.embed, self.head = torch.nn.Embedding(6, 4), torch.nn.Linear(4, 6)
            self.head.weight = self.embed.weight

        def forward(self, ids, target):
            return torch.nn.functional.cross_entropy(self.head(self.embed(ids)), target)

    ours, theirs = Tied(), Theirs()
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    own = optim.AdamW(ours.parameters(), lr=0.05)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.05)
    step = nncompile.compile(ours, "i64[B]", "i64[B]", optimizer=own)
    for number in range(6):
        ids = np.array([1, 1, 3, number % 6, 5])
        target = np.array([2, 0, 3, 4, 5])
        loss = step(ids, target)
        other.zero_grad()
        expected = theirs(torch.tensor(ids), torch.tensor(target))
        expected.backward()
        other.step()
        np.testing.assert_allclose(loss, expected.item(), rtol=1e-4)
    assert_same(ours, theirs)


def test_clipping_is_torchs():
    ours, theirs = net(nncompile), net(torch)
    own = optim.SGD(ours.parameters(), lr=1.0)
    other = torch.optim.SGD(theirs.parameters(), lr=1.0)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own, clip_norm=0.3)
    for _ in range(5):
        step(X, Y)
        other.zero_grad()
        torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(Y)).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
        other.step()
    assert_same(ours, theirs)


@pytest.mark.parametrize("clip_norm", [None, 0.2])
def test_accumulation_is_torchs(clip_norm):
    ours, theirs = net(nncompile), net(torch)
    own = optim.Adam(ours.parameters(), lr=0.02)
    other = torch.optim.Adam(theirs.parameters(), lr=0.02)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own, accumulate=3,
                             clip_norm=clip_norm)
    for number in range(9):
        x, y = X[number % 4:], Y[number % 4:]
        before = copy.deepcopy(numbers(ours))
        step(x, y)
        changed = any((a != b).any() for a, b in zip(before, numbers(ours), strict=True))
        assert changed == (number % 3 == 2)
        made = torch.nn.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(y))
        (made / 3).backward()
        if number % 3 == 2:
            if clip_norm:
                torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
            other.step()
            other.zero_grad()
    assert_same(ours, theirs)


def test_bits_do_not_depend_on_threads():
    found = []
    for threads in (1, 2, 4):
        model = net(nncompile)
        step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(), threads=threads,
                                 optimizer=optim.Adam(model.parameters(), lr=0.02))
        for number in range(5):
            step(X[:12 - number], Y[:12 - number])
        found.append(b"".join(a.tobytes() for a in numbers(model)))
    assert len(set(found)) == 1


def test_a_wrong_index_changes_nothing():
    for accumulate in (1, 2):
        model = net(nncompile)
        optimizer = optim.Adam(model.parameters())
        step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(), optimizer=optimizer,
                                 accumulate=accumulate)
        step(X, Y)
        before = [a.copy() for a in numbers(model)]
        state = optimizer.state_dict()["state"]
        wrong = Y.copy()
        wrong[3] = 7
        with pytest.raises(InputError, match="index 7"):
            step(X, wrong)
        for a, b in zip(before, numbers(model), strict=True):
            np.testing.assert_array_equal(a, b)
        assert str(optimizer.state_dict()["state"]) == str(state)
        step(X, Y)


def test_nan_in_a_batch_gives_nan_and_an_empty_batch_too():
    model = net(nncompile)
    step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(),
                             optimizer=optim.SGD(model.parameters(), lr=0.1))
    x = X.copy()
    x[2, 1] = np.nan
    assert np.isnan(step(x, Y))
    assert np.isnan(numbers(model)[0]).any()
    model = net(nncompile)
    step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(),
                             optimizer=optim.SGD(model.parameters(), lr=0.1))
    assert np.isnan(step(X[:0], Y[:0]))


def test_what_the_forward_says_is_constant_gets_no_gradient():
    def classes(lib):
        class Net(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = lib.nn.Linear(5, 3), lib.nn.Linear(5, 3)

            def forward(self, x):
                with lib.no_grad():
                    scale = self.b(x).sigmoid()
                return self.a(x) * scale + self.a(x).detach() * self.b(x).relu() + (
                    self.b.bias.data)
        return Net()
    ours, theirs = classes(nncompile), classes(torch)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
    own = optim.SGD(ours.parameters(), lr=0.3)
    other = torch.optim.SGD(theirs.parameters(), lr=0.3)
    step = nncompile.compile(ours, X, Y, loss=nn.CrossEntropyLoss(), optimizer=own)
    for _ in range(4):
        step(X, Y)
        torch_step(theirs, other)
    assert_same(ours, theirs)
    assert "detach" in str(step.ir("traced")) and "detach" not in str(step.ir())


def test_a_step_can_be_pickled():
    model = net(nncompile)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    step(X, Y)
    again = pickle.loads(pickle.dumps(step))
    assert again.model is not model
    assert step(X, Y) == again(X, Y)
    for a, b in zip(numbers(model), numbers(again.model), strict=True):
        np.testing.assert_array_equal(a, b)


def _fourth(out, y):
    return ((out - y) ** 4).sum()


def test_float64_and_other_losses():
    for make in (lambda lib: lib.nn.MSELoss(), lambda lib: lib.nn.SmoothL1Loss(beta=0.3),
                 lambda lib: _fourth):
        ours = nn.Linear(5, 2, dtype="float64")
        theirs = torch.nn.Linear(5, 2, dtype=torch.float64)
        theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})
        x, y = RANDOM.standard_normal((6, 5)), RANDOM.standard_normal((6, 2))
        own = optim.Adam(ours.parameters(), lr=0.02)
        other = torch.optim.Adam(theirs.parameters(), lr=0.02)
        step = nncompile.compile(ours, "f64[B, 5]", "f64[B, 2]", loss=make(nncompile),
                                 optimizer=own)
        for _ in range(10):
            step(x, target=y) if "target" in repr(step) else step(x, y)
            torch_step(theirs, other, x, y, make(torch))
        assert_same(ours, theirs, rtol=1e-10, atol=1e-12)


def test_what_cannot_be_a_step_says_why():
    model = net(nncompile)
    adam = optim.Adam(model.parameters())
    loss = nn.CrossEntropyLoss()
    wrong = [
        (dict(loss=loss), "needs optimizer="),
        (dict(loss=loss, optimizer="adam"), "str cannot be compiled into a step"),
        (dict(loss=loss, optimizer=torch.optim.SGD([torch.ones(1)])), "SGD cannot be compiled"),
        (dict(loss=loss, optimizer=optim.LBFGS(model.parameters())), "LBFGS cannot be compiled"),
        (dict(loss=3, optimizer=adam), "loss= is a module or a function"),
        (dict(loss=loss, optimizer=adam, clip_norm=-1), "clip_norm= is a positive"),
        (dict(loss=loss, optimizer=adam, accumulate=0), "accumulate= counts"),
        (dict(loss=nn.CrossEntropyLoss(reduction="none"), optimizer=adam), "one number, and gets"),
        (dict(optimizer=adam), "does not take 2 inputs"),
        (dict(loss=loss, optimizer=optim.Adam(net(nncompile).parameters())),
         "depends on no parameter"),
    ]
    for options, message in wrong:
        with pytest.raises(InputError, match=message):
            nncompile.compile(model, X, Y, **options)
    with pytest.raises(CompileError, match="inference only"):
        nncompile.compile(model, X, Y, loss=loss, optimizer=adam, target="cuda")
    step = nncompile.compile(model, X, Y, loss=loss, optimizer=adam)
    with pytest.raises(InputError, match="takes 2 arrays, input, target; it got 1"):
        step(X)
    with pytest.raises(InputError):
        step(X, Y.astype("f4"))
    with pytest.raises(InputError, match="got an array of shape") as refused:
        step(X[:, :4], Y)
    assert "weight" not in str(refused.value)    # which the step gives itself
    adam.param_groups[0]["weight_decay"] = 0.5
    with pytest.raises(InputError, match="weight_decay of the optimizer was switched on"):
        step(X, Y)


def test_what_was_changed_since_is_said():
    model = net(nncompile)
    optimizer = optim.SGD([*model[0].parameters()], lr=0.1)
    step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    model.eval()
    with pytest.raises(InputError, match="put into eval mode since the step was compiled"):
        step(X, Y)
    model.train()
    model[0].weight.requires_grad_(False)
    with pytest.raises(InputError, match="requires_grad of a parameter was changed"):
        step(X, Y)
    model[0].weight.requires_grad_(True)
    step(X, Y)
    optimizer.add_param_group({"params": model[3].parameters()})
    with pytest.raises(InputError, match="the optimizer got other parameters"):
        step(X, Y)


def test_a_backward_of_ones_own_is_refused():
    class Double(nncompile.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.l = nn.Linear(5, 3)

        def forward(self, x):
            return Double.apply(self.l(x))

    model = Net()
    with pytest.raises(TraceError, match="backward of its own"):
        nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(),
                          optimizer=optim.SGD(model.parameters()))


def test_the_step_can_be_read():
    model = net(nncompile)
    step = nncompile.compile(model, X, Y, loss=nn.CrossEntropyLoss(),
                             optimizer=optim.SGD(model.parameters(), lr=0.1), threads=1)
    assert "&0.weight = %" in str(step.ir()) and "backward" in str(step.ir())
    assert "def phases" in step.source and step.explain()
    before = copy.deepcopy(numbers(model))
    assert "linear" in str(step.profile(X, Y))
    for a, b in zip(before, numbers(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert repr(step).startswith("<nncompile.TrainStep Sequential_step(input: f32[B, 5]")
    step.threads = 2
    assert step.threads == 2
    assert step(X, Y, threads=1) > 0
