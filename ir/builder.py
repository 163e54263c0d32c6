"""Builds a graph node by node; each result's type is inferred as the node is added.

    builder = Builder()
    x = builder.declare("input", "x", parse_type("f32[B, 64]"))
    y = builder.add("mul", builder.add("exp", x), 0.5)
    graph = builder.build("example", [y])

Parameters and constants may be declared with their data, which the graph then has.
"""
from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from ir.graph import (
    RELATIONS,
    SIGILS,
    Graph,
    Node,
    Operand,
    Reading,
    Requirement,
    Value,
    Where,
    types_of,
)
from ir.ops import infer_normal, normal
from ir.types import Dim, Error, NDArray, TensorType, type_of

_NOWHERE = Where()


class Builder:
    """Collects the values and nodes of one graph. `data` has the arrays of its params."""

    def __init__(self) -> None:
        self.declared: list[Value] = []
        self.nodes: list[Node] = []
        self.data: dict[Value, NDArray] = {}
        self.requirements: list[Requirement] = []
        self.readings: dict[str, Reading] = {}
        self._taken: set[tuple[str, str]] = set()

    def declare(self, kind: str, name: str, type_: TensorType,
                data: NDArray | None = None) -> Value:
        """Returns a new input, state, parameter or constant of this type.

        kind: "input", "state", "parameter" or "constant".
        data: the array of a param, which is not copied.
        Raises Error for a name that is taken, and for data of another type.
        """
        if kind not in SIGILS or kind == "result":
            raise Error(f"an input, state, parameter or constant can be declared, not a {kind!r}")
        if (SIGILS[kind], name) in self._taken:
            raise Error(f"there are two {kind}s named {name!r}")
        if data is not None and type_of(data) != type_:
            raise Error(f"{kind} {name!r} is {type_}, its data are {type_of(data)}")
        self._taken.add((SIGILS[kind], name))
        value = Value(type_, kind, name)
        self.declared.append(value)
        if data is not None:
            self.data[value] = data
        return value

    def add(self, op: str, *inputs: Operand, where: Where = _NOWHERE, **attrs: Any) -> Value:
        """Returns the result of a new node, whose type is inferred.

        Raises Error where the op does not take these operands or attributes.
        """
        operands = tuple(map(_operand, inputs))
        attrs = normal(op, attrs)
        result = Value(infer_normal(op, types_of(operands), attrs))
        self.nodes.append(Node(result, op, operands, attrs, where))
        return result

    def require(self, left: Dim, relation: str, right: Dim, where: Where = _NOWHERE) -> None:
        """Makes the graph refuse calls whose sizes do not fulfil a comparison.

        relation: one of == != < <= > >=. Raises Error for another one.
        """
        if relation not in RELATIONS:
            raise Error(f"sizes are compared by {' '.join(RELATIONS)}, not by {relation}")
        self.requirements.append(Requirement(left, relation, right, where))

    def read(self, reading: Reading) -> None:
        """Notes that the numbers of a parameter were read: the graph is right for these alone.

        Raises Error where other numbers of the same parameter were read before.
        """
        first = self.readings.setdefault(reading.name, reading)
        if (first.type, first.digest) != (reading.type, reading.digest):
            raise Error(f"the parameter {reading.name!r} is read twice, with other numbers")

    def build(self, name: str, outputs: Sequence[Value]) -> Graph:
        """Returns the graph of what was declared and added, with these outputs.

        The new values of the states, in the order of their declaration, are the last outputs.
        """
        inputs = tuple(v for kind in ("input", "state") for v in self.declared if v.kind == kind)
        params = tuple(v for v in self.declared if v.kind in ("parameter", "constant"))
        return Graph(name, inputs, params, tuple(self.nodes), tuple(outputs), dict(self.data),
                     tuple(self.requirements), tuple(self.readings.values()))


def _operand(given: object) -> Operand:
    """A value, or a float that a number of any kind becomes.

    Raises Error for anything else, and for a number that no float is equal to.
    """
    if isinstance(given, Value):
        return given
    if not isinstance(given, Real | np.bool_):
        raise Error(f"an operand is a value or a number, not {type(given).__name__}; "
                    "declare an array as a constant")
    try:
        number = float(given)
    except OverflowError:
        raise Error(f"{str(given)[:20]}... is too large for a float") from None
    if isinstance(given, Integral) and int(number) != int(given):
        raise Error(f"{given} is no float: declare it as a constant")
    return number
