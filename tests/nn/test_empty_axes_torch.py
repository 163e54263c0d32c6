"""Reductions and attention over axes without elements, beside torch: its answer, or an error."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nncompile
from nncompile import nn

torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
attention = nn.functional.scaled_dot_product_attention


class Attention(nn.Module):
    def forward(self, q: Any, k: Any, v: Any, mask: Any) -> Any:
        return attention(q, k, v, mask)


class LogSumExp(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.logsumexp(1)


class Norm(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.norm(dim=1), x.norm(), x.norm(1, dim=0, keepdim=True)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@pytest.mark.parametrize("kind", ["bool", "f32"])
@pytest.mark.parametrize(("batch", "queries", "keys"), [
    (2, 3, 5), (2, 5, 3), (2, 3, 0), (2, 0, 5), (2, 0, 0), (0, 3, 5), (1, 1, 1)])
def test_attention_with_a_mask(batch: int, queries: int, keys: int, kind: str) -> None:
    q, k, v = drawn(batch, queries, 4), drawn(batch, keys, 4), drawn(batch, keys, 4)
    seen = drawn(queries, keys) > 0
    seen[:1] = False                             # a query that sees nothing
    mask = seen if kind == "bool" else np.where(seen, 0, -np.inf).astype(np.float32)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.from_numpy, (q, k, v, mask))).numpy()
    np.testing.assert_allclose(attention(q, k, v, mask), wanted, rtol=1e-5, atol=1e-6)
    fast = nncompile.compile(Attention().eval(), "f32[B, L, 4]", "f32[B, S, 4]", "f32[B, S, 4]",
                             f"{kind}[L, S]", threads=1)
    if keys == 0:
        with pytest.raises(nncompile.InputError, match="S = 0"):
            fast(q, k, v, mask)
    else:
        np.testing.assert_allclose(fast(q, k, v, mask), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (0, 3), (3, 0), (0, 0)])
def test_norms_and_logsumexp_over_open_axes(shape: tuple[int, int]) -> None:
    x = drawn(*shape)
    tensor = torch.from_numpy(x)
    norms = tensor.norm(dim=1), tensor.norm(), tensor.norm(1, dim=0, keepdim=True)
    fast = nncompile.compile(Norm().eval(), "f32[B, T]", threads=1)
    for got in (Norm()(x), fast(x)):
        for one, other in zip(got, norms, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-5)
    wanted = tensor.logsumexp(1).numpy()
    np.testing.assert_allclose(LogSumExp()(x), wanted, rtol=1e-5)
    compiled = nncompile.compile(LogSumExp().eval(), "f32[B, T]", threads=1)
    if shape[1] == 0:
        with pytest.raises(nncompile.InputError, match="T = 0"):
            compiled(x)
    else:
        np.testing.assert_allclose(compiled(x), wanted, rtol=1e-5)


@pytest.mark.parametrize(("shape", "view"), [
    ((0, 4), (-1, 0)), ((4, 0), (0, -1)), ((2, 3, 0), (0, -1, 3))])
def test_a_size_beside_a_0_that_was_not_there_is_ambiguous(shape, view):
    with pytest.raises(RuntimeError, match="ambiguous"):
        torch.zeros(shape).view(view)
    with pytest.raises(nncompile.Error, match="any size fits for -1 beside a 0"):
        nncompile.zeros(shape).view(view)
