from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from ir import Context, Dim, Graph, Node, Operand, Reason, TensorType, Value, rewrite
from ir.graph import joined
from ir.ops import split_then
from ir.records import dataclass, replace
from ir.rewrite import give_reasons
from nncompile.passes.support.building import NewNodes


@dataclass(frozen=True)
class JoinLinear:
    """Compute the linears of one input, such as queries, keys and values, as one product.

        %0 = linear(%x, @q, @a)
        %1 = linear(%x, @k, @b)
    -->
        %0 = concat(@q, @k) {axis = 0}
        %1 = concat(@a, @b) {axis = 0}
        %2 = linear(%x, %0, %1)
        %3 = slice(%2) {axis = 2, start = 0, stop = 8, step = 1}
        %4 = slice(%2) {axis = 2, start = 8, stop = 16, step = 1}

    %0 and %1 are computed when the weights are loaded. Linears with a `then` are joined where all
    have the same steps, with numbers only. Linears with different steps are not joined, because
    the steps would have to be computed after the product. Neither is one that is an output of the
    graph, because its slice would have to be copied.

    Bounded: where only some have a bias, the others get one of 0.0, which makes 0.0 of -0.0.
    """

    name = "join_linear"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        at_load = graph.load_time_values
        candidates = _groups(graph, at_load)
        give_reasons(_why_apart(candidates, graph))
        groups = {group[0].result: group for group in candidates if len(group) > 1}
        if not groups:
            return graph

        def join(node: Node, _: Context) -> list[Node] | None:
            group = groups.get(node.result)
            return None if group is None else _joined(group)

        first = _weights_first(graph, at_load)
        return rewrite(first, join, ["linear"], fused=True, once=True)


def _groups(graph: Graph, at_load: Set[Value]) -> list[list[Node]]:
    """The linears of the graph, those together that can become one."""
    groups: dict[object, list[Node]] = {}
    for node in graph.nodes:
        if node.op != "linear" or node.result in at_load or node.result in graph.outputs:
            continue
        (x, *weights), _, steps = split_then(node.op, node.inputs, node.attrs)
        numbers = [o for _, others in steps for o in others]
        known = all(w in at_load for w in weights) and isinstance(node.result.type.shape[-1], int)
        if known and all(isinstance(o, float) for o in numbers):
            groups.setdefault((x, repr(steps)), []).append(node)
    return list(groups.values())


def _why_apart(groups: Sequence[list[Node]], graph: Graph) -> Iterator[Reason]:
    """Why linears of one input are not joined: in these groups they have the same steps."""
    first: dict[Operand, Node] = {}
    for group in groups:
        other = first.setdefault(group[0].inputs[0], group[0])
        if other is not group[0]:
            yield Reason(group[0], "is not joined with linear {}, which reads the same: the two "
                                   "have different steps", other.result)
    for node in graph.nodes:
        x = node.inputs[0] if node.op == "linear" else 0.0
        if x in first and node.result in graph.outputs:
            yield Reason(node, "is not joined with linear {}, which reads the same: it is an "
                               "output of the graph, and would have to be copied", first[x].result)


def _weights_first(graph: Graph, at_load: Set[Value]) -> Graph:
    """The graph with the nodes that compute weights before all others.

    There every linear of a group can use them.
    """
    weights = [node for node in graph.nodes if node.result in at_load]
    others = [node for node in graph.nodes if node.result not in at_load]
    return replace(graph, nodes=(*weights, *others))


def _joined(group: Sequence[Node]) -> list[Node]:
    """One linear for all of these, and the result of each as a slice of it."""
    first = group[0]
    where = first.where
    for node in group[1:]:
        where = joined(where, node.where)
    nodes = NewNodes(where)
    parts = [split_then(node.op, node.inputs, node.attrs)[0] for node in group]
    steps = first.inputs[len(parts[0]):]
    weights = [nodes.add("concat", *(part[1] for part in parts), axis=0)]
    if any(len(part) > 2 for part in parts):
        biases = [part[2] if len(part) > 2 else _zeros(nodes, node)
                  for part, node in zip(parts, group, strict=True)]
        weights.append(nodes.add("concat", *biases, axis=0))
    whole = nodes.add("linear", first.inputs[0], *weights, *steps, **first.attrs)
    start, axis = 0, whole.type.ndim - 1
    for node in group:
        stop = start + _width(node.result.type)
        attrs = {"axis": axis, "start": start, "stop": stop, "step": 1}
        nodes.append(Node(node.result, "slice", (whole,), attrs, node.where))
        start = stop
    return nodes


def _zeros(nodes: NewNodes, linear: Node) -> Value:
    type_ = linear.result.type
    return nodes.add("full", 0.0, shape=type_.shape[-1:], dtype=type_.dtype)


def _width(type_: TensorType) -> int:
    size: Dim = type_.shape[-1]
    assert isinstance(size, int)                 # as _groups asks
    return size
