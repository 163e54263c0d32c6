"""What explain() says that a step keeps from its forward, and what it computes again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

import nncompile
from nncompile import nn, optim


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 5)

    def forward(self, x: Any) -> Any:
        return self.down(nn.functional.gelu(self.up(self.norm(x))))


def step_of(model: Any, loss: Any = None) -> Any:
    return nncompile.compile(model, "f32[B, 16]", "i64[B]", loss=loss or nn.CrossEntropyLoss(),
                             optimizer=optim.Adam(model.parameters()))


def test_what_is_kept_has_its_bytes_and_both_costs() -> None:
    step = step_of(Block())
    said = step.explain()
    kept = said[said.index("kept from the forward"):said.index("\n\nprogram")]
    graph = str(step.ir("fused"))
    lines = re.findall(r"^  (%\d+): (\w+\[.*?\]), (.+) bytes, kept: (.+), again: (.+) with (.+) "
                       r"operations   \((.*); read by (.*)\)$", kept, re.M)
    assert lines
    for name, type_, *_ in lines:
        assert re.search(rf"^  {name}: {re.escape(type_)} +=", graph, re.M)
    assert "together" in kept and "an operation counts as 1" in kept

    def of(made: str) -> tuple[str, ...]:
        found, = [line for line in lines if re.search(rf"^  {line[0]}: .*= {made}", graph, re.M)]
        return found[3:6]

    # Rows of 64 bytes, 10 operations an element: written and read, or read and written again.
    assert of(r"layer_norm\(%x, ") == ("128*B", "288*B + 128", "160*B")
    rules = kept[kept.index("computed again by the rules of gradients:"):]
    assert re.search(r"= layer_norm of %x, kept: 128\*B, again: 224\*B with 160\*B operations   "
                     r"\(norm\)$", rules, re.M)


def test_what_is_computed_again_has_them_too() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(16, 16)
            self.norm, self.down = nn.BatchNorm1d(16), nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            return self.down(self.norm(self.up(x)))

    said = step_of(Centred()).explain()
    again = said[said.index("computed again where it is read"):said.index("\n\nprogram")]
    assert re.search(r"^  %\d+: f32\[B, 16\] = sub, kept: 128\*B, again: 80\*B with 16\*B opera"
                     r"tions   \(norm\)$", again, re.M)


def test_a_step_that_keeps_nothing_says_so_and_inference_says_nothing() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(nncompile.ones(16))

        def forward(self, x: Any, y: Any) -> Any:
            return (x * self.scale).sum()

    model = Scale()
    step = nncompile.compile(model, "f32[B, 16]", "i64[B]",
                             optimizer=optim.SGD(model.parameters(), lr=0.1))
    assert "counts as 1:\n  nothing\n" in step.explain()
    assert "kept from" not in nncompile.compile(Block(), "f32[B, 16]").explain()
    step(np.ones((3, 16), "f4"), np.zeros(3, "i8"))
