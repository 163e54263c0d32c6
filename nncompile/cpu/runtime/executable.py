"""A loaded model: a function of arrays.

`Executable` runs machine code; `PythonExecutable` runs the same source as plain Python, which can
be followed in a debugger (NNCOMPILE_JIT=0). Both take the same arguments and behave alike.
"""
from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import nncompile.cpu.runtime.compiled_call as call_path
import nncompile.cpu.runtime.launch as launch
import nncompile.cpu.runtime.output_memory as output_memory
from ir.float_mode import StandardFloats
from ir.types import NDArray
from nncompile.backend import CallSpec, Fallback, Shape
from nncompile.cpu import layout
from nncompile.cpu.driver import Driver, load
from nncompile.cpu.machine import cache_of
from nncompile.cpu.objects import execute, linker
from nncompile.cpu.objects.primitives import PRIMITIVES
from nncompile.cpu.runtime.buffer_call import BufferCall, ShapedCall
from nncompile.cpu.runtime.load import load_sharing, load_short_call, runtime_object
from nncompile.cpu.runtime.output_memory import Results, is_large
from nncompile.cpu.runtime.pool import (
    POOL,
    check_threads,
    default_threads,
    most_threads,
    takes_threads,
)
from nncompile.cpu.runtime.state import State, Words, fact_words, new_state
from nncompile.cpu.vector import Target, host
from nncompile.errors import Error, InputError

_OUT, _THREADS = "out", "threads"             # interned: keywords are compared by their addresses


class _Portable:
    """Checks and runs calls in Python; the base of both executables.

    driver:   its functions are plan(sizes, facts), phases(...) and, where rows are independent,
              row_blocks(...); with row_blocks, the batch is the first of the named sizes.
    spec:     what a call takes and returns; the driver reads the named sizes in its order.
    arena:    the weights: 1-D float32, C-contiguous, starting on a cache line.
    cache:    the level that the weights fit into, L2, L3 or MEMORY; None: by the size of the arena.
    threads:  the most threads of a call; None: default_threads().
    fallback: is called with calls that the spec does not take; see backend.Backend.load.
    on_fault: on_fault(step, index, size) is called when a step met a wrong index; it raises.
    """

    def __init__(self, driver: Driver, spec: CallSpec,
                 arena: npt.NDArray[np.float32], *, fallback: Fallback,
                 on_fault: Callable[[int, int, int], Any], cache: int | None = None,
                 threads: int | None = None) -> None:
        self.driver, self.spec = driver, spec
        self._fallback, self._on_fault = fallback, on_fault
        self._results = Results(2 * len(spec.outputs))
        self.arena = _checked_arena(arena)
        self._cache = cache_of(arena.nbytes) if cache is None else cache
        self._threads = default_threads() if threads is None else check_threads(threads)
        self._most_threads = most_threads()
        self.call: Callable[..., Any] = self.call_by_steps
        self.call_into: Callable[..., Any] = self.call_into_by_steps

    @property
    def threads(self) -> int:
        """Most threads that a call uses."""
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        self._threads = check_threads(count)

    def swap_weights(self, arena: npt.NDArray[np.float32]) -> None:
        """Uses another arena of the same size.

        Calls that are running keep the one they began with. No other thread may swap meanwhile.
        """
        if arena.size != self.arena.size:
            raise Error(f"the arena has {arena.size} numbers, not {self.arena.size}")
        self.arena = _checked_arena(arena)

    def compute(self, inputs: Sequence[NDArray], outs: Sequence[NDArray] | None = None,
                threads: int | None = None) -> list[NDArray]:
        """Returns the outputs for arrays that the spec takes, written to `outs` if they are given.

        threads: the most that may work; None: as many as the model uses. It never calls the
        fallback.
        Raises InputError where the spec does not take an array.
        """
        sizes, facts = self.facts(inputs)
        if facts[layout.SLACK] < 0:
            raise InputError("the program does not take these sizes: "
                             + ", ".join(map(str, sizes.tolist())))
        shapes = self._shapes(facts)
        if outs is not None and not self.spec.takes_outputs(outs, shapes, inputs):
            raise self._refused("outputs", [f"{dtype}{list(shape)}" for shape, dtype in zip(
                shapes, self.spec.output_dtypes, strict=True)], outs)
        return self._computed(inputs, outs, sizes, facts,
                              self._threads if threads is None else check_threads(threads))

    def _computed(self, inputs: Sequence[NDArray], outs: Sequence[NDArray] | None, sizes: Words,
                  facts: Words, threads: int) -> list[NDArray]:
        """`compute` of arrays that are checked."""
        if outs is None:
            outs = [self._results.new(shape, dtype) for shape, dtype in zip(
                self._shapes(facts), self.spec.output_dtypes, strict=True)]
        fault = np.zeros(layout.FAULT_WORDS, np.int64)
        self._run([*inputs, *outs], sizes, facts, fault, threads)
        if fault[layout.FAULT_STEP]:
            self._on_fault(int(fault[layout.FAULT_STEP]) - 1, int(fault[layout.FAULT_NUMBER]),
                           int(fault[layout.FAULT_SIZE]))
        return list(outs)

    def facts(self, inputs: Sequence[NDArray]) -> tuple[Words, Words]:
        """Returns the named sizes of these inputs, and what the driver's `plan` writes for them."""
        sizes = self._bind(inputs)
        if sizes is None:
            raise self._refused("inputs", [str(type_) for type_ in self.spec.inputs], inputs)
        return sizes, self._plan(sizes)

    def sharing(self, sizes: Words) -> tuple[int, int]:
        """Returns how a call of these named sizes is shared.

        It is the number of threads that work, and the rows of a block that each takes through all
        steps; 0 rows if the threads share each step.
        """
        raise NotImplementedError

    # -- the same as compiled_call.py, in Python -----------------------------------------------

    def call_by_steps(self, /, *args: Any, **keywords: Any) -> Any:
        """The `call` of a Loaded."""
        others = dict(keywords)
        threads = others.pop(_THREADS, None)
        outs = (others.pop(_OUT),) if _OUT in others and len(self.spec.outputs) == 1 else ()
        results = None if others else self._stepped(args, outs, threads)
        return self._fallback.call(*args, **keywords) if results is None else results

    def call_into_by_steps(self, /, *args: Any, **options: Any) -> Any:
        """The `call_into` of a Loaded."""
        count = len(self.spec.inputs)
        others = options.keys() - {_THREADS}
        results = None if others else self._stepped(args[:count], args[count:],
                                                    options.get(_THREADS))
        return self._fallback.call_into(*args, **options) if results is None else results

    def _stepped(self, inputs: Sequence[Any], outs: Sequence[Any], threads: Any) -> Any:
        """What a call returns; None where it is left to the fallback."""
        taken = takes_threads(threads, self._most_threads)
        fit = self._fit(inputs, outs) if taken else None
        if fit is None:
            return None
        results = self._computed(inputs, outs or None, *fit, threads or self._threads)
        return results[0] if len(results) == 1 else tuple(results)

    def _fit(self, inputs: Sequence[Any], outs: Sequence[Any]) -> tuple[Words, Words] | None:
        """The sizes and facts of a call with these inputs, and these outputs or new ones.

        None where the call is left to the fallback.
        """
        sizes = self._bind(inputs)
        if sizes is None:
            return None
        facts = self._plan(sizes)
        if facts[layout.SLACK] < 0 or (
                outs and not self.spec.takes_outputs(outs, self._shapes(facts), inputs)):
            return None
        return sizes, facts

    def _bind(self, inputs: Sequence[Any]) -> Words | None:
        """The named sizes, at least one word; None if the spec does not take an input."""
        sizes = self.spec.sizes_of(inputs)
        if sizes is None:
            return None
        return np.array([sizes[name] for name in self.spec.sizes] or [0], np.int64)

    def _shapes(self, facts: Words) -> list[Shape]:
        dims = iter(facts[layout.OUTPUT_DIMS:].tolist())
        return [tuple(next(dims) for _ in type_.shape) for type_ in self.spec.outputs]

    def _refused(self, what: str, wanted: Sequence[str], got: Sequence[NDArray]) -> InputError:
        return InputError(f"the {what} must be C-contiguous arrays {', '.join(wanted)}, not "
                          + ", ".join(f"{a.dtype}{list(a.shape)}" for a in got))

    # -- what the two executables do differently -----------------------------------------------

    def _plan(self, sizes: Words) -> Words:
        raise NotImplementedError

    def _run(self, arrays: Sequence[NDArray], sizes: Words, facts: Words, fault: Words,
             threads: int) -> None:
        raise NotImplementedError


class PythonExecutable(_Portable):
    """Runs the source as Python, on one thread, with the kernels' Python bodies."""

    def __init__(self, driver: Driver, spec: CallSpec,
                 arena: npt.NDArray[np.float32], **options: Any) -> None:
        super().__init__(driver, spec, arena, **options)
        self._scope = execute(driver.text, {**PRIMITIVES, **driver.kernels})

    def sharing(self, sizes: Words) -> tuple[int, int]:
        return 1, int(self._plan(sizes)[layout.MOST_ROWS]) if "row_blocks" in self._scope else 0

    def _plan(self, sizes: Words) -> Words:
        facts = np.zeros(fact_words(self.spec), np.int64)
        self._scope["plan"](sizes, facts)
        return facts

    def _run(self, arrays: Sequence[NDArray], sizes: Words, facts: Words, fault: Words,
             threads: int) -> None:
        by_rows = "row_blocks" in self._scope
        driver = self._scope["row_blocks" if by_rows else "phases"]
        floats = facts[layout.BLOCK_SCRATCH if by_rows else layout.PHASES_SCRATCH]
        block = int(facts[layout.MOST_ROWS])
        if by_rows and not facts[layout.FLOPS] and not floats:
            block = max(block, int(sizes[0]))            # rows without elements are one block
        with StandardFloats():
            driver(args=[a.reshape(-1) for a in arrays], sizes=sizes, weights=self.arena,
                   scratch=np.empty(floats, np.float32), block=block,
                   queue=np.zeros(self.driver.queue_words, np.int64), fault=fault, worker=0)


class Executable(_Portable):
    """Runs the source as machine code. `call` is the fast call path; see compiled_call.py."""

    def __init__(self, driver: Driver, spec: CallSpec,
                 arena: npt.NDArray[np.float32], *, target: Target | None = None, **options: Any
                 ) -> None:
        super().__init__(driver, spec, arena, **options)
        self._target = target or host()
        self._state = self._new_state(
            load(driver, self._target, [runtime_object(self._target)]))
        address = linker(self._target).address
        pointer = ctypes.c_void_p
        self._plan_code = ctypes.CFUNCTYPE(None, pointer, pointer)(int(self._state[layout.PLAN]))
        word = ctypes.c_int64
        self._run_code = ctypes.CFUNCTYPE(word, *[pointer] * 6, word)(address("nnc_run"))
        self._worker_code = address("nnc_worker")
        self._buffer_call: BufferCall | None = None
        if call_path.usable():
            self.call, self.call_into = (call_path.builtin(address(symbol), self._state)
                                         for symbol in ("nnc_call", "nnc_call_into"))
        else:
            load_short_call(self._target)
            code = ctypes.PYFUNCTYPE(word, pointer, pointer, ctypes.py_object, word)(
                address("nnc_run_objects"))
            self._buffer_call = BufferCall(spec, code, self.arena, self._new_shaped,
                                           self.call_by_steps, self.call_into_by_steps,
                                           self._most_threads)
            self.call, self.call_into = self._buffer_call.call, self._buffer_call.call_into

    @property
    def threads(self) -> int:
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        self._threads = self._state[layout.WORKERS] = check_threads(count)

    def swap_weights(self, arena: npt.NDArray[np.float32]) -> None:
        super().swap_weights(arena)
        self._state.hold(layout.ARENA, arena)
        if self._buffer_call is not None:
            self._buffer_call.use(arena)

    def sharing(self, sizes: Words) -> tuple[int, int]:
        load_sharing(self._target)
        pointer, answer = ctypes.c_void_p, np.zeros(2, np.int64)
        decide = ctypes.CFUNCTYPE(None, *[pointer] * 3, ctypes.c_int64, pointer)(
            linker(self._target).address("nnc_sharing"))
        facts = self._plan(sizes)
        decide(*(a.ctypes.data for a in (self._state, sizes, facts)), self._threads,
               answer.ctypes.data)
        workers, block = answer.tolist()
        return workers, block

    def _new_state(self, addresses: Mapping[str, int]) -> State:
        words = {
            layout.POOL_ADDRESS: POOL.address, layout.PLAN: addresses["plan"],
            layout.ROW_BLOCKS: addresses.get("row_blocks", 0),
            layout.PHASES: addresses["phases"],
            layout.QUEUE_WORDS: self.driver.queue_words, layout.TILE_ROWS: self._target.tile_rows,
            layout.CACHE: self._cache, layout.WORKERS: self._threads,
            layout.MOST_WORKERS: self._most_threads, layout.RELEASE: call_path.RELEASE_FLOPS,
            layout.LARGE: output_memory.LARGE}
        if call_path.usable():
            words[layout.NEW_ARRAY] = call_path.numpy_new_array()
        return new_state(self.spec, words, {
            layout.ARRAY_CLASS: np.ndarray, layout.ARENA: self.arena,
            layout.FALLBACK: self._fallback.call,
            layout.FALLBACK_INTO: self._fallback.call_into, layout.RESTART: self._restart,
            layout.ON_FAULT: self._on_fault, layout.NEW_LARGE: self._new_large,
            layout.OUT_NAME: _OUT, layout.THREADS_NAME: _THREADS,
            layout.INPUT_NAMES: tuple(map(sys.intern, self.spec.names)), layout.NONE: None,
            layout.INT_CLASS: int, layout.TUPLE_CLASS: tuple, layout.LIST_CLASS: list})

    def _new_shaped(self, arrays: Sequence[Any]) -> ShapedCall | None:
        """For BufferCall: what calls with arrays of these shapes have in common."""
        count = len(self.spec.inputs)
        fit = self._fit(arrays[:count], arrays[count:])
        if fit is None:
            return None
        outputs = zip(self._shapes(fit[1]), self.spec.output_dtypes, strict=True)
        return ShapedCall(self._state, *fit, [] if arrays[count:] else [
            (self._results.new if is_large(shape, dtype) else np.empty, shape, dtype)
            for shape, dtype in outputs])

    def _new_large(self, i: int, *dims: int) -> NDArray:
        """A new output number i of these dims, if it is large."""
        return self._results.new(dims, self.spec.output_dtypes[i])

    def _restart(self, /, *args: Any, **keywords: Any) -> Any:
        """A call found too few workers: none were started yet, or this process is a fork."""
        self._start_workers(keywords.get(_THREADS) or self._threads)
        return self.call_into(*args, **keywords)   # which takes whatever `call` takes

    def _start_workers(self, threads: int) -> None:
        from nncompile.cpu.runtime.costs import costs  # here: one thread needs none of it

        if POOL.start(threads, self._worker_code):
            with contextlib.suppress(Error):   # the workers are busy: the default will do
                POOL.words[layout.WORTH] = costs(POOL, self._target).worth

    def _plan(self, sizes: Words) -> Words:
        facts = np.zeros(fact_words(self.spec), np.int64)
        self._plan_code(sizes.ctypes.data, facts.ctypes.data)
        return facts

    def _run(self, arrays: Sequence[NDArray], sizes: Words, facts: Words, fault: Words,
             threads: int) -> None:
        arena = self.arena                    # held for as long as it is read
        table = np.array([a.ctypes.data for a in arrays], np.int64)
        words = [w.ctypes.data for w in (self._state, arena, table, sizes, facts, fault)]
        status = self._run_code(*words, threads)
        if status == launch.NO_WORKERS:
            self._start_workers(threads)
            status = self._run_code(*words, threads)
        if status == launch.NO_MEMORY:
            raise MemoryError


def _checked_arena(arena: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if arena.dtype != np.float32 or arena.ndim != 1 or not arena.flags.c_contiguous:
        raise Error("an arena is a contiguous 1-D array of float32")
    if arena.ctypes.data % layout.LINE_BYTES:
        raise Error("an arena starts on a cache line; layout.aligned_zeros makes such arrays")
    return arena
