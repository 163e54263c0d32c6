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


def test_what_is_kept_has_its_bytes_and_what_computing_it_again_would_cost() -> None:
    step = step_of(Block())
    said = step.explain()
    kept = said[said.index("kept from the forward"):said.index("\n\nprogram")]
    graph = str(step.ir("fused"))
    lines = re.findall(r"^  (%\d+): (\w+\[.*?\]), (\S+) bytes, or (\S+) operations   \((.*); read "
                       r"by (.*)\)$", kept, re.M)
    values = {name: (type_, size, cost, layer, readers)
              for name, type_, size, cost, layer, readers in lines}
    for name, (type_, *_) in values.items():
        assert re.search(rf"^  {name}: {re.escape(type_)} +=", graph, re.M)
    by_layer = {layer: (type_, size, readers) for type_, size, _, layer, readers in values.values()}
    assert by_layer["norm"] == ("f32[B, 16]", "64*B", "up")
    assert "computed again for the gradients:" in kept
    again, = re.findall(r"(%\d+): f32\[B, 16\] = layer_norm of %x   \(norm\)", kept)
    assert re.search(rf"^  {again}: .*layer_norm\(%x\).* backward", graph, re.M)
    total = re.search(r"together (.*) bytes", kept)
    assert total is not None and "*B" in total[1]


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
    assert "operations:\n  nothing\n" in step.explain()
    assert "kept from" not in nncompile.compile(Block(), "f32[B, 16]").explain()
    step(np.ones((3, 16), "f4"), np.zeros(3, "i8"))
