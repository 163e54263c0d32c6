"""The largest error of every function of one float, in units in the last place of the exact result.

    python tools/ulp.py                     all functions, over all 2^32 float32: an hour of a core
    python tools/ulp.py exp gelu            two of them
    python tools/ulp.py --every 1021        over one float32 in 1021
    python tools/ulp.py --dtype f64         in float64, over a sample
    python tools/ulp.py --peers ...         torch's and ONNX Runtime's, measured the same way, too

Prints a row of docs/accuracy.md for each function as it is done. The exact results are of
tests/exact.py: numpy's and scipy's in float64 for float32, numpy's in long double (64
bits of mantissa on x86) and mpmath's for float64. Float64 is exact enough to judge a float32 by:
tests/cpu/test_math.py compares it with those. Errors of up to half a unit, those of rounding,
count as one half. NNCOMPILE_TARGET chooses the target.
"""
from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import ir  # noqa: E402
from nncompile import counterparts  # noqa: E402
from nncompile.bench.onnx_model import onnx_model  # noqa: E402
from nncompile.cpu.kernels import elementwise  # noqa: E402
from nncompile.cpu.vector import target as targets  # noqa: E402
from tests.cpu.kernel_harness import Compiled  # noqa: E402
from tests.exact import BY_MPMATH, EXACT, PARAMETERS, Array, exact, ulps  # noqa: E402

CHUNK = 2 ** 14                                                       # stays in the cache
HALF = 0.5
Result = tuple[float, float]                                          # error, where
Function = Callable[[Array], Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help="default: all")
    parser.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    parser.add_argument("--every", type=int, default=1, help="float32: one in so many")
    parser.add_argument("--count", type=int, default=400_000, help="float64: so many, and more")
    parser.add_argument("--peers", action="store_true", help="torch and ONNX Runtime, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    every = [name for name in EXACT if ir.OPS[name].arity[0] == 1 + len(PARAMETERS.get(name, ()))]
    for name in options.functions or every:
        cells = " | ".join(f"{error:.3g} at {place:.9g}" for error, place in measure(name, options))
        print(f"| {name} | {cells} |", flush=True)


def measure(name: str, options: Any) -> list[Result]:
    """Returns the largest error of ours, and of the peers if asked for, and where it is."""
    tasks = [(name, options, part) for part in range(options.jobs)]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        parts = pool.map(work, tasks)
    return [max(column) for column in zip(*parts, strict=True)]


def work(task: tuple[str, Any, int]) -> list[Result]:
    """Measures one process's share of the numbers."""
    name, options, part = task
    functions = [ours(name, options.dtype)]
    if options.peers:
        functions += [torchs(name), onnxs(name, options.dtype)]
    worst = [(HALF, 0.0)] * len(functions)
    for x in numbers(name, options, part):
        wanted = exact(name, x)
        with np.errstate(all="ignore"):
            nearest = wanted.astype(x.dtype)
        for i, function in enumerate(functions):
            worst[i] = larger(worst[i], x, function(x), wanted, nearest)
    return worst


def larger(worst: Result, x: Array, y: Array, wanted: Array, nearest: Array) -> Result:
    """Returns the largest error so far. Only what is not the nearest number is measured."""
    other = np.flatnonzero((y != nearest) & ((y == y) | (nearest == nearest)))
    if not other.size:
        return worst
    error = ulps(y[other], wanted[other])
    place = int(np.argmax(error))
    return max(worst, (float(error[place]), float(x[other[place]])))


def numbers(name: str, options: Any, part: int) -> Iterator[Array]:
    if options.dtype == "f32":
        step = CHUNK * options.every
        for start in range(part * step, 2 ** 32, options.jobs * step):
            bits = np.arange(start, min(start + step, 2 ** 32), options.every, dtype=np.uint64)
            yield bits.astype(np.uint32).view(np.float32)
        return
    count = options.count // (20 if name in BY_MPMATH else 1) // options.jobs
    yield from doubles(np.random.default_rng(part), count)


def doubles(generator: np.random.Generator, count: int) -> Iterable[Array]:
    """Yields random bits, and numbers where most functions are neither 0 nor infinite."""
    yield generator.integers(0, 2 ** 64, count, np.uint64).view(np.float64)
    for scale in (1e-3, 0.3, 1, 3, 10, 100, 1e4):
        yield generator.uniform(-scale, scale, count)
    yield 1 + generator.uniform(-0.1, 0.1, count)


def ours(name: str, dtype: str) -> Function:
    parameters = [values[0] for values in PARAMETERS.get(name, ())]
    kernel = Compiled(elementwise(((name, "v" * (1 + len(parameters))),), 0, dtype), targets.host())

    def function(x: Array) -> Array:
        y = np.empty_like(x)
        kernel(y, x.size, x, *(np.full_like(x, p) for p in parameters))
        return y
    return function


def torchs(name: str) -> Function:
    """Returns torch's function, as the table of counterparts has it."""
    import torch
    from torch.nn import functional as F

    operands = ["x", *(counterparts.literal(values[0]) for values in PARAMETERS.get(name, ()))]
    code = compile(counterparts.expression(name, "torch", operands, {}), name, "eval")
    torch.set_num_threads(1)
    return lambda x: np.asarray(
        eval(code, {"torch": torch, "F": F, "x": torch.from_numpy(x)}).numpy())


def onnxs(name: str, dtype: str) -> Function:
    """Returns ONNX Runtime's function; NaN where it has none."""
    import onnxruntime

    builder = ir.Builder()
    x = builder.declare("input", "x", ir.parse_type(f"{dtype}[N]"))
    y = builder.add(name, x, *(values[0] for values in PARAMETERS.get(name, ())))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4

    @functools.cache
    def session(count: int) -> Any:
        model = onnx_model(builder.build(name, [y]), {"N": count})
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def function(x: Array) -> Array:
        try:
            return np.asarray(session(x.size).run(None, {"x": x})[0])
        except Exception:                      # its errors have no common base; it has no such op
            return np.full_like(x, np.nan)
    return function


if __name__ == "__main__":
    main()
