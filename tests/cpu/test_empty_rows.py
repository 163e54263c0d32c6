"""Rows without elements, however many: a call does not go through them block by block."""
import numpy as np
import pytest

import nncompile
from nncompile import nn


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("type_", ["f32[B, T]", "f32[B, 0]"])
@pytest.mark.parametrize("jit", ["1", "0"])
def test_rows_without_elements(type_, threads, jit, monkeypatch):
    """2^40 rows in blocks would take minutes."""
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    for forward in (lambda _, x: (x * 2).exp().softmax(-1), lambda _, x: nn.functional.relu(x)):
        model = type("Model", (nn.Module,), {"forward": forward})().eval()
        fast = nncompile.compile(model, type_, threads=threads)
        for rows in (0, 3, 1 << 40):
            assert fast(np.zeros((rows, 0), np.float32)).shape == (rows, 0)


def test_empty_sums_of_many_rows_are_written():
    model = type("Model", (nn.Module,), {"forward": lambda _, x: x.sum(1)})().eval()
    fast = nncompile.compile(model, "f32[B, T]")
    out = np.full(5000, np.nan, np.float32)
    fast(np.zeros((5000, 0), np.float32), out=out)
    assert (out == 0).all()
