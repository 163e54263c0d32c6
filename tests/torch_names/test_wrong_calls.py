"""Wrong calls: the message speaks of torch's name of the call, and of no class of ours."""
from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import nncompile
import nncompile.nn.functional as F
from nncompile import nn
from nncompile.placeholders import is_placeholder, no_ops, torch_names

# A name with a dot in front of brackets: what may be there is Tensor.name and nn.Layer.
OURS = re.compile(r"\b(?!Tensor\.|nn\.|torch\.|cuda\.)\w+\.\w+\(|__init__|<locals>|<lambda>")
X = nncompile.ones(2, 2)


def public(space):
    names = getattr(space, "__all__", None) or [n for n in dir(space) if not n.startswith("_")]
    return sorted(name for name in names if callable(getattr(space, name, None))
                  and not is_placeholder(getattr(space, name)) and name not in no_ops())


def check(call, name):
    """Makes a call that cannot be right, and checks what it says where it raises."""
    try:
        call()
    except Exception as error:
        if "truth value of an array" in str(error):          # NumPy's, of a size that is an array
            return True
        assert not OURS.search(str(error)), f"{type(error).__name__}: {error}"
        if isinstance(error, TypeError) and "unexpected" in str(error):
            assert name.rstrip("_") in str(error), error
            assert "; it is " in str(error), error
    else:
        return False
    return True


FUNCTIONS = [(space, name) for space in (nncompile, F) for name in public(space)
             if not inspect.isclass(getattr(space, name))]


@pytest.mark.parametrize("space, name", FUNCTIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_calls_of_a_function(space, name):
    function = getattr(space, name)
    if name in ("compile", "from_onnx", "from_torch", "from_sklearn", "load_file", "save_file",
                "trace", "is_grad_enabled", "manual_seed"):
        return                                   # our own
    check(lambda: function(*[X] * 20), name)
    check(lambda: function(X, bogus=1), name)
    check(lambda: function(), name)


@pytest.mark.parametrize("name", public(nncompile.Array))
def test_wrong_calls_of_a_method(name):
    assert check(lambda: getattr(X.clone(), name)(bogus=1), name), "an unknown keyword is taken"
    check(lambda: getattr(X.clone(), name)(*[X] * 20), name)
    check(lambda: getattr(X.clone(), name)(), name)


LAYERS = [name for name in public(nn) if inspect.isclass(getattr(nn, name))
          and issubclass(getattr(nn, name), nn.Module) and name not in ("Module", "Identity")]


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_calls_of_a_constructor(name):
    layer = getattr(nn, name)
    check(lambda: layer(*[3] * 20), name)
    check(lambda: layer(bogus=1), name)
    check(lambda: layer(), name)


def test_a_function_says_what_it_takes():
    with pytest.raises(TypeError, match=r"^softmax\(\): got an unexpected keyword argument 'bogus'"
                                        r"; it is softmax\(input, dim.*out=None\)"):
        nncompile.softmax(X, 0, bogus=1)
    with pytest.raises(TypeError, match=r"^Tensor.flip\(\) got an unexpected keyword"):
        X.flip(bogus=1)
    with pytest.raises(TypeError, match=r"^nn.Linear\(\) missing 1 required positional argument"):
        nn.Linear(3)
    with pytest.raises(TypeError, match=r"^Tensor.swapdims\(\)"):
        X.swapdims(1)


# Arguments of torch's that are not taken by name, and why.
NOT_TAKEN = {
    "out_dtype": "mixed precision", "train": "functions of training", "cudnn_enabled": "CUDA",
    "cudnn_enable": "CUDA", "names": "named dimensions", "upper": "linear algebra",
    "rcond": "linear algebra", "some": "linear algebra", "orig_func": "no argument of users",
    "dim1": "diag_embed of other dimensions", "dim2": "diag_embed of other dimensions",
    "p": "bernoulli of a number", "output_size": "repeat_interleave of several numbers",
    "other": "max and min of two arrays by name", "dtype": "norm and normal in a dtype",
    "device": "see dtype", "generator": "rrelu and randint_like", "indices": "embedding",
    "split_size_or_sections": "by position", "tensor": "by position", "a": "by position",
    "b": "by position", "implicit": "of torch alone", "cls": "no argument", "mode": "by position",
    "storage": "storages", "from_": "by position", "to": "by position", "axis0": "swapdims",
    "axis1": "swapdims", "size": "Tensor.new",
}


@pytest.mark.parametrize("space", ["", "Tensor"])
def test_arguments_that_torch_takes_are_taken(space):
    torch = pytest.importorskip("torch", reason="whose arguments these are")
    from tests.torch_names.test_names import tool
    signatures = tool("torch_signatures")
    ours, theirs = (nncompile, torch) if not space else (nncompile.Array, torch.Tensor)
    for name in torch_names()[space]:
        here, there = getattr(ours, name, None), getattr(theirs, name, None)
        if here is None or is_placeholder(here) or name in no_ops() or not callable(there):
            continue
        unknown = set(signatures.unknown_to(here, space, name, there)) - set(NOT_TAKEN)
        assert unknown <= _missing(name), name


def _missing(name):
    """Arguments of single names that are not taken."""
    if name in ("cholesky", "det", "inverse", "pinverse", "qr", "slogdet", "hardshrink",
                "threshold"):
        return {"input", "out"}                  # methods and functions under other names
    if name in ("add", "floor_divide", "mul", "sub", "true_divide", "gather"):
        return {"out", "sparse_grad"}            # methods: torch's functions take them
    return set()


@pytest.mark.parametrize("call", [
    lambda t, x: t.exp(input=x), lambda t, x: t.cat([x, x], out=None),
    lambda t, x: t.zeros(size=(2, 3)), lambda t, x: t.ones(2, 3, layout=t.strided),
    lambda t, x: t.full(size=(2,), fill_value=3.0, pin_memory=False),
    lambda t, x: t.zeros_like(x, memory_format=t.preserve_format),
    lambda t, x: x.clone(memory_format=t.contiguous_format),
    lambda t, x: x.contiguous(memory_format=t.contiguous_format), lambda t, x: x.view(t.float32),
    lambda t, x: x.view(size=(3, 2)), lambda t, x: t.empty(0, requires_grad=True),
    lambda t, x: t.add(x, x, out=t.empty(0)), lambda t, x: t.exp(x, out=t.zeros(2, 3)),
    lambda t, x: t.sort(x, out=(t.empty(0), t.empty(0, dtype=t.int64)))[0],
    lambda t, x: t.arange(4, requires_grad=False), lambda t, x: t.broadcast_to(x, size=(4, 2, 3)),
    lambda t, x: t.gather(x, 1, t.zeros(2, 1, dtype=t.int64), sparse_grad=False),
    lambda t, x: t.randint(high=1, size=(2, 2)), lambda t, x: x.swapaxes(axis0=0, axis1=1),
])
def test_options_of_torch_s(call):
    torch = pytest.importorskip("torch", reason="the oracle")
    data = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    ours = call(nncompile, nncompile.tensor(data))
    theirs = call(torch, torch.tensor(data)).detach()
    assert str(ours.dtype) == str(theirs.dtype)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_out_is_written():
    x, out = nncompile.tensor([1.0, 2.0]), nncompile.zeros(2)
    view = out.view(2)
    assert nncompile.mul(x, 3, out=out) is out and view.tolist() == [3, 6]
    with pytest.raises(nncompile.Error, match=r"mul\(out=...\) would change"):
        nncompile.mul(x, 3, out=nncompile.zeros(3))

    class Model(nn.Module):
        def forward(self, x):
            out = nncompile.zeros_like(x)
            nncompile.add(x, 1, out=out)
            return out

    assert [n.op for n in nncompile.trace(Model(), "f32[B]").nodes][-1] == "add"
