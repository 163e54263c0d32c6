"""CompiledModel: the callable that compile returns."""
from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import numpy as np

import ir
from ir.graph import Value
from ir.interpret import outputs_of
from ir.records import replace
from ir.types import DTYPES, NDArray
from nncompile.arguments import Arguments
from nncompile.backend import Backend, CallSpec, Fallback, Machine, StepCode
from nncompile.conversion import cast, numbers
from nncompile.entries import Entry, entries_of_graph
from nncompile.errors import InputError
from nncompile.inspect.stages import PassRun, graph_at
from nncompile.schedule import Program
from nncompile.structure import ARRAY, Nesting, output_names
from nncompile.weights import Weights, without_data

if TYPE_CHECKING:
    from nncompile.inspect.profile import Profile
    from nncompile.plans import Plan

_LEAST_CALLS, _MOST_CALLS, _LONGEST = 7, 100, 0.05    # of a profile, and their seconds
_MEASURABLE, _NOTICED = 1e-3, 0.02      # seconds of a call that are compared with its CPU time


class CompiledModel:
    """A compiled model: call it with arrays as the model's `forward` is called.

    It takes any batch size, from any number of threads at a time. Rows are bit-identical for every
    batch size, position in the batch and thread count. It can be pickled, and used after fork.
    """

    __call__: Callable[..., Any]
    # __call__ is a slot, so that Python finds the engine's own C function in it, and calls that: a
    # method here would take as long as the rest of a small call.
    __slots__ = {"__call__": """
        What the model's `forward` returns for these arrays, nested as it nests them.

        inputs: one array for each input, of its dtype (or one that casts to it safely) and shape,
                by position or by name. Contiguous arrays are read where they are, others are
                copied first.
        out=:   an array (a tuple of them) of the output's shape and dtype to write to and return.
        threads=: most threads of this call, instead of the model's own number (CPU).
        keywords=: a dict of more inputs by name, for those that are named like the above.

        Raises InputError for a wrong number, dtype or shape of arrays, and for an index outside
        its embedding.
        """, **dict.fromkeys((
            "_arguments", "_asked_threads", "_build", "_compile_again", "_entries", "_loaded",
            "_nesting", "_notes", "_output_names", "_program", "_read_sizes", "_runs", "_spec",
            "_weights", "__weakref__"))}

    def __init__(self, plan: Plan, backend: Backend,
                 nesting: Nesting | None, entries: Mapping[str, Entry], threads: int | None,
                 compile_again: Callable[..., CompiledModel], notes: Sequence[str] = (),
                 outputs: Sequence[str] = ()) -> None:
        """Loads the program of a plan, and lets go of the model's own weights.

        compile_again: makes the same model of the traced graph, with threads=; it can be pickled.
        notes: what `explain` says of where the model is from. outputs: their names, if not those
        of the nesting.
        """
        runs, program, code = plan
        self._notes = tuple(notes)
        self._output_names = tuple(outputs or output_names(
            nesting.outputs if nesting else ARRAY, len(program.outputs)))
        self._entries = dict(entries) or entries_of_graph(runs[0].graph)
        self._asked_threads = threads
        self._nesting = None if nesting is None or nesting.is_flat else nesting
        self._compile_again = compile_again
        constants = outputs_of(program.preparation, [])
        self._spec = CallSpec.of(program)
        self._program = program = without_data(program)
        self._loaded = backend.load(program, code, self._spec, constants, threads,
                                    Fallback(self._convert, self._convert_into))
        self._arguments = Arguments(self._spec, self._nesting, self._loaded.options,
                                    self.__repr__)
        self._weights = Weights([run.graph for run in runs], program.preparation, self._loaded)
        self._runs = [replace(run, graph=self._weights.of(run.graph)) for run in runs]
        self.__call__ = self._loaded.call
        if self._nesting is not None:
            nested = self._nesting.outputs
            self._build = nested.builder()
            self._read_sizes = (self._arguments.size_reader(nested.sizes) if nested.sizes
                                else None)
            self.__call__ = self._nested_call

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except AttributeError:
            raise AttributeError(f"{name!r} of a compiled model cannot be set, only 'threads' can",
                                 name=name, obj=self) from None

    # -- calls -----------------------------------------------------------------------------------

    def bind(self, /, *inputs: Any, out: Any = None, **keywords: Any) -> Callable[[], Any]:
        """Returns a function without arguments that reads these arrays and writes `out`.

        It is the cheapest call. out: by default new arrays, written in every call.
        Raises InputError if an array cannot be used where it is: only C-contiguous arrays of the
        exact dtypes are bound.
        """
        named, _, options = self._arguments.split(keywords)
        given = self._arguments.inputs(inputs, named)
        arrays = self._arguments.arrays(given)
        sizes = self._arguments.sizes(arrays)
        if any(a is not b for a, b in zip(given, arrays, strict=True)):
            raise InputError("bind takes C-contiguous arrays of the model's own dtypes; "
                             "numpy.ascontiguousarray makes one")
        outs, shapes = self._arguments.outputs(out), self._spec.shapes(sizes)
        self._arguments.check_outputs(arrays, outs, shapes)
        outs = outs or self._new_outputs(sizes)
        if not self._spec.takes_outputs(outs, shapes, arrays):
            raise InputError("bind takes C-contiguous outputs that do not overlap the inputs, nor "
                             "each other")
        bound = functools.partial(self._loaded.call_into, *arrays, *outs, **options)
        bound()
        if self._nesting is None:
            return bound
        return lambda *more, **named: self._nested(arrays, bound(*more, **named))

    @property
    def threads(self) -> int:
        """The most threads of a call, 1 or more."""
        return self._loaded.threads

    @threads.setter
    def threads(self, count: int) -> None:
        self._loaded.threads = count
        self._asked_threads = count

    @property
    def output_names(self) -> tuple[str, ...]:
        """A name for each output array, in order.

        They are an ONNX file's own names or the keys of a dict, and `output.0`, ... otherwise.
        """
        return self._output_names

    # -- weights ---------------------------------------------------------------------------------

    def load_weights(self, state: Mapping[str, Any]) -> None:
        """Uses other weights, from a state dict of the same structure. Nothing is recompiled.

        Calls that run meanwhile see the old weights or the new ones, never a mixture.
        Raises InputError naming every missing, unexpected and mis-shaped entry, and those that
        differ in numbers which the forward read when it was traced; then nothing has changed.
        """
        if not isinstance(state, Mapping):
            raise InputError(f"load_weights takes a state dict, not {type(state).__name__}")
        params = {v.name: v for v in self.ir("traced").params if v.kind == "parameter"}
        entries = self._entries
        odd = {"missing": entries.keys() - state.keys(),
               "unexpected": state.keys() - entries.keys()}
        wrong = [f"{what} {', '.join(sorted(map(repr, found)))}" for what, found in odd.items()
                 if found]
        new = {}
        for name in filter(state.__contains__, entries):
            try:
                if why := entries[name].problem(state[name]):
                    raise InputError(f"cannot change: {why}")
                if param := params.get(entries[name].parameter):
                    new[param] = fitting(state[name], param)
            except InputError as error:
                wrong.append(f"{name!r} {error}")
        if wrong:
            raise InputError("these weights do not fit the model: " + "; ".join(wrong))
        self._weights.load(new)

    # -- reading ---------------------------------------------------------------------------------

    def ir(self, stage: str = "fused") -> ir.Graph:
        """Returns the graph of a stage; str() of it is its text.

        stage: "traced", "fused", or the name of a pass, for the graph after it.
        Raises InputError for another stage.
        """
        return graph_at(self._runs, stage)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names that `ir` takes, in the order the passes ran."""
        return (*(run.name for run in self._runs), "fused")

    @property
    def runs(self) -> tuple[PassRun, ...]:
        """The trace, and each pass that ran: its graph, its seconds, and what it left alone."""
        return tuple(self._runs)

    @property
    def program(self) -> Program:
        """The steps that run, in order, and where each value lives."""
        return self._program

    def step_codes(self) -> list[StepCode]:
        """Returns for each step of `program` the kernels that it may call and the lines that do."""
        return list(self._loaded.step_codes())

    @property
    def source(self) -> str:
        """The generated Python that runs."""
        return self._loaded.source

    def asm(self) -> str:
        """Returns the machine code of the kernels as text: assembly, or a device's counterpart.

        Raises InputError where plain Python runs instead.
        """
        return self._loaded.asm()

    def explain(self) -> str:
        """Returns what was done to the model in words: passes, steps, memory, how work is shared.

        It also says, by layer, what the passes left alone although it is nearly what they look for.
        """
        from nncompile.inspect.explain import explain  # which few programs need

        return explain(self._runs, self._program, self.notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What `explain` says of where the model is from, and of the target."""
        return (*self._notes, *self._loaded.notes())

    def report(self, path: str | PathLike[str], /, *inputs: Any, **keywords: Any) -> None:
        """Writes a page that shows what was done to the model, and where the time of a call goes.

        It is one HTML file, which needs no network. Without inputs nothing is timed.
        Raises MissingExtraError where the package that draws graphs is not installed.
        """
        from nncompile.inspect.report import write_page  # which few programs need
        profile = self.profile(*inputs, **keywords) if inputs or keywords else None
        write_page(path, self, profile)

    def machine(self, again: bool = False) -> Machine | None:
        """Returns the most that the machine can do; None where the target does not know it.

        It is measured once and kept; again: measure it anew.
        """
        return self._loaded.machine(again)

    def profile(self, /, *inputs: Any, **keywords: Any) -> Profile:
        """Returns the time of a call with these inputs on one thread, and of each of its steps."""
        named, out, options = self._arguments.split(keywords)
        if out is not None or options:
            raise InputError("profile takes the inputs alone: it makes the outputs, and one thread "
                             "computes them")
        arrays = self._arguments.arrays(self._arguments.inputs(inputs, named))
        sizes = self._arguments.sizes(arrays)
        outs = self._new_outputs(sizes)
        from nncompile.inspect.profile import Profile  # here: no call needs it

        seconds = self._loaded.profile(arrays, outs)
        on_cpu = "threads" in self._loaded.options
        call = functools.partial(self._loaded.call_into, *arrays, *outs,
                                 **({"threads": 1} if on_cpu else {}))
        wall = _least_seconds(call, perf_counter)
        # what a thread computes takes CPU time; a longer time by the clock was spent waiting
        waited = wall - _least_seconds(call, thread_time) if on_cpu and wall > _MEASURABLE else 0.0
        return Profile(self._program, sizes, seconds, wall,
                       waited if waited > _NOTICED * wall else 0.0)

    def __repr__(self) -> str:
        graph = self._program.graph
        given = graph.inputs[:len(graph.inputs) - len(graph.states)]     # all that a caller knows
        inputs = ", ".join(f"{v.name}: {v.type}" for v in given)
        outputs = ", ".join(str(v.type) for v in graph.returned) or "()"
        return f"<nncompile.CompiledModel {graph.name}({inputs}) -> {outputs}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the fused graph, and what the passes left alone."""
        from nncompile.inspect.view import page  # here: no call needs it

        return page(repr(self), self._runs, self._program)

    def __reduce__(self) -> tuple[Any, ...]:
        compile_again = functools.partial(self._compile_again, threads=self._asked_threads)
        return compile_again, (self.ir("traced"),)

    # -- arrays in containers ----------------------------------------------------------------------

    def _nested_call(self, /, *args: Any, **keywords: Any) -> Any:
        if not keywords:                                       # as below, quickly
            arrays = self._arguments.inputs(args, keywords)
            return self._nested(arrays, self._loaded.call(*arrays))
        named, out, options = self._arguments.split(keywords)
        arrays = self._arguments.inputs(args, named)
        outs = self._arguments.outputs(out)
        return self._nested(arrays, self._loaded.call_into(*arrays, *outs, **options))

    def _nested(self, inputs: Sequence[Any], results: Any) -> Any:
        """Returns what the forward does: the graph's outputs, and sizes, nested as it nests them.
        """
        leaves = (results,) if len(self._program.outputs) == 1 else results
        if self._read_sizes is not None:
            leaves = (*leaves, *self._read_sizes(inputs))
        return self._build(leaves)

    # -- what the target's call does not take -----------------------------------------------------

    def _convert(self, /, *args: Any, **keywords: Any) -> Any:
        """The target's fallback: calls again with what the target takes, or says what is wrong.
        """
        given, outs, options = self._arguments.arranged(args, keywords)
        arrays = self._arguments.arrays(given)
        call = self._loaded.call_into
        return call(*arrays, *outs, **options) if options else call(*arrays, *outs)

    def _convert_into(self, /, *args: Any, **options: Any) -> Any:
        """The fallback for arrays in their places: computes what the target cannot do by itself.

        Bound arrays may have been changed since they were bound, to another dtype or shape.
        """
        count = len(self._spec.inputs)
        given, outs = args[:count], args[count:]
        if len(outs) > len(self._spec.outputs) or options.keys() - set(self._loaded.options):
            raise InputError(f"{self!r}: a bound call takes no arguments: its arrays were given to "
                             "bind, and bind gives another one for others")
        arrays = self._arguments.arrays(given)
        if any(map(operator.is_not, arrays, given)):
            return self._loaded.call_into(*arrays, *outs, **options)
        if outs:
            return self._written(arrays, outs, options)
        self._arguments.sizes(arrays)
        results = self._loaded.compute(arrays, **options)
        return results[0] if len(results) == 1 else tuple(results)

    def _written(self, arrays: Sequence[NDArray], outs: Sequence[Any], options: Mapping[str, Any]
                 ) -> Any:
        """Computes new outputs and copies them to `outs`, which the target cannot write to."""
        self._arguments.check_outputs(arrays, outs)
        results = self._loaded.call(*arrays, **options)
        made = results if isinstance(results, tuple) else (results,)
        self._arguments.check_outputs(arrays, outs, [result.shape for result in made])
        for out, result in zip(outs, made, strict=True):
            out[...] = result
        return outs[0] if len(outs) == 1 else tuple(outs)

    def _new_outputs(self, sizes: Mapping[str, int]) -> list[NDArray]:
        return [np.empty(shape, dtype) for shape, dtype in zip(
            self._spec.shapes(sizes), self._spec.output_dtypes, strict=True)]


def _least_seconds(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    """The least time of several calls: of as many as take a twentieth of a second, and a few."""
    best, begin, count = math.inf, perf_counter(), 0
    while count < _LEAST_CALLS or (perf_counter() - begin < _LONGEST and count < _MOST_CALLS):
        start = clock()
        call()
        best = min(best, clock() - start)
        count += 1
    return best


def fitting(given: Any, param: Value) -> NDArray:
    """Returns the numbers for a parameter.

    Raises InputError, whose message goes on after the name that was given to them.
    """
    try:
        array, own = numbers(given)
    except InputError as error:
        raise InputError(f"is no array of numbers: {error}") from None
    if array.shape != param.type.shape:
        raise InputError(f"has the shape {array.shape}, not {param.type.shape}")
    try:
        return cast(array, DTYPES[param.type.dtype], "same_kind" if own else "value")
    except InputError as error:
        raise InputError(f"is {error}") from None
