"""nncompile hw: what this machine is to the compiler, and what it can do at most."""
from __future__ import annotations

from nncompile.cli.command import Command, Given, Option
from nncompile.compiler import backend_of
from nncompile.targets import TARGETS


def _hw(given: Given) -> int:
    from nncompile.bench.machine import caches, cpu_name
    from nncompile.cpu.machine.ceilings import ceilings
    from nncompile.cpu.runtime import default_threads
    from nncompile.cpu.runtime.costs import costs_here

    print(f"CPU      {cpu_name()}\n"
          f"caches   {', '.join(caches()) or 'unknown'}\n"
          f"{backend_of('cpu').describe()}\n"
          f"threads  {default_threads()} unless compile(threads=) or NNCOMPILE_THREADS says")
    for threads in sorted({1, default_threads()}):
        print(ceilings(threads, again=given.again))
    if default_threads() > 1:
        print(costs_here(again=given.again))
    for target in TARGETS:
        if target != "cpu":
            print(backend_of(target).describe())
    return 0


COMMAND = Command(
    "hw", "what this machine is to the compiler, and what it can do at most", _hw, (),
    (Option("--again", "measure the ceilings again; otherwise those measured once are shown"),),
    ("nncompile hw", "nncompile hw --again"))
