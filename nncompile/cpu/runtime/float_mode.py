"""The floating-point mode of compiled code: the register of a thread; see ir/float_mode.py.

It costs a call one read and a comparison. A worker runs nothing but ours, and sets its register
when it starts: a new thread begins in the mode of the one that made it.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir as ll

from ir.float_mode import MACHINE, REGISTER
from nncompile.cpu.objects.primitives import Primitive, declared

# What compiled code compares and sets; where the register is not known, both are 0.
BITS, STANDARD = (REGISTER.bits, REGISTER.standard) if REGISTER else (0, 0)

_I32, _I64 = ll.IntType(32), ll.IntType(64)


def _read(builder: Any, _: Sequence[Any]) -> Any:
    if MACHINE == "x86_64":
        memory = builder.alloca(_I32)
        builder.call(declared(builder.module, "llvm.x86.sse.stmxcsr", "p", "n"), [memory])
        return builder.zext(builder.load(memory, typ=_I32), _I64)
    if MACHINE == "aarch64":
        return builder.call(declared(builder.module, "llvm.aarch64.get.fpcr", "", "i"), [])
    return _I64(0)


def _write(builder: Any, values: Sequence[Any]) -> None:
    if MACHINE == "x86_64":
        memory = builder.alloca(_I32)
        builder.store(builder.trunc(values[0], _I32), memory)
        builder.call(declared(builder.module, "llvm.x86.sse.ldmxcsr", "p", "n"), [memory])
    elif MACHINE == "aarch64":
        builder.call(declared(builder.module, "llvm.aarch64.set.fpcr", "i", "n"), [values[0]])


float_mode = Primitive("float_mode", "", "i", _read)
set_float_mode = Primitive("set_float_mode", "i", "n", _write)
