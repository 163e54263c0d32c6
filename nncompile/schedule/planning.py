"""The whole of scheduling: what is computed once, the order of steps, and where values live."""
from __future__ import annotations

from collections.abc import Set

from ir.graph import Graph, Value
from ir.records import replace
from ir.rewrite import remove_dead
from nncompile.schedule.batch import batch_size
from nncompile.schedule.constants import TargetTraits, store_constants
from nncompile.schedule.direct import write_directly
from nncompile.schedule.groups import group_elementwise
from nncompile.schedule.keep import keep_or_compute_again
from nncompile.schedule.memory import plan_memory
from nncompile.schedule.product_ends import end_products, part_updates
from nncompile.schedule.program import Choice, Place, Program, contiguous
from nncompile.schedule.row_groups import group_rows
from nncompile.schedule.states import write_states
from nncompile.schedule.steps import lower


def planned(graph: Graph, traits: TargetTraits) -> Program:
    """Returns the program of a graph: see nncompile.schedule.schedule."""
    prepared = graph.load_time_values
    constants = [v for v in (*graph.params, *(n.result for n in graph.nodes)) if v in prepared]
    inputs = tuple(contiguous(Place("input", i), v.type) for i, v in enumerate(graph.inputs))
    views = dict(zip(graph.inputs, inputs, strict=True))
    views |= {v: contiguous(Place("constant", i), v.type) for i, v in enumerate(constants)}

    low = lower(graph, views, prepared, traits.vectors)
    lowered = write_directly(low.steps, low.buffers) if traits.vectors else low.steps
    choices: list[Choice] = []
    if graph.states:
        lowered = write_states(lowered, low.buffers, graph)
        if traits.vectors:
            grouped = group_elementwise(group_rows(part_updates(lowered, low.buffers)))
            lowered, choices = keep_or_compute_again(grouped)
            lowered = end_products(lowered)
    placed, buffers = plan_memory(lowered, low.buffers)
    steps, stored, sources = store_constants(placed, constants, traits)
    return Program(
        graph=graph, batch=batch_size(graph), inputs=inputs, steps=steps, buffers=buffers,
        outputs=tuple(contiguous(Place("output", i), v.type)
                      for i, v in enumerate(graph.returned)),
        preparation=_preparation(graph, prepared, sources), constants=stored,
        requirements=tuple({str(r): (who, r) for who, r in (
            *(("", r) for r in graph.requirements), *low.requirements)}.values()),
        choices=tuple(choices))


def _preparation(graph: Graph, prepared: Set[Value], outputs: list[Value]) -> Graph:
    """Returns the graph that computes the outputs, which depend on no input, from params."""
    nodes = tuple(n for n in graph.nodes if n.result in prepared)
    return remove_dead(replace(graph, name="preparation", inputs=(), nodes=nodes,
                               outputs=tuple(outputs), requirements=()))
