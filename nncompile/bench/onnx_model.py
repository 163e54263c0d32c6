"""Writes a graph as an ONNX model for ONNX Runtime; `onnx` is imported where one is written."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ir import DTYPES, Graph, NDArray, TensorType, Value
from ir.ops import at_sizes
from nncompile.counterparts import counterpart

_OPSET, _IR_VERSION = 20, 10                  # the first with Gelu; ONNX Runtime since 1.18


def onnx_model(graph: Graph, sizes: Mapping[str, int]) -> bytes:
    """Returns the serialized model with symbolic sizes replaced by numbers.

    A runtime that knows the sizes plans better.
    Raises NoCounterpart.
    """
    from onnx import helper

    writer = _Writer(graph, sizes)
    for node in graph.nodes:
        writer.add(node.op, node.inputs, node.attrs, node.result)
    outputs = [writer.emit("Identity", writer.name(v)) for v in graph.outputs]
    body = helper.make_graph(
        writer.nodes, "graph",
        [writer.info(writer.name(v), v.type) for v in graph.inputs],
        [writer.info(name, v.type) for name, v in zip(outputs, graph.outputs, strict=True)],
        writer.initializers)
    model: bytes = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)],
                                     ir_version=_IR_VERSION).SerializeToString()
    return model


class _Writer:
    """Collects ONNX nodes and initializers, and names every value."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Value, str] = {v: f"x{i}" for i, v in enumerate(graph.inputs)}
        self.data = {p: np.asarray(graph.data[p]) for p in graph.params}

    def add(self, op: str, inputs: tuple[Any, ...], attrs: Mapping[str, Any],
            result: Value) -> None:
        own = {k: at_sizes(v, self.sizes) for k, v in attrs.items()}
        entry, node = counterpart(op, "onnx"), _Operation(self, inputs, result)
        self.names[result] = (entry(node, **own) if callable(entry)
                              else self.emit(entry, *node.names))

    def name(self, value: Value) -> str:
        """Returns the name of a value; a parameter's array is written where it is used first."""
        if value not in self.names:
            self.names[value] = self.array(self.data[value])
        return self.names[value]

    def array(self, array: NDArray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def emit(self, kind: str, *inputs: str, **attrs: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attrs))
        return name

    def info(self, name: str, type_: TensorType) -> Any:
        from onnx import helper

        dtype = helper.np_dtype_to_tensor_dtype(DTYPES[type_.dtype])
        return helper.make_tensor_value_info(name, dtype, at_sizes(type_.shape, self.sizes))


class _Operation:
    """A node on its way to ONNX, in the form that the table of counterparts takes."""

    def __init__(self, writer: _Writer, inputs: Sequence[Any], result: Value) -> None:
        self.writer, self.inputs, self.result = writer, inputs, result
        self.emit, self.constant, self.data = writer.emit, writer.array, writer.data.get

    def __getitem__(self, index: int) -> str:
        operand = self.inputs[index]
        if isinstance(operand, Value):
            return self.writer.name(operand)
        arrays = [o for o in self.inputs if isinstance(o, Value)] or [self.result]
        return self.constant(np.asarray(operand, DTYPES[arrays[-1].type.dtype]))

    @property
    def names(self) -> list[str]:
        return [self[i] for i in range(len(self.inputs))]

    def shape(self, value: Value) -> tuple[int, ...]:
        shape: tuple[int, ...] = at_sizes(value.type.shape, self.writer.sizes)
        return shape
