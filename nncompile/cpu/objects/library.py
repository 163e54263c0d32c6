"""Kernels and functions of the runtime in this process, from the cache where it has them."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llvmlite import ir as ll

from nncompile import forks
from nncompile.cpu.kernels import INT, Kernel, Part
from nncompile.cpu.objects.cache import Slot
from nncompile.cpu.objects.compile import Function, lowered, runtime_function, simplified
from nncompile.cpu.objects.emit import Emission, Module
from nncompile.cpu.objects.link import Linker, linker
from nncompile.cpu.objects.primitives import Primitive, symbol
from nncompile.cpu.objects.progress import Known, Task
from nncompile.cpu.vector import Target, take_apart, text_for

compiling = forks.lock()                       # held while code is compiled or loaded


def kernel_primitive(kernel: Kernel) -> Primitive:
    """Returns the primitive by which generated source calls the kernel."""
    letters = "".join("i" if kind == INT else "p" for kind in kernel.types)
    return symbol(kernel.name, letters, "n", kernel.symbol)


def pieces(kernels: Iterable[Kernel], into: Linker) -> dict[str, Kernel | Part]:
    """Returns the kernels and parts of kernels that are not loaded, by the names of their objects.

    A kernel's two entry points share an object.
    """
    found: dict[str, Kernel | Part] = {}
    for kernel in kernels:
        found |= {kernel.name.removeprefix("shared_"): kernel, **{p.name: p for p in kernel.parts}}
    return {name: piece for name, piece in found.items() if piece.symbol not in into}


def begin(name: str, piece: Kernel | Part, target: Target, emission: Emission) -> Task:
    """Returns the task whose result is object code of a piece, which is emitted if need be."""
    slot = Slot("kernel", name, target)
    if slot.code is not None:
        return Known(slot.code)
    module = kernel_module(piece, target)
    text = text_for(module, target)
    take_apart(module)
    return _Emitted(slot, emission, emission.begin(text))


class _Emitted(Task):
    """Object code that is emitted, and kept in the cache."""

    def __init__(self, slot: Slot, emission: Emission, module: Module) -> None:
        self._slot, self._emission, self._module = slot, emission, module

    @property
    def done(self) -> bool:
        return self._module.done

    def result(self) -> bytes:
        return self._slot.keep(self._emission.code(self._module))


def load_kernels(kernels: Iterable[Kernel], target: Target, into: Linker) -> None:
    """Loads kernels, and what they call, into a linker, unless they are loaded."""
    with Emission(target) as emission:
        into.add(*(begin(name, piece, target, emission).result()
                   for name, piece in pieces(kernels, into).items()))


def kernel_module(piece: Kernel | Part, target: Target) -> Any:
    """Returns LLVM IR of both entry points of a kernel, or of a part."""
    module = ll.Module(name=piece.name)
    piece.emit(module, target)
    return module


def begin_functions(kind: str, name: str, functions: Callable[[], Sequence[Function]],
                    exported: Sequence[str], target: Target, emission: Emission) -> Task:
    """Returns the task whose result is object code of functions; see `compile_functions`.

    Numba's part of the work is done at once, unless the code is cached.
    """
    slot = Slot(kind, name, target)
    if slot.code is not None:
        return Known(slot.code)
    text = lowered(functions(), target, exported)
    return _Emitted(slot, emission, emission.begin_making(
        len(text), lambda emitter: simplified(text, emitter)))


def begin_runtime(kind: str, compiled: Sequence[Primitive], exported: Sequence[Primitive],
                  target: Target, emission: Emission) -> Task:
    """Returns the task whose result is functions of the runtime, one object for each kind.

    exported: those that Python, and code that is compiled by itself, find by their symbols.
    """
    return begin_functions(kind, "", lambda: list(map(runtime_function, compiled)),
                           [runtime_function(e).symbol for e in exported], target, emission)


def load_functions(kind: str, compiled: Sequence[Primitive], exported: Sequence[Primitive],
                   target: Target) -> None:
    """Loads functions of the runtime, unless they are loaded."""
    into = linker(target)
    with compiling, Emission(target) as emission:
        if runtime_function(exported[0]).symbol not in into:
            into.add(begin_runtime(kind, compiled, exported, target, emission).result())
