"""nncompile bench --scenario cold: what a fresh process waits for before its first result."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from nncompile import options
from nncompile.cli.command import Given
from nncompile.errors import Error, InputError

PHASES = ("python", "import", "model", "compile", "first call", "second call")
_CHILD = ("import time; begin = time.monotonic(); import nncompile; imported = time.monotonic(); "
          "from nncompile.cli import cold; cold.child(begin, imported)")
_MOST_ROUNDS = 5


def bench_cold(given: Given) -> int:
    """Starts processes with an empty cache and with a warm one, and prints what each waited for.
    """
    _refuse_what_has_no_meaning(given)
    rounds = min(given.rounds, _MOST_ROUNDS)
    batch = (given.batch or [1])[0]
    question = {"model": given.model, "input": given.input, "batch": batch,
                "size": dict(given.size), "threads": given.threads[0]}
    found: dict[str, list[dict[str, float]]] = {"empty": [], "warm": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for state in found:
                found[state].append(_started(question, cache))
    print(_table(given, batch, rounds, found))
    report = {"schema": 1, "scenario": "cold", "title": given.model, "batch": batch,
              "threads": given.threads[0], "starts": found}
    for path in (*given.save, *filter(None, [given.json])):
        path.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _refuse_what_has_no_meaning(given: Given) -> None:
    given_others = [flag for flag, value in (
        ("--vs", given.vs), ("--compare", given.compare), ("--assert", given.limits),
        ("--qps", given.qps), ("--p99-ms", given.p99_ms), ("--seconds", given.seconds)) if value]
    if given_others:
        raise InputError(f"{', '.join(given_others)}: no meaning with --scenario cold, which "
                         "starts processes with this model alone")
    if len(given.batch or [1]) > 1 or len(given.threads) > 1:
        raise InputError("--scenario cold takes one batch size and one number of threads")
    if wrong := [str(path) for path in given.save if path.suffix != ".json"]:
        raise InputError(f"--save {wrong[0]}: --scenario cold is saved as .json alone")


def _started(question: Mapping[str, Any], cache: str) -> dict[str, float]:
    """Returns the seconds of each phase of a fresh process, and the most memory it had."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        search = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=json.dumps({**question, "answer": str(answer), "spawned": time.monotonic()}),
            capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": search, options.CACHE_DIR.variable: cache})
        if not answer.exists():
            words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise Error(f"the fresh process failed: {words[-1]}")
        found: dict[str, float] = json.loads(answer.read_text())
    return found


def child(begin: float, imported: float) -> None:
    """Is what the fresh process does: answers the question on its standard input."""
    import nncompile
    from nncompile.bench.inputs import input_sets
    from nncompile.bench.measure import batch_sizes
    from nncompile.cli.inputs import model_inputs_and_peers, read_sets

    question = json.loads(sys.stdin.read())
    data = read_sets(question["input"] or ())
    marks = [time.monotonic()]

    def mark() -> None:
        marks.append(time.monotonic())

    model, inputs, _ = model_inputs_and_peers(
        SimpleNamespace(model=question["model"], input=question["input"]), data)
    mark()
    compiled = nncompile.compile(model, *inputs, threads=question["threads"])
    mark()
    graph = compiled.ir("traced")
    sizes = batch_sizes(graph, question["batch"], question["size"])
    (arrays, *_) = input_sets(graph, sizes, 1, data)
    marks.append(time.monotonic())
    compiled(*arrays)
    mark()
    compiled(*arrays)
    mark()
    seconds = [begin - question["spawned"], imported - begin, marks[1] - marks[0],
               marks[2] - marks[1], marks[4] - marks[3], marks[5] - marks[4]]
    Path(question["answer"]).write_text(json.dumps(
        {**dict(zip(PHASES, seconds, strict=True)), "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Returns the most memory that this process has had: proc(5), VmHWM; 0 where that is unknown.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def _table(given: Given, batch: int, rounds: int, found: Mapping[str, Sequence[Mapping[str, float]]]
           ) -> str:
    from nncompile.bench.machine import describe
    from nncompile.bench.table import bytes_text, seconds_text

    lines = [given.model, describe(), "",
             f"a fresh process, batch {batch}: the median of {rounds}, least to most",
             f"{'':<14}" + "".join(f"{f'cache {state}':>33}" for state in found)]

    def line(name: str, values: Mapping[str, Sequence[float]], text: Any) -> None:
        cells = [f"{text(median(v))} ({text(min(v))} to {text(max(v))})" for v in values.values()]
        lines.append(f"{name:<14}" + "".join(f"{cell:>33}" for cell in cells))

    for phase in PHASES:
        line(phase, {s: [start[phase] for start in starts] for s, starts in found.items()},
             seconds_text)
    line("to 1st result", {s: [sum(start[p] for p in PHASES[:-1]) for start in starts]
                           for s, starts in found.items()}, seconds_text)
    line("peak memory", {s: [start["peak_bytes"] for start in starts]
                         for s, starts in found.items()}, bytes_text)
    return "\n".join(lines)
