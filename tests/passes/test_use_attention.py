"""UseAttention: which nodes get the name, that nothing else changes, and what keeps its parts."""
from __future__ import annotations

import math

import numpy as np
import pytest

import ir
import nncompile
import nncompile.nn.functional as F
from nncompile import nn
from nncompile.passes import DEFAULT_PIPELINE, UseAttention
from nncompile.schedule import schedule
from tests.passes.common import becomes, becomes_in_double, nodes, stays

BEFORE = """
    %0: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
    %1: f32[B, 4, 4] = matmul(%q, %0)
    %2: f32[B, 4, 4] = softmax(%1) {axis = 2, scale = 0.3}
    %3: f32[B, 4, 8] = matmul(%2, %q)
    return %3"""
NAMED = """
    %0: f32[B, 4, 8] = attention(%q, %q, %q) {scale = 0.3, fill = -inf, seen = true, zeroed = none}
    return %0"""


def test_the_name():
    becomes(UseAttention(), BEFORE, NAMED)
    becomes_in_double(UseAttention(), BEFORE, NAMED)


def test_what_is_behind_it_stays_behind_it():
    becomes(UseAttention(), BEFORE.replace("matmul(%2, %q)", "matmul(%2, %q) then relu, add(%q)"),
            NAMED.replace("none}", "none} then relu, add(%q)"))


STAY = {
    "the weights are returned": ("return %3", "return %3, %2"),
    "the scores are returned": ("return %3", "return %3, %1"),
    "a step behind the weights": ("scale = 0.3}", "scale = 0.3} then relu"),
    "a step behind the scores": ("matmul(%q, %0)", "matmul(%q, %0) then relu"),
    "another axis": ("axis = 2", "axis = 1"),
    "two scales": ("matmul(%q, %0)", "matmul(%q, %0) then mul(0.5)"),
    "a softmax of weights that are values": ("matmul(%2, %q)", "matmul(%1, %q)"),
}


@pytest.mark.parametrize("old, new", STAY.values(), ids=STAY)
def test_what_keeps_its_parts(old, new):
    assert old in BEFORE
    stays(UseAttention(), BEFORE.replace(old, new))


def test_stored_keys_stay_as_they_are_stored():
    stays(UseAttention(), """
        %0: f32[3, 8, 8] = transpose(@qw) {axes = [0, 2, 1]}
        %1: f32[B, 1, 4, 8] = reshape(%q) {shape = [B, 1, 4, 8]}
        %2: f32[B, 3, 4, 8] = matmul(%1, %0)
        %3: f32[B, 3, 4, 8] = softmax(%2) {axis = 3, scale = 0.3}
        %4: f32[B, 3, 4, 8] = matmul(%3, @qw)
        return %4""")


class Sdpa(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, q, k, v, *mask):
        return F.scaled_dot_product_attention(q, k, v, *mask, **self.options)


class Written(nn.Module):
    """Attention as people and exporters write it."""

    def __init__(self, write):
        super().__init__()
        self.write = write

    def forward(self, q, k, v, *mask):
        return self.write((q @ k.transpose(-2, -1)), *mask) @ v


def by_hand(scores):
    e = ((scores := scores / 8.0) - scores.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


def safe(scores, mask):
    weights = (scores * 0.25 + mask).softmax(-1)
    return nncompile.where(weights.isnan(), 0.0, weights)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, x):
        return self.layer(x)


class Heads(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.options = nn.MultiheadAttention(16, 2, batch_first=True), options

    def forward(self, x, *mask):
        return self.attention(x, x, x, *mask, **self.options)[0]


QKV = ("f32[B, 2, T, 8]",) * 3
MODELS = {
    "plain": (Sdpa(), QKV, "{scale = 0.35355339059327373, fill = -inf, seen = true, "
                           "zeroed = none}"),
    "scaled": (Sdpa(scale=0.7), QKV, "{scale = 0.7, "),
    "causal": (Sdpa(is_causal=True), QKV, "zeroed = none}"),
    "grouped": (Sdpa(enable_gqa=True), (QKV[0], *["f32[B, 1, T, 8]"] * 2), "zeroed = none}"),
    "bools": (Sdpa(), (*QKV, "bool[T, T]"), "%mask0) {scale = 0.35355339059327373, fill = -inf, "
                                            "seen = true, zeroed = unseen}"),
    "floats": (Sdpa(), (*QKV, "f32[B, 1, T, T]"), "zeroed = unseen}"),
    "masked_fill": (Written(lambda s, m: (s / math.sqrt(5)).masked_fill(m == 0, -1e9).softmax(-1)),
                    (*QKV, "f32[B, 1, 1, T]"),
                    "{scale = 0.4472135954999579, fill = -1000000000.0, seen = false, "),
    "BERT": (Written(lambda s, m: (s / math.sqrt(5) + m).softmax(-1)), (*QKV, "f32[B, 1, 1, T]"),
             "%mask0) {scale = 0.4472135954999579, "),
    "safe softmax": (Written(safe), (*QKV, "f32[B, 1, 1, T]"), "zeroed = undefined}"),
    "softmax by hand": (Written(by_hand), QKV, "{scale = 0.125, "),
    "bias and mask": (Written(lambda s, b, m: (s * 0.5 + b).masked_fill(m, -1e4).softmax(-1)),
                      (*QKV, "f32[T, T]", "bool[B, 1, 1, T]"),
                      "%mask0, %mask1) {scale = 0.5, fill = -10000.0, seen = false, "),
    "MultiheadAttention": (Heads(), ("f32[B, T, 16]",), "zeroed = none}"),
    "key_padding_mask": (Heads(need_weights=False), ("f32[B, T, 16]", "bool[B, T]"), "= unseen}"),
    "TransformerEncoderLayer": (Encoder(), ("f32[B, T, 16]",), "zeroed = none}"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_name_it_and_nothing_else_changes(name):
    model, types, attrs = MODELS[name]
    traced = nncompile.trace(model.eval(), *types)
    apart = ir.run(DEFAULT_PIPELINE[:-1], traced)
    whole = UseAttention()(apart)
    text = "\n".join(nodes(whole))
    assert text.count("= attention(") == 1 and "softmax" not in text and attrs in text
    before, after = (schedule(g) for g in (apart, whole))
    assert before.batch == after.batch == "B"
    assert steps(after) == steps(before)


def steps(program):
    """What each step does, without the places: an attention comes after all that it reads."""
    return sorted(f"{s.kind} {s.result.dtype}{s.result.shape} {[o.shape for o in s.views]} "
                  f"{[o.strides for o in s.views]} {s.attrs} {[op for op, _ in s.then]}"
                  for s in program.steps)


@pytest.mark.parametrize("name", MODELS)
def test_compiled_it_has_the_bits_of_its_parts(name):
    model, types, _ = MODELS[name]
    apart = nncompile.compile(model.eval(), *types, passes=DEFAULT_PIPELINE[:-1])
    whole = nncompile.compile(model.eval(), *types)
    random = np.random.default_rng(0)
    for batch in (0, 1, 3):
        arrays = []
        for text in types:
            dtype, _, dims = text.rstrip("]").partition("[")
            shape = [{"B": batch, "T": 7}.get(d) or (0 if d == "B" else int(d))
                     for d in dims.split(", ")]
            numbers = random.standard_normal(shape)
            arrays.append(numbers > -0.5 if dtype == "bool" else numbers.astype(np.float32))
        assert np.array_equal(apart(*arrays), whole(*arrays), equal_nan=True)


def test_the_source_says_what_each_step_is_of_it():
    source = nncompile.compile(Sdpa(), *QKV).source
    for part in ("matmul", "softmax"):
        assert f"# {part}, for %0: f32[B, 2, T, 8] = attention(%q, %k, %v) {{" in source
