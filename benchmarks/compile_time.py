"""What compiling takes: python -m benchmarks.compile_time writes docs/compile_time.md.

Each measurement is a process of its own, and everything is CPU time, which other work on the
machine hardly changes: compiling has one thread.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import nncompile
import nncompile.cpu.backend  # what every process imports is not counted
from benchmarks.results import ROOT, libraries
from nncompile import Array, nn, options
from nncompile.bench.machine import describe

ROUNDS = 7
DRIVERS, NUMBA = "driver-*", "numba"


class Block(nn.Module):
    """Of a transformer: attention, and two linear layers, each behind a norm."""

    def __init__(self, width: int = 256, heads: int = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Array) -> Any:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


def _twelve_layers() -> nn.Module:
    return nn.Sequential(*(layer for _ in range(12) for layer in (
        nn.Linear(256, 256), nn.GELU(), nn.LayerNorm(256))))


# What it is, the model, and the type of its input
MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "MLP: 784-512-512-10, relu, softmax": (lambda: nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10),
        nn.Softmax(-1)), "f32[B, 784]"),
    "12 layers: linear, gelu, layer norm": (_twelve_layers, "f32[B, 256]"),
    "12 blocks of a transformer": (lambda: nn.Sequential(*(Block() for _ in range(12))),
                                   "f32[B, 64, 256]"),
}


# -- in a process of its own -----------------------------------------------------------------------

def _numba_itself() -> float:
    """CPU seconds until numba is imported and has compiled its first function."""
    begin = time.process_time()
    import numba  # noqa: TID251
    numba.njit(lambda x: x + 1)(1)
    return time.process_time() - begin


def _compiling(model: str) -> float:
    """CPU seconds of `compile`."""
    build, kind = MODELS[model]
    module = build().eval()
    begin = time.process_time()
    fast = nncompile.compile(module, kind)
    taken = time.process_time() - begin
    assert np.isfinite(fast(*[np.ones(shape(kind), np.float32)])).all()
    return taken


def shape(kind: str) -> tuple[int, ...]:
    """That of one example."""
    return tuple(int(dim) if dim.isdigit() else 1 for dim in kind[4:-1].split(", "))


# -- all of it -------------------------------------------------------------------------------------

def in_process(what: str, cache: str) -> float:
    done = subprocess.run([sys.executable, "-m", "benchmarks.compile_time", what], cwd=ROOT,
                          env=os.environ | {options.CACHE_DIR.variable: cache},
                          capture_output=True, text=True, timeout=300, check=True)
    return float(json.loads(done.stdout))


def _times(model: str) -> list[float]:
    """Nothing cached; the kernels cached; all cached."""
    with tempfile.TemporaryDirectory() as cache:
        nothing = in_process(model, cache)
        for driver in Path(cache).glob(DRIVERS):
            driver.unlink()
        return [nothing, in_process(model, cache), in_process(model, cache)]


def row(model: str) -> str:
    rounds = [(in_process(NUMBA, "off"), *_times(model)) for _ in range(ROUNDS)]
    numba, nothing, kernels, everything = (median(column) for column in zip(*rounds, strict=True))
    beyond = median(r[1] - r[0] for r in rounds)
    print(model, *(f"{1e3 * t:.0f} ms" for t in (numba, nothing, kernels, everything)), flush=True)
    return (f"| {model} | {nothing:.2f} | {beyond:.2f} | {kernels:.2f} | {1e3 * everything:.0f} |")


_PAGE = """\
# Compile time

`python -m benchmarks.compile_time` measures this page anew: seconds of CPU time, the median of
{rounds} processes each. Importing `nncompile`, NumPy and llvmlite with it, is not counted.

| model | nothing cached, s | beyond numba, s | kernels cached, s | all cached, ms |
|---|---|---|---|---|
{rows}

- **Nothing cached**: the first compilation on a machine, with importing numba. *Beyond numba*: less
  what numba takes to be imported and to compile `lambda x: x + 1`, in the same rounds.
- **Kernels cached**: a model of another structure, of layers that this machine has compiled before;
  with importing numba.
- **All cached**: a second process with the same structure. It does not import numba.

Measured on: **{machine}**. {libraries}.
"""


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(_numba_itself() if sys.argv[1] == NUMBA else _compiling(sys.argv[1])))
        return
    rows = [row(model) for model in MODELS]
    known = ", ".join(f"{name} {version}" for name, version in libraries().items()
                      if name in ("python", "numba", "llvmlite", "numpy"))
    (ROOT / "docs/compile_time.md").write_text(_PAGE.format(
        rounds=ROUNDS, rows="\n".join(rows), machine=describe(), libraries=known))


if __name__ == "__main__":
    main()
