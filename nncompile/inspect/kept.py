"""What a training step keeps from its forward for its gradients, and what it computes again.

A kept value costs its bytes, which are written once and read by each step that is named; to compute
it again would cost the operations of the step that made it. What a gradient reads is kept, as in
torch: the rules of `ir.ops.gradients` read results where they can, and the values that they compute
themselves from operands, as the normalized rows of a layer norm, are computed again.
"""
from __future__ import annotations

from collections.abc import Iterable

from ir import OPS, Node, Value
from ir.printer import name_values
from ir.types import DTYPES, product
from nncompile.inspect.layers import shown
from nncompile.schedule import Program, Step
from nncompile.schedule.cost import work

_PRODUCTS = ("matmul", "linear")                 # of the same left operand: no work twice
_UPDATE = (" update", " accumulate", "clip_norm")


def lines_of_kept(program: Program) -> list[str]:
    """Returns a paragraph about a step with gradients; nothing for a graph without."""
    if not any(_is_back(node) and not _is_update(node) for node in program.graph.nodes):
        return []
    names = name_values(program.graph)
    lines = ["kept from the forward for the gradients, each at the cost of its bytes, where it "
             "could be computed again at the cost of operations:"]
    total = []
    for value, step, readers in _crossing(program):
        elements = product(value.type.shape)
        size = elements * DTYPES[value.type.dtype].itemsize
        total.append(size)
        lines.append(f"  {names[value]}: {value.type}, {size} bytes, or {work(step)} operations   "
                     f"({_layer(step.node)}; read by {', '.join(readers)})")
    if not total:
        lines.append("  nothing")
    if len(total) > 1:
        lines.append(f"  together {sum(total)} bytes")
    again = _again(program)
    lines += ["computed again for the gradients:"] * bool(again)
    lines += [f"  {names[node.result]}: {node.result.type} = {node.op} of {names[read]}   "
              f"({_layer(node)})" for node, read in again]
    return lines


def _is_back(node: Node) -> bool:
    """Whether all of a node belongs to the gradients or to what is done with them."""
    parts = node.where.layer.split(", ")
    return all(part.endswith(("backward", *_UPDATE)) for part in parts)


def _is_update(node: Node) -> bool:
    return node.where.layer.endswith(_UPDATE)


def _crossing(program: Program) -> Iterable[tuple[Value, Step, list[str]]]:
    """Yields what steps of the forward compute, and the layers of the steps back that read it.

    A step that computes forward and backward values alike belongs to the forward: what it computes
    for a gradient is kept, in place of what the gradient would have read.
    """
    source = _seen_through_views(program)
    maker = {node.result: step for step in program.steps for node in step.nodes}
    forward = {step for step in program.steps if not all(map(_is_back, step.nodes))}
    readers: dict[Value, list[str]] = {}
    for step in program.steps:
        if step in forward:
            continue
        for node in step.nodes:
            for operand in () if _is_update(node) else node.inputs:
                value = source.get(operand) if isinstance(operand, Value) else None
                made = maker.get(value) if value is not None else None
                if value is not None and made in forward:
                    layers = readers.setdefault(value, [])
                    layers += [_layer(node)] * (_layer(node) not in layers)
    for node in program.graph.nodes:
        if node.result in readers:
            yield node.result, maker[node.result], readers[node.result]


def _seen_through_views(program: Program) -> dict[Value, Value]:
    """Returns for each value the one that a step computes and that it is a view of."""
    run = {node.result for step in program.steps for node in step.nodes}
    source: dict[Value, Value] = {}
    for node in program.graph.nodes:
        if node.result in run:
            source[node.result] = node.result
        elif node.inputs and isinstance(node.inputs[0], Value) and node.inputs[0] in source:
            source[node.result] = source[node.inputs[0]]
    return source


def _again(program: Program) -> list[tuple[Node, Value]]:
    """Returns the nodes back that do to a value what a node of the forward did to it."""
    run = {node.result for step in program.steps for node in step.nodes}
    nodes = [node for node in program.graph.nodes if node.result in run and node.inputs
             and isinstance(node.inputs[0], Value) and not OPS[node.op].elementwise
             and node.op not in _PRODUCTS]
    done = {(node.op, node.inputs[0], node.result.type) for node in nodes if not _is_back(node)}
    return [(node, read) for node in nodes if _is_back(node)
            and isinstance(read := node.inputs[0], Value)
            and (node.op, read, node.result.type) in done]


def _layer(node: Node) -> str:
    """The paths of the layers of a node, each once."""
    paths = dict.fromkeys(part.split(" ")[0] for part in node.where.layer.split(", "))
    return shown(", ".join(paths) or "the model")
