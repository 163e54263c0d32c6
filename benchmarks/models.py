"""The models: what people run on a CPU, small and large, regular and not."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import nncompile.nn.functional as F
from nncompile import nn


@dataclass(frozen=True)
class Model:
    """A model of the suite.

    make: returns the model in eval mode with seeded weights. inputs: as for `compile`; the first
    named size is the batch, `sizes` gives the others. dense: whether nearly all time should go into
    matrix products, so that the machine's ceilings are bars for it.
    """

    name: str
    about: str
    make: Callable[[], nn.Module]
    inputs: tuple[str, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)
    dense: bool = False

    def build(self) -> nn.Module:
        """Returns the model in eval mode, with the same weights every time."""
        nn.manual_seed(0)
        return self.make().eval()


def _mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU,
         last: Callable[[], nn.Module] | None = None) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), act()]
    return nn.Sequential(*layers[:-1], *([last()] if last else []))


def _probabilities() -> nn.Module:
    return nn.Softmax(dim=-1)


class Text(nn.Module):
    """Eight tokens, embedded and normalized, to class probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20_000, 64)
        self.norm = nn.LayerNorm(512)
        self.classify = _mlp(512, 256, 256, 20, last=_probabilities)

    def forward(self, ids: Any) -> Any:
        return self.classify(self.norm(self.embed(ids).reshape(-1, 512)))


class ResidualBlock(nn.Module):
    """A residual block of two linear layers with a norm before them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Ranker(nn.Module):
    """How well an item fits a query: a bilinear form of the two, and a linear part."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.query, self.item = _mlp(128, 256, width), _mlp(128, 256, width)
        self.form = nn.Linear(width, width, bias=False)
        self.linear = nn.Linear(width, 1)

    def forward(self, query: Any, item: Any) -> Any:
        q, i = self.query(query), self.item(item)
        return (self.form(q) * i).sum(-1, keepdim=True) + self.linear(q * i)


class Towers(nn.Module):
    """The dot product of two towers, as recommenders have it."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = _mlp(300, 512, 256, 128), _mlp(200, 512, 256, 128)

    def forward(self, user: Any, item: Any) -> Any:
        return (self.user(user) * self.item(item)).sum(-1)


class Heads(nn.Module):
    """A mixture: four networks, weighted by a gate."""

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(128, count)
        self.heads = nn.ModuleList([_mlp(128, 256, 64) for _ in range(count)])

    def forward(self, x: Any) -> Any:
        share = F.softmax(self.gate(x), dim=-1)
        return sum((head(x) * share[:, i:i + 1] for i, head in enumerate(self.heads)), 0.0)


class Gated(nn.Module):
    """Two gated blocks, silu(g) * u, as transformers have them between attentions."""

    def __init__(self, width: int = 256, inner: int = 680) -> None:
        super().__init__()
        self.gates = nn.ModuleList([nn.Linear(width, inner) for _ in range(2)])
        self.ups = nn.ModuleList([nn.Linear(width, inner) for _ in range(2)])
        self.downs = nn.ModuleList([nn.Linear(inner, width) for _ in range(2)])

    def forward(self, x: Any) -> Any:
        for gate, up, down in zip(self.gates, self.ups, self.downs, strict=True):
            g = gate(x)
            x = x + down(g * g.sigmoid() * up(x))
        return x


class Encoder(nn.Module):
    """One block of a transformer's encoder, written by hand."""

    def __init__(self, width: int = 256, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        x = x + self.attend(self.before(x))
        return x + self.down(F.gelu(self.up(self.between(x))))

    def attend(self, x: Any) -> Any:
        batch, length, width = x.shape
        each = width // self.heads
        split = self.qkv(x).reshape(batch, length, 3, self.heads, each).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        weights = F.softmax(q @ k.transpose(-2, -1) * each ** -0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))


SUITE = {model.name: model for model in (
    Model("policy", "17-64-64-6, tanh", lambda: _mlp(17, 64, 64, 6, act=nn.Tanh), ("f32[B, 17]",)),
    Model("tabular", "64-256-256-128-1, relu", lambda: _mlp(64, 256, 256, 128, 1),
          ("f32[B, 64]",)),
    Model("digits", "784-512-512-10, relu, softmax",
          lambda: _mlp(784, 512, 512, 10, last=_probabilities), ("f32[B, 784]",), dense=True),
    Model("head", "1536-1024-1024-1000, relu", lambda: _mlp(1536, 1024, 1024, 1000),
          ("f32[B, 1536]",), dense=True),
    Model("wide", "4096-4096-4096, gelu", lambda: _mlp(4096, 4096, 4096, act=nn.GELU),
          ("f32[B, 4096]",), dense=True),
    Model("text", "8 tokens x 64, layer norm, 512-256-256-20, softmax", Text, ("i64[B, 8]",)),
    Model("residual", "6 blocks of 256, layer norm, gelu",
          lambda: nn.Sequential(*[ResidualBlock(256) for _ in range(6)]), ("f32[B, 256]",)),
    Model("ranker", "two of 128-256-256, a bilinear form of both", Ranker,
          ("f32[B, 128]", "f32[B, 128]")),
    Model("deep", "20 layers of 64, relu", lambda: _mlp(*[64] * 21), ("f32[B, 64]",)),
    Model("classes", "256-512-50000, relu, softmax",
          lambda: _mlp(256, 512, 50_000, last=_probabilities), ("f32[B, 256]",)),
    Model("odd", "37-211-173-97-13, gelu", lambda: _mlp(37, 211, 173, 97, 13, act=nn.GELU),
          ("f32[B, 37]",)),
    Model("towers", "300-512-256-128 and 200-512-256-128, dot product", Towers,
          ("f32[B, 300]", "f32[B, 200]")),
    Model("heads", "4 of 128-256-64, mixed by a gate", Heads, ("f32[B, 128]",)),
    Model("gated", "2 gated blocks of 256, 680 inside", Gated, ("f32[B, 256]",)),
    Model("autoencoder", "784-256-32-256-784, relu, sigmoid",
          lambda: _mlp(784, 256, 32, 256, 784, last=nn.Sigmoid), ("f32[B, 784]",), dense=True),
    Model("encoder", "a transformer block of 256, 4 heads, 64 positions", Encoder,
          ("f32[B, T, 256]",), {"T": 64}),
)}
