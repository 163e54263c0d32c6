"""Composite ops: the parts are what the op is, to the last bit, and attention is torch's."""
from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ir
from ir.composites import parts, plain_nodes
from ir.records import replace
from tests.passes.common import same_bits

torch = pytest.importorskip("torch")
F = torch.nn.functional

MASKS = {"": [], "bool": ["bool[T, S]"], "float": ["f32[B, 1, 1, S]"],
         "both": ["f32[T, 1]", "bool[B, 1, T, S]"], "two": ["bool[1, S]", "bool[T, S]"]}


def graph(masks: list[str], then: str = "", **attrs: object) -> ir.Graph:
    builder = ir.Builder()
    types = {"q": "f32[B, 2, T, 4]", "k": "f32[B, 2, S, 4]", "v": "f32[B, 2, S, 3]",
             **{f"m{i}": text for i, text in enumerate(masks)}}
    operands = [builder.declare("input", n, ir.parse_type(t)) for n, t in types.items()]
    further = {"then": ("relu", "mul")} if then else {}
    more = [0.5] if then else []
    result = builder.add("attention", *operands, *more, **attrs, **further)
    return builder.build("g", [result])


def feed(masks: list[str], b: int, t: int, s: int, seed: int, special: bool) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = {"B": b, "T": t, "S": s}
    arrays = [random.standard_normal(shape).astype(np.float32)
              for shape in ((b, 2, t, 4), (b, 2, s, 4), (b, 2, s, 3))]
    if special and arrays[0].size:
        arrays[0].flat[0] = random.choice([np.nan, np.inf, -np.inf])
    for text in masks:
        dtype, _, dims = text.rstrip("]").partition("[")
        shape = [int(d) if d.isdigit() else sizes[d] for d in dims.split(", ")]
        hidden = random.random(shape) < 0.4
        arrays.append(~hidden if dtype == "bool" else np.where(
            hidden, -np.inf, random.standard_normal(shape)).astype(np.float32))
    return arrays


@settings(max_examples=60, deadline=None)
@given(masks=st.sampled_from([*MASKS.values()]), scale=st.sampled_from([1.0, 0.5, 0.3, -0.3, 0.0]),
       fill=st.sampled_from([-inf, -1e9, -3e38, 0.0]), seen=st.booleans(),
       zeroed=st.sampled_from(["none", "unseen", "masked", "undefined"]),
       then=st.sampled_from(["", "then"]),
       size=st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from([0, 1, 2, 9])),
       seed=st.integers(0, 99), special=st.booleans())
def test_the_parts_compute_the_same_bits(masks, scale, fill, seen, zeroed, then, size, seed,
                                         special):
    assume(zeroed != "masked" or [text[:3] for text in masks] == ["f32"])
    whole = graph(masks, then, scale=scale, fill=fill, seen=seen, zeroed=zeroed)
    assert str(ir.parse(str(whole))) == str(whole)
    apart = replace(whole, nodes=tuple(parts(whole.nodes[0])))
    plain = replace(whole, nodes=tuple(plain_nodes(whole.nodes)))
    assert "attention" not in str(apart) and "then" not in str(plain)
    ir.verify(apart)
    ir.verify(plain)
    arrays = feed(masks, *size, seed, special)
    for dtype in (None, np.float64):
        try:
            expected, = ir.interpret(whole, arrays, dtype)
        except ir.Error:
            assert size[2] == 0 and zeroed in ("unseen", "masked")    # nothing is largest
            continue
        for other in (apart, plain):
            assert same_bits(ir.interpret(other, arrays, dtype)[0], expected)


@pytest.mark.parametrize("mask", ["", "bool", "float"])
@pytest.mark.parametrize("keys", [1, 9])
def test_it_is_what_torch_computes(mask, keys):
    whole = graph(MASKS[mask], scale=0.3, fill=-inf, seen=True,
                  zeroed="unseen" if mask else "none")
    arrays = feed(MASKS[mask], 2, 5, keys, 0, False)
    q, k, v, *masks = map(torch.from_numpy, arrays)
    expected = F.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), scale=0.3,
        attn_mask=masks[0].double() if mask == "float" else masks[0] if mask else None)
    assert np.allclose(ir.interpret(whole, arrays, np.float64)[0], expected.numpy(), atol=1e-12)


def test_other_ops_are_their_own_part():
    text = "graph g(%x: f32[B]) -> f32[B] {\n %0: f32[B] = exp(%x)\n return %0\n}"
    node = ir.parse(text).nodes[0]
    assert [*parts(node)] == [node]
