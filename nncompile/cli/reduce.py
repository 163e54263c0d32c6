"""nncompile reduce: the smallest part of a model that still fails, for a report of a fault."""
from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import ir
from ir.check import with_data
from ir.graph import substitute
from ir.records import replace
from ir.reduce import Case, reduced
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, model_inputs_and_peers, read_sets, with_weights
from nncompile.cli.progress import Progress
from nncompile.cli.values import number, positive, size
from nncompile.compiler import compile
from nncompile.console import write
from nncompile.errors import InputError
from nncompile.inspect.provenance import stable_names
from nncompile.inspect.view import CALL, DROPPED, Selected, graph_lines
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.passes.parser import parse_passes
from nncompile.statefile import load_weights
from nncompile.targets import TARGETS
from nncompile.trace import trace

RTOL = 2e-5
_STEPS = 60                           # about so many checks: the line cannot know


def _reduce(given: Given) -> int:
    path: Path = given.output
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")
    case = _case(given)
    fault = _by_command(given.check) if given.check else _by_outputs(given)
    with Progress(_STEPS) as progress:
        progress.step("the whole model")
        first = fault(case)
        if not first:
            raise InputError(f"{given.model} does not fail: "
                             + (f"{given.check} exits with 0" if given.check else
                                "it compiles, and its outputs are those of the references"))

        def fails(smaller: Case) -> bool:
            progress.step(f"{len(smaller.graph.nodes)} nodes")
            return _kind(fault(smaller)) == _kind(first)

        found = reduced(case, fails)
    last = fault(found)
    _write(path, found)
    counts = f"nodes: {len(case.graph.nodes)}, and {len(found.graph.nodes)} are left"
    if sys.stdout.isatty():
        from nncompile.cli.listing import Listing  # here: it imports rich

        lines = graph_lines(found.graph, stable_names([found.graph]), Selected(full=True))
        write(sys.stdout, Listing(lines, CALL, DROPPED), "")
    else:
        print(f"{found.graph}\n")               # the text that parses, as `show` does
    print(f"{counts}\nfails: {last}\nagain: {_again(path, given)}")
    return 0


def _again(path: Path, given: Given) -> str:
    """The command line that checks what is left."""
    options = [("--check", given.check), ("--passes", given.passes), ("--atol", given.atol),
               ("--rtol", given.rtol if given.rtol != RTOL else None),
               ("--target", given.target if given.target != "cpu" else None)]
    files = _files(path)
    return shlex.join(["nncompile", "reduce", str(path), "--weights", files["{weights}"], "--input",
                       files["{inputs}"], *(word for name, value in options if value is not None
                                            for word in (name, str(value)))])


def _case(given: Given) -> Case:
    from nncompile.bench.inputs import input_sets
    from nncompile.bench.measure import batch_sizes

    data = read_sets(given.input or ())
    model, inputs, _ = model_inputs_and_peers(given, data)
    graph = model if isinstance(model, ir.Graph) else trace(model, *inputs)
    if given.weights:
        graph = with_weights(graph, load_weights(given.weights), given.weights)
    graph = with_data(graph)
    if data and given.batch is None and not given.size:
        return Case(graph, tuple(data[0]))       # as they are
    sizes = batch_sizes(graph, given.batch or 3, dict(given.size))
    return Case(graph, tuple(input_sets(graph, sizes, 1, data)[0]))


# -- what fails ------------------------------------------------------------------------------------

Fault = Callable[[Case], str]         # what is wrong with a case; "" where nothing is


def _by_outputs(given: Given) -> Fault:
    """Fails where the compiler does, or where outputs are not those of the float64 references."""
    from nncompile.bench.expected import Tolerance, Wrong, check, expected_outputs

    passes = DEFAULT_PIPELINE if given.passes is None else parse_passes(given.passes)
    tolerance = Tolerance(given.rtol, given.atol)

    def fault(case: Case) -> str:
        [expected] = expected_outputs(case.graph, [case.arrays], tolerance)
        try:
            found = compile(case.graph, target=given.target, passes=passes)(*case.arrays)
            check(found if len(case.graph.outputs) > 1 else [found], expected)
        except Wrong as error:
            return f"wrong: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return ""

    return fault


def _by_command(command: str) -> Fault:
    """Fails where a command does that is given the case in files."""
    words = shlex.split(command)

    def fault(case: Case) -> str:
        with tempfile.TemporaryDirectory() as folder:
            places = _files(Path(folder) / "case.ir")
            _write(Path(folder) / "case.ir", case)
            named = [_filled(word, places) for word in words]
            if named == words:
                named.append(places["{}"])
            done = subprocess.run(named, stdin=subprocess.DEVNULL, capture_output=True)
        return f"exit status {done.returncode}" if done.returncode else ""

    return fault


def _filled(word: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        word = word.replace(name, place)
    return word


def _kind(fault: str) -> str:
    """What stays the same of a fault while the graph gets smaller: the class of an error."""
    return fault.partition(":")[0]


# -- files -----------------------------------------------------------------------------------------

def _files(path: Path) -> dict[str, str]:
    """The files of a case by what they are called in a command."""
    return {"{}": str(path), "{weights}": str(path.with_suffix(".weights.npz")),
            "{inputs}": str(path.with_suffix(".inputs.npz"))}


def _write(path: Path, case: Case) -> None:
    """Writes the text of a case, and its numbers: those of constants as parameters, too."""
    files, graph = _files(path), _with_parameters(case.graph)
    path.write_text(f"{graph}\n")
    weights: dict[str, Any] = {v.name: graph.data[v] for v in graph.params}
    np.savez(files["{weights}"], **weights)
    np.savez(files["{inputs}"], *case.arrays)


def _with_parameters(graph: ir.Graph) -> ir.Graph:
    names = count()
    instead = {v: ir.Value(v.type, "parameter", f"constant.{next(names)}") for v in graph.params
               if v.kind == "constant"}
    return replace(
        graph, nodes=tuple(substitute(node, instead) for node in graph.nodes),
        params=tuple(instead.get(v, v) for v in graph.params),
        outputs=tuple(instead.get(v, v) for v in graph.outputs),
        data={instead.get(v, v): array for v, array in graph.data.items()})


COMMAND = Command(
    "reduce", "find the smallest part of a model that still fails: that does not compile, whose "
    "outputs are wrong, or for which a command fails", _reduce, (MODEL,), (
        Option(INPUT.name, INPUT.help + "; arrays are what the model is called with",
               metavar=INPUT.metavar, many=True),
        Option("--check", "a command that fails, with another exit status than 0, where the fault "
               "is there; {} in it is the file of a smaller graph, {weights} and {inputs} are "
               "files .npz with its numbers. Without it: compiled, its outputs have to be those "
               "of the float64 references", metavar="COMMAND"),
        Option("--output", "the graph that is left, and beside it its weights and inputs: "
               "reduced.ir", metavar="FILE.ir", short="-o", read=Path,
               default=Path("reduced.ir")),
        Option("--weights", "numbers of the parameters: a state dict in a .safetensors or .npz "
               "file; without it the model's own, or random ones", metavar="FILE"),
        Option("--batch", "the first named size of the call: 3, or that of the arrays",
               metavar="N", read=positive),
        Option("--size", "a number for each other named size", metavar="T=16", read=size,
               many=True, default=()),
        Option("--passes", "these passes in place of the default ones", metavar="PASS,PASS"),
        Option("--target", "what it is compiled for", metavar="TARGET", choices=tuple(TARGETS),
               default="cpu"),
        Option("--rtol", "how far outputs may be from the float64 ones, as a share of the largest "
               "value of an output: 2e-5", metavar="R", read=number, default=RTOL),
        Option("--atol", "what is allowed beside that; without it, what rounding makes of this "
               "graph", metavar="A", read=number),
    ), (
        "nncompile reduce model.py:net -o small.ir",
        "nncompile reduce dump/001-net/00-traced.ir --batch 8 --rtol 1e-6",
        'nncompile reduce model.onnx --check "./fails.sh {} {weights} {inputs}"',
    ))
