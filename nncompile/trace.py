"""Tracing: run the model once on arrays that have a type and no numbers, and record each op."""

from __future__ import annotations

import inspect
import linecache
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType, TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import ir
from ir import Builder, Error, Graph, TensorType, Value, Where, parse_type, type_of, verify
from ir.ops import Attrs
from ir.types import symbol
from nncompile.array import Array, describe, to_array
from nncompile.errors import InputError, TraceError
from nncompile.interpreter import Interpreter, current
from nncompile.nn.containers import Sequential
from nncompile.nn.dropout import Dropout
from nncompile.nn.module import Module

# Frames of these packages are not the user's.
OURS = tuple(
    str(Path(str(package.__file__)).parent) + os.sep
    for package in (ir, np, inspect.getmodule(Array)) if package is not None
)

Frames = Iterable[tuple[FrameType, int]]


Input = str | NDArray[Any]


def trace(model: Module, /, *inputs: Input, **keywords: Input) -> Graph:
    """The graph of a model's forward.

    An input is a type text such as "f32[B, 64]" or "i64[B, T]", or an example array, whose first
    dimension then is dynamic and named B; inputs by keyword go to the forward's parameters.
    The graph's data are the model's own arrays and copies of other constants.

    Errors: InputError for inputs that are no such thing or do not fit the forward; TraceError,
    with the layer, the types and the user's line, for a forward that cannot be recorded.
    """
    if not isinstance(model, Module):
        hint = f"; {model.__name__}() makes one" if isinstance(model, type) else ""
        raise InputError(f"trace takes a Module, not {describe(model)}{hint}")
    check_modes(model)
    arguments = bind(model, inputs, keywords)
    recorder = Trace(model)
    types = input_types(dict(arguments.named))
    values = [recorder.declare("input", name, type_) for name, type_ in types.items()]
    args, kwargs = arguments.filled([Array(v) for v in values])
    token = current.set(recorder)
    try:
        result = recorder.layer(model, args, kwargs)
        outputs = recorder.outputs(model, result)
    finally:
        current.reset(token)
    graph = recorder.builder.build(type(model).__name__, outputs)
    verify(graph)
    return graph


def check_modes(model: Module) -> None:
    """A graph has no randomness."""
    random = [path or type(module).__name__ for path, module in model.named_modules()
              if isinstance(module, Dropout) and module.training and module.p > 0]
    if random:
        raise TraceError("the model is in training mode, in which Dropout drops at random: call "
                         f"model.eval() first\n  layers:   {', '.join(random)}")


# -- inputs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arguments:
    """What trace was given, each input under the name of the forward's parameter."""

    named: Sequence[tuple[str, Any]]
    positional: int
    keywords: tuple[str, ...]

    def filled(self, arrays: Sequence[Array]) -> tuple[Sequence[Array], dict[str, Array]]:
        pairs = zip(self.keywords, arrays[self.positional :], strict=True)
        return arrays[: self.positional], dict(pairs)


def bind(model: Module, inputs: Sequence[Any], keywords: dict[str, Any]) -> Arguments:
    signature = inspect.signature(model.forward)
    try:
        bound = signature.bind(*inputs, **keywords)
    except TypeError as error:
        given = f"{len(inputs)} inputs" + f" and {', '.join(keywords)}" * bool(keywords)
        raise InputError(f"{type(model).__name__}.forward{signature} does not take {given}: "
                         f"{error}") from None
    names: list[str] = []
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}{i}" for i in range(len(value))]
        elif kind is not inspect.Parameter.VAR_KEYWORD and name not in keywords:
            names.append(name)
    named = [*zip(names, inputs, strict=True), *keywords.items()]
    if len({name for name, _ in named}) < len(named):
        named = [(f"x{i}", value) for i, (_, value) in enumerate(named)]
    return Arguments(named, len(inputs), tuple(keywords))


def input_types(inputs: dict[str, Any]) -> dict[str, TensorType]:
    examples = {n: a for n, a in inputs.items() if isinstance(a, np.ndarray) and a.ndim > 0}
    firsts = {name: array.shape[0] for name, array in examples.items()}
    if len(set(firsts.values())) > 1:
        given = ", ".join(f"{name} has {size}" for name, size in firsts.items())
        raise InputError("the first dimension of every example array is the batch size B, but "
                         f"{given} rows: give a type text such as \"f32[N, 64]\" instead")
    return {name: input_type(name, given) for name, given in inputs.items()}


def input_type(name: str, given: Any) -> TensorType:
    if not isinstance(given, str | np.ndarray):
        raise InputError(f"the input {name} is a type text such as \"f32[B, 64]\" or an example "
                         f"array, not {describe(given)}")
    try:
        if isinstance(given, str):
            return parse_type(given)
        example = type_of(given)
    except Error as error:
        raise InputError(f"the input {name}: {error}") from None
    return TensorType(example.dtype, (*[symbol("B")] * (given.ndim > 0), *example.shape[1:]))


# -- the recorder ----------------------------------------------------------------------------------


class Trace(Interpreter):
    """The interpreter that records: an op is a node, a parameter a named value, a layer a place."""

    def __init__(self, model: Module) -> None:
        super().__init__(model)
        self.builder = Builder()
        self.known: set[Value] = set()
        self.constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self.parameters: dict[str, Value] = {}
        self.paths = {id(data): path for path, data in reversed(model.state_dict().items())}

    def declare(
        self, kind: str, name: str, type_: TensorType, data: NDArray[Any] | None = None
    ) -> Value:
        value = self.builder.declare(kind, name, type_, data)
        self.known.add(value)
        return value

    def op(self, name: str, operands: Sequence[Array | float], attrs: Attrs) -> Value:
        inputs = [o if isinstance(o, float) else self.value(o) for o in operands]
        try:
            value = self.builder.add(name, *inputs, where=self.where(), **attrs)
        except Error as error:
            self.fail(str(error), [o if isinstance(o, float) else o.type for o in inputs])
        self.known.add(value)
        return value

    def value(self, array: Array) -> Value:
        """What an array is in the graph: a result, a parameter by name, or else a constant."""
        if isinstance(array.payload, Value):
            if array.payload not in self.known:
                self.fail("an array kept from another trace is used", [array.type])
            return array.payload
        if id(array.payload) in self.paths:
            return self.parameter(array.payload)
        if type(array) is not Array:
            self.fail("a Parameter is used that the model does not have: modules kept in a list "
                      "belong into an nn.ModuleList", [array.type])
        return self.constant(array.payload)

    def parameter(self, data: NDArray[Any]) -> Value:
        """Tied parameters are one value, under the first of their names."""
        path = self.paths[id(data)]
        if path not in self.parameters:
            self.parameters[path] = self.declare("parameter", path, type_of(data), data)
        return self.parameters[path]

    def constant(self, data: NDArray[Any]) -> Value:
        """A copy: the forward may go on to change its array.  Equal ones are one."""
        key = (str(data.dtype), data.shape, data.tobytes())
        if key not in self.constants:
            name = str(len(self.constants))
            self.constants[key] = self.declare("constant", name, type_of(data), data.copy())
        return self.constants[key]

    def numbers(self, array: Array, what: str) -> NoReturn:
        self.fail(f"{what} needs the numbers in an array, and while a model is traced there are "
                  "none: the graph is the same for all data", [array.type])

    def layer(self, module: Module, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        self.layers.append(module)
        try:
            return module.forward(*args, **kwargs)
        except TraceError:
            raise
        except Error as error:
            self.fail(str(error), types_in([*args, *kwargs.values()]), error.__traceback__)
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            if "DimExpr" in message:
                message += " (a DimExpr is a size that is not known before run time)"
            operands = types_in([*args, *kwargs.values()])
            raise self.error(message, operands, error.__traceback__) from error
        finally:
            self.layers.pop()

    def outputs(self, model: Module, result: Any) -> list[Value]:
        """The values that the forward returns.  Errors: it returns something that is no array."""
        results = list(result) if isinstance(result, tuple | list) else [result]
        arrays = [to_array(r) for r in results]
        if wrong := [a for a in arrays if not isinstance(a, Array)]:
            message = f"forward returns {describe(wrong[0])} where an array should be"
        elif not arrays:
            message = "forward returns no array at all"
        else:
            return [self.value(a) for a in arrays]
        code = getattr(inspect.unwrap(model.forward), "__code__", None)
        place = (code.co_filename, code.co_firstlineno) if code else model._made_at
        raise TraceError(report(f"{message}: it has to return an array, or a tuple or list of them",
                                type(model).__name__, types_in(results), place))

    # -- places ------------------------------------------------------------------------------------

    def where(self) -> Where:
        file, line = self.line(frames_of(None))
        return Where(self.layer_name(), f"{os.path.basename(file)}:{line}")

    def line(self, frames: Frames) -> tuple[str, int]:
        """The user's line, from the innermost frame outwards.

        It is the nearest line in a forward of theirs; for a layer of an nn.Sequential, and for a
        layer traced by itself, it is where the layer was made.
        """
        called = len(self.layers)  # the layer whose call the loop has come out to
        for frame, line in frames:
            if frame.f_code is Trace.layer.__code__:
                called -= 1
                if called == 0:
                    break
            elif frame.f_code is Sequential.forward.__code__:
                break
            elif not frame.f_code.co_filename.startswith(OURS):
                return frame.f_code.co_filename, line
        return self.layers[min(called, len(self.layers) - 1)]._made_at

    def fail(
        self, message: str, operands: Iterable[Any], traceback: TracebackType | None = None
    ) -> NoReturn:
        raise self.error(message, operands, traceback) from None

    def error(
        self, message: str, operands: Iterable[Any], traceback: TracebackType | None = None
    ) -> TraceError:
        place = self.line(frames_of(traceback))
        return TraceError(report(message, self.layer_name(), operands, place))


def report(message: str, layer: str, operands: Iterable[Any], place: tuple[str, int]) -> str:
    file, line = place
    source = linecache.getline(file, line).strip()
    return "\n".join([
        message,
        f"  layer:    {layer}",
        f"  operands: {', '.join(map(str, operands))}",
        f"  line:     {os.path.basename(file)}:{line}: {source}".rstrip(": "),
    ])


def frames_of(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames from the innermost outwards: those of an error, then those around it."""
    if traceback is None:
        return walk_stack(sys._getframe())
    inner = list(walk_tb(traceback))[::-1]
    return chain(inner, walk_stack(traceback.tb_frame.f_back))


def types_in(args: Iterable[Any]) -> list[str]:
    return [str(a.type) if isinstance(a, Array) else describe(a) for a in args]
