"""What the passes left alone, by layer, and why: what a reader can change in the model."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ir import Graph, Node, Reason, Value
from ir.records import dataclass
from nncompile.inspect.layers import shown
from nncompile.inspect.provenance import stable_names
from nncompile.inspect.stages import PassRun

_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")     # a part of a layer's path that is a number


@dataclass(frozen=True)
class Left:
    """A node of the final graph that a pass left alone: which pass, which node, and why.

    node: what computes, in the final graph, the value that the reason is about.
    text: the reason as a whole clause, values by the names that they keep through the passes.
    """

    pass_name: str
    layer: str
    node: Node
    reason: Reason
    text: str


def standing(runs: Sequence[PassRun]) -> list[Left]:
    """Returns the reasons that hold to the end, each once, in the order of the graph.

    A reason falls where a later pass has found what it is about, and where that is computed when
    the weights are loaded, which no call waits for.
    """
    names, final = stable_names([run.graph for run in runs]), runs[-1].graph
    made = {node.result: node for node in final.nodes}
    at_load = final.load_time_values
    order = {node.result: i for i, node in enumerate(final.nodes)}
    found: dict[tuple[Value, str], Left] = {}
    for run in runs:
        users = _users(run.graph)
        for reason in run.left:
            of = reason.node.result if reason.value is None else reason.value
            node = made.get(of)
            if node is None or of in at_load or not _is_there(reason, made, node):
                continue
            text = f"{reason.node.op} {_said(reason, names, users)}"
            found.setdefault((of, reason.why), Left(
                run.name.partition(":")[0], _layer(reason.node), node, reason, text))
    return sorted(found.values(), key=lambda left: order[left.node.result])


def _is_there(reason: Reason, made: Mapping[Value, Node], node: Node) -> bool:
    """Whether what a reason is about has not become a part of something else."""
    own = made.get(reason.node.result)
    return own is None or own is reason.node or own.op == reason.node.op or own is not node


def _users(graph: Graph) -> dict[Value, list[str]]:
    """What uses each value of a graph, in words."""
    users: dict[Value, list[str]] = {}
    for node in graph.nodes:
        for operand in node.inputs:
            if isinstance(operand, Value):
                users.setdefault(operand, []).append(node.op)
    for value in graph.outputs:
        users.setdefault(value, []).append("the graph's outputs")
    return users


def _said(reason: Reason, names: Mapping[Value, str], users: Mapping[Value, Sequence[str]]) -> str:
    """The words of a reason; those of another use name all of them."""
    if reason.value is None:
        return reason.why
    said = reason.why.replace("{}", names.get(reason.value, "%?"), 1)
    if said.endswith("another use"):
        said += f"; its uses: {', '.join(users.get(reason.value, ()))}"
    return said


def _layer(node: Node) -> str:
    """The path of a node's layer, without its class."""
    return ", ".join(part.split(" ")[0] for part in node.where.layer.split(", "))


def lines_of_reasons(runs: Sequence[PassRun]) -> list[str]:
    """Returns the reasons by layer, one a line; those of equal layers are one line.

    encoder.0.fc and 11 layers like it: add is not fused into linear %7: ...   (fuse_linear)
    """
    groups: dict[tuple[str, str, str], list[Left]] = {}
    for left in standing(runs):
        alike = _NUMBER.sub("*", left.layer)
        groups.setdefault((alike, f"{left.reason.node.op} {left.reason.why}", left.pass_name),
                          []).append(left)
    return [f"{_where(group)}: {group[0].text}   ({name})"
            for (_, _, name), group in groups.items()]


def _where(group: Iterable[Left]) -> str:
    layers = list(dict.fromkeys(shown(left.layer) or "the model" for left in group))
    count = sum(1 for _ in group)
    if len(layers) > 1:
        return f"{layers[0]} and {len(layers) - 1} layers like it"
    return layers[0] + f" ({count} times)" * (count > 1)
