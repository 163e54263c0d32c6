"""The fusion of elementwise work into the node that feeds it: steps in its `then`."""
from __future__ import annotations

from collections.abc import Callable, Collection

from ir import OPS, Context, Graph, Node, Operand, Value, rewrite
from ir.graph import joined
from ir.ops import with_trait

DoesFit = Callable[[Node, tuple[Operand, ...]], bool]

STEPS = frozenset(op for op in with_trait("elementwise") if not OPS[op].attrs)
"""The ops that can stand in a `then`, which has no place for attributes."""


def fuse_steps(graph: Graph, heads: Collection[str], does_fit: DoesFit, steps: int) -> Graph:
    """Fuses each elementwise node into the node that computes its operand, up to `steps` steps.

    The node, with its own `then`, is appended to the `then` of that other one.

    The operand is the first one; the second where the two may change places, or where it is
    subtracted, because a - x is -x + a to the last bit. Nothing else uses the operand, and the
    result has its type, so no step broadcasts it to a larger shape. A node that is computed when
    the weights are loaded is not fused with one that every call computes.

    heads:    the ops of the nodes that work is fused into.
    does_fit: asked as `does_fit(head, further)`: whether the kernel of the head can read these
              further operands.
    """
    def fuse(node: Node, context: Context) -> Node | None:
        if node.op not in STEPS:
            _leave_what_is_no_step(node, context, heads)
            return None
        for position in _chain_positions(node):
            head = context.producer(node.inputs[position])
            if head is None or head.op not in heads:
                continue
            further = node.inputs[:position] + node.inputs[position + 1:]
            then = (*head.attrs.get("then", ()), *_as_steps(node, position),
                    *node.attrs.get("then", ()))
            if head.result.type == node.result.type and not context.is_only_use(node, head):
                continue
            if why := _obstacle(node, head, does_fit(head, further), len(then), steps):
                context.leave(node, f"is not fused into {head.op} {{}}: {why}", head.result)
                continue
            if head.result.type != node.result.type \
                    or context.at_load(head.result) != context.at_load(node.result):
                continue
            attrs = {**head.attrs, "then": then}
            where = joined(head.where, node.where)
            return Node(node.result, head.op, head.inputs + further, attrs, where)
        return None

    return rewrite(graph, fuse, with_trait("elementwise"), fused=True)


def _obstacle(node: Node, head: Node, fits: bool, count: int, most: int) -> str:
    """Why a node cannot be steps of a head that nothing else uses; "" where it can."""
    if head.result.type != node.result.type:
        return "" if node.op == "where" else (   # which chooses by its first operand
            "its result has another type, and steps keep the type of what they work on")
    if count > most:
        return f"there would be {count} steps, and steps = {most}"
    return "" if fits else ("its kernel reads further operands as rows of the result, one row for "
                            "all or one number a row")


def _leave_what_is_no_step(node: Node, context: Context, heads: Collection[str]) -> None:
    """Notes an elementwise node that is no step although it works on what steps are fused into."""
    if not isinstance(node.inputs[0], Value):
        return
    head = context.producer(node.inputs[0])
    if head is not None and head.op in heads:
        attrs = ", ".join(OPS[node.op].attrs)
        context.leave(node, f"is not fused into {head.op} {{}}: it has {attrs}, and a step has no "
                            "place for attributes", head.result)


def _chain_positions(node: Node) -> range:
    """The operands of an elementwise node that may be the value of the chain."""
    return range(2 if node.op == "sub" or _may_swap(node) else 1)


def _as_steps(node: Node, position: int) -> tuple[str, ...]:
    """The steps that do the node's work on the operand at this position."""
    return ("neg", "add") if node.op == "sub" and position == 1 else (node.op,)


def _may_swap(node: Node) -> bool:
    """Whether the operands can change places without a change to any bit of the result.

    Of 0.0 and -0.0, maximum and minimum return one or the other depending on their order. So their
    operands change places only where the first one is a number other than zero.
    """
    if node.op in ("maximum", "minimum"):
        return isinstance(node.inputs[0], float) and node.inputs[0] != 0.0
    return "commutative" in OPS[node.op].traits
