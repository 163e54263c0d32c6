"""The benchmark of a target that has a device: with arrays that stay there, and with copies.

It works as measure.py does, with time taken by the device's own events. Peers run the same graph:
torch eager, torch.compile (mode "reduce-overhead", which replays launches as one graph), CuPy
and jax.jit, all in float32 without TF32.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import ir
from ir.types import NDArray
from nncompile.backend import Stopwatch
from nncompile.bench.clock import Clock, Key, Timed
from nncompile.bench.contender import reason
from nncompile.bench.expected import Expected, Tolerance, check, expected_outputs
from nncompile.bench.inputs import random_inputs
from nncompile.bench.laps import Lap
from nncompile.bench.machine import busy_since_now
from nncompile.bench.measure import batch_sizes
from nncompile.bench.peers import (
    Unavailable,
    Way,
    data_of,
    load_python,
    needed,
    numpy_like,
    sizes_of,
    write_python,
)
from nncompile.bench.report import OURS, Report, Result, Row
from nncompile.bench.work import flops, moved_bytes
from nncompile.compiler import backend_of, compile
from nncompile.model import CompiledModel
from nncompile.nn import Module


@dataclass(frozen=True)
class _Library:
    """How a contender runs the graph: `function` takes and returns arrays on the device."""

    upload: Callable[[NDArray], Any]
    function: Callable[..., Sequence[Any]]
    fetch: Callable[[Any], NDArray]

    def resident(self, arrays: Sequence[NDArray]) -> Way:
        """Returns a call of arrays that are on the device already, with results that stay there."""
        there = [self.upload(a) for a in arrays]
        return lambda: self.function(*there)

    def copying(self, arrays: Sequence[NDArray]) -> Way:
        """Returns a call from NumPy arrays to NumPy arrays."""
        return lambda: [self.fetch(y) for y in self.function(*map(self.upload, arrays))]


class _Ours(_Library):
    """The compiled model: called into arrays that exist already, and from NumPy to NumPy."""

    def resident(self, arrays: Sequence[NDArray]) -> Way:
        there = [self.upload(a) for a in arrays]
        out = self.function(*there)
        return lambda: self.function(*there, out=out)

    def copying(self, arrays: Sequence[NDArray]) -> Way:
        return lambda: self.function(*arrays)


def bench_device(model: Module | ir.Graph, inputs: Sequence[str | NDArray], *, target: str,
                 batches: Sequence[int], peers: Sequence[str],
                 sizes: Mapping[str, int] | None = None, rounds: int = 9, seconds: float = 0.05,
                 title: str = "", tolerance: Tolerance | None = None,
                 watch: Callable[[Report, Row], None] = lambda report, row: None) -> Report:
    """Times a model beside its peers at every batch size, with and without copies of arrays.

    Raises CompileError where the target has no device here.
    """
    stopwatch = backend_of(target).stopwatch()
    begin = time.perf_counter()
    compiled = compile(model, *inputs, target=target)
    report = Report(title, stopwatch.device, time.perf_counter() - begin, tuple(peers), rounds)
    clock = Clock(rounds, seconds, 0.0)
    for batch in batches:
        at = batch_sizes(compiled.ir("traced"), batch, sizes or {})
        arrays = random_inputs(compiled.ir("traced"), at)
        [expected] = expected_outputs(compiled.ir("traced"), [arrays], tolerance)
        for copies in (False, True):
            report.rows.append(_measure(compiled, at, batch, copies, peers, clock, stopwatch,
                                        arrays, expected))
            watch(report, report.rows[-1])
    return report


def _measure(compiled: CompiledModel, sizes: Mapping[str, int], batch: int, copies: bool,
             peers: Sequence[str], clock: Clock, stopwatch: Stopwatch, arrays: Sequence[NDArray],
             expected: Sequence[Expected]) -> Row:
    """Measures one row: checks every contender, then times those that are right."""
    graph = compiled.ir("traced")
    results: dict[str, Result] = {}
    ways: dict[Key, Timed] = {}
    for name in (OURS, *peers):
        try:
            library = (_ours(compiled, stopwatch) if name == OURS
                       else DEVICE_PEERS[name](graph, arrays))
            way = library.copying(arrays) if copies else library.resident(arrays)
            check(list(way()) if copies else [library.fetch(y) for y in way()], expected)
            ways[name, 0] = partial(_on_device, stopwatch, way)
        except Exception as error:               # a peer's own error is no reason to stop
            results[name] = Result(note=reason(error))
    busy = busy_since_now()
    laps = clock.interleaved(ways)
    results |= {name: Result.of(taken) for (name, _), taken in laps.items()}
    return Row(batch, 1, flops(graph, sizes), busy(), results, moved_bytes(graph, sizes), copies)


def _on_device(stopwatch: Stopwatch, way: Way, count: int) -> Lap:
    """Returns the time of a call by the device's events; the host's CPU time is left out."""
    return Lap(stopwatch.seconds_a_call(way, count), 0.0)


def _ours(compiled: CompiledModel, stopwatch: Stopwatch) -> _Library:
    single = len(compiled.ir("traced").outputs) == 1

    def function(*arrays: Any, out: Sequence[Any] | None = None) -> Sequence[Any]:
        given = {} if out is None else {"out": out[0] if single else out}
        return [compiled(*arrays, **given)] if single else compiled(*arrays, **given)

    return _Ours(stopwatch.to_device, function, stopwatch.to_host)


# -- peers -----------------------------------------------------------------------------------------

def _torch_library(graph: ir.Graph, arrays: Sequence[NDArray], *, compiled: bool = False
                   ) -> _Library:
    torch = needed("torch")
    if not torch.accelerator.is_available():
        raise Unavailable("torch finds no GPU")
    there = torch.accelerator.current_accelerator()
    torch.set_float32_matmul_precision("highest")
    data = [torch.tensor(a, device=there) for a in data_of(graph)]
    source = write_python(graph, sizes_of(graph, arrays), "torch")
    run = load_python(source, {"torch": torch, "F": needed("torch.nn.functional")}, data)
    run = torch.compile(run, mode="reduce-overhead") if compiled else run

    def function(*inputs: Any) -> Sequence[Any]:
        with torch.inference_mode():
            return run(*inputs)                                          # type: ignore[no-any-return]

    return _Library(lambda a: torch.tensor(a, device=there), function, lambda y: y.cpu().numpy())


def _torch_compile_library(graph: ir.Graph, arrays: Sequence[NDArray]) -> _Library:
    return _torch_library(graph, arrays, compiled=True)


def _cupy_library(graph: ir.Graph, arrays: Sequence[NDArray]) -> _Library:
    cupy = needed("cupy")
    run = numpy_like(graph, arrays, cupy, "cupyx.scipy.special", cupy.asarray)
    return _Library(cupy.asarray, run, cupy.asnumpy)


def _jax_library(graph: ir.Graph, arrays: Sequence[NDArray]) -> _Library:
    """Returns jax as a library. Since jax has its own streams, each call waits for its result."""
    jax = needed("jax")
    if jax.default_backend() != "gpu":
        raise Unavailable("jax finds no GPU")
    jax.config.update("jax_default_matmul_precision", "float32")
    run = jax.jit(numpy_like(graph, arrays, needed("jax.numpy"), "jax.scipy.special",
                             jax.device_put))
    return _Library(jax.device_put, lambda *inputs: jax.block_until_ready(run(*inputs)), np.asarray)


DEVICE_PEERS: dict[str, Callable[[ir.Graph, Sequence[NDArray]], _Library]] = {
    "torch": _torch_library, "torch.compile": _torch_compile_library, "cupy": _cupy_library,
    "jax": _jax_library,
}
