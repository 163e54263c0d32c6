"""nncompile run: compiles a model and runs it on arrays in files."""
from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import ir
import nncompile
from ir import NDArray
from ir.check import with_data
from ir.ops import is_symbolic
from ir.parser import parse_type
from ir.types import DTYPES, bind_sizes
from nncompile.cli.command import Command, Given, Option
from nncompile.cli.inputs import INPUT, MODEL, narrowed, read_inputs
from nncompile.cli.values import positive
from nncompile.errors import InputError
from nncompile.estimator import CompiledEstimator
from nncompile.importers.kinds import importer_of
from nncompile.importers.names import printable
from nncompile.model import CompiledModel
from nncompile.modelfile import is_graph_file, load_graph, load_model
from nncompile.nn import Module
from nncompile.statefile import load_weights, replace_file
from nncompile.structure import flatten

# The methods of an estimator, the one that is run without --method first.
_METHODS = ("predict", "transform", "score_samples", "decision_function", "predict_proba",
            "predict_log_proba")


def _run(given: Given) -> int:
    read = read_inputs(given.input, narrow=False)
    inputs = [each if isinstance(each, str) else narrowed(each) for each in read]
    compiled = _compiled_graph(given) if is_graph_file(given.model) else _compiled(given, inputs)
    if isinstance(compiled, CompiledEstimator):
        return _run_estimator(compiled, read, given)
    if given.method:
        raise InputError(f"--method names one of an estimator's, and {given.model} is none")
    graph = compiled.ir()
    for option, count, values in (("input", len(inputs), graph.inputs),
                                  ("output", len(given.output), graph.outputs)):
        if count != len(values):
            raise InputError(f"--{option} is given {count} times, and the number of the "
                             f"model's {option}s is {len(values)}")
    results = compiled(*_arrays(compiled.ir("traced"), inputs))
    outputs, _ = flatten(results, lambda leaf: isinstance(leaf, np.ndarray))
    for path, name, array in zip(given.output, compiled.output_names, outputs, strict=True):
        _write_array(Path(path), array)
        about = f", {printable(name)}" if len(outputs) > 1 else ""
        print(f"{path}: {array.dtype} {list(array.shape)}{about}")
    return 0


def _run_estimator(compiled: CompiledEstimator, arrays: Sequence[str | NDArray], given: Given
                   ) -> int:
    """Writes what one method of an estimator returns for one table of numbers, in float64."""
    methods = compiled.compiled
    name = given.method or next(filter(methods.__contains__, _METHODS))
    if name not in methods:
        raise InputError(f"--method {name}: {given.model} has {', '.join(methods)}")
    if given.weights:
        raise InputError(f"--weights are of a model, and {given.model} is a fitted estimator")
    if len(arrays) != 1 or isinstance(arrays[0], str) or len(given.output) != 1:
        raise InputError("an estimator is run on one --input, a file with a table of numbers, and "
                         "has one --output")
    [path], result = given.output, getattr(compiled, name)(arrays[0])
    if result.dtype == object and all(isinstance(label, str) for label in result):
        result = result.astype(np.str_)          # numpy.save writes no objects but as pickles
    _write_array(Path(path), result)
    print(f"{path}: {result.dtype} {list(result.shape)}, {name}")
    return 0


def _compiled(given: Given, inputs: Sequence[str | NDArray]
              ) -> CompiledModel | CompiledEstimator:
    """Compiles the model of a file."""
    model, declared = load_model(given.model)
    state = load_weights(given.weights) if given.weights else None
    if state is not None and isinstance(model, Module):
        model.load_state_dict(state)
    examples = (declared or inputs) if hasattr(model, "forward") else []
    compiled: Any = nncompile.compile(model, *examples, threads=given.threads)
    if state is not None and isinstance(compiled, CompiledModel) and not isinstance(model, Module):
        compiled.load_weights(state)
    made: CompiledModel | CompiledEstimator = compiled
    return made


def _compiled_graph(given: Given) -> CompiledModel:
    """Compiles a graph; the numbers of its parameters may be in the file of --weights."""
    if importer_of(given.model) is not None:
        return _with_weights(nncompile.compile(given.model, threads=given.threads), given)
    graph = load_graph(given.model)
    unknown = [v for v in graph.params if v not in graph.data
               and (v.kind == "constant" or not given.weights)]
    if unknown:
        what = "constants" if given.weights else "weights"
        raise InputError(f"{given.model} has no numbers for its {what}, so "
                         "its outputs would mean nothing\n"
                         "  do: run the model, as file.py:name, or compile the graph in Python"
                         + ", or give --weights" * (not given.weights))
    return _with_weights(nncompile.compile(with_data(graph), threads=given.threads), given)


def _with_weights(compiled: CompiledModel, given: Given) -> CompiledModel:
    if given.weights:
        compiled.load_weights(load_weights(given.weights))
    return compiled


def _arrays(graph: ir.Graph, inputs: Sequence[str | NDArray]) -> list[NDArray]:
    """Returns the arrays of the inputs, with seeded random numbers for those that are types."""
    if not any(isinstance(text, str) for text in inputs):
        return [array for array in inputs if not isinstance(array, str)]
    from nncompile.bench.inputs import random_inputs

    shaped = [_zeros(text) if isinstance(text, str) else text for text in inputs]
    random = random_inputs(graph, bind_sizes([v.type for v in graph.inputs], shaped))
    print("inputs: those given as a type are seeded random numbers")
    return [drawn if isinstance(text, str) else text
            for text, drawn in zip(inputs, random, strict=True)]


def _zeros(text: str) -> NDArray:
    type_ = parse_type(text)
    if is_symbolic(type_.shape):
        raise InputError(f"--input {text}: each size has to be a number here, since the model is "
                         "run on random numbers of this type")
    return np.zeros([int(dim) for dim in type_.shape], DTYPES[type_.dtype])


def _write_array(path: Path, array: NDArray) -> None:
    content = BytesIO()
    np.save(content, array, allow_pickle=False)
    replace_file(path, content.getvalue())


COMMAND = Command(
    "run", "compile a model and run it on arrays in files", _run, (MODEL,), (
        Option(INPUT.name, "one for each argument of forward: a file x.npy, or x.npz with the "
               'arrays of several in order, or a type, as "f32[8, 64]", for random numbers; '
               "float64 is rounded to float32", metavar=INPUT.metavar, many=True, required=True),
        Option("--output", "one for each output; replaced in one step if it exists",
               metavar="Y.npy", many=True, required=True),
        Option("--weights", "numbers of the parameters: a state dict in a .safetensors or .npz "
               "file; without it the model's own", metavar="FILE"),
        Option("--method", "of an estimator: the one to run; without it predict, or transform "
               "where there is none", metavar="NAME"),
        Option("--threads", "threads of a call", metavar="N", read=positive),
    ), (
        "nncompile run model.py:net --input x.npy --output y.npy",
        "nncompile run model.py:net --weights w.npz --input x.npy --output y.npy",
        "nncompile run model.py:clf --method transform --input x.npy --output y.npy",
        "nncompile run model.onnx --input both.npz --output h.npy --output total.npy",
    ))
