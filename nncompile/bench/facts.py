"""What is found out about our own calls beside their time."""
from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ir import Graph
from ir.graph import named_sizes
from ir.types import NDArray
from nncompile.bench.inputs import random_inputs
from nncompile.bench.laps import lap
from nncompile.bench.work import flops, level_of, moved_bytes, weight_bytes
from nncompile.cpu.machine.ceilings import ceilings
from nncompile.errors import InputError
from nncompile.inspect.profile import Profile
from nncompile.model import CompiledModel

_CALLS = 200


def facts_of(compiled: CompiledModel, graph: Graph, sizes: Mapping[str, int],
             arrays: Sequence[NDArray], threads: int, seconds: float) -> dict[str, float]:
    """Returns figures by name. seconds: what a call takes.

    ceiling_flops, ceiling_bytes: the machine's limits, in operations and bytes read a second; the
    bytes from where the weights fit. allocated_bytes: the most memory that Python and NumPy
    allocate in a call. overhead_seconds: of a call without a row, where the batch size is free.
    """
    limits, level = ceilings(threads), level_of(max(weight_bytes(graph), 1))
    if (flops(graph, sizes) / seconds > limits.flops
            or moved_bytes(graph, sizes) / seconds > limits.bytes[level]):
        limits = ceilings(threads, again=True)   # they were measured while others had the machine
    found = {"ceiling_flops": limits.flops,
             "ceiling_bytes": limits.bytes[level],
             "allocated_bytes": float(_allocated(compiled, arrays))}
    if names := list(named_sizes(graph)):
        empty = random_inputs(graph, {**sizes, names[0]: 0})
        with suppress(ValueError):               # of a model that needs a row, as for its maximum
            found["overhead_seconds"] = min(
                lap(lambda: compiled(*empty), _CALLS).seconds for _ in range(5))
    return found


def _allocated(compiled: CompiledModel, arrays: Sequence[NDArray]) -> int:
    compiled(*arrays)
    tracemalloc.start()
    try:
        compiled(*arrays)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        result = compiled(*arrays)
        _, peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return max(0, peak - before)


def profile_of(compiled: CompiledModel, arrays: Sequence[NDArray]) -> Profile | None:
    """Returns the time of each step on one thread.

    There is none where plain Python runs instead of generated code, which has no clock.
    """
    try:
        return compiled.profile(*arrays)
    except InputError:
        return None


def layers_of(profile: Profile) -> tuple[tuple[str, float], ...]:
    """Returns each layer's seconds on one thread, in the order in which the layers run."""
    found: dict[str, float] = {}
    for step, seconds in zip(profile.program.steps, profile.seconds, strict=True):
        name = step.node.where.layer or step.node.op
        found[name] = found.get(name, 0.0) + seconds
    return tuple(found.items())
