"""torch modules, imported and compiled, beside themselves."""
import pickle
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

import nncompile
from nncompile.errors import InputError, ModelImportError
from nncompile.structure import mapped

torch = pytest.importorskip("torch")
from tests.end_to_end.test_torch_models import CASES, leaves, pair, parts  # noqa: E402

nn, F = torch.nn, torch.nn.functional


def compared(fast, module, *inputs, **keywords):
    """Compares results, their types and how they are nested, with torch's."""
    with torch.no_grad():
        wanted = module(*mapped(torch.from_numpy, inputs), **mapped(torch.from_numpy, keywords))
    got = fast(*inputs, **keywords)
    assert list(map(type, parts(got))) == [
        np.ndarray if kind is torch.Tensor else kind for kind in map(type, parts(wanted))]
    for g, w in zip(leaves(got), leaves(wanted), strict=True):
        w = w.detach().numpy()
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-5)
    return got


@pytest.mark.parametrize("name", CASES)
def test_models(name):
    theirs, _ = pair(name)
    case, rng = CASES[name], np.random.default_rng(0)
    inputs, keywords = (mapped(lambda draw: draw(rng), given)
                        for given in (case.inputs, case.keywords))
    if name == "TransformerModel":               # it asks whether a mask that it makes is causal
        with pytest.raises(ModelImportError, match=r"torch\.export cannot export it"):
            nncompile.compile(theirs, *case.types)
        return
    fast = nncompile.compile(theirs, *case.types, **case.keyword_types)
    compared(fast, theirs, *inputs, **keywords)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.Dropout(0.5))
        self.head = nn.Linear(6, 6)

    def forward(self, x):
        return self.head(self.body(x)) + x


def floats(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("example", ["f32[B, 6]", torch.zeros(1, 6), torch.zeros(3, 6),
                                     np.zeros((0, 6), np.float32), np.zeros((1, 6), np.float32)],
                         ids=["text", "one", "three", "none", "numpy"])
def test_one_compile_serves_every_batch_size(example):
    """The batch of the example does not matter: torch would fix 0 and 1."""
    module = Mlp().eval()
    fast = nncompile.compile(module, example, check=True)
    assert str(fast.ir("traced").inputs[0].type) == "f32[B, 6]"
    for batch in (0, 1, 3, 17):
        compared(fast, module, floats(batch, 6))
    again = pickle.loads(pickle.dumps(fast))
    np.testing.assert_array_equal(again(floats(3, 6)), fast(floats(3, 6)))


def test_layers_lines_and_parameters_have_torchs_names():
    module = Mlp().eval()
    graph = nncompile.from_torch(module, "f32[B, 6]")
    assert [v.name for v in graph.params] == [*module.state_dict()]
    assert graph.nodes[0].where.layer == "body.0 Linear"
    assert graph.nodes[-1].where.layer == "Mlp"
    assert graph.nodes[-1].where.line.startswith("test_torch_modules.py:")


def test_weights_are_copied_and_can_be_exchanged():
    module = Mlp().eval()
    fast = nncompile.compile(module, "f32[B, 6]")
    before = fast(floats(3, 6))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)
    np.testing.assert_array_equal(fast(floats(3, 6)), before)
    fast.load_weights(module.state_dict())
    compared(fast, module, floats(3, 6))


def test_tied_weights_are_one_parameter():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(9, 4), nn.Linear(4, 9)
            self.out.weight = self.table.weight

        def forward(self, ids):
            return self.out(self.table(ids))

    module = Tied().eval()
    fast = nncompile.compile(module, "i64[B, T]")
    assert len([v for v in fast.ir("traced").params if v.name.endswith("weight")]) == 1
    state = {name: 2 * tensor for name, tensor in module.state_dict().items()}
    fast.load_weights(state)
    module.load_state_dict(state)
    compared(fast, module, np.arange(6).reshape(2, 3))


def test_what_the_forward_requires_of_sizes_calls_are_held_to():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(8, 4))

        def forward(self, x):
            assert x.shape[1] <= 8
            return x + self.table[: x.shape[1]]

    module = Positions().eval()
    fast = nncompile.compile(module, torch.zeros(2, 5, 4), dynamic={"x": {1: "T"}})
    assert "require T <= 8" in str(fast.ir("traced"))
    for length in (1, 2, 8):
        compared(fast, module, floats(2, length, 4))
    with pytest.raises(InputError, match="T"):
        fast(floats(2, 9, 4))


def test_a_branch_on_a_size_of_one_is_not_taken_for_all_sizes():
    """torch.export takes no size to be 1: the module is asked whether it holds for 1, too."""
    class Branch(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[0] > 1 else x * 3

    fast = nncompile.compile(Branch().eval(), torch.zeros(4, 3))
    compared(fast, Branch(), floats(4, 3))
    with pytest.raises(InputError, match="B"):
        fast(floats(1, 3))


def test_a_size_that_cannot_change_is_said_with_what_to_do():
    class Fixed(nn.Module):
        def forward(self, x):
            return x @ torch.ones(4, 4) if x.shape[0] == 4 else x

    with pytest.raises(ModelImportError, match=r"size B, of axis 0, cannot change(.|\n)*dynamic="):
        nncompile.compile(Fixed().eval(), torch.zeros(4, 4))
    fast = nncompile.compile(Fixed().eval(), torch.zeros(4, 4), dynamic={"x": {0: 4}})
    compared(fast, Fixed(), floats(4, 4))


def test_outputs_are_nested_as_the_module_nests_them():
    Pair = namedtuple("Pair", "first second")
    torch.utils._pytree._register_namedtuple(Pair, serialized_type_name="tests.Pair")

    class Nested(nn.Module):
        def forward(self, batch, scale=None):
            x, y = batch["x"], batch["y"][0]
            y = y if scale is None else y * scale
            return {"sum": x + y, "rest": (x, [y, Pair(x - y, None)])}

    module = Nested().eval()
    fast = nncompile.compile(module, {"x": "f32[B, 3]", "y": ["f32[B, 3]"]}, scale="f32[3]")
    batch = {"x": floats(2, 3), "y": [floats(2, 3) + 1]}
    got = fast(batch, scale=floats(3))
    assert list(got) == ["sum", "rest"] and isinstance(got["rest"][1][1], Pair)
    np.testing.assert_array_equal(got["rest"][0], batch["x"])
    assert got["rest"][1][1].second is None


def test_an_exported_program():
    module = Mlp().eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(3, 6),), dynamic_shapes=({0: batch},))
    fast = nncompile.compile(program, check=True)
    for rows in (2, 5):
        compared(fast, module, floats(rows, 6))
    with pytest.raises(InputError, match="give nothing else"):
        nncompile.compile(program, "f32[B, 6]")


class Changing(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("scale", torch.ones(6, dtype=torch.float16))

    def forward(self, x):
        self.count += 1
        y = torch.linalg.inv(x[..., None] * x[:, None] + torch.eye(6)) @ x[..., None]
        return torch.cummax(y[..., 0], 1)[0] * self.scale + torch.dropout(x, 0.5, True)


def test_all_obstacles_are_named_at_once():
    with pytest.raises(ModelImportError) as error:
        nncompile.compile(Changing(), torch.zeros(2, 6))
    text = str(error.value)
    for word in ("count", "in every call anew", "linalg_inv", "cummax", "float16", "call eval()",
                 "test_torch_modules.py:", "Changing"):
        assert word in text, word


@pytest.mark.parametrize("call, match", [
    (lambda: nncompile.compile(Mlp().eval()), "does not take 0 inputs"),
    (lambda: nncompile.compile(Mlp().eval(), "f32[B, 6]", dynamic={"y": {0: "B"}}), "no input 'y'"),
    (lambda: nncompile.compile(Mlp().eval(), "f32[B, 6]", dynamic={"x": {5: "B"}}), "axes"),
    (lambda: nncompile.compile(Mlp().eval(), "f32[B, 6"), "input 'x'"),
])
def test_wrong_arguments(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_a_module_that_is_trained_is_refused_where_that_matters():
    with pytest.raises(ModelImportError, match=r"call eval\(\) of the module"):
        nncompile.compile(Mlp(), "f32[B, 6]")


def test_torch_is_imported_only_where_a_torch_module_is_given():
    code = ("import nncompile, sys; from nncompile import nn; import nncompile.importers.torch;"
            "nncompile.trace(nn.Linear(2, 2), 'f32[B, 2]'); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
