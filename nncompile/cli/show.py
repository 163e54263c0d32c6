"""nncompile show: the IR at any stage, what each pass changed, the source, the machine code."""
from __future__ import annotations

from difflib import unified_diff
from itertools import pairwise

import ir
import nncompile
from ir.check import with_data
from ir.printer import name_values, print_node
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, model_and_inputs
from nncompile.compiler import run_passes
from nncompile.inspect.stages import PassRun, graph_at
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.passes.parser import parse_passes
from nncompile.targets import TARGETS


def _show(given: Given) -> int:
    passes = DEFAULT_PIPELINE if given.passes is None else parse_passes(given.passes)
    model, inputs = model_and_inputs(given)
    if given.source or given.asm:
        if isinstance(model, ir.Graph):
            model = with_data(model)             # a text has no numbers, and these two show none
        compiled = nncompile.compile(model, *inputs, target=given.target, passes=passes)
        print(compiled.source if given.source else compiled.asm())
        return 0
    graph = model if isinstance(model, ir.Graph) else nncompile.trace(model, *inputs)
    runs = run_passes(graph, passes)
    if given.stage is None and not given.dot:
        _show_changes(runs)
    elif given.stage == "all":
        print("\n\n".join(f"# {run.name}\n{_drawn(run.graph, given.dot)}" for run in runs))
    else:
        print(_drawn(graph_at(runs, given.stage or "fused"), given.dot))
    return 0


def _drawn(graph: ir.Graph, dot: bool) -> str:
    if not dot:
        return str(graph)
    from ir.analysis import to_dot
    return to_dot(graph)


def _show_changes(runs: list[PassRun]) -> None:
    """Prints the first graph, what each pass changed, and the last graph."""
    known: dict[ir.Value, str] = {}
    idle = []
    print(f"# traced\n{runs[0].graph}\n")
    for before, after in pairwise(runs):
        lines = unified_diff(_node_lines(before.graph, known), _node_lines(after.graph, known), n=0,
                             lineterm="")
        changes = [f"{line[0]} {line[1:]}" for line in lines if line[:2] not in ("--", "++", "@@")]
        if changes:
            print(f"# {after.name}: {len(before.graph.nodes)} -> {len(after.graph.nodes)} nodes, "
                  f"{after.seconds * 1e3:.1f} ms", *changes, "", sep="\n")
        else:
            idle.append(after.name)
    if idle:
        print(f"# nothing to do for {', '.join(idle)}\n")
    print(f"# fused\n{runs[-1].graph}")


def _node_lines(graph: ir.Graph, known: dict[ir.Value, str]) -> list[str]:
    """Returns the text of the graph's nodes, one line each, to be compared with the next pass's.

    known: each value's name so far, to which new ones are added. The text of a graph numbers the
           values anew, so that a pass that removes a node would change every line after it.
    """
    for node in graph.nodes:
        known.setdefault(node.result, f"%{len(known)}")
    names = name_values(graph) | {node.result: known[node.result] for node in graph.nodes}
    return [print_node(node, names) for node in graph.nodes]


COMMAND = Command(
    "show", "show the IR at any stage, what each pass changed, the source, or the machine code",
    _show, (MODEL,), (
        INPUT,
        Option("--passes", "these passes in place of the default ones, each with its options if "
               "there are any: dce,fold_constants{max_elements=10}", metavar="PASS,PASS"),
        Option("--stage", "traced, fused, the name of a pass (the IR after it), or all; without "
               "it: traced, what each pass changed, fused", metavar="STAGE", excludes="what"),
        Option("--source", "the generated Python", excludes="what"),
        Option("--asm", "the kernels' machine code", excludes="what"),
        Option("--target", "of the source or the machine code; all but cpu need a device, or its "
               "simulator", metavar="TARGET", choices=tuple(TARGETS)),
        Option("--dot", "the stage (fused unless --stage says) as Graphviz text, for dot -Tsvg"),
    ), (
        "nncompile show model.py:net                        the IR, and what each pass makes of it",
        "nncompile show model.py:net --source               the Python that is generated",
        "nncompile show model.onnx --stage fused            what becomes of an ONNX model",
        "nncompile show model.ir --passes cse,fuse_linear   what these passes make of a graph",
    ))
