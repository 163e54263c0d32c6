"""CompiledModel: the callable that compile returns."""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import ir
from ir.float_mode import StandardFloats
from ir.graph import Value
from ir.interpret import outputs_of
from ir.records import dataclass, replace
from ir.types import DTYPES, NDArray, bind_sizes
from nncompile.backend import Backend, CallSpec, Shape
from nncompile.entries import Entry
from nncompile.errors import InputError
from nncompile.inspect.explain import Profile, explain
from nncompile.schedule import Program
from nncompile.structure import Nesting
from nncompile.weights import Weights, without_data


@dataclass(frozen=True)
class PassRun:
    """The graph after a pass, and the seconds that the pass took."""

    name: str
    graph: ir.Graph
    seconds: float


def graph_at(runs: Sequence[PassRun], stage: str) -> ir.Graph:
    """Returns the graph of a stage: "traced", the name of a pass, or "fused" for the last graph.

    Raises InputError for another stage.
    """
    named = {run.name: run.graph for run in runs} | {"fused": runs[-1].graph}
    if stage not in named:
        raise InputError(f"there is no stage {stage!r}; there are {', '.join(named)}")
    return named[stage]


class CompiledModel:
    """A compiled model: call it with arrays as the model's `forward` is called.

    It takes any batch size, from any number of threads at a time. Rows are bit-identical for every
    batch size, position in the batch and thread count. It can be pickled, and used after fork.
    """

    __call__: Callable[..., Any]
    # A slot, so that Python finds the engine's own C function in it, and calls that: a method here
    # would take as long as the rest of a small call.
    __slots__ = {"__call__": """
        What the model's `forward` returns for these arrays, nested as it nests them.

        inputs: one array for each input, of its dtype (or one that casts to it safely) and shape.
                Contiguous arrays are read where they are, others are copied first.
        out=:   an array (a tuple of them) of the output's shape and dtype to write to and return.
        threads=: most threads of this call, instead of the model's own number (CPU).

        Raises InputError for a wrong number, dtype or shape of arrays, and for an index outside
        its embedding.
        """, "__dict__": None, "__weakref__": None}

    def __init__(self, runs: Sequence[PassRun], program: Program, backend: Backend,
                 nesting: Nesting | None, entries: Mapping[str, Entry], threads: int | None,
                 compile_again: Callable[[ir.Graph], CompiledModel]) -> None:
        """Loads the program and lets go of the model's own weights.

        compile_again: makes the same model of the traced graph; it can be pickled.
        """
        self._entries = dict(entries)
        self._nesting = None if nesting is None or nesting.is_flat else nesting
        self._compile_again = compile_again
        constants = outputs_of(program.preparation, [])
        self._program = program = without_data(program)
        self._spec = CallSpec.of(program)
        self._loaded = backend.load(program, self._spec, constants, threads, self._convert)
        self._weights = Weights([run.graph for run in runs], program.preparation, self._loaded)
        self._runs = [replace(run, graph=self._weights.of(run.graph)) for run in runs]
        self.__call__ = self._loaded.call if self._nesting is None else self._nested_call

    # -- calls -----------------------------------------------------------------------------------

    def bind(self, *inputs: Any, out: Any = None, **keywords: Any) -> Callable[[], Any]:
        """Returns a function without arguments that reads these arrays and writes `out`.

        It is the cheapest call. out: by default new arrays, written in every call.
        Raises InputError if an array cannot be used where it is: only C-contiguous arrays of the
        exact dtypes are bound.
        """
        flat = self._flat(inputs, keywords)
        arrays, sizes = self._checked(flat)
        outs = (self._outputs(sizes) if out is None else
                self._checked_out(self._flat_out(out), sizes))
        if self._spec.sizes_of(flat) is None:
            raise InputError("bind takes C-contiguous arrays of the model's own dtypes; "
                             "numpy.ascontiguousarray makes one")
        if not self._spec.takes_outputs(outs, self._spec.shapes(sizes), arrays):
            raise InputError("bind takes C-contiguous outputs that do not overlap the inputs, nor "
                             "each other")
        self._loaded.call(*arrays, *outs)
        bound = functools.partial(self._loaded.call, *arrays, *outs)
        return bound if self._nesting is None else lambda: self._nested(bound())

    @property
    def threads(self) -> int:
        """The most threads of a call, 1 or more."""
        return self._loaded.threads

    @threads.setter
    def threads(self, count: int) -> None:
        self._loaded.threads = count

    # -- weights ---------------------------------------------------------------------------------

    def load_weights(self, state: Mapping[str, Any]) -> None:
        """Uses other weights, from a state dict of the same structure. Nothing is recompiled.

        Calls that run meanwhile see the old weights or the new ones, never a mixture.
        Raises InputError naming every missing, unexpected and mis-shaped entry, and those that
        differ in numbers which the forward read when it was traced; then nothing has changed.
        """
        params = {v.name: v for v in self.ir("traced").params if v.kind == "parameter"}
        entries = self._entries or {name: Entry(name) for name in params}
        odd = {"missing": entries.keys() - state.keys(),
               "unexpected": state.keys() - entries.keys()}
        wrong = [f"{what} {', '.join(sorted(map(repr, found)))}" for what, found in odd.items()
                 if found]
        wrong += [f"{name!r} cannot change: {why}" for name, entry in entries.items()
                  if name in state and (why := entry.problem(state[name]))]
        new = {}
        for name, param in ((n, params[e.parameter]) for n, e in entries.items()
                            if e.parameter and n in state):
            array, dtype = np.asarray(state[name]), DTYPES[param.type.dtype]
            if array.shape != param.type.shape:
                wrong.append(f"{name!r} has the shape {array.shape}, not {param.type.shape}")
            elif not np.can_cast(array.dtype, dtype, "same_kind"):
                wrong.append(f"{name!r} is {array.dtype}, not {dtype}")
            else:
                with StandardFloats():
                    new[param] = array.astype(dtype, copy=False)
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
        """
        return explain([(r.name, r.graph, r.seconds) for r in self._runs], self._program,
                       self._loaded.notes())

    def profile(self, *inputs: Any, **keywords: Any) -> Profile:
        """Returns the time of each step for these inputs on one thread, in the generated code."""
        arrays, sizes = self._checked(self._flat(inputs, keywords))
        return Profile(self._program, sizes, self._loaded.profile(arrays, self._outputs(sizes)))

    def __repr__(self) -> str:
        graph = self._program.graph
        inputs = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
        outputs = ", ".join(str(v.type) for v in graph.outputs) or "()"
        return f"<nncompile.CompiledModel {graph.name}({inputs}) -> {outputs}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._compile_again, (self.ir("traced"),)

    # -- arrays in containers ----------------------------------------------------------------------

    def _nested_call(self, *args: Any, out: Any = None, **keywords: Any) -> Any:
        options = {name: keywords.pop(name) for name in self._loaded.options if name in keywords}
        arrays = self._flat(args, keywords)
        outs = [] if out is None else self._flat_out(out)
        return self._nested(self._loaded.call(*arrays, *outs, **options))

    def _flat(self, args: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """Returns the arrays of a call in the order of the graph's inputs."""
        if self._nesting is not None:
            return self._nesting.inputs.flatten(args, keywords)
        names = [v.name for v in self._program.graph.inputs]
        if wrong := keywords.keys() - set(names[len(args):]):
            raise InputError(f"{self!r} got an unexpected argument {min(wrong)!r}")
        return [*args, *(keywords[name] for name in names[len(args):] if name in keywords)]

    def _flat_out(self, out: Any) -> list[Any]:
        if self._nesting is not None:
            return self._nesting.outputs.flatten(out, "out")
        return list(out) if isinstance(out, tuple | list) else [out]

    def _nested(self, results: Any) -> Any:
        assert self._nesting is not None
        flat = [results] if len(self._program.outputs) == 1 else results
        return self._nesting.outputs.unflatten(flat)

    # -- what the target's call does not take -----------------------------------------------------

    def _convert(self, *inputs: Any, **options: Any) -> Any:
        """The target's fallback: converts the arguments and computes, or says why they are wrong.
        """
        count, out = len(self._program.inputs), options.pop("out", None)
        own = {name: options.pop(name) for name in self._loaded.options if name in options}
        given, extra = inputs[:count], inputs[count:]
        if extra and (out is not None or len(extra) != len(self._program.outputs)):
            raise InputError(f"{self!r} got {len(extra)} arguments too many")
        arrays, sizes = self._checked(given if self._nesting else self._flat(given, options))
        outs = list(extra) if out is None else self._flat_out(out)
        outs = self._checked_out(outs, sizes) if outs else []
        results = self._loaded.compute(arrays, **own)
        for target, result in zip(outs, results, strict=False):
            target[...] = result
        results = outs or results
        return results[0] if len(results) == 1 else tuple(results)

    def _checked(self, inputs: Sequence[Any]) -> tuple[list[NDArray], dict[str, int]]:
        values = self._program.graph.inputs
        if len(inputs) != len(values):
            raise InputError(f"{self!r} takes {len(values)} array{'s' * (len(values) != 1)}, "
                             f"it was given {len(inputs)}")
        arrays = [self._as_array(v, x) for v, x in zip(values, inputs, strict=True)]
        try:
            sizes = bind_sizes([v.type for v in values], arrays)
        except ir.Error as error:
            raise InputError(f"{self!r}: {error}") from None
        self._spec.check_sizes(sizes, self)
        return arrays, sizes

    def _as_array(self, value: Value, given: Any) -> NDArray:
        """Returns the array if it is C-contiguous, aligned and of the exact dtype, else a copy.

        Raises InputError where it does not cast to the dtype safely.
        """
        dtype = DTYPES[value.type.dtype]
        try:
            array = np.asarray(given, None if hasattr(given, "dtype") else dtype)
        except (TypeError, ValueError) as error:
            raise InputError(f"input {value.name!r} is {value.type}, and no array can be made of "
                             f"what was given: {error}") from None
        if not np.can_cast(array.dtype, dtype, "safe"):
            raise InputError(f"input {value.name!r} is {value.type}, it was given {array.dtype}: "
                             f"pass {value.name}.astype(numpy.{dtype})")
        return np.require(array, dtype, ["C", "A"])

    def _outputs(self, sizes: Mapping[str, int]) -> list[NDArray]:
        return [np.empty(shape, dtype) for shape, dtype in self._wanted(sizes)]

    def _wanted(self, sizes: Mapping[str, int]) -> list[tuple[Shape, np.dtype[Any]]]:
        return list(zip(self._spec.shapes(sizes), self._spec.output_dtypes, strict=True))

    def _checked_out(self, outs: list[Any], sizes: Mapping[str, int]) -> list[NDArray]:
        wanted = self._wanted(sizes)
        got = [(o.shape, o.dtype) if isinstance(o, np.ndarray) and o.flags.writeable else None
               for o in outs]
        if got != wanted:
            raise InputError("out must be " + " and ".join(
                f"a writeable {dtype} array of shape {shape}" for shape, dtype in wanted)
                + "; arrays behind the inputs are outputs, too")
        return outs
