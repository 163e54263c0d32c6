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

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from ir.graph import Graph, Node, Operand, Value, depends_only_on, load_time_values, substitute
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


def rewrite(graph: Graph, rule: Rule, *, fused: bool = False, once: bool = False) -> Graph:
    """Replaces nodes by what the rule returns for them, until it finds nothing more to replace.

    The driver walks over the nodes in order, again and again until a walk changes nothing. What
    nothing uses any more is removed; a graph without anything to replace is returned itself.

    The rule returns one of
    - None: the node stays;
    - a value of the same type, which takes the place of the node's result everywhere;
    - a node that computes the node's result;
    - several nodes, each after those that it uses, one of which computes the node's result. They
      may compute the results of later nodes as well: these are dropped.

    fused: whether the rule is also given nodes that have a `then`, and sees them as producers.
           Such a node computes more than its op says, so most rules must not look at it.
    once:  walk once. For a rule that finds everything in one walk, another is a waste of time.

    Raises Error where a hundred walks are not enough, and where what the rule returns does not
    compute the node's result or has another type.
    """
    rewriting = _Rewriting(graph, rule, fused)
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
        self._uses: Counter[Value] = Counter()   # of the graph as it is at this moment
        self._load_time: set[Operand] | None = None
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
        return self._uses[value]

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
            nodes = (*self._kept.values(), *self._graph.nodes)
            self._load_time = set(load_time_values(replace(self._graph, nodes=nodes)))
        return operand in self._load_time


class _Rewriting(Context):
    """The driver's own side of the context: it keeps all that a rule can ask about up to date."""

    def __init__(self, graph: Graph, rule: Rule, fused: bool) -> None:
        super().__init__(graph, fused)
        self._rule = rule
        self._instead: dict[Value, Value] = {}

    def walk(self, graph: Graph) -> Graph:
        """Returns the graph after the rule was given each node once; the same if none changed."""
        self._graph, self._uses = graph, graph.uses.copy()
        self._kept, self._instead, self.notes = {}, {}, []
        kept, instead, rule, fused = self._kept, self._instead, self._rule, self._fused
        changed = False
        for node in graph.nodes:
            if instead:
                node = substitute(node, instead)
            if changed and node.result in kept:  # an earlier replacement computes it
                self._release(node.inputs)
                continue
            kept[node.result] = node
            new = rule(node, self) if fused or "then" not in node.attrs else None
            if new is not None:
                self._replace(node, new)
                changed = True
        if not changed:
            return graph
        outputs = tuple(instead.get(v, v) for v in graph.outputs)
        return remove_dead(replace(graph, nodes=tuple(kept.values()), outputs=outputs))

    def _replace(self, node: Node, new: _Replacement) -> None:
        del self._kept[node.result]
        while self.notes and self.notes[-1].node.result is node.result:
            self.notes.pop()                     # of what the rule tried before it found this
        if isinstance(new, Value):
            self._check_type(node, new)
            self._instead[node.result] = new
            self._uses[new] += self._uses[node.result]
        else:
            self._insert(node, [new] if isinstance(new, Node) else new)
        self._release(node.inputs)

    def _insert(self, node: Node, nodes: Sequence[Node]) -> None:
        """Adds the nodes to those kept, behind each other."""
        if all(each.result is not node.result for each in nodes):
            raise Error(f"{_rule_name(self._rule)} put nothing that computes the same result in "
                        f"place of {node.op}")
        for each in nodes:
            self._kept[each.result] = each
            self._uses.update(o for o in each.inputs if isinstance(o, Value))
            if self._load_time is not None and depends_only_on(each, self._load_time):
                self._load_time.add(each.result)

    def _release(self, operands: Iterable[Operand]) -> None:
        """Counts one use less of each operand, and drops the nodes that nothing uses then."""
        waiting = [o for o in operands if isinstance(o, Value)]
        while waiting:
            value = waiting.pop()
            self._uses[value] -= 1
            if self._uses[value] == 0 and value in self._kept:
                waiting += [o for o in self._kept.pop(value).inputs if isinstance(o, Value)]

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
