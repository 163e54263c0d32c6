"""Rewriting: the one driver of all passes that replace nodes.

A rule is a function of one node and its context, and Python's `match` is the pattern language:

    def double_negation(node: Node, context: Context) -> Value | None:
        match node.op, context.producer(node.inputs[0], uses=1):
            case "neg", Node(op="neg", inputs=(Value() as x,)):
                return x
        return None

    graph = rewrite(graph, double_negation)
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ir.graph import Graph, Node, Operand, Value, depends_only_on, substitute
from ir.records import dataclass, replace
from ir.types import Error

_Replacement = Node | Value | Sequence[Node]
Rule = Callable[[Node, "Context"], _Replacement | None]

_MOST_WALKS = 100                                # of a rule that replaces what it has made itself


@dataclass(frozen=True, eq=False)
class Reason:
    """Why a rule left a node alone that is nearly what it looks for.

    why: a predicate whose subject is the node; `{}` in it stands for the value's name.
    value: the operand that the node would have taken in.
    """

    node: Node
    why: str
    value: Value | None = None


_asked: ContextVar[list[Reason] | None] = ContextVar("asked", default=None)


@contextmanager
def reasons() -> Iterator[list[Reason]]:
    """Collects the reasons of all rewriting inside of the `with` statement, in this thread."""
    found: list[Reason] = []
    token = _asked.set(found)
    try:
        yield found
    finally:
        _asked.reset(token)


def give_reasons(given: Iterable[Reason]) -> None:
    """Adds to what `reasons` collects, if anybody asks. For a pass that decides before it walks.
    """
    if (found := _asked.get()) is not None:
        found.extend(given)


def rewrite(graph: Graph, rule: Rule, ops: Collection[str] | None = None, *, fused: bool = False,
            once: bool = False) -> Graph:
    """Replaces nodes by what the rule returns for them, until it finds nothing more to replace.

    The driver walks over the nodes in order, again and again until a walk changes nothing. What
    nothing uses any more is removed; a graph without anything to replace is returned itself.

    The rule returns one of
    - None: the node stays;
    - a value of the same type, which takes the place of the node's result everywhere;
    - a node that computes the node's result;
    - several nodes, each after those that it uses, one of which computes the node's result. They
      may compute the results of later nodes as well: these are dropped.

    ops:   the ops of the nodes that the rule is given; None for all of them.
    fused: whether the rule is also given nodes that have a `then`, and sees them as producers.
           Such a node computes more than its op says, so most rules must not look at it.
    once:  walk once. For a rule that finds everything in one walk, another is a waste of time.

    Raises Error where a hundred walks are not enough, and where what the rule returns does not
    compute the node's result or has another type.
    """
    rewriting = _Rewriting(graph, rule, ops, fused)
    for _ in range(_MOST_WALKS):
        after = rewriting.walk(graph)
        if once or after is graph:
            give_reasons(rewriting.notes)
            return after
        graph = after
    raise Error(f"{_rule_name(rule)} still changes {graph.name} after {_MOST_WALKS} walks")


class Context:
    """What a rule may ask about the values that its node can use."""

    def __init__(self, graph: Graph, fused: bool) -> None:
        self._graph, self._fused = graph, fused
        self._kept: dict[Operand, Node] = {}     # the nodes so far, by their results
        self._uses: dict[Value, int] = {}        # of the graph as it is at this moment
        self._load_time: set[Value] | None = None
        self.notes: list[Reason] = []            # of the walk over the graph that is under way

    def producer(self, operand: Operand, uses: int | None = None) -> Node | None:
        """Returns the node that computes the operand; None for a number, an input or a param.

        uses: None as well unless the operand is used exactly so often, outputs of the graph
              counted. A rule that takes a producer into its node asks for `uses=1`: nothing else
              needs the producer then, and it is removed.
        """
        node = self._kept.get(operand)
        if node is None or (uses is not None and self._uses[node.result] != uses):
            return None
        return node if self._fused or "then" not in node.attrs else None

    def uses(self, value: Value) -> int:
        """Returns how often the value is an operand or an output."""
        return self._uses.get(value, 0)

    def leave(self, node: Node, why: str, value: Operand | None = None) -> None:
        """Notes why the rule leaves a node alone; see Reason. It is forgotten if the rule does not.
        """
        self.notes.append(Reason(node, why, value if isinstance(value, Value) else None))

    def is_only_use(self, node: Node, made: Node) -> bool:
        """Returns whether only the node, and only once, uses what `made` computes.

        Where something else does, that is noted as the reason why the node is left alone. So a rule
        asks this last, when `made` is all that it looks for.
        """
        if self._uses[made.result] == 1:
            return True
        self.leave(node, f"does not take in {made.op} {{}}, which has another use", made.result)
        return False

    def at_load(self, operand: Operand) -> bool:
        """Returns whether the operand is computed once, when the weights are loaded."""
        if self._load_time is None:              # most rules find nothing, and never ask
            graph = self._graph
            if self._kept is not graph.makers:   # it has other nodes now
                graph = replace(graph, nodes=(*self._kept.values(), *graph.nodes))
            self._load_time = set(graph.load_time_values)
        return operand in self._load_time


class _Rewriting(Context):
    """The driver's own side of the context: it keeps all that a rule can ask about up to date."""

    def __init__(self, graph: Graph, rule: Rule, ops: Collection[str] | None, fused: bool) -> None:
        super().__init__(graph, fused)
        self._rule, self._ops = rule, ops
        self._instead: dict[Value, Value] = {}

    def walk(self, graph: Graph) -> Graph:
        """Returns the graph after the rule was given each node once; the same if none changed.

        Most walks change nothing. So the graph's own tables serve until the first replacement, and
        nodes that the rule is not for are not even looked at.
        """
        self._graph, self._kept, self._uses = graph, graph.makers, graph.uses
        self._instead, self.notes = {}, []
        for number in self._places(graph):
            node = graph.nodes[number]
            if self._is_given(node) and (new := self._rule(node, self)) is not None:
                return self._changed(graph, number, new)
        return graph

    def _places(self, graph: Graph) -> Sequence[int]:
        """The positions of the nodes with an op that the rule is for."""
        if self._ops is None:
            return range(len(graph.nodes))
        return sorted([number for op, numbers in graph.places.items() if op in self._ops
                       for number in numbers])

    def _is_given(self, node: Node) -> bool:
        return ((self._ops is None or node.op in self._ops)
                and (self._fused or "then" not in node.attrs))

    def _changed(self, graph: Graph, number: int, new: _Replacement) -> Graph:
        """The graph after the rest of a walk, which has found the first node to replace."""
        kept: dict[Operand, Node] = {node.result: node for node in graph.nodes[:number + 1]}
        self._kept, self._uses = kept, dict(graph.uses)
        self._replace(graph.nodes[number], new)
        for node in graph.nodes[number + 1:]:
            if self._instead:
                node = substitute(node, self._instead)
            if node.result in kept:              # an earlier replacement computes it
                self._release(node)
                continue
            kept[node.result] = node
            found = self._rule(node, self) if self._is_given(node) else None
            if found is not None:
                self._replace(node, found)
        outputs = tuple(self._instead.get(v, v) for v in graph.outputs)
        return remove_dead(replace(graph, nodes=tuple(kept.values()), outputs=outputs))

    def _replace(self, node: Node, new: _Replacement) -> None:
        del self._kept[node.result]
        while self.notes and self.notes[-1].node.result is node.result:
            self.notes.pop()                     # of what the rule tried before it found this
        if isinstance(new, Value):
            self._check_type(node, new)
            self._instead[node.result] = new
            self._uses[new] = self.uses(new) + self.uses(node.result)
        else:
            self._insert(node, [new] if isinstance(new, Node) else new)
        self._release(node)

    def _insert(self, node: Node, nodes: Sequence[Node]) -> None:
        """Adds the nodes to those kept, behind each other."""
        if all(each.result is not node.result for each in nodes):
            raise Error(f"{_rule_name(self._rule)} put nothing that computes the same result in "
                        f"place of {node.op}")
        for each in nodes:
            self._kept[each.result] = each
            for value in each.values:
                self._uses[value] = self.uses(value) + 1
            if self._load_time is not None and depends_only_on(each, self._load_time):
                self._load_time.add(each.result)

    def _release(self, node: Node) -> None:
        """Counts one use less of each operand, and drops the nodes that nothing uses then."""
        waiting = [*node.values]
        while waiting:
            value = waiting.pop()
            self._uses[value] -= 1
            if self._uses[value] == 0 and value in self._kept:
                waiting += self._kept.pop(value).values

    def _check_type(self, node: Node, new: Value) -> None:
        if new.type != node.result.type:
            raise Error(f"{_rule_name(self._rule)} put a value of type {new.type} in place of "
                        f"{node.op}, which is {node.result.type}")


def _rule_name(rule: Rule) -> str:
    return str(getattr(rule, "__qualname__", rule))


def remove_dead(graph: Graph) -> Graph:
    """Drops every node, param and array of data that no output needs; inputs stay.

    A graph without anything to drop is returned itself.
    """
    uses, params = graph.uses, {*graph.params}
    if uses.keys() >= graph.makers.keys() | params and graph.data.keys() <= params:
        return graph
    live = set(graph.outputs)
    nodes = []
    for node in reversed(graph.nodes):
        if node.result in live:
            live.update(node.values)
            nodes.append(node)
    kept = tuple(p for p in graph.params if p in live)
    return replace(graph, nodes=tuple(reversed(nodes)), params=kept,
                   data={p: graph.data[p] for p in kept if p in graph.data})
