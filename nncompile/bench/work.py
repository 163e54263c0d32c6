"""The work of a call: operations, bytes, and what the machine could do at most."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ir import Graph, Node, Value
from ir.composites import plain_nodes
from ir.ops import at_sizes
from ir.types import DTYPES, TensorType
from nncompile.cpu.machine import L2, L3, MEMORY, cache_bytes, cache_of

_LEVELS = {L2: "L2", L3: "L3", MEMORY: "memory"}


def flops(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Returns the floating-point operations of the graph's matrix products."""
    return sum(2 * prod(at_sizes(n.result.type.shape, sizes)) * _operand_shape(n, 0, sizes)[-1]
               for n in plain_nodes(graph.nodes) if n.op in ("linear", "matmul"))


def _operand_shape(node: Node, index: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
    operand = node.inputs[index]
    shape: tuple[int, ...] = at_sizes(operand.type.shape, sizes) if isinstance(
        operand, Value) else ()
    return shape


def weight_bytes(graph: Graph) -> int:
    """Returns the size of the parameters that a call reads whole: all but embedding tables."""
    tables = {n.inputs[1] for n in graph.nodes if n.op == "embedding"}
    return sum(graph.data[p].nbytes for p in graph.params if p not in tables)


def bytes_of(types: Sequence[TensorType], sizes: Mapping[str, int]) -> int:
    """Returns the size of arrays of these types."""
    return sum(prod(at_sizes(t.shape, sizes)) * DTYPES[t.dtype].itemsize for t in types)


def moved_bytes(graph: Graph, sizes: Mapping[str, int]) -> int:
    """Returns what a call reads and writes at least: weights, inputs and outputs, once each."""
    return weight_bytes(graph) + bytes_of([v.type for v in (*graph.inputs, *graph.outputs)], sizes)


def level_of(size: int) -> str:
    """Returns where data of this size, read again and again, come from: "L1" to "memory"."""
    if size <= cache_bytes().get(1, 0):
        return "L1"
    return _LEVELS[cache_of(size)]
