"""DEFAULT_PIPELINE on whole models, and why its order is as it is."""
import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

import ir
import nncompile
from ir.check import check_same, with_data
from nncompile import nn
from nncompile.passes import DEFAULT_PIPELINE
from tests.passes.common import graph, nodes


def compiles_to(before: ir.Graph, after: str) -> ir.Graph:
    """Assert that each pass keeps the function, and that all make these nodes of it."""
    def watch(step: ir.Pass, old: ir.Graph, new: ir.Graph, seconds: float) -> None:
        ir.verify(new)
        check_same(step.name, old, new)

    result = ir.run(DEFAULT_PIPELINE, before, watch)
    assert nodes(result) == [line.strip() for line in after.strip().splitlines()]
    return result


def test_a_classifier():
    before = with_data(ir.parse("""
        graph digits(%x: f32[B, 64]) -> f32[B, 10] {
          @0.weight: f32[128, 64]
          @0.bias:   f32[128]
          @3.weight: f32[10, 128]
          @3.bias:   f32[10]
          %0: f32[B, 128] = linear(%x, @0.weight, @0.bias)   # 0 Linear    digits.py:21
          %1: f32[B, 128] = relu(%0)                         # 1 ReLU      digits.py:21
          %2: f32[B, 128] = dropout(%1) {p = 0.5}            # 2 Dropout   digits.py:21
          %3: f32[B, 10]  = linear(%2, @3.weight, @3.bias)   # 3 Linear    digits.py:21
          %4: f32[B, 10]  = softmax(%3) {axis = 1, scale = 1.0}   # 4 Softmax   digits.py:21
          return %4
        }"""))
    after = compiles_to(before, """
        %0: f32[B, 128] = linear(%x, @0.weight, @0.bias) then relu
        %1: f32[B, 10] = linear(%0, @3.weight, @3.bias)
        %2: f32[B, 10] = softmax(%1) {axis = 1, scale = 1.0}
        return %2""")
    assert after.nodes[0].where == ir.Where("0 Linear, 1 ReLU", "digits.py:21")
    assert set(after.params) == set(before.params)


def test_a_residual_block_with_its_dropout():
    compiles_to(with_data(ir.parse("""
        graph Block(%x: f32[B, 8]) -> f32[B, 8] {
          @g:  f32[8]
          @up: f32[32, 8]
          @a:  f32[32]
          @down: f32[8, 32]
          @b:  f32[8]
          %0: f32[B, 8]  = layer_norm(%x, @g, @b) {axes = [1], eps = 1e-05}
          %1: f32[B, 32] = linear(%0, @up, @a)
          %2: f32[B, 32] = gelu(%1)
          %3: f32[B, 8]  = linear(%2, @down, @b)
          %4: f32[B, 8]  = dropout(%3) {p = 0.1}
          %5: f32[B, 8]  = add(%x, %4)
          return %5
        }""")), """
        %0: f32[B, 8] = layer_norm(%x, @g, @b) {axes = [1], eps = 1e-05}
        %1: f32[B, 32] = linear(%0, @up, @a) then gelu
        %2: f32[B, 8] = linear(%1, @down, @b) then add(%x)
        return %2""")


def test_attention_written_with_operators():
    compiles_to(graph("""
        %0: f32[B, 4, 8] = matmul(%q, @w)
        %1: f32[B, 4, 8] = matmul(%q, @v)
        %2: f32[B, 8, 4] = transpose(%1) {axes = [0, 2, 1]}
        %3: f32[B, 4, 4] = matmul(%0, %2)
        %4: f32[B, 4, 4] = div(%3, 2.0)
        %5: f32[B, 4, 1] = max(%4) {axes = [2], keepdims = true}
        %6: f32[B, 4, 4] = sub(%4, %5)
        %7: f32[B, 4, 4] = exp(%6)
        %8: f32[B, 4, 4] = exp(%6)
        %9: f32[B, 4, 1] = sum(%8) {axes = [2], keepdims = true}
        %10: f32[B, 4, 4] = div(%7, %9)
        %11: f32[B, 4, 8] = matmul(%10, %1)
        %12: f32[B, 4, 8] = add(%11, %q)
        return %12"""), """
        %0: f32[8, 8] = transpose(@w) {axes = [1, 0]}
        %1: f32[8, 8] = transpose(@v) {axes = [1, 0]}
        %2: f32[16, 8] = concat(%0, %1) {axis = 0}
        %3: f32[B, 4, 16] = linear(%q, %2)
        %4: f32[B, 4, 8] = slice(%3) {axis = 2, start = 0, stop = 8, step = 1}
        %5: f32[B, 4, 8] = slice(%3) {axis = 2, start = 8, stop = 16, step = 1}
        %6: f32[B, 4, 8] = attention(%4, %5, %5) {SCALED} then add(%q)
        return %6""".replace("SCALED", "scale = 0.5, fill = -inf, seen = true, zeroed = none"))


def test_a_dead_user_does_not_keep_a_chain_apart():
    compiles_to(graph("""
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = exp(%0)
        %2: f32[B, 8] = relu(%0)
        return %2"""), """
        %0: f32[B, 8] = linear(%x, @w) then relu
        return %0""")


def test_a_product_written_twice_is_one_linear():
    compiles_to(graph("""
        %0: f32[B, 8] = matmul(%x, @w)
        %1: f32[B, 8] = matmul(%x, @w)
        %2: f32[B, 8] = add(%0, @b)
        %3: f32[B, 8] = add(%1, @b)
        %4: f32[B, 8] = mul(%2, %3)
        return %4"""), """
        %0: f32[8, 8] = transpose(@w) {axes = [1, 0]}
        %1: f32[B, 8] = linear(%x, %0, @b)
        %2: f32[B, 8] = mul(%1, %1)
        return %2""")


def test_one_softmax_written_in_two_ways_is_computed_once():
    compiles_to(graph("""
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
        %1: f32[B, 1] = max(%x) {axes = [1], keepdims = true}
        %2: f32[B, 8] = sub(%x, %1)
        %3: f32[B, 8] = exp(%2)
        %4: f32[B, 1] = sum(%3) {axes = [1], keepdims = true}
        %5: f32[B, 8] = div(%3, %4)
        return %0, %5"""), """
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
        return %0, %0""")


def test_a_constant_weight_is_turned_once_and_for_all():
    after = compiles_to(graph("""
        %0: f32[B, 8] = matmul(%x, $c)
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 8] = matmul(%1, $c)
        return %2"""), """
        %0: f32[B, 8] = linear(%x, $0) then tanh
        %1: f32[B, 8] = linear(%0, $0)
        return %1""")
    assert [p.kind for p in after.params] == ["constant"]


def test_what_returns_its_input_has_no_nodes():
    compiles_to(graph("""
        %0: f32[B, 8] = dropout(%x) {p = 0.5}
        return %0, @b"""), """
        return %x, @b""")


def test_load_time_values():
    g = graph("""
        %0: f32[8, 8] = exp(@w)
        %1: f32[8, 8] = mul(%0, $c)
        %2: f32[8, 8] = add(%1, %m)
        %3: f32[B, 8] = slice(@w) {axis = 0, start = 0, stop = B}
        %4: f32[B, 8] = exp(%3)
        return %2, %4""")
    assert g.load_time_values == {*g.params, g.nodes[0].result, g.nodes[1].result}


@pytest.mark.parametrize("step", DEFAULT_PIPELINE, ids=lambda step: step.name)
def test_a_pass_is_a_frozen_dataclass_that_shows_what_it_does(step):
    assert dataclasses.is_dataclass(step) and step.__dataclass_params__.frozen
    assert "-->" in step.__doc__
    assert step == type(step)() and step.name.isidentifier()


def test_passes_do_not_import_passes():
    folder = Path(nncompile.passes.__file__).parent
    for path in {*folder.glob("*.py")} - {
            folder / name for name in ("__init__.py", "parser.py", "training.py")}:
        imported = re.findall(r"^from (nncompile[.\w]*)", path.read_text(), re.MULTILINE)
        assert all(name.startswith("nncompile.passes.support.") for name in imported), path


@pytest.mark.parametrize("step", DEFAULT_PIPELINE, ids=lambda step: step.name)
def test_an_empty_graph(step):
    empty = graph("return %x")
    assert nodes(step(empty)) == ["return %x"]


class Block(nn.Module):
    """A transformer block as people write it by hand: no layer in it but linears."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift, self.scale2 = (
            nn.Parameter(np.ones(16, np.float32)) for _ in range(3))
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x):
        batch, length, width = x.shape
        c = x - x.mean(-1, keepdim=True)
        n = self.scale * c / (c.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() + self.shift
        q, k, v = (f(n).view(batch, length, 4, 4).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(4)
        e = (scores - scores.amax(-1, keepdim=True)).exp()
        seen = e / e.sum(-1, keepdim=True) @ v
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        n = x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * self.scale2
        u = self.up(n)
        return x + self.down(0.5 * u * (1 + (u / math.sqrt(2)).erf()))


def test_a_transformer_block_written_by_hand():
    compiles_to(nncompile.trace(Block().eval(), "f32[B, T, 16]"), """
        %0: f32[B, T, 16] = layer_norm(%x, @scale, @shift) {axes = [2], eps = 1e-05}
        %1: f32[48, 16] = concat(@q.weight, @k.weight, @v.weight) {axis = 0}
        %2: f32[48] = concat(@q.bias, @k.bias, @v.bias) {axis = 0}
        %3: f32[B, T, 48] = linear(%0, %1, %2)
        %4: f32[B, T, 16] = slice(%3) {axis = 2, start = 0, stop = 16, step = 1}
        %5: f32[B, T, 16] = slice(%3) {axis = 2, start = 16, stop = 32, step = 1}
        %6: f32[B, T, 16] = slice(%3) {axis = 2, start = 32, stop = 48, step = 1}
        %7: f32[B, T, 4, 4] = reshape(%4) {shape = [B, T, 4, 4]}
        %8: f32[B, 4, T, 4] = transpose(%7) {axes = [0, 2, 1, 3]}
        %9: f32[B, T, 4, 4] = reshape(%5) {shape = [B, T, 4, 4]}
        %10: f32[B, T, 4, 4] = reshape(%6) {shape = [B, T, 4, 4]}
        %11: f32[B, 4, T, 4] = transpose(%10) {axes = [0, 2, 1, 3]}
        %12: f32[B, 4, T, 4] = transpose(%9) {axes = [0, 2, 1, 3]}
        %13: f32[B, 4, T, 4] = attention(%8, %12, %11) {SCALED}
        %14: f32[B, T, 4, 4] = transpose(%13) {axes = [0, 2, 1, 3]}
        %15: f32[B, T, 16] = reshape(%14) {shape = [B, T, 16]}
        %16: f32[B, T, 16] = linear(%15, @out.weight, @out.bias) then add(%x)
        %17: f32[B, T, 16] = rms_norm(%16, @scale2) {axes = [2], eps = 1e-06}
        %18: f32[B, T, 64] = linear(%17, @up.weight, @up.bias) then gelu
        %19: f32[B, T, 16] = linear(%18, @down.weight, @down.bias) then add(%16)
        return %19""".replace("SCALED", "scale = 0.5, fill = -inf, seen = true, zeroed = none"))


def test_attention_of_one_layer_reads_one_weight():
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    fused = ir.run(DEFAULT_PIPELINE, nncompile.trace(model, "f32[B, T, 16]"))
    assert nodes(fused)[0] == ("%0: f32[B, T, 48] = linear(%src, @self_attn.in_proj_weight, "
                               "@self_attn.in_proj_bias)")


def test_batch_norms_and_what_is_not_between_two_linears():
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(),
                          nn.Linear(8, 4), nn.Dropout(0.5), nn.LogSoftmax(-1)).eval()
    fused = ir.run(DEFAULT_PIPELINE, nncompile.trace(model, "f32[B, 16]"))
    at_load = fused.load_time_values
    assert [(n.op, n.attrs.get("then", ())) for n in fused.nodes if n.result not in at_load] == [
        ("linear", ("relu",)), ("linear", ()), ("log_softmax", ())]


def test_every_gate_stays_with_its_product():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.up, self.down = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            g = self.gate(x)
            return self.down(g / (1 + (-g).exp()) * self.up(x))

    fused = ir.run(DEFAULT_PIPELINE, nncompile.trace(Gated().eval(), "f32[B, 8]"))
    assert [(n.op, n.attrs.get("then", ())) for n in fused.nodes] == [
        ("linear", ()), ("linear", ("silu", "mul")), ("linear", ())]
