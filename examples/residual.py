"""A model of one's own: an embedding, residual blocks, LayerNorm, and arithmetic in `forward`.

    python examples/residual.py
    nncompile show examples/residual.py:Network      pass by pass
"""
from __future__ import annotations

import numpy as np

import ir
import nncompile
from nncompile import nn

inputs = ("f32[B, 24]", "i64[B]")                # measurements, and of which of 50 machines


class Block(nn.Module):
    """x + down(gelu(up(norm(x))))"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.down = nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.down(self.act(self.up(self.norm(x))))


class Network(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        nn.init.manual_seed(0)
        self.measured = nn.Linear(24, width)
        self.machine = nn.Embedding(50, width)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 3)

    def forward(self, x, machine):
        x = (x - x.mean(dim=-1, keepdim=True)) / 2.0
        h = self.measured(x) + self.machine(machine)
        return self.out(self.norm(self.blocks(h)))


def main() -> None:
    model = Network().eval()
    fast = nncompile.compile(model, *inputs, check=True)     # every pass checked on this very graph
    print(f"As traced:\n{fast.ir('traced')}\n\nAfter fusion:\n{fast.ir('fused')}\n")
    print(f"What runs:\n\n{fast.source}")

    random = np.random.default_rng(0)
    for rows in (0, 1, 7, 1000):
        x = random.standard_normal((rows, 24), np.float32)
        machine = random.integers(0, 50, rows)
        exact, = ir.interpret(fast.ir("traced"), [x, machine], dtype=np.float64)
        error = np.abs(fast(x, machine) - exact).max(initial=0)
        assert error <= 1e-5, (rows, error)
        print(f"{rows:5d} rows: at most {error:.1e} from the model in float64")
    print(f"\nOf 1000 rows, on one thread:\n{fast.profile(x, machine)}")


if __name__ == "__main__":
    main()
