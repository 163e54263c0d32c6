"""Groups become the end of the product before them, where nothing is read or written otherwise."""

import numpy as np
import pytest

import ir
import nncompile
from nncompile import nn, optim
from nncompile.compiler import compile_graph
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.schedule import schedule

# An update with momentum of a weight [7, 5], behind the product with which its gradient is made.
UPDATE = """
graph step(%x: f32[B, 5], %g: f32[B, 7], %ids: i64[B, 1], %rate: f32[]) -> f32[B, 5] {
  &w: f32[7, 5]
  &m: f32[7, 5]
  %0: f32[7, B] = transpose(%g) {axes = [1, 0]}
  %1: f32[7, 5] = matmul(%0, %x)
  %2: f32[B, 5] = matmul(%g, &w)
  %3: f32[7, 5] = mul(&m, 0.5)
  %4: f32[7, 5] = add(%3, %1)
  %5: f32[7, 5] = mul(%4, %rate)
  %6: f32[7, 5] = sub(&w, %5)
  &w = %6
  &m = %4
  return %2
}
"""
# In each, the gradient or the weight is needed by somebody else, too.
READ_ELSEWHERE = UPDATE.replace("%2: f32[B, 5] = matmul(%g, &w)",
                                "%7: f32[B, 7] = transpose(%0) {axes = [1, 0]}\n"
                                "  %2: f32[B, 5] = matmul(%7, %1)")
OF_ITSELF = UPDATE.replace("matmul(%0, %x)", "matmul(%8, &w)").replace(
    "%0: f32", "%8: f32[7, 7] = matmul(%0, %g)\n  %9: f32").replace(
    "%9: f32[7, B] = transpose(%g) {axes = [1, 0]}", "").replace(
    "  &m: f32[7, 5]\n", "  &m: f32[7, 5]\n  %0: f32[7, B] = transpose(%g) {axes = [1, 0]}\n")
INDEXED = UPDATE.replace("  &w = %6", "  %7: f32[B, 1] = take_along(%2, %ids) {axis = 1}\n"
                                      "  %8: f32[B, 5] = add(%2, %7)\n  &w = %6").replace(
    "return %2", "return %8")
# The passes have made the product end with a part of the update.
PARTLY = UPDATE.replace("  %1: f32[7, 5] = matmul(%0, %x)\n", "").replace(
    "%4: f32[7, 5] = add(%3, %1)", "%4: f32[7, 5] = matmul(%0, %x) then mul(0.75), add(%3)")
PARTLY_OF_ITSELF = OF_ITSELF.replace("  %1: f32[7, 5] = matmul(%8, &w)\n", "").replace(
    "%4: f32[7, 5] = add(%3, %1)", "%4: f32[7, 5] = matmul(%8, &w) then mul(0.75), add(%3)")
DECAYED = PARTLY.replace("%3: f32[7, 5] = mul(&m, 0.5)", "%3: f32[7, 5] = mul(&w, 0.5)").replace(
    "mul(0.75), add(%3)", "add(%3), mul(%rate), neg, add(&w)").replace(
    "  %5: f32[7, 5] = mul(%4, %rate)\n", "").replace(
    "  %6: f32[7, 5] = sub(&w, %5)\n", "").replace(
    "&m = %4", "&m = &m").replace("&w = %6", "&w = %4")
CHANGED_BETWEEN = PARTLY.replace("%4: f32", "%7: f32[7, 5] = mul(%3, 2.0)\n  %4: f32").replace(
    "sub(&w, %5)", "sub(%7, %5)")
RELU = """
graph step(%x: f32[B, 5], %g: f32[B, 7], %ids: i64[B, 1], %rate: f32[]) -> f32[B, 5] {
  &w: f32[7, 5]
  &m: f32[7, 5]
  %0: f32[B, 5] = matmul(%g, &w) then mul(%rate)
  %1: bool[B, 5] = le(%x, 0.0)
  %2: f32[B, 5] = where(%1, 0.0, %0)
  &w = &w
  &m = &m
  return %2
}
"""
ALL = {"update": UPDATE, "read elsewhere": READ_ELSEWHERE, "of itself": OF_ITSELF,
       "indexed": INDEXED, "relu": RELU, "partly": PARTLY, "decayed": DECAYED,
       "partly of itself": PARTLY_OF_ITSELF, "changed between": CHANGED_BETWEEN}


def kinds(text):
    return [(s.kind, len(s.results)) for s in schedule(ir.parse(text)).steps]


def test_a_weight_is_updated_by_the_product_that_is_its_gradient():
    """The product moves behind the one that reads the old weight."""
    assert kinds(UPDATE) == [("matmul", 1), ("matmul", 2)]


@pytest.mark.parametrize("text", [PARTLY, DECAYED], ids=["momentum", "decay"])
def test_an_update_that_the_product_has_a_part_of_is_a_whole_at_its_end(text):
    assert kinds(text) == [("matmul", 1), ("matmul", 2 if text is PARTLY else 1)]


def test_a_derivative_is_applied_by_the_product_before_it():
    step, = schedule(ir.parse(RELU)).steps
    assert "t0 = mul(p, r0)" in str(step.attrs["group"])


def test_a_gradient_that_is_read_elsewhere_is_stored():
    assert ("group", 2) in kinds(READ_ELSEWHERE)


def test_a_product_that_reads_the_weight_for_every_tile_does_not_update_it():
    assert ("group", 2) in kinds(OF_ITSELF)


def test_what_may_find_a_wrong_number_is_before_all_that_writes_a_state():
    steps = schedule(ir.parse(INDEXED)).steps
    writers = [i for i, s in enumerate(steps) if any(v.place.kind == "input" for v in s.results)]
    assert writers[0] > max(i for i, s in enumerate(steps) if s.kind == "take_along")
    w, m = np.ones((7, 5), np.float32), np.ones((7, 5), np.float32)
    x, g = np.ones((2, 5), np.float32), np.ones((2, 7), np.float32)
    with pytest.raises(ir.Error):
        run(INDEXED, x, g, np.array([[0], [9]]), np.float32(0.1), w, m)
    assert (w == 1).all() and (m == 1).all()


def run(text, *arrays, threads=1):
    compiled = compile_graph(ir.parse(text), None, {}, threads, "cpu", False, DEFAULT_PIPELINE)
    return compiled(*arrays)


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("batch", [0, 1, 3, 600])
@pytest.mark.parametrize("name", ALL)
def test_numbers_are_what_the_graph_says(name, batch, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    random, graph = np.random.default_rng(batch), ir.parse(ALL[name])
    x, g, w, m = (random.standard_normal(s).astype(np.float32)
                  for s in ((batch, 5), (batch, 7), (7, 5), (7, 5)))
    given = x, g, random.integers(0, 5, (batch, 1)), np.asarray(np.float32(0.25))
    expected = ir.interpret(graph, [*given, w, m], dtype=np.float64)
    threads = 2 if jit == "1" else 1
    for each, want in zip((run(ALL[name], *given, w, m, threads=threads), w, m), expected,
                          strict=True):
        np.testing.assert_allclose(each, want, rtol=1e-4, atol=1e-4 * max(1, batch) ** 0.5)


@pytest.mark.parametrize("clip_norm,products", [(None, 2), (1.0, 0)])
@pytest.mark.parametrize("options", [
    {"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "dampening": 0.1}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}],
    ids=str)
def test_a_step_of_training_stores_no_gradient_of_a_weight(options, clip_norm, products):
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    rule = optim.SGD(model.parameters(), **options)
    step = nncompile.compile(model, "f32[B, 5]", "i64[B]", loss=nn.CrossEntropyLoss(),
                             optimizer=rule, clip_norm=clip_norm)
    ends = [line for line in step.explain().splitlines() if "= matmul(" in line and "group" in line]
    assert sum("relu" not in line and "where" not in line for line in ends) == products
    assert any("where(t0, r1, p)" in line for line in ends)      # the derivative of ReLU
    if clip_norm is None:                        # nothing else reads or writes a whole weight
        passes = [s for s in schedule(step.ir()).steps if s.kind in ("group", "elementwise")]
        assert not any(ir.same(s.result.shape, p.shape) for s in passes
                       for p in (model[0].weight, model[2].weight))
