"""Timing that can be believed.

Outputs are compared with the float64 interpreter before any time is taken; whoever is wrong gets
"wrong" and no time.  Contenders run in one process with the same number of threads, round by
round, each round in another order, and the threads of one are parked before the next one's turn.
Inputs are random numbers: the pages of a zeroed array may all be one shared page.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

import ir
from ir.graph import named_sizes
from ir.ops import at_sizes
from ir.types import DTYPES, Array
from nncompile.bench.machine import blas_threads, describe, others_seconds
from nncompile.bench.peers import PEERS, Unavailable, Way
from nncompile.bench.report import OURS, Report, Result, Row
from nncompile.compiler import compile
from nncompile.errors import Error
from nncompile.model import CompiledModel
from nncompile.nn import Module

TOLERANCE = 2e-5         # of the largest value expected: float32 sums of some thousand terms pass
PARK = 0.15              # seconds: ONNX Runtime's threads spin up to 0.11 s after a run (measured),
                         # on the cores that the next contender's threads need


class Wrong(Error):
    """Outputs that are not those of the float64 interpreter."""


def bench(model: Module, inputs: Sequence[str | Array], *, batches: Sequence[int],
          threads: Sequence[int], peers: Sequence[str] = tuple(PEERS),
          sizes: Mapping[str, int] | None = None, rounds: int = 9, seconds: float = 0.02,
          park: float = PARK, title: str = "",
          watch: Callable[[Report, Row], None] = lambda report, row: None) -> Report:
    """Time a model beside its peers at every batch size and thread count.

    inputs:  as for `compile`.  Their first named size is the batch; `sizes` gives the others.
    seconds: how long a contender is timed in each of the `rounds`, about.
    watch:   gets each row as soon as it is there.
    """
    begin = time.perf_counter()
    compiled = compile(model, *inputs)
    report = Report(title, describe(), time.perf_counter() - begin, tuple(peers), rounds)
    for count in threads:
        for batch in batches:
            at = batch_sizes(compiled.ir("traced"), batch, sizes or {})
            clock = Clock(rounds, seconds, park if count > 1 else park / 50)
            report.rows.append(measure(compiled, at, batch, count, peers, clock))
            watch(report, report.rows[-1])
    return report


def batch_sizes(graph: ir.Graph, batch: int, given: Mapping[str, int]) -> dict[str, int]:
    """A number for each named size of the inputs; Error for one that nobody gave."""
    names = list(named_sizes(graph))
    if unknown := given.keys() - set(names):
        raise Error(f"there is no size {', '.join(sorted(unknown))}; "
                    f"the inputs have {', '.join(names) or 'none'}")
    sizes = {name: batch for name in names[:1]} | dict(given)
    if missing := [name for name in names if name not in sizes]:
        raise Error(f"the size {missing[0]} needs a number: --size {missing[0]}=16")
    return sizes


def measure(compiled: CompiledModel, sizes: Mapping[str, int], batch: int, threads: int,
            peers: Sequence[str], clock: Clock) -> Row:
    """One row: check every contender, then time those that are right."""
    graph = compiled.ir("traced")
    arrays = random_inputs(graph, sizes)
    expected = ir.interpret(graph, arrays, np.float64)
    compiled.threads = threads
    results: dict[str, Result] = {}
    ways: dict[tuple[str, int], Way] = {}
    with blas_threads(threads), np.errstate(all="ignore"):
        for name in (OURS, *peers):
            try:
                made = (our_ways(compiled, arrays) if name == OURS
                        else PEERS[name](graph, arrays, threads))
                for way in made:
                    check(way(), expected)
            except Exception as error:           # a peer's own error is no reason to stop
                results[name] = Result(note=reason(error))
            else:
                ways |= {(name, number): way for number, way in enumerate(made)}
        times, busy = clock.interleaved(ways)
    for name, _ in ways:
        results[name] = min((Result(tuple(taken)) for (n, _), taken in times.items() if n == name),
                            key=lambda result: result.median)
    return Row(batch, threads, flops(graph, sizes), busy, results)


def our_ways(compiled: CompiledModel, arrays: Sequence[Array]) -> list[Way]:
    """Only the plain call, which makes a new output."""
    if len(compiled.ir("traced").outputs) == 1:
        return [lambda: [compiled(*arrays)]]
    return [lambda: compiled(*arrays)]


def check(got: Sequence[Array], expected: Sequence[Array]) -> None:
    """Raise Wrong unless the outputs are within TOLERANCE of the expected ones."""
    for number, (y, exact) in enumerate(zip(got, expected, strict=True)):
        if y.shape != exact.shape:
            raise Wrong(f"output {number} has the shape {y.shape}, not {exact.shape}")
        finite = np.isfinite(exact)
        if not np.array_equal(y[~finite], exact[~finite].astype(y.dtype), equal_nan=True):
            raise Wrong(f"output {number} has other infinities and NaNs")
        largest = np.abs(exact[finite]).max(initial=0.0)
        error = np.abs(y[finite] - exact[finite]).max(initial=0.0)
        if not error <= TOLERANCE * largest:     # not `>`: the error may be NaN
            raise Wrong(f"output {number} is off by {error:.1e}, with values up to {largest:.1e}")


def reason(error: Exception) -> str:
    """`wrong: ...`, `missing: ...` or `failed: ...`."""
    first = str(error).strip().partition("\n")[0]
    match error:
        case Wrong():
            return f"wrong: {first}"
        case Unavailable():
            return f"missing: {first}"
        case _:
            return f"failed: {type(error).__name__}: {first}"


class Clock:
    """Times callables against each other: `rounds` rounds, about `seconds` for each in a round,
    `park` seconds of rest before.  `timer(way, count)` takes the time of a call."""

    def __init__(self, rounds: int, seconds: float, park: float,
                 timer: Callable[[Way, int], float] | None = None) -> None:
        self.rounds, self.seconds, self.park = rounds, seconds, park
        self.timer = timer or seconds_a_call

    def interleaved(self, ways: Mapping[Any, Way]) -> tuple[dict[Any, list[float]], float]:
        """Seconds a call, one number a round, and the CPUs that others used meanwhile."""
        begin, others = time.perf_counter(), others_seconds()
        counts = {name: self.calls_in_a_round(way) for name, way in ways.items()}
        times: dict[Any, list[float]] = {name: [] for name in ways}
        names = list(ways)
        for turn in range(self.rounds if names else 0):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                time.sleep(self.park)
                times[name].append(self.timer(ways[name], counts[name]))
        return times, (others_seconds() - others) / (time.perf_counter() - begin)

    def calls_in_a_round(self, way: Way) -> int:
        return max(1, int(self.seconds / max(self.timer(way, 1), 1e-7)))


def seconds_a_call(way: Way, count: int) -> float:
    for _ in range(count // 4 + 1):              # wakes the threads, fills the caches
        way()
    begin = time.perf_counter()
    for _ in range(count):
        way()
    return (time.perf_counter() - begin) / count


def random_inputs(graph: ir.Graph, sizes: Mapping[str, int], seed: int = 0) -> list[Array]:
    """Standard normal numbers; ids that every table of the graph has."""
    random = np.random.default_rng(seed)
    tables = [operand_shape(n, 1, sizes)[0] for n in graph.nodes if n.op == "embedding"]
    arrays = []
    for value in graph.inputs:
        shape, dtype = at_sizes(value.type.shape, sizes), DTYPES[value.type.dtype]
        numbers = (random.standard_normal(shape) if dtype.kind == "f"
                   else random.integers(0, min(tables, default=2), shape))
        arrays.append(np.asarray(numbers, dtype))
    return arrays


def flops(graph: ir.Graph, sizes: Mapping[str, int]) -> int:
    """Floating-point operations of the graph's matrix products."""
    return sum(2 * prod(at_sizes(n.result.type.shape, sizes)) * operand_shape(n, 0, sizes)[-1]
               for n in graph.nodes if n.op in ("linear", "matmul"))


def operand_shape(node: ir.Node, index: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
    operand = node.inputs[index]
    shape: tuple[int, ...] = at_sizes(operand.type.shape, sizes) if isinstance(
        operand, ir.Value) else ()
    return shape
