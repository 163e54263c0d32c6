"""Views of a graph in networkx, derived on request and never stored."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count

import networkx as nx

from ir.graph import Graph, Node, Value
from ir.printer import name_values, print_call


def dataflow(graph: Graph) -> nx.DiGraph:
    """Returns the values, with an edge from each operand to the result.

    The attribute `node` of a result is its node, and None for inputs and params.
    """
    flow = nx.DiGraph()
    flow.add_nodes_from([*graph.inputs, *graph.params], node=None)
    for node in graph.nodes:
        flow.add_node(node.result, node=node)
        flow.add_edges_from((o, node.result) for o in node.inputs if isinstance(o, Value))
    return flow


def users(graph: Graph, value: Value) -> list[Node]:
    """Returns the nodes that have a value as an operand, in order, each one once."""
    return [node for node in graph.nodes if value in node.inputs]


def dominators(graph: Graph) -> dict[Value, Value | None]:
    """Returns for each result its immediate dominator.

    That is the nearest other value that every path from inputs and params passes through; None
    where there is no such value.
    """
    flow, entry = dataflow(graph), object()
    sources = [value for value in flow if flow.in_degree(value) == 0]
    flow.add_node(entry)
    flow.add_edges_from((entry, value) for value in sources)
    nearest = nx.immediate_dominators(flow, entry)
    return {node.result: None if nearest[node.result] is entry else nearest[node.result]
            for node in graph.nodes}


def convex_groups(graph: Graph, belongs: Callable[[Node], bool]) -> list[list[Node]]:
    """Returns groups of connected nodes that can each be computed as one.

    belongs: says which nodes can be in a group. The groups are as large as one walk in graph order
    finds them, and convex: no path leaves a group and comes back, not even through other groups.
    Groups, and the nodes in them, are in graph order.
    """
    flow = dataflow(graph)
    groups = {node.result: [node] for node in graph.nodes if belongs(node)}
    member = {value: value for value in groups}  # of a group: the value that stands for it
    for node in graph.nodes:
        for operand in dict.fromkeys(o for o in node.inputs if o in member):
            if node.result not in member:
                break
            here, there = member[node.result], member[operand]
            if here is not there and _only_way(flow, there, here):
                nx.contracted_nodes(flow, there, here, self_loops=False, copy=False)
                groups[there] += groups.pop(here)
                member.update({n.result: there for n in groups[there]})
    order = {node.result: i for i, node in enumerate(graph.nodes)}
    return sorted((sorted(group, key=lambda n: order[n.result]) for group in groups.values()),
                  key=lambda group: order[group[0].result])


def _only_way(flow: nx.DiGraph, start: Value, end: Value) -> bool:
    """Whether an edge is the only path from its start to its end."""
    others = set(flow.successors(start)) - {end}
    return not any(end in nx.descendants(flow, other) for other in others)


def to_dot(graph: Graph) -> str:
    """Returns the graph as Graphviz text, which `dot -Tsvg` draws.

    The nodes of a layer are a cluster, inside of that of the layer around it.
    """
    names, flow = name_values(graph), dataflow(graph)
    ids = {value: f"v{i}" for i, value in enumerate(flow)}
    lines = ["node [shape=box, fontname=monospace]"]
    layers = _Layer()
    for value, node in flow.nodes(data="node"):
        call = f"\n{print_call(node, names)}" if node is not None else ""
        bold = ", style=bold" if value in graph.outputs else ""
        label = _dot_string(f"{names[value]}: {value.type}{call}")
        path = node.where.layer.partition(", ")[0].partition(" ")[0] if node is not None else ""
        layers.at(path).lines.append(f"{ids[value]} [label={label}{bold}]")
    lines += layers.clusters(count())
    lines += [f"{ids[a]} -> {ids[b]}" for a, b in flow.edges]
    return "\n  ".join([f"digraph {_dot_string(graph.name)} {{", *lines]) + "\n}\n"


class _Layer:
    """A layer of the model, with the layers inside of it by the next part of their paths."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.inside: dict[str, _Layer] = {}

    def at(self, path: str) -> _Layer:
        """Returns the layer of a path that begins here; this one for ""."""
        layer = self
        for part in filter(None, path.split(".")):
            layer = layer.inside.setdefault(part, _Layer())
        return layer

    def clusters(self, numbers: Iterator[int]) -> list[str]:
        """Returns the lines of the nodes, and of the layers inside as subgraphs."""
        lines = list(self.lines)
        for name, layer in self.inside.items():
            lines += [f"subgraph cluster_{next(numbers)} {{", f"  label={_dot_string(name)}",
                      *(f"  {line}" for line in layer.clusters(numbers)), "}"]
        return lines


def _dot_string(text: str) -> str:
    r"""A DOT string. JSON quotes alike; DOT has no \u escapes, so characters are left as they are.
    """
    return json.dumps(text, ensure_ascii=False)
