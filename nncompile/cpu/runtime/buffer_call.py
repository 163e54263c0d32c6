"""The call path that is used where compiled_call.py does not know the interpreter's arrays.

What calls with arrays of the same shapes have in common is computed in the first of them. The later
ones look it up, check dtypes, make the outputs, and call compiled code, which finds the numbers by
the buffer protocol: it is part of Python's stable ABI, and the quickest way to an address.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from ir.types import NDArray
from nncompile.backend import CallSpec, Shape
from nncompile.cpu import layout
from nncompile.cpu.objects import runtime
from nncompile.cpu.objects.primitives import (
    Pointer,
    load,
    load_pointer,
    null,
    stack,
    store,
    symbol,
    words,
)
from nncompile.cpu.runtime.compiled_call import (
    get_item,
    overlaps_earlier,
    restore_thread,
    save_thread,
)
from nncompile.cpu.runtime.launch import DONE, run
from nncompile.cpu.runtime.pool import takes_threads

# Py_buffer, in words; flags of a request
_BUFFER_WORDS, _B_ADDRESS, _B_LENGTH, _B_ITEM_SIZE = 10, 0, 2, 3
_C_CONTIGUOUS, _WRITABLE = 0x38, 0x01

_UNUSUAL = -1                     # what run_objects returns beside launch's: nothing was computed,
                                  # or a wrong index was met
_get_buffer = symbol("get_buffer", "ppi", "c", "PyObject_GetBuffer")
_release_buffer = symbol("release_buffer", "p", "n", "PyBuffer_Release")
_clear_error = symbol("clear_error", "", "n", "PyErr_Clear")


# -- compiled --------------------------------------------------------------------------------------

@runtime
def run_objects(shaped: Pointer, weights: Pointer, objects: Pointer, threads: int) -> int:
    """Runs `launch.run` for a tuple of arrays: the inputs, then the outputs.

    threads: the most that may work; 0: as many as the model uses.
    """
    state = load_pointer(shaped, layout.SHAPED_STATE)
    sizes = load_pointer(shaped, layout.SHAPED_SIZES)
    facts = load_pointer(shaped, layout.SHAPED_FACTS)
    count = load(state, layout.INPUTS) + load(state, layout.OUTPUTS)
    views, arrays, fault = stack(_BUFFER_WORDS * count), stack(2 * count), stack(layout.FAULT_WORDS)
    store(fault, layout.FAULT_STEP, 0)
    held = hold(objects, views, arrays, load(state, layout.INPUTS), count)
    status = _UNUSUAL
    if held == count:
        lasts = load(facts, layout.FLOPS) >= load(state, layout.RELEASE)
        thread = save_thread() if lasts else null()
        most = threads if threads > 0 else load(state, layout.WORKERS)
        status = run(state, weights, arrays, sizes, facts, fault, most)
        if lasts:
            restore_thread(thread)
    for i in range(held):
        _release_buffer(words(views, _BUFFER_WORDS * i))
    return status if load(fault, layout.FAULT_STEP) == 0 else _UNUSUAL


@runtime
def hold(objects: Pointer, views: Pointer, arrays: Pointer, inputs: int, count: int) -> int:
    """Finds where the arrays start and how many bytes they have, and keeps hold of them.

    Returns `count`, or the number of arrays before the first one that is not contiguous or not
    aligned, or is an output that overlaps an earlier array.
    """
    for i in range(count):
        view = words(views, _BUFFER_WORDS * i)
        wanted = _C_CONTIGUOUS | _WRITABLE if i >= inputs else _C_CONTIGUOUS
        if _get_buffer(get_item(objects, i), view, wanted) != 0:
            _clear_error()
            return i
        store(arrays, i, load(view, _B_ADDRESS))
        store(arrays, count + i, load(view, _B_LENGTH))
        aligned = load(view, _B_ADDRESS) & (load(view, _B_ITEM_SIZE) - 1) == 0
        if not aligned or (i >= inputs and overlaps_earlier(arrays, count, i) != 0):
            _release_buffer(view)
            return i
    return count


COMPILED = (run_objects, hold, overlaps_earlier)


# -- Python ----------------------------------------------------------------------------------------

MOST = 64                         # shapes that are remembered

Words = npt.NDArray[np.int64]
Make = Callable[[Shape, np.dtype[Any]], NDArray]
_shape_of = attrgetter("shape")


class ShapedCall:
    """What calls with arrays of certain shapes have in common.

    address: of the words that run_objects reads, which refer to the state, the sizes and the facts.
    outputs: what makes each output that the call has to make, with its shape and dtype.
    """

    def __init__(self, state: Words, sizes: Words, facts: Words,
                 outputs: Sequence[tuple[Make, Shape, np.dtype[Any]]]) -> None:
        self.outputs, self._kept = outputs, (sizes, facts)
        self._words = np.zeros(layout.SHAPED_WORDS, np.int64)
        self._words[layout.SHAPED_STATE] = state.ctypes.data
        self._words[layout.SHAPED_SIZES] = sizes.ctypes.data
        self._words[layout.SHAPED_FACTS] = facts.ctypes.data
        self.address = self._words.ctypes.data


class BufferCall:
    """A model's `call` and `call_into`.

    run:        the code of run_objects.
    weights:    the arena.
    new_shaped: makes a ShapedCall for arrays, the inputs or the inputs and the outputs; returns
                None if the spec does not take them.
    by_steps, into_by_steps: the same calls in Python, step by step, for everything unusual.
    most_threads: of a call, without a warning.
    """

    def __init__(self, spec: CallSpec, run: Callable[[int, int, Sequence[NDArray], int], int],
                 weights: NDArray, new_shaped: Callable[[Sequence[Any]], ShapedCall | None],
                 by_steps: Callable[..., Any], into_by_steps: Callable[..., Any],
                 most_threads: int) -> None:
        self._inputs, self._dtypes = len(spec.inputs), (*spec.input_dtypes, *spec.output_dtypes)
        self._single, self._most_threads = len(spec.outputs) == 1, most_threads
        self._run, self._new_shaped = run, new_shaped
        self._by_steps, self._into_by_steps = by_steps, into_by_steps
        self.use(weights)
        self.known: dict[Sequence[Shape], ShapedCall] = {}

    def use(self, weights: NDArray) -> None:
        """Uses this arena from the next call on."""
        self._weights = weights, weights.ctypes.data

    def call(self, /, *args: Any, **keywords: Any) -> Any:
        """The `call` of a Loaded."""
        arrays: Sequence[Any] = args
        threads = 0
        if keywords or len(args) != self._inputs:
            arranged = self._arranged(args, keywords)
            if arranged is None:
                return self._by_steps(*args, **keywords)
            arrays, threads = arranged
        results = self._answer(arrays, threads)
        return self._by_steps(*args, **keywords) if results is None else results

    def call_into(self, /, *arrays: Any, **options: Any) -> Any:
        """The `call_into` of a Loaded."""
        results = None
        if not options:
            results = self._answer(arrays, 0)
        elif options.keys() == {"threads"} and takes_threads(
                options["threads"], self._most_threads):
            results = self._answer(arrays, options["threads"] or 0)
        return self._into_by_steps(*arrays, **options) if results is None else results

    def _answer(self, arrays: Sequence[Any], threads: int) -> Any:
        """What a call with these inputs, or inputs and outputs, returns; None if it is unusual."""
        try:
            shaped = self.known[tuple(map(_shape_of, arrays))]
        except (KeyError, AttributeError, TypeError):      # new shapes, or no arrays
            new = self._new_shaped(arrays)
            if new is None:
                return None
            shaped = new
            if len(self.known) < MOST:
                self.known[tuple(map(_shape_of, arrays))] = shaped
        for array, dtype in zip(arrays, self._dtypes):     # noqa: B905  perhaps the inputs alone
            if type(array) is not np.ndarray or array.dtype is not dtype:
                return None
        for make, shape, dtype in shaped.outputs:
            arrays = (*arrays, make(shape, dtype))
        weights, address = self._weights                   # held until the run is over
        if self._run(shaped.address, address, arrays, threads) != DONE:
            return None                                    # the call by steps says what is wrong
        del weights
        return arrays[self._inputs] if self._single else arrays[self._inputs:]

    def _arranged(self, args: Sequence[Any], keywords: Mapping[str, Any]
                  ) -> tuple[Sequence[Any], int] | None:
        """The arrays of a call, and its threads, 0 for the model's own number.

        None where the call is unusual.
        """
        if len(args) != self._inputs:
            return None
        others = dict(keywords)
        threads = others.pop("threads", None)
        if "out" in others and self._single:
            args = (*args, others.pop("out"))
        taken = not others and takes_threads(threads, self._most_threads)
        return (args, threads or 0) if taken else None
