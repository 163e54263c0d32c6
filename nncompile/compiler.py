"""The compiler on one screen: trace, rewrite, schedule, generate, load."""
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, overload

import numpy as np

import ir
from ir.float_mode import StandardFloats
from ir.printer import name_value
from nncompile import options
from nncompile.array import Array
from nncompile.backend import Backend
from nncompile.collection import importing, paused_collection
from nncompile.entries import Entry, entries_of
from nncompile.errors import CompileError, InputError
from nncompile.estimator import CompiledEstimator
from nncompile.importers.imported import Imported, ImportedEstimator
from nncompile.importers.kinds import Importer, importer_of
from nncompile.inspect.dump import Dump
from nncompile.model import CompiledModel
from nncompile.nn import Module
from nncompile.placeholders import getter
from nncompile.plans import DEFAULT, TRAINING, kept_plan, new_plan
from nncompile.structure import Nesting
from nncompile.targets import TARGETS
from nncompile.trace import trace_structured

if TYPE_CHECKING:
    from nncompile.training.step import TrainStep


@overload
def compile(model: Module | ir.Graph | str | PathLike[str] | bytes, /, *inputs: Any,
            **options: Any) -> CompiledModel: ...


@overload
def compile(model: Any, /, *inputs: Any, **options: Any) -> Any: ...


@paused_collection()
def compile(model: Any, /, *inputs: Any,
            threads: int | None = None, target: str | None = None, check: bool = False,
            precision: str | None = None, passes: Sequence[ir.Pass] = DEFAULT,
            loss: Callable[..., Any] | None = None, optimizer: Any = None,
            clip_norm: float | None = None, accumulate: int = 1,
            keywords: Mapping[str, Any] | None = None, **named: Any) -> Any:
    """Compiles a model to one fast callable for every batch size.

    model:     an `nn.Module` in eval mode, of ours or of torch's; or, without inputs, an `ir.Graph`
               with its data, the path of a file with the text of a graph, "model.ir", a
               `torch.export.ExportedProgram`, or an ONNX model: "model.onnx", the bytes of such a
               file, or an `onnx.ModelProto`. Of a fitted estimator of scikit-learn, also
               without inputs, the result is a `CompiledEstimator`, with the estimator's methods.
    inputs:    a type text ("f32[B, 64]", "i64[B, T]") or an example array (its first dim becomes
               dynamic) for each argument of `forward`, or such in a tuple, list, dict, named tuple
               or dataclass; `named` are the arguments that go by name. Of `from_onnx` they may
               also be shapes, constants, external_data, and of `from_torch` dynamic; for an
               estimator methods, the names of those to compile, and dtype, float64 or float32.
    threads:   the most threads of a call; None: NNCOMPILE_THREADS, or all CPUs of the process.
    target:    "cpu" or "cuda"; None: what `model.to(target)` has chosen, or "cpu".
    check:     evaluate the graph before and after every pass, and raise PassError on a difference;
               an imported model is also compared with onnx.reference, torch or scikit-learn.
    precision: None: products are computed in the arrays' own dtype. "tf32" is refused: no target
               has it.
    passes:    what rewrites the graph, in this order: `nncompile.passes` has the passes, each with
               its options, and DEFAULT_PIPELINE, in the place of which a training step has
               `nncompile.passes.training.TRAINING_PIPELINE`. Without any, `()`, the ops run one
               by one.
    loss, optimizer: make it a training step, `TrainStep`: loss = step(*inputs, *targets) updates
               the model's own parameters. loss takes the model's output and the last inputs; None
               if the model returns the loss. The optimizer is one of nncompile.optim.
    clip_norm: of a step: the most that the norm of all gradients may be; they are scaled down.
    accumulate: of a step: the parameters are updated by the mean gradient of so many calls.
    keywords:  more arguments by name, for those that are named like an option above.

    The weights are copied: later changes of the model do not reach the result (see load_weights).
    Raises InputError for passes that are none, and for a graph that lacks data or is given inputs;
    TraceError where `forward` cannot be traced; ModelImportError, with all that is in the way, for
    a model of another format that cannot be imported; VerifyError where a pass returns a graph that
    is illegal or has other inputs or outputs; CompileError where the graph cannot be compiled for
    the target.
    """
    named = _all_named(named, keywords, {"threads": threads, "target": target, "check": check,
                                         "precision": precision, "passes": passes})
    name = target or str(getattr(model, "_target", "cpu"))
    backend_of(name)                  # an unknown one is refused before anything is traced
    if precision is not None:
        raise CompileError(f"precision={precision!r} cannot be had of the {name} target: it "
                           "computes in the arrays' own type\n  do: leave precision out")
    pipeline = _checked(passes)
    if loss is not None or optimizer is not None:
        return _compile_step(model, inputs, loss, optimizer, clip_norm, accumulate, named,
                             (threads, name, check, pipeline))
    if (importer := importer_of(model)) is not None:
        imported = _imported(importer, model, inputs, named)
        return _compile_imported(imported, threads, name, check, pipeline)
    if isinstance(model, str | PathLike):
        from nncompile.modelfile import load_graph
        model = load_graph(fspath(model))
    if isinstance(model, ir.Graph):
        _check_graph(model, [*inputs, *named])
        return compile_graph(model, None, {}, threads, name, check, pipeline)
    traced = trace_structured(model, *inputs, **named)
    graph, nesting = traced.graph, traced.nesting
    return compile_graph(graph, nesting, entries_of(model, graph), threads, name, check, pipeline)


def _imported(importer: Importer, model: Any, inputs: Sequence[Any], named: Mapping[str, Any]
              ) -> Imported | ImportedEstimator:
    """Returns what an importer reads. Raises InputError for arguments that it does not have."""
    signature = inspect.signature(importer)
    try:
        signature.bind(model, *inputs, **named)
    except TypeError as error:
        options = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        raise InputError(f"an imported {type(model).__name__} takes {', '.join(options)} and the "
                         f"options of compile: {error}") from None
    return importer(model, *inputs, **named)


def _compile_step(model: Any, inputs: tuple[Any, ...], loss: Callable[..., Any] | None,
                  optimizer: Any, clip_norm: float | None, accumulate: int,
                  named: Mapping[str, Any],
                  how: tuple[int | None, str, bool, Sequence[ir.Pass]]) -> TrainStep:
    """Returns a training step. how: threads, target, check and passes."""
    from nncompile.training.compiler import compile_step  # which needs the optimizers
    threads, target, check, passes = how
    if target != "cpu":
        raise CompileError(f"the {target} target runs inference only\n  do: leave target out, and "
                           "train on the CPU")
    if named:
        raise InputError(f"the inputs of a step go by position, and {min(named)} was given by name")
    compile_this = partial(compile_graph, nesting=None, entries={}, threads=threads, target=target,
                           check=check,
                           passes=TRAINING if passes is DEFAULT else passes)
    return compile_step(model, inputs, loss, optimizer, clip_norm, accumulate, compile_this)


def _compile_imported(imported: Imported | ImportedEstimator, threads: int | None, target: str,
                      check: bool, passes: Sequence[ir.Pass]) -> CompiledModel | CompiledEstimator:
    """Returns the compiled form of what an importer read."""
    if isinstance(imported, ImportedEstimator):
        methods = {name: compile_graph(graph, None, {}, threads, target, check, passes)
                   for name, graph in imported.graphs.items()}
        estimator = CompiledEstimator(imported.facts, methods)
        if check:
            imported.check(estimator)
        return estimator
    entries = {name: Entry(parameter) for name, parameter in imported.names.items()}
    compiled = compile_graph(imported.graph, imported.nesting, entries, threads, target, check,
                             passes, imported.notes, imported.outputs)
    if check:
        imported.check(compiled)
    return compiled


@paused_collection()
def compile_graph(graph: ir.Graph, nesting: Nesting | None, entries: Mapping[str, Entry],
                  threads: int | None, target: str, check: bool, passes: Sequence[ir.Pass],
                  notes: Sequence[str] = (), outputs: Sequence[str] = ()) -> CompiledModel:
    """Returns the compiled form of a legal graph.

    nesting: how calls nest its arrays, or None if they do not. entries: what each name of a state
    dict is; without any, the names are those of the graph's parameters. notes: what `explain` adds
    of where it is from. outputs: their names, where the nesting does not say them.
    """
    options.check()
    with StandardFloats():
        dump, backend = Dump(graph.name, passes, target), backend_of(target)
        if check or options.DUMP.value():
            plan = new_plan(graph, passes, backend, check, dump)
        else:
            plan = kept_plan(graph, passes, backend)
        compile_again = partial(compile_graph, nesting=nesting, entries=entries, threads=threads,
                                target=target, check=check, passes=passes, notes=notes,
                                outputs=outputs)
        compiled = CompiledModel(plan, backend, nesting, entries, threads, compile_again,
                                 notes, outputs)
        dump.text("source.py", compiled.source)
        return compiled


def _checked(passes: Sequence[ir.Pass]) -> Sequence[ir.Pass]:
    """The passes that were given. Raises InputError where one is no pass."""
    if passes is DEFAULT:
        return DEFAULT
    from nncompile.passes import DEFAULT_PIPELINE, checked_pipeline  # which not each graph needs

    return DEFAULT if passes is DEFAULT_PIPELINE else checked_pipeline(passes)


def _all_named(named: dict[str, Any], keywords: Mapping[str, Any] | None,
               options: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs by name and those of keywords=.

    Raises InputError where one is given twice, or an input was given for an option.
    """
    for name, value in options.items():
        if isinstance(value, np.ndarray | Array) or (isinstance(value, str) and "[" in value):
            raise InputError(f"{name}= is an option of compile, and no input\n  do: give forward's "
                             f"own {name} by position, or as keywords={{{name!r}: ...}}")
    if keywords is not None and not isinstance(keywords, Mapping):
        raise InputError("keywords= is a dict of inputs by name, not "
                         f"{type(keywords).__name__}")
    if twice := named.keys() & (keywords or {}).keys():
        raise InputError(f"the input {min(twice)!r} was given by name and in keywords=")
    return {**named, **(keywords or {})}


def _check_graph(graph: ir.Graph, inputs: Sequence[Any]) -> None:
    """Raises Error unless the graph is legal and has its data, and no inputs are given as well."""
    ir.verify(graph)
    if inputs:
        raise InputError(f"{graph.name} is a graph, which has its inputs: leave {len(inputs)} out")
    if graph.states:
        raise InputError(f"{graph.name} writes states, {name_value(graph.states[0])} first, and a "
                         "compiled model changes none of its inputs\n  do: compile(model, ..., "
                         "loss=, optimizer=) makes a training step; ir.interpret evaluates this "
                         "graph")
    if missing := [v for v in graph.params if v not in graph.data]:
        names = ", ".join(map(name_value, missing[:3])) + ", ..." * (len(missing) > 3)
        raise InputError(f"{graph.name} has no data for {names}: the text of a graph has types only"
                         "\n  do: ir.check.with_data(graph) gives a graph with random numbers")


def backend_of(target: str) -> Backend:
    """Returns the back end of a target, whose module is imported here.

    Raises CompileError where there is no such target.
    """
    if target not in TARGETS:
        raise CompileError(f"there is no target {target!r}; there are {', '.join(TARGETS)}")
    with nullcontext() if TARGETS[target] in sys.modules else importing():
        backend: Backend = import_module(TARGETS[target]).BACKEND
    return backend


if not TYPE_CHECKING:                            # for mypy a missing name stays an error
    __getattr__ = getter(__name__)
