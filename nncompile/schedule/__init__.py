"""Fused graph -> Program: what is computed once, which step when, and where each value lives."""
from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from ir.graph import Graph, Value
from ir.rewrite import remove_dead
from nncompile.passes import load_time_values
from nncompile.schedule.batch import batch_size
from nncompile.schedule.direct import write_directly
from nncompile.schedule.memory import plan_memory
from nncompile.schedule.program import Operand, Place, Program, Step, View, contiguous
from nncompile.schedule.steps import lower

__all__ = ["Operand", "Place", "Program", "Step", "View", "schedule"]


def schedule(graph: Graph, *, vectors: bool = True) -> Program:
    """Plan a verified, fused graph.  Every node is prepared once, a view, or one or more steps.

    `vectors`: for kernels that read numbers lying side by side, many at once; so they go down
    columns too, where an axis is not the last one, and rows they write may be apart.
    """
    prepared = load_time_values(graph)
    constants = [v for v in (*graph.params, *(n.result for n in graph.nodes)) if v in prepared]
    inputs = tuple(contiguous(Place("input", i), v.type) for i, v in enumerate(graph.inputs))
    views = dict(zip(graph.inputs, inputs, strict=True))
    views |= {v: contiguous(Place("constant", i), v.type) for i, v in enumerate(constants)}

    low = lower(graph, views, prepared, vectors)
    lowered = write_directly(low.steps, low.buffers) if vectors else low.steps
    steps, buffers = plan_memory(lowered, low.buffers)
    used = {view.place for step in steps for view in step.reads}
    kept = [i for i in range(len(constants)) if Place("constant", i) in used]
    return Program(
        graph=graph, batch=batch_size(graph), inputs=inputs, steps=steps, buffers=buffers,
        outputs=tuple(contiguous(Place("output", i), v.type)
                      for i, v in enumerate(graph.outputs)),
        preparation=preparation(graph, prepared, [constants[i] for i in kept]),
        constants={Place("constant", i): number for number, i in enumerate(kept)},
        requirements=tuple(low.requirements))


def preparation(graph: Graph, prepared: Set[Value], outputs: list[Value]) -> Graph:
    nodes = tuple(n for n in graph.nodes if n.result in prepared)
    return remove_dead(replace(graph, name="preparation", inputs=(), nodes=nodes,
                               outputs=tuple(outputs)))
