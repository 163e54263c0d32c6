"""Every call once more in memory that shows what it does wrong: `pytest --fenced`.

Each input, each output, the weights and the scratch memory lie against a page that must not be
touched: reading or writing outside ends the process. Scratch and outputs are full of NaN before,
so that what is read before it is written shows. The results have to be the same bits.
"""
from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from nncompile import CompiledModel
from nncompile.cpu import layout
from nncompile.cpu.runtime import Executable, launch
from nncompile.training.step import _Run

PAGE = mmap.PAGESIZE
protect = ctypes.CDLL(None, use_errno=True).mprotect


class Fenced:
    """Copies of arrays with a forbidden page right before their first byte or behind their last.

    Behind is exact for arrays of any size; their start is only as aligned as their size is.
    """

    def __init__(self, at_end: bool):
        self.at_end = at_end
        self.blocks: list[mmap.mmap] = []

    def octets(self, size: int) -> np.ndarray:
        inside = -(-size // PAGE) * PAGE
        block = mmap.mmap(-1, inside + 2 * PAGE)
        self.blocks.append(block)
        whole = np.frombuffer(block, np.uint8)
        for page in (0, PAGE + inside):
            assert protect(ctypes.c_void_p(whole.ctypes.data + page), PAGE, 0) == 0
        start = PAGE + inside - size if self.at_end and size else PAGE
        whole[start:start + size] = 0xFF
        return whole[start:start + size]

    def like(self, array: np.ndarray) -> np.ndarray:
        return self.octets(array.nbytes).view(array.dtype).reshape(array.shape)

    def copy(self, array: np.ndarray) -> np.ndarray:
        copy = self.like(array)
        copy[...] = array
        return copy


def run_fenced(executable: Executable, inputs: Sequence[np.ndarray], at_end: bool,
               states: int = 0) -> list[np.ndarray]:
    """The outputs of a call on this thread, with all its memory between fences.

    states: how many arrays, the last ones, the call writes. Behind the outputs they are returned.
    """
    fenced, state, own = Fenced(at_end), executable._state, executable.arena
    arrays = [fenced.copy(x) for x in inputs]
    sizes, facts = executable.facts(arrays)
    kept = {word: int(state[word]) for word in (
        layout.SCRATCH, layout.SCRATCH_BYTES, layout.QUEUES, layout.QUEUES_BYTES, layout.CACHE)}
    outs = [fenced.octets(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                          ).view(dtype).reshape(shape)
            for shape, dtype in zip(executable._shapes(facts), executable.spec.output_dtypes,
                                    strict=True)]
    weights = fenced.copy(own)
    by_rows = bool(state[layout.ROW_BLOCKS]) and at_end       # else the phases: both schedules run
    if not by_rows:
        row_blocks, state[layout.ROW_BLOCKS] = int(state[layout.ROW_BLOCKS]), 0
        kept[layout.ROW_BLOCKS] = row_blocks
    words = facts[layout.BLOCK_SCRATCH if by_rows else layout.PHASES_SCRATCH]
    queue = layout.PHASE_WORDS + (0 if by_rows else state[layout.QUEUE_WORDS])
    scratch, queues = fenced.octets(int(4 * words)), fenced.octets(int(8 * queue))
    fault = np.zeros(layout.FAULT_WORDS, np.int64)
    try:
        state[layout.SCRATCH], state[layout.SCRATCH_BYTES] = scratch.ctypes.data, scratch.nbytes
        state[layout.QUEUES], state[layout.QUEUES_BYTES] = queues.ctypes.data, queues.nbytes
        table = np.array([a.ctypes.data for a in (*arrays, *outs)], np.int64)
        status = executable._run_code(*(w.ctypes.data for w in (
            state, weights, table, sizes, facts, fault)), 1)
        assert status == launch.DONE
        assert state[layout.SCRATCH] == scratch.ctypes.data, "it needed more than it said"
        assert state[layout.QUEUES] == queues.ctypes.data, "it needed more queues than it said"
    finally:
        for word, value in kept.items():
            state[word] = value
    read = len(inputs) - states
    for x, copy in zip(inputs[:read], arrays[:read], strict=True):
        np.testing.assert_array_equal(x, copy, "an input was written to")
    assert weights.tobytes() == own.tobytes(), "the weights were written to"
    return [array.copy() for array in (*outs, *arrays[read:])]


def check(model: CompiledModel, flat: Sequence[np.ndarray], arrays: Sequence[np.ndarray],
          states: int = 0) -> None:
    executable = model._loaded._executable
    for at_end in (True, False):
        again = run_fenced(executable, arrays, at_end, states)
        for got, want in zip(again, flat, strict=True):
            assert got.tobytes() == np.ascontiguousarray(want).tobytes(), "other bits in fences"


class Watched:
    """Stands for the slot `__call__` of CompiledModel: calls `watch(model, call, *arguments)`."""

    def __init__(self, watch: Callable[..., Any]) -> None:
        self.watch, self.slot = watch, CompiledModel.__call__

    def __get__(self, model: CompiledModel, kind: type) -> Callable[..., Any]:
        return partial(self.watch, model, self.slot.__get__(model))

    def __set__(self, model: CompiledModel, call: Callable[..., Any]) -> None:
        self.slot.__set__(model, call)


@pytest.fixture
def fences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of a compiled model in this test, and every training step, is repeated in fences.
    """
    def fenced_call(model: CompiledModel, call: Callable[..., Any], *args: Any, **options: Any
                    ) -> Any:
        loaded = getattr(model, "_loaded", None)
        results = call(*args, **options)                 # raises where the arguments are wrong
        if "out" in options or not isinstance(getattr(loaded, "_executable", None), Executable):
            return results
        try:
            named, _, _ = model._arguments.split(options)
            arrays = model._arguments.arrays(model._arguments.inputs(args, named))
            model._arguments.sizes(arrays)
        except Exception:
            return results                               # outputs given by position
        flat = results if model._nesting is None else model._nesting.outputs.flatten(results)
        if model._nesting is None and len(model._program.outputs) == 1:
            flat = [results]
        check(model, flat, arrays)
        return results

    step = _Run.__call__

    def fenced_step(run: _Run, inputs: Sequence[Any], threads: int | None) -> Any:
        before = [np.array(array) for array in (*run.scalars, *run.states)]
        loss = step(run, inputs, threads)                # raises where the arguments are wrong
        if isinstance(getattr(run.compiled._loaded, "_executable", None), Executable):
            arrays = run.compiled._arguments.arrays((*inputs, *before))
            check(run.compiled, [loss, *run.states], arrays, len(run.states))
        return loss

    monkeypatch.setattr(CompiledModel, "__call__", Watched(fenced_call))
    monkeypatch.setattr(_Run, "__call__", fenced_step)
