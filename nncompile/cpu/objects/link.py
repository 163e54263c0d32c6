"""The linker: object files in, addresses of their symbols out.

MCJIT ends the process where a symbol cannot be found. So every symbol that an object needs is
looked up first, and a missing one raises an error.
"""
from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from nncompile import forks, options
from nncompile.cpu.vector import Target
from nncompile.errors import CompileError, Error

_linking = forks.lock()                        # held while an engine is made or changed


class LinkError(Error):
    """An object file that cannot be loaded into this process."""


class Linker:
    """One MCJIT engine, to which objects are added for good. Any thread may use it."""

    def __init__(self, target: Target) -> None:
        check_executable_memory()
        owned = llvm.Target.from_triple(target.triple).create_target_machine()  # the engine's
        empty = llvm.parse_assembly("")
        self._engine: Any = llvm.create_mcjit_compiler(empty, owned)
        self._engine.remove_module(empty)          # else LLVM's code generator starts for it
        self._addresses: dict[str, int] = {}
        self._objects = 0

    def add(self, code: bytes) -> None:
        """Loads an object file.

        Raises LinkError if it is damaged, if it needs a symbol that neither this linker nor the
        process has, or if it defines one that an earlier object has defined; CompileError where
        the process may not execute memory that it has written, or may not map any more of it.
        """
        with _linking:
            needed, defined = symbols(code)
            missing = [n for n in needed if n not in self._addresses and not in_process(n)]
            if missing:
                raise LinkError(f"an object file needs the symbols {', '.join(missing)}, which "
                                "this process does not have")
            again = [n for n in defined if n in self._addresses]
            if again:
                raise LinkError(f"two object files define {', '.join(again)}")
            check_executable_memory()
            if self._objects % _OBJECTS_A_CHECK == 0:
                _check_mappings(self._objects)
            self._objects += 1
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            self._engine.finalize_object()
            self._addresses |= {n: self._engine.get_function_address(n) for n in defined}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._addresses

    def address(self, symbol: str) -> int:
        """Returns the address of the symbol's code, which is valid for the life of the process."""
        return self._addresses[symbol]


_OBJECTS_A_CHECK, _MAPPINGS_LEFT = 256, 2048     # an object takes two mappings, or three


def _check_mappings(objects: int) -> None:
    """Raises CompileError where the process has nearly as many mappings of memory as it may have.

    LLVM would end the process. Linux allows 65,530, unless vm.max_map_count says otherwise.
    """
    try:
        most = int(Path("/proc/sys/vm/max_map_count").read_text())
        with open("/proc/self/maps", "rb") as file:
            mappings = sum(1 for _ in file)
    except (OSError, ValueError):                # another system, which has no such limit
        return
    if mappings > most - _MAPPINGS_LEFT:
        raise CompileError(f"this process has {mappings} mappings of memory, and the system allows "
                           f"{most}: {objects} pieces of generated code were loaded\n  do: compile "
                           "in more than one process, or raise vm.max_map_count")


_linkers: dict[Target, Linker] = {}


def linker(target: Target) -> Linker:
    """Returns the process's linker for a target.

    It is never freed, since code may run at any time.
    """
    with _linking:
        if target not in _linkers:
            _linkers[target] = Linker(target)
        return _linkers[target]


def check_executable_memory() -> None:
    """Raises CompileError where memory that was written may not be executed afterwards.

    LLVM would end the process. It may be forbidden at any time, so it is tried for each object.
    """
    if not hasattr(mmap, "MAP_PRIVATE"):                         # Windows
        return
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    if protect(address, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC):
        raise CompileError(
            "this process may not execute memory that it has written, so no machine code can be "
            f"loaded: {os.strerror(ctypes.get_errno())}\n"
            "  why: a rule of the system, such as systemd's MemoryDenyWriteExecute, PR_SET_MDWE or "
            "SELinux's execmem\n"
            f"  do: allow it for this process, or set {options.JIT.variable}=0, which runs the "
            "same source as plain Python and takes longer")


def in_process(symbol: str) -> bool:
    """Returns whether the process has the symbol."""
    return llvm.address_of_symbol(symbol) is not None


def symbols(code: bytes) -> tuple[list[str], list[str]]:
    """Returns the global names that a 64-bit ELF object needs, and those that it defines.

    Layout: System V ABI, "ELF-64 Object File Format", sections 3 (sections) and 5 (symbols).
    Raises LinkError for anything else, and for a damaged object.
    """
    if code[:6] != b"\x7fELF\x02\x01":
        raise LinkError("an object file is not 64-bit ELF: machine code is loaded on Linux only\n"
                        f"  do: set {options.JIT.variable}=0, which runs plain Python")
    try:
        needed: list[str] = []
        defined: list[str] = []
        for name, info, section in _elf_symbols(code):
            if name and info >> 4 != 0:                          # 0: local to the object
                (defined if section else needed).append(name)
        return needed, defined
    except (struct.error, IndexError, ValueError) as error:
        raise LinkError(f"an object file is damaged: {error}") from error


def _elf_symbols(code: bytes) -> Iterator[tuple[str, int, int]]:
    """Yields the name, info byte and section number (0: undefined) of every symbol."""
    table, = struct.unpack_from("<Q", code, 40)
    entry, count = struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * entry) for i in range(count)]
    for _, kind, _, _, start, length, names, *_ in sections:
        if kind == 2:                                            # SHT_SYMTAB
            strings = sections[names][4]
            for at in range(start, start + length, 24):
                offset, info, _, section = struct.unpack_from("<IBBH", code, at)
                end = code.index(b"\0", strings + offset)
                yield code[strings + offset:end].decode(), info, section
