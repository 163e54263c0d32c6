"""What a whole process takes: python -m benchmarks.compile_time writes docs/compile_time.md.

Each measurement is a process from its start to its end, imports included. The processes of a table
take turns, and of each the least of the rounds counts: CPU seconds of all its threads, and seconds
by the clock. nncompile runs from a copy of its sources, once with its byte code and once without.
"""
from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import nncompile
from benchmarks.first_results import MODELS, bert, blocks, mlp
from benchmarks.results import ROOT, libraries
from nncompile import nn, options
from nncompile.bench.machine import describe
from nncompile.bench.onnx_model import onnx_model
from nncompile.bench.peers import needed

ROUNDS = 12
NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"
# The BLAS of NumPy starts threads that spin for a while, where they find an idle CPU.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
Build = Callable[[Any], Any]


class Taken(NamedTuple):
    """Seconds that a process took: of CPU, and by the clock."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Process:
    """A row of a table.

    forget:    the pattern of the cache's files that are deleted before it starts.
    byte_code: whether Python finds nncompile's byte code.
    options:   of Python; what these print on standard error counts as printed.
    """

    name: str
    code: str
    forget: str = ""
    byte_code: bool = True
    options: tuple[str, ...] = ()


# -- what runs -------------------------------------------------------------------------------------

FIRST_RESULT = """\
import numpy as np
import nncompile
from benchmarks.first_results import {name} as build
fast = nncompile.compile(build(nncompile.nn).eval(), "{kind}", threads=1)
assert np.isfinite(fast({example})).all()
"""
FIRST_RESULT_TORCH = """\
import numpy as np
import torch
from benchmarks.first_results import {name} as build
torch.set_num_threads(1)
model = build(torch.nn).eval()
with torch.inference_mode():
    assert torch.isfinite(model(torch.from_numpy({example}))).all()
"""
FIRST_RESULT_ONNX_RUNTIME = """\
import numpy as np
import onnxruntime
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("{path}", settings, providers=["CPUExecutionProvider"])
y, = session.run(None, {{session.get_inputs()[0].name: {example}}})
assert np.isfinite(y).all()
"""
MLP_IN_NUMPY = """\
import numpy as np
random = np.random.default_rng(0)
x = np.ones((1, 784), np.float32)
for inputs, outputs in ((784, 512), (512, 512), (512, 10)):
    w = random.uniform(-inputs ** -0.5, inputs ** -0.5, (outputs, inputs)).astype(np.float32)
    x = np.maximum(x @ w.T + np.zeros(outputs, np.float32), 0)
assert np.isfinite(x).all()
"""
STAGES = """\
import json
import time
marks = []

def mark(stage):
    marks.append((stage, time.process_time()))

def mark_behind(owner, name, stage):
    inner = getattr(owner, name)
    def outer(*args, **kwargs):
        result = inner(*args, **kwargs)
        mark(stage)
        return result
    setattr(owner, name, outer)

mark("start of Python")
import numpy as np
mark("import of NumPy")
import nncompile
mark("import of nncompile")
import numpy.random
mark("import of numpy.random")
from benchmarks.first_results import {name} as build
model = build(nncompile.nn).eval()
mark("layers, and their initial weights")
import llvmlite.binding
import llvmlite.ir
mark("import of llvmlite")
from nncompile import compiler, plans
mark("import of the compiler")
from nncompile.cpu import backend, driver
mark("import of the CPU target")
{compiling}mark_behind(compiler, "trace_structured", "tracing")
mark_behind(plans, "run_passes", "passes")
mark_behind(plans, "schedule", "scheduling")
mark_behind(backend, "generate", "source of the driver")
mark_behind(compiler, "kept_plan", "its plan, read or kept")
mark_behind(driver.Arena, "pack", "packing the weights")
fast = nncompile.compile(model, "{kind}", threads=1)
mark("loading the machine code")
fast({example})
mark("first call")
print(json.dumps(marks))
"""
COMPILING = """\
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])     # so that one stage follows the other
import numba
mark("import of numba")
from nncompile.cpu.objects import compile as functions, emit, library, numba_target
mark("import of what extends numba")

def mark_each(owner, name, named):
    inner = getattr(owner, name)
    def outer(*subjects):
        result = inner(*subjects)
        mark(named(*subjects))
        return result
    setattr(owner, name, outer)

mark_each(functions, "_add", lambda module, function: function.python.__name__ + ", by numba")
mark_each(functions, "_simplify", lambda module, machine: "LLVM's passes over such functions")
mark_behind(library, "simplified", "their machine code")
mark_each(library, "text_for",
          lambda module, target: module.name.removeprefix("shared_") + ", LLVM IR")
mark_each(emit.Emitter, "object_code", lambda emitter, text: (
    text.split('"')[1].removeprefix("shared_") + ", machine code"))
"""
NUMBA = "import numba\nassert numba.njit(lambda x: x + 1)(1) == 2"


def first_result(template: str, build: Build, path: Path | None = None, compiling: str = ""
                 ) -> str:
    """Returns a program that builds a model by the template and computes one result."""
    _, kind, example = MODELS[build]
    return template.format(name=build.__name__, kind=kind, example=example, path=path,
                           compiling=compiling)


def onnx_file(build: Build, path: Path) -> Path:
    """Writes the model as ONNX Runtime itself leaves it, constants folded; returns the path."""
    _, kind, _ = MODELS[build]
    runtime = needed("onnxruntime")
    settings = runtime.SessionOptions()
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(path)
    graph = nncompile.trace(build(nn).eval(), kind)
    runtime.InferenceSession(onnx_model(graph, {"B": 1}), settings,
                             providers=["CPUExecutionProvider"])
    return path


def imports() -> list[Process]:
    """Returns the processes that only import something."""
    return [Process("nothing", "pass"), Process("numpy", "import numpy"),
            Process("nncompile", "import nncompile"),
            Process("nncompile, without byte code", "import nncompile", byte_code=False),
            Process("onnxruntime", "import onnxruntime"), Process("torch", "import torch")]


def first_results(build: Build, folder: Path) -> list[Process]:
    """Returns the processes that compute one result: peers, and ours with less and less cached."""
    own = first_result(FIRST_RESULT, build)
    file = onnx_file(build, folder / f"{build.__name__}.onnx")
    return [
        *([Process("NumPy by hand", MLP_IN_NUMPY)] if build is mlp else []),
        Process("ONNX Runtime", first_result(FIRST_RESULT_ONNX_RUNTIME, build, file)),
        Process("torch, eager", first_result(FIRST_RESULT_TORCH, build)),
        Process("nncompile, all cached", own),
        Process("nncompile, all cached, without byte code", own, byte_code=False),
        Process("nncompile, kernels cached", own, forget="[dp][rl]*-*"),       # drivers and plans
        Process("nncompile, empty cache", own, forget="*"),
        Process("numba's import", "import numba"),
        Process("numba's import and first function", NUMBA),
    ]


# -- measuring -------------------------------------------------------------------------------------

def copied_sources(folder: Path) -> Path:
    """Copies the packages and the models to a folder, without byte code, and returns the folder."""
    for package in ("ir", "nncompile"):
        shutil.copytree(ROOT / package, folder / package,
                        ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks/first_results.py", folder / "benchmarks")
    return folder


def run(process: Process, folder: Path) -> tuple[Taken, str]:
    """Runs a process once, and returns what it took and printed.

    folder: has the cache and both copies of the sources.
    """
    cache = folder / "cache"
    for file in cache.glob(process.forget) if process.forget else ():
        file.unlink()
    inherited = {k: v for k, v in os.environ.items() if k not in (NO_BYTE_CODE, "PYTHONPATH")}
    variables = inherited | {options.CACHE_DIR.variable: str(cache), **ONE_THREAD}
    if not process.byte_code:
        variables[NO_BYTE_CODE] = "1"
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *process.options, "-c", process.code], env=variables,
                          timeout=300, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT if process.options else None,
                          cwd=folder / ("with" if process.byte_code else "without"))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(cpu, wall), done.stdout


def least(processes: Sequence[Process], folder: Path, rounds: int) -> list[Taken]:
    """Returns the least that each process took in so many rounds.

    In one more round before them, byte code and caches are written.
    """
    taken = [[run(process, folder)[0] for process in processes] for _ in range(rounds + 1)][1:]
    return [Taken(*map(min, zip(*column, strict=True))) for column in zip(*taken, strict=True)]


def least_stages(build: Build, folder: Path, rounds: int, empty: bool = False
                 ) -> dict[str, float]:
    """Returns the CPU seconds of each stage of a process that finds everything in the cache.

    empty: it finds nothing there instead.
    """
    code = first_result(STAGES, build, compiling=COMPILING if empty else "")
    process, found = Process("stages", code, forget="*" if empty else ""), []
    for _ in range(rounds + 1):
        taken, text = run(process, folder)
        stages: dict[str, float] = {}
        marks = [("", 0.0), *json.loads(text), ("end of Python", taken.cpu)]
        for (_, start), (stage, end) in pairwise(marks):
            stages[stage] = stages.get(stage, 0.0) + end - start
        found.append(stages)
    cached = found[1:]                           # the first one has filled the cache
    return {stage: min(stages[stage] for stages in cached) for stage in cached[0]}


def packages_table(folder: Path, rounds: int) -> str:
    """In Markdown: milliseconds that importing nncompile spends in the modules of each package."""
    kinds = [Process("", "import nncompile", byte_code=byte_code) for byte_code in (True, False)]
    columns: list[dict[str, float]] = []
    for process in kinds:
        taken = [import_times(process, folder) for _ in range(rounds + 1)][1:]
        columns.append({name: min(times[name] for times in taken) for name in taken[0]})
    lines = ["| package | ms | without byte code, ms |", "|---|---|---|"]
    for name in columns[0]:
        lines.append(f"| {name} | {' | '.join(f'{column[name]:.1f}' for column in columns)} |")
    sums = " | ".join(f"{sum(column.values()):.0f}" for column in columns)
    return "\n".join([*lines, f"| sum | {sums} |"])


def import_times(process: Process, folder: Path) -> dict[str, float]:
    """Milliseconds of one import, by package; Python's own modules and NumPy's are left out."""
    report = run(replace(process, options=("-X", "importtime")), folder)[1]
    times: dict[str, float] = {}
    for own, name in re.findall(r"import time: +(\d+) \| +\d+ \| +(\S+)", report):
        top, *inner = name.split(".")
        if top in ("ir", "nncompile"):
            package = ".".join([top, *inner[:-1]])
            times[package] = times.get(package, 0.0) + int(own) / 1e3
    return times


def stages_table(builds: Sequence[Build], stages: Sequence[dict[str, float]]) -> str:
    """Returns the milliseconds of each stage in Markdown, in a column for each model."""
    lines = [f"| stage | {' | '.join(MODELS[build][0] for build in builds)} |",
             "|---" * (len(builds) + 1) + "|"]
    for stage in stages[0]:
        lines.append(f"| {stage} | {' | '.join(f'{1e3 * s[stage]:.1f}' for s in stages)} |")
    lines.append(f"| sum | {' | '.join(f'{1e3 * sum(s.values()):.0f}' for s in stages)} |")
    return "\n".join(lines)


def table(title: str, base: int, processes: Sequence[Process], taken: Sequence[Taken]) -> str:
    """Returns a table in Markdown; its last column is CPU time divided by row `base`'s."""
    lines = [f"| {title} | CPU, ms | by the clock, ms | CPU / {processes[base].name} |",
             "|---|---|---|---|"]
    for process, (cpu, wall) in zip(processes, taken, strict=True):
        lines.append(f"| {process.name} | {1e3 * cpu:.0f} | {1e3 * wall:.0f} "
                     f"| {cpu / taken[base].cpu:.2f} |")
    return "\n".join(lines)


def beyond(taken: Sequence[Taken]) -> str:
    """Returns a sentence: what importing nncompile takes beyond NumPy, divided by NumPy's time."""
    python, numpy, with_byte_code, without = (t.cpu for t in taken[:4])
    return ("`import nncompile` takes "
            f"{(with_byte_code - numpy) / (numpy - python):.2f} of the time that NumPy's import "
            f"takes, on top of it; {(without - numpy) / (numpy - python):.2f} without byte code.")


PAGE = """\
# The start of a process

`python -m benchmarks.compile_time` measures this page anew: whole processes, from their start to
their end, interleaved, the least of {rounds} of each. Nothing is counted out: not imports, not
drawing initial weights, not compiling. Results are computed on one thread, and so is NumPy's BLAS;
nncompile turns kernels into machine code on all CPUs, while numba compiles on one.

## Imports

{imports}

{beyond}

## The first result

{first}

- **All cached**: a second process with a model of this structure. It does not import numba.
- **Kernels cached**: a model of another structure, of layers that this machine has compiled
  before.
- **Empty cache**: the first compilation on a machine.
- **Without byte code**: Python has none of nncompile's own modules, and may not write it, as in
  many containers: it compiles them anew.
- nncompile and torch draw initial weights; ONNX Runtime reads them from a file, which has been
  through its own optimizer once.

## Where the time goes

CPU milliseconds of each stage of a process that finds everything in the cache, the least of
{rounds}. The rows above are the least of whole processes, so they are a little more than the sums.

{stages}

The same of a process that finds an empty cache, and has one CPU. Of kernels and of functions it has
a row for each:

{empty}

Of `import nncompile`, the modules of each package:

{packages}

Measured on: **{machine}**. {libraries}.
"""


def main(rounds: int = ROUNDS) -> str:
    """Measures the page, prints each table as soon as it is there, and returns the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied_sources(folder / "with")
        copied_sources(folder / "without")
        start = imports()
        taken = least(start, folder, rounds)
        tables = [table("import", 1, start, taken), beyond(taken)]
        print(*tables, sep="\n\n", flush=True)
        for build in (mlp, blocks, bert):
            processes = first_results(build, folder)
            base = next(i for i, p in enumerate(processes) if p.name == "ONNX Runtime")
            tables.append(table(MODELS[build][0], base, processes,
                                least(processes, folder, rounds)))
            print("", tables[-1], sep="\n", flush=True)
        builds = (mlp, bert)
        stages = stages_table(builds, [least_stages(b, folder, rounds) for b in builds])
        empty = stages_table((mlp,), [least_stages(mlp, folder, rounds, empty=True)])
        packages = packages_table(folder, rounds)
        print("", stages, "", empty, "", packages, sep="\n", flush=True)
    known = ", ".join(f"{name} {version}" for name, version in libraries().items()
                      if name not in ("openvino", "jax"))
    return PAGE.format(rounds=rounds, imports=tables[0], beyond=tables[1],
                       first="\n\n".join(tables[2:]), stages=stages, empty=empty, packages=packages,
                       machine=describe(), libraries=known)


if __name__ == "__main__":
    (ROOT / "docs/compile_time.md").write_text(main())
