"""The CPU as a value, and object code for it.

Everything that decides which instructions are emitted is in a `Target`, so that a test can run all
of a machine's levels side by side, and a cache key is made of its fields.
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
with contextlib.suppress(RuntimeError):            # other C libraries contain it
    llvm.load_library_permanently("libm.so.6")     # kernels call fmod, pow and the like

LEVELS = ("avx512", "avx2", "generic")

# The features of x86-64-v4 and x86-64-v3 that our kernels use.
_NEEDS = {
    "avx512": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "avx2": ("avx2", "fma"),
    "generic": (),
}
# The 32 registers of AVX-512 and NEON hold 24 sums, 4 vectors of weights and the broadcast inputs.
# At the edges 16 sums hide the latency of multiply-adds, so that taller tiles would gain nothing.
_SHAPES: dict[str, dict[str, Any]] = {
    "avx512": {"width": 16, "panel": 4, "tile_rows": 6, "edge_rows": 4, "fma": True},
    "avx2": {"width": 8, "panel": 2, "tile_rows": 6, "edge_rows": 2, "fma": True},
    "neon": {"width": 4, "panel": 4, "tile_rows": 6, "edge_rows": 4, "fma": True},
    "generic": {"width": 4, "panel": 2, "tile_rows": 4, "edge_rows": 2, "fma": False},
}


class TargetError(Error):
    """A target that this machine cannot run."""


@dataclass(frozen=True)
class Target:
    """A CPU, and the shapes of register tiles that suit it.

    The tile of a matrix product has up to `tile_rows` x `panel` vectors of sums. The columns that
    do not fill a panel are computed one vector wide, with four sums for each element, up to
    `edge_rows` rows at a time. There is a tile of every height up to these; the tallest fit the
    vector registers without spilling.
    """

    level: str                 # "avx512", "avx2", "neon" or "generic"
    triple: str
    cpu: str                   # LLVM's name
    features: str              # LLVM's list; "" for the CPU's own
    width: int                 # float32 lanes of one vector
    panel: int                 # vectors in a panel of packed weights
    tile_rows: int
    edge_rows: int
    fma: bool                  # has fused multiply-add in hardware

    @property
    def panel_width(self) -> int:
        """The number of columns of a panel of packed weights."""
        return self.panel * self.width

    @property
    def x86(self) -> bool:
        """Whether it is a 64-bit x86 CPU."""
        return self.triple.startswith("x86_64")

    @property
    def aarch64(self) -> bool:
        """Whether it is a 64-bit Arm CPU."""
        return self.triple.startswith(("aarch64", "arm64"))

    @property
    def avx512(self) -> bool:
        """Whether it has AVX-512."""
        return self.level == "avx512"

    @property
    def has_sched_yield(self) -> bool:
        """Whether libc has sched_yield, a function of POSIX that Windows lacks."""
        return any(name in self.triple for name in ("linux", "darwin", "bsd"))


def of_level(level: str, cpu: str, features: str = "", triple: str = "") -> Target:
    """Returns the target of a level."""
    return Target(level, triple or llvm.get_process_triple(), cpu, features, **_SHAPES[level])


def host() -> Target:
    """Returns the target to compile for: this CPU, or the level that NNCOMPILE_TARGET names.

    Raises Error where the variable names no level, or one that this machine cannot run.
    """
    asked = options.TARGET.value()
    return named(asked) if asked else _native()


def named(level: str) -> Target:
    """Returns the target "avx512", "avx2" or "generic" with a portable CPU name.

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
    """Returns the levels that this machine can run, best first."""
    if not _x86():
        return ("generic",)
    has = _host_features()
    return tuple(level for level in LEVELS if all(has.get(f, False) for f in _NEEDS[level]))


@functools.cache
def _native() -> Target:
    level = available()[0] if _x86() else "neon" if _aarch64() else "generic"
    return of_level(level, llvm.get_host_cpu_name(), _host_features().flatten())


@functools.cache
def _host_features() -> Any:
    """Returns the CPU's features as LLVM finds them, which takes as long as tracing a small layer.
    """
    return llvm.get_host_cpu_features()


def _x86() -> bool:
    return llvm.get_process_triple().startswith("x86_64")


def _aarch64() -> bool:
    return llvm.get_process_triple().startswith(("aarch64", "arm64"))


@functools.cache
def machine(target: Target) -> Any:
    """Returns LLVM's code generator for the target.

    It is shared: an execution engine, which takes ownership, needs another one.
    """
    return new_machine(target)


def new_machine(target: Target) -> Any:
    """Returns a new code generator for the target, such as another thread needs."""
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small")


def object_code(module: Any, target: Target) -> bytes:
    """Returns the object file of an llvmlite module, without passes over the IR.

    Kernels are emitted in the form they are to have, so optimisation passes would only cost time.
    """
    return bytes(machine(target).emit_object(_parsed(module, target)))


def text_for(module: Any, target: Target) -> str:
    """Returns an llvmlite module, which becomes one for the target, as text."""
    module.triple = target.triple
    return str(module)


def take_apart(module: Any) -> None:
    """Empties an llvmlite module that is no longer needed.

    Its objects refer to each other in circles. Python's garbage collector would find them, in a
    quarter of the time that it took to make them.
    """
    for function in module.functions:
        for block in function.blocks:
            for instruction in block.instructions:
                if instruction.opname == "phi":
                    instruction.incomings = []
            block.instructions.clear()
            block.terminator = None
        function.blocks.clear()
    module.globals.clear()


def assembly(module: Any, target: Target) -> str:
    """Returns the code of an llvmlite module as assembly text."""
    return str(machine(target).emit_assembly(_parsed(module, target)))


def _parsed(module: Any, target: Target) -> Any:
    return llvm.parse_assembly(text_for(module, target))
