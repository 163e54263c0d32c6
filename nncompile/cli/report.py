"""nncompile report: one page that shows what was done to a model, and where its time goes."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nncompile
from ir import Graph, NDArray
from ir.check import with_data
from ir.types import bind_sizes
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, model_and_inputs
from nncompile.cli.progress import Progress
from nncompile.cli.values import positive, size
from nncompile.errors import InputError
from nncompile.extras import import_extra
from nncompile.inspect.report import write_page
from nncompile.model import CompiledModel
from nncompile.nn import Module

_STAGES = 4                           # of the work, for the line that says how much is done


def _report(given: Given) -> int:
    import_extra("graphlay", "report", "a report")      # before the work, and not after it
    path: Path = given.output
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")
    peers = _peers(given.bench)
    model, inputs = model_and_inputs(given)
    if isinstance(model, Graph) and any(v not in model.data for v in model.params):
        model = with_data(model)
        print(f"weights: {given.model} has none, so these are seeded random numbers")
    with Progress(_STAGES) as progress:
        _write(given, model, inputs, peers, progress)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB, opens in any browser")
    return 0


def _write(given: Given, model: Module | Graph, inputs: list[Any],
           peers: dict[str, Any] | None, progress: Progress) -> None:
    progress.step("compiling")
    compiled = nncompile.compile(model, *inputs)
    arrays = _arrays(compiled, inputs, given.batch, dict(given.size))
    progress.step("timing each step")
    profile = compiled.profile(*arrays)
    progress.step("measuring this machine and drawing")
    write_page(given.output, compiled, profile, peers=peers)


def _peers(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from nncompile.bench import record

    return record.load(path)


def _arrays(compiled: CompiledModel, inputs: list[Any], batch: int, sizes: Mapping[str, int]
            ) -> list[NDArray]:
    """Returns the arrays that are timed: those that were given, or seeded random ones."""
    from nncompile.bench.inputs import random_inputs
    from nncompile.bench.measure import batch_sizes

    graph = compiled.ir("traced")
    if inputs and not any(isinstance(given, str) for given in inputs):
        bind_sizes([v.type for v in graph.inputs], inputs)
        return inputs
    return random_inputs(graph, batch_sizes(graph, batch, sizes))


COMMAND = Command(
    "report", "write one page that shows what was done to a model, and where its time goes",
    _report, (MODEL,), (
        INPUT,
        Option("--output", "the page, one HTML file that needs no network: report.html",
               metavar="FILE", short="-o", read=Path, default=Path("report.html")),
        Option("--batch", "the first named size of the call that is timed: 1", metavar="N",
               read=positive, default=1),
        Option("--size", "a number for each other named size", metavar="T=16", read=size,
               many=True, default=()),
        Option("--bench", "also show how the model compares with other libraries: what "
               "nncompile bench --save wrote", metavar="FILE.json", read=Path),
    ), (
        "nncompile report model.py:net -o report.html",
        "nncompile report bert.onnx --batch 8 --size T=128 -o bert.html",
        "nncompile report model.py:net --bench now.json",
    ))
