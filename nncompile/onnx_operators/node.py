"""A node of a graph while it is written as ONNX, and values to compute with."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ir import DTYPES, Dim, NDArray, Value
from ir.records import dataclass

Entry = str | Callable[..., str]

_ELEMENT_TYPES = {"f32": 1, "u8": 2, "i8": 3, "i32": 6, "i64": 7, "bool": 9, "f64": 11}


@dataclass(frozen=True)
class OnnxNode:
    """A node of a graph while it is written as ONNX, where values are known by their names.

    inputs:   values and floats.
    name:     returns the name of a value.
    emit:     adds an ONNX node, `emit(kind, *names, **attrs)`, and returns the name of its result;
              of its second result with `second=True`.
    constant: returns the name of an array that is part of the model.
    sizes:    returns the name of a vector of sizes: of a constant if all of them are known.
    data:     returns the array of a parameter that may be written in another form; None for others.
    opset:    of the model.
    """

    inputs: Sequence[Any]
    result: Value
    name: Callable[[Value], str]
    emit: Callable[..., str]
    constant: Callable[[NDArray], str]
    sizes: Callable[[Sequence[Dim]], str]
    data: Callable[[Value], NDArray | None]
    opset: int

    def __getitem__(self, index: int) -> str:
        """The name of an operand; a plain number becomes a scalar of the arrays' dtype."""
        operand = self.inputs[index]
        return self.name(operand) if isinstance(operand, Value) else self.number(operand)

    @property
    def names(self) -> list[str]:
        """The names of all operands."""
        return [self[i] for i in range(len(self.inputs))]

    @property
    def dtype(self) -> str:
        """The dtype of the last operand that is an array, or of the result where none is."""
        arrays = [o for o in self.inputs if isinstance(o, Value)] or [self.result]
        return str(arrays[-1].type.dtype)

    @property
    def is_double(self) -> bool:
        """Whether the op computes in float64, for which ONNX Runtime lacks some operators."""
        return self.dtype == "f64"

    def number(self, value: float, dtype: str = "") -> str:
        """Returns the name of a scalar, of the operands' dtype if nothing else is said."""
        return self.constant(np.asarray(value, DTYPES[dtype or self.dtype]))

    def term(self, index: int) -> Term:
        """Returns an operand to compute with."""
        operand = self.inputs[index]
        dtype = operand.type.dtype if isinstance(operand, Value) else self.dtype
        return Term(self, self[index], dtype)

    @property
    def terms(self) -> list[Term]:
        """All operands, to compute with."""
        return [self.term(i) for i in range(len(self.inputs))]


class Term:
    """A value of the ONNX model, which computes as NumPy's arrays do by adding nodes to it."""

    def __init__(self, op: OnnxNode, name: str, dtype: str) -> None:
        self.op, self.name, self.dtype = op, name, dtype

    def apply(self, kind: str, *others: Any, dtype: str = "", **attrs: Any) -> Term:
        """Returns an operator of this and others, of this dtype if nothing else is said."""
        names = [self._named(other) for other in (self, *others)]
        return Term(self.op, self.op.emit(kind, *names, **attrs), dtype or self.dtype)

    def _named(self, other: Any) -> str:
        if isinstance(other, Term):
            return other.name
        return other if isinstance(other, str) else self.op.number(other, self.dtype)

    def _constant(self, value: float) -> Term:
        return Term(self.op, self.op.number(value, self.dtype), self.dtype)

    def __add__(self, other: Any) -> Term:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Term:
        return self.apply("Sub", other)

    def __mul__(self, other: Any) -> Term:
        return self.apply("Mul", other)

    def __truediv__(self, other: Any) -> Term:
        return self.apply("Div", other)

    def __radd__(self, other: float) -> Term:
        return self._constant(other) + self

    def __rsub__(self, other: float) -> Term:
        return self._constant(other) - self

    def __rmul__(self, other: float) -> Term:
        return self._constant(other) * self

    def __rtruediv__(self, other: float) -> Term:
        return self._constant(other) / self

    def __neg__(self) -> Term:
        return self.apply("Neg")

    def __abs__(self) -> Term:
        return self.apply("Abs")

    def __lt__(self, other: Any) -> Term:
        return self.apply("Less", other, dtype="bool")

    def __gt__(self, other: Any) -> Term:
        return self.apply("Greater", other, dtype="bool")

    def __le__(self, other: Any) -> Term:
        return self.apply("LessOrEqual", other, dtype="bool")

    def __ge__(self, other: Any) -> Term:
        return self.apply("GreaterOrEqual", other, dtype="bool")

    def equals(self, other: Any) -> Term:
        """Returns where both are equal."""
        return self.apply("Equal", other, dtype="bool")

    def __and__(self, other: Term) -> Term:
        return self.apply("And", other)

    def __or__(self, other: Term) -> Term:
        return self.apply("Or", other)

    def __xor__(self, other: Term) -> Term:
        return self.apply("Xor", other)

    def __invert__(self) -> Term:
        return self.apply("Not")

    def exp(self) -> Term:
        """Returns e to the power of this."""
        return self.apply("Exp")

    def log(self) -> Term:
        """Returns the natural logarithm."""
        return self.apply("Log")

    def sqrt(self) -> Term:
        """Returns the square root."""
        return self.apply("Sqrt")

    def where(self, a: Any, b: Any) -> Term:
        """Returns a where this is true and b elsewhere; one of them is a Term."""
        chosen = a if isinstance(a, Term) else b
        return self.apply("Where", chosen._named(a), chosen._named(b), dtype=chosen.dtype)

    def cast(self, dtype: str) -> Term:
        """Returns this in another dtype."""
        return self.apply("Cast", dtype=dtype, to=_ELEMENT_TYPES[dtype])
