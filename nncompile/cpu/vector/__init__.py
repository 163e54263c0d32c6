"""Vector code: the CPU as a value, vectors as LLVM IR, and elementwise functions on them."""
from nncompile.cpu.vector.builder import (
    F64,
    I1,
    I32,
    I64,
    PTR,
    Emit,
    Int,
    Value,
    declared,
    define,
    lanes,
    retyped,
)
from nncompile.cpu.vector.target import (
    Target,
    assembly,
    available,
    host,
    machine,
    new_machine,
    object_code,
    take_apart,
    text_for,
)

__all__ = ["F64", "I1", "I32", "I64", "PTR", "Emit", "Int", "Target", "Value", "assembly",
           "available", "declared", "define", "host", "lanes", "machine", "new_machine",
           "object_code", "retyped", "take_apart", "text_for"]
