"""Evaluates a graph by the references of its ops: the oracle for everything else."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ir.graph import Graph, Node, Value
from ir.ops import at_sizes, evaluate
from ir.printer import name_values, print_node
from ir.types import DTYPES, FLOATS, Error, NDArray, TensorType, bind_sizes


def interpret(graph: Graph, arrays: Sequence[Any], dtype: Any = None) -> list[NDArray]:
    """Returns the outputs for these inputs as new arrays; inputs and params are only read.

    dtype: None: each op computes in the type that the graph says; an f32 graph is rounded to
           float32 after each op, and takes float32 inputs only.
           numpy.float64: the same graph in double precision; float inputs of either precision, and
           params, are converted. This is the oracle. Integers and bools keep their types.

    Raises Error for inputs that do not fit, sizes that do not fulfil a requirement, params without
    data, and values that are illegal, such as an id outside its table.
    """
    return [array.copy() for array in outputs_of(graph, arrays, dtype)]


def outputs_of(graph: Graph, arrays: Sequence[Any], dtype: Any = None) -> list[NDArray]:
    """Returns the outputs as `interpret` does, but not copied.

    They may be inputs, params or views of these, and so are only to be read.
    """
    if dtype is not None and np.dtype(dtype) not in (np.float32, np.float64):
        raise Error(f"a graph computes in float32 or float64, not {np.dtype(dtype)}")
    names = name_values(graph)
    if missing := [names[p] for p in graph.params if p not in graph.data]:
        raise Error(f"no data for {', '.join(missing)}; the text of a graph has only its types")
    if len(arrays) != len(graph.inputs):
        wanted = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs) or "none"
        raise Error(f"{graph.name} takes {len(graph.inputs)} inputs ({wanted}), not {len(arrays)}")
    given = [*map(np.asarray, arrays), *(graph.data[p] for p in graph.params)]
    declared = [*graph.inputs, *graph.params]
    known = {v: _checked(names[v], v.type, a, dtype) for v, a in zip(declared, given, strict=True)}
    sizes = bind_sizes([v.type for v in declared], given, [names[v] for v in declared])
    for requirement in graph.requirements:
        if not requirement.holds(sizes):
            found = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            raise Error(f"{graph.name} requires {requirement}, and {found}{requirement.where.note}")
    for node in graph.nodes:
        try:
            known[node.result] = evaluate_node(node, known, sizes, dtype)
        except Error as error:
            raise Error(f"{error}\n  node: {print_node(node, names)}") from None
    return [known[v] for v in graph.outputs]


def _checked(name: str, type_: TensorType, array: NDArray, dtype: Any) -> NDArray:
    """The array in the element type to compute with. Raises Error where it has another."""
    expected = DTYPES[type_.dtype]
    if dtype is not None and expected.kind == array.dtype.kind == "f":
        return array.astype(dtype, copy=False)
    if array.dtype != expected:
        hint = ""
        if expected.kind == array.dtype.kind == "f":
            hint = "; dtype=numpy.float64 computes in double precision"
        raise Error(f"{name}: expected {type_}, got an array of {array.dtype}{hint}")
    return array


def evaluate_node(node: Node, values: Mapping[Value, NDArray], sizes: Mapping[str, int],
                  dtype: Any) -> NDArray:
    """Returns what a node computes from these values of its operands.

    sizes: the value of each named size. dtype: as in `interpret`.
    Raises Error for illegal values, and where the result is not of the type that was inferred.
    """
    operands = [values[o] if isinstance(o, Value) else o for o in node.inputs]
    attrs = {key: at_sizes(value, sizes) for key, value in node.attrs.items()}
    if dtype is not None and attrs.get("dtype") in FLOATS:
        attrs["dtype"] = {4: "f32", 8: "f64"}[np.dtype(dtype).itemsize]
    result = evaluate(node.op, operands, attrs)
    shape = at_sizes(node.result.type.shape, sizes)
    expected = DTYPES[node.result.type.dtype]
    if dtype is not None and expected.kind == "f":
        expected = np.dtype(dtype)
    if result.shape != shape or result.dtype != expected:
        raise Error(f"{node.op} gave {result.dtype} of shape {result.shape}, "
                    f"not {expected} of shape {shape}")
    return result
