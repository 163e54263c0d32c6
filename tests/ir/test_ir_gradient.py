"""The gradient of a graph: legal, readable, and what torch computes."""
from __future__ import annotations

import numpy as np
import pytest

import ir
from ir.check import with_data

torch = pytest.importorskip("torch")

MLP = """
graph net(%x: f32[B, 4], %y: f32[B, 3]) -> f32[] {
  @fc.weight: f32[3, 4]
  $0:         f32[3]
  require B <= 9
  %0: f32[B, 3] = linear(%x, @fc.weight, $0) then gelu, sub(%y)   # fc Linear, 0 Block  model.py:7
  %1: f32[B, 3] = mul(%0, %0)
  %2: f32[]     = mean(%1) {axes = [0, 1], keepdims = false}
  return %2
}
"""


def test_of_a_small_net() -> None:
    graph = with_data(ir.parse(MLP))
    made = ir.gradient(graph, wrt=["fc.weight", "%x", "$0", "%y"])
    ir.verify(made)
    assert str(ir.parse(str(made))) == str(made)
    assert made.requirements == graph.requirements
    assert made.inputs == graph.inputs and made.params == graph.params
    x, y = (np.random.default_rng(i).standard_normal((5, n), "f4") for i, n in ((0, 4), (1, 3)))
    loss, *found = ir.interpret(made, [x, y], np.float64)
    w, b = (torch.tensor(graph.data[p].astype("f8"), requires_grad=True) for p in graph.params)
    xs, ys = (torch.tensor(a.astype("f8"), requires_grad=True) for a in (x, y))
    wanted = ((torch.nn.functional.gelu(xs @ w.T + b) - ys) ** 2).mean()
    wanted.backward()
    np.testing.assert_allclose(loss, wanted.item(), 1e-12)
    for ours, theirs in zip(found, (w, xs, b, ys), strict=True):
        assert theirs.grad is not None
        np.testing.assert_allclose(ours, theirs.grad.numpy(), 1e-10, 1e-12)


def test_where_a_gradient_comes_from() -> None:
    *_, last = ir.gradient(ir.parse(MLP), wrt=["fc.weight"]).nodes
    assert last.op == "matmul"
    assert last.where == ir.Where("fc Linear backward, 0 Block backward", "model.py:7")


def test_what_does_not_depend_is_zero() -> None:
    graph = ir.parse("graph f(%x: f32[B], %y: f64[3]) -> f32[] {\n"
                     "%0: f32[] = sum(%x) {axes = [0], keepdims = false}\nreturn %0\n}")
    _, x, y = ir.interpret(ir.gradient(graph, wrt=["%x", "%y"]), [np.ones(2, "f4"), np.ones(3)])
    assert x.tolist() == [1, 1] and y.tolist() == [0, 0, 0] and y.dtype == np.float64


def test_a_seed() -> None:
    graph = ir.parse("graph f(%x: f32[B]) -> f32[B] {\n%0: f32[B] = exp(%x)\nreturn %0\n}")
    made = ir.gradient(graph, wrt=["x"], seed="g")
    ir.verify(made)
    assert [v.name for v in made.inputs] == ["x", "g"]
    _, g = ir.interpret(made, [np.zeros(2, "f4"), np.array([3, 4], "f4")])
    assert g.tolist() == [3, 4]


@pytest.mark.parametrize(("wrt", "seed", "message"), [
    (["x"], None, "no scalar"), (["z"], "g", "0 values named 'z'"),
    (["i"], "g", "gradients are of floats"), (["x"], "x", "an input named 'x' already"),
])
def test_refusals(wrt: list[str], seed: str | None, message: str) -> None:
    graph = ir.parse("graph f(%x: f32[B], %i: i64[B]) -> f32[B] {\n"
                     "%0: f32[B] = exp(%x)\nreturn %0\n}")
    with pytest.raises(ir.Error, match=message):
        ir.gradient(graph, wrt=wrt, seed=seed)
