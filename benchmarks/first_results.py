"""The models whose first result is timed. `nn` is nncompile's or torch's: both build the same.

Importing this imports nothing more, so that a timed process is charged for what it uses alone.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def mlp(nn: Any) -> Any:
    """Returns 784-512-512-10: 0.7 M parameters."""
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                         nn.Linear(512, 10), nn.Softmax(-1))


def blocks(nn: Any) -> Any:
    """Returns 12 transformer blocks of width 256, norm first: 9.5 M parameters."""
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(256), nn.LayerNorm(256)
            self.attention = nn.MultiheadAttention(256, 4, batch_first=True)
            self.up, self.down = nn.Linear(256, 1024), nn.Linear(1024, 256)

        def forward(self, x: Any) -> Any:
            y = self.norm1(x)
            x = x + self.attention(y, y, y, need_weights=False)[0]
            return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))

    return nn.Sequential(*(Block() for _ in range(12)))


def bert(nn: Any) -> Any:
    """Returns a BERT in the shape of MiniLM: 6 blocks of width 384, norm last, 30522 tokens.

    It has 22 M parameters.
    """
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(384), nn.LayerNorm(384)
            self.attention = nn.MultiheadAttention(384, 12, batch_first=True)
            self.up, self.down = nn.Linear(384, 1536), nn.Linear(1536, 384)

        def forward(self, x: Any) -> Any:
            x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
            return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(30522, 384), nn.Embedding(512, 384)
            self.norm = nn.LayerNorm(384)
            self.blocks = nn.Sequential(*(Block() for _ in range(6)))

        def forward(self, tokens: Any) -> Any:
            return self.blocks(self.norm(self.tokens(tokens) + self.positions.weight[:32]))

    return Bert()


# What it is called in the tables, the type of its input, and an input for one row of the batch.
MODELS: dict[Callable[[Any], Any], tuple[str, str, str]] = {
    mlp: ("784-512-512-10, relu, softmax", "f32[B, 784]", "np.ones((1, 784), np.float32)"),
    blocks: ("12 blocks of a transformer", "f32[B, 64, 256]", "np.ones((1, 64, 256), np.float32)"),
    bert: ("a BERT of 22 M parameters, 32 tokens", "i64[B, 32]", "np.ones((1, 32), np.int64)"),
}
