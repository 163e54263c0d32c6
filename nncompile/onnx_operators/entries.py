"""Entries that are much alike, and what makes them of the names of operators."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ir import Value
from nncompile.onnx_operators.node import Entry, OnnxNode, Term


def operator(kind: str, **attrs: Any) -> Entry:
    """The same operands, and attributes that are always the same."""
    return lambda op: op.emit(kind, *op.names, **attrs)


def along(kind: str, **attrs: Any) -> Entry:
    """The same operands, and the axis is an attribute."""
    return lambda op, *, axis, **_: op.emit(kind, *op.names, axis=axis, **attrs)


def composed(first: str, *further: str) -> Entry:
    """An operator of the operands, and others of one operand behind it."""
    def write(op: OnnxNode) -> str:
        result = op.emit(first, *op.names)
        for kind in further:
            result = op.emit(kind, result)
        return result
    return write


def with_itself(outer: str, inner: str) -> Entry:
    """An operator of the operand and of what another makes of it."""
    return lambda op: op.emit(outer, op[0], op.emit(inner, op[0]))


def formula(function: Callable[..., Term]) -> Entry:
    """What a function computes of the operands as Terms."""
    return lambda op: function(*op.terms).name


def in_double(single: Entry, double: Callable[..., Term]) -> Entry:
    """An operator that ONNX Runtime has in float32, and what computes the same in float64."""
    def write(op: OnnxNode) -> str:
        if op.is_double:
            return double(*op.terms).name
        return op.emit(single, *op.names) if isinstance(single, str) else single(op)
    return write


def with_numbers(kind: str, other: Callable[..., Term], *names: str) -> Entry:
    """An operator with the second operand as attributes of these names, if it is a plain number.

    other: what computes the same of arrays, and in float64.
    """
    def write(op: OnnxNode) -> str:
        if op.is_double or not isinstance(op.inputs[1], float):
            return other(*op.terms).name
        return op.emit(kind, op[0], **dict.fromkeys(names, op.inputs[1]))
    return write


def narrow(entry: Entry, *dtypes: str) -> Entry:
    """An entry whose operator ONNX does not have for these dtypes: they go through int32.

    That is exact: what does not fit into 8 bits wraps around in the end as it would have before.
    """
    def write(op: OnnxNode, **attrs: Any) -> str:
        def call(node: OnnxNode) -> str:
            return node.emit(entry, *node.names) if isinstance(entry, str) else entry(node, **attrs)
        if op.dtype not in dtypes:
            return call(op)
        wide = [_in_int32(op, i) for i in range(len(op.inputs))]
        names = {value: name for value, name in wide if isinstance(value, Value)}
        result = _typed(op.result, "i32") if op.result.type.dtype == op.dtype else op.result
        node = OnnxNode([value for value, _ in wide], result, names.__getitem__, op.emit,
                        op.constant, op.sizes, op.data, op.opset)
        found = Term(op, call(node), result.type.dtype)
        return (found if result is op.result else found.cast(op.dtype)).name
    return write


def _in_int32(op: OnnxNode, index: int) -> tuple[Any, str]:
    """Returns an operand as one of int32, with its name; the condition of a `where` stays."""
    operand = op.inputs[index]
    if not isinstance(operand, Value):
        return operand, ""
    if operand.type.dtype != op.dtype or (len(op.inputs) == 3 and index == 0):
        return operand, op.name(operand)
    return _typed(operand, "i32"), op.term(index).cast("i32").name


def _typed(value: Value, dtype: str) -> Value:
    return Value(type(value.type)(dtype, value.type.shape))
