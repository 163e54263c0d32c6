"""nncompile hw: what this machine is to the compiler, and what it can do at most."""
from __future__ import annotations

import json
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING

from nncompile.cli.command import Command, Given, Option
from nncompile.compiler import backend_of
from nncompile.targets import TARGETS

if TYPE_CHECKING:
    from nncompile.cpu.machine.ceilings import Ceilings

_WIDTH, _LABEL = 80, 11


def _hw(given: Given) -> int:
    from nncompile.bench.machine import caches, cpu_name
    from nncompile.bench.noise import noise
    from nncompile.cpu.machine.ceilings import ceilings
    from nncompile.cpu.runtime import default_threads
    from nncompile.cpu.runtime.costs import costs_here

    threads = default_threads()
    limits = [ceilings(count, again=given.again) for count in sorted({1, threads})]
    costs = costs_here(again=given.again) if threads > 1 else None
    found = noise()
    if given.json:
        print(json.dumps({"cpu": cpu_name(), "caches": caches(), "threads": threads,
                          "ceilings": [asdict(limit) for limit in limits],
                          "handoff_seconds": costs and costs.handoff, "noise": asdict(found)},
                         indent=1))
        return 0
    _line("CPU", cpu_name())
    _line("caches", ", ".join(caches()) or "unknown")
    _line(*_split(backend_of("cpu").describe()))
    _line("threads", f"{threads} unless compile(threads=) or NNCOMPILE_THREADS says")
    print(_table(limits))
    if costs is not None:
        _line(*_split(str(costs)))
    _line("noise", f"a millisecond of work takes {found.middle:.2f} times its least in the median, "
          f"{found.p99:.2f} in p99, {found.most:.2f} at most; {100 * found.lost:.0f} % of the time "
          f"is lost; others use {found.busy:.1f} CPUs now")
    for target in TARGETS:
        if target != "cpu":
            _line(*_split(backend_of(target).describe()))
    return 0


def _split(line: str) -> tuple[str, str]:
    label, _, text = line.partition(" ")
    return label, text.strip()


def _line(label: str, text: str) -> None:
    for number, part in enumerate(text.splitlines()):
        print(fill(part.strip(), _WIDTH, initial_indent=("" if number else label).ljust(_LABEL),
                   subsequent_indent=" " * _LABEL))


def _table(limits: list[Ceilings]) -> str:
    """Returns the ceilings: a column for each number of threads."""
    heads = [f"{limit.threads} thread{'s' * (limit.threads > 1)}" for limit in limits]
    rows = [("float32", "GFLOP/s", [limit.flops for limit in limits]),
            ("float64", "GFLOP/s", [limit.flops_f64 for limit in limits]),
            *((level, "GB/s read", [limit.bytes[level] for limit in limits])
              for level in limits[0].bytes)]
    lines = ["", "ceilings".ljust(_LABEL + 10) + "".join(head.rjust(12) for head in heads)]
    lines += [name.ljust(_LABEL) + unit.ljust(10)
              + "".join(f"{value / 1e9:.0f}".rjust(12) for value in values)
              for name, unit, values in rows]
    return "\n".join([*lines, ""])


COMMAND = Command(
    "hw", "what this machine is to the compiler, and what it can do at most", _hw, (),
    (Option("--again", "measure the ceilings again; otherwise those measured once are shown"),
     Option("--json", "print the figures as JSON, in seconds and units a second")),
    ("nncompile hw", "nncompile hw --again"))
