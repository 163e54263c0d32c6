"""nncompile bench: times a model beside other libraries."""
from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ir
from ir.check import with_data
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, model_inputs_and_peers, read_sets
from nncompile.cli.progress import Progress
from nncompile.cli.values import (
    count_or_auto,
    names,
    number,
    positive,
    positive_number,
    positives,
    share,
    size,
)
from nncompile.console import write
from nncompile.errors import InputError
from nncompile.targets import TARGETS

if TYPE_CHECKING:
    from nncompile.bench import Report, Row, Scenario

BAD_FIGURES = 3                       # the exit status where figures are not as they have to be
_FORMATS = (".json", ".csv", ".html")


def _bench(given: Given) -> int:
    from nncompile.bench import DEVICE_PEERS, record, table, verdict

    if given.train is not None:
        from nncompile.cli.bench_train import bench_train
        return bench_train(given)
    if given.loss is not None:
        raise InputError("--loss has no meaning without --train")
    files = _output_files(given)
    limits = [verdict.Limit.of(text) for text in given.limits]
    before = record.load(given.compare) if given.compare is not None else None
    if given.fail_if_slower is not None and before is None:
        raise InputError("--fail-if-slower needs figures to compare with: --compare old.json")
    if given.scenario == "cold":
        from nncompile.cli.cold import bench_cold, refuse_what_has_no_meaning
        refuse_what_has_no_meaning(given)
        return bench_cold(given, _peers(given, {}))
    scenario = _scenario(given)
    _check_threads(given.threads)
    data = read_sets(given.input or ())
    model, inputs, own = model_inputs_and_peers(given, data)
    if isinstance(model, ir.Graph) and any(v not in model.data for v in model.params):
        model = with_data(model)
        print(f"weights: {given.model} has none, so these are seeded random numbers\n")
    on_cpu = given.target == "cpu"
    peers = _peers(given, own) if on_cpu else _known(given, list(DEVICE_PEERS))
    if not on_cpu and (data or given.scenario != "latency"):
        raise InputError(f"--target {given.target} takes the time from the device's own events, "
                         "which are of one stream of calls with random inputs: leave --scenario "
                         "and files of --input out")
    contenders = 1 + len(peers)
    rows = len(given.batch or (1, 2, 3)) * len(given.threads)
    with Progress(rows * contenders * (4 + given.rounds)) as progress:
        def watch(report: Report, row: Row) -> None:
            progress.clear()
            write(sys.stdout, *[table.heading(report)] * (len(report.rows) == 1),
                  table.block(report, row))

        report = (_on_cpu(given, model, inputs, data, peers, own, scenario, progress, watch)
                  if on_cpu else _on_device(given, model, inputs, peers, watch))
    write(sys.stdout, "", table.legend(report))
    found = record.as_dict(report)
    _write(files, found)
    if given.trace is not None:
        given.trace.write_text(record.as_trace(report))
    return _verdict(given, report, found, limits, before)


def _on_cpu(given: Given, model: Any, inputs: Sequence[Any], data: Any, peers: Sequence[str],
            own: Mapping[str, Any], scenario: Scenario, progress: Progress, watch: Any) -> Report:
    from nncompile.bench import Tolerance, bench

    return bench(model, inputs, batches=given.batch, threads=given.threads,
                 peers=[name for name in peers if name not in own],
                 own_peers={n: p for n, p in own.items() if n in peers}, sizes=dict(given.size),
                 rounds=given.rounds, seconds=given.seconds or 0.05, title=given.model,
                 scenario=scenario, data=data, rotate=given.rotate, facts=True,
                 tolerance=Tolerance(given.rtol, given.atol),
                 step=progress.step, watch=watch)


def _on_device(given: Given, model: Any, inputs: Sequence[Any], peers: Sequence[str],
               watch: Any) -> Report:
    from nncompile.bench import Tolerance, bench_device

    return bench_device(model, inputs, batches=given.batch or [1, 64, 4096], target=given.target,
                        peers=peers, sizes=dict(given.size), rounds=given.rounds,
                        seconds=given.seconds or 0.05, title=given.model,
                        tolerance=Tolerance(given.rtol, given.atol), watch=watch)


# -- what is asked for -----------------------------------------------------------------------------

def _scenario(given: Given) -> Scenario:
    from nncompile.bench import SCENARIOS

    needs = {"server": ("qps", "p99_ms"), "find-peak": ("p99_ms",)}.get(given.scenario, ())
    for option in ("qps", "p99_ms"):
        flag = "--" + option.replace("_", "-")
        if option in needs and getattr(given, option) is None:
            raise InputError(f"--scenario {given.scenario} needs {flag} N")
        if option not in needs and getattr(given, option) is not None:
            raise InputError(f"{flag} has no meaning with --scenario {given.scenario}")
    if given.callers > 1 and given.scenario == "latency":
        raise InputError("--scenario latency has one caller; throughput, server and find-peak have "
                         "--callers")
    return replace(SCENARIOS[given.scenario], callers=given.callers, seconds=given.seconds or 2.0,
                   qps=given.qps or 0.0, p99=(given.p99_ms or 0.0) / 1000)


def _peers(given: Given, own: Mapping[str, Any]) -> list[str]:
    """Returns the peers that were asked for, or those by default that are installed.

    Raises InputError for one that was asked for and is not installed.
    """
    from nncompile.bench import DEFAULT_PEERS, PEERS, lacking

    if given.vs is not None:
        peers = _known(given, [*own, *PEERS])
        if missing := {lacking(name): name for name in peers if lacking(name)}:
            raise InputError("\n".join(
                f"--vs {name} needs the package {package}, which is not installed"
                for package, name in missing.items()) + "\n  do: pip install 'nncompile[bench]'")
        return peers
    missing = {name: lacking(name) for name in DEFAULT_PEERS if lacking(name)}
    if missing:
        print("not installed: " + ", ".join(
            f"{name} (it needs {package})" for name, package in missing.items())
            + "\n  pip install 'nncompile[bench]' brings all peers\n")
    return [*own, *(name for name in DEFAULT_PEERS if name not in missing)]


def _known(given: Given, known: list[str]) -> list[str]:
    if unknown := set(given.vs or ()) - set(known):
        raise InputError(f"there is no peer {', '.join(sorted(unknown))}; there are "
                         f"{', '.join(known)}")
    return known if given.vs is None else list(given.vs)


def _check_threads(counts: Sequence[int]) -> None:
    """Raises InputError for more threads than CPUs: they would wait for each other."""
    from nncompile.cpu.machine import granted_cpus, usable_cpus

    usable = int(min(len(usable_cpus()), granted_cpus()))
    if max(counts) > usable:
        raise InputError(f"--threads {max(counts)}: this process may use {usable} "
                         f"CPU{'s' * (usable > 1)}, and threads that share one wait for each other"
                         f"\n  do: --threads {usable}, or start it with more CPUs (taskset, "
                         "the container's limit)")


# -- what becomes of the figures -------------------------------------------------------------------

def _output_files(given: Given) -> list[Path]:
    """Returns the files to write. Raises InputError for one that cannot be written."""
    others = {"--json": given.json, "--trace": given.trace}
    files = [*given.save, *([given.json] if given.json is not None else [])]
    for path in (*given.save, *filter(None, others.values())):
        option = next((name for name, other in others.items() if path is other), "--save")
        if not path.parent.is_dir():
            raise InputError(f"{option} {path}: there is no folder {path.parent}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(f"{option} {path}: it cannot be written")
        if option == "--save" and path.suffix not in _FORMATS:
            raise InputError(f"--save {path}: a file ends with one of {', '.join(_FORMATS)}")
    return files


def _write(files: Sequence[Path], found: dict[str, Any]) -> None:
    from nncompile.bench import page, record
    from nncompile.statefile import replace_file

    texts = {".csv": record.as_csv, ".html": page.as_html}
    for path in files:
        replace_file(path, texts.get(path.suffix, record.as_json)(found).encode())


def _verdict(given: Given, report: Report, found: dict[str, Any], limits: Sequence[Any],
             before: dict[str, Any] | None) -> int:
    """Prints what the figures are judged to be, and returns the exit status."""
    from nncompile.bench import verdict

    if not report.correct:
        return 1
    bad = [line for limit in limits for line in limit.broken(found)]
    if before is not None:
        changes = verdict.changes(found, before)
        print(f"\ncompared with {given.compare}:", *(f"  {change}" for change in changes), sep="\n")
        if before["machine"] != found["machine"]:
            print(f"  which was measured on another machine: {before['machine']}")
        bad += [f"slower than {given.compare} allows: {change.row}" for change in changes
                if given.fail_if_slower is not None
                and change.slower_than(given.fail_if_slower)]
    if not report.passed:
        bad.append(f"fewer than 99 of 100 calls are done within {given.p99_ms:g} ms")
    for line in bad:
        print(f"failed: {line}")
    return BAD_FIGURES if bad else 0


COMMAND = Command(
    "bench", "time a model beside NumPy, torch and ONNX Runtime; outputs are compared with float64 "
    "before any time is taken", _bench, (MODEL,), (
        Option(INPUT.name, INPUT.help + "; the rows of arrays are the data, and a folder has a "
               "set of them in each file", metavar="TYPE|FILE|FOLDER", many=True),
        Option("--scenario", "latency: one call after the other; throughput: concurrent callers; "
               "server: calls arrive by chance, --qps of them a second, and 99 of 100 have to be "
               "done in --p99-ms; find-peak: the highest such rate; cold: a fresh process, with "
               "the cache empty and warm. Without it: latency", metavar="NAME", default="latency",
               choices=("latency", "throughput", "server", "find-peak", "cold")),
        Option("--train", "time a training step with this optimizer of nncompile.optim, beside "
               "torch, torch.compile and jax; losses and weights are compared first",
               metavar="OPTIMIZER"),
        Option("--loss", "of --train: one of nncompile.nn, whose target is the last --input; "
               "without it, forward returns the loss", metavar="NAME"),
        Option("--target", "cpu; others: on a device, by its own events, with arrays that are "
               "there and with copies", metavar="TARGET", choices=tuple(TARGETS), default="cpu"),
        Option("--batch", "batch sizes: 1,64,1024, or that of the data; on a device 1,64,4096",
               metavar="N,N", read=positives),
        Option("--threads", "thread counts of the cpu: 1", metavar="N,N", read=positives,
               default=(1,)),
        Option("--callers", "threads that call at the same time, in throughput, server and "
               "find-peak: 1", metavar="N", read=positive, default=1),
        Option("--vs", "of numpy,torch,onnxruntime,torch.compile,openvino,jax, or none; without it "
               "those of the first three that are installed; on a device: "
               "torch,torch.compile,cupy,jax, or none", metavar="PEER,PEER", read=names),
        Option("--size", "a number for each named size but the first, which is the batch",
               metavar="T=16", read=size, many=True, default=()),
        Option("--rotate", "sets of inputs that calls take in turn; auto: as many as are larger "
               "than the second-level cache, at most 8, and fewer for a large model", metavar="N",
               read=count_or_auto),
        Option("--rounds", "rounds: 9", metavar="N", read=positive, default=9),
        Option("--seconds", "of each contender in a round: 0.05; of a load: 2", metavar="S",
               read=positive_number),
        Option("--qps", "calls that arrive a second, for server", metavar="N",
               read=positive_number),
        Option("--p99-ms", "milliseconds that 99 of 100 calls have to be done in, for server and "
               "find-peak", metavar="M", read=positive_number),
        Option("--rtol", "how far outputs may be from the float64 ones, as a share of the largest "
               "value of an output: 2e-5", metavar="R", read=number, default=2e-5),
        Option("--atol", "what is allowed beside that; without it, what rounding makes of this "
               "model", metavar="A", read=number),
        Option("--save", "write every figure to a file .json, .csv or .html; can be given several "
               "times", metavar="FILE", read=Path, many=True, default=()),
        Option("--json", "write every figure to this file as JSON, whatever its name",
               metavar="FILE", read=Path),
        Option("--trace", "write the steps of a call on one thread as a time line, which Perfetto "
               "and chrome://tracing show, for each row", metavar="FILE.json", read=Path),
        Option("--compare", "say what has changed since this file was saved", metavar="OLD.json",
               read=Path),
        Option("--fail-if-slower", "exit with 3 where our own time has grown by more than this, "
               "and by more than the noise", metavar="5%", read=share),
        Option("--assert", "exit with 3 unless it holds in every row, as p50<50us or "
               "items/s>=10k; can be given several times", metavar="LIMIT", many=True, default=(),
               into="limits"),
    ), (
        "nncompile bench model.py:net --batch 1,64,1024 --threads 1,2",
        f"nncompile bench model.py:net --target {[*TARGETS][-1]} --vs torch,torch.compile",
        "nncompile bench model.py:net --input data/ --save now.json --save now.html",
        'nncompile bench model.py:loss --train SGD --input "f32[B, 8]" --input "i64[B]"',
        "nncompile bench model.py:net --scenario server --qps 500 --p99-ms 10",
        "nncompile bench model.py:net --scenario cold --vs torch,onnxruntime",
        "nncompile bench model.py:net --vs none --compare old.json --fail-if-slower 5%",
    ))
