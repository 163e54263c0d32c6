"""Rewriting.  A rule is a function of one node, and Python's `match` is the pattern language:

    def double_negation(node: Node, producer: Producer) -> Value | None:
        match node.op, producer(node.inputs[0]):
            case "neg", Node(op="neg", inputs=(x,)):
                return x
        return None
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ir.graph import Graph, Node, Operand, Value, substitute, use_counts
from ir.types import Error

Producer = Callable[[Operand], Node | None]
Rule = Callable[[Node, Producer], Node | Value | None]


def rewrite(graph: Graph, rule: Rule, walks: int = 100) -> Graph:
    """Walk the nodes in order, putting what the rule returns in each one's place; repeat until a
    walk changes nothing.

    The rule returns a node with the same result, a value to use instead, or None for no change.
    `producer(operand)` is the node that computes an operand used nowhere else, else None: taking
    that node in leaves nobody who needs it, and it is dropped.

    Raises Error when the rule still finds something to change after so many walks, and when what
    it returns has another result or another type.
    """
    for _ in range(walks):
        walk = Walk(graph)
        for node in graph.nodes:
            if walk.instead:
                node = substitute(node, walk.instead)
            new = rule(node, walk.producer)
            if new is None:                      # nearly always
                walk.kept[node.result] = node
            else:
                check_replacement(node, new, rule)
                walk.put(new, node)
        if not walk.changed:
            return graph
        outputs = tuple(walk.instead.get(v, v) for v in graph.outputs)
        graph = remove_dead(replace(graph, nodes=tuple(walk.kept.values()), outputs=outputs))
    raise Error(f"{rule_name(rule)} still changes {graph.name} after {walks} walks")


class Walk:
    """One pass over a graph's nodes; `uses` is right at every step of it."""

    def __init__(self, graph: Graph) -> None:
        self.uses = use_counts(graph)
        self.kept: dict[Value, Node] = {}
        self.instead: dict[Value, Value] = {}
        self.changed = False

    def put(self, new: Node | Value, node: Node) -> None:
        """What a rule returned in the place of a node."""
        self.changed = True
        if isinstance(new, Value):
            self.instead[node.result] = new
            self.uses[new] += self.uses[node.result]
        else:
            self.kept[node.result] = new
            self.uses.update(o for o in new.inputs if isinstance(o, Value))
        self.release(node.inputs)

    def producer(self, operand: Operand) -> Node | None:
        if not isinstance(operand, Value) or self.uses[operand] != 1:
            return None
        return self.kept.get(operand)

    def release(self, operands: Iterable[Operand]) -> None:
        """Count these uses no more, and drop the nodes that nobody uses then."""
        waiting = [o for o in operands if isinstance(o, Value)]
        while waiting:
            value = waiting.pop()
            self.uses[value] -= 1
            if self.uses[value] == 0 and value in self.kept:
                waiting += [o for o in self.kept.pop(value).inputs if isinstance(o, Value)]


def check_replacement(node: Node, new: Node | Value, rule: Rule) -> None:
    if isinstance(new, Node) and new.result is not node.result:
        raise Error(f"{rule_name(rule)} put a node with another result in place of {node.op}")
    if isinstance(new, Value) and new.type != node.result.type:
        raise Error(f"{rule_name(rule)} put a value of type {new.type} in place of {node.op}, "
                    f"which is {node.result.type}")


def rule_name(rule: Rule) -> str:
    return str(getattr(rule, "__qualname__", rule))


def remove_dead(graph: Graph) -> Graph:
    """Drop every node, param and data that no output needs; inputs stay.  The graph itself where
    there is nothing to drop."""
    live: set[Operand] = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if node.result in live:
            live.update(node.inputs)
            nodes.append(node)
    params = tuple(p for p in graph.params if p in live)
    data = {p: graph.data[p] for p in params if p in graph.data}
    if (len(nodes), len(params), len(data)) == (
            len(graph.nodes), len(graph.params), len(graph.data)):
        return graph
    return replace(graph, nodes=tuple(reversed(nodes)), params=params, data=data)
