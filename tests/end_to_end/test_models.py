"""Compiled models against the float64 interpreter, at many batch sizes and thread counts."""
import inspect

import numpy as np
import pytest

import ir
import nncompile
from tests.end_to_end import models
from tests.end_to_end.models import CASES, ROW_INDEPENDENT

BATCHES = [0, 1, 2, 3, 5, 6, 7, 8, 13, 64, 97, 200]
COMPILED: dict[str, tuple] = {}


def compiled(name: str):
    if name not in COMPILED:
        nncompile.nn.manual_seed(0)
        model = CASES[name].model().eval()
        COMPILED[name] = model, nncompile.compile(model, *CASES[name].types, threads=2, check=True)
    return COMPILED[name]


def as_list(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("name", CASES)
def test_against_float64(name):
    _, fast = compiled(name)
    for batch in BATCHES:
        if batch == 0 and name == "over the batch":
            continue                       # a mean over no rows
        inputs = CASES[name].inputs(batch)
        expected = ir.interpret(fast.ir("traced"), inputs, np.float64)
        for got, want in zip(as_list(fast(*inputs)), expected, strict=True):
            assert got.dtype == np.float32 and got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=CASES[name].tolerance * max(
                1.0, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("name", CASES)
def test_against_eager(name):
    model, fast = compiled(name)
    inputs = CASES[name].inputs(4, seed=1)
    for got, want in zip(as_list(fast(*inputs)), as_list(model(*inputs)), strict=True):
        assert isinstance(want, np.ndarray)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ROW_INDEPENDENT)
def test_rows_are_bit_identical(name):
    """For any batch size, position in the batch, and thread count."""
    _, fast = compiled(name)
    inputs = CASES[name].inputs(1100 if name != "encoder" else 150, seed=2)
    fast.threads = 1
    want = [y.copy() for y in as_list(fast(*inputs))]
    rows = len(inputs[0])
    for threads in (1, 2, 3):
        fast.threads = threads
        for batch in (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 47, 96, 97, 100, rows):
            for start in {0, 1, 5, rows - batch} if batch < rows - 5 else {0}:
                got = as_list(fast(*(x[start:start + batch] for x in inputs)))
                for g, w in zip(got, want, strict=True):
                    np.testing.assert_array_equal(g.view(np.int32),
                                                  w[start:start + batch].view(np.int32))
    fast.threads = 2


@pytest.mark.parametrize("name", CASES)
def test_non_finite_numbers_stay_in_their_rows(name):
    if name in ("encoder", "over the batch"):
        pytest.skip("integers, or rows that depend on each other")
    _, fast = compiled(name)
    inputs = CASES[name].inputs(7)
    want = [y.copy() for y in as_list(fast(*inputs))]
    inputs[0][3] = np.nan
    inputs[0][5].reshape(-1)[0] = np.inf
    for got, clean in zip(as_list(fast(*inputs)), want, strict=True):
        assert np.isnan(got[3]).any()
        for row in (0, 1, 2, 4, 6):
            np.testing.assert_array_equal(got[row], clean[row])


@pytest.mark.parametrize("T", [1, 2, 17, 40])
def test_a_second_dynamic_size(T):
    _, fast = compiled("encoder")
    inputs = CASES["encoder"].inputs(5, T=T)
    want = ir.interpret(fast.ir("traced"), inputs, np.float64)[0]
    np.testing.assert_allclose(fast(*inputs), want, atol=2e-5)


def test_every_stage_computes_the_same():
    _, fast = compiled("encoder")
    inputs = CASES["encoder"].inputs(3)
    want = ir.interpret(fast.ir("traced"), inputs, np.float64)[0]
    for stage in fast.stages:
        got = ir.interpret(fast.ir(stage), inputs, np.float64)[0]
        np.testing.assert_allclose(got, want, atol=1e-12)
        text = str(fast.ir(stage))
        assert str(ir.parse(text)) == text


@pytest.mark.parametrize("name", ["digits", "residual", "encoder"])
def test_against_torch(name):
    """The same layers in torch, with the same weights, through state_dict."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model, fast = compiled(name)
    twin = torch_twin(torch, model).eval()
    inputs = CASES[name].inputs(6, seed=3)
    with torch.no_grad():
        want = twin(*map(torch.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(fast(*inputs), want, rtol=1e-4, atol=2e-6)


def torch_twin(torch, model):
    """The same class of model built in torch: its source uses only what torch.nn has too."""
    source = inspect.getsource(models).split("class Odd")[0].split("from nncompile import nn")[1]
    source = source.replace("import nncompile.nn.functional as F", "")
    space = {"nn": torch.nn, "F": torch.nn.functional}
    exec(source, space)

    def twin(layer):
        name = type(layer).__name__
        arguments = {"Linear": lambda: (layer.in_features, layer.out_features),
                     "Softmax": lambda: (-1,), "Block": lambda: (48,),
                     "Sequential": lambda: tuple(map(twin, layer))}.get(name, tuple)()
        return (space.get(name) or getattr(torch.nn, name))(*arguments)

    built = twin(model)
    built.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in model.state_dict().items()})
    return built
