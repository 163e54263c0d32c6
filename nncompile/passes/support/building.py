"""Making the nodes that a rule returns."""
from __future__ import annotations

from typing import Any

from ir import Dim, Node, Operand, Value, Where, same
from ir.graph import types_of
from ir.ops import infer_normal, normal


def new_node(op: str, *inputs: Operand, where: Where, **attrs: Any) -> Node:
    """Returns a node with a result of its own, whose type is inferred."""
    attrs = normal(op, attrs)
    return Node(Value(infer_normal(op, types_of(inputs), attrs)), op, inputs, attrs, where)


class NewNodes(list[Node]):
    """New nodes in their order, all of which come from the same place in the model."""

    def __init__(self, where: Where) -> None:
        super().__init__()
        self.where = where

    def add(self, op: str, *inputs: Operand, **attrs: Any) -> Value:
        """Adds a node, and returns its result."""
        self.append(new_node(op, *inputs, where=self.where, **attrs))
        return self[-1].result

    def reshaped(self, x: Value, shape: tuple[Dim, ...]) -> Value:
        """Returns x in this shape, by a reshape where it has another."""
        return x if same(x.type.shape, shape) else self.add("reshape", x, shape=shape)
