"""A short way for calls where call.py does not know the interpreter's arrays.

Everything that calls with arrays of the same shapes have in common is worked out at the first of
them.  The others look it up, check dtypes, make the outputs, and go to compiled code, which finds
the numbers by the buffer protocol: part of Python's stable ABI, and the quickest way to an address.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ir.types import NDArray
from nncompile.cpu.objects.compile import runtime
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
    FAULT_WORDS,
    INPUTS,
    OUTPUTS,
    RELEASE,
    get_item,
    overlaps_earlier,
    restore_thread,
    save_thread,
)
from nncompile.cpu.runtime.launch import DONE, FLOPS, WORKERS, run
from nncompile.cpu.runtime.output_memory import LARGE

if TYPE_CHECKING:
    from nncompile.cpu.runtime.executable import Executable

# Py_buffer, in words; flags of a request
BUFFER_WORDS, B_ADDRESS, B_LENGTH, B_ITEM_SIZE = 10, 0, 2, 3
C_CONTIGUOUS, WRITABLE = 0x38, 0x01

P_STATE, P_SIZES, P_FACTS = range(3)          # a plan's words: addresses
UNUSUAL = -1                      # what run_objects returns beside launch's: nothing was computed,
                                  # or a wrong index was met
get_buffer = symbol("get_buffer", "ppi", "c", "PyObject_GetBuffer")
release_buffer = symbol("release_buffer", "p", "n", "PyBuffer_Release")
clear_error = symbol("clear_error", "", "n", "PyErr_Clear")


# -- compiled --------------------------------------------------------------------------------------

@runtime
def run_objects(plan: Pointer, weights: Pointer, objects: Pointer) -> int:
    """`launch.run` for a tuple of arrays: the inputs, then the outputs."""
    state, facts = load_pointer(plan, P_STATE), load_pointer(plan, P_FACTS)
    count = load(state, INPUTS) + load(state, OUTPUTS)
    views, arrays, fault = stack(BUFFER_WORDS * count), stack(2 * count), stack(FAULT_WORDS)
    store(fault, 0, 0)
    held = hold(objects, views, arrays, load(state, INPUTS), count)
    status = UNUSUAL
    if held == count:
        lasts = load(facts, FLOPS) >= load(state, RELEASE)
        thread = save_thread() if lasts else null()
        status = run(state, weights, arrays, load_pointer(plan, P_SIZES), facts, fault,
                     load(state, WORKERS))
        if lasts:
            restore_thread(thread)
    for i in range(held):
        release_buffer(words(views, BUFFER_WORDS * i))
    return status if load(fault, 0) == 0 else UNUSUAL


@runtime
def hold(objects: Pointer, views: Pointer, arrays: Pointer, inputs: int, count: int) -> int:
    """Find where the arrays start, and how many bytes they have.  `count`, or how many there were
    before one that is not contiguous, not aligned, or an output that overlaps those before it."""
    for i in range(count):
        view = words(views, BUFFER_WORDS * i)
        wanted = C_CONTIGUOUS | WRITABLE if i >= inputs else C_CONTIGUOUS
        if get_buffer(get_item(objects, i), view, wanted) != 0:
            clear_error()
            return i
        store(arrays, i, load(view, B_ADDRESS))
        store(arrays, count + i, load(view, B_LENGTH))
        aligned = load(view, B_ADDRESS) & (load(view, B_ITEM_SIZE) - 1) == 0
        if not aligned or (i >= inputs and overlaps_earlier(arrays, count, i) != 0):
            release_buffer(view)
            return i
    return count


COMPILED = (run_objects, hold, overlaps_earlier)


# -- Python ----------------------------------------------------------------------------------------

MOST = 64                         # shapes that are remembered

Words = npt.NDArray[np.int64]
Shape = tuple[int, ...]
shape_of = attrgetter("shape")


@dataclass(frozen=True)
class Plan:
    """What calls with arrays of certain shapes have in common.

    words: for run_objects, at `address`; sizes and facts are what they refer to.
    outputs: those that are to be made.
    """

    address: int
    words: Words
    sizes: Words
    facts: Words
    outputs: Sequence[tuple[Shape, np.dtype[Any]]]


class ShortCall:
    """`call` is a model's.

    run: the code of run_objects.  state: the model's, its address.  dtypes: of the inputs, then the
    outputs.
    """

    def __init__(self, model: Executable, run: Callable[[int, int, Sequence[NDArray]], int],
                 state: int, inputs: int, dtypes: Sequence[np.dtype[Any]]) -> None:
        self.model, self.run, self.state = model, run, state
        self.inputs, self.dtypes = inputs, dtypes
        self.single = len(dtypes) == inputs + 1
        self.plans: dict[Sequence[Shape], Plan] = {}

    def call(self, *args: Any, **keywords: Any) -> Any:
        arrays = args
        if keywords:
            if (len(keywords) > 1 or "out" not in keywords
                    or len(args) != self.inputs or not self.single):
                return self.model.call_by_steps(*args, **keywords)
            arrays = (*args, keywords["out"])
        try:
            plan = self.plans[tuple(map(shape_of, arrays))]
        except (KeyError, AttributeError, TypeError):      # new shapes, or no arrays
            return self.first(arrays, self.model.call_by_steps(*args, **keywords))
        for array, dtype in zip(arrays, self.dtypes):      # noqa: B905  perhaps the inputs alone
            if type(array) is not np.ndarray or array.dtype is not dtype:
                return self.model.call_by_steps(*args, **keywords)
        for shape, dtype in plan.outputs:
            arrays = (*arrays, np.empty(shape, dtype))
        weights, address = self.model.weights              # held until the run is over
        if self.run(plan.address, address, arrays) != DONE:
            return self.model.call_by_steps(*args, **keywords)        # which says what is wrong
        del weights
        return arrays[self.inputs] if self.single else arrays[self.inputs:]

    def first(self, arrays: Sequence[Any], results: Any) -> Any:
        """The results of a call with shapes that are new; the next is shorter, if this was one of
        plain arrays."""
        made = (results,) if self.single else results
        used = (*arrays[:self.inputs], *made)
        if (len(self.plans) < MOST and len(used) == len(self.dtypes)
                and all(map(is_plain, used, self.dtypes)) and all(y.nbytes < LARGE for y in made)):
            sizes, facts = self.model.facts(arrays[:self.inputs])
            words = np.array([self.state, sizes.ctypes.data, facts.ctypes.data], np.int64)
            to_make = [(y.shape, y.dtype) for y in made[len(arrays) - self.inputs:]]
            self.plans[tuple(map(shape_of, arrays))] = Plan(words.ctypes.data, words, sizes, facts,
                                                            to_make)
        return results


def is_plain(array: Any, dtype: np.dtype[Any]) -> bool:
    return (type(array) is np.ndarray and array.dtype is dtype
            and array.flags.c_contiguous and array.flags.aligned)
