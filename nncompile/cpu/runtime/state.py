"""The state of a model: the words that describe it to compiled code; see layout.py."""
from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nncompile.backend import CallSpec
from nncompile.cpu import layout

Words = npt.NDArray[np.int64]


class State(np.ndarray[tuple[int], np.dtype[np.int64]]):
    """A model's words.

    The objects that they point to are kept in `objects`, by field, so that they live, and the
    garbage collector sees them, as long as the words.
    """

    objects: dict[int, Any]

    def hold(self, field: int, value: object) -> None:
        """Makes the field point to a Python object."""
        before = self.objects.get(field)       # lives until the word no longer points to it
        self.objects[field] = value
        self[field] = id(value)
        del before


_STATES: weakref.WeakValueDictionary[int, State] = weakref.WeakValueDictionary()


def new_state(spec: CallSpec, words: Mapping[int, int], objects: Mapping[int, object]) -> State:
    """Returns the state for calls of the spec, with these numbers and Python objects in its fields.
    """
    specs = _spec_words(spec)
    memory = layout.aligned_zeros(layout.SPECS + len(specs), np.int64)
    state = memory.view(State)
    state.objects = {}
    for field, number in words.items():
        state[field] = number
    for field, value in objects.items():
        state.hold(field, value)
    state[layout.INPUTS], state[layout.OUTPUTS] = len(spec.inputs), len(spec.outputs)
    state[layout.SIZE_WORDS], state[layout.FACT_WORDS] = _size_words(spec), fact_words(spec)
    state[layout.SPECS:] = specs
    weakref.finalize(state, _free_scratch, memory).atexit = False
    _STATES[id(state)] = state
    return state


def _size_words(spec: CallSpec) -> int:
    """The named sizes; one word at least."""
    return max(1, len(spec.sizes))


def fact_words(spec: CallSpec) -> int:
    """Returns the number of words that `plan` writes, up to the last dim of the last output."""
    return layout.OUTPUT_DIMS + sum(type_.ndim for type_ in spec.outputs)


def _spec_words(spec: CallSpec) -> list[int]:
    """The specs of all inputs and outputs."""
    words = []
    for dims, dtype in zip(spec.input_dims, spec.input_dtypes, strict=True):
        words += [*_dtype_words(dtype), len(dims)]
        words += [-1 - spec.sizes.index(dim) if isinstance(dim, str) else dim for dim in dims]
    for type_, dtype in zip(spec.outputs, spec.output_dtypes, strict=True):
        words += [*_dtype_words(dtype), type_.ndim]
    return words


def _dtype_words(dtype: np.dtype[Any]) -> list[int]:
    """SPEC_DESCR, SPEC_TYPE, SPEC_OTHER_TYPE and SPEC_BYTES: the dtypes themselves live forever."""
    same = np.dtype(np.longlong) if dtype == np.longlong else dtype
    return [id(dtype), dtype.num, same.num, dtype.itemsize]


def _free_scratch(memory: Words) -> None:
    free = ctypes.CDLL(None)["free"]
    free.argtypes, free.restype = [ctypes.c_void_p], None
    for word in (layout.SCRATCH, layout.QUEUES):
        free(int(memory[word]))


def _forget_other_threads() -> None:
    """In a forked child: no other thread uses a model's memory."""
    for state in list(_STATES.values()):
        state[layout.LOCK] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
