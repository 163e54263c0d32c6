"""Interleaved timing of contenders whose outputs were checked.

Outputs are compared with the float64 interpreter before any time is taken; a contender that is
wrong gets "wrong" and no time. Contenders run one at a time with the same number of threads, in
rounds of alternating order, and rest before each turn so that the threads of the one before are
parked. Inputs are random numbers, since the pages of a zeroed array may all be one shared page.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf, prod
from typing import TypeAlias

import numpy as np

import ir
from ir.composites import plain_nodes
from ir.graph import named_sizes
from ir.ops import at_sizes
from ir.types import DTYPES, NDArray
from nncompile.bench.contender import (
    DEFAULT_PEERS,
    OWN_PROCESS,
    Contender,
    Elsewhere,
    Here,
    Lap,
    lap,
    ours,
    reason,
)
from nncompile.bench.machine import describe, others_seconds
from nncompile.bench.peers import Peer, Way
from nncompile.bench.report import OURS, Report, Result, Row
from nncompile.compiler import compile
from nncompile.errors import Error
from nncompile.nn import Module

PARK = 0.15              # seconds: ONNX Runtime's threads spin up to 0.11 s after a run (measured),
                         # on the cores that the next contender's threads need

Key: TypeAlias = tuple[str, int]              # a contender, and which of its ways
Timed: TypeAlias = Callable[[int], Lap]       # a number of calls -> what one took


def bench(model: Module | ir.Graph, inputs: Sequence[str | NDArray], *, batches: Sequence[int],
          threads: Sequence[int], peers: Sequence[str] = DEFAULT_PEERS,
          own_peers: Mapping[str, Peer] | None = None,
          sizes: Mapping[str, int] | None = None, rounds: int = 9, seconds: float = 0.02,
          park: float = PARK, title: str = "",
          watch: Callable[[Report, Row], None] = lambda report, row: None) -> Report:
    """Times a model beside its peers at every batch size and thread count.

    own_peers: what else is timed, by name: peers of this model alone.
    inputs: as for `compile`. Their first named size is the batch; `sizes` gives the others.
    seconds: about how long a contender is timed in each of the `rounds`.
    watch: is called with each row when it is measured.
    """
    begin = time.perf_counter()
    compiled = compile(model, *inputs)
    also = dict(own_peers or {})
    report = Report(title, describe(), time.perf_counter() - begin, (*also, *peers), rounds)
    graph = compiled.ir("traced")
    for count in threads:
        own: dict[str, Contender] = {name: Here(name, graph, count, peer) for name, peer in
                                     ({OURS: ours(compiled)} | also).items()}
        with started(graph, peers, count, OWN_PROCESS) as others:
            for batch in batches:
                at = batch_sizes(graph, batch, sizes or {})
                clock = Clock(rounds, seconds, park if count > 1 else park / 50)
                report.rows.append(measure(graph, at, batch, count, own | others, clock))
                watch(report, report.rows[-1])
    return report


@contextmanager
def started(graph: ir.Graph, names: Iterable[str], threads: int,
            own_process: Iterable[str]) -> Iterator[dict[str, Contender]]:
    """Starts the contenders of these names, those of `own_process` each in one, and closes them."""
    contenders: dict[str, Contender] = {}
    try:
        for name in names:
            kind = Elsewhere if name in own_process else Here
            contenders[name] = kind(name, graph, threads)
        yield contenders
    finally:
        for contender in contenders.values():
            contender.close()


def batch_sizes(graph: ir.Graph, batch: int, given: Mapping[str, int]) -> dict[str, int]:
    """Returns a number for each named size of the inputs, of which the first is the batch.

    given: the numbers of all others. Raises Error for one that is missing or has no size.
    """
    names = list(named_sizes(graph))
    if unknown := given.keys() - set(names[1:]):
        raise Error(f"there is no size {', '.join(sorted(unknown))} beside the batch; "
                    f"the inputs have {', '.join(names[1:]) or 'none'}")
    sizes = {name: batch for name in names[:1]} | dict(given)
    if missing := [name for name in names if name not in sizes]:
        raise Error(f"the size {missing[0]} needs a number: --size {missing[0]}=16")
    return sizes


def measure(graph: ir.Graph, sizes: Mapping[str, int], batch: int, threads: int,
            contenders: Mapping[str, Contender], clock: Clock) -> Row:
    """Measures one row: checks every contender, then times those that are right."""
    arrays = random_inputs(graph, sizes)
    with np.errstate(all="ignore"):
        expected = ir.interpret(graph, arrays, np.float64)
        results: dict[str, Result] = {}
        ways: dict[Key, Timed] = {}
        for name, contender in contenders.items():
            try:
                count = contender.prepare(arrays, expected)
            except Exception as error:           # a peer's own error is no reason to stop
                results[name] = Result(note=reason(error))
            else:
                ways |= {(name, n): _guarded(contender, n, name, results) for n in range(count)}
        pids = [c.pid for c in contenders.values() if isinstance(c, Elsewhere)]
        laps, busy = clock.interleaved(ways, pids)
    results = {name: Result.of(taken) for (name, _), taken in laps.items()} | results
    return Row(batch, threads, flops(graph, sizes), busy, results)


def _guarded(contender: Contender, way: int, name: str, results: dict[str, Result]) -> Timed:
    """Returns the contender's clock, which records a failure as the contender's result."""
    def timed(count: int) -> Lap:
        if name not in results:
            try:
                return contender.time(way, count)
            except Exception as error:
                results[name] = Result(note=reason(error))
        return Lap(inf, inf)

    return timed


class Clock:
    """Times callables against each other.

    rounds: how often each is timed. seconds: about how long in a round. park: seconds of rest
    before. Where a contender can be called in several ways, the one that is fastest in two rounds
    of trial takes part. Calls of 0.2 s and more are timed once a round, in at most five rounds.
    """

    def __init__(self, rounds: int, seconds: float, park: float) -> None:
        self.rounds, self.seconds, self.park = rounds, seconds, park

    def interleaved(self, ways: Mapping[Key, Timed],
                    pids: Iterable[int] = ()) -> tuple[dict[Key, list[Lap]], float]:
        """Returns the time of a call for each round, and the CPUs that others used meanwhile.

        Others are all processes but this one and those of `pids`.
        """
        pids = list(pids)
        begin, others = time.perf_counter(), others_seconds(pids)
        once = {key: timed(1).seconds for key, timed in ways.items()}
        counts = {key: max(1, int(self.seconds / max(seconds, 1e-7)))
                  for key, seconds in once.items()}
        several = [key for key in ways if (key[0], 1) in ways]
        trial = self.turns({key: ways[key] for key in several}, counts, min(2, self.rounds))
        best = {key: min(lap.seconds for lap in laps) for key, laps in trial.items()}
        chosen = {key: timed for key, timed in ways.items() if key not in best
                  or best[key] == min(s for (name, _), s in best.items() if name == key[0])}
        slow = max(once.values(), default=0.0) > 0.2
        laps = self.turns(chosen, counts, min(5, self.rounds) if slow else self.rounds)
        return laps, (others_seconds(pids) - others) / (time.perf_counter() - begin)

    def turns(self, ways: Mapping[Key, Timed], counts: Mapping[Key, int],
              rounds: int) -> dict[Key, list[Lap]]:
        """Returns the time of a call for each round; each round starts with another way."""
        laps: dict[Key, list[Lap]] = {key: [] for key in ways}
        keys = list(ways)
        for turn in range(rounds if keys else 0):
            first = turn % len(keys)
            for key in keys[first:] + keys[:first]:
                time.sleep(self.park)
                laps[key].append(ways[key](counts[key]))
        return laps


def side_by_side(ways: Mapping[str, Way], rounds: int = 9, seconds: float = 0.02,
                 park: float = PARK) -> dict[str, list[float]]:
    """Returns the seconds of a call of plain functions, one number a round.

    It is the clock of `bench` for what is no graph. Give all of them the same inputs, and compare
    their results first.
    """
    laps, _ = Clock(rounds, seconds, park).interleaved(
        {(name, 0): partial(lap, way) for name, way in ways.items()})
    return {name: [taken.seconds for taken in found] for (name, _), found in laps.items()}


def random_inputs(graph: ir.Graph, sizes: Mapping[str, int], seed: int = 0) -> list[NDArray]:
    """Returns standard normal numbers, and for integers indices that every table of the graph has.
    """
    random = np.random.default_rng(seed)
    tables = [_operand_shape(n, 1, sizes)[0] for n in graph.nodes if n.op == "embedding"]
    arrays = []
    for value in graph.inputs:
        shape, dtype = at_sizes(value.type.shape, sizes), DTYPES[value.type.dtype]
        numbers = (random.standard_normal(shape) if dtype.kind == "f"
                   else random.integers(0, min(tables, default=2), shape))
        arrays.append(np.asarray(numbers, dtype))
    return arrays


def flops(graph: ir.Graph, sizes: Mapping[str, int]) -> int:
    """Returns the floating-point operations of the graph's matrix products."""
    return sum(2 * prod(at_sizes(n.result.type.shape, sizes)) * _operand_shape(n, 0, sizes)[-1]
               for n in plain_nodes(graph.nodes) if n.op in ("linear", "matmul"))


def _operand_shape(node: ir.Node, index: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
    operand = node.inputs[index]
    shape: tuple[int, ...] = at_sizes(operand.type.shape, sizes) if isinstance(
        operand, ir.Value) else ()
    return shape
