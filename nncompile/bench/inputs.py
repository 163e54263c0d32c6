"""The inputs of a benchmark: seeded random numbers, or rows of files."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import ir
from ir.ops import at_sizes
from ir.types import DTYPES, NDArray
from nncompile.bench.work import bytes_of, flops
from nncompile.cpu.machine import l2_bytes
from nncompile.errors import InputError

_MOST_SETS, _MOST_FLOPS = 8, 2e9         # each set is evaluated in float64 before it is timed


def input_sets(graph: ir.Graph, sizes: Mapping[str, int], count: int | None = 1,
               data: Sequence[Sequence[NDArray]] = ()) -> list[list[NDArray]]:
    """Returns sets of inputs for the calls of a benchmark to take in turn.

    count: how many; None: as many as are larger than the second-level cache together, at most 8.
    data: sets of arrays, from which the rows are taken, from the first on again after the last;
    without them the inputs are random.
    """
    count = _enough(graph, sizes) if count is None else count
    if not data:
        return [random_inputs(graph, sizes, seed) for seed in range(count)]
    return [_rows_of(graph, sizes, data[i % len(data)], i // len(data))
            for i in range(max(count, len(data)))]


def _enough(graph: ir.Graph, sizes: Mapping[str, int]) -> int:
    cache = 2 * l2_bytes() / max(bytes_of([v.type for v in graph.inputs], sizes), 1)
    work = _MOST_FLOPS / max(flops(graph, sizes), 1)
    return max(1, int(min(cache, work, _MOST_SETS)))


def _rows_of(graph: ir.Graph, sizes: Mapping[str, int], arrays: Sequence[NDArray], turn: int
             ) -> list[NDArray]:
    """Returns as many rows of the arrays as the batch has, from another place on in each turn."""
    check_count(graph, arrays)
    found = []
    for value, array in zip(graph.inputs, arrays, strict=True):
        shape, dtype = at_sizes(value.type.shape, sizes), DTYPES[value.type.dtype]
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise InputError(f"the input {value.name} is {value.type}, and its array {array.dtype}")
        if array.shape[1:] != shape[1:] or array.ndim != len(shape) or not array.size:
            raise InputError(f"the input {value.name} is {value.type}, and its array has the shape "
                             f"{list(array.shape)}: {list(shape)} is needed, with any number of "
                             "rows")
        if shape:
            array = array.take(range(turn * shape[0], (turn + 1) * shape[0]), axis=0, mode="wrap")
        found.append(np.ascontiguousarray(array, dtype))
    return found


def check_count(graph: ir.Graph, arrays: Sequence[NDArray]) -> None:
    """Raises InputError unless there is an array for each input."""
    if len(arrays) != len(graph.inputs):
        raise InputError(f"--input gives {len(arrays)} arrays, and the number of the model's "
                         f"inputs is {len(graph.inputs)}")


def random_inputs(graph: ir.Graph, sizes: Mapping[str, int], seed: int = 0) -> list[NDArray]:
    """Returns standard normal numbers, and for integers indices that every table of the graph has.
    """
    random = np.random.default_rng(seed)
    tables = [int(at_sizes(o.type.shape, sizes)[0]) for n in graph.nodes if n.op == "embedding"
              for o in n.inputs[1:2] if isinstance(o, ir.Value)]
    arrays = []
    for value in graph.inputs:
        shape, dtype = at_sizes(value.type.shape, sizes), DTYPES[value.type.dtype]
        numbers = (random.standard_normal(shape) if dtype.kind == "f"
                   else random.integers(0, min(tables, default=2), shape))
        arrays.append(np.asarray(numbers, dtype))
    return arrays
