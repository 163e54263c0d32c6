"""Models whose pages and drawings are tested."""
from __future__ import annotations

import json
import math
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


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        q, k, v = (layer(x).reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)
                   for layer in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        mixed = nn.functional.softmax(scores, dim=-1) @ v
        return self.output(mixed.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention, self.norm1 = Attention(width, heads), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Any) -> Any:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """BERT's encoder, as its paper writes it, with few numbers."""

    def __init__(self, layers: int = 12, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(500, width), nn.Embedding(64, width)
        self.norm = nn.LayerNorm(width)
        self.layer = nn.ModuleList([Layer(width, heads) for _ in range(layers)])
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: Any) -> Any:
        x = self.norm(self.word(ids) + self.position.weight[:ids.shape[1]])
        for layer in self.layer:
            x = layer(x)
        return self.pooler(x[:, 0]).tanh()


def hostile() -> nncompile.CompiledModel:
    """A compiled graph whose name, layers and lines would end the elements that they are in."""
    quoted = json.dumps(HOSTILE)
    text = (f"graph {quoted}(%{quoted}: f32[B, 4]) -> f32[B, 4] {{\n"
            f"  @{quoted}: f32[4, 4]\n"
            f"  %0: f32[B, 4] = linear(%{quoted}, @{quoted}) # {quoted}  {quoted}\n"
            f"  %1: f32[B, 4] = tanh(%0) # {quoted}  {quoted}\n"
            "  return %1\n}")
    return nncompile.compile(with_data(ir.parse(text)))
