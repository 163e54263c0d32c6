"""Generated source and its kernels -> machine code in this process, from the cache if it is there.

One cached object for each kernel, one for the runtime, and one for each structure of a model.
"""
from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from llvmlite import ir as ll

from nncompile.cpu.kernels.kernel import INT, Kernel
from nncompile.cpu.objects.cache import cached
from nncompile.cpu.objects.compile import (
    Function,
    compile_functions,
    execute,
    runtime_function,
    source_hash,
)
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.primitives import PHASE, WORDS, Word, symbol
from nncompile.cpu.objects.progress import do_all
from nncompile.cpu.runtime import buffer_call as short
from nncompile.cpu.runtime import compiled_call as call
from nncompile.cpu.runtime import launch, pool
from nncompile.cpu.vector.target import Target, object_code
from nncompile.errors import CompileError

# The functions of generated source that a call runs, with the letters of their arguments; those
# that these call, for steps that repeat, have pointers of these names.
DRIVER = {"plan": "pp", "row_blocks": "ppppippi", "phases": "ppppippi"}
POINTERS = re.compile(r"p\d+|queue|weights|fault")

# Functions of the runtime that Python, and code that is compiled by itself, find by their symbols.
EXPORTED = (pool.worker, pool.share, launch.run, call.call)

HEAD = re.compile(r"def (\w+)\(")              # of a function
# A phase, and the function that it is the first argument of.
PHASE_OF = re.compile(r"(?:(?P<function>\w+)\()?\b(?P<word>(?:phase|claim)\()")
NUMBER = re.compile(r"\w+, (\d+)\)")          # the arguments behind it

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):            # a child never starts in the middle of a compilation
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release,
                        after_in_child=_lock.release)


@dataclass(frozen=True)
class Driver:
    """Addresses of a model's functions (`row_blocks` is 0 where there is none), and the size of the
    queue that they claim work from."""

    plan: int
    row_blocks: int
    phases: int
    queue_words: int


def load(source: str, kernels: Mapping[str, Kernel], target: Target) -> Driver:
    """Compile or find the source's functions and the kernels it calls, each by its name.

    Raises CompileError where the source says something that numba cannot compile.
    """
    names, queue_words = read(source)
    tag = source_hash(source)
    symbols = {name: f"nnc_{name}_{tag}" for name in names}
    into = linker(target)

    def load_driver() -> None:
        if symbols["plan"] not in into:
            into.add(cached("driver", source, target,
                            lambda: compile_source(source, kernels, symbols, target)))
    objects = {entry_points(k): k for k in kernels.values()}
    jobs = [(name, partial(load_kernel, kernel, target)) for name, kernel in objects.items()]
    with _lock:
        do_all([*jobs, ("the driver", load_driver)])
    found = {name: into.address(s) for name, s in symbols.items()}
    return Driver(found["plan"], found.get("row_blocks", 0), found["phases"], queue_words)


def compile_source(source: str, kernels: Mapping[str, Kernel], symbols: Mapping[str, str],
                   target: Target) -> bytes:
    """Object code of the source's functions, under the given C symbols."""
    scope = execute(source, {**WORDS, **{n: kernel_word(k) for n, k in kernels.items()}})
    functions = [Function(c_name, scope[name], letters(scope[name]), "n")
                 for name, c_name in symbols.items()]
    for name, function in zip(symbols, functions, strict=True):     # they call each other by symbol
        scope[name] = symbol(name, function.arguments, "n", function.symbol)
    return compile_functions(functions, target, symbols.values())


def letters(function: Callable[..., Any]) -> str:
    """Of the function's arguments."""
    code = function.__code__
    return DRIVER.get(code.co_name) or "".join(
        "p" if POINTERS.fullmatch(name) else "i" for name in code.co_varnames[:code.co_argcount])


def kernel_word(kernel: Kernel) -> Word:
    letters = "".join("i" if kind == INT else "p" for kind in kernel.types)
    return symbol(kernel.name, letters, "n", kernel.symbol)


def entry_points(kernel: Kernel) -> str:
    """The name that a kernel and the same shared by all workers, two functions of one object, have
    in common."""
    return kernel.name.removeprefix("shared_")


def load_kernel(kernel: Kernel, target: Target) -> None:
    """Both entry points of the kernel; nothing, if they are loaded."""
    into = linker(target)
    if kernel.symbol not in into:
        into.add(cached("kernel", entry_points(kernel), target,
                        lambda: object_code(kernel_module(kernel, target), target)))


def kernel_module(kernel: Kernel, target: Target) -> Any:
    """LLVM of both entry points."""
    module = ll.Module(name=kernel.name)
    kernel.emit(module, target)
    return module


def load_runtime(target: Target) -> None:
    """The pool, the launch and the call path; nothing, if they are loaded."""
    load_functions("runtime", (*pool.COMPILED, *launch.COMPILED, *call.COMPILED), EXPORTED, target)


def load_short_call(target: Target) -> None:
    """What is compiled of the short way in Python, behind `load_runtime`."""
    load_functions("short", short.COMPILED, (short.run_objects,), target)


def load_sharing(target: Target) -> None:
    """`launch.sharing`, which only explains."""
    load_functions("sharing", launch.EXPLAINING, (launch.sharing,), target)


def load_functions(kind: str, compiled: Sequence[Word], exported: Sequence[Word],
                   target: Target) -> None:
    symbols = [runtime_function(word).symbol for word in exported]
    into = linker(target)
    with _lock:
        if symbols[0] not in into:
            into.add(cached(kind, "", target, lambda: compile_functions(
                [runtime_function(word) for word in compiled], target, symbols)))


def read(source: str) -> tuple[list[str], int]:
    """The functions that generated source defines, and the words of the queue it uses.

    A function that is given a phase as its queue counts on from there; it stands above its callers.
    Raises CompileError where a phase is not a plain number: the queue's size depends on it.
    """
    name, last = "", {"": 0}                           # of each function, the last of its phases
    for line, text in enumerate(source.split("\n"), 1):
        if head := HEAD.match(text):
            name = head[1]
            last[name] = 0
        if "phase(" in text or "claim(" in text:           # most lines have none
            for found in PHASE_OF.finditer(text):
                number = NUMBER.match(text, found.end())
                if number is None:
                    raise CompileError(f"line {line}: a phase is not a plain number: "
                                       + text[found.start("word"):])
                further = last.get(found["function"] or "", 0)
                last[name] = max(last[name], int(number[1]) + further)
    return [name for name in last if name], PHASE * (1 + max(last.values()))
