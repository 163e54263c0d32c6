"""The steps of a graph: each node is lowered by its op's row in SCHEDULES."""
from __future__ import annotations

from collections.abc import Mapping, Set

from ir.composites import parts
from ir.graph import Graph, Node, Value
from ir.ops import OPS, split_then
from ir.records import replace
from nncompile.schedule.lower import COPY, Lowering
from nncompile.schedule.ops import SCHEDULES
from nncompile.schedule.program import Place, View, contiguous


def lower(graph: Graph, views: dict[Value, View], prepared: Set[Value],
          vectors: bool = True) -> Lowering:
    """Returns the steps of all nodes but the prepared ones, and of the outputs.

    views:   where inputs and constants live; it is extended by all other values.
    vectors: see TargetTraits.
    An output that is a view, or another output again, is copied last. A cast that is read by
    nothing but kernels that convert what they read is no step: it is the view of its operand.
    """
    makers = {node.result: node for node in graph.nodes}
    places: dict[Value, Place] = {}
    for i, value in enumerate(graph.outputs):
        places.setdefault(_source(value, makers), Place("output", i))
    # A step of training multiplies by the transpose of what it has computed, for each weight.
    low = Lowering(views, places, vectors, turns=vectors and bool(graph.states))
    stored = _stored(graph)
    for node in graph.nodes:
        if node.op == "cast" and node.result not in stored | prepared:
            views[node.result] = views[node.inputs[0]]                   # type: ignore[index]
        elif node.result not in prepared:
            _lower_parts(low, node)
    for i, value in enumerate(graph.outputs):
        out = contiguous(Place("output", i), value.type)
        if views[value].place != out.place:
            maker = makers.get(value) or Node(value, "identity", (value,))
            low.step("elementwise", maker, out, [views[value]], COPY)
    return low


def _stored(graph: Graph) -> set[Value]:
    """The values that some reader needs in memory in their own dtype.

    A reader of a view reads what it is a view of.
    """
    stored = {*graph.outputs}
    for node in reversed([part for whole in graph.nodes for part in parts(whole)]):
        is_view = "view" in OPS[node.op].traits
        if SCHEDULES[node.op].converts or (is_view and node.result not in stored):
            stored |= {o for o in node.inputs[1:] if isinstance(o, Value)}
        else:
            stored |= {o for o in node.inputs if isinstance(o, Value)}
    return stored


def _lower_parts(low: Lowering, node: Node) -> None:
    """Adds the steps of one node, and notes where its result is; see ir.composites."""
    for part in parts(node):
        first = len(low.steps)
        low.views[part.result] = _lowered(low, part)
        if part is not node:
            low.steps[first:] = [replace(step, node=node, part=part.op)
                                 for step in low.steps[first:]]


def _lowered(low: Lowering, node: Node) -> View:
    """Adds the steps of one node that is no composite, and returns where its result is."""
    own, attrs, then = split_then(node.op, node.inputs, node.attrs)
    operands = [low.operand(o) for o in own]
    further = [(op, tuple(map(low.operand, others))) for op, others in then]
    how = SCHEDULES[node.op]
    if how.fuses:
        return how.lower(low, node, operands, further)
    if not further:
        return how.lower(low, node, operands, attrs)
    output = low.outputs.pop(node.result, None)        # a chain behind a kernel that takes none
    made = how.lower(low, node, operands, attrs)
    low.outputs |= {node.result: output} if output else {}
    return low.step("elementwise", node, low.result(node), [made], COPY, further)


def _source(value: Value, makers: Mapping[Value, Node]) -> Value:
    """The value whose elements these are, in the same order."""
    while value in makers and "same_order" in OPS[makers[value].op].traits:
        value = makers[value].inputs[0]                                  # type: ignore[assignment]
    return value
