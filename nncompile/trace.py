"""Tracing: runs a model once on arrays that have a type but no numbers, and records each op."""

from __future__ import annotations

import inspect
import linecache
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ir import Error, Graph, NDArray, Reading, TensorType, Value, Where, parse_type, type_of, verify
from ir.ops import Attrs
from ir.types import digest, symbol
from nncompile.array import Array, describe, to_array
from nncompile.array.chosen import Chosen
from nncompile.array.dispatch import Change, current, is_ours
from nncompile.array.lengths import symbolic_lengths
from nncompile.array.naming import plainly
from nncompile.array.recording import Recorder
from nncompile.array.sizes import TracedNumber, is_traced
from nncompile.array.tape import Payload, bare
from nncompile.draws import Draws
from nncompile.errors import InputError, TraceError
from nncompile.nn.containers import Sequential
from nncompile.nn.module import Module
from nncompile.nn.running import Run, running
from nncompile.structure import Inputs, Nesting, Structure, flatten, holds, mapped

_EXAMPLE = re.compile(r"\b([A-Z]\w*) *= *([0-9]{1,18})\b", re.ASCII)    # of a size in a type text
_WHAT_TO_RETURN = ("it has to return an array, or arrays in a tuple, list, dict, named tuple or "
                   "dataclass")
_Frames = Iterable[tuple[FrameType, int | None]]


class SparseLookup(NamedTuple):
    """A lookup of rows of a table: the ids, and the one whose row has no gradient, if any."""

    table: Value
    ids: Value
    padding: int | None


class Traced(NamedTuple):
    """A graph whose inputs and outputs are arrays, and how these were nested in the model's.

    kept: the parameters of the graph, buffers of the model, whose new values are the last outputs.
    draws: whether the last input is the seed of random numbers. sparse: the lookups whose gradient
    is to have the rows alone that are met. Only the graph of a training step has these.
    """

    graph: Graph
    nesting: Nesting
    kept: tuple[Value, ...] = ()
    draws: bool = False
    sparse: tuple[SparseLookup, ...] = ()


def trace(model: Module, /, *inputs: Any, **keywords: Any) -> Graph:
    """Returns the graph of a model's forward.

    An input is a type text such as "f32[B, 64]" or "i64[B, T]", or an example array, whose first
    dimension becomes dynamic and is named B; or a tuple, list, dict, named tuple or dataclass of
    these; or a number, bool or None, which is then the same in every call. Inputs by keyword go to
    the forward's parameters. The data of the graph are the model's own arrays, and copies of
    constants. Numbers of parameters that the forward reads, as `float(self.scale)`, become a part
    of the graph, which lists them in `readings`: what is compiled of it takes no others.

    Raises InputError for inputs that are none of these or do not fit the forward; TraceError, with
    the layer, the types and the user's line, for a forward that cannot be recorded.
    """
    return trace_structured(model, *inputs, **keywords).graph


def trace_structured(model: Module, /, *inputs: Any, **keywords: Any) -> Traced:
    """Returns the graph of a forward, as `trace`, and how its inputs and outputs are nested."""
    if not isinstance(model, Module):
        hint = f": {model.__name__}() makes one" if isinstance(model, type) else (
            ": make a function the forward of one" if callable(model) else "")
        raise InputError(f"a model is an nn.Module, not {describe(model)}{hint}")
    _check_modes(model)
    return _traced(model, inputs, keywords, False)


def trace_objective(model: Module, /, *inputs: Any) -> Traced:
    """Returns the graph of a forward whose gradient is wanted, as trace_structured.

    `detach` stands where the forward says that something is a constant, as no_grad() does. Layers
    are in the mode that they are in: dropout draws, and statistics of batches are kept.
    """
    return _traced(model, inputs, {}, True)


def _traced(model: Module, inputs: Sequence[Any], keywords: dict[str, Any], differentiates: bool
            ) -> Traced:
    given, leaves = _bind(model, inputs, keywords)
    draws = Draws(model)
    traced = _recorded(model, given, leaves, len(inputs), None, differentiates)
    if not draws.drawn():
        return traced
    # Once more, to find the line; or to find that the numbers are drawn once and kept.
    draws = Draws(model)
    traced = _recorded(model, given, leaves, len(inputs), draws, differentiates)
    if drawn := draws.drawn():
        raise TraceError(f"{_WHAT_DRAWS.format(drawn)}\n  layer:    {type(model).__name__}")
    return traced


_WHAT_DRAWS = ("the forward draws random numbers with {}, and a graph is the same in every call: "
               "draw them outside and give them as an input, or keep them in a buffer")


def _recorded(model: Module, given: Inputs, leaves: Sequence[Any], positional: int,
              draws: Draws | None, differentiates: bool) -> Traced:
    """Returns the graph of a forward.

    positional: how many arguments go by position. draws: what no op may have drawn from.
    differentiates: whether the gradient of the graph is wanted.
    """
    recorder = _Recorder(model)
    recorder.draws, recorder.differentiates = draws, differentiates
    names = given.leaf_names
    if len(set(names)) < len(names):
        names = tuple(f"x{i}" for i in range(len(names)))
    types, recorder.examples = _input_types(dict(zip(names, leaves, strict=True)))
    values = [recorder.declare("input", name, type_) for name, type_ in types.items()]
    arrays = [Array(v) for v in values]
    args, kwargs = given.unflatten(arrays, positional)
    recording, run = current.set(recorder), running.set(recorder)
    try:
        with symbolic_lengths():
            result = recorder.call_model(args, kwargs)
        recorder.check_arguments(given, arrays, args, kwargs)
        outputs, structure = recorder.outputs(result)
    finally:
        running.reset(run)
        current.reset(recording)
    graph = recorder.builder.build(type(model).__name__, [*outputs, *recorder.kept.values()])
    verify(graph, built=True)
    return Traced(graph, Nesting(given, structure),
                  tuple(recorder.parameters[path] for path in recorder.kept),
                  recorder.seed is not None, tuple(recorder.sparse))


def _check_modes(model: Module) -> None:
    """Raises TraceError for a layer in training mode that differs there from inference.

    A graph has no randomness and changes no statistics.
    """
    training = [path or type(module).__name__ for path, module in model.named_modules()
                if module._unlike_eval()]
    if training:
        raise TraceError("the model is in training mode, in which these layers do something else: "
                         f"call model.eval() first\n  layers:   {', '.join(training)}")


# -- inputs ----------------------------------------------------------------------------------------


def _bind(model: Module, inputs: Sequence[Any], keywords: dict[str, Any]
          ) -> tuple[Inputs, list[Any]]:
    """The inputs' structure under the names of the forward's parameters, and the leaves in it.

    They are in the order of the forward's parameters, in which a call may give them by position up
    to the first parameter that is left out or only goes by name. The leaves are type texts and
    arrays.
    """
    signature = _signature(model, inputs, keywords)
    arguments, leaves = bind(type(model).__name__, signature, inputs, keywords, _is_input)
    for name, part in zip(arguments.names, arguments.parts, strict=True):
        if not part.count and not _is_constant(part):
            raise InputError(f"input {name!r} is a type text such as \"f32[B, 64]\" or an "
                             f"example array, not {describe(part.unflatten([]))}")
    return arguments, leaves


def bind(name: str, signature: inspect.Signature, inputs: Sequence[Any],
         keywords: Mapping[str, Any], is_leaf: Callable[[Any], bool]) -> tuple[Inputs, list[Any]]:
    """Returns the structure of the arguments of a forward, and the leaves in it.

    name: of the model, for messages. Raises InputError where the forward does not take them.
    """
    try:
        bound = signature.bind(*inputs, **keywords)
    except TypeError as error:
        what = f"{len(inputs)} inputs" + f" and {', '.join(keywords)}" * bool(keywords)
        takes = plainly(list(signature.parameters.values()))
        hint = "" if inputs or keywords else (
            "\n  do: give an example or a type text, such as \"f32[B, 64]\", for each")
        raise InputError(f"{name}.forward{takes} does not take {what}: {error}{hint}") from None
    given: list[tuple[str, Any]] = []            # *rest may give two the same name
    positional, by_position = 0, True
    for parameter_name, parameter in signature.parameters.items():
        by_position &= parameter_name in bound.arguments and parameter.kind not in (
            inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        if parameter_name in bound.arguments:
            given += _spread(parameter_name, parameter, bound.arguments[parameter_name])
        positional = len(given) if by_position else positional
    flat = [flatten(value, is_leaf) for _, value in given]
    names = tuple(name for name, _ in given)
    arguments = Inputs(names, tuple(part for _, part in flat), positional)
    return arguments, [leaf for leaves, _ in flat for leaf in leaves]


def _spread(name: str, parameter: inspect.Parameter, value: Any) -> list[tuple[str, Any]]:
    """The arguments that a parameter stands for, each with its name."""
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return [(f"{name}{i}", part) for i, part in enumerate(value)]
    return list(value.items()) if parameter.kind is inspect.Parameter.VAR_KEYWORD else [
        (name, value)]


def _signature(model: Module, inputs: Sequence[Any], keywords: dict[str, Any]
               ) -> inspect.Signature:
    """Returns the signature of a model's own __call__, if it has one and that names its parameters.

    Otherwise it is the forward's.
    """
    if type(model).__call__ is Module.__call__:
        return inspect.signature(model.forward)
    signature = inspect.signature(model.__call__)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return signature
    try:
        inspect.signature(model.forward).bind(*inputs, **keywords)
    except TypeError:
        return signature
    return inspect.signature(model.forward)


def _is_input(leaf: Any) -> bool:
    return isinstance(leaf, str | np.ndarray | Array)


def _is_constant(part: Structure) -> bool:
    return len(part.constant) == 1 and isinstance(part.constant[0], bool | int | float | None)


def _input_types(inputs: dict[str, Any]) -> tuple[dict[str, TensorType], dict[str, int]]:
    """The types of the inputs, and the examples of their named sizes that are given."""
    arrays = {name: a.numpy() if isinstance(a, Array) else a for name, a in inputs.items()}
    firsts = {name: array.shape[0] for name, array in arrays.items()
              if isinstance(array, np.ndarray) and array.ndim > 0}
    if len(set(firsts.values())) > 1:
        given = ", ".join(f"{name} has {size}" for name, size in firsts.items())
        raise InputError("the first dimension of every example array is the batch size B, but "
                         f"{given} rows: give a type text such as \"f32[N, 64]\" instead")
    examples = dict.fromkeys("B", next(iter(firsts.values()))) if firsts else {}
    return {name: _input_type(name, given, examples) for name, given in arrays.items()}, examples


def _input_type(name: str, given: Any, examples: dict[str, int]) -> TensorType:
    try:
        if isinstance(given, str):
            return parse_type(_EXAMPLE.sub(partial(_note_example, examples), given))
        example = type_of(given)
    except Error as error:
        raise InputError(f"input {name!r}: {error}") from None
    return TensorType(example.dtype, (*[symbol("B")] * (given.ndim > 0), *example.shape[1:]))


def _note_example(examples: dict[str, int], match: re.Match[str]) -> str:
    """Keeps the example of a size, T=64 in a type text, and returns the name of the size."""
    size, number = match[1], int(match[2])
    if examples.setdefault(size, number) != number:
        raise Error(f"the size {size} is both {examples[size]} and {number}")
    return size


# -- the recorder ----------------------------------------------------------------------------------


class _Recorder(Recorder, Run):
    """The dispatcher that records a forward: a parameter of the model becomes a named value.

    It is also the model's Run, so that each node and each error gets its layer and the user's line.
    """

    def __init__(self, model: Module) -> None:
        Recorder.__init__(self)
        Run.__init__(self, model)
        self.model = model
        self.parameters: dict[str, Value] = {}
        self.kept: dict[str, Value] = {}         # what a buffer holds after a run, by its path
        self.seed: Value | None = None
        self.streams = 0
        self.sparse: list[SparseLookup] = []
        self.paths = _paths_of(model)
        self.draws: Draws | None = None

    def value(self, payload: Payload) -> Value:
        """Returns the graph's value for a payload: a result, a parameter by name, or a constant.

        Raises TraceError for a value of another trace.
        """
        if not isinstance(payload, Value) and id(bare(payload)) in self.paths:
            return self.parameter(bare(payload))
        return super().value(payload)

    def op(self, name: str, operands: Sequence[Payload | float], attrs: Attrs) -> Payload:
        if self.draws is not None and (drawn := self.draws.drawn()):
            self.fail(_WHAT_DRAWS.format(drawn), [])
        return super().op(name, operands, attrs)

    def copied(self, payload: Payload) -> Payload:
        """Returns a payload that stays: of the model's state its value, which load_weights changes.
        """
        if not isinstance(payload, Value) and id(bare(payload)) in self.paths:
            return self.parameter(bare(payload))
        return super().copied(payload)

    def use(self, owned: Array) -> None:
        """Raises TraceError for a Parameter or buffer that the model does not have."""
        if isinstance(owned._payload, Value) or id(bare(owned._payload)) in self.paths:
            return
        self.paths = _paths_of(self.model)       # a lazy layer may have made it just now
        if id(bare(owned._payload)) not in self.paths:
            self.fail("a Parameter is used that the model does not have: modules kept in a list "
                      "belong into an nn.ModuleList", [owned.type])

    def parameter(self, data: NDArray) -> Value:
        """Returns the value of a parameter.

        Tied parameters are one value, under the first of their names.
        """
        path = self.paths[id(data)]
        if path not in self.parameters:
            self.parameters[path] = self.declare("parameter", path, type_of(data), data)
        return self.kept.get(path, self.parameters[path])

    def keep(self, owned: Payload, new: Payload) -> None:
        """Makes `new` what a buffer of the model holds after each run."""
        self.value(owned)                        # declared, as what it holds before
        self.kept[self.paths[id(bare(owned))]] = self.value(new)

    def note_sparse(self, table: Payload, ids: Payload, padding: int | None) -> None:
        """Is told that the gradient of a table is to have the rows alone that are looked up now."""
        self.sparse.append(SparseLookup(self.value(table), self.value(ids), padding))

    def trains(self, payloads: Iterable[Payload]) -> bool:
        """Returns whether one of these depends on a parameter that requires a gradient."""
        wanted = {id(bare(p._payload)) for p in self.model.parameters() if p.requires_grad}
        trained = {value for path, value in self.parameters.items()
                   if any(self.paths.get(each) == path for each in wanted)}
        made = {node.result: node for node in self.builder.nodes}
        rest, seen = list(payloads), set[Value]()
        while rest:
            payload = rest.pop()
            if not isinstance(payload, Value):
                if id(bare(payload)) in wanted:
                    return True
                continue
            if payload in trained:
                return True
            if payload in seen or payload in self.unwatched:
                continue
            seen.add(payload)
            node = made.get(payload)
            if node is not None and node.op != "detach":
                rest += [o for o in node.inputs if isinstance(o, Value)]
        return False

    def uniform(self, type_: TensorType) -> Payload:
        """Returns random numbers; each call is another stream of the one seed."""
        if self.seed is None:
            taken = {value.name for value in self.builder.declared}
            name = next(n for n in ("seed", "seed_", "_seed_of_step") if n not in taken)
            self.seed = self.declare("input", name, TensorType("i64", (2,)))
        self.streams += 1
        return self.op("uniform", [self.seed], {"shape": type_.shape, "dtype": type_.dtype,
                                                "stream": self.streams - 1})

    def observe(self, arrays: Iterable[NDArray], what: str) -> None:
        """Remembers the parameters and buffers whose numbers are read, and where that is."""
        for array in arrays:
            if (path := self.paths.get(id(array))) is None:
                continue
            if path not in self.builder.readings:
                self.builder.read(Reading(path, type_of(array), digest(array), self.where()))

    def check_random(self, what: str) -> None:
        self.fail(f"{what} draws at random, and a graph is the same in every call\n  do: draw "
                  "outside of the model, and pass the numbers as an argument", [])

    def check_training(self, what: str, type_: TensorType) -> None:
        self.fail(f"{what} is no inference: it draws at random or changes the model's state, and a "
                  "graph is the same in every call", [type_])

    def check_change(self, change: Change) -> None:
        """Raises TraceError for an array from before this call, such as the model's state."""
        if isinstance(change.payload, Value) or change.made_in == self.number:
            return
        path = self.paths.get(id(bare(change.payload)))
        name = f"{path}, which the model owns" if path else "an array made outside of the forward"
        self.fail(f"{change.what} would change {name}, in every call anew: a traced model has no "
                  "state that changes; clone() it and change that", [change.type])

    def call_model(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Calls the model; what its own __call__ does, if it has one, is traced as a part of it."""
        if type(self.model).__call__ is Module.__call__:
            return self.model(*args, **kwargs)
        self.layers.append(self.model)
        try:
            return self.model(*args, **kwargs)
        except Exception as error:
            self.failed(error, args, kwargs)
            raise
        finally:
            self.layers.pop()

    def failed(self, error: Exception, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Makes any exception in a layer a TraceError."""
        if isinstance(error, TraceError):
            return
        operands = _types_in([*args, *kwargs.values()])
        if isinstance(error, Error):
            self.fail(str(error), operands, error.__traceback__)
        self.explain(error, args, kwargs)
        message = f"{type(error).__name__}: {error}"
        if self.builder.requirements:
            found = [f"{r} ({r.where.line})" for r in self.builder.requirements]
            message += (f"\n  because:  of the sizes, {', '.join(found)} was assumed; an example "
                        "such as \"f32[B, T=64]\" changes that")
        raise self.error(message, operands, error.__traceback__) from error

    def check_arguments(self, given: Inputs, arrays: Sequence[Array], args: Sequence[Any],
                        kwargs: Mapping[str, Any]) -> None:
        """Raises TraceError where the forward changed a list or dict that its caller has, too.

        arrays: what was in the arguments before. A compiled call does not change the caller's.
        """
        for name, part, value in zip(given.names, given.parts, [*args, *kwargs.values()],
                                     strict=True):
            own, arrays = arrays[:part.count], arrays[part.count:]
            try:
                what = f"{name} has other arrays in it than before"
                unchanged = all(map(operator.is_, part.flatten(value, name), own))
            except InputError as error:
                what, unchanged = str(error), False
            if not unchanged:
                raise self._refused(
                    f"forward changes its argument {name}, which a compiled call cannot do to its "
                    f"caller's ({what}): change a copy, as dict({name}) and list({name}) make one, "
                    "and return what is new in it", [value])

    def outputs(self, result: Any) -> tuple[list[Value], Structure]:
        """Returns the values that the forward returns, and how they are nested.

        Raises TraceError where it returns no array, or one inside of what is no container.
        """
        try:
            arrays, structure = flatten(mapped(to_array, result),
                                        lambda leaf: isinstance(leaf, Array))
        except RecursionError:
            raise self._refused("forward returns a container that contains itself", []) from None
        returned = f"forward returns {describe(result)}"
        for constant in structure.constants():
            if isinstance(constant, Chosen):
                raise self._refused(f"forward returns {describe(constant)}", [])
            if isinstance(constant, TracedNumber):
                raise self._refused("forward returns a number that is computed from sizes: make "
                                    "it an array, as x.new_full((), number) does", [result])
            if holds(constant, _is_of_trace):
                inside = f", and in it {describe(constant)}," if constant is not result else ""
                raise self._refused(f"{returned}{inside} that holds arrays or sizes, and a call "
                                    f"cannot make such an object: {_WHAT_TO_RETURN}", [result])
        if not arrays:
            raise self._refused(f"{returned}, in which there is no array at all: "
                                f"{_WHAT_TO_RETURN}", [result])
        return [self.value(a._as_operand()) for a in arrays], structure

    def _refused(self, message: str, operands: Iterable[Any]) -> TraceError:
        """The error for what the model's forward takes or returns."""
        code = getattr(inspect.unwrap(self.model.forward), "__code__", None)
        origin = (code.co_filename, code.co_firstlineno) if code else self.model._made_at
        return TraceError(_report(message, type(self.model).__name__, _types_in(operands), origin))

    # -- origins -----------------------------------------------------------------------------------

    def where(self) -> Where:
        """Returns the running layer and the user's line."""
        file, line = self.line(_frames_of(None))
        return Where(self.layer_name(), f"{os.path.basename(file)}:{line}")

    def line(self, frames: _Frames) -> tuple[str, int]:
        """Returns the user's file and line, searching from the innermost frame outwards.

        It is the nearest line in a forward of theirs. For a layer of an nn.Sequential, and for a
        layer that is traced by itself, it is the line where the layer was made.
        """
        called = len(self.layers)  # the layer whose call the loop has come out to
        for frame, line in frames:
            code = frame.f_code
            if code is Module.__call__.__code__:
                called -= 1
                if called == 0:
                    break
            elif code is Sequential.forward.__code__:
                break
            elif not is_ours(code.co_filename):
                return code.co_filename, line or frame.f_lineno
        return self.layers[min(called, len(self.layers) - 1)]._made_at

    def fail(self, message: str, operands: Iterable[Any], traceback: TracebackType | None = None
             ) -> NoReturn:
        """Raises TraceError."""
        raise self.error(message, operands, traceback) from None

    def error(self, message: str, operands: Iterable[Any], traceback: TracebackType | None = None
              ) -> TraceError:
        """Returns a TraceError that names the running layer, the operands and the user's line."""
        origin = self.line(_frames_of(traceback))
        return TraceError(_report(message, self.layer_name(), operands, origin))


def _is_of_trace(value: Any) -> bool:
    return isinstance(value, Array | Chosen) or is_traced(value)


def _paths_of(model: Module) -> dict[int, str]:
    """The first name of each array in the model's state, by the id of its numbers."""
    state = model._arrays_in_state()
    return {id(bare(array._payload)): path for path, array in reversed(state.items())}


def _report(message: str, layer: str, operands: Iterable[Any], origin: tuple[str, int]) -> str:
    file, line = origin
    source = linecache.getline(file, line).strip()
    return "\n".join([
        message,
        f"  layer:    {layer}",
        f"  operands: {', '.join(map(str, operands))}",
        f"  line:     {os.path.basename(file)}:{line}: {source}".rstrip(": "),
    ])


def _frames_of(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int | None]]:
    """The frames from the innermost outwards.

    Those of an error come first, with the lines in it, and then those around it.
    """
    if traceback is None:
        return _outwards(sys._getframe())
    from traceback import walk_tb
    inner = list(walk_tb(traceback))[::-1]
    return chain(inner, _outwards(traceback.tb_frame.f_back))


def _outwards(frame: FrameType | None) -> Iterator[tuple[FrameType, None]]:
    """The frame and those around it.

    Their lines are left out: finding one takes long, and few are needed.
    """
    while frame is not None:
        yield frame, None
        frame = frame.f_back


def _types_in(args: Iterable[Any]) -> list[str]:
    return [str(a.type) if isinstance(a, Array) else describe(a) for a in args]
