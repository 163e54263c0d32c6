"""What the machine offers, and object code for it.

A `Target` is a value: everything that decides which instructions are emitted is in it, so a test
runs all of a machine's levels side by side, and a cache key is made of its fields.
"""
from __future__ import annotations

import contextlib
import functools
from typing import Any

import llvmlite.binding as llvm

from ir.records import dataclass
from ir.types import Error
from nncompile import options

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
with contextlib.suppress(RuntimeError):            # other C libraries have it in themselves
    llvm.load_library_permanently("libm.so.6")     # kernels call fmod, pow and the like

LEVELS = ("avx512", "avx2", "generic")

# What x86-64-v4 and x86-64-v3 ask of a CPU, as far as our kernels use it.
NEEDS = {
    "avx512": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "avx2": ("avx2", "fma"),
    "generic": (),
}


class TargetError(Error):
    """A target that this machine cannot run."""


@dataclass(frozen=True)
class Target:
    """A CPU, and the shape of the register tiles that suit it.

    The tile of a matrix product has up to `tile_rows` x `panel` vectors of sums.  The right edge of
    a matrix is computed one vector wide, with four sums to an element, up to `edge_rows` rows at a
    time.  There is a tile of every height; the tallest fit the vector registers without spilling.
    """

    level: str                 # "avx512", "avx2", "neon" or "generic"
    triple: str
    cpu: str                   # LLVM's name
    features: str              # LLVM's list, "" for what the CPU's name says
    width: int                 # float32 lanes of one vector
    panel: int                 # vectors in a panel of packed weights
    tile_rows: int
    edge_rows: int
    fma: bool                  # has fused multiply-add in hardware

    @property
    def panel_width(self) -> int:
        """Columns of a panel of packed weights."""
        return self.panel * self.width

    @property
    def x86(self) -> bool:
        return self.triple.startswith("x86_64")

    @property
    def aarch64(self) -> bool:
        return self.triple.startswith(("aarch64", "arm64"))

    @property
    def avx512(self) -> bool:
        return self.level == "avx512"

    @property
    def has_sched_yield(self) -> bool:
        """POSIX has it as a function of libc; Windows has not."""
        return any(name in self.triple for name in ("linux", "darwin", "bsd"))


def of_level(level: str, cpu: str, features: str = "", triple: str = "") -> Target:
    """The target of a level.  32 registers hold 24 sums, 4 weights and what is broadcast.  16 sums
    hide all latency, so taller tiles of edges would be code for nothing."""
    triple = triple or llvm.get_process_triple()
    if level == "avx512":
        return Target(level, triple, cpu, features, width=16, panel=4, tile_rows=6, edge_rows=4,
                      fma=True)
    if level == "avx2":
        return Target(level, triple, cpu, features, width=8, panel=2, tile_rows=6, edge_rows=2,
                      fma=True)
    if level == "neon":
        return Target(level, triple, cpu, features, width=4, panel=4, tile_rows=6, edge_rows=4,
                      fma=True)
    return Target(level, triple, cpu, features, width=4, panel=2, tile_rows=4, edge_rows=2,
                  fma=False)


def host() -> Target:
    """The target to compile for: this CPU, or the level that NNCOMPILE_TARGET names.

    Raises Error where the variable names no level, or one that this machine cannot run.
    """
    asked = options.TARGET.value()
    return named(asked) if asked else _native()


def named(level: str) -> Target:
    """The target of "avx512", "avx2" or "generic" with a portable CPU name, the same everywhere.

    Raises TargetError where this machine cannot run it.
    """
    if level not in available():
        raise TargetError(f"{options.TARGET.variable}={level}: this machine "
                          f"({llvm.get_host_cpu_name()}) cannot run it; it can run "
                          f"{', '.join(available())}")
    if not _x86():
        return of_level(level, "generic")
    return of_level(level, {"avx512": "x86-64-v4", "avx2": "x86-64-v3"}.get(level, "x86-64"))


@functools.cache
def available() -> tuple[str, ...]:
    """The levels that this machine can run, best first."""
    if not _x86():
        return ("generic",)
    has = host_features()
    return tuple(level for level in LEVELS if all(has.get(f, False) for f in NEEDS[level]))


@functools.cache
def _native() -> Target:
    level = available()[0] if _x86() else "neon" if _aarch64() else "generic"
    return of_level(level, llvm.get_host_cpu_name(), host_features().flatten())


@functools.cache
def host_features() -> Any:
    """What LLVM finds that this CPU has: to ask takes as long as to trace a small layer."""
    return llvm.get_host_cpu_features()


def _x86() -> bool:
    return llvm.get_process_triple().startswith("x86_64")


def _aarch64() -> bool:
    return llvm.get_process_triple().startswith(("aarch64", "arm64"))


@functools.cache
def machine(target: Target) -> Any:
    """LLVM's code generator for the target, one for all: not for an engine, which would own it."""
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small")


def object_code(module: Any, target: Target) -> bytes:
    """An object file of an llvmlite module.  The kernels are emitted as they should run and need
    no passes over the IR."""
    return bytes(machine(target).emit_object(_parsed(module, target)))


def assembly(module: Any, target: Target) -> str:
    """The same code as text."""
    return str(machine(target).emit_assembly(_parsed(module, target)))


def _parsed(module: Any, target: Target) -> Any:
    parsed = llvm.parse_assembly(str(module))
    parsed.triple = target.triple
    return parsed
