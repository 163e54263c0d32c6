"""One program on this CPU: its source, its weights, and the function that runs it."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir.types import NDArray
from nncompile import options
from nncompile.backend import (
    Backend,
    CallSpec,
    Fallback,
    Loaded,
    Machine,
    Slot,
    StepCode,
    Stopwatch,
)
from nncompile.cpu.driver import Code, generate, step_codes
from nncompile.cpu.kernels import Kernel, Part
from nncompile.cpu.machine import L2, L3, MEMORY, cache_of, l2_bytes
from nncompile.cpu.objects import CacheSlot, kernel_module
from nncompile.cpu.runtime import Executable, PythonExecutable
from nncompile.cpu.vector import assembly, available, host
from nncompile.errors import CompileError, InputError
from nncompile.faults import fault
from nncompile.schedule import VECTOR_TRAITS, Program
from nncompile.schedule.cost import table_bytes

_BATCHES = (1, 8, 64, 1024)                   # of which notes() tells


class CpuBackend(Backend):
    """The target "cpu": this CPU."""

    traits = VECTOR_TRAITS

    def slot(self, kind: str, name: str, sources: Sequence[str]) -> Slot | None:
        if not options.JIT.value():               # a debugger is to find what makes it at work
            return None
        slot = CacheSlot(kind, name, host(), sources)
        return slot if slot.keeps else None

    def generate(self, program: Program) -> Code:
        return generate(program, host())

    def load(self, program: Program, code: Code, spec: CallSpec, constants: Sequence[NDArray],
             threads: int | None, fallback: Fallback) -> Loaded:
        return _CpuProgram(program, code, spec, constants, threads, fallback)

    def describe(self) -> str:
        target = host()
        return (f"target   {target.level} (LLVM's {target.cpu}): {target.width} float32 lanes; "
                f"this CPU runs {', '.join(available())}")

    def stopwatch(self) -> Stopwatch:
        raise CompileError("the cpu target has no device of its own: calls are timed by the host's "
                           "clock")


class _CpuProgram(Loaded):
    """A program on this CPU; `call` leaves the option `threads` to the fallback.

    NNCOMPILE_JIT=0 runs the same source as plain Python, on one thread.
    """

    options = ("threads",)

    def __init__(self, program: Program, code: Code, spec: CallSpec, constants: Sequence[NDArray],
                 threads: int | None, fallback: Fallback) -> None:
        self.program, self.spec, self.target = program, spec, code.arena.target
        self._driver, self._layout = code.driver, code.arena
        arena = self._layout.pack(constants)
        self._cache = cache_of(arena.nbytes - table_bytes(program))
        kind = Executable if options.JIT.value() else PythonExecutable
        self._executable = kind(self._driver, spec, arena,
                                fallback=fallback, on_fault=self._refuse_number,
                                cache=self._cache, threads=threads)
        self.call, self.call_into = self._executable.call, self._executable.call_into

    def compute(self, inputs: Sequence[NDArray], **options: Any) -> list[NDArray]:
        return self._executable.compute(inputs, **options)

    def _refuse_number(self, step: int, number: int, size: int) -> None:
        raise fault(self.program.steps[step], number, size)

    @property
    def source(self) -> str:
        return self._driver.text

    @property
    def threads(self) -> int:
        """Most threads of a call."""
        return self._executable.threads

    @threads.setter
    def threads(self, count: int) -> None:
        self._executable.threads = count

    def load(self, constants: Sequence[NDArray]) -> None:
        self._executable.swap_weights(self._layout.pack(constants))

    def constant(self, number: int) -> NDArray:
        return self._layout.unpack(self._executable.arena, number)

    def profile(self, inputs: Sequence[NDArray], outputs: Sequence[NDArray]) -> list[float]:
        if isinstance(self._executable, PythonExecutable):
            raise InputError("there is nothing to time with NNCOMPILE_JIT=0")
        from nncompile.cpu.runtime.profile import profile  # here: no call needs it

        sizes, facts = self._executable.facts(inputs)
        return profile(self._driver, self.target,
                       [*inputs, *outputs], sizes, facts, self._executable.arena)

    def asm(self) -> str:
        """The instructions of each kernel and of what it calls, behind a line that names it.

        The kernels are emitted anew, as they were for the object code that runs.
        """
        if isinstance(self._executable, PythonExecutable):
            raise InputError("NNCOMPILE_JIT=0 runs Python: there are no instructions to show")
        comment = "//" if self.target.aarch64 else "#"
        lines: list[str] = []
        for name, kernel in self._driver.kernels.items():
            if not name.startswith("shared_"):               # its module is the other's
                lines.append(f"{comment} {kernel.name}({', '.join(kernel.arguments)})")
                pieces: list[Kernel | Part] = [kernel, *kernel.parts]
                lines += [assembly(kernel_module(p, self.target), self.target) for p in pieces]
        return "\n".join(lines)

    def machine(self, again: bool = False) -> Machine:
        from nncompile.cpu.machine.caches import cache_bytes
        from nncompile.cpu.machine.ceilings import ceilings  # which only reports need

        limits = ceilings(1, again=again)
        caches = {f"L{level}": size for level, size in cache_bytes().items()}
        return Machine(f"{self.target.cpu}, {self.target.level}",
                       {"f32": limits.flops, "f64": limits.flops_f64},
                       limits.bytes, {"L2": l2_bytes(), **caches})

    def step_codes(self) -> list[StepCode]:
        return step_codes(self.program, self.target)

    def notes(self) -> list[str]:
        target, tables = self.target, table_bytes(self.program)
        weights = self._executable.arena.nbytes
        place = {L2: f"each core's L2 cache ({l2_bytes() / 1024:.0f} KiB)",
                 L3: "the L3 cache", MEMORY: "memory"}[self._cache]
        what = (f"{tables / 1024:.0f} KiB are tables, of which a call reads a few rows, the rest "
                "stays" if tables else "they stay")
        notes = [f"cpu {target.cpu}, {target.level}: vectors of {target.width} float32, "
                 f"product tiles of {target.tile_rows} x {target.panel_width}",
                 f"weights: {weights / 1024:.0f} KiB packed; {what} in {place}",
                 f"threads: up to {self.threads}"]
        if self.program.batch is None:
            notes.append("schedule: all threads share each step; rows depend on each other")
        elif len(self.spec.sizes) == 1:
            notes += ["schedule:", *(f"  batch {rows}: {self._sharing(rows)}" for rows in _BATCHES)]
        else:
            notes.append("schedule: a thread takes a block of rows through all steps; where that "
                         "is quicker, for few rows, all threads share each step")
        return notes

    def _sharing(self, rows: int) -> str:
        threads, block = self._executable.sharing(np.array([rows]))
        who = f"{threads} threads" if threads > 1 else "1 thread"
        what = f"each a block of up to {min(block, rows)} rows through all steps"
        return f"{who}, {what}" if block else f"{who} sharing each step"


BACKEND: Backend = CpuBackend()
