"""The records that compiled code and Python share: their lines, and the driver's signature."""
from __future__ import annotations

import inspect

import numpy as np
import pytest

import ir
from nncompile.cpu import layout
from nncompile.cpu.driver import generate
from nncompile.cpu.layout import LINE_WORDS, Record
from nncompile.cpu.objects.compile import execute
from nncompile.cpu.objects.primitives import PRIMITIVES
from nncompile.cpu.runtime import costs
from nncompile.cpu.runtime.pool import POOL, call_driver
from nncompile.cpu.vector.target import host
from nncompile.schedule import VECTOR_TRAITS, schedule

CALLERS = ("LOCK", "SCRATCH", "SCRATCH_BYTES", "QUEUES", "QUEUES_BYTES", "QUEUES_BASE")
OTHERS = ("POOL_ADDRESS", "PLAN", "ROW_BLOCKS", "PHASES", "QUEUE_WORDS", "TILE_ROWS", "CACHE",
          "WORKERS", "ARRAY_CLASS", "NEW_ARRAY", "ARENA", "FALLBACK", "RESTART", "ON_FAULT",
          "NEW_LARGE", "OUT_NAME", "INPUTS", "OUTPUTS", "SIZE_WORDS", "FACT_WORDS", "RELEASE",
          "LARGE", "SPECS")
JOB = ("NUMBER", "OPEN", "ACTIVE", "JOB_DRIVER", "JOB_ARGS", "JOB_SIZES", "JOB_WEIGHTS",
       "JOB_QUEUE", "JOB_SCRATCH", "JOB_BLOCK", "JOB_STRIDE", "JOB_BASE", "JOB_FAULT",
       "JOB_WORKERS", "JOB_FOR_ALL", "JOB_JOINED")


def words(names: tuple[str, ...]) -> list[int]:
    return [getattr(layout, name) for name in names]


def lines(*names: str) -> set[int]:
    return {word // LINE_WORDS for word in words(names)}


def test_words_are_numbered_in_order() -> None:
    record = Record()
    assert [*record.words(3), *record.words(2)] == [0, 1, 2, 3, 4]
    assert [*record.line(1), *record.line(9), *record.line(1)] == [8, *range(16, 25), 32]
    assert record.size == 33
    with pytest.raises(ValueError, match="to unpack"):
        _one, _two = record.words(3)


def test_what_callers_write_of_a_state_has_a_line_of_its_own() -> None:
    assert len(set(words((*CALLERS, *OTHERS)))) == len((*CALLERS, *OTHERS))
    assert lines(*CALLERS).isdisjoint(lines(*OTHERS)) and len(lines(*CALLERS)) == 1
    assert layout.SCRATCH_BYTES == layout.SCRATCH + 1      # as launch.grown has it
    assert layout.QUEUES_BYTES == layout.QUEUES + 1
    assert layout.aligned_zeros(3, np.int64).ctypes.data % (8 * LINE_WORDS) == 0


def test_lines_of_the_pool() -> None:
    apart = [lines(*JOB), lines("SLEEPERS"), lines("BUSY"), lines("NEXT"),
             lines("STARTED", "AWAY_FROM", "WORTH"), lines("ALLOWED"), lines("THREADS")]
    assert sum(map(len, apart)) == len(set().union(*apart))
    assert layout.ALLOWED + layout.CPU_WORDS <= layout.THREADS
    assert layout.THREADS + layout.MOST_THREADS == layout.POOL_WORDS
    assert POOL.address % (8 * LINE_WORDS) == 0


def test_who_is_called_as_a_driver_has_its_signature() -> None:
    graph = ir.parse("graph g(%x: f32[B, 4]) -> f32[B, 4] {\n  %0: f32[B, 4] = relu(%x)\n"
                     "  return %0\n}")
    driver = generate(schedule(graph, VECTOR_TRAITS), host()).driver
    scope = execute(driver.text, {**PRIMITIVES, **driver.kernels})
    letters = {function.name: function.letters for function in driver.functions}
    signatures = {name: layout.DRIVER_ARGUMENTS for name in ("row_blocks", "phases")}
    for name, arguments in {"plan": layout.PLAN_ARGUMENTS, **signatures}.items():
        assert [*inspect.signature(scope[name]).parameters] == [*arguments]
        assert letters[name] == "".join(arguments.values())
    assert [*inspect.signature(costs.meet.python).parameters] == [*layout.DRIVER_ARGUMENTS]
    assert costs.meet.arguments == layout.DRIVER_LETTERS
    assert call_driver.arguments == "p" + layout.DRIVER_LETTERS
