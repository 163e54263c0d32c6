"""Models written for torch, run by torch and by us from one text; only the imports differ."""
import re

import numpy as np
import pytest

import nncompile
from tests.ported.sources import MODELS

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")

BATCHES = (1, 3, 17)
IMPORTS = (
    (r"^import torch\.nn as nn$", "from nncompile import nn"),
    (r"^import torch((\.\w+)+) as (\w+)$", r"import nncompile\1 as \3"),
    (r"^import torch$", "import nncompile as torch"),
    (r"^from torch(?=[. ])", "from nncompile"),
    (r"^from einops\.layers", "from nncompile.einops.layers"),
)
INPUT = re.compile(r"(\w+)\[(.*)\](?:<(\d+))?(\+?)$")


def ours(text):
    """The text with other imports, and nothing else."""
    for theirs, replacement in IMPORTS:
        text = re.sub(theirs, replacement, text, flags=re.MULTILINE)
    return text


def made(text, make):
    names = {"__name__": "ported"}
    exec(compile(text, "<ported>", "exec"), names)
    return eval(make, names).eval()


def draw(inputs, batch):
    rng = np.random.default_rng(batch)
    drawn = []
    for dtype, sizes, limit, positive in (INPUT.match(text).groups() for text in inputs):
        shape = tuple(int(s) if s.strip().isdigit() else batch for s in sizes.split(","))
        if limit:
            drawn.append(rng.integers(0, int(limit), shape))
        elif dtype == "bool":
            drawn.append(rng.random(shape) < 0.7)
        else:
            x = rng.standard_normal(shape).astype(np.float32)
            drawn.append(np.abs(x) if positive else x)
    return drawn


def flat(result):
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [x for part in result for x in flat(part)]
    if isinstance(result, torch.Tensor):
        result = result.detach()
    return [] if result is None else [np.asarray(result)]


def assert_same(got, want):
    got, want = flat(got), flat(want)
    assert [(g.shape, g.dtype) for g in got] == [(w.shape, w.dtype) for w in want]
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_for_torch_runs_with_other_imports(name):
    text, make, inputs = MODELS[name]
    if "einops" in text:
        pytest.importorskip("einops", reason="einops is not installed")
    torch.manual_seed(0)
    oracle, model = made(text, make), made(ours(text), make)
    model.load_state_dict({key: w.numpy() for key, w in oracle.state_dict().items()})
    fast = nncompile.compile(model, *(re.sub(r"[<+].*$", "", text) for text in inputs))
    for batch in BATCHES:
        arrays = draw(inputs, batch)
        with torch.no_grad():
            want = oracle(*map(torch.from_numpy, arrays))
        assert_same(model(*arrays), want)
        assert_same(fast(*arrays), want)


def test_only_the_imports_differ():
    for text, _, _ in MODELS.values():
        assert [line for line in text.splitlines() if "import " not in line] == [
            line for line in ours(text).splitlines() if "import " not in line]
        assert not re.search(r"^(import|from) (torch|einops\.layers)", ours(text), re.MULTILINE)
