"""The model of a command line, and its inputs.

`--input` has one meaning in all commands: a type text, or a file with an array or several.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

import ir
from ir import NDArray
from ir.records import replace
from nncompile.cli.command import Argument, Given, Option
from nncompile.errors import InputError
from nncompile.importers.kinds import importer_of
from nncompile.model import fitting
from nncompile.modelfile import guessed_inputs, is_graph_file, load_graph, load_model
from nncompile.nn import Module

MODEL = Argument("model", "file.py:name, file.onnx or file.ir", metavar="MODEL")
INPUT = Option("--input", 'one for each argument of forward: a type, as "f32[B, 64]" or '
               '"i64[B, T]", or a file x.npy, or x.npz with the arrays of several arguments in '
               "order; without it, the model file's `<name>_inputs` or `inputs`, or what the first "
               "layer takes", metavar="TYPE|FILE", many=True)


def read_inputs(texts: Sequence[str], narrow: bool = True) -> list[str | NDArray]:
    """Returns the types and arrays that the texts of `--input` stand for, in order.

    narrow: float64, the default of NumPy, is rounded to float32.
    Raises InputError for a text that is neither a type nor a file of arrays, and for a file that
    is not whole.
    """
    return [given for text in texts for given in _read(text, narrow)]


def _read(text: str, narrow: bool) -> list[str | NDArray]:
    if "[" in text and not text.endswith((".npy", ".npz")):
        return [text]
    if text.endswith(".npy"):
        return [read_array(text, narrow)]
    if text.endswith(".npz"):
        return list(read_arrays(text, narrow).values())
    raise InputError(f'--input {text} is neither a type, such as "f32[B, 64]", nor a file .npy or '
                     ".npz")


def read_array(path: str, narrow: bool = True) -> NDArray:
    """Returns the array in a .npy file; narrow: float64 is rounded to float32."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile):   # its message tells how to load pickles, unsafely
        raise InputError(f"{path} is not a whole .npy file of numbers, as numpy.save writes one"
                         ) from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays; numpy.save writes one to a .npy file")
    return narrowed(array) if narrow else array


def read_arrays(path: str, narrow: bool = True) -> dict[str, NDArray]:
    """Returns the arrays in a .npz file, each under its name and rounded as `read_array` does."""
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            raise InputError(f"{path} holds one array; numpy.savez writes a .npz file")
        with found as file:
            return {name: narrowed(file[name]) if narrow else file[name] for name in file.files}
    except InputError:
        raise
    except (ValueError, EOFError, BadZipFile):
        raise InputError(f"{path} is not a whole .npz file of numbers, as numpy.savez writes one"
                         ) from None


def narrowed(array: NDArray) -> NDArray:
    """Returns float64, the default of NumPy, as float32, and any other array as it is."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def read_sets(texts: Sequence[str]) -> list[list[NDArray]]:
    """Returns the sets of arrays of --input, in turn; none where they are types.

    A folder has a set in each of its files, in the order of their names.
    Raises InputError where some are types and some are files.
    """
    if len(texts) == 1 and Path(texts[0]).is_dir():
        files = sorted(p for p in Path(texts[0]).iterdir() if p.suffix in (".npy", ".npz"))
        if not files:
            raise InputError(f"--input {texts[0]}: there is no .npy or .npz file in this folder")
        return [[a for a in read_inputs([str(p)]) if not isinstance(a, str)] for p in files]
    found = read_inputs(texts)
    arrays = [a for a in found if not isinstance(a, str)]
    if arrays and len(arrays) < len(found):
        raise InputError("--input is given types and files: give all inputs as files, or none")
    return [arrays] if arrays else []


def model_and_inputs(given: Given) -> tuple[Module | ir.Graph, list[Any]]:
    """Returns the model and its inputs, or the graph of a file or of what an importer takes.

    Raises InputError for inputs of a graph, which says itself what they are.
    """
    return model_inputs_and_peers(given)[:2]


def model_inputs_and_peers(given: Given, data: Sequence[Sequence[NDArray]] = ()
                           ) -> tuple[Module | ir.Graph, list[Any], dict[str, Any]]:
    """Returns the same, and what the model brings to be timed beside it, such as scikit-learn.

    data: sets of arrays that take the place of --input; types that the model's file declares go
    before the arrays' own.
    """
    inputs: list[Any] = [] if data else [*read_inputs(given.input or ())]
    if is_graph_file(given.model):
        if inputs:
            raise InputError(f"{given.model} says what its inputs are: leave --input out")
        return load_graph(given.model), [], {}
    model, declared = load_model(given.model)
    inputs = inputs or declared or [*next(iter(data), ())] or (
        guessed_inputs(model, given.model.rpartition(":")[2]) if hasattr(model, "forward") else [])
    if (importer := importer_of(model)) is not None:
        imported = importer(model, *inputs)
        return imported.graph, [], dict(getattr(imported, "peers", {}))
    return model, inputs, {}


def with_weights(graph: ir.Graph, state: dict[str, Any], file: str) -> ir.Graph:
    """Returns the graph with the numbers of a state dict for its parameters.

    Raises InputError that names what is missing, unexpected or of another shape.
    """
    params = {v.name: v for v in graph.params if v.kind == "parameter"}
    odd = {"missing": sorted(params.keys() - state.keys()),
           "unexpected": sorted(state.keys() - params.keys())}
    wrong = [f"{what} {', '.join(map(repr, names))}" for what, names in odd.items() if names]
    data = {}
    for name in params.keys() & state.keys():
        try:
            data[params[name]] = fitting(state[name], params[name])
        except InputError as error:
            wrong.append(f"{name!r} {error}")
    if wrong:
        raise InputError(f"{file} does not fit the graph: {'; '.join(wrong)}")
    return replace(graph, data={**graph.data, **data})
