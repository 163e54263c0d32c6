"""A parameter that every row of an open batch has: a class token, seen with stride 0."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import nncompile
from nncompile import nn

READERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "linear": lambda n, m, token: m.lin(token),
    "linear of one output": lambda n, m, token: m.one(token),
    "linear and a chain": lambda n, m, token: n.relu(m.lin(token)) + 1,
    "matmul": lambda n, m, token: token @ token.transpose(1, 2),
    "softmax": lambda n, m, token: token.softmax(-1),
    "norm": lambda n, m, token: m.norm(token),
    "sum": lambda n, m, token: token.sum(-1),
    "concat": lambda n, m, token: n.cat([token, token * 2], 1),
    "take": lambda n, m, token: token[:, :, [1, 0, 3]],
    "attention": lambda n, m, token: n.nn.functional.scaled_dot_product_attention(
        m.lin(token), token, token),
}


def _made(n: Any, name: str) -> Any:
    random = np.random.default_rng(0)

    def parameter(*shape: int) -> Any:
        data = random.standard_normal(shape).astype(np.float32)
        return n.nn.Parameter(n.from_numpy(data))

    class Tokens(n.nn.Module):                   # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.token = parameter(3, 8), parameter(1, 2, 8)
            self.lin, self.one, self.norm = n.nn.Linear(8, 5), n.nn.Linear(8, 1), n.nn.LayerNorm(8)
            if name == "attention":
                self.lin = n.nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            token = self.token.expand(x.shape[0], -1, -1)
            return x.unsqueeze(-1) * self.scale, READERS[name](n, self, token)

    return Tokens().eval()


@pytest.mark.parametrize("name", READERS)
def test_a_kernel_reads_the_parameter_that_it_is_given(name: str) -> None:
    """Among other constants, of which one is read before: numbers of constants are not mixed up."""
    theirs, ours = _made(torch, name), _made(nncompile, name)
    nn.Module.load_state_dict(ours, {k: v.numpy() for k, v in theirs.state_dict().items()})
    compiled = nncompile.compile(ours, "f32[B, 3]")
    for size in (0, 1, 2, 7):
        x = np.random.default_rng(size).standard_normal((size, 3)).astype(np.float32)
        with torch.no_grad():
            expected = theirs(torch.from_numpy(x))
        for got, wanted in zip(compiled(x), expected, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-5, atol=1e-5)
