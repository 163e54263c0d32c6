"""The composite ops: ops that name several nodes, and are carried out as these.

    %0 = attention(%q, %k, %v) {scale = 0.125, ...}
--> %0 = transpose(%k) {axes = [0, 2, 1]}
    %1 = matmul(%q, %0)
    %2 = softmax(%1) {axis = 2, scale = 0.125}
    %3 = matmul(%2, %v)

Whoever carries out a graph asks `parts` of each node, so that nothing but this file has to know
what an attention is made of. The parts compute, bit for bit, what the op's reference says.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Any

from ir.graph import Node, Operand, Value, Where, types_of
from ir.ops import OPS, Attrs, infer_normal, normal, split_then
from ir.ops.references import scales_of_attention
from ir.records import replace


def parts(node: Node) -> Sequence[Node]:
    """Returns the nodes that a node is made of, in order; the last computes its result.

    What stands behind `then` stands behind the last part. A node of an op that is not composite is
    its own only part.
    """
    return _attention(node) if "composite" in OPS[node.op].traits else (node,)


def plain_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yields the parts of all nodes, with each step behind `then` as a node of its own."""
    for node in (part for whole in nodes for part in parts(whole)):
        head, attrs, steps = split_then(node.op, node.inputs, node.attrs)
        results = [Value(node.result.type) for _ in steps] + [node.result]
        yield replace(node, result=results[0], inputs=tuple(head), attrs=attrs)
        for (step, others), before, result in zip(steps, results, results[1:], strict=False):
            yield Node(result, step, (before, *others), {}, node.where)


class _Parts(list[Node]):
    """The parts so far, all of which come from the same place in the model."""

    def __init__(self, where: Where) -> None:
        super().__init__()
        self.where = where

    def add(self, op: str, *inputs: Operand, **attrs: Any) -> Value:
        """Adds a part, and returns its result."""
        attrs = normal(op, attrs)
        result = Value(infer_normal(op, types_of(inputs), attrs))
        self.append(Node(result, op, inputs, attrs, self.where))
        return result

    def then(self, op: str, operand: Operand) -> Value:
        """Puts a step behind the last part, and returns its result."""
        last = self[-1]
        attrs = {**last.attrs, "then": (*last.attrs.get("then", ()), op)}
        self[-1] = replace(last, inputs=(*last.inputs, operand), attrs=attrs)
        return last.result


def _attention(node: Node) -> _Parts:
    (q, k, v, *masks), own, _ = split_then(node.op, node.inputs, node.attrs)
    made = _Parts(node.where)
    turned = made.add("transpose", k, axes=turned_axes(k.type.ndim))
    scores, scale = _scores(made, q, turned, masks, own)
    axis = scores.type.ndim - 1
    if own["zeroed"] in ("unseen", "masked"):
        tested = scores if own["zeroed"] == "unseen" else masks[0]
        largest = made.add("max", tested, axes=(tested.type.ndim - 1,), keepdims=True)
        nothing = made.add("eq", largest, -inf)
    weights = made.add("softmax", scores, axis=axis, scale=scale)
    if own["zeroed"] == "undefined":
        nothing = made.add("isnan", weights)
    if own["zeroed"] != "none":
        weights = made.add("where", nothing, 0.0, weights)
    then = {key: value for key, value in node.attrs.items() if key == "then"}
    further = node.inputs[3 + len(masks):]
    made.append(Node(node.result, "matmul", (weights, v, *further), then, node.where))
    return made


def _scores(made: _Parts, q: Operand, turned: Value, masks: Sequence[Value], own: Attrs
            ) -> tuple[Value, float]:
    """The scores as the softmax takes them, and the scale that is left for it."""
    before, inside, fill = scales_of_attention([m.type.dtype for m in masks], own["scale"],
                                               own["fill"], own["zeroed"])
    scores = made.add("matmul", q, turned)
    if before != 1.0:
        scores = made.then("mul", before)
    for mask in masks:
        if mask.type.dtype == "bool":
            pair = (scores, fill) if own["seen"] else (fill, scores)
            scores = made.add("where", mask, *pair)
        else:
            scores = made.then("add", mask)
    return scores, inside


def turned_axes(rank: int) -> tuple[int, ...]:
    """Returns the axes of a stack of matrices with the last two exchanged."""
    return (*range(rank - 2), rank - 1, rank - 2)
