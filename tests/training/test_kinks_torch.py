"""What the eager tape gives at kinks, ties and edges of functions that are made of several ops."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import ir
import nncompile
import nncompile.nn.functional as our_F
from nncompile.trace import trace

X = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
ROWS = np.array([[0.0, 0.0], [3.0, 4.0]])
OTHERS = np.array([[0.0, 0.0], [3.0, -4.0]])
TIES = np.array([1.0, 2.0, 2.0])
SMALL = np.arange(8.0).reshape(2, 4) ** 1.3

CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    **{f"norm {p}": (lambda t, f, x, p=p: x.norm(p=p), [np.zeros(3)])
       for p in (1, 1.5, 2, 3, float("inf"))},
    "norm of rows": (lambda t, f, x: t.linalg.vector_norm(x, dim=1), [ROWS]),
    "normalize": (lambda t, f, x: f.normalize(x, dim=1)[:, 0], [ROWS]),
    "cosine": (lambda t, f, x, y: f.cosine_similarity(x, y, dim=1), [ROWS, OTHERS]),
    "pairwise": (lambda t, f, x, y: f.pairwise_distance(x, y), [ROWS, OTHERS]),
    "std": (lambda t, f, x: x.std(), [np.full(3, 2.0)]),
    "std_mean": (lambda t, f, x: t.std_mean(x)[0], [np.full(3, 2.0)]),
    "var": (lambda t, f, x: x.var(), [X]),
    "clamp": (lambda t, f, x: x.clamp(0.0, 1.0), [X]),
    "clamp from below": (lambda t, f, x: x.clamp(min=0), [X]),
    "relu6": (lambda t, f, x: f.relu6(x), [np.array([0.0, 6.0, -1.0, 3.0, 7.0, np.nan])]),
    "hardtanh": (lambda t, f, x: f.hardtanh(x), [X]),
    "max": (lambda t, f, x: x.max(), [TIES]),
    "amax": (lambda t, f, x: x.amax(), [TIES]),
    "max along": (lambda t, f, x: x.max(dim=0).values, [TIES]),
    "min along": (lambda t, f, x: x.min(dim=1, keepdim=True).values, [np.ones((2, 3))]),
    "topk": (lambda t, f, x: x.topk(2).values, [TIES]),
    "sort": (lambda t, f, x: x.sort().values[0], [TIES]),
    "logsumexp": (lambda t, f, x: t.logsumexp(x, 0), [np.array([2.0, 2.0, -np.inf, 5.0])]),
    "hypot": (lambda t, f, x, y: t.hypot(x, y), [np.array([0.0, 3.0]), np.array([0.0, 4.0])]),
    "prod": (lambda t, f, x: x.prod(), [np.array([2.0, 0.0, 3.0])]),
    "cumprod": (lambda t, f, x: x.cumprod(0), [np.array([2.0, 0.0, 3.0])]),
    "pow": (lambda t, f, x: x ** 3, [X]),
    "exponent": (lambda t, f, x: 2.0 ** x, [X]),
    "prelu": (lambda t, f, x, w: f.prelu(x, w), [X, np.array([0.25])]),
    "celu": (lambda t, f, x: f.celu(x, 0.5), [X]),
    "masked_fill": (lambda t, f, x: x.masked_fill(x > 0, 0.0), [X]),
    "index": (lambda t, f, x: x[[0, 0, 2]], [X]),
    "gather": (lambda t, f, x: x.gather(0, t.tensor([1, 1])), [X]),
    "scatter": (lambda t, f, x, y: x.scatter(0, t.tensor([1, 0]), y), [X, np.array([5.0, 6.0])]),
    "embedding": (lambda t, f, w: f.embedding(t.tensor([0, 1, 1, 2]), w), [np.ones((4, 2))]),
    "padding": (lambda t, f, w: f.embedding(t.tensor([0, 1, 1, 2]), w, padding_idx=1),
                [np.ones((4, 2))]),
    "padding from the end": (lambda t, f, w: f.embedding(t.tensor([0, 3]), w, padding_idx=-1),
                             [np.ones((4, 2))]),
    "attention": (lambda t, f, x: f.scaled_dot_product_attention(x, x, x), [SMALL[None]]),
    "batch_norm": (lambda t, f, x: f.batch_norm(x, None, None, training=True)[0], [SMALL]),
}


@pytest.mark.parametrize("name", CASES)
def test_beside_torch(name: str) -> None:
    function, arrays = CASES[name]
    ours = [nncompile.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    function(nncompile, our_F, *ours).sum().backward()
    function(torch, F, *theirs).sum().backward()
    for mine, wanted in zip(ours, theirs, strict=True):
        assert mine.grad is not None and wanted.grad is not None
        np.testing.assert_allclose(mine.grad.numpy(), wanted.grad.numpy(), 1e-6, 1e-12)


class Padded(nncompile.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nncompile.nn.Embedding(4, 2, padding_idx=1)

    def forward(self, ids: Any) -> Any:
        rows = self.table(ids)
        return (rows * rows.detach()).sum()


def test_a_graph_knows_what_has_no_gradient() -> None:
    model = Padded()
    graph = trace(model, "i64[B]")
    ids = np.array([0, 1, 1, 2, 2])
    _, found = ir.interpret(ir.gradient(graph, wrt=["table.weight"]), [ids])
    model(nncompile.tensor(ids)).backward()
    assert found[1].tolist() == [0, 0] and found[2].any()
    np.testing.assert_allclose(found, np.asarray(model.table.weight.grad.numpy()), 1e-6)
    kept = [node.op for node in nncompile.compile(model, "i64[B]").ir("fused").nodes]
    assert "where" not in kept and "detach" not in kept
