"""The linker: many objects at once, anywhere in memory, and what it refuses."""
from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

from nncompile.cpu.objects import link
from nncompile.cpu.objects.link import Linker, LinkError
from nncompile.cpu.vector import host, machine
from nncompile.errors import CompileError

ROOT = Path(__file__).resolve().parents[2]


def code(name: str, value: str = "1", calls: str = "") -> bytes:
    """A function of that name, which returns the value, a constant, or what another returns."""
    result = f"call i64 @{calls}()" if calls else f"add i64 {value}, 0"
    declared = f"declare i64 @{calls}()" if calls else ""
    return bytes(machine(host()).emit_object(llvm.parse_assembly(
        f"{declared}\ndefine i64 @{name}() {{\n  %r = {result}\n  ret i64 %r\n}}")))


def result(linker: Linker, name: str) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(linker.address(name))())


def test_objects_of_a_batch_call_each_other_and_earlier_ones_in_any_order():
    linker = Linker(host())
    linker.add(code("early", "7"))
    linker.add(code("first", calls="second"), code("second", calls="early"), code("third", "3"))
    assert [result(linker, n) for n in ("early", "first", "second", "third")] == [7, 7, 7, 3]
    linker.add(code("late", calls="first"))
    assert result(linker, "late") == 7


def test_a_symbol_that_two_objects_of_a_batch_define_is_an_error():
    linker = Linker(host())
    with pytest.raises(LinkError, match=r"two object files define both$"):
        linker.add(code("one"), code("both"), code("both"))
    assert "one" not in linker and "both" not in linker


@pytest.mark.parametrize("bad", ["cut", "not code", "text", "missing", "twice"])
def test_a_bad_object_loads_nothing_of_its_batch_and_leaves_the_linker_usable(bad: str):
    """An object that is cut keeps its symbols, so that LLVM itself refuses it."""
    linker, whole = Linker(host()), code("bad")
    linker.add(code("early", "7"))
    table = int.from_bytes(whole[40:48], "little")
    damaged = {"cut": whole[:100],
               # the offset of the code, section 2, now lies outside of the file
               "not code": _with_word(whole, table + 2 * 64 + 24, 1 << 40),
               "text": b"text", "missing": code("bad", calls="nnc_there_is_no_such"),
               "twice": code("early")}[bad]
    with pytest.raises(LinkError, match="object file"):
        linker.add(code("good", "5"), damaged)
    assert "good" not in linker and "bad" not in linker and result(linker, "early") == 7
    linker.add(code("good", "5"), whole)
    assert result(linker, "good") == 5 and result(linker, "bad") == 1


def _with_word(blob: bytes, at: int, word: int) -> bytes:
    return blob[:at] + word.to_bytes(8, "little") + blob[at + 8:]


FAR = """
import ctypes, mmap, os
from nncompile.cpu import kernels
from nncompile.cpu.objects import library, link
from nncompile.cpu.vector import host
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
def reserve(size):
    assert libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, -1, 0) > 0
from tests.cpu.test_objects_link import code, result
linker = link.Linker(host())
linker.add(code("near", "7"))
for op in ("tanh", "exp", "log", "sigmoid", "gelu", "sin"):
    kernel = kernels.elementwise(((op, "v"),), 0)
    library.load_kernels([kernel], host(), linker)
    for _ in range(100):                      # fills the gaps between what is mapped
        reserve(mmap.PAGESIZE)
        reserve(16 * mmap.PAGESIZE)
    reserve(1 << 32)
linker.add(code("far", calls="near"), code("process", calls="getpid"))
print(abs(linker.address("far") - linker.address("near")) > 1 << 32)
print(result(linker, "far"), result(linker, "process") % 2**32 == os.getpid())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_code_is_loaded_into_a_process_that_maps_much_else():
    """Each kernel has constants, which its code has to reach with an offset of 32 bits.

    And code calls what lies too far away for such an offset.
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", FAR], cwd=ROOT, timeout=120,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n7 True\n"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_no_more_code_is_loaded_than_a_process_may_map(monkeypatch):
    linker = Linker(host())
    with monkeypatch.context() as patch:
        patch.setattr(link, "_MAPPINGS_LEFT", 10**9)
        with pytest.raises(CompileError, match="mappings of memory, and the system allows"):
            linker.add(code("one_of_a_test"))
    linker.add(code("one_of_a_test"))
    assert "one_of_a_test" in linker
