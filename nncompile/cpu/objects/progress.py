"""Progress: one line on a terminal for a compilation that takes more than a moment."""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

PATIENCE = 1.0                    # seconds in which nothing is shown

_Result = TypeVar("_Result")


def do_all(jobs: Sequence[tuple[str, Callable[[], _Result]]]) -> list[_Result]:
    """Runs the jobs, each of which has a name, in order, and returns their results.

    Once PATIENCE is over, one line of stderr, if that is a terminal, says which job is running, and
    how long the others take if they take as long as those before.
    """
    start, width = perf_counter(), 0
    results: list[_Result] = []
    try:
        for number, (name, job) in enumerate(jobs, 1):
            spent = perf_counter() - start
            if spent > PATIENCE and sys.stderr is not None and sys.stderr.isatty():
                line = f"nncompile: compiling {name}, {number} of {len(jobs)}"
                if done := number - 1:
                    line += f", about {spent / done * (len(jobs) - done):.0f} s left"
                sys.stderr.write(f"\r{line:<{width}}")
                sys.stderr.flush()
                width = len(line)
            results.append(job())
    finally:
        if width:
            sys.stderr.write("\r" + " " * width + "\r")
            sys.stderr.flush()
    return results
