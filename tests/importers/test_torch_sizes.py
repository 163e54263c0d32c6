"""Sizes in imported torch modules: branches on them, results that are sizes, arguments of any kind.
"""
import numpy as np
import pytest

import nncompile
from nncompile.errors import InputError, ModelImportError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Forward(nn.Module):
    """A module that computes a function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def floats(*shape):
    return np.random.default_rng([*shape]).standard_normal(shape).astype(np.float32)


def outputs(result):
    return [each.numpy() if isinstance(each, torch.Tensor) else each
            for each in (result if isinstance(result, tuple) else (result,))]


def agree(fast, module, *inputs, **keywords):
    with torch.no_grad():
        wanted = outputs(module(*map(torch.from_numpy, inputs),
                                **{k: torch.from_numpy(a) for k, a in keywords.items()}))
    got = outputs(fast(*inputs, **keywords))
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert type(g) is type(w)
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


SHAPES = [(b, t, 4) for b in (1, 3, 8) for t in (1, 2, 3, 4, 5, 8, 9, 12, 13)]


@pytest.mark.parametrize("function", [
    lambda x: x if x.shape[1] % 2 == 0 else -x,
    lambda x: x if x.shape[1] != 3 else -x,
    lambda x: x if x.shape[1] > x.shape[0] else -x,
    lambda x: x if x.shape[0] * x.shape[1] > 12 else -x,
    lambda x: x if x.shape[1] // 2 != 2 else -x,
    lambda x: x if x.shape[1] != x.shape[0] + 1 else -x,
    lambda x: x[:, :5] if x.shape[1] > 5 else x,
    lambda x: F.pad(x, (0, 0, 0, 4 - x.shape[1] % 4)) if x.shape[1] % 4 else x,
    lambda x: x * 2 if x.shape[0] == x.shape[1] else x,
], ids=["even", "not 3", "T > B", "B T > 12", "T // 2", "T != B + 1", "at most 5", "pad", "T == B"])
@pytest.mark.parametrize("example", ["f32[B, T, 4]", (3, 5, 4)], ids=["text", "tensor"])
def test_a_call_that_would_take_another_branch_is_refused_or_right(function, example):
    module = Forward(function).eval()
    given = example if isinstance(example, str) else torch.zeros(example)
    dynamic = {} if isinstance(example, str) else {"x": {1: "T"}}
    fast = nncompile.compile(nncompile.from_torch(module, given, dynamic=dynamic))
    right = 0
    for shape in SHAPES:
        try:
            fast(floats(*shape))
        except InputError:
            continue
        agree(fast, module, floats(*shape))
        right += 1
    assert right >= 5


@pytest.mark.parametrize("function", [
    lambda x: x[:, : x.shape[1] // 2],
    lambda x: x.sum(1) / x.shape[1],
    lambda x: x * x.shape[1] ** -0.5,
    lambda x: x * (x.shape[0] / x.shape[1]),
    lambda x: F.pad(x, (0, 0, 0, -x.shape[1] % 4)),
    lambda x: torch.arange(x.shape[1])[None, :, None] + x,
    lambda x: torch.arange(x.shape[1] - 1, -1, -1)[None, :, None] + x,
    lambda x: torch.arange(x.shape[0], x.shape[0] + 2 * x.shape[1], 2)[:, None] + x,
    lambda x: x.reshape(-1, 4).reshape(x.shape),
    lambda x: x[:, -1],
], ids=["half", "mean", "root", "ratio", "pad", "arange", "backwards", "from a size", "reshape",
        "last"])
def test_computing_with_sizes(function):
    fast = nncompile.compile(Forward(function).eval(), "f32[B, T, 4]", check=True)
    for shape in SHAPES:
        agree(fast, Forward(function), floats(*shape))


def test_sizes_among_the_results():
    def function(x):
        rows, steps, width = x.shape
        return x * 2, rows, steps * rows + 3, width, steps // 2, x.numel()

    fast = nncompile.compile(Forward(function).eval(), "f32[B, T, 4]", check=True)
    for shape in SHAPES:
        agree(fast, Forward(function), floats(*shape))


class Keywords(nn.Module):
    def forward(self, x, *more, scale=None, **rest):
        for each in (*more, *rest.values()):
            x = x + each
        return x if scale is None else x * scale


@pytest.mark.parametrize("count, names", [(1, ""), (2, ""), (3, "scale"), (1, "scale a b"),
                                          (2, "a"), (0, "x a")])
def test_starred_parameters(count, names):
    inputs = [floats(3, 4, k) for k in range(4, 5) for _ in range(count)]
    keywords = {name: floats(3, 4, 4) + k for k, name in enumerate(names.split())}
    module = Keywords().eval()
    forward = module.forward
    fast = nncompile.compile(module, *inputs, **keywords)
    assert module.forward == forward and "forward" not in vars(module)
    for rows in (1, 3):
        agree(fast, module, *(a[:rows] for a in inputs), **{k: a[:rows]
                                                            for k, a in keywords.items()})


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer()

    def forward(self, x):
        y, state = self.layer(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


LAYERS = {
    "lstm": lambda: nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True),
    "lstm with a projection": lambda: nn.LSTM(4, 5, proj_size=2, batch_first=True),
    "gru": lambda: nn.GRU(4, 5, 2, batch_first=True, bidirectional=True, dropout=0.5),
    "rnn": lambda: nn.RNN(4, 5, batch_first=True, bias=False),
    "rnn of relu": lambda: nn.RNN(4, 5, nonlinearity="relu", batch_first=True),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")     # torch's, of oneDNN
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_over_a_known_number_of_steps(name):
    module = Recurrent(LAYERS[name]).eval()
    fast = nncompile.compile(module, "f32[B, 7, 4]", check=True)
    for rows in (1, 2, 5):
        agree(fast, module, floats(rows, 7, 4))


def test_a_recurrent_layer_over_an_open_number_of_steps_is_refused():
    with pytest.raises(ModelImportError, match=r"size T, of axis 1, cannot change(.|\n)*LSTM"):
        nncompile.compile(Recurrent(LAYERS["lstm"]).eval(), "f32[B, T, 4]")


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells(cell):
    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell(4, 5)

        def forward(self, x):
            state = self.cell(x)
            return state if isinstance(state, tuple) else (state, self.cell(x, state))

    module = Step().eval()
    fast = nncompile.compile(module, "f32[B, 4]")
    agree(fast, module, floats(3, 4))


def test_check_takes_the_truth_where_torch_overflows_and_finds_what_is_wrong():
    """The variance of a row of 3e38 is infinite in float32, and so torch gives NaN."""
    module = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)).eval()
    fast = nncompile.compile(module, "f32[B, 6]", check=True)
    row = np.array([[3e38, -3e38, 1, 2, 3, 4]], np.float32)
    assert np.isfinite(fast(row)).all() and not np.isfinite(module(torch.from_numpy(row)).detach()
                                                            .numpy()).any()
    from nncompile.importers.torch import import_torch
    with pytest.raises(nncompile.CompileError, match="output 0 differs from torch's"):
        import_torch(module, "f32[B, 6]").check(lambda x: fast(x) + np.float32(1e-2))
