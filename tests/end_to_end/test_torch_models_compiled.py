"""Models written for torch, compiled, beside torch's own."""
import pickle

import numpy as np
import pytest

import nncompile
from nncompile.structure import mapped
from tests.end_to_end.test_torch_models import CASES, leaves, pair, parts, torch


@pytest.mark.parametrize("jit", ["1", "0"], ids=["compiled", "plain"])
@pytest.mark.parametrize("name", CASES)
def test_models(name, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    theirs, ours = pair(name)
    case, rng = CASES[name], np.random.default_rng(0)
    inputs, keywords = (mapped(lambda draw: draw(rng), given)
                        for given in (case.inputs, case.keywords))
    before = [a.copy() for a in leaves([inputs, keywords])]
    with torch.no_grad():
        wanted = theirs(*mapped(lambda a: torch.from_numpy(a.copy()), inputs),
                        **mapped(lambda a: torch.from_numpy(a.copy()), keywords))
    fast = nncompile.compile(ours, *case.types, **case.keyword_types, threads=2, check=True)
    got = fast(*inputs, **keywords)
    assert list(map(type, parts(got))) == [
        np.ndarray if kind is torch.Tensor else kind for kind in map(type, parts(wanted))]
    for g, w in zip(leaves(got), leaves(wanted), strict=True):
        w = w.detach().numpy()
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        np.testing.assert_allclose(g, w, rtol=2e-4, atol=2e-5)
    for array, copy in zip(leaves([inputs, keywords]), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    if jit == "1":
        again = pickle.loads(pickle.dumps(fast))(*inputs, **keywords)
        for g, a in zip(leaves(got), leaves(again), strict=True):
            np.testing.assert_array_equal(g, a)
