"""The linker: object files in, addresses of their symbols out.

MCJIT ends the process where a symbol cannot be found. So every symbol that an object needs is
looked up first, and a missing one raises an error.
"""
from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm

from nncompile.cpu.vector import Target
from nncompile.errors import Error


class LinkError(Error):
    """An object file that cannot be loaded into this process."""


class Linker:
    """One MCJIT engine, to which objects are added for good. Any thread may use it."""

    def __init__(self, target: Target) -> None:
        self._lock = threading.Lock()
        owned = llvm.Target.from_triple(target.triple).create_target_machine()  # the engine's
        empty = llvm.parse_assembly("")
        self._engine: Any = llvm.create_mcjit_compiler(empty, owned)
        self._engine.remove_module(empty)          # else LLVM's code generator starts for it
        self._addresses: dict[str, int] = {}

    def add(self, code: bytes) -> None:
        """Loads an object file.

        Raises LinkError if it is damaged, if it needs a symbol that neither this linker nor the
        process has, or if it defines one that an earlier object has defined.
        """
        with self._lock:
            needed, defined = symbols(code)
            missing = [n for n in needed if n not in self._addresses and not in_process(n)]
            if missing:
                raise LinkError(f"an object file needs the symbols {', '.join(missing)}, which "
                                "this process does not have")
            again = [n for n in defined if n in self._addresses]
            if again:
                raise LinkError(f"two object files define {', '.join(again)}")
            self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            self._engine.finalize_object()
            self._addresses |= {n: self._engine.get_function_address(n) for n in defined}

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._addresses

    def address(self, symbol: str) -> int:
        """Returns the address of the symbol's code, which is valid for the life of the process."""
        return self._addresses[symbol]


_linkers: dict[Target, Linker] = {}
_lock = threading.Lock()


def linker(target: Target) -> Linker:
    """Returns the process's linker for a target.

    It is never freed, since code may run at any time.
    """
    with _lock:
        if target not in _linkers:
            _linkers[target] = Linker(target)
        return _linkers[target]


def in_process(symbol: str) -> bool:
    """Returns whether the process has the symbol."""
    return llvm.address_of_symbol(symbol) is not None


def symbols(code: bytes) -> tuple[list[str], list[str]]:
    """Returns the global names that a 64-bit ELF object needs, and those that it defines.

    Layout: System V ABI, "ELF-64 Object File Format", sections 3 (sections) and 5 (symbols).
    Raises LinkError for anything else, and for a damaged object.
    """
    if code[:6] != b"\x7fELF\x02\x01":
        raise LinkError("an object file is not 64-bit ELF: only Linux is supported")
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
