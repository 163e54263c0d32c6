"""Measures what is missing, row by row; each row is on disk as soon as it is there."""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import ir
import nncompile
from benchmarks.models import SUITE, Model
from benchmarks.results import BUSY, Conditions, Measured, conditions, load, save
from benchmarks.table import console
from ir.ops import at_sizes
from nncompile.bench import Clock, Row
from nncompile.bench.contender import PEAK, READS
from nncompile.bench.machine import others_seconds
from nncompile.bench.measure import PARK, batch_sizes, measure, started
from nncompile.bench.report import OURS
from nncompile.bench.work import flops, weight_bytes

_MOST_FLOPS = 200e9           # of a call: seconds, and minutes for all contenders and rounds
_MOST_BYTES = 1 << 30         # of a call's results, all layers together: everybody holds them,
                              # and the float64 interpreter twice as many


@dataclass(frozen=True)
class Plan:
    """What to measure, and how carefully.

    tries: how often a row is measured again if others kept the machine busy. wait: the most seconds
    to wait for them before each try. again: whether rows that exist are measured, too.
    """

    models: Sequence[str]
    batches: Sequence[int]
    threads: Sequence[int]
    peers: Sequence[str]
    rounds: int
    seconds: float
    tries: int
    wait: float
    again: bool
    folder: Path


def run(plan: Plan) -> None:
    """Measures what the plan names, and saves each row as soon as it is measured."""
    now = conditions(plan.rounds, plan.seconds)
    print(now.machine, ", ".join(f"{k} {v}" for k, v in now.libraries.items()), sep="\n")
    for name in plan.models:
        model = SUITE[name]
        graph = nncompile.trace(model.build(), *model.inputs)
        print(f"\n{name}: {model.about}", flush=True)
        for threads in plan.threads:
            _run_model(plan, model, graph, threads, now)


def _run_model(plan: Plan, model: Model, graph: ir.Graph, threads: int, now: Conditions) -> None:
    kept = [m for m in load(plan.folder, model.name) if m.conditions == now]
    rows = {(m.row.threads, m.row.batch): m for m in kept}
    missing = [batch for batch in plan.batches if plan.again
               or not is_done(rows.get((threads, batch)), plan.peers)]
    if not missing:
        return
    names = (OURS, *plan.peers, PEAK, READS)
    with started(graph, names, threads, own_process=names) as contenders:
        for batch in missing:
            sizes = batch_sizes(graph, batch, model.sizes)
            skipped = too_large(graph, sizes)
            row = Row(batch, threads, flops(graph, sizes), 0.0, {})
            for _ in range(0 if skipped else plan.tries):
                wait_for_quiet(plan.wait)
                clock = Clock(plan.rounds, plan.seconds, PARK if threads > 1 else PARK / 50)
                row = measure(graph, sizes, batch, threads, contenders, clock)
                if row.busy <= BUSY:
                    break
            done = Measured(model.name, row, weight_bytes(graph), now, skipped)
            rows[threads, batch] = done
            save(plan.folder, model.name, list(rows.values()))
            print(console(done), flush=True)


def wait_for_quiet(seconds: float) -> None:
    """Returns when no other process has used the machine for two seconds, or after so many."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        others, begin = others_seconds(), time.monotonic()
        time.sleep(2)
        if others_seconds() - others <= BUSY * (time.monotonic() - begin):
            return


def is_done(measured: Measured | None, peers: Sequence[str]) -> bool:
    """Returns whether a row needs no measurement."""
    return measured is not None and measured.valid and (
        bool(measured.skipped) or set(peers) <= measured.row.results.keys())


def too_large(graph: ir.Graph, sizes: dict[str, int]) -> str:
    """Returns why a row would take gigabytes or minutes, or ""."""
    if (work := flops(graph, sizes)) > _MOST_FLOPS:
        return f"{work / 1e9:.0f} GFLOP a call, above {_MOST_FLOPS / 1e9:.0f}"
    held = 4 * sum(prod(at_sizes(node.result.type.shape, sizes)) for node in graph.nodes)
    if held > _MOST_BYTES:
        return f"{held / 2**30:.1f} GiB of results, above {_MOST_BYTES / 2**30:.0f}"
    return ""
