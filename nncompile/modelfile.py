"""Models for the command line: `file.py:name` is a model, `file.ir` and `file.onnx` are graphs."""
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import ir
from nncompile.array import describe
from nncompile.errors import InputError
from nncompile.importers.kinds import importer_of
from nncompile.nn import Module

_HOW_TO_SAY_INPUTS = """\
say what goes in, one --input for each argument of forward, as in --input "f32[B, 64]",
or write it into the file: {name}_inputs = "f32[B, 64]\""""


def load_model(text: str) -> tuple[Any, list[Any] | None]:
    """Returns the model that `file.py:name` names, in eval mode, and its declared inputs.

    `name` is a Module, of ours or of a package that an importer knows, a Module class that takes no
    arguments, or a function that returns one. The inputs are type texts or arrays, in a variable
    `<name>_inputs` or `inputs`; None without it.
    Raises InputError where there is no such model. An exception of the file's own code is passed
    on.
    """
    file, colon, name = text.rpartition(":")
    if not colon:
        file, name = text, ""
    if not Path(file).is_file():
        raise InputError(f"there is no file {file!r}; a model is given as file.py:name, "
                         "file.onnx or file.ir")
    module = _load_file(Path(file))
    if not hasattr(module, name):
        wrong = f"{file} has no {name!r}" if name else "a model is given as file.py:name"
        there = ", ".join(f"{file}:{found}" for found in _candidates(module))
        raise InputError(f"{wrong}; there is {there or 'no model in it'}")
    model = _made(getattr(module, name), name)
    # an estimator and an exported program know their inputs; those of the file are of its modules
    declared = _declared_inputs(module, name) if hasattr(model, "forward") else None
    return model.eval() if hasattr(model, "eval") else model, declared


def is_graph_file(text: str) -> bool:
    """Returns whether a model is given as the text of a graph or as an ONNX file."""
    return text.endswith((".ir", ".onnx"))


def load_graph(file: str) -> ir.Graph:
    """Returns the graph of a file: of an ONNX model with its data, of a text without any.

    Raises InputError, with file and line, where the text is no graph; ModelImportError where the
    ONNX model cannot be imported.
    """
    if file.endswith(".onnx"):
        from nncompile.importers.onnx import from_onnx
        return from_onnx(file)
    if not Path(file).is_file():
        raise InputError(f"there is no file {file!r} with the text of a graph, as model.ir is one")
    try:
        return ir.parse(Path(file).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(f"{file} is not the text of a graph: it is not even UTF-8") from None
    except ir.ParseError as error:
        raise InputError(f"{file}, {error}") from None


def _load_file(path: Path) -> ModuleType:
    """Runs a Python file as a module, whose imports find the files beside it, as a script's do."""
    name = f"_model_file_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file; a model is given as file.py:name")
    module = module_from_spec(spec)
    sys.modules[name] = module                   # as import does: dataclasses look there
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SystemExit:
        raise InputError(f"{path} exits when it is loaded; a script's own work belongs behind "
                         'if __name__ == "__main__":') from None
    return module


def _is_model(value: Any) -> bool:
    """Returns whether a value of a file is a model: a Module, or what an importer takes."""
    return isinstance(value, Module) or (
        not isinstance(value, str | bytes) and importer_of(value) is not None)


def _made(found: Any, name: str) -> Any:
    if _is_model(found):
        return found
    if not callable(found):
        raise InputError(f"{name} is {describe(found)}, not a model or a function that makes one")
    if not _takes_nothing(found):
        raise InputError(f"{name}{inspect.signature(found)} needs arguments: write a function "
                         "without any that returns the model")
    model = found()
    if not _is_model(model):
        raise InputError(f"{name}() returned {describe(model)}, not a model")
    return model


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    return True


def _candidates(module: ModuleType) -> list[str]:
    """Returns the names of the models in a file, and of its classes and functions that make one."""
    def offers(value: Any) -> bool:
        if _is_model(value):
            return True
        is_class = inspect.isclass(value) and hasattr(value, "forward")
        return ((is_class or inspect.isfunction(value)) and _takes_nothing(value)
                and value.__module__ == module.__name__)
    return [name for name, value in vars(module).items()
            if not name.startswith("_") and name != "main" and offers(value)]


def _declared_inputs(module: ModuleType, name: str) -> list[Any] | None:
    given = getattr(module, f"{name}_inputs", getattr(module, "inputs", None))
    if isinstance(given, str | np.ndarray):
        return [given]
    return list(given) if isinstance(given, Iterable) else None


def guessed_inputs(model: Any, name: str) -> list[str]:
    """Returns the type of the model's input, if its first layer with parameters tells it.

    A model without inputs has none. Raises InputError for any other model.
    """
    count = len(inspect.signature(model.forward).parameters)
    if count == 0:
        return []
    if count == 1:
        first: Any = next((m for m in model.modules() if list(m.parameters(recurse=False))), None)
        match type(first).__name__:              # of ours or of torch's
            case "Linear":
                return [f"f32[B, {first.in_features}]"]
            case "LayerNorm":
                return [f"f32[B, {', '.join(map(str, first.normalized_shape))}]"]
    raise InputError(f"the inputs of {name} are not known: {_HOW_TO_SAY_INPUTS.format(name=name)}")
