"""What the fusions share: an elementwise node joins the `then` list of the node that feeds it."""
from __future__ import annotations

from collections.abc import Callable

from ir.graph import Graph, Node, Operand, joined
from ir.ops import OPS
from ir.rewrite import Producer, Rule
from nncompile.passes.support.parameters import load_time_values

DoesFit = Callable[[Node, tuple[Operand, ...]], bool]


def plain(node: Node | None) -> Node | None:
    """The node, unless it is fused: then its op is not all that it does."""
    return None if node is None or "then" in node.attrs else node


def join_then(graph: Graph, does_fit: DoesFit, steps: int) -> Rule:
    """The rule that puts an elementwise node of this graph, with the chain behind it, at the end of
    the chain of the node that computes its operand, while a chain has at most `steps` steps.

    The operand is the first one, or the second where the two may change places, or where it is what
    is subtracted: a - x is -x + a to the last bit.  Nothing else uses it, and the result has its
    type, so that no step grows a shape.  What a load computes once is not drawn into what every
    call computes.  `does_fit(head, further)` has the last word: whether the kernel of this head can
    read these further operands.
    """
    at_load = load_time_values(graph)

    def rule(node: Node, producer: Producer) -> Node | None:
        for i in chain_positions(node):
            head = producer(node.inputs[i])
            if head is None or head.result.type != node.result.type:
                continue
            further = node.inputs[:i] + node.inputs[i + 1:]
            then = (*head.attrs.get("then", ()), *as_steps(node, i), *node.attrs.get("then", ()))
            when_alike = (head.result in at_load) == (node.result in at_load)
            if len(then) <= steps and when_alike and does_fit(head, further):
                attrs = {**head.attrs, "then": then}
                where = joined(head.where, node.where)
                return Node(node.result, head.op, head.inputs + further, attrs, where)
        return None

    return rule


def is_step(op: str) -> bool:
    """Whether the op can stand behind `then`, where there is no place for attributes."""
    return OPS[op].elementwise and not OPS[op].attrs


def chain_positions(node: Node) -> range:
    """The operands of an elementwise node that may be the chain's value."""
    if not is_step(node.op):
        return range(0)
    return range(2 if node.op == "sub" or may_swap(node) else 1)


def as_steps(node: Node, position: int) -> tuple[str, ...]:
    """The steps that do the node's work on the operand at this position."""
    return ("neg", "add") if node.op == "sub" and position == 1 else (node.op,)


def may_swap(node: Node) -> bool:
    """Whether the operands can change places and no bit of the result does.

    Of 0.0 and -0.0 the larger is either, by their order: so maximum and minimum are swapped only
    where the first operand is a literal other than zero.
    """
    if node.op in ("maximum", "minimum"):
        return isinstance(node.inputs[0], float) and node.inputs[0] != 0.0
    return "commutative" in OPS[node.op].traits
