from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from ir import Graph, Node, Value
from ir.graph import joined
from ir.ops import split_then
from ir.types import Dim, TensorType
from nncompile.passes.support.parameters import load_time_values
from nncompile.passes.support.patterns import Nodes


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

    %0 and %1 are computed when the weights are loaded.  The same steps, with numbers only, may
    stand behind each of the linears.  One that has other steps stays, because the work would have
    to be done after the product; and so does one that is returned, which would have to be copied.

    Bounded: where only some have a bias, the others get one of 0.0, which makes 0.0 of -0.0.
    """

    name = "join_linear"
    exact = False

    def __call__(self, graph: Graph) -> Graph:
        at_load = load_time_values(graph)
        groups = [group for group in alike(graph, at_load) if len(group) > 1]
        if not groups:
            return graph
        joints = {group[0].result: group for group in groups}
        taken = {node.result for group in groups for node in group}
        nodes = [node for node in graph.nodes if node.result in at_load]
        for node in graph.nodes:                 # behind all the weights there are
            if node.result in joints:
                nodes += joint(joints[node.result])
            elif node.result not in at_load and node.result not in taken:
                nodes.append(node)
        return replace(graph, nodes=tuple(nodes))


def alike(graph: Graph, at_load: Set[Value]) -> list[list[Node]]:
    """The linears that can be one, group by group."""
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


def joint(group: Sequence[Node]) -> Nodes:
    """One linear for all of these, and each of them as a slice of it."""
    first = group[0]
    where = first.where
    for node in group[1:]:
        where = joined(where, node.where)
    nodes = Nodes(where)
    parts = [split_then(node.op, node.inputs, node.attrs)[0] for node in group]
    steps = first.inputs[len(parts[0]):]
    weights = [nodes.add("concat", *(part[1] for part in parts), axis=0)]
    if any(len(part) > 2 for part in parts):
        biases = [part[2] if len(part) > 2 else zeros(nodes, node)
                  for part, node in zip(parts, group, strict=True)]
        weights.append(nodes.add("concat", *biases, axis=0))
    whole = nodes.add("linear", first.inputs[0], *weights, *steps, **first.attrs)
    start, axis = 0, whole.type.ndim - 1
    for node in group:
        stop = start + width(node.result.type)
        attrs = {"axis": axis, "start": start, "stop": stop, "step": 1}
        nodes.append(Node(node.result, "slice", (whole,), attrs, node.where))
        start = stop
    return nodes


def zeros(nodes: Nodes, linear: Node) -> Value:
    type_ = linear.result.type
    return nodes.add("full", 0.0, shape=type_.shape[-1:], dtype=type_.dtype)


def width(type_: TensorType) -> int:
    size: Dim = type_.shape[-1]
    assert isinstance(size, int)                 # as alike() asks
    return size
