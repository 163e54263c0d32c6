"""What a training step keeps from its forward for its gradients, and what it computes again.

`nncompile.schedule.keep` decides that by the cost of either, in bytes, and it is shown here. What
other steps than groups compute or read is kept without a question: products, reductions and
gathers, whose cost is given in the same unit, for comparison. So is that of what the rules of
`ir.ops.gradients` compute from operands, as the normalized rows of a layer norm.
"""
from __future__ import annotations

from collections.abc import Iterable

from ir import OPS, Dim, Node, Value
from ir.printer import name_values
from ir.types import DTYPES, product
from nncompile.inspect.layers import shown
from nncompile.schedule import Program, Step, View
from nncompile.schedule.cost import work
from nncompile.schedule.keep import OPERATION
from nncompile.schedule.ops import KINDS

_PRODUCTS = ("matmul", "linear")                 # of the same left operand: no work twice
_UPDATE = (" update", " accumulate", "clip_norm")


def lines_of_kept(program: Program) -> list[str]:
    """Returns a paragraph about a step with gradients; nothing for a graph without."""
    if not any(_is_back(node) and not _is_update(node) for node in program.graph.nodes):
        return []
    names = name_values(program.graph)
    choices = {choice.node.result: choice for choice in program.choices}
    lines = ["kept from the forward for the gradients; the cost of keeping and of computing it "
             f"again, in bytes that are moved; an operation counts as {OPERATION}:"]
    total = []
    for value, step, readers in _crossing(program):
        choice, size = choices.get(value), _size(value)
        if choice is not None and not choice.kept:
            continue
        total.append(size)
        cost = (choice.keeping, choice.again, choice.operations) if choice else _cost(
            value, step, len(readers))
        lines.append(f"  {names[value]}: {value.type}, {size} bytes, {_costs(*cost)}   "
                     f"({_layer(step.node)}; read by {', '.join(readers)})")
    if not total:
        lines.append("  nothing")
    if len(total) > 1:
        lines.append(f"  together {sum(total)} bytes")
    again = [choice for choice in program.choices if not choice.kept]
    lines += ["computed again where it is read, because that costs less:"] * bool(again)
    lines += [f"  {names[c.node.result]}: {c.node.result.type} = {c.node.op}, "
              f"{_costs(c.keeping, c.again, c.operations)}   ({_layer(c.node)})" for c in again]
    rules = _again(program)
    lines += ["computed again by the rules of gradients:"] * bool(rules)
    for node, read in rules:
        operations = product(node.result.type.shape) * KINDS[node.op].cost
        costs = _costs(2 * _size(node.result), operations * OPERATION + _size(read), operations)
        lines.append(f"  {names[node.result]}: {node.result.type} = {node.op} of {names[read]}, "
                     f"{costs}   ({_layer(node)})")
    return lines


def _costs(keeping: Dim, again: Dim, operations: Dim) -> str:
    return f"kept: {keeping}, again: {again} with {operations} operations"


def _size(value: Value) -> Dim:
    return product(value.type.shape) * DTYPES[value.type.dtype].itemsize


def _cost(value: Value, step: Step, readers: int) -> tuple[Dim, Dim, Dim]:
    """The cost of a value that no group computes or reads: to keep it, and to compute it again.

    Each of its readers would do the work of the step that makes it, and read what that reads.
    """
    read = sum((_bytes(view) for view in step.reads), 0)
    operations = work(step)
    return (_size(value) * (1 + readers), (operations * OPERATION + read + _size(value)) * readers,
            operations * readers)


def _bytes(view: View) -> Dim:
    return product(view.shape) * DTYPES[view.dtype].itemsize


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
    makers = {node.result: node for node in program.graph.nodes}
    forward = {node.result: step for step in program.steps
               if not all(map(_is_back, step.nodes)) for node in _stored(step)}
    inside = {node.result for step in program.steps for node in step.nodes} - {
        node.result for step in program.steps for node in _stored(step)}
    again = {choice.node.result for choice in program.choices if not choice.kept}
    readers: dict[Value, list[str]] = {}

    def read(operand: object, layer: str) -> None:
        value = source.get(operand) if isinstance(operand, Value) else None
        if value in again | inside:              # what is read is what it is computed from
            for further in makers[value].inputs:
                read(further, layer)
        elif value in forward:
            layers = readers.setdefault(value, [])
            layers += [layer] * (layer not in layers)

    for step in program.steps:
        for node in step.nodes if all(map(_is_back, step.nodes)) else ():
            for operand in () if _is_update(node) else node.inputs:
                read(operand, _layer(node))
    for node in program.graph.nodes:
        if node.result in readers:
            yield node.result, forward[node.result], readers[node.result]


def _stored(step: Step) -> tuple[Node, ...]:
    """The nodes whose results a step writes."""
    group = step.attrs.get("group")
    return group.made if group else step.nodes


def _seen_through_views(program: Program) -> dict[Value, Value]:
    """Returns for each value the one that a step computes and that it is a view of."""
    run = {node.result for step in program.steps for node in step.nodes}
    run |= {choice.node.result for choice in program.choices}
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
