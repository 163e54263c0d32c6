"""What is kept in memory and what is computed again is decided by its cost, and changes no bits."""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ir
import nncompile
import nncompile.nn.functional as F
from ir.types import symbol
from nncompile import compiler, nn, optim
from nncompile.compiler import compile_graph
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.plans import new_plan
from nncompile.schedule import keep, schedule

B = symbol("B")
# The columns of x without their mean, whose squares are needed at once and they themselves later.
CENTRED = """
graph step(%x: f32[B, 8], %g: f32[B, 8]) -> f32[], f32[B, 8] {
  &mean: f32[8]
  %0: f32[8] = mean(%x) {axes = [0], keepdims = false}
  %1: f32[B, 8] = sub(%x, %0)
  %2: f32[B, 8] = mul(%1, %1)
  %3: f32[8] = sum(%2) {axes = [0], keepdims = false}
  %4: f32[] = sum(%3) {axes = [0], keepdims = false}
  %5: f32[B, 8] = mul(%1, %3)
  %6: f32[B, 8] = mul(%5, %g)
  &mean = %0
  return %4, %6
}
"""
EXPENSIVE = CENTRED.replace("sub(%x, %0)", "sub(%x, %0) then exp")
READ_BY_A_PRODUCT = CENTRED.replace("%4: f32[] = sum(%3) {axes = [0], keepdims = false}", """
  %7: f32[8, B] = transpose(%1) {axes = [1, 0]}
  %8: f32[8, 8] = matmul(%7, %g)
  %4: f32[] = sum(%8) {axes = [0, 1], keepdims = false}""")
# The state is written where the old value of it would have to be read again.
OVERWRITTEN = CENTRED.replace(
    "  %0: f32[8] = mean(%x) {axes = [0], keepdims = false}\n", "").replace("%0", "&mean").replace(
    "&mean = &mean", "&mean = %9").replace("  %5:", "  %9: f32[8] = add(%3, &mean)\n  %5:")
ALL = {"centred": CENTRED, "expensive": EXPENSIVE, "read by a product": READ_BY_A_PRODUCT,
       "overwritten": OVERWRITTEN}


def program(text: str) -> Any:
    return schedule(ir.parse(text))


def of_centred(made: Any) -> Any:
    """What was decided of %1."""
    return next(c for c in made.choices if c.node.op == "sub")


def test_a_cheap_value_is_computed_again_by_each_group_that_reads_it() -> None:
    """It is written nowhere: 4 bytes more are read, and an operation done, in place of 8 bytes."""
    made = program(CENTRED)
    found = of_centred(made)
    assert not found.kept
    costs = found.keeping, found.again, found.operations
    assert ir.same(costs, (B * 8 * 8, B * 8 * (4 + keep.OPERATION), B * 8))
    groups = [step for step in made.steps if step.kind == "group"]
    assert [len(step.results) for step in groups] == [1, 1]
    assert sum(str(step.attrs["group"]).count("sub(") for step in groups) == 2


@pytest.mark.parametrize("text", [EXPENSIVE, READ_BY_A_PRODUCT], ids=["exp", "read by a product"])
def test_a_value_is_kept_that_costs_more_or_that_is_in_memory_anyway(text: str) -> None:
    found = of_centred(program(text))
    assert found.kept
    extra, written = (20, 4) if text is EXPENSIVE else (0, 0)
    assert ir.same((found.keeping, found.again), (B * 8 * (4 + written), B * 8 * (5 + extra)))


def test_a_value_is_kept_whose_operands_are_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "OPERATION", 0)
    steps = program(OVERWRITTEN).steps
    writes = [i for i, s in enumerate(steps) if any(v.place.kind == "input" for v in s.results)]
    state = next(v.place for v in steps[writes[0]].results if v.place.kind == "input")
    reads = [i for i, s in enumerate(steps) if any(v.place == state for v in s.reads)]
    assert max(reads) <= writes[0]


@pytest.mark.parametrize("operation", [0, 1, 1000])
@pytest.mark.parametrize("batch", [0, 1, 5, 300])
@pytest.mark.parametrize("name", ALL)
def test_numbers_are_what_the_graph_says(name: str, batch: int, operation: int,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "kept_plan", new_plan)       # not one of another OPERATION
    monkeypatch.setattr(keep, "OPERATION", operation)
    graph = ir.parse(ALL[name])
    random = np.random.default_rng(batch)
    x, g = (random.standard_normal((batch, 8)).astype(np.float32) for _ in range(2))
    mean = np.ones(8, np.float32)
    expected = ir.interpret(graph, [x, g, mean], dtype=np.float64)
    fast = compile_graph(graph, None, {}, 1, "cpu", False, DEFAULT_PIPELINE)
    for each, want in zip((*fast(x, g, mean), mean), expected, strict=True):
        np.testing.assert_allclose(each, want, 1e-4, 1e-3)


class Chain(nn.Module):
    """Cheap and expensive functions of one value, in a row and beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(9, 17), nn.Linear(9, 17), nn.Linear(17, 4)

    def forward(self, x: Any) -> Any:
        h = self.a(x) * 2 + 1
        return self.c((h * h + h).tanh() * h + h * self.b(x).sigmoid())


class Norms(nn.Module):
    """Norms with and without weights, one of which reads what the other does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(9, 17), nn.Linear(17, 4)
        self.first, self.second = nn.LayerNorm(17), nn.LayerNorm(17, bias=False)
        self.rms, self.none = nn.RMSNorm(17), nn.LayerNorm(17, elementwise_affine=False)

    def forward(self, x: Any) -> Any:
        h = self.a(x)
        return self.c(self.first(h) + self.second(h) * self.rms(h) + self.none(h))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(12, 2, 16, dropout=0.1, batch_first=True)
        self.c = nn.Linear(12, 4)

    def forward(self, x: Any) -> Any:
        return self.c(self.layer(F.pad(x, (0, 3)).reshape(-1, 1, 12).expand(-1, 5, 12)).mean(1))


MODELS = {
    "chain": Chain, "norms": Norms, "attention": Attention,
    "batch norm": lambda: nn.Sequential(nn.Linear(9, 17), nn.BatchNorm1d(17), nn.ReLU(),
                                        nn.Linear(17, 17), nn.BatchNorm1d(17), nn.SiLU(),
                                        nn.Linear(17, 4)),
    "dropout": lambda: nn.Sequential(nn.Linear(9, 17), nn.ReLU(), nn.Dropout(0.3),
                                     nn.Linear(17, 17), nn.Softplus(), nn.Linear(17, 4)),
}


def trained(model: str, threads: int = 1) -> tuple[list[np.ndarray], Any]:
    nncompile.manual_seed(0)
    made = MODELS[model]()
    step = nncompile.compile(made, "f32[B, 9]", "i64[B]", loss=nn.CrossEntropyLoss(),
                             optimizer=optim.SGD(made.parameters(), lr=0.05, momentum=0.9),
                             threads=threads, check=True)
    random, found = np.random.default_rng(0), []
    for batch in (33, 4, 33):
        x = random.standard_normal((batch, 9)).astype(np.float32)
        found.append(np.asarray(step(x, random.integers(0, 4, batch))))
    return [*found, *(p.detach().numpy().copy() for p in (*made.parameters(), *made.buffers()))], (
        schedule(step.ir()))


@pytest.mark.parametrize("model", MODELS)
def test_bits_do_not_depend_on_what_is_decided(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decided, _ = trained(model)
    counts = []
    for operation in (-1000, 0, 1000):
        monkeypatch.setattr(keep, "OPERATION", operation)
        other, made = trained(model, threads=2)
        counts.append(sum(not choice.kept for choice in made.choices))
        for a, b in zip(decided, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert counts[2] == 0
    assert (counts[0] > 0) == (model != "norms")  # all that can be; those are in groups of rows
