"""Module: the tree, its names, its state and its text, beside torch's where that is installed."""

import copy
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest

from ir import Error
from nncompile import nn
from nncompile.errors import InputError


class Pair(NamedTuple):
    left: Any
    right: Any


class Net(nn.Module):
    """Everything a module can hold."""

    def __init__(self, width=4):
        super().__init__()
        self.scale = nn.Parameter(np.ones(width, np.float32))
        self.body = nn.Sequential(
            OrderedDict(first=nn.Linear(width, width), act=nn.ReLU(), last=nn.Linear(width, width))
        )
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3))
        self.register_buffer("mean", np.zeros(width, np.float32))
        self.register_buffer("cache", np.zeros(2, np.float32), persistent=False)
        self.register_buffer("nothing", None)
        self.register_parameter("absent", None)
        self.none = None
        self.empty = nn.Sequential()
        self.tied = self.body.first

    def forward(self, x):
        x = self.body(x - self.mean) * self.scale
        for layer in self.layers:
            x = layer(x)
        return self.tied(x)


def torch_net():
    torch = pytest.importorskip("torch", reason="torch, the oracle of the modules, is missing")

    class TorchNet(torch.nn.Module):
        def __init__(self, width=4):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(width))
            self.body = torch.nn.Sequential(OrderedDict(
                first=torch.nn.Linear(width, width), act=torch.nn.ReLU(),
                last=torch.nn.Linear(width, width)))
            self.layers = torch.nn.ModuleList(
                torch.nn.Linear(width, width, bias=False) for _ in range(3))
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("cache", torch.zeros(2), persistent=False)
            self.register_buffer("nothing", None)
            self.register_parameter("absent", None)
            self.none = None
            self.empty = torch.nn.Sequential()
            self.tied = self.body.first

        forward = Net.forward

    TorchNet.__name__ = "Net"
    return TorchNet()


def names(pairs):
    return [name for name, _ in pairs]


def test_names_and_order_are_torchs():
    ours, theirs = Net(), torch_net()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(ours.state_dict(prefix="net.")) == list(theirs.state_dict(prefix="net."))
    for method in ("named_parameters", "named_buffers", "named_modules"):
        for options in ({}, {"prefix": "p"}, {"remove_duplicate": False}):
            pairs = [getattr(model, method)(**options) for model in (ours, theirs)]
            assert names(pairs[0]) == names(pairs[1]), (method, options)
    assert names(ours.named_children()) == names(theirs.named_children())
    assert names(ours.named_parameters(recurse=False)) == ["scale"]
    for method in ("parameters", "buffers", "modules", "children"):
        assert len(list(getattr(ours, method)())) == len(list(getattr(theirs, method)()))
    assert repr(ours) == repr(theirs)


def test_repr_of_containers_is_torchs():
    torch = pytest.importorskip("torch", reason="torch, the oracle of the text, is not installed")

    def make(nn):
        class Own(nn.Module):
            def extra_repr(self):
                return "two\nlines"

        class Parent(Own):
            def __init__(self):
                super().__init__()
                self.child = nn.Sequential(nn.ModuleList([nn.ReLU(), nn.Linear(2, 1)]), Own())
                self.gone = nn.Tanh()
                self.gone = None

        return [
            Own(), Parent(), nn.Module(), nn.Sequential(), nn.ModuleList(),
            nn.ModuleList([Parent(), Parent(), nn.ReLU(), nn.ReLU(True), nn.ReLU()]),
            nn.Sequential(nn.Sequential(nn.Sequential(nn.Identity()))),
        ]

    assert list(map(repr, make(nn))) == list(map(repr, make(torch.nn)))


def test_weights_load_from_torch():
    ours, theirs = Net(), torch_net()
    assert repr(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    x = np.random.default_rng(0).standard_normal((6, 4), np.float32)
    import torch
    np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).detach().numpy(), 1e-5, 1e-6)


def test_state_dict_is_not_a_copy_and_loading_is():
    model = nn.Linear(2, 2)
    weight = np.ones((2, 2))
    before = model.weight.numpy().copy()
    state = model.state_dict()
    assert state["weight"] is model.weight.numpy()
    model.load_state_dict({"weight": weight, "bias": [1, 2]})
    assert np.array_equal(model.weight.data, weight) and model.weight.dtype == np.float32
    assert np.array_equal(state["weight"], before), "arrays taken before keep their numbers"
    weight[:] = 7
    assert model.weight.data.max() == 1


def test_a_load_that_fails_names_everything_and_changes_nothing():
    model = Net()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    state = {name: array + 1 for name, array in before.items()}
    del state["scale"], state["body.last.bias"]
    state |= {"more": 1, "layers.0.weight": np.ones((4, 5)), "layers.1.weight": "text",
              "mean": np.ones(4) * 1j, "cache": np.zeros(2)}
    with pytest.raises(InputError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert message.splitlines() == [
        "the state dict does not fit Net:",
        "  missing keys: scale, body.last.bias",
        "  unexpected keys: more, cache",
        "  mean: values of type complex128 cannot become f32[4]",
        "  layers.0.weight: the shape is [4, 5], the model's [4, 4]",
        "  layers.1.weight: text is no number",
    ]
    assert all(np.array_equal(before[n], a) for n, a in model.state_dict().items())


def test_a_load_that_is_not_strict():
    model = nn.Linear(2, 1)
    keys = model.load_state_dict({"weight": [[1, 2]], "extra": 0}, strict=False)
    assert keys.missing_keys == ["bias"] and keys.unexpected_keys == ["extra"]
    assert "missing_keys=['bias']" in repr(keys)
    assert model.weight.data.tolist() == [[1, 2]]
    with pytest.raises(InputError, match="weight: the shape"):
        model.load_state_dict({"weight": [1, 2]}, strict=False)
    with pytest.raises(TypeError, match="maps names"):
        model.load_state_dict([("weight", 1)])


def test_tied_modules_stay_tied():
    model = Net()
    state = {name: array + 1 for name, array in model.state_dict().items()}
    model.load_state_dict(state)
    assert model.tied is model.body.first
    copied = copy.deepcopy(model)
    assert copied.tied.weight is copied.body.first.weight
    assert copied.tied.weight is not model.tied.weight


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_answer_alike_and_are_apart(duplicate):
    model = Net().eval()
    twin = duplicate(model)
    x = np.ones((2, 4), np.float32)
    want = model(x)
    assert np.array_equal(twin(x), want) and repr(twin) == repr(model) and not twin.training
    twin.load_state_dict({name: array * 0 for name, array in twin.state_dict().items()})
    assert np.array_equal(model(x), want)


def test_train_and_eval_reach_every_module():
    model = Net()
    assert model.training and model.eval() is model
    assert not any(module.training for module in model.modules())
    model.body.train()
    assert not model.training and model.body.last.training
    assert model.train(False) is model and not model.body.training


def test_requires_grad():
    model = Net()
    assert model.requires_grad_(False) is model
    assert not any(p.requires_grad for p in model.parameters())
    assert model.scale.requires_grad_().requires_grad
    with pytest.raises(InputError, match="floats"):
        nn.Parameter(np.arange(3))
    assert nn.Parameter(np.arange(3), requires_grad=False).dtype == np.int64


def test_apply_goes_from_the_leaves_to_the_root():
    seen = []
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Identity())
    assert model.apply(lambda m: seen.append(type(m).__name__)) is model
    assert seen == ["ReLU", "Tanh", "Sequential", "Identity", "Sequential"]


def test_get_submodule_and_parameter():
    model = Net()
    assert model.get_submodule("body.last") is model.body[2]
    assert model.get_submodule("") is model
    assert model.get_parameter("layers.1.weight") is model.layers[1].weight
    for path in ("body.missing", "scale", "body..last", "layers.9"):
        with pytest.raises(AttributeError):
            model.get_submodule(path)
    with pytest.raises(AttributeError, match=r"no parameter 'body\.last'"):
        model.get_parameter("body.last")


def test_attributes_take_each_others_place():
    model = nn.Module()
    model.x = 3
    model.x = nn.Parameter(np.ones(2, np.float32))
    assert list(model.state_dict()) == ["x"] and "x" not in vars(model)
    model.x = nn.ReLU()
    assert list(model.state_dict()) == [] and names(model.named_children()) == ["x"]
    model.x = None
    assert model.x is None and list(model.children()) == []
    del model.x
    assert not hasattr(model, "x")
    model.register_buffer("b", np.zeros(2))
    model.b = np.ones(3)
    assert model.state_dict()["b"].tolist() == [1, 1, 1]
    del model.b
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'b'"):
        getattr(model, "b")  # noqa: B009
    with pytest.raises(AttributeError):
        del model.b


def test_attributes_that_are_refused():
    model = Net()
    for name, value in [("scale", np.ones(4)), ("body", 3), ("mean", "text")]:
        with pytest.raises(TypeError, match=name):
            setattr(model, name, value)
    for register in (model.register_buffer, model.register_parameter, model.add_module):
        for name in ("", "a.b", "training"):
            with pytest.raises(KeyError):
                register(name, None)
        with pytest.raises(TypeError, match="string"):
            register(3, None)
    with pytest.raises(TypeError, match="Parameter or None"):
        model.register_parameter("new", np.ones(3))
    with pytest.raises(Error, match="float16"):
        model.register_buffer("narrow", np.zeros(3, np.float16))


def test_init_of_the_base_need_not_be_called():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 3)
            self.w = nn.Parameter([1.0, 2.0, 3.0])

        def forward(self, x):
            return self.layer(x) * self.w

    assert Forgetful()(np.ones((1, 2), np.float32)).shape == (1, 3)
    assert list(Forgetful().state_dict()) == ["w", "layer.weight", "layer.bias"]


def test_sequential_and_module_list():
    layers = [nn.Linear(2, 2), nn.ReLU(), nn.Tanh(), nn.Linear(2, 1)]
    model = nn.Sequential(*layers)
    assert len(model) == 4 and list(model) == layers
    assert model[0] is layers[0] and model[-1] is layers[3] and model[np.int64(1)] is layers[1]
    part = model[1:]
    assert type(part) is nn.Sequential and list(part) == layers[1:]
    assert names(part.named_children()) == ["1", "2", "3"]
    assert model.append(nn.Identity()) is model and len(model) == 5
    model[-1] = nn.Sigmoid()
    assert isinstance(model[4], nn.Sigmoid)
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"index {index} is out of range"):
            model[index]
    with pytest.raises(TypeError):
        model["0"]
    listed = nn.ModuleList(layers[:2]).extend(layers[2:3])
    listed.insert(1, layers[3])
    assert list(listed) == [layers[0], layers[3], layers[1], layers[2]]
    assert type(listed[::2]) is nn.ModuleList and names(listed[::2].named_children()) == ["0", "1"]
    named = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    assert named.a is named[0] and isinstance(named[:1].a, nn.ReLU)


def test_float64():
    x = np.random.default_rng(0).standard_normal((3, 4))
    model = Net()
    want = model(x.astype(np.float32))
    got = model.double()(x)
    assert got.dtype == np.float64 and model.mean.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    assert model.float()(x.astype(np.float32)).dtype == np.float32
    assert nn.Linear(2, 2, dtype=np.float64).weight.dtype == np.float64
    assert nn.LayerNorm(2, dtype="float64", device="cpu").bias.dtype == np.float64


def test_outputs_of_any_structure():
    class Many(nn.Module):
        def forward(self, x, pairs):
            return {"sum": x + pairs[0], "list": [x, (pairs[1] * 2,)], "text": "as it is"}

    x = np.ones(2, np.float32)
    out = Many()(x, pairs=[x, x])
    assert type(out["sum"]) is np.ndarray and out["sum"].tolist() == [2, 2]
    assert type(out["list"][1][0]) is np.ndarray and out["text"] == "as it is"


def test_named_tuples_stay_what_they_are():
    class Swap(nn.Module):
        def forward(self, pair):
            return type(pair)(pair.right * 1, pair.left * 1)

    swapped = Swap()(Pair(np.zeros(1, np.float32), np.ones(1, np.float32)))
    assert isinstance(swapped, Pair) and swapped.left.tolist() == [1]


def test_parameter_reads_as_an_array():
    p = nn.Parameter([[1, 2], [3, 4]])
    assert p.shape == (2, 2) and p.dtype == np.float32 and p.requires_grad
    assert np.asarray(p) is p.numpy() and np.array(p) is not p.numpy()
    assert np.array_equal(np.ones((1, 2), np.float32) @ p, [[4, 6]])
    assert repr(p).startswith("Parameter containing:\nArray([[1., 2.],")
    p.data = np.zeros(3, np.float32)
    assert p.shape == (3,)
    assert np.linalg.norm(p) == 0 and np.sin(p).tolist() == [0, 0, 0]
    assert nn.Parameter(p * 2).data.tolist() == [0, 0, 0]
    assert len({p, p, nn.Parameter(p)}) == 2
