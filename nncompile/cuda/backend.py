"""One program on a CUDA device: its source, its weights, and the function that runs it."""
from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import ir
from ir.types import NDArray, bind_sizes, evaluate_dim
from nncompile import forks
from nncompile.backend import Backend, CallSpec, Fallback, Loaded, Shape, StepCode, too_many_inputs
from nncompile.cuda import load, recording, shim
from nncompile.cuda.arrays import (
    DeviceArray,
    current_stream,
    device_array,
    flat,
    is_device_array,
    new_like,
    overlap,
    stream_key,
    stream_of,
    wait_for,
)
from nncompile.cuda.build import build, step_codes
from nncompile.cuda.memory import Memory
from nncompile.cuda.primitives import aligned
from nncompile.cuda.profile import profile
from nncompile.cuda.recording import Recording
from nncompile.cuda.stopwatch import Stopwatch
from nncompile.cuda.target import target_of
from nncompile.cuda.weights import download, upload
from nncompile.errors import InputError
from nncompile.faults import fault
from nncompile.schedule import Program, TargetTraits

_Shapes = tuple[Shape, ...]
_PLANS = 64                        # plans that are kept, one for each combination of sizes
_STREAMS = 8                       # streams whose memory is kept
_GRAPHS = 16                       # CUDA graphs that are kept for each stream
_SIMULATION = forks.lock()         # the simulator runs one kernel at a time


@dataclass(frozen=True)
class _Plan:
    """What calls of some sizes need.

    The sizes in order, where each buffer begins in scratch memory, the size of scratch memory, and
    the shapes of the outputs.
    """

    sizes: tuple[int, ...]
    buffers: tuple[int, ...]
    scratch: int
    shapes: _Shapes


class CudaBackend(Backend):
    """The target "cuda": the current device of the process, or numba's simulator of one."""

    traits = TargetTraits(vectors=False, weight="transposed", column="transposed")

    def load(self, program: Program, code: Any, spec: CallSpec, constants: Sequence[NDArray],
             threads: int | None, fallback: Fallback) -> Loaded:
        return _CudaProgram(program, spec, constants, threads, fallback)

    def describe(self) -> str:
        return shim.describe()

    def stopwatch(self) -> Stopwatch:
        return Stopwatch()


class _CudaProgram(Loaded):
    """A program on a CUDA device: `call(*inputs[, out=][, stream=])`.

    NumPy arrays are copied to the device and the results back; the call returns when that is done.
    Arrays on the device are read where they are, and the results are of the same library; the call
    returns once the work is on the stream, unless numbers among the data have to be checked:
    indices, divisors. Device arrays are never passed to the fallback.
    """

    options = ("stream",)

    def __init__(self, program: Program, spec: CallSpec, constants: Sequence[NDArray],
                 threads: int | None, fallback: Fallback) -> None:
        self.program, self.spec, self.cuda = program, spec, shim.load()
        self.target = target_of(self.cuda)
        self._source = build(program, self.target)
        self._fallback = fallback
        self.threads = 1 if threads is None else threads
        self._lock: Any = _SIMULATION if self.cuda.simulated else forks.lock()
        self._plans: OrderedDict[_Shapes, _Plan] = OrderedDict()
        self._memories: OrderedDict[Any, Memory] = OrderedDict()
        self._driver, self._no_graphs = recording.driver(self.cuda)
        self._version = 0
        self._run = load.driver(self._source.driver, self._source.kernels, self.cuda, self.target)
        self.load(constants)

    # -- what every Loaded has -------------------------------------------------------------------

    @property
    def source(self) -> str:
        return self._source.text

    @property
    def threads(self) -> int:
        """The number that was asked for; the device uses as many threads as a call's work needs."""
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        if type(count) is not int or count < 1:
            raise InputError(f"threads must be an integer from 1 on, not {count!r}")
        self._threads = count

    def load(self, constants: Sequence[NDArray]) -> None:
        weights = upload(self.program.constants, constants, self.cuda.module)
        with self._lock:
            self._weights, self._version = weights, self._version + 1

    def constant(self, number: int) -> NDArray:
        return download(self.program.constants, self._weights, number)

    def call(self, /, *args: Any, **options: Any) -> Any:
        out = options.get("out")
        outs = tuple(out) if isinstance(out, tuple | list) else () if out is None else (out,)
        named = {name: value for name, value in options.items() if name not in ("out", "stream")}
        wrong_outs = out is not None and len(outs) != len(self.spec.outputs)
        if any(is_device_array(a, self.cuda) for a in (*args, *outs, *named.values())):
            inputs = self._in_order(args, named)
            if wrong_outs:
                raise InputError(f"out must be one array for each of {len(self.spec.outputs)} "
                                 f"outputs, not {len(outs)}")
            return self._call_on_device(inputs, outs, options.get("stream"))
        if named or wrong_outs:
            return self._fallback.call(*args, **options)
        results = self._call_on_host(args, outs, options.get("stream"))
        return self._fallback.call(*args, **options) if results is None else results

    def call_into(self, /, *args: Any, **options: Any) -> Any:
        count, stream = len(self.spec.inputs), options.get("stream")
        inputs, outs = args[:count], args[count:]
        if len(outs) > len(self.spec.outputs) or options.keys() - {"stream"}:
            return self._fallback.call_into(*args, **options)
        if any(is_device_array(a, self.cuda) for a in args):
            return self._call_on_device(inputs, outs, stream)
        results = self._call_on_host(inputs, outs, stream)
        if results is None:
            return self._fallback.call_into(*args, **options)
        return results

    def compute(self, inputs: Sequence[NDArray], stream: Any = None, **options: Any
                ) -> list[NDArray]:
        plan = self._host_plan(inputs)
        if plan is None:
            given = ", ".join(f"{a.dtype}{list(a.shape)}" for a in inputs)
            raise InputError(f"the program does not take {given}")
        return self._compute(inputs, (), plan, stream)

    def profile(self, inputs: Sequence[NDArray], outputs: Sequence[NDArray]) -> list[float]:
        if self.cuda.simulated:
            raise InputError("there is nothing to time in the CUDA simulator")
        plan = self._plan_of(inputs)
        with self._lock:
            memory = self._memory(0)
            arrays = [memory.staged(f"in{i}", a, 0) for i, a in enumerate(inputs)]
            arrays += [memory.array(f"out{i}", a.size, a.dtype) for i, a in enumerate(outputs)]
            rest = (plan.sizes, self._weights, self._scratch(plan, memory), plan.buffers,
                    memory.fault, 0)
            return profile(self._source, self.cuda, self.target, len(self.program.steps),
                           (*arrays, *rest))

    def asm(self, capability: tuple[int, int] | None = None) -> str:
        """Returns the PTX of all kernels, each behind a line that names it.

        It is for this device, or for a compute capability such as (9, 0).
        """
        if self.cuda.simulated:
            raise InputError("the CUDA simulator runs Python: there is no PTX to show")
        if capability is None:
            capability = tuple(self.cuda.module.get_current_device().compute_capability)
        return "\n".join(f"// {name}({', '.join(kernel.arguments)})\n{load.ptx(kernel, capability)}"
                         for name, kernel in self._source.kernels.items())

    def machine(self, again: bool = False) -> None:
        return None

    def step_codes(self) -> list[StepCode]:
        return step_codes(self.program, self.target)

    def notes(self) -> list[str]:
        weights = sum(w.nbytes for w in self._weights)
        graphs = ("a call with arrays at the places of an earlier one is one launch"
                  if self._driver is not None else f"not used: {self._no_graphs}")
        return [shim.describe(),
                f"weights: {weights / 1024:.0f} KiB on the device",
                f"kernels: {len(self._source.kernels)}; a call launches {len(self.program.steps)}",
                f"CUDA graphs: {graphs}"]

    # -- calls -----------------------------------------------------------------------------------

    def _compute(self, inputs: Sequence[NDArray], outs: Sequence[NDArray], plan: _Plan,
                 stream: Any) -> list[NDArray]:
        """Computes host arrays from host arrays."""
        results = list(outs) or [np.empty(s, d) for s, d in
                                 zip(plan.shapes, self.spec.output_dtypes, strict=True)]
        stream = stream_of(stream, self.cuda)
        with self._lock:
            memory = self._memory(stream)
            arrays = [memory.staged(f"in{i}", a, stream) for i, a in enumerate(inputs)]
            made = [memory.array(f"out{i}", a.size, a.dtype) for i, a in enumerate(results)]
            self._replay(lambda: [*arrays, *made], (), plan, memory, stream)
            self._check(memory, stream)
            for array, host in zip(made, results, strict=True):
                memory.fetch(array, [host], stream)
            if stream:
                stream.synchronize()
        return results

    def _call_on_host(self, inputs: Sequence[Any], outs: Sequence[Any], stream: Any) -> Any:
        """Returns what a call with host arrays returns; None where it is left to the fallback."""
        plan = self._host_plan(inputs)
        if plan is None or (outs and not self.spec.takes_outputs(outs, plan.shapes, inputs)):
            return None
        results = self._compute(inputs, outs, plan, stream)
        return results[0] if len(results) == 1 else tuple(results)

    def _in_order(self, args: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
        """Returns the inputs of a call with arrays on the device, some of them given by name."""
        names, count = self.spec.names, len(args)
        if count > len(names):
            raise too_many_inputs("the program", len(names), count)
        if named.keys() != set(names[count:]):
            given = "".join(f", {name}=" for name in named)
            raise InputError(f"the program takes {', '.join(names) or 'no inputs'}, out= and "
                             f"stream=; got {count} by position{given}")
        return [*args, *(named[name] for name in names[count:])]

    def _call_on_device(self, inputs: Sequence[Any], outs: Sequence[Any], stream: Any) -> Any:
        arrays = [self._checked(a, i) for i, a in enumerate(inputs)]
        plan = self._plan_of(arrays)
        results = list(outs) or [new_like(inputs[0], s, d, self.cuda) for s, d in
                                 zip(plan.shapes, self.spec.output_dtypes, strict=True)]
        made = self._checked_out(results, arrays, plan)
        if stream is None:
            stream = current_stream((*inputs, *results)[0])
        stream = stream_of(stream, self.cuda)
        with self._lock:
            memory = self._memory(stream)
            wait_for([*arrays, *made], stream, self.cuda)
            self._replay(lambda: [flat(a, self.cuda) for a in (*arrays, *made)],
                         tuple(a.address for a in (*arrays, *made)), plan, memory, stream)
            self._check(memory, stream)
        return results[0] if len(results) == 1 else tuple(results)

    def _replay(self, arrays: Callable[[], Sequence[Any]], places: tuple[int, ...], plan: _Plan,
                memory: Memory, stream: Any) -> None:
        """Launches the kernels, or replays a CUDA graph of the launches.

        The second call with the same sizes, addresses and weights records the launches as a graph,
        which later ones replay. Where there are no graphs, it always launches.
        places: the addresses of the user's arrays; the other arrays are identified by how often
        they grew.
        """
        scratch = self._scratch(plan, memory)
        key = plan, places, memory.grown, self._version
        if self._driver is None or key not in memory.recordings:
            if self._driver is not None:
                memory.forget(key, _GRAPHS)
                memory.recordings[key] = None          # the first time, which loads its kernels
            return self._launch(arrays(), plan, memory, stream)
        try:
            if memory.recordings[key] is None:
                given = arrays()                       # may allocate, which a recording may not
                memory.recordings[key] = Recording(
                    lambda own: self._run(*given, plan.sizes, self._weights, scratch,
                                          plan.buffers, memory.fault, own),
                    self.cuda.module, self._driver)
            memory.recordings[key].replay(stream)
        except Exception as error:                     # each package has an error class of its own
            self._driver, self._no_graphs = None, f"{type(error).__name__}: {error}"
            self._launch(arrays(), plan, memory, stream)

    def _launch(self, arrays: Sequence[Any], plan: _Plan, memory: Memory, stream: Any) -> None:
        scratch = self._scratch(plan, memory)
        with _quiet(self.cuda.simulated):
            self._run(*arrays, plan.sizes, self._weights, scratch, plan.buffers, memory.fault,
                      stream)

    def _check(self, memory: Memory, stream: Any) -> None:
        if self._source.reports:
            step, index, size = memory.reported(stream)
            if step:
                raise fault(self.program.steps[step - 1], index, size)

    def _scratch(self, plan: _Plan, memory: Memory) -> list[Any]:
        return memory.scratch(plan.scratch, self._source.scratch)

    def _memory(self, stream: Any) -> Memory:
        key = stream_key(stream)
        if key not in self._memories:
            self._memories[key] = Memory(self.cuda.module)
            if len(self._memories) > _STREAMS:
                self._memories.popitem(last=False)
        return self._memories[key]

    # -- checks ----------------------------------------------------------------------------------

    def _host_plan(self, arrays: Sequence[Any]) -> _Plan | None:
        """Returns what these host arrays need, or None where the program does not take them."""
        if self.spec.sizes_of(arrays) is None:
            return None
        try:
            return self._plan_of(arrays)
        except InputError:
            return None

    def _plan_of(self, arrays: Sequence[Any]) -> _Plan:
        """Returns what these arrays need. Raises InputError where their shapes are not legal."""
        shapes = tuple(tuple(a.shape) for a in arrays)
        with self._lock:
            plan = self._plans.get(shapes)
            if plan is None:
                plan = self._plans[shapes] = self._new_plan(arrays)
                if len(self._plans) > _PLANS:
                    self._plans.popitem(last=False)
        return plan

    def _new_plan(self, arrays: Sequence[Any]) -> _Plan:
        try:
            sizes = bind_sizes(self.spec.inputs, arrays, self.spec.names)
        except ir.Error as error:
            raise InputError(str(error)) from None
        self.spec.check_sizes(sizes)
        places, scratch = [], 0
        for size in self.program.buffers.values():
            places.append(scratch)
            scratch += aligned(evaluate_dim(size, sizes))
        named = tuple(sizes[name] for name in self.spec.sizes)
        return _Plan(named, tuple(places), scratch, self.spec.shapes(sizes))

    def _checked(self, given: Any, number: int) -> DeviceArray:
        name, type_ = self.spec.names[number], self.spec.inputs[number]
        if not is_device_array(given, self.cuda):
            raise InputError(f"input {name!r} is a {type(given).__name__}, and others are "
                             "arrays on the device: all of them, or none")
        array = device_array(given, self.cuda)
        if array.dtype != self.spec.input_dtypes[number] or not array.contiguous:
            raise InputError(
                f"input {name!r} is {type_}; on the device it has to be of that very "
                f"type and contiguous, not {array.dtype}{list(array.shape)}"
                f"{'' if array.contiguous else ' with strides'}")
        return array

    def _checked_out(self, outs: Sequence[Any], inputs: Sequence[DeviceArray],
                     plan: _Plan) -> list[DeviceArray]:
        wanted = list(zip(plan.shapes, self.spec.output_dtypes, strict=True))
        arrays = [device_array(o, self.cuda) for o in outs if is_device_array(o, self.cuda)]
        if [(a.shape, a.dtype, a.contiguous and a.writeable) for a in arrays] != [
                (shape, dtype, True) for shape, dtype in wanted]:
            raise InputError("out must be " + " and ".join(
                f"a writeable contiguous {dtype} array of shape {shape} on the device"
                for shape, dtype in wanted))
        if any(overlap(a, b) for i, a in enumerate(arrays) for b in (*inputs, *arrays[:i])):
            raise InputError("out must not overlap the inputs, nor each other")
        return arrays


@contextmanager
def _quiet(simulated: bool) -> Iterator[None]:
    """Silences warnings in the simulator, where NumPy's numbers warn when infinities arise."""
    if not simulated:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


BACKEND: Backend = CudaBackend()
