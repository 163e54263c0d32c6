"""nncompile hw: what this machine is to the compiler, and what it can do at most."""
from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nncompile.cli.command import Command, Given, Option
from nncompile.cli.progress import Progress
from nncompile.compiler import backend_of
from nncompile.console import WIDTH, write
from nncompile.targets import TARGETS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nncompile.cpu.machine.ceilings import Ceilings

_LABEL = 10


def _hw(given: Given) -> int:
    from nncompile.bench.machine import caches, cpu_name
    from nncompile.bench.noise import noise
    from nncompile.cpu.machine.ceilings import ROUNDS, ceilings
    from nncompile.cpu.runtime import default_threads
    from nncompile.cpu.runtime.costs import costs_here

    threads = default_threads()
    counts = sorted({1, threads})
    with Progress(6 * ROUNDS + 2) as progress:
        limits = [ceilings(count, again=given.again, step=progress.step) for count in counts]
        progress.step("the cost of sharing work")
        costs = costs_here(again=given.again) if threads > 1 else None
        progress.step("noise")
        found = noise()
    if given.json:
        print(json.dumps({"cpu": cpu_name(), "caches": caches(), "threads": threads,
                          "ceilings": [asdict(limit) for limit in limits],
                          "handoff_seconds": costs and costs.handoff, "noise": asdict(found)},
                         indent=1))
        return 0
    about = [("CPU", cpu_name()), ("caches", ", ".join(caches()) or "unknown"),
             _split(backend_of("cpu").describe()),
             ("threads", f"{threads} unless compile(threads=) or NNCOMPILE_THREADS says")]
    more = [("doubtful", "more threads reach less than one: other processes had the CPUs when this "
             "was measured; --again measures anew")] if limits[-1].flops < limits[0].flops else []
    more += [_split(str(costs))] if costs is not None else []
    more += [("noise", f"a millisecond of work takes {found.middle:.2f} times its least in the "
              f"median, {found.p99:.2f} in p99, {found.most:.2f} at most; {100 * found.lost:.0f} % "
              f"of the time is lost; others use {found.busy:.1f} CPUs now")]
    more += [_split(backend_of(target).describe()) for target in TARGETS if target != "cpu"]
    write(sys.stdout, _facts(about), "", _table(limits), "", _facts(more))
    return 0


def _split(line: str) -> tuple[str, str]:
    label, _, text = line.partition(" ")
    return label, text.strip()


def _facts(rows: Sequence[tuple[str, str]]) -> RenderableType:
    """A label and a text in each row."""
    from rich.constrain import Constrain
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1), pad_edge=False)
    table.add_column(width=_LABEL)
    table.add_column(overflow="fold")
    for label, text in rows:
        lines = [part.strip() for part in text.splitlines()]
        table.add_row(Text(label, "bold"), Text("\n".join(lines)))
    return Constrain(table, WIDTH)


def _table(limits: Sequence[Ceilings]) -> RenderableType:
    """The ceilings: a column for each number of threads."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("ceilings", width=_LABEL)
    table.add_column("", style="dim")
    for limit in limits:
        table.add_column(f"{limit.threads} thread{'s' * (limit.threads > 1)}", justify="right",
                         min_width=11)
    rows = [("float32", "GFLOP/s", [limit.flops for limit in limits]),
            ("float64", "GFLOP/s", [limit.flops_f64 for limit in limits]),
            *((level, "GB/s read", [limit.bytes[level] for limit in limits])
              for level in limits[0].bytes)]
    for name, unit, values in rows:
        table.add_row(Text(name), unit, *(f"{value / 1e9:.0f}" for value in values))
    return table


COMMAND = Command(
    "hw", "what this machine is to the compiler, and what it can do at most", _hw, (),
    (Option("--again", "measure the ceilings again; otherwise those measured once are shown"),
     Option("--json", "print the figures as JSON, in seconds and units a second")),
    ("nncompile hw", "nncompile hw --again"))
