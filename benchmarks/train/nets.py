"""The models that are trained: each is a function of torch.nn, which may be nncompile's."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ir.types import NDArray


@dataclass(frozen=True)
class Net:
    """A model with the cross entropy of its output.

    build:  makes it of a library's `nn`.
    inputs: the shape of an input without the batch, and its dtype.
    layers: the widths of a plain MLP with ReLU, which scikit-learn has, too.
    """

    about: str
    build: Callable[[Any], Any]
    shape: tuple[int, ...]
    classes: int
    batches: tuple[int, ...]
    dtype: str = "f32"
    vocabulary: int = 0
    layers: tuple[int, ...] = ()

    def data(self, batch: int) -> tuple[NDArray, NDArray]:
        """Returns inputs and targets, the same in every process."""
        random = np.random.default_rng(0)
        shape = (batch, *self.shape)
        x = (random.integers(0, self.vocabulary, shape) if self.vocabulary else
             random.standard_normal(shape).astype(np.float32))
        return x, random.integers(0, self.classes, batch)

    def weights(self, shapes: Sequence[tuple[int, ...]]) -> list[NDArray]:
        """Returns the first weights: uniform, and small as those of nn.Linear are."""
        random = np.random.default_rng(1)
        return [(random.uniform(-1, 1, s) * (s[-1] ** -0.5 if len(s) > 1 else 0.1)
                 + (1.0 if len(s) == 1 and self.classes == 0 else 0.0)).astype(np.float32)
                for s in shapes]


def _mlp(*widths: int) -> Callable[[Any], Any]:
    def build(nn: Any) -> Any:
        layers = []
        for inner, outer in pairwise(widths):
            layers += [nn.Linear(inner, outer), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    return build


def _plain(about: str, widths: tuple[int, ...], *batches: int) -> Net:
    return Net(about, _mlp(*widths), widths[:1], widths[-1], batches, layers=widths)


def _residual(nn: Any) -> Any:
    class Block(nn.Module):                      # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up, self.act = nn.LayerNorm(128), nn.Linear(128, 256), nn.GELU()
            self.down = nn.Linear(256, 128)

        def forward(self, x: Any) -> Any:
            return x + self.down(self.act(self.up(self.norm(x))))

    return nn.Sequential(nn.Linear(32, 128), Block(), Block(), Block(), nn.LayerNorm(128),
                         nn.Linear(128, 10))


def _encoder(nn: Any) -> Any:
    class Encoder(nn.Module):                    # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(16, 64)
            self.layers = nn.Sequential(*(
                nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
                for _ in range(2)))
            self.head = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.layers(self.embed(x)).mean(1))

    return Encoder()


def _embedding(nn: Any) -> Any:
    return nn.Sequential(nn.Embedding(1000, 16), nn.Flatten(), nn.Linear(8 * 16, 128), nn.ReLU(),
                         nn.Linear(128, 10))


NETS: dict[str, Net] = {
    "policy": _plain("MLP 17-64-64-6", (17, 64, 64, 6), 64, 256),
    "digits": _plain("MLP 64-128-10", (64, 128, 10), 32),
    "tabular": _plain("MLP 100-256-256-2", (100, 256, 256, 2), 256),
    "images": _plain("MLP 784-512-512-10", (784, 512, 512, 10), 128),
    "wide": _plain("MLP 1024-1024-1024-1000", (1024, 1024, 1024, 1000), 256),
    "residual": Net("3 residual blocks of LayerNorm and GELU, 128 wide", _residual, (32,), 10,
                    (64,)),
    "encoder": Net("2 encoder layers, 64 wide, 4 heads, 16 tokens", _encoder, (16, 16), 10, (32,)),
    "embedding": Net("embedding of 8 ids, MLP 128-128-10", _embedding, (8,), 10, (64,),
                     dtype="i64", vocabulary=1000),
}
