"""nncompile bench --scenario cold: what a fresh process waits for before its first result."""
from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import ir
from ir.check import with_data
from nncompile.cli.command import Given
from nncompile.cli.inputs import model_inputs_and_peers, read_sets
from nncompile.cli.progress import Progress
from nncompile.console import Fitted, write
from nncompile.errors import InputError
from nncompile.modelfile import is_graph_file
from nncompile.statefile import replace_file
from nncompile.trace import trace

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from nncompile.bench.fresh import Script

SCHEMA = 2
_MOST_ROUNDS = 5
_STATES = ("empty", "warm")
_Starts = Mapping[str, "Mapping[str, Sequence[Mapping[str, float]]] | str"]

_MODULE = """\
from nncompile.importers.kinds import importer_of
from nncompile.modelfile import load_model
model, declared = load_model({model!r})
inputs = {inputs!r} or declared
if (importer := importer_of(model)) is not None:
    model, inputs = importer(model, *inputs).graph, ()"""
_FILE = """\
from nncompile.modelfile import load_graph
model, inputs = load_graph({model!r}), ()"""
_RANDOM = "\nfrom ir.check import with_data\nmodel = with_data(model)"      # of a text of a graph


def bench_cold(given: Given, peers: Sequence[str]) -> int:
    """Starts processes with an empty cache and with a warm one, and prints what each waited for.
    """
    from nncompile.bench import Tolerance
    from nncompile.bench.fresh import SCRIPTS, Case, fresh_starts
    from nncompile.bench.inputs import input_sets
    from nncompile.bench.measure import batch_sizes
    from nncompile.bench.report import OURS

    rounds = min(given.rounds, _MOST_ROUNDS)
    batch, threads = (given.batch or [1])[0], given.threads[0]
    data = read_sets(given.input or ())
    model, inputs, _ = model_inputs_and_peers(given, data)
    graph = model if isinstance(model, ir.Graph) else trace(model, *inputs)
    graph = with_data(graph)
    [arrays, *_] = input_sets(graph, batch_sizes(graph, batch, dict(given.size)), 1, data)
    own = _ours(given, model, inputs, graph)
    scripts = {OURS: lambda case: own} | {name: SCRIPTS[name] for name in peers}
    with tempfile.TemporaryDirectory() as folder, \
            Progress(rounds * len(scripts) * len(_STATES)) as progress:
        case = Case(graph, arrays, threads, folder, Tolerance(given.rtol, given.atol))
        found = fresh_starts(case, scripts, rounds, progress.step)
    write(sys.stdout, *_shown(given, batch, rounds, found))
    report = {"schema": SCHEMA, "scenario": "cold", "title": given.model, "batch": batch,
              "threads": threads,
              "starts": {n: s for n, s in found.items() if not isinstance(s, str)},
              "notes": {n: s for n, s in found.items() if isinstance(s, str)}}
    for path in (*given.save, *filter(None, [given.json])):
        as_csv = path.suffix == ".csv" and path is not given.json
        replace_file(path, (_as_csv(found) if as_csv else
                            json.dumps(report, indent=1) + "\n").encode())
    return 0


def _as_csv(found: _Starts) -> str:
    """A table with a line for each process that was started."""
    from nncompile.bench.fresh import PEAK, PHASES

    text = io.StringIO()
    writer = csv.DictWriter(text, ("contender", "cache", *PHASES, PEAK), lineterminator="\n")
    writer.writeheader()
    for name, starts in found.items():
        for state, each in starts.items() if not isinstance(starts, str) else ():
            writer.writerows({"contender": name, "cache": state, **start} for start in each)
    return text.getvalue()


def _ours(given: Given, model: Any, inputs: Sequence[Any], graph: ir.Graph) -> Script:
    """Our own script: what a program does that compiles this model."""
    from nncompile.bench.fresh import ours

    if is_graph_file(given.model):
        lacks = any(v not in model.data for v in model.params)
        return ours(given.threads[0], _FILE.format(model=given.model) + _RANDOM * lacks)
    types = list(inputs)
    if any(not isinstance(each, str) for each in inputs):    # arrays: of --input, or declared
        types = [str(v.type) for v in graph.inputs] if given.input else []
    return ours(given.threads[0], _MODULE.format(model=given.model, inputs=types))


def refuse_what_has_no_meaning(given: Given) -> None:
    """Raises InputError for options that a start of a process does not have."""
    given_others = [flag for flag, value in (
        ("--compare", given.compare), ("--assert", given.limits), ("--qps", given.qps),
        ("--p99-ms", given.p99_ms), ("--seconds", given.seconds), ("--rotate", given.rotate),
        ("--callers", given.callers > 1), ("--trace", given.trace)) if value]
    if given_others:
        raise InputError(f"{', '.join(given_others)}: no meaning with --scenario cold, which times "
                         "the start of processes")
    if given.target != "cpu":
        raise InputError("--scenario cold starts processes that compute on the CPU: leave "
                         "--target out")
    if len(given.batch or [1]) > 1 or len(given.threads) > 1:
        raise InputError("--scenario cold takes one batch size and one number of threads")
    if wrong := [str(path) for path in given.save if path.suffix == ".html"]:
        raise InputError(f"--save {wrong[0]}: --scenario cold is saved as .json or .csv")


# -- the tables ------------------------------------------------------------------------------------

_LEGEND = """\
Medians. import: of the library. model: reading the file with the model or its numbers. compile: \
making it callable. to 1st: from the start of Python to the first result. of ours: how many times \
as long as nncompile a peer takes to it; "=": the two overlap. memory: the most that the process \
has. A cache is of compiled code: nncompile's, torch.compile's, OpenVINO's, JAX's. *: the fastest \
peer."""


def _shown(given: Given, batch: int, rounds: int, found: _Starts) -> Sequence[RenderableType]:
    from nncompile.bench.machine import describe
    from nncompile.bench.table import notes, titled

    reasons = [f"{name}: {starts}" for name, starts in found.items() if isinstance(starts, str)]
    if sys.dont_write_bytecode:
        reasons.append("PYTHONDONTWRITEBYTECODE is set: each process compiles the sources of what "
                       "was installed without compiled files, and imports take longer for it")
    plural = "es" * (rounds > 1)
    parts: list[RenderableType] = [titled(
        given.model, describe(), "", f"{rounds} fresh process{plural} each, batch {batch}, "
        f"{given.threads[0]} thread{'s' * (given.threads[0] > 1)}")]
    for state in _STATES:
        parts += ["", _block(state, {name: starts[state] for name, starts in found.items()
                                     if not isinstance(starts, str)})]
    return [*parts, "", notes(reasons, _LEGEND)]


def _block(state: str, found: Mapping[str, Sequence[Mapping[str, float]]]) -> RenderableType:
    """The table of one state of the cache."""
    from rich.console import Group
    from rich.text import Text

    from nncompile.bench.report import OURS
    from nncompile.bench.table import seconds_text

    ours = [_to_first(start) for start in found[OURS]]
    python = median(start["python"] for starts in found.values() for start in starts)
    about = (f"Python itself takes {seconds_text(python)}; nncompile to its 1st result "
             f"{seconds_text(min(ours))} to {seconds_text(max(ours))}")
    return Group(Text(f"cache {state}", "bold blue"),
                 Fitted(lambda kept: _table(found, kept), len(_HEADS), (6, 8, 2, 3)),
                 Text(f"  {about}", "dim"))


_HEADS = ("", "import", "model", "compile", "1st call", "to 1st", "2nd call", "of ours", "memory")


def _table(found: Mapping[str, Sequence[Mapping[str, float]]], kept: Sequence[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from nncompile.bench.report import OURS
    from nncompile.bench.table import bytes_text, seconds_text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    kept = [i for i in kept if len(found) > 1 or _HEADS[i] != "of ours"]
    for i in kept:
        table.add_column(_HEADS[i], justify="right" if i else "left", no_wrap=True)
    ours = [_to_first(start) for start in found[OURS]]
    totals = {name: median(map(_to_first, starts)) for name, starts in found.items()}
    best = min((name for name in totals if name != OURS), key=lambda n: totals[n], default="")
    for name, starts in found.items():
        def of(phase: str, starts: Sequence[Mapping[str, float]] = starts) -> str:
            return seconds_text(median(start[phase] for start in starts))

        cells = [("*" if name == best else " ") + name, of("import"), of("model"), of("compile"),
                 of("first call"), seconds_text(totals[name]), of("second call"),
                 "" if name == OURS else _ratio(list(map(_to_first, starts)), ours),
                 bytes_text(median(start["peak_bytes"] for start in starts))]
        style = "bold" if name == OURS else ""
        table.add_row(*(Text(cells[i], "green" if name == best and not i else style)
                        for i in kept))
    return table


def _to_first(start: Mapping[str, float]) -> float:
    from nncompile.bench.fresh import TO_FIRST
    return sum(start[phase] for phase in TO_FIRST)


def _ratio(peer: Sequence[float], ours: Sequence[float]) -> str:
    from nncompile.bench.table import ratio_text

    overlap = min(peer) <= max(ours) and min(ours) <= max(peer)
    return "=" * overlap + ratio_text(median(peer) / median(ours))
