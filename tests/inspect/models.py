"""Models whose pages and drawings are tested."""
from __future__ import annotations

import json
from typing import Any

import ir
import nncompile
from ir.check import with_data
from nncompile import nn

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028\u2029]]>\x00\x0b"


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Any) -> Any:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def blocks(count: int) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), *(Block(32) for _ in range(count)),
                         nn.Linear(32, 4), nn.Softmax(-1)).eval()


def hostile() -> nncompile.CompiledModel:
    """A compiled graph whose name, layers and lines would end the elements that they are in."""
    quoted = json.dumps(HOSTILE)
    text = (f"graph {quoted}(%{quoted}: f32[B, 4]) -> f32[B, 4] {{\n"
            f"  @{quoted}: f32[4, 4]\n"
            f"  %0: f32[B, 4] = linear(%{quoted}, @{quoted}) # {quoted}  {quoted}\n"
            f"  %1: f32[B, 4] = tanh(%0) # {quoted}  {quoted}\n"
            "  return %1\n}")
    return nncompile.compile(with_data(ir.parse(text)))
