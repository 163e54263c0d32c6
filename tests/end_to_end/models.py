"""Models for the end-to-end tests, each with the types of its inputs and how to draw them."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import nncompile
import nncompile.nn.functional as F
from nncompile import nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.down(self.act(self.up(self.norm(x))))


class Attention(nn.Module):
    """Causality aside, one head-split self-attention as people write it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        B, T, D = x.shape
        split = self.qkv(x).reshape(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        weights = F.softmax(q @ k.transpose(-2, -1) * (D // self.heads) ** -0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(B, T, D))


class Encoder(nn.Module):
    def __init__(self, vocabulary: int = 50, width: int = 32, length: int = 40) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(length, width)
        self.attention = Attention(width, 4)
        self.norm = nn.LayerNorm(width)
        self.block = Block(width)
        self.head = nn.Linear(width, 7)

    def forward(self, ids):
        x = self.embed(ids) + self.position.weight[:ids.shape[1]]
        x = x + self.attention(self.norm(x))
        return self.head(self.block(x).mean(dim=1))


class Odd(nn.Module):
    """Views, slices, broadcasts and a second output."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.linspace(-1, 1, 5, dtype=np.float32))
        self.lin = nn.Linear(5, 3)

    def forward(self, x, y):
        a = x.reshape(-1, 4, 5).transpose(1, 2) * 0.5
        b = (a[:, 1:, :] - y[:, None, :]) / (1.0 + abs(y[:, None, :]))
        c = self.lin(x.reshape(-1, 4, 5) * self.scale)
        return b.sum(dim=1), F.softmax(c, dim=1)


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(20, 16), nn.Linear(30, 16)

    def forward(self, a, b):
        return (F.relu(self.left(a)) * self.right(b)).sum(dim=-1)


class Wide(nn.Module):
    """Concatenations of what layers make, and softmax and sums down columns."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 12)
        self.up, self.norm, self.last = nn.Linear(7, 9), nn.LayerNorm(7), nn.Linear(37, 6)

    def forward(self, x, ids):
        hidden = nncompile.cat([self.embed(ids), F.gelu(self.up(x)), self.norm(x), x * 0.5], dim=-1)
        wide = self.last(nncompile.cat([hidden, hidden[..., :2]], dim=-1))
        return wide.softmax(dim=1), wide.transpose(0, 1).sum(dim=(0, 2)), wide.cumsum(dim=1)


class OverTheBatch(nn.Module):
    """Not independent along the batch: all workers share each step."""

    def forward(self, x):
        centred = x - x.mean(dim=0, keepdim=True)
        return F.softmax(centred @ centred.T, dim=0)


def normal(*shape: int | str) -> Callable[..., np.ndarray]:
    def draw(rng: np.random.Generator, **sizes: int) -> np.ndarray:
        dims = [sizes[d] if isinstance(d, str) else d for d in shape]
        return rng.standard_normal(dims).astype(np.float32)
    return draw


def ids(*shape: int | str, below: int) -> Callable[..., np.ndarray]:
    def draw(rng: np.random.Generator, **sizes: int) -> np.ndarray:
        return rng.integers(0, below, [sizes[d] if isinstance(d, str) else d for d in shape])
    return draw


@dataclass(frozen=True)
class Case:
    model: Callable[[], nn.Module]
    types: tuple[str, ...]
    draw: tuple[Callable[..., np.ndarray], ...]
    tolerance: float = 2e-5

    def inputs(self, batch: int, seed: int = 0, T: int = 9) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [draw(rng, B=batch, T=T) for draw in self.draw]


def mlp(*widths: int, act: Any = nn.ReLU, last: Any = None) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), act()]
        return nn.Sequential(*layers[:-1], *([last] if last else []))
    return make


CASES = {
    "tanh policy": Case(mlp(17, 64, 64, 6, act=nn.Tanh), ("f32[B, 17]",), (normal("B", 17),)),
    "relu tabular": Case(mlp(64, 256, 256, 128, 1), ("f32[B, 64]",), (normal("B", 64),)),
    "digits": Case(mlp(64, 128, 10, last=nn.Softmax(dim=-1)), ("f32[B, 64]",), (normal("B", 64),)),
    "wide sigmoid": Case(mlp(33, 700, 31, act=nn.Sigmoid), ("f32[B, 33]",), (normal("B", 33),)),
    "larger than a cache": Case(mlp(800, 1100, 900, 3), ("f32[B, 800]",), (normal("B", 800),)),
    "one wide": Case(mlp(1, 1, 1), ("f32[B, 1]",), (normal("B", 1),)),
    "residual": Case(lambda: nn.Sequential(Block(48), Block(48)), ("f32[B, 48]",),
                     (normal("B", 48),)),
    "equal blocks": Case(lambda: nn.Sequential(*(Block(24) for _ in range(3))), ("f32[B, 24]",),
                         (normal("B", 24),)),
    "residual in time": Case(lambda: Block(40), ("f32[B, T, 40]",), (normal("B", "T", 40),)),
    "encoder": Case(Encoder, ("i64[B, T]",), (ids("B", "T", below=50),)),
    "odd views": Case(Odd, ("f32[B, 20]", "f32[B, 4]"), (normal("B", 20), normal("B", 4))),
    "two towers": Case(TwoTowers, ("f32[B, 20]", "f32[B, 30]"), (normal("B", 20), normal("B", 30))),
    "wide and deep": Case(Wide, ("f32[B, T, 7]", "i64[B, T]"),
                          (normal("B", "T", 7), ids("B", "T", below=30))),
    "over the batch": Case(OverTheBatch, ("f32[B, 6]",), (normal("B", 6),)),
    "gelu tanh": Case(lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 50), nn.GELU("tanh"),
                                            nn.Dropout(0.5), nn.Identity(), nn.Linear(50, 5)),
                      ("f32[B, 4, 6]",), (normal("B", 4, 6),)),
}
ROW_INDEPENDENT = [name for name in CASES if name != "over the batch"]
