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
from dataclasses import replace
from functools import partial

import numpy as np

import ir
from ir.graph import named_sizes
from ir.types import NDArray, bind_sizes
from nncompile.bench.clock import Clock, Key, Step, no_step
from nncompile.bench.contender import (
    DEFAULT_PEERS,
    OWN_PROCESS,
    Contender,
    Elsewhere,
    Here,
    ours,
    reason,
)
from nncompile.bench.expected import Tolerance, expected_outputs
from nncompile.bench.facts import facts_of, layers_of, profile_of
from nncompile.bench.fresh import peak_bytes
from nncompile.bench.inputs import check_count, input_sets, random_inputs
from nncompile.bench.laps import lap
from nncompile.bench.machine import busy_since_now, describe
from nncompile.bench.peers import Peer, Sets, Way
from nncompile.bench.report import OURS, Report, Result, Row
from nncompile.bench.scenarios import MEANS, Guarded, Scenario
from nncompile.bench.work import flops, moved_bytes
from nncompile.compiler import compile
from nncompile.errors import Error
from nncompile.model import CompiledModel
from nncompile.nn import Module

PARK = 0.15              # seconds: ONNX Runtime's threads spin up to 0.11 s after a run (measured),
                         # on the cores that the next contender's threads need


def bench(model: Module | ir.Graph, inputs: Sequence[str | NDArray], *,
          batches: Sequence[int] | None, threads: Sequence[int],
          peers: Sequence[str] = DEFAULT_PEERS, own_peers: Mapping[str, Peer] | None = None,
          sizes: Mapping[str, int] | None = None, rounds: int = 9, seconds: float = 0.02,
          park: float = PARK, title: str = "", scenario: Scenario = MEANS, data: Sets = (),
          rotate: int | None = 1, facts: bool = False, tolerance: Tolerance | None = None,
          step: Step = no_step,
          watch: Callable[[Report, Row], None] = lambda report, row: None) -> Report:
    """Times a model beside its peers at every batch size and thread count.

    own_peers: what else is timed, by name: peers of this model alone.
    inputs: as for `compile`. Their first named size is the batch; `sizes` gives the others.
    seconds: about how long a contender is timed in each of the `rounds`.
    scenario: what is measured; the means of many calls in a row, unless another one is given.
    data, rotate: see `input_sets`; the data have the sizes that are not given, and without batches
    their own rows are the batch. facts: whether more is found out about our own calls.
    tolerance: how far the outputs may be from the right ones.
    step: is called with the row and what is done now, before it is done.
    watch: is called with each row when it is measured.
    """
    begin = time.perf_counter()
    compiled = compile(model, *inputs)
    also = dict(own_peers or {})
    report = Report(title, describe(), time.perf_counter() - begin, (*also, *peers), rounds,
                    scenario.name, scenario.numbers)
    graph = compiled.ir("traced")
    batches, sizes = sizes_of_data(graph, data, batches, sizes or {})
    for count in threads:
        own: dict[str, Contender] = {name: Here(name, graph, count, peer) for name, peer in
                                     ({OURS: ours(compiled)} | also).items()}
        with started(graph, peers, count, OWN_PROCESS) as others:
            for batch in batches:
                at = batch_sizes(graph, batch, sizes)
                clock = Clock(rounds, seconds, park if count > 1 else park / 50, step)
                sets = input_sets(graph, at, rotate, data)
                row = measure(graph, at, batch, count, own | others, clock, scenario=scenario,
                              sets=sets, tolerance=tolerance)
                if facts and row.results[OURS].seconds:
                    row = _with_facts(row, compiled, at, sets[0], step)
                report.rows.append(row)
                watch(report, report.rows[-1])
    return report


def _with_facts(row: Row, compiled: CompiledModel, sizes: Mapping[str, int],
                arrays: Sequence[NDArray], step: Step) -> Row:
    """Returns the row with what is found out beside times."""
    graph = compiled.ir("traced")
    right = [name for name, result in row.results.items() if result.seconds]
    peaks = peak_bytes(graph, arrays, right, row.threads, step)
    profile = profile_of(compiled, arrays)
    return replace(row, facts=facts_of(compiled, graph, sizes, arrays, row.threads,
                                       row.results[OURS].a_call),
                   layers=layers_of(profile) if profile else (), profile=profile,
                   results={name: replace(result, peak_bytes=peaks.get(name, 0.0))
                            for name, result in row.results.items()})


def sizes_of_data(graph: ir.Graph, data: Sets, batches: Sequence[int] | None,
                  sizes: Mapping[str, int]) -> tuple[Sequence[int], Mapping[str, int]]:
    """Returns the batches and the other sizes, those of the data where they are not given."""
    if not data:
        return batches or [1, 64, 1024], sizes
    check_count(graph, data[0])
    found = bind_sizes([v.type for v in graph.inputs], data[0])
    batch, *others = [*named_sizes(graph)] or [""]
    return (batches or [found.get(batch, 1)]), {name: found[name] for name in others} | dict(sizes)


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
            contenders: Mapping[str, Contender], clock: Clock, *, scenario: Scenario = MEANS,
            sets: Sets = (), tolerance: Tolerance | None = None) -> Row:
    """Measures one row: checks every contender, then times those that are right.

    sets: the inputs that the calls take in turn; without them the same random ones every time.
    tolerance: of the outputs.
    """
    sets = sets or [random_inputs(graph, sizes)]
    results: dict[str, Result] = {}
    keys: list[Key] = []
    with np.errstate(all="ignore"):
        expected = expected_outputs(graph, sets, tolerance)
        for name, contender in contenders.items():
            clock.step(f"checking {name}")
            try:
                count = contender.prepare(sets, expected, scenario.callers)
            except Exception as error:           # a peer's own error is no reason to stop
                results[name] = Result(note=reason(error))
            else:
                keys += [(name, n) for n in range(count)]
        pids = [c.pid for c in contenders.values() if isinstance(c, Elsewhere)]
        busy = busy_since_now(pids)
        found = scenario.run(scenario, Guarded(contenders, keys, results), clock)
        return Row(batch, threads, flops(graph, sizes), busy(), found | results,
                   moved_bytes(graph, sizes))


def side_by_side(ways: Mapping[str, Way], rounds: int = 9, seconds: float = 0.02,
                 park: float = PARK) -> dict[str, list[float]]:
    """Returns the seconds of a call of plain functions, one number a round.

    It is the clock of `bench` for what is no graph. Give all of them the same inputs, and compare
    their results first.
    """
    laps = Clock(rounds, seconds, park).interleaved(
        {(name, 0): partial(lap, way) for name, way in ways.items()})
    return {name: [taken.seconds for taken in found] for (name, _), found in laps.items()}
