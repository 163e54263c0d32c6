"""Graphs inside of graphs: a branch that is decided here, and loops that are written out here."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import DimExpr, Error, NDArray
from ir.types import Dim, same
from nncompile.array import Array
from nncompile.array.creation import cat
from nncompile.array.indexing import axis_of
from nncompile.importers.onnx.node import Node
from nncompile.importers.onnx.operator import Operator, Rows
from nncompile.importers.sizes import Known, Sizes, whole_numbers

_MOST_STEPS = 4096


def _if(node: Node, condition: NDArray) -> Any:
    if condition.size != 1:
        raise Error("its condition is one bool")
    branches = node.graph("then_branch"), node.graph("else_branch")
    if condition.dtype == object:
        raise Error(f"its condition is the size {condition.item()}")
    return tuple(node.run(branches[0 if condition.item() else 1], []))


def _loop(node: Node, count: Any = None, condition: Any = None, *initial: Known) -> Any:
    """Writes out a loop whose number of steps is known."""
    body = node.graph("body")
    steps = _steps(whole_numbers(count, "the number of its steps")[0] if count is not None
                   else _MOST_STEPS + 1)
    carried: list[Known] = list(initial)
    going, scanned, done = condition is None or bool(condition.item()), [], 0
    while going and done < steps:
        inputs = [Array(np.array(done, np.int64)), Array(np.array(True)), *carried]
        results = node.run(body, inputs)
        going = _known_bool(results[0])
        carried, more = results[1:1 + len(initial)], results[1 + len(initial):]
        scanned.append(more)
        done += 1
        if done > _MOST_STEPS:
            raise Error(f"it takes more than {_MOST_STEPS} steps")
    if not scanned:
        if len(body.output) > 1 + len(initial):
            raise Error("it takes no step, and what its outputs are is not known then")
        return tuple(carried)
    return (*carried, *[_stacked(parts, 0) for parts in zip(*scanned, strict=True)])


def _steps(count: int) -> int:
    if count > _MOST_STEPS:
        count = _MOST_STEPS + 1
    return count


def _known_bool(value: Known) -> bool:
    payload = None if isinstance(value, Sizes) else value._as_operand()
    if not isinstance(payload, np.ndarray) or payload.size != 1:
        raise Error("how often a loop runs depends on numbers that are known in a call only")
    return bool(payload.item())


def _scan(node: Node, *inputs: Array) -> Any:
    """Writes out a scan over an axis whose size is known."""
    body, count = node.graph("body"), node.int("num_scan_inputs")
    if node.version < 9:
        raise Error("before opset 9 it is not supported")
    states: list[Known] = list(inputs[:len(inputs) - count])
    over = inputs[len(inputs) - count:]
    outputs = len(body.output) - len(states)
    if not 1 <= count <= len(inputs) or outputs < 0:
        raise Error("its inputs do not fit its graph")
    axes = node.ints("scan_input_axes", [0] * count)
    backwards = node.ints("scan_input_directions", [0] * count)
    out_axes = node.ints("scan_output_axes", [0] * outputs)
    out_backwards = node.ints("scan_output_directions", [0] * outputs)
    places = [axis_of(x.type, axis) for x, axis in zip(over, axes, strict=True)]
    sizes: list[Dim] = [x.type.shape[axis] for x, axis in zip(over, places, strict=True)]
    steps = sizes[0]
    if isinstance(steps, DimExpr) or not all(same(size, steps) for size in sizes):
        raise Error(f"it goes over axes of the sizes {sizes}, and has to know one size: "
                    "shapes={...} can give it one")
    if not 0 < steps <= _MOST_STEPS:
        raise Error(f"it takes {steps} steps, and 1 to {_MOST_STEPS} can be written out")
    collected: list[Sequence[Known]] = []
    for step in range(steps):
        parts = [x.select(axis, steps - 1 - step if back else step)
                 for x, axis, back in zip(over, places, backwards, strict=True)]
        results = node.run(body, [*states, *parts])
        states = results[:len(states)]
        collected.append(results[len(states):])
    scanned = []
    for index, (axis, back) in enumerate(zip(out_axes, out_backwards, strict=True)):
        parts_of = [row[index] for row in collected]
        scanned.append(_stacked(parts_of[::-1] if back else parts_of, axis))
    return (*states, *scanned)


def _stacked(parts: Sequence[Known], axis: int) -> Array:
    arrays = [part for part in parts if isinstance(part, Array)]
    if len(arrays) != len(parts):
        raise Error("it collects sizes that are known in a call only")
    at = axis_of(arrays[0].type, axis, extra=1)
    return cat([a.unsqueeze(at) for a in arrays], at)


_VERSIONS = (11, 13, 16, 19, 21, 23, 24, 25)

ROWS: Rows = (
    Operator("If", (1, *_VERSIONS), _if, "then_branch else_branch", static="condition"),
    Operator("Loop", (1, *_VERSIONS), _loop, "body", static="count condition", lazy="initial"),
    Operator("Scan", (9, 11, 16, 19, 21, 23, 24, 25), _scan,
             "body num_scan_inputs scan_input_axes scan_input_directions scan_output_axes "
             "scan_output_directions"),
)
