"""Gradients of graphs, compiled: as the interpreter has them, the same bits on any threads."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, settings
from hypothesis import given as drawn

import ir
import nncompile
from ir.check import with_data
from ir.records import replace
from ir.types import FLOATS
from nncompile.bench.peers import load_python, sizes_of, write_python
from nncompile.trace import trace
from tests.end_to_end.models import CASES
from tests.strategies import all_finite, feed, graphs, seeds

LOSS = """
  %d: f32[B, 8] = sub(%out, %y)
  %e: f32[B, 8] = mul(%d, %d)
  %l: f32[]     = mean(%e) {axes = [0, 1], keepdims = false}
  return %l
}
"""
NETS = {
    "mlp": ("""
graph mlp(%x: f32[B, 12], %y: f32[B, 8]) -> f32[] {
  @w: f32[40, 12]
  @b: f32[40]
  @v: f32[8, 40]
  @c: f32[8]
  %0: f32[B, 40] = linear(%x, @w, @b) then relu
  %out: f32[B, 8] = linear(%0, @v, @c)""", "w b v c"),
    "residual": ("""
graph residual(%x: f32[B, 8], %y: f32[B, 8]) -> f32[] {
  @g: f32[8]
  @h: f32[8]
  @w: f32[33, 8]
  @v: f32[8, 33]
  %0: f32[B, 8]  = layer_norm(%x, @g, @h) {axes = [1], eps = 1e-05}
  %1: f32[B, 33] = linear(%0, @w) then gelu
  %2: f32[B, 8]  = linear(%1, @v)
  %out: f32[B, 8] = add(%2, %x)""", "g h w v %x"),
    "attention": ("""
graph attention(%x: f32[B, T, 8], %y: f32[B, 8]) -> f32[] {
  @q: f32[8, 8]
  @k: f32[8, 8]
  @v: f32[8, 8]
  %q: f32[B, T, 8]  = linear(%x, @q)
  %k: f32[B, T, 8]  = linear(%x, @k)
  %v: f32[B, T, 8]  = linear(%x, @v)
  %q4: f32[B, T, 2, 4] = reshape(%q) {shape = [B, T, 2, 4]}
  %k4: f32[B, T, 2, 4] = reshape(%k) {shape = [B, T, 2, 4]}
  %v4: f32[B, T, 2, 4] = reshape(%v) {shape = [B, T, 2, 4]}
  %qh: f32[B, 2, T, 4] = transpose(%q4) {axes = [0, 2, 1, 3]}
  %kh: f32[B, 2, 4, T] = transpose(%k4) {axes = [0, 2, 3, 1]}
  %vh: f32[B, 2, T, 4] = transpose(%v4) {axes = [0, 2, 1, 3]}
  %s: f32[B, 2, T, T]  = matmul(%qh, %kh)
  %p: f32[B, 2, T, T]  = softmax(%s) {axis = 3, scale = 0.5}
  %a: f32[B, 2, T, 4]  = matmul(%p, %vh)
  %t: f32[B, T, 2, 4]  = transpose(%a) {axes = [0, 2, 1, 3]}
  %r: f32[B, T, 8]     = reshape(%t) {shape = [B, T, 8]}
  %out: f32[B, 8]      = mean(%r) {axes = [1], keepdims = false}""", "q k v %x"),
    "embedding": ("""
graph embedding(%x: i64[B, T], %y: f32[B, 8]) -> f32[] {
  @table: f32[11, 20]
  @w: f32[8, 20]
  %0: f32[B, T, 20] = embedding(%x, @table)
  %1: f32[B, 20]    = mean(%0) {axes = [1], keepdims = false}
  %out: f32[B, 8]   = linear(%1, @w) then tanh""", "table w"),
    "two uses": ("""
graph tied(%x: f32[B, 8], %y: f32[B, 8]) -> f32[] {
  @w: f32[16, 8]
  %0: f32[B, 16]  = linear(%x, @w) then silu
  %out: f32[B, 8] = matmul(%0, @w)""", "w %x"),
}
CLASSES = """
graph classes(%x: f32[B, 12], %y: i64[B]) -> f32[] {
  @w: f32[10, 12]
  @b: f32[10]
  %0: f32[B, 10] = linear(%x, @w, @b)
  %1: f32[B, 10] = log_softmax(%0) {axis = 1}
  %2: i64[B, 1]  = reshape(%y) {shape = [B, 1]}
  %3: f32[B, 1]  = take_along(%1, %2) {axis = 1}
  %4: f32[]      = mean(%3) {axes = [0, 1], keepdims = false}
  %5: f32[]      = neg(%4)
  return %5
}
"""


def given(graph: ir.Graph, sizes: dict[str, int]) -> list[Any]:
    random = np.random.default_rng(sizes["B"])
    shapes = [(v.type.dtype, [sizes.get(str(d), d) for d in v.type.shape]) for v in graph.inputs]
    return [random.integers(0, 10, shape) if dtype == "i64" else
            random.standard_normal(shape, np.float32) for dtype, shape in shapes]


@pytest.mark.parametrize(("text", "wrt"), [
    *((text + LOSS, wrt.split()) for text, wrt in NETS.values()), (CLASSES, ["w", "b"]),
], ids=[*NETS, "classes"])
def test_compiled_gradients(text: str, wrt: list[str]) -> None:
    made = ir.gradient(with_data(ir.parse(text)), wrt=wrt)
    fast = nncompile.compile(made)
    for B, T in ((1, 1), (5, 3), (300, 7)):
        arrays = given(made, {"B": B, "T": T})
        found = fast(*arrays)
        for ours, exact in zip(found, ir.interpret(made, arrays, np.float64), strict=True):
            scale = max(1e-30, np.abs(exact).max())
            np.testing.assert_allclose(ours / scale, exact / scale, 0, 3e-6)
        for threads in (1, 2, 3):
            fast.threads = threads
            for again, first in zip(fast(*arrays), found, strict=True):
                assert again.tobytes() == first.tobytes()


# -- models --------------------------------------------------------------------------------------

MODELS = [name for name in CASES if name != "larger than a cache"]


@pytest.mark.parametrize("name", MODELS)
def test_models_beside_torch(name: str) -> None:
    """In double precision, with respect to all parameters and inputs of floats."""
    case = CASES[name]
    nncompile.manual_seed(0)
    graph = trace(case.model().double().eval(), *(t.replace("f32", "f64") for t in case.types))
    arrays = [a.astype("f8") if a.dtype.kind == "f" else a for a in case.inputs(3)]
    floats = [v for v in (*graph.inputs, *graph.params) if v.type.dtype in FLOATS]
    made = ir.gradient(graph, wrt=floats, seed="g")
    ir.verify(made)
    assert str(ir.parse(str(made))) == str(made)

    data = [torch.tensor(graph.data[p]) for p in graph.params]
    given = [torch.tensor(a) for a in arrays]
    leaves = [t.requires_grad_() for t in (*given, *data) if t.is_floating_point()]
    source = write_python(graph, sizes_of(graph, arrays), "torch")
    out = load_python(source, {"torch": torch, "F": F}, data)(*given)[0]
    g = np.random.default_rng(1).standard_normal(out.shape)
    wanted = torch.autograd.grad(out, leaves, torch.tensor(g), allow_unused=True)
    found = ir.interpret(made, [*arrays, g])[len(graph.outputs):]
    for ours, theirs, leaf in zip(found, wanted, leaves, strict=True):
        exact = torch.zeros_like(leaf) if theirs is None else theirs
        np.testing.assert_allclose(ours, exact.numpy(), 1e-10, 1e-10)


@settings(max_examples=8, deadline=None)
@drawn(graphs(dtype="f64", wide=True), seeds)
def test_random_gradients_compile(graph: ir.Graph, seed: int) -> None:
    """What the rules make of any op can be scheduled and run, and is the same as interpreted."""
    kept = [v for v in graph.outputs if v.type.dtype in FLOATS and all(
        isinstance(d, int) or str(d) == "B" for d in v.type.shape)]
    assume(kept)
    floats = [v for v in (*graph.inputs, *graph.params) if v.type.dtype in FLOATS]
    made = ir.gradient(replace(graph, outputs=(kept[0],)), wrt=floats, seed="g")
    fast = nncompile.compile(made)
    for size in (3, 1):
        arrays = feed(made, seed, size)
        try:
            exact = ir.interpret(made, arrays)
        except ir.Error:
            continue
        fast.threads = 1
        found = fast(*arrays)
        if all_finite(made, arrays):
            for ours, wanted in zip(found, exact, strict=True):
                scale = max(1.0, np.abs(wanted).max(initial=0))
                np.testing.assert_allclose(ours / scale, wanted / scale, 1e-7, 1e-7)
        fast.threads = 2
        assert [a.tobytes() for a in fast(*arrays)] == [a.tobytes() for a in found]
