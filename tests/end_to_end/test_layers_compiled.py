"""Every layer compiled, at a symbolic batch size, beside torch's: numbers in both floats."""
import numpy as np
import pytest

import ir
import nncompile
from tests.nn.test_layers_torch import LAYERS, draw, pair, tensor, torch

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element")  # torch's


def agree(fast, theirs, *arrays):
    with torch.no_grad():
        want = theirs(*map(tensor, arrays)).numpy()
    got = fast(*arrays)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    limit = 3e-6 if want.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got, want, 5 * limit, limit)
    return got


def check(name: str, dtype: type, compiled: bool = True) -> None:
    make, shapes = LAYERS[name]
    ours, theirs = pair(make, dtype)
    kind = str(ir.type_of(np.zeros(1, dtype))).split("[")[0]
    fast = nncompile.compile(ours, *(f"{kind}[{', '.join(map(str, ('B', *s)))}]" for s in shapes),
                             threads=2, check=True)
    whole = [draw((17, *s), dtype, i) for i, s in enumerate(shapes)]
    rows = agree(fast, theirs, *whole)
    for size in (1, 3):
        got = agree(fast, theirs, *(a[2:2 + size] for a in whole))
        if compiled:                                 # NumPy's own products do not keep to that
            np.testing.assert_array_equal(got, rows[2:2 + size], "another batch, other bits")
    assert len(fast(*(a[:0] for a in whole))) == 0


@pytest.mark.parametrize("name", LAYERS)
def test_in_float32(name):
    check(name, np.float32)


@pytest.mark.parametrize("name", [n for n in LAYERS if "inplace" not in n])
def test_in_float64(name, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", "0")
    check(name, np.float64, compiled=False)


@pytest.mark.parametrize("name", ["Bilinear", "GroupNorm", "LogSoftmax", "RMSNorm", "SELU"])
def test_in_compiled_float64(name):
    check(name, np.float64)
