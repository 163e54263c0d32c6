"""Contenders in fresh processes: what each waits for before its first result, and its memory.

The process of a peer runs a script that has nothing of ours in it: it imports the library, reads
the model from files, and calls it twice. So its time and its memory are those of a program that
uses this library alone.
"""
from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ir import Graph
from ir.records import dataclass
from ir.types import NDArray
from nncompile import options
from nncompile.bench.contender import environment, reason
from nncompile.bench.expected import Tolerance, check, expected_outputs
from nncompile.bench.onnx_model import onnx_model
from nncompile.bench.peers import NUMPY_FUNCTIONS, data_of, sizes_of, write_python
from nncompile.bench.report import OURS
from nncompile.counterparts import Language
from nncompile.cpu.machine import cores
from nncompile.errors import Error

PHASES = ("python", "import", "model", "compile", "first call", "second call")
TO_FIRST = PHASES[:-1]                # what there is before the first result
PEAK = "peak_bytes"                   # the most memory of the process: proc(5), VmHWM

_CACHES = (options.CACHE_DIR.variable, "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")

_SCRIPT = """\
import time
marks = [time.monotonic()]
{imports}
marks.append(time.monotonic())
folder, cache = {folder!r}, {cache!r}
{model}
marks.append(time.monotonic())
{compile}
marks.append(time.monotonic())
import json
import numpy as np
given = np.load(folder + "/inputs.npz")
arrays = [given[name] for name in given.files]
begin = time.monotonic()
outputs = call(*arrays)
marks.append(time.monotonic() - begin + marks[-1])
begin = time.monotonic()
call(*arrays)
marks.append(time.monotonic() - begin + marks[-1])
peak = 0
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
except (OSError, StopIteration):
    pass
{check}
with open(folder + "/answer.json", "w") as file:
    json.dump([marks, peak], file)
"""


@dataclass(frozen=True)
class Script:
    """The parts of a script, each Python text.

    imports: of the library. model: reads the model, from the files in `folder` or from elsewhere.
    compile: makes `call`, a function of arrays that returns a list of arrays.
    check:   what becomes of `outputs`, by default a file that is compared with the right ones.
    """

    imports: str
    model: str
    compile: str
    check: str = 'np.savez(folder + "/outputs.npz", *outputs)'


class Case:
    """A graph with its numbers and one set of inputs, as files that each contender starts from."""

    def __init__(self, graph: Graph, arrays: Sequence[NDArray], threads: int, folder: str,
                 tolerance: Tolerance | None = None) -> None:
        self.graph, self.arrays, self.threads = graph, arrays, threads
        self.folder = Path(folder)
        [self.expected] = expected_outputs(graph, [arrays], tolerance)
        np.savez(self.folder / "inputs.npz", *arrays)

    def source(self, language: Language) -> str:
        """Writes the numbers to a file, and returns the graph as a function `run` of a library."""
        weights: dict[str, Any] = {f"p{i}": a for i, a in enumerate(data_of(self.graph))}
        np.savez(self.folder / "weights.npz", **weights)
        return write_python(self.graph, sizes_of(self.graph, self.arrays), language)

    def onnx(self) -> None:
        """Writes the graph as a file of ONNX."""
        content = onnx_model(self.graph, sizes_of(self.graph, self.arrays))
        (self.folder / "model.onnx").write_bytes(content)

    def pickled(self) -> None:
        """Writes the graph as it is."""
        (self.folder / "graph.pickle").write_bytes(pickle.dumps(self.graph))


def start(case: Case, script: Script, cache: str = "") -> dict[str, float]:
    """Returns the seconds of each phase of a fresh process, and the most memory that it had.

    cache: a folder in the place of those where libraries keep compiled code.
    Raises Wrong for outputs that are not right, and Error where the process fails.
    """
    answer, outputs = (case.folder / name for name in ("answer.json", "outputs.npz"))
    for file in (answer, outputs):
        file.unlink(missing_ok=True)
    begun = case.folder / "start.py"
    begun.write_text(_SCRIPT.format(folder=str(case.folder), cache=cache, **{
        part: getattr(script, part) for part in Script.__match_args__}))
    caches = dict.fromkeys(_CACHES if cache else (), cache)
    spawned = time.monotonic()
    done = subprocess.run([sys.executable, str(begun)], capture_output=True, text=True,
                          env=environment(case.threads) | caches)
    if not answer.exists():
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Error(f"the fresh process failed: {words[-1]}")
    if outputs.exists():
        with np.load(outputs) as found:
            check([found[name] for name in found.files], case.expected)
    marks, peak = json.loads(answer.read_text())
    seconds = [b - a for a, b in zip([spawned, *marks], marks, strict=False)]
    return {**dict(zip(PHASES, seconds, strict=True)), PEAK: peak}


def peak_bytes(graph: Graph, arrays: Sequence[NDArray], names: Sequence[str], threads: int,
               step: Callable[[str], None]) -> dict[str, float]:
    """Returns the most memory of a fresh process of each contender that can be started in one.

    step: is told whose process is next.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        case = Case(graph, arrays, threads, folder)
        for name in names:
            if name not in SCRIPTS:
                continue
            step(f"the memory of {name}")
            try:
                found[name] = start(case, SCRIPTS[name](case))[PEAK]
            except Exception:                    # it was right in this process: no reason to stop
                continue
    return {name: peak for name, peak in found.items() if peak}


def fresh_starts(case: Case, scripts: dict[str, Callable[[Case], Script]], rounds: int,
                 step: Callable[[str], None]) -> dict[str, dict[str, list[dict[str, float]]] | str]:
    """Returns for each contender its starts with an empty cache and with a warm one, or a note.

    In each round every contender starts twice, the second time with the cache of the first.
    """
    found: dict[str, dict[str, list[dict[str, float]]] | str] = {
        name: {"empty": [], "warm": []} for name in scripts}
    for number in range(rounds):
        for name, script in scripts.items():
            starts = found[name]
            if isinstance(starts, str):
                continue
            with tempfile.TemporaryDirectory() as cache:
                try:
                    made = script(case)
                    for state, taken in starts.items():
                        step(f"round {number + 1} of {rounds}, {name}, cache {state}")
                        taken.append(start(case, made, cache))
                except Exception as error:
                    if name == OURS:
                        raise
                    found[name] = reason(error)
    return found


# -- the contenders --------------------------------------------------------------------------------

OUR_CHECK = """\
from nncompile.bench.expected import check, expected_outputs
from nncompile.structure import flatten
[expected] = expected_outputs(compiled.ir("traced"), [arrays])
check(flatten(outputs, lambda leaf: isinstance(leaf, np.ndarray))[0], expected)"""


def ours(threads: int, model: str) -> Script:
    """Returns our own script. model: text that sets `model`, and `inputs`, what compile takes."""
    return Script("import nncompile", model,
                  f"compiled = call = nncompile.compile(model, *inputs, threads={threads})",
                  OUR_CHECK)


def _our_graph(case: Case) -> Script:
    case.pickled()
    return ours(case.threads, "import pickle\n"
                'with open(folder + "/graph.pickle", "rb") as file:\n'
                "    model, inputs = pickle.load(file), ()")


_WEIGHTS = """\
weights = np.load(folder + "/weights.npz")
globals().update({{name: {} for name in weights.files}})"""


def _numpy(case: Case) -> Script:
    source = case.source("numpy")
    special = "\nfrom scipy.special import ndtr" * ("ndtr(" in source)
    return Script(f"import numpy as np{special}", _WEIGHTS.format("weights[name]"),
                  f"{NUMPY_FUNCTIONS}\n{source}\ncall = run")


def _torch(case: Case, compiled: str = "") -> Script:
    return Script(f"import numpy as np, torch\nimport torch.nn.functional as F\n"
                  f"torch.set_num_threads({case.threads})",
                  _WEIGHTS.format("torch.from_numpy(weights[name])"),
                  f"{case.source('torch')}\n{compiled}\n"
                  "def call(*arrays):\n"
                  "    with torch.inference_mode():\n"
                  "        return [y.numpy() for y in run(*map(torch.from_numpy, arrays))]")


def _torch_compile(case: Case) -> Script:
    return _torch(case, "run = torch.compile(run, dynamic=False, fullgraph=True)")


def _onnxruntime(case: Case) -> Script:
    case.onnx()
    return Script("import onnxruntime", f"""\
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {case.threads}
options.log_severity_level = 3""", """\
session = onnxruntime.InferenceSession(folder + "/model.onnx", options,
                                       providers=["CPUExecutionProvider"])
names = [i.name for i in session.get_inputs()]
def call(*arrays):
    return session.run(None, dict(zip(names, arrays)))""")


def _openvino(case: Case) -> Script:
    case.onnx()
    return Script("import openvino", """\
core = openvino.Core()
core.set_property({"CACHE_DIR": cache})
model = core.read_model(folder + "/model.onnx")""", f"""\
compiled = core.compile_model(model, "CPU", {{"INFERENCE_NUM_THREADS": {case.threads},
                                             "INFERENCE_PRECISION_HINT": "f32"}})
def call(*arrays):
    return list(compiled(arrays).values())""")


def _jax(case: Case) -> Script:
    source = case.source("jax")
    wide = any(a.dtype == np.float64 for a in (*case.arrays, *data_of(case.graph)))
    return Script(f"""\
import os
os.sched_setaffinity(0, {cores()[:case.threads]!r})
import numpy as np, jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", {wide})""",
                  _WEIGHTS.format("jax.device_put(weights[name])"),
                  f"{source}\nrun = jax.jit(run)\n"
                  "def call(*arrays):\n"
                  "    return jax.block_until_ready(run(*arrays))")


SCRIPTS: dict[str, Callable[[Case], Script]] = {
    OURS: _our_graph, "numpy": _numpy, "torch": _torch, "onnxruntime": _onnxruntime,
    "torch.compile": _torch_compile, "openvino": _openvino, "jax": _jax}
