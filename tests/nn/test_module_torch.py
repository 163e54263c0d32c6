"""Containers, hooks and state beside torch's; nested inputs and outputs; NumPy's functions."""

import copy
import dataclasses
import pickle
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn
from nncompile.array import Array
from nncompile.errors import Error, InputError
from nncompile.structure import flatten
from nncompile.trace import trace, trace_structured

torch = pytest.importorskip("torch", reason="torch, the oracle of the modules, is not installed")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Own(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


# -- containers ------------------------------------------------------------------------------------

def changed(nn, change):
    """The text of a container after a change, or the kind of error that it was."""
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Linear(2, 3), nn.Sigmoid())
    listed = nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.SiLU()])
    named = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    try:
        result = change(nn, model, listed, named)
    except Exception as error:
        return type(error)
    shown = repr(result) if isinstance(result, nn.Module) else type(result).__name__
    return shown, repr(model), repr(listed), repr(named)


CHANGES = {
    "insert": lambda nn, s, li, d: s.insert(1, nn.GELU()),
    "insert end": lambda nn, s, li, d: s.insert(4, nn.GELU()),
    "insert negative": lambda nn, s, li, d: s.insert(-1, nn.GELU()),
    "insert outside": lambda nn, s, li, d: s.insert(9, nn.GELU()),
    "insert int": lambda nn, s, li, d: s.insert(0, 3),
    "pop": lambda nn, s, li, d: s.pop(1), "pop last": lambda nn, s, li, d: s.pop(-1),
    "pop outside": lambda nn, s, li, d: s.pop(4), "list pop": lambda nn, s, li, d: li.pop(0),
    "del": lambda nn, s, li, d: s.__delitem__(0),
    "del slice": lambda nn, s, li, d: s.__delitem__(slice(1, 3)),
    "del step": lambda nn, s, li, d: li.__delitem__(slice(None, None, 2)),
    "plus": lambda nn, s, li, d: s + nn.Sequential(nn.GELU()),
    "plus list": lambda nn, s, li, d: s + li,
    "list plus": lambda nn, s, li, d: li.__add__([nn.GELU()]),
    "iadd": lambda nn, s, li, d: s.__iadd__(nn.Sequential(nn.GELU())),
    "times": lambda nn, s, li, d: s * 2, "rtimes": lambda nn, s, li, d: 3 * s,
    "itimes": lambda nn, s, li, d: s.__imul__(2), "times 0": lambda nn, s, li, d: s * 0,
    "times float": lambda nn, s, li, d: s * 1.5,
    "extend": lambda nn, s, li, d: s.extend([nn.GELU(), nn.Mish()]),
    "extend 3": lambda nn, s, li, d: li.extend(3),
    "replace": lambda nn, s, li, d: s.__setitem__(-1, nn.GELU()),
    "replace outside": lambda nn, s, li, d: li.__setitem__(5, nn.GELU()),
    "dict": lambda nn, s, li, d: d.update([("c", nn.GELU()), ("a", nn.Mish())]),
    "dict triple": lambda nn, s, li, d: d.update([("c", nn.GELU(), 3)]),
    "dict 3": lambda nn, s, li, d: d.update(3), "dict pop": lambda nn, s, li, d: d.pop("a"),
    "dict no": lambda nn, s, li, d: d["z"], "dict del": lambda nn, s, li, d: d.__delitem__("b"),
    "dict int": lambda nn, s, li, d: d.__setitem__("c", 3), "clear": lambda nn, s, li, d: d.clear(),
    "dict dot": lambda nn, s, li, d: d.__setitem__("c.d", nn.GELU()),
    "call": lambda nn, s, li, d: d(3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_containers_change_as_torchs(change):
    assert changed(nn, change) == changed(torch.nn, change)


def test_module_dict_is_a_dict():
    d = nn.ModuleDict(OrderedDict(b=nn.ReLU(), a=nn.Tanh()))
    assert list(d) == list(d.keys()) == ["b", "a"] and len(d) == 2 and "a" in d
    assert [type(m) for m in d.values()] == [nn.ReLU, nn.Tanh] and dict(d.items())["b"] is d["b"]


def test_parameter_lists_and_dicts():
    params = nn.ParameterList([draw(2), nn.Parameter(draw(3)), "text"])
    theirs = torch.nn.ParameterList([torch.ones(2), torch.nn.Parameter(torch.ones(3)), "text"])
    assert repr(params) == repr(theirs)
    params.append(draw(1)), theirs.append(torch.ones(1))
    assert list(params.state_dict()) == list(theirs.state_dict()) == ["0", "1", "3"]
    assert len(params) == 4 and params[-1].shape == (1,) and len(params[1:3]) == 2
    params[0] = draw(5)
    assert isinstance(params[0], nn.Parameter) and [type(p) for p in params][2] is str
    with pytest.raises(IndexError):
        params[4]
    with pytest.raises(RuntimeError):
        params(3)
    with pytest.raises(TypeError):
        params.extend(3)
    named = nn.ParameterDict({"b": draw(2), "a": draw(3)})
    assert list(named) == ["a", "b"] and list(named.state_dict()) == ["a", "b"]
    assert named.pop("a").shape == (3,) and named.get("a", 7) == 7 and "b" in named
    named.update({"c": draw(1)})
    assert (named | nn.ParameterDict({"d": draw(1)})).keys() == {"b": 0, "c": 0, "d": 0}.keys()
    assert named.popitem()[0] == "c" and len(named) == 1
    model = Own(lambda x: x * model.ps[0] + model.pd["b"])
    model.ps, model.pd = nn.ParameterList([draw(2)]), named
    assert [v.name for v in trace(model, "f32[B, 2]").params] == ["ps.0", "pd.b"]


def test_buffers():
    model = nn.Module()
    model.kept = nn.Buffer(draw(2))
    model.passing = nn.Buffer(np.array([True]), persistent=False)
    assert list(model.state_dict()) == ["kept"]
    assert [n for n, _ in model.named_buffers()] == ["kept", "passing"]
    assert model.get_buffer("kept") is model.kept and model.passing.dtype == np.bool_
    assert model.double().kept.dtype == np.float64 and model.passing.dtype == np.bool_
    with pytest.raises(AttributeError, match="no buffer"):
        model.get_buffer("none")
    with pytest.raises(TypeError, match="float32 or float64"):
        model.to(np.int32)


def test_set_submodule():
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    model.set_submodule("0.0", nn.Tanh())
    assert isinstance(model[0][0], nn.Tanh)
    with pytest.raises(AttributeError):
        model.set_submodule("0.new", nn.Tanh(), strict=True)
    with pytest.raises(ValueError):
        model.set_submodule("", nn.Tanh())


def test_loading_by_assignment():
    layer = nn.Linear(2, 3)
    weight, bias = np.ones((3, 2)), np.zeros(3)
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    assert layer.weight.numpy() is weight and layer.bias.dtype == np.float64
    assert list(layer.state_dict(destination={"x": 1}, prefix="p.")) == ["x", "p.weight", "p.bias"]
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight


# -- hooks -----------------------------------------------------------------------------------------

def test_hooks_run_eagerly_and_traced():
    def build(nn):
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        seen = []
        model[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        model[0].register_forward_pre_hook(lambda m, args: seen.append("first"), prepend=True)
        model[0].register_forward_hook(lambda m, args, out: out + args[0])
        model.register_forward_hook(
            lambda m, args, kwargs, out: seen.append("last"), with_kwargs=True)
        return model, seen

    (ours, seen), (theirs, also) = build(nn), build(torch.nn)
    ours.load_state_dict(theirs.state_dict())
    x = draw(2, 3)
    want = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x), want, 1e-5, 1e-6)
    assert seen == also == ["first", "last"]
    assert np.array_equal(ir.interpret(trace(ours, "f32[B, 3]"), [x])[0], ours(x))


def test_hooks_are_removed_and_called_after_errors():
    model, seen = nn.Linear(3, 3), []
    with model.register_forward_hook(lambda *_: seen.append(1)):
        model(draw(1, 3))
    handle = model.register_forward_hook(lambda *a: seen.append(2), always_call=True)
    with pytest.raises(Error):
        model(draw(1, 4))
    handle.remove(), handle.remove()
    model(draw(1, 3))
    assert seen == [1, 2]
    model.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(Error, match="returns None or a pair"):
        model(draw(1, 3))


# -- nested inputs and outputs ---------------------------------------------------------------------

class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Batch:
    ids: Any
    mask: Any = None


def nested(batch, pair, *, options, scale=1.0):
    total = batch.ids * scale + options["shift"][0]
    return {"out": Pair(total, pair.left), "all": [total, None, (pair.right * 2, "text")],
            "again": Batch(total, 3)}


def test_nested_inputs_and_outputs():
    model = Own(nested)
    arguments = (Batch(draw(2, 3)), Pair(draw(2), draw(2, 1)))
    named = {"options": {"shift": [draw(3)]}, "scale": 2.0}
    traced = trace_structured(model, Batch("f32[B, 3]"), Pair("f32[B]", "f32[B, 1]"),
                              options={"shift": ["f32[3]"]}, scale=2.0)
    assert [v.name for v in traced.graph.inputs] == [
        "args0.ids", "args1.left", "args1.right", "options.shift.0"]
    assert str(ir.parse(str(traced.graph))) == str(traced.graph)
    want = model(*arguments, **named)
    leaves = traced.nesting.inputs.flatten(arguments, named)
    got = traced.nesting.outputs.unflatten(ir.interpret(traced.graph, leaves))
    assert isinstance(got["out"], Pair) and isinstance(got["again"], Batch)
    assert got["again"].mask == 3
    assert got["all"][1] is None and got["all"][2][1] == "text"
    for g, w in zip(flatten(got, lambda a: isinstance(a, np.ndarray))[0],
                    flatten(want, lambda a: isinstance(a, np.ndarray))[0], strict=True):
        assert np.array_equal(g, w)
    assert pickle.loads(pickle.dumps(traced.nesting)) == traced.nesting
    assert not traced.nesting.inputs.is_flat and traced.nesting.inputs.leaf_names[0] == "args0.ids"


def test_calls_that_are_nested_in_another_way():
    inputs = trace_structured(Own(nested), Batch("f32[B, 3]"), Pair("f32[B]", "f32[B, 1]"),
                              options={"shift": ["f32[3]"]}, scale=2.0).nesting.inputs
    batch, pair, options = Batch(1), Pair(1, 2), {"shift": [3]}
    assert inputs.flatten((batch, pair), {"options": options}) == [1, 1, 2, 3]
    for args, kwargs, message in [
        ((batch,), {"options": options}, "args1 is missing"),
        ((batch, pair, 3), {"options": options}, "go by position"),
        ((batch, pair), {"options": options, "more": 1}, "no argument more"),
        ((batch, pair), {"options": options, "scale": 3.0}, "scale was 2.0"),
        ((batch, (1, 2)), {"options": options}, "args1 is a Pair, not tuple"),
        ((batch, pair), {"options": {"shift": [1, 2]}}, "has the parts 0, not 0, 1"),
        ((batch, pair), {"options": {"shaft": [1]}}, "has the parts shift, not shaft"),
        ((batch, pair), {"options": 3}, "options is a dict, not int"),
    ]:
        with pytest.raises(InputError, match=message):
            inputs.flatten(args, kwargs)


# -- NumPy's functions -----------------------------------------------------------------------------

FUNCTIONS = {
    "sums": lambda x: [np.sum(x), np.mean(x, axis=1), np.prod(x, 0), np.min(x),
                       np.max(x, axis=-1, keepdims=True), np.amax(x, 0), np.any(x > 1, axis=1),
                       np.all(x > 9)],
    "spread": lambda x: [np.var(x), np.std(x, axis=0), np.var(x, axis=1, ddof=1), np.cumsum(x, 1)],
    "args": lambda x: [np.argmax(x), np.argmin(x, axis=1), np.cumsum(x)],
    "join": lambda x: [np.concatenate([x, x], axis=1), np.stack([x, x]), np.vstack((x, x)),
                       *np.split(x, 2, axis=1), *np.split(x, [1, 2], axis=1), np.hstack([x, x])],
    "shapes": lambda x: [np.reshape(x, (4, 3)), np.transpose(x), np.swapaxes(x, 0, 1), np.ravel(x),
                         np.expand_dims(x, 0), np.squeeze(x[:1], axis=0), np.moveaxis(x, 0, 1),
                         np.broadcast_to(x, (2, 3, 4)), np.flip(x), np.flip(x, 0), np.roll(x, 1)],
    "repeats": lambda x: [np.repeat(x, 2, axis=0), np.tile(x, (2, 1)), np.tril(x), np.triu(x, k=1)],
    "choice": lambda x: [np.where(x > 0, x, 0), np.clip(x, -1, 1), np.take(x, [0, -1], axis=1)],
    "like": lambda x: [np.zeros_like(x), np.ones_like(x), np.full_like(x, 3), np.round(x, 2)],
    "products": lambda x: [np.einsum("ij,kj->ik", x, x), np.dot(x, x.T), np.outer(x[0], x[0])],
    "ufuncs": lambda x: [np.sin(x), np.log1p(abs(x)), np.sign(x), np.floor(x), np.rint(x),
                         np.isnan(x), np.square(x), np.exp2(x), np.arctan(x), np.reciprocal(x)],
    "operators": lambda x: [x // 2, x % 2, x**3, abs(x) ** 1.5, ~(x > 0), (x > 0) & (x < 1),
                            (x > 0) | (x < -1), (x > 0) ^ (x > 1), +x, np.logical_not(x > 0)],
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_numpys_functions_mean_the_same(function):
    x = draw(3, 4)
    graph = trace(Own(function), "f32[3, 4]")
    for got, traced, want in zip(Own(function)(x), ir.interpret(graph, [x]), function(x),
                                 strict=True):
        assert np.array_equal(got, traced) and got.shape == np.shape(want)
        np.testing.assert_allclose(got, want, 1e-5, 1e-6)


def test_functions_from_outside():
    x = draw(2, 3)
    assert type(nncompile.exp(x)) is np.ndarray and type(nncompile.exp(Array(x))) is Array
    mask = nncompile.tril(nncompile.ones(3, 3)).view(1, 3, 3)
    assert isinstance(mask, Array) and mask.shape == (1, 3, 3)
    assert all(callable(getattr(nncompile, name)) for name in nncompile.functions.__all__)
    assert copy.deepcopy(nn.Parameter(x)).shape == (2, 3)
