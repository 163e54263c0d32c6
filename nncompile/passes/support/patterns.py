"""What the passes share: recognising what is written by hand, and putting several nodes for one."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import isclose
from typing import Any

from ir import Graph, Node, Value, rewrite
from ir.graph import Operand, Where, types_of, use_counts
from ir.ops import infer_normal, normal
from ir.rewrite import Producer, Rule, remove_dead
from ir.types import Dim, same
from nncompile.passes.support.epilogue import plain
from nncompile.passes.support.parameters import follows, load_time_values

See = Callable[[Operand], Node | None]           # the node that computes a value; None: a fused one
Pattern = Callable[[Node, See], Node | None]


def recognise(graph: Graph, pattern: Pattern) -> Graph:
    """Put what the pattern finds in the place of the node where it begins.

    Everything between that node and the operands of the new one has to be of use to nothing else,
    or else it would be computed as before, and the new node on top of that.
    """
    while (after := rewrite(graph, whole(graph, pattern))) is not graph:
        graph = after                            # with the uses counted again
    return graph


def whole(graph: Graph, pattern: Pattern) -> Rule:
    uses = graph.uses
    defined: dict[Operand, Node] = {}

    def rule(node: Node, _: Producer) -> Node | None:
        if plain(node) is None:
            return None
        defined[node.result] = node
        new = pattern(node, defined.get)
        if new is None or not used_by_nothing_else(node, new, defined, uses):
            return None
        defined[node.result] = new
        return new

    return rule


def used_by_nothing_else(node: Node, new: Node, defined: Mapping[Operand, Node],
                         uses: Counter[Value]) -> bool:
    """Whether the values between the node and the new one's operands are used only there."""
    found: Counter[Value] = Counter()
    waiting = [node]
    while waiting:
        inner = [o for o in waiting.pop().inputs if isinstance(o, Value) and o not in new.inputs]
        waiting += [defined[o] for o in dict.fromkeys(inner) if o not in found and o in defined]
        found.update(inner)
    return all(o in defined and uses[o] == count for o, count in found.items())


def both_ways(inputs: Sequence[Operand]) -> list[tuple[Operand, Operand]]:
    """Two operands in the order they have, and in the other."""
    first, second = inputs
    return [(first, second), (second, first)]


def is_close(a: float, b: float) -> bool:
    """Whether a number written out is the one that is meant: nearer to it than double precision
    can tell from what it is used for."""
    return isclose(a, b, rel_tol=1e-11)


# -- several nodes for one -------------------------------------------------------------------------

class Seen:
    """The plain nodes before the one that is looked at, and the values known at load time."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.uses = graph, use_counts(graph)
        self.defined: dict[Operand, Node] = {}

    @cached_property
    def at_load(self) -> set[Value]:
        """Found when a pass asks for it; most find nothing to do before."""
        return set(load_time_values(self.graph))

    def made(self, operand: Operand) -> Node | None:
        """The node that computes the operand, unless it is fused."""
        return self.defined.get(operand)

    def once(self, operand: Operand) -> Node | None:
        """The node that computes the operand, if nothing else uses it."""
        only = isinstance(operand, Value) and self.uses[operand] == 1
        return self.defined.get(operand) if only else None

    def add(self, node: Node) -> None:
        if plain(node) is not None:
            self.defined[node.result] = node

    def add_new(self, node: Node) -> None:
        """A node that the graph did not have."""
        self.add(node)
        self.uses[node.result] = self.uses[node.result] or 1
        if follows(node, self.at_load):
            self.at_load.add(node.result)


Several = Callable[[Node, Seen], "list[Node] | None"]


def replace_by_several(graph: Graph, several: Several) -> Graph:
    """Put nodes, of which the last one has the node's result, in the place of a node; again until
    there is nothing to replace."""
    while (after := walked(graph, several)) is not graph:
        graph = after                            # with the uses counted again
    return graph


def walked(graph: Graph, several: Several) -> Graph:
    seen = Seen(graph)
    nodes: list[Node] = []
    changed = False
    for node in graph.nodes:
        new = None if plain(node) is None else several(node, seen)
        if new is None:
            seen.add(node)
            nodes.append(node)
            continue
        changed = True
        for each in new:
            seen.add_new(each)
            nodes.append(each)
    return remove_dead(replace(graph, nodes=tuple(nodes))) if changed else graph


class Nodes(list[Node]):
    """New nodes, one after another, from the same place in the model."""

    def __init__(self, where: Where) -> None:
        super().__init__()
        self.where = where

    def add(self, op: str, *inputs: Operand, **attrs: Any) -> Value:
        self.append(made_of(op, *inputs, where=self.where, **attrs))
        return self[-1].result

    def shaped(self, x: Value, shape: tuple[Dim, ...]) -> Value:
        """x in this shape."""
        return x if same(x.type.shape, shape) else self.add("reshape", x, shape=shape)


def made_of(op: str, *inputs: Operand, where: Where, **attrs: Any) -> Node:
    """A new node with a result of its own."""
    attrs = normal(op, attrs)
    return Node(Value(infer_normal(op, types_of(inputs), attrs)), op, inputs, attrs, where)
