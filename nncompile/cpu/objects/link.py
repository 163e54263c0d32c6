"""The linker: object files in, addresses of their symbols out.

LLVM's JITLink loads them. It places the sections of an object side by side, and calls whatever lies
further away than an instruction can name through a stub. So it does not matter what else the
process has mapped between two objects.
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
from nncompile.cpu.vector import Target, machine
from nncompile.errors import CompileError, Error

_linking = forks.lock()                        # held while a linker is made or changed


class LinkError(Error):
    """An object file that cannot be loaded into this process."""


class Linker:
    """The code that is loaded for one target. It stays as long as the linker. Thread-safe."""

    def __init__(self, target: Target) -> None:
        self._jit: Any = llvm.create_lljit_compiler(machine(target), use_jit_link=True,
                                                    suppress_errors=True)
        self._libraries: list[Any] = []
        self._addresses: dict[str, int] = {}
        self._tries, self._objects, self._next_check = 0, 0, 0

    def add(self, *codes: bytes) -> None:
        """Loads object files, which may use each other's symbols: all of them, or none.

        Raises LinkError if one is damaged, if one needs a symbol that neither they nor this linker
        nor the process has, or if one defines a symbol that another has defined; CompileError where
        the process may not execute memory that it has written, or may not map any more of it.
        """
        with _linking:
            defined, imported = self._resolve(codes)
            check_executable_memory()
            if self._objects >= self._next_check:
                _check_mappings(self._objects)
                self._next_check = self._objects + _OBJECTS_A_CHECK
            library = llvm.JITLibraryBuilder()
            for code in codes:
                library.add_object_img(code)
            for name in defined:
                library.export_symbol(name)
            for name, address in imported.items():
                library.import_symbol(name, address)
            self._tries += 1                             # a name serves once, even if it fails
            try:
                loaded = library.link(self._jit, f"library {self._tries}")
            except RuntimeError as error:
                raise LinkError(f"LLVM cannot load an object file: {error}") from error
            self._libraries.append(loaded)
            self._objects += len(codes)
            self._addresses |= {name: loaded[name] for name in defined}

    def _resolve(self, codes: tuple[bytes, ...]) -> tuple[list[str], dict[str, int]]:
        """Returns the symbols that the objects define, and the addresses of others they need."""
        needed: set[str] = set()
        defined: list[str] = []
        for code in codes:
            needs, defines = symbols(code)
            needed.update(needs)
            defined += defines
        twice = {n for n in defined if n in self._addresses or defined.count(n) > 1}
        if twice:
            raise LinkError(f"two object files define {', '.join(sorted(twice))}")
        imported = {n: self._addresses.get(n) or address_in_process(n)
                    for n in sorted(needed.difference(defined))}
        missing = [name for name, address in imported.items() if address is None]
        if missing:
            raise LinkError(f"an object file needs the symbols {', '.join(missing)}, which "
                            "this process does not have")
        return defined, {n: address for n, address in imported.items() if address is not None}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._addresses

    def address(self, symbol: str) -> int:
        """Returns the address of the symbol's code."""
        return self._addresses[symbol]


_OBJECTS_A_CHECK, _MAPPINGS_LEFT = 256, 2048     # an object takes two mappings


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

    LLVM would end the process. It may be forbidden at any time, so it is tried before each use.
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


def address_in_process(symbol: str) -> int | None:
    """Returns the address of a symbol of the process, or None where it has none of that name."""
    address: int | None = llvm.address_of_symbol(symbol)
    return address


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
