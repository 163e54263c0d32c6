"""Tests and conversions of elements."""
from __future__ import annotations

from ir.types import INTEGERS
from nncompile.onnx_operators.arithmetic import is_nan
from nncompile.onnx_operators.node import OnnxNode, Term


def isfinite(x: Term) -> Term:
    """Returns where x is neither NaN nor an infinity."""
    return ~(is_nan(x) | x.apply("IsInf", dtype="bool"))


def cast(op: OnnxNode, *, dtype: str) -> str:
    """Floats become int8 and uint8 through int32, whose low bits they have."""
    x = op.term(0)
    if x.dtype not in INTEGERS and dtype in ("i8", "u8"):
        x = x.cast("i32")
    return x.cast(dtype).name
