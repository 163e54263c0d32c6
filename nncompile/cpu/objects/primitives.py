"""Primitives: the functions that generated source and the runtime are written with.

A primitive is given as an emitter of LLVM IR; those of generated source also as Python, where an
array that starts at an address stands for the pointer to it, so that the same text runs without a
compiler. Arguments and results are described by one letter each:

    p  a pointer, to whatever the primitive says    i  an int64
    c  a C int, seen as int64 (results only)        n  nothing

Addresses stay pointers from end to end, since LLVM may miscompile pointers made from integers.
"""
from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir as ll

from ir.records import dataclass
from ir.types import DTYPES
from nncompile.cpu import layout
from nncompile.cpu.kernels import typed
from nncompile.cpu.vector import retyped

_F32, _I8, _I32, _I64 = ll.FloatType(), ll.IntType(8), ll.IntType(32), ll.IntType(64)
POINTER, _VOID = ll.PointerType(), ll.VoidType()
_LLVM_TYPES = {"p": POINTER, "i": _I64, "c": _I32, "n": _VOID}

_LINE = layout.LINE_FLOATS

_Builder = Any                    # llvmlite.ir.IRBuilder
Pointer = Any                     # in annotations of the runtime's functions: letter p
Emitter = Callable[[_Builder, Sequence[Any]], Any]


@dataclass(frozen=True)
class Primitive:
    """A function of generated source or of the runtime.

    `emit(builder, values)` returns its result as LLVM IR, `python(*arguments)` computes it.
    """

    name: str
    arguments: str
    result: str
    emit: Emitter
    python: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self.python is None:
            raise NotImplementedError(f"{self.name} only exists compiled")
        return self.python(*arguments)


def symbol(name: str, arguments: str, result: str, c_name: str | None = None) -> Primitive:
    """Returns a C function that the linker finds: the process's (libc, the interpreter) or ours."""
    def emit(builder: _Builder, values: Sequence[Any]) -> Any:
        value = builder.call(declared(builder.module, c_name or name, arguments, result), values)
        return builder.sext(value, _I64) if result == "c" else value
    return Primitive(name, arguments, result, emit)


def declared(module: Any, name: str, arguments: str, result: str) -> Any:
    """Returns the module's function of that name, declared where it is not there yet."""
    if name in module.globals:
        return module.globals[name]
    kind = ll.FunctionType(_LLVM_TYPES[result], [_LLVM_TYPES[a] for a in arguments])
    return ll.Function(module, kind, name)


def indirect(name: str, arguments: str, result: str) -> Primitive:
    """Returns a primitive that calls the function at the address that is its first argument."""
    def emit(builder: _Builder, values: Sequence[Any]) -> Any:
        kind = ll.FunctionType(_LLVM_TYPES[result], [_LLVM_TYPES[a] for a in arguments])
        return builder.call(retyped(values[0], kind.as_pointer()), values[1:])
    return Primitive(name, "p" + arguments, result, emit)


def _element(builder: _Builder, pointer: Any, index: Any, kind: Any = _I64) -> Any:
    return builder.gep(pointer, [index], source_etype=kind)


def _smaller(builder: _Builder, values: Sequence[Any]) -> Any:
    return builder.select(builder.icmp_signed("<", *values), *values)


def _larger(builder: _Builder, values: Sequence[Any]) -> Any:
    return builder.select(builder.icmp_signed(">", *values), *values)


def _round_up(builder: _Builder, values: Sequence[Any]) -> Any:
    return builder.and_(builder.add(values[0], _I64(_LINE - 1)), _I64(-_LINE))


def _place_of_phase(builder: _Builder, values: Sequence[Any]) -> Any:
    return _element(builder, values[0], builder.mul(values[1], _I64(layout.PHASE_WORDS)))


def _take_next(builder: _Builder, values: Sequence[Any]) -> Any:
    return builder.atomic_rmw("add", _place_of_phase(builder, values), _I64(1), "acq_rel")


def _python_put(facts: Any, index: int, value: int) -> None:
    facts[index] = value


def _python_claim(queue: Any, number: int) -> int:
    queue[number * layout.PHASE_WORDS] += 1
    return int(queue[number * layout.PHASE_WORDS]) - 1


def _step_primitive(name: str, dtype: str) -> Primitive:
    kind = _F32 if dtype == "f32" else ll.IntType(8 * DTYPES[dtype].itemsize)
    return Primitive(name, "pi", "p", lambda b, v: _element(b, v[0], v[1], kind),
                lambda array, offset: typed(array, dtype)[offset:])


# -- the primitives of generated source ------------------------------------------------------------

PRIMITIVES = {primitive.name: primitive for primitive in (
    # the element that lies `offset` after `pointer`: at(p, 3) counts float32, at_i64(p, 3) int64
    *(_step_primitive("at" if dtype == "f32" else f"at_{dtype}", dtype) for dtype in DTYPES),
    # input or output number k of the call;  the k-th named size
    Primitive("pointer", "pi", "p", lambda b, v: b.load(_element(b, *v), typ=POINTER),
         lambda args, k: args[k]),
    Primitive("size", "pi", "i", lambda b, v: b.load(_element(b, *v), typ=_I64),
         lambda sizes, k: int(sizes[k])),
    # a fact that `plan` writes
    Primitive("put", "pii", "n", lambda b, v: b.store(v[2], _element(b, *v[:2])), _python_put),
    # the queue of step k's units;  its next unit, which is claimed
    Primitive("phase", "pi", "p", _place_of_phase, lambda queue, k: queue[k * layout.PHASE_WORDS:]),
    Primitive("claim", "pi", "i", _take_next, _python_claim),
    # floats, rounded up to whole cache lines
    Primitive("aligned", "i", "i", _round_up, lambda n: (n + _LINE - 1) // _LINE * _LINE),
    Primitive("min", "ii", "i", _smaller, min),
    Primitive("max", "ii", "i", _larger, max),
)}


# -- the runtime's primitives: memory and atomics count in words of 8 bytes ------------------------

def _pause(builder: _Builder, _: Sequence[Any]) -> None:
    """Tells the CPU that this is a spinning loop."""
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        builder.call(declared(builder.module, "llvm.x86.sse2.pause", "", "n"), [])
    elif machine in ("aarch64", "arm64"):
        hint = declared(builder.module, "llvm.aarch64.hint", "c", "n")
        builder.call(hint, [_I32(1)])                                # yield


load = Primitive("load", "pi", "i", lambda b, v: b.load(_element(b, *v), typ=_I64))
store = Primitive("store", "pii", "n", lambda b, v: b.store(v[2], _element(b, *v[:2])))
load_pointer = Primitive("load_pointer", "pi", "p",
                         lambda b, v: b.load(_element(b, *v), typ=POINTER))
store_pointer = Primitive("store_pointer", "pip", "n",
                          lambda b, v: b.store(v[2], _element(b, *v[:2])))
load_int32 = Primitive("load_int32", "pi", "i", lambda b, v: b.sext(      # at an offset in bytes
    b.load(_element(b, v[0], v[1], _I8), typ=_I32), _I64))
words = Primitive("words", "pi", "p", lambda b, v: _element(b, *v))       # the address of word i
null = Primitive("null", "", "p", lambda b, v: ll.Constant(POINTER, None))
same = Primitive("same", "pp", "i", lambda b, v: b.zext(b.icmp_unsigned("==", *v), _I64))
# memory on the stack, until the function returns
stack = Primitive("stack", "i", "p", lambda b, v: b.alloca(_I64, size=v[0]))
relax = Primitive("relax", "", "n", _pause)

# a store with release order
publish = Primitive("publish", "pii", "n", lambda b, v: b.store_atomic(
    v[2], retyped(_element(b, *v[:2]), _I64.as_pointer()), "release", 8))

# each is a full barrier (sequentially consistent); the last two return the previous value
atomic_load = Primitive("atomic_load", "pi", "i", lambda b, v: b.load_atomic(
    _element(b, *v), "seq_cst", 8, typ=_I64))
atomic_store = Primitive("atomic_store", "pii", "n", lambda b, v: b.store_atomic(
    v[2], retyped(_element(b, *v[:2]), _I64.as_pointer()), "seq_cst", 8))
atomic_add = Primitive("atomic_add", "pii", "i", lambda b, v: b.atomic_rmw(
    "add", _element(b, *v[:2]), v[2], "seq_cst"))
exchange = Primitive("exchange", "pii", "i", lambda b, v: b.atomic_rmw(
    "xchg", _element(b, *v[:2]), v[2], "seq_cst"))
