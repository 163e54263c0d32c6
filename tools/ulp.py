"""The largest error of every function of one float, in units in the last place of the exact result.

    python tools/ulp.py exp gelu            over all 2^32 float32
    python tools/ulp.py --every 1021        all functions, over one in 1021
    python tools/ulp.py --dtype f64         all functions in float64, over a sample
    python tools/ulp.py --torch ...         torch's functions, measured the same way, beside them

Prints a row of docs/accuracy.md for each function.  The exact results are of
tests/cpu/math_reference.py: numpy's and scipy's in float64 for float32, numpy's in long double (64
bits of mantissa on x86) and mpmath's for float64.  NNCOMPILE_TARGET chooses the target.
"""
from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nncompile.cpu import target as targets  # noqa: E402
from nncompile.cpu.kernels import elementwise  # noqa: E402
from tests.cpu.kernel_harness import Compiled  # noqa: E402
from tests.cpu.math_reference import BY_MPMATH, EXACT, Array, exact, ulps  # noqa: E402

CHUNK = 2 ** 13                                                       # stays in the cache
Result = tuple[float, float]                                          # error, where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help="default: all")
    parser.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    parser.add_argument("--every", type=int, default=1, help="float32: one in so many")
    parser.add_argument("--count", type=int, default=400_000, help="float64: so many, and more")
    parser.add_argument("--torch", action="store_true")
    options = parser.parse_args()
    for name in options.functions or EXACT:
        measured = measure(name, options)
        cells = " | ".join(f"{error:.3g} at {place:.9g}" for error, place in measured)
        print(f"| {name} | {cells} |", flush=True)


def measure(name: str, options: Any) -> list[Result]:
    """Ours, and torch's if asked for: the largest error, and where."""
    tasks = [(name, options, part) for part in range(os.cpu_count() or 1)]
    with multiprocessing.get_context("fork").Pool() as pool:
        parts = pool.map(work, tasks)
    return [max(column) for column in zip(*parts, strict=True)]


def work(task: tuple[str, Any, int]) -> list[Result]:
    """One process's share of the numbers."""
    name, options, part = task
    functions = [ours(name, options.dtype), *([torchs(name)] if options.torch else [])]
    worst = [(0.0, 0.0)] * len(functions)
    for x in numbers(name, options, part):
        wanted = exact(name, x)
        for i, function in enumerate(functions):
            worst[i] = larger(worst[i], x, function(x), wanted)
    return worst


def larger(worst: Result, x: Array, y: Array, wanted: Array) -> Result:
    """The largest error so far.  Only what may be larger than the last one is looked at closely."""
    if x.dtype == np.float32:
        with np.errstate(all="ignore"):
            power = (wanted.view(np.int64) & (0x7FF << 52)).view(np.float64)
            unit = np.maximum(power * 2.0 ** -23, 2.0 ** -149)
            close = np.flatnonzero(~(np.abs(y - wanted) <= 0.99 * worst[0] * unit))
        x, y, wanted = x[close], y[close], wanted[close]
    if not x.size:
        return worst
    error = ulps(y, wanted)
    place = int(np.argmax(error))
    return max(worst, (float(error[place]), float(x[place])))


def numbers(name: str, options: Any, part: int) -> Iterator[Array]:
    parts = os.cpu_count() or 1
    if options.dtype == "f32":
        for start in range(part * CHUNK * options.every, 2 ** 32, parts * CHUNK * options.every):
            bits = np.arange(start, min(start + CHUNK * options.every, 2 ** 32), options.every,
                             dtype=np.uint64)
            yield bits.astype(np.uint32).view(np.float32)
        return
    count = options.count // (20 if name in BY_MPMATH else 1) // parts
    yield from doubles(np.random.default_rng(part), count)


def doubles(generator: np.random.Generator, count: int) -> Iterable[Array]:
    """Random bits, and numbers where most functions do something."""
    yield generator.integers(0, 2 ** 64, count, np.uint64).view(np.float64)
    for scale in (1e-3, 0.3, 1, 3, 10, 100, 1e4):
        yield generator.uniform(-scale, scale, count)
    yield 1 + generator.uniform(-0.1, 0.1, count)


def ours(name: str, dtype: str) -> Callable[[Array], Array]:
    kernel = Compiled(elementwise(((name, "v"),), 0, dtype), targets.host())

    def function(x: Array) -> Array:
        y = np.empty_like(x)
        kernel(y, x.size, x)
        return y
    return function


def torchs(name: str) -> Callable[[Array], Array]:
    """torch's function of that name."""
    import torch
    from torch.nn import functional as F

    names = {"gelu_tanh": "gelu", "log_sigmoid": "logsigmoid"}
    home = torch if hasattr(torch, name) else F
    call: Any = getattr(home, names.get(name, name))
    options = {"approximate": "tanh"} if name == "gelu_tanh" else {}
    torch.set_num_threads(1)
    return lambda x: np.asarray(call(torch.from_numpy(x), **options).numpy())


if __name__ == "__main__":
    main()
