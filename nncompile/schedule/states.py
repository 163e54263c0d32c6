"""Writes the new values of states to the states' own memory.

    out1 [64] = elementwise(h0 [64], in2 [64]) {op = add}
    -->  in2 [64] = elementwise(h0 [64], in2 [64]) {op = add}

A step may write there if the old value is not needed any more: no later step reads it, and the step
itself reads each element before it writes it. And only if no later step can find a wrong number
among the data: then the call has no result, and states must be what they were. Where that does not
hold, the new value is computed in a buffer, and copied last.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ir.graph import Graph, Node
from ir.types import TensorType
from nncompile.schedule.lower import COPY
from nncompile.schedule.memory import in_other_places, same_layout
from nncompile.schedule.ops import KINDS, may_fail, overwritable
from nncompile.schedule.program import Place, Step, contiguous


def write_states(steps: Sequence[Step], buffers: dict[Place, TensorType], graph: Graph
                 ) -> list[Step]:
    """Returns the steps, of which those that write the output of a state write the state.

    buffers: is extended by those that new values are computed in.
    """
    uses, copies = _Uses(steps), []
    instead: dict[Place, Place] = {}             # no output is the place of another state
    unneeded: set[Place] = set()                 # copies of a state to itself
    first_input = len(graph.inputs) - len(graph.states)
    first_output = len(graph.outputs) - len(graph.states)
    for number, (state, new) in enumerate(graph.updates):
        there, out = Place("input", first_input + number), Place("output", first_output + number)
        if state is new:
            unneeded.add(out)
            continue
        place = there
        if not uses.may_write(out, there):
            place = Place("buffer", len(buffers))
            buffers[place] = state.type
            node = Node(new, "identity", (new,))
            copies.append(Step("elementwise", contiguous(there, state.type),
                               (contiguous(place, state.type),), COPY, (), node))
        instead[out] = place
    kept = [step for step in steps if step.result.place not in unneeded]
    return [*in_other_places(kept, instead), *copies]


class _Uses:
    """Which of the steps, in order, write and read each place, and the last that may fail."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._writers: defaultdict[Place, list[int]] = defaultdict(list)
        self._readers: defaultdict[Place, list[int]] = defaultdict(list)
        self._last_failing = -1
        for number, step in enumerate(steps):
            self._writers[step.result.place].append(number)
            for place in {view.place for view in step.reads}:
                self._readers[place].append(number)
            if may_fail(step):
                self._last_failing = number

    def may_write(self, out: Place, state: Place) -> bool:
        """Whether the steps that write `out` may write over the old value of the state instead."""
        writers, readers = self._writers[out], self._readers[state]
        if writers and self._last_failing >= writers[0]:
            return False
        if not writers or not readers or readers[-1] < writers[0]:
            return True
        if len(writers) > 1 or readers[-1] > writers[0]:
            return False
        step = self._steps[writers[0]]
        allowed = (step.reads[len(step.views):] if KINDS[step.kind].adds_in_place else
                   overwritable(step))
        read = [view for view in step.reads if view.place == state]
        if len(read) > sum(view.place == state for view in allowed):
            return False
        return all(same_layout(view, step.result) for view in read)
