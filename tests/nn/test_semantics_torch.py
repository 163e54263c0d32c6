"""What a Module calls of itself, its parts and its hooks: the same classes on torch and here."""

import copy
import math

import numpy as np
import pytest

import nncompile
from nncompile import nn as our_nn
from nncompile.errors import InputError

torch = pytest.importorskip("torch", reason="torch, the oracle of the modules, is not installed")


def classes(lib):  # noqa: C901
    """Classes in the style of public code that override or hook what nn.Module calls."""
    nn = lib.nn

    class Lora(nn.Linear):
        """It merges its update into the weight when it goes to eval mode."""

        def __init__(self, width, rank=2):
            super().__init__(width, width)
            self.down = nn.Parameter(lib.ones(rank, width) * 0.1)
            self.up = nn.Parameter(lib.ones(width, rank) * 0.2)
            self.merged = False
            self.log = []

        def train(self, mode=True):
            super().train(mode)
            self.log.append(mode)
            if mode == self.merged:
                sign = -1 if mode else 1
                self.weight.data = self.weight.data + sign * (self.up.data @ self.down.data)
                self.merged = not mode
            return self

        def forward(self, x):
            y = super().forward(x)
            return y if self.merged else y + x @ self.down.T @ self.up.T

    class Table(nn.Module):
        """It has an array that is no buffer, which conversions have to reach."""

        def __init__(self):
            super().__init__()
            self.table = lib.ones(4) * 2

        def _apply(self, fn, recurse=True):
            super()._apply(fn)
            self.table = fn(self.table)
            return self

        def forward(self, x):
            return x * self.table

    class Called(nn.Linear):
        def __call__(self, x, scale=1.0):
            return super().__call__(x * scale).relu() + 1

    class Renamed(nn.Linear):
        """It saves its weight under an older name, and loads both."""

        def state_dict(self, *args, **kwargs):
            state = super().state_dict(*args, **kwargs)
            prefix = kwargs.get("prefix", "")
            state[prefix + "kernel"] = state.pop(prefix + "weight")
            return state

        def _load_from_state_dict(self, state_dict, prefix, *rest):
            if prefix + "kernel" in state_dict:
                state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    class Versioned(nn.Linear):
        _version = 3

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "steps"] = lib.ones(1)

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            self.seen = local_metadata.get("version")
            state_dict.pop(prefix + "steps", None)
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    class Net(nn.Module):
        def __init__(self, *parts):
            super().__init__()
            self.parts = nn.ModuleList(parts)

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return x

    return {c.__name__: c for c in (Lora, Table, Called, Renamed, Versioned, Net)}


def pair(make):
    """A model of both libraries, with the same weights."""
    theirs, ours = make(torch, **classes(torch)), make(nncompile, **classes(nncompile))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data = other.detach().numpy().copy()
    return theirs, ours


MODELS = {
    "train of a child": lambda lib, Net, Lora, **_: Net(Lora(4), lib.nn.Sequential(Lora(4))),
    "_apply": lambda lib, Net, Table, **_: Net(lib.nn.Linear(4, 4), Table()),
    "__call__ of a child": lambda lib, Net, Called, **_: Net(Called(4, 4), Called(4, 4)),
    "__call__ of the root": lambda lib, Called, **_: Called(4, 4),
    "renamed": lambda lib, Net, Renamed, **_: Net(Renamed(4, 4), lib.nn.Linear(4, 4)),
    "versioned": lambda lib, Net, Versioned, **_: Net(Versioned(4, 4)),
}
X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


def close(got, wanted):
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_results_are_torchs(make):
    theirs, ours = pair(make)
    for change in (lambda m: m, lambda m: m.eval(), lambda m: m.train(), lambda m: m.eval()):
        change(theirs), change(ours)
        close(ours(X), theirs(torch.from_numpy(X)))
    compiled = nncompile.compile(ours, "f32[B, 4]")
    close(compiled(X), theirs(torch.from_numpy(X)))
    again = copy.deepcopy(ours)
    close(again(X), theirs(torch.from_numpy(X)))
    theirs, ours = theirs.double(), ours.double()
    got, wanted = ours(X.astype(np.float64)), theirs(torch.from_numpy(X).double())
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_state_dicts_are_torchs(make):
    theirs, ours = pair(make)
    saved = theirs.state_dict()
    assert list(ours.state_dict()) == list(saved)
    assert ours.state_dict()._metadata == saved._metadata
    for name, values in ours.state_dict().items():
        np.testing.assert_array_equal(np.asarray(values), saved[name].numpy())
    changed = type(saved)((name, values * 2 + 1) for name, values in saved.items())
    changed._metadata = saved._metadata
    assert str(theirs.load_state_dict(changed)) == str(ours.load_state_dict(changed))
    close(ours.eval()(X), theirs.eval()(torch.from_numpy(X)))
    assert [getattr(m, "seen", None) for m in ours.modules()] == [
        getattr(m, "seen", None) for m in theirs.modules()]


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_load_weights_takes_the_models_own_state_dict(make):
    _, ours = pair(make)
    compiled = nncompile.compile(ours.eval(), "f32[B, 4]")
    state = {name: np.array(values) for name, values in ours.state_dict().items()}
    for name in state.keys() - {"parts.0.steps"}:
        state[name] = state[name] * 2 + 1
    compiled.load_weights(state)
    ours.load_state_dict(state)
    np.testing.assert_allclose(compiled(X), ours(X), rtol=1e-5, atol=1e-6)


def hooked(lib, Net, **_):
    """A model with hooks of every kind around its state dict."""
    log = []
    model = Net(lib.nn.Linear(4, 4), lib.nn.Linear(4, 4))
    first, second = model.parts

    def renamed(module, state, prefix, metadata):
        log.append(("renamed", prefix, dict(metadata)))
        state[prefix + "w"] = state.pop(prefix + "weight")

    def back(state, prefix, metadata, strict, missing, unexpected, errors):
        log.append(("back", prefix, strict, sorted(state)))
        state[prefix + "weight"] = state.pop(prefix + "w")

    def replaced(module, state, prefix, metadata):
        return type(state)((f"net.{name}", values) for name, values in state.items())

    def stripped(module, state, prefix, metadata, strict, missing, unexpected, errors):
        for name in list(state):
            state[name.removeprefix("net.")] = state.pop(name)

    first.register_state_dict_pre_hook(lambda m, p, keep: log.append(("saving", p, keep)))
    first.register_state_dict_post_hook(renamed)
    first._register_load_state_dict_pre_hook(back)
    second.register_load_state_dict_post_hook(lambda m, keys: log.append(("loaded", str(keys))))
    model._register_state_dict_hook(replaced)
    model.register_load_state_dict_pre_hook(stripped)
    model.log = log
    return model


def test_hooks_of_state_dicts_are_torchs():
    theirs, ours = pair(hooked)
    saved = theirs.state_dict()
    assert list(ours.state_dict()) == list(saved) and "net.parts.0.w" in saved
    theirs.load_state_dict(saved)
    ours.load_state_dict(saved)
    assert [entry[:2] for entry in ours.log] == [entry[:2] for entry in theirs.log]
    assert [e for e in ours.log if e[0] == "back"] == [e for e in theirs.log if e[0] == "back"]
    close(ours(X), theirs(torch.from_numpy(X)))
    compiled = nncompile.compile(ours.eval(), "f32[B, 4]")
    state = {name: values.numpy() * 3 for name, values in saved.items()}
    compiled.load_weights(state)
    ours.load_state_dict(state)
    np.testing.assert_allclose(compiled(X), ours(X), rtol=1e-5, atol=1e-6)


def test_a_hook_that_copies_or_converts():
    model = our_nn.Sequential(our_nn.Linear(4, 4)).eval()
    model.register_state_dict_post_hook(
        lambda m, state, p, _: state.update({k: v.copy() for k, v in state.items()}))
    compiled = nncompile.compile(model, "f32[B, 4]")
    state = {k: v * 2 for k, v in model.state_dict().items()}
    compiled.load_weights(state)
    model.load_state_dict(state)
    np.testing.assert_allclose(compiled(X), model(X), rtol=1e-5, atol=1e-6)
    model._state_dict_hooks.clear()
    model.register_state_dict_post_hook(lambda m, state, p, _: state.update(
        {"0.weight": state["0.weight"].T * 2}))
    compiled = nncompile.compile(model, "f32[B, 4]")
    with pytest.raises(InputError, match=r"'0.weight' cannot change: .* made by a hook"):
        compiled.load_weights({k: v + 1 for k, v in model.state_dict().items()})


def test_a_load_that_fails_in_a_part_of_the_users_own_changes_nothing():
    class Odd(our_nn.Linear):
        def _load_from_state_dict(self, *args):
            super()._load_from_state_dict(*args)
            raise RuntimeError("odd")

    model = our_nn.Sequential(our_nn.Linear(4, 4), Odd(4, 4))
    before = {name: values.copy() for name, values in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="odd"):
        model.load_state_dict({name: values + 1 for name, values in before.items()})
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_code_that_looks_at_the_dicts_of_hooks():
    def kinds(lib):
        layer = lib.nn.Linear(4, 4)
        layer.register_forward_hook(print)
        layer.register_forward_pre_hook(max, with_kwargs=True)
        found = [list(layer._forward_hooks.values()), list(layer._forward_pre_hooks.values())]
        layer._forward_hooks.clear()
        layer._forward_pre_hooks = type(layer._forward_pre_hooks)()
        layer(lib.zeros(1, 4))
        return found

    assert kinds(nncompile) == kinds(torch) == [[print], [max]]


def test_overrides_that_torch_does_not_call_from_an_assignment():
    def names(lib):
        class Own(lib.nn.Module):
            def add_module(self, name, module):
                setattr(self, name, module)

            def _get_name(self):
                return "Renamed"

        model = Own()
        model.add_module("part", lib.nn.ReLU())
        return repr(model)

    assert names(nncompile) == names(torch)


def test_setstate_and_arguments_by_position():
    class Own(our_nn.Linear):
        def __setstate__(self, state):
            super().__setstate__(state)
            self.restored = True

    state = {}
    assert Own(2, 2).state_dict(state, "p.", True) is state and list(state) == ["p.weight",
                                                                                "p.bias"]
    assert copy.deepcopy(Own(2, 2)).restored


def test_a_module_of_another_library_is_refused_by_its_name():
    with pytest.raises(TypeError, match=r"(?s)Sequential cannot have an object of type ReLU as its "
                                        r"module '1'.*do: .*nncompile in place of torch"):
        our_nn.Sequential(our_nn.ReLU(), torch.nn.ReLU())


@pytest.mark.parametrize("constant, same, others", [
    (0.0, [0.0], [-0.0, 0, False, math.nan]), (-0.0, [-0.0], [0.0]),
    (math.nan, [math.nan, float("nan")], [0.0]), (1, [1], [True, 1.0]), (None, [None], [0]),
])
def test_constant_arguments_are_the_same_by_their_bits(constant, same, others):
    class Power(our_nn.Module):
        def forward(self, x, exponent):
            return x if exponent is None else x * exponent

    compiled = nncompile.compile(Power().eval(), "f32[B, 4]", constant)
    for value in same:
        np.testing.assert_array_equal(compiled(X, value), Power()(X, value))
    for value in others:
        with pytest.raises(InputError, match="trace the model again"):
            compiled(X, value)


def nested(nn, depth):
    class Level(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x)

    model = nn.Linear(2, 2)
    for _ in range(depth):
        model = Level(model)
    return model.eval()


def run(lib, model):
    return model(lib.zeros(1, 2))


USES = {
    "call": run,
    "named_modules": lambda lib, model: list(model.named_modules()),
    "named_parameters": lambda lib, model: list(model.named_parameters()),
    "state_dict": lambda lib, model: model.state_dict(),
    "load_state_dict": lambda lib, model: model.load_state_dict(model.state_dict()),
    "train": lambda lib, model: model.train(),
    "apply": lambda lib, model: model.apply(id),
    "double": lambda lib, model: model.double(),
    "repr": lambda lib, model: repr(model),
    "requires_grad_": lambda lib, model: model.requires_grad_(False),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_modules_nested_as_deep_as_torch_takes_them(use):
    def fails(lib, depth):
        try:
            use(lib, nested(lib.nn, depth))
        except RecursionError:
            return True
        return False

    low, high = 100, 1100                        # torch's greatest depth is between these
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(torch, middle) else (middle, high)
    assert not fails(nncompile, low - 15)        # the innermost layer has a few more frames


def test_deep_modules_are_compiled_copied_and_pickled():
    model = nested(our_nn, 300)
    compiled = nncompile.compile(model, "f32[B, 2]")
    x = np.ones((3, 2), np.float32)
    np.testing.assert_allclose(compiled(x), model(x), rtol=1e-6, atol=1e-6)
    small = nested(our_nn, 100)
    assert len(list(copy.deepcopy(small).modules())) == 101


@pytest.mark.parametrize("index", [
    range(3), (range(3), [1, 0, 2]), (slice(None), range(1, 4)), (range(0), ...)],
    ids=str)
def test_a_range_is_an_index_as_a_list_is(index):
    numbers = np.arange(12.0).reshape(3, 4)
    ours, theirs = nncompile.from_numpy(numbers.copy()), torch.from_numpy(numbers.copy())
    np.testing.assert_array_equal(ours[index].numpy(), theirs[index].numpy())
    ours[index] = -1.0
    theirs[index] = -1.0
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
