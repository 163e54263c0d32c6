"""The part of a dispatcher that records: each op becomes a node of a graph that is being built.

What traces a forward and what reads a model file derive their own dispatchers from it; they say
where an op comes from, and how an error is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ir import Builder, Error, NDArray, TensorType, Value, Where, type_of
from ir.ops import Attrs
from nncompile.array.dispatch import Dispatcher, Payload


class Recorder(Dispatcher):
    """A dispatcher whose ops become nodes of `builder`, and whose ndarrays become constants."""

    def __init__(self) -> None:
        super().__init__()
        self.builder = Builder()
        self.known: set[Value] = set()
        self.constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    def where(self) -> Where:
        """Returns where the op comes from that is being recorded."""
        raise NotImplementedError

    def fail(self, message: str, operands: Iterable[Any]) -> NoReturn:
        """Raises Error with this message about an op on these operands."""
        raise NotImplementedError

    def declare(self, kind: str, name: str, type_: TensorType, data: NDArray | None = None
                ) -> Value:
        """Returns a new input, parameter or constant of the graph."""
        value = self.builder.declare(kind, name, type_, data)
        self.known.add(value)
        return value

    def op(self, name: str, operands: Sequence[Payload | float], attrs: Attrs) -> Payload:
        """Returns the result of a new node. Fails where the op's type rule refuses the operands."""
        inputs = [o if isinstance(o, float) else self.value(o) for o in operands]
        try:
            value = self.builder.add(name, *inputs, where=self.where(), **attrs)
        except Error as error:
            self.fail(str(error), [o if isinstance(o, float) else o.type for o in inputs])
        self.known.add(value)
        return value

    def value(self, payload: Payload) -> Value:
        """Returns the graph's value for a payload; an ndarray becomes a constant.

        Fails for a value of another graph.
        """
        if not isinstance(payload, Value):
            return self.constant(payload)
        if payload not in self.known:
            self.fail("an array kept from another trace is used", [payload.type])
        return payload

    def constant(self, data: NDArray) -> Value:
        """Returns the value of a constant. Equal ones are one value.

        Its data are a copy: the array may be changed afterwards.
        """
        key = (str(data.dtype), data.shape, data.tobytes())
        if key not in self.constants:
            name = str(len(self.constants))
            self.constants[key] = self.declare("constant", name, type_of(data), data.copy())
        return self.constants[key]
