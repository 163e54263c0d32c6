"""The command line: nncompile show | run | bench | cache | hw."""
from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import unified_diff
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import ir
import nncompile
import nncompile.version
from ir import NDArray
from ir.check import with_data
from ir.printer import name_values, print_node
from nncompile.compiler import backend_of, run_passes
from nncompile.errors import Error, InputError
from nncompile.importers.kinds import importer_of
from nncompile.importers.names import printable
from nncompile.model import CompiledModel, PassRun, graph_at
from nncompile.modelfile import guessed_inputs, is_graph_file, load_graph, load_model
from nncompile.nn import Module
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.passes.parser import parse_passes
from nncompile.statefile import load_weights, replace_file
from nncompile.structure import flatten
from nncompile.targets import TARGETS

_DESCRIPTION = """\
Compiles a neural network model, defined the torch.nn way, to one fast callable on NumPy arrays.

MODEL is file.py:name: a Module, a Module class that takes no arguments, or a function that
returns a Module, of nncompile or of torch. It is put into eval mode. Or MODEL is file.onnx,
or file.ir, the text of a graph."""

_EXAMPLES = f"""\
examples:
  nncompile show model.py:net                        the IR, and what each pass makes of it
  nncompile show model.py:net --source               the Python that is generated
  nncompile show model.onnx --stage fused            what becomes of an ONNX model
  nncompile show model.ir --passes cse,fuse_linear   what these passes make of a graph
  nncompile run model.py:net --weights net.safetensors --input x.npy --output y.npy
  nncompile bench model.py:net --batch 1,64,1024 --threads 1,2
  nncompile bench model.py:net --target {[*TARGETS][-1]} --vs torch,torch.compile
"""

_INPUT_HELP = """type of an input, one for each argument of forward, as "f32[B, 64]" or "i64[B, T]";
without it, the file's `<name>_inputs` or `inputs`, or what the first layer takes"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    It is 0, or 1 after an error, which is printed on stderr. argparse exits with 2 where the
    command line is wrong.
    """
    args = parser().parse_args(argv)
    try:
        status: int = args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:                      # as of `nncompile show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if getattr(args, "debug", False):
            raise
        print(f"nncompile: error: {_message(error)}", file=sys.stderr)
        return 1
    return status


def _message(error: Exception) -> str:
    """Returns what is printed of an exception.

    It is the message, and for one that is not ours also its type and the line that raised it.
    """
    notes = getattr(error, "__notes__", [])
    if isinstance(error, Error):
        return "\n".join([str(error), *notes])
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    what, frame = str(error), traceback.extract_tb(error.__traceback__)[-1]
    file, number, line = frame.filename, frame.lineno, frame.line
    if isinstance(error, SyntaxError):           # of the model's file, wherever it was noticed
        what, file, number = error.msg, error.filename or file, error.lineno
        line = (error.text or "").strip()
    return "\n".join([f"{type(error).__name__}: {what}", *notes, f"  line: {file}:{number}: {line}",
                      "  --debug shows the whole traceback"])


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line; each command sets `command` to its function."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show the traceback of an error")
    top = argparse.ArgumentParser(
        "nncompile", description=_DESCRIPTION, epilog=_EXAMPLES, parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=nncompile.version.nncompile)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], about: str,
            model: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=about, description=about, parents=[common])
        sub.set_defaults(command=command)
        if model:
            sub.add_argument("model", metavar="MODEL", help="file.py:name, file.onnx or file.ir")
        return sub

    sub = add("show", _show, "show the IR at any stage, what each pass changed, the source, or the "
                             "machine code")
    sub.add_argument("--input", action="append", metavar="TYPE", help=_INPUT_HELP)
    sub.add_argument("--passes", metavar="PASS,PASS",
                     help="these passes in place of the default ones, each with its options if "
                          "there are any: dce,fold_constants{max_elements=10}")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--stage", metavar="STAGE",
                      help="traced, fused, the name of a pass (the IR after it), or all; "
                           "without it: traced, what each pass changed, fused")
    what.add_argument("--source", action="store_true", help="the generated Python")
    what.add_argument("--asm", action="store_true", help="the kernels' machine code")
    sub.add_argument("--target", choices=list(TARGETS), help="of the source or the machine code; "
                     "all but cpu need a device, or its simulator")
    sub.add_argument("--dot", action="store_true",
                     help="the stage (fused unless --stage says) as Graphviz text, for dot -Tsvg")

    sub = add("run", _run, "compile a model and run it on arrays in .npy files")
    sub.add_argument("--input", action="append", required=True, metavar="X.npy",
                     help="one for each argument of forward; float64 is rounded to float32")
    sub.add_argument("--output", action="append", required=True, metavar="Y.npy",
                     help="one for each output; replaced in one step if it exists")
    sub.add_argument("--weights", metavar="FILE", help="numbers of the parameters: a state dict "
                     "in a .safetensors or .npz file; without it the model's own")
    sub.add_argument("--threads", type=_positive, metavar="N", help="threads of a call")

    sub = add("bench", _bench, "time a model beside NumPy, torch and ONNX Runtime; outputs are "
                               "compared with float64 before any time is taken")
    sub.add_argument("--input", action="append", metavar="TYPE", help=_INPUT_HELP)
    sub.add_argument("--target", choices=list(TARGETS), default="cpu", help="cpu; others: on "
                     "a device, by its own events, with arrays that are there and with copies")
    sub.add_argument("--batch", type=positives, metavar="N,N",
                     help="batch sizes: 1,64,1024; on a device 1,64,4096")
    sub.add_argument("--threads", type=positives, default=[1], metavar="N,N",
                     help="thread counts of the cpu: 1")
    sub.add_argument("--vs", type=names, metavar="PEER,PEER",
                     help="of numpy,torch,onnxruntime,torch.compile,openvino,jax, or none; "
                          "the first three without it; "
                          "on a device: torch,torch.compile,cupy,jax, or none")
    sub.add_argument("--size", type=_size, action="append", default=[], metavar="T=16",
                     help="a number for each named size but the first, which is the batch")
    sub.add_argument("--rounds", type=_positive, default=9, metavar="N", help="rounds: 9")
    sub.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")

    sub = add("cache", _cache, "the compiled code on this machine's disk", model=False)
    sub.add_argument("action", choices=["info", "clear"])
    sub = add("hw", _hw, "what this machine is to the compiler, and what it can do at most",
              model=False)
    sub.add_argument("--again", action="store_true",
                     help="measure the ceilings again; otherwise those measured once are shown")
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def positives(text: str) -> list[int]:
    """Returns the numbers of a list such as 1,64,1024. Raises ArgumentTypeError for any below 1."""
    return [_positive(part.strip()) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Returns the names of a list such as numpy,torch; none for the text "none"."""
    return [] if text == "none" else [part.strip() for part in text.split(",")]


def _size(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and a number, as T=16")
    return name, _positive(number)


# -- show ------------------------------------------------------------------------------------------

def _show(args: argparse.Namespace) -> int:
    passes = DEFAULT_PIPELINE if args.passes is None else parse_passes(args.passes)
    model, inputs = _model_and_inputs(args)
    if args.source or args.asm:
        if isinstance(model, ir.Graph):
            model = with_data(model)             # a text has no numbers, and these two show none
        compiled = nncompile.compile(model, *inputs, target=args.target, passes=passes)
        print(compiled.source if args.source else compiled.asm())
        return 0
    graph = model if isinstance(model, ir.Graph) else nncompile.trace(model, *inputs)
    runs = run_passes(graph, passes)
    if args.stage is None and not args.dot:
        _show_changes(runs)
    elif args.stage == "all":
        print("\n\n".join(f"# {run.name}\n{_drawn(run.graph, args.dot)}" for run in runs))
    else:
        print(_drawn(graph_at(runs, args.stage or "fused"), args.dot))
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


def _model_and_inputs(args: argparse.Namespace) -> tuple[Module | ir.Graph, list[Any]]:
    """Returns the model and its inputs, or the graph of a file or of what an importer takes."""
    if is_graph_file(args.model):
        if args.input:
            raise InputError(f"{args.model} says what its inputs are: leave --input out")
        return load_graph(args.model), []
    model, declared = load_model(args.model)
    inputs = args.input or declared or (
        guessed_inputs(model, args.model.rpartition(":")[2]) if hasattr(model, "forward") else [])
    if (importer := importer_of(model)) is not None:
        return importer(model, *inputs).graph, []
    return model, inputs


# -- run -------------------------------------------------------------------------------------------

def _run(args: argparse.Namespace) -> int:
    arrays = [_read_array(path) for path in args.input]
    if is_graph_file(args.model):
        compiled = _compiled_graph(args)
    else:
        model, declared = load_model(args.model)
        state = load_weights(args.weights) if args.weights else None
        if state is not None and isinstance(model, Module):
            model.load_state_dict(state)
        examples = (declared or arrays) if hasattr(model, "forward") else []
        compiled = nncompile.compile(model, *examples, threads=args.threads)
        if not isinstance(compiled, CompiledModel):
            raise InputError(f"{args.model} is an estimator with several methods, and run computes "
                             "one result\n  do: nncompile.compile(...).predict(X) in Python")
        if state is not None and not isinstance(model, Module):
            compiled.load_weights(state)
    graph = compiled.ir()
    for option, given, values in (("input", args.input, graph.inputs),
                                  ("output", args.output, graph.outputs)):
        if len(given) != len(values):
            raise InputError(f"--{option} is given {len(given)} times, and the number of the "
                             f"model's {option}s is {len(values)}")
    outputs, _ = flatten(compiled(*arrays), lambda leaf: isinstance(leaf, np.ndarray))
    for path, name, array in zip(args.output, compiled.output_names, outputs, strict=True):
        _write_array(Path(path), array)
        about = f", {printable(name)}" if len(outputs) > 1 else ""
        print(f"{path}: {array.dtype} {list(array.shape)}{about}")
    return 0


def _compiled_graph(args: argparse.Namespace) -> CompiledModel:
    """Compiles a graph; the numbers of its parameters may be in the file of --weights."""
    if importer_of(args.model) is not None:
        return _with_weights(nncompile.compile(args.model, threads=args.threads), args)
    graph = load_graph(args.model)
    unknown = [v for v in graph.params if v not in graph.data
               and (v.kind == "constant" or not args.weights)]
    if unknown:
        what = "constants" if args.weights else "weights"
        raise InputError(f"{args.model} has no numbers for its {what}, so "
                         "its outputs would mean nothing\n"
                         "  do: run the model, as file.py:name, or compile the graph in Python"
                         + ", or give --weights" * (not args.weights))
    return _with_weights(nncompile.compile(with_data(graph), threads=args.threads), args)


def _with_weights(compiled: CompiledModel, args: argparse.Namespace) -> CompiledModel:
    if args.weights:
        compiled.load_weights(load_weights(args.weights))
    return compiled


def _read_array(path: str) -> NDArray:
    """Returns the array in a .npy file; float64, the default of NumPy, is rounded to float32."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):               # its message tells how to load pickles, unsafely
        raise InputError(f"{path} is not a whole .npy file of numbers, as numpy.save writes one"
                         ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays; numpy.save writes one to a .npy file")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _write_array(path: Path, array: NDArray) -> None:
    content = BytesIO()
    np.save(content, array, allow_pickle=False)
    replace_file(path, content.getvalue())


# -- bench -----------------------------------------------------------------------------------------

def _bench(args: argparse.Namespace) -> int:
    from nncompile.bench import DEFAULT_PEERS, DEVICE_PEERS, PEERS, Report, Row, bench_device
    from nncompile.bench import bench as bench_cpu

    on_cpu = args.target == "cpu"
    known = list(PEERS if on_cpu else DEVICE_PEERS)
    default = list(DEFAULT_PEERS if on_cpu else DEVICE_PEERS)
    peers = default if args.vs is None else args.vs
    if unknown := set(peers) - set(known):
        raise InputError(f"there is no peer {', '.join(sorted(unknown))}; there are "
                         f"{', '.join(known)}")

    def watch(report: Report, row: Row) -> None:
        print(*[report.header()] * (len(report.rows) == 1), report.row(row), sep="\n", flush=True)

    if args.json is not None and not args.json.parent.is_dir():
        raise InputError(f"--json {args.json}: there is no folder {args.json.parent}")
    model, inputs = _model_and_inputs(args)
    if isinstance(model, ir.Graph) and any(v not in model.data for v in model.params):
        model = with_data(model)
        print(f"weights: {args.model} has none, so these are seeded random numbers\n")
    same = {"peers": peers, "sizes": dict(args.size), "rounds": args.rounds, "title": args.model,
            "watch": watch}
    report = (bench_cpu(model, inputs, batches=args.batch or [1, 64, 1024], threads=args.threads,
                        **same) if on_cpu else
              bench_device(model, inputs, batches=args.batch or [1, 64, 4096], target=args.target,
                           **same))
    print(f"\n{report.notes()}")
    if args.json is not None:
        args.json.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    return 0 if report.correct else 1


# -- cache, hw -------------------------------------------------------------------------------------

def _cache(args: argparse.Namespace) -> int:
    from nncompile.cpu.objects import cache as disk

    if args.action == "clear":
        count = disk.clear()
        print(f"{count} entries removed")
        return 0
    state = disk.info()
    print(f"folder   {state.folder or f'none: {state.reason}'}\n"
          f"entries  {state.entries}\n"
          f"size     {state.bytes / 2**20:.1f} MiB of at most {disk.MAX_BYTES / 2**20:.0f}")
    return 0


def _hw(args: argparse.Namespace) -> int:
    from nncompile.bench.machine import caches, cpu_name
    from nncompile.cpu.machine.ceilings import ceilings
    from nncompile.cpu.runtime import default_threads
    from nncompile.cpu.runtime.costs import costs_here

    print(f"CPU      {cpu_name()}\n"
          f"caches   {', '.join(caches()) or 'unknown'}\n"
          f"{backend_of('cpu').describe()}\n"
          f"threads  {default_threads()} unless compile(threads=) or NNCOMPILE_THREADS says")
    for threads in sorted({1, default_threads()}):
        print(ceilings(threads, again=args.again))
    if default_threads() > 1:
        print(costs_here(again=args.again))
    for target in TARGETS:
        if target != "cpu":
            print(backend_of(target).describe())
    return 0
