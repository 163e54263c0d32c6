"""The linker: what it refuses before LLVM would end the process."""

import sys

import llvmlite.binding as llvm
import pytest

from nncompile.cpu.objects import link
from nncompile.cpu.vector import host
from nncompile.errors import CompileError


def code() -> bytes:
    machine = llvm.Target.from_triple(host().triple).create_target_machine()
    return machine.emit_object(llvm.parse_assembly("define i64 @one_of_a_test() {\n  ret i64 1\n}"))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_no_more_code_is_loaded_than_a_process_may_map(monkeypatch):
    linker = link.Linker(host())
    with monkeypatch.context() as patch:
        patch.setattr(link, "_MAPPINGS_LEFT", 10**9)
        with pytest.raises(CompileError, match="mappings of memory, and the system allows"):
            linker.add(code())
    linker.add(code())
    assert "one_of_a_test" in linker
