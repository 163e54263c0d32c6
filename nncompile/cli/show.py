"""nncompile show: what the compiler made of a model, as a person reads it, and as text."""
from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import ir
import nncompile
from ir.check import with_data
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, model_and_inputs, with_weights
from nncompile.cli.values import positive
from nncompile.console import UNLIMITED, write
from nncompile.errors import InputError
from nncompile.inspect.lines import Line
from nncompile.inspect.provenance import stable_names
from nncompile.inspect.stages import PassRun, graph_at
from nncompile.inspect.view import (
    CALL,
    DROPPED,
    Selected,
    change_lines,
    model_difference,
    overview,
    pass_lines,
    stage_lines,
)
from nncompile.modelfile import is_graph_file
from nncompile.nn import Module
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.passes.parser import parse_passes
from nncompile.plans import run_passes
from nncompile.statefile import load_weights
from nncompile.targets import TARGETS


def _show(given: Given) -> int:
    if given.source or given.asm is not None:
        print(_code(given))
        return 0
    passes = _passes(given)
    runs = _runs(given.model, given, passes)
    selected = Selected(given.layer or "", given.op or "", given.depth, given.full)
    if given.diff:
        _print(_difference(runs, given, passes, selected))
    elif given.svg:
        print(graph_at(runs, _one_stage(given)).to_svg(), end="")
    elif given.dot:
        from ir.analysis import to_dot  # networkx takes a while to import
        stages = runs if given.stage == "all" else [
            PassRun("", graph_at(runs, given.stage or "fused"), 0.0)]
        print("\n\n".join(f"# {run.name}\n" * bool(run.name) + to_dot(run.graph)
                          for run in stages))
    elif given.only:
        if given.only not in (names := dict.fromkeys(run.name for run in runs[1:])):
            raise InputError(f"there is no pass {given.only!r}; there are {', '.join(names)}")
        _print(pass_lines(runs, stable_names([run.graph for run in runs]), selected, given.only))
    elif given.stage:
        _show_stages(runs, given.stage, selected)
    else:
        _print(overview(runs, selected))
    return 0


def _show_stages(runs: Sequence[PassRun], stage: str, selected: Selected) -> None:
    """Prints one stage or all.

    Into a pipe, where nothing is selected, goes text that parses; all else is for a person.
    """
    whole = not sys.stdout.isatty() and selected == Selected(full=selected.full)
    stages = list(runs) if stage == "all" else [PassRun("", graph_at(runs, stage), 0.0)]
    for i, run in enumerate(stages):
        print("\n" * bool(i) + f"# {run.name}\n" * bool(run.name), end="")
        if whole:
            print(run.graph)
        else:
            _print(stage_lines(runs, run.graph, selected))


def _difference(runs: Sequence[PassRun], given: Given, passes: Sequence[ir.Pass],
                selected: Selected) -> list[Line]:
    """What --diff asks for: two stages of the model, or the same stage of another model."""
    if len(given.diff) == 2:
        one, other = (graph_at(runs, stage) for stage in given.diff)
        return change_lines(one, other, stable_names([run.graph for run in runs]), selected)
    if len(given.diff) > 2:
        raise InputError("--diff takes two stages of the model, or one other model")
    [other] = given.diff
    if ":" not in other and not is_graph_file(other):
        raise InputError(f"--diff {other} is no model: give two stages, or another model")
    stage = given.stage or "fused"
    theirs = _runs(other, given, passes)
    return model_difference(graph_at(runs, stage), graph_at(theirs, stage), selected)


def _print(lines: Sequence[Line]) -> None:
    from nncompile.cli.listing import Listing  # here: it imports rich

    write(sys.stdout, Listing(lines, CALL, DROPPED), width=UNLIMITED)


# -- the model -------------------------------------------------------------------------------------

def _runs(model: str, given: Given, passes: Sequence[ir.Pass]) -> list[PassRun]:
    """The stages of a model that is named as MODEL is."""
    found, inputs = _model(model, given)
    graph = found if isinstance(found, ir.Graph) else nncompile.trace(found, *inputs)
    return run_passes(graph, passes)


def _model(model: str, given: Given) -> tuple[Module | ir.Graph, list[Any]]:
    """The model with the weights of --weights, and its inputs."""
    found, inputs = model_and_inputs(Given(**{**vars(given), "model": model}))
    if not given.weights:
        return found, inputs
    state = load_weights(given.weights)
    if isinstance(found, ir.Graph):
        return with_weights(found, state, given.weights), inputs
    found.load_state_dict(state)
    return found, inputs


def _passes(given: Given) -> Sequence[ir.Pass]:
    return DEFAULT_PIPELINE if given.passes is None else parse_passes(given.passes)


# -- the code --------------------------------------------------------------------------------------

def _one_stage(given: Given) -> str:
    """The stage that is drawn. Raises InputError for all of them, which are no one drawing."""
    if given.stage == "all":
        raise InputError("--svg draws one stage\n  do: name it, or see all with nncompile report")
    return str(given.stage or "fused")


def _code(given: Given) -> str:
    passes = _passes(given)
    model, inputs = _model(given.model, given)
    if isinstance(model, ir.Graph):
        model = with_data(model)                 # a text has no numbers, and code shows none
    compiled = nncompile.compile(model, *inputs, target=given.target, passes=passes)
    return compiled.source if given.source else _kernel(compiled.asm(), given.asm)


def _kernel(text: str, name: str) -> str:
    """The machine code of the kernel of this name, of all for ""; each begins with its call."""
    if not name:
        return text
    parts = re.split(r"(?m)^(?=(?:#|//) \w+\()", text)      # a comment, on x86 or on others
    kernels = {part.split()[1].partition("(")[0]: part for part in parts if part.strip()}
    if name not in kernels:
        raise InputError(f"there is no kernel {name!r}; there are {', '.join(kernels) or 'none'}")
    return kernels[name].rstrip()


COMMAND = Command(
    "show", "show what each pass makes of a model and why, a stage of it, its source, or its "
    "machine code", _show, (MODEL,), (
        INPUT,
        Option("--weights", "numbers of the parameters: a state dict in a .safetensors or .npz "
               "file; without it the model's own, or none of a graph's", metavar="FILE"),
        Option("--passes", "these passes in place of the default ones, each with its options if "
               "there are any: dce,fold_constants{max_elements=10}", metavar="PASS,PASS"),
        Option("--stage", "traced, fused, the name of a pass (the IR after it), or all; without "
               "it: traced, what each pass changed, fused. Into a pipe it is text that parses",
               metavar="STAGE", excludes="what"),
        Option("--pass", "what this pass changed, and what it left alone and why", metavar="PASS",
               excludes="what", into="only"),
        Option("--diff", "what differs between two stages of the model, or (at --stage) from "
               "another model", metavar="STAGE STAGE | MODEL", values="+"),
        Option("--layer", "only nodes of this layer and of those inside of it; * stands for any "
               "letters", metavar="PATH"),
        Option("--op", "only nodes with this op, also behind others", metavar="OP"),
        Option("--depth", "one line for each layer whose path has so many parts", metavar="N",
               read=positive),
        Option("--full", "every node, also of layers that are like the one before"),
        Option("--source", "the generated Python", excludes="what"),
        Option("--asm", "the machine code of the kernels, or of one", metavar="KERNEL",
               values="?", bare="", excludes="what"),
        Option("--target", "of the source or the machine code; all but cpu need a device, or its "
               "simulator", metavar="TARGET", choices=tuple(TARGETS)),
        Option("--dot", "the stage (fused unless --stage says) as Graphviz text, layers as "
               "clusters, for dot -Tsvg", excludes="drawn"),
        Option("--svg", "the stage (fused unless --stage says) as a drawing, an SVG file; equal "
               "blocks are drawn once", excludes="drawn"),
    ), (
        "nncompile show model.py:net                        what passes make of it",
        "nncompile show model.py:net --source               the generated Python",
        "nncompile show model.py:net --pass fuse_linear     what it did and left",
        "nncompile show model.py:net --diff traced fused    what passes changed",
        "nncompile show model.py:net --stage fused --depth 1",
        "nncompile show model.py:net --svg                  a drawing of what runs",
        "nncompile show model.onnx --stage fused            what an ONNX model becomes",
        "nncompile show model.ir --passes cse,fuse_linear   on a graph's text",
    ))
