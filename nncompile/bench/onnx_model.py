"""Writes a graph as an ONNX model for ONNX Runtime; `onnx` is imported where one is written."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ir import DTYPES, Graph, NDArray, Node, TensorType, Value
from ir.ops import at_sizes
from nncompile.counterparts import OnnxNode, counterpart

_OPSET, _IR_VERSION = 20, 10                  # the first with Gelu; ONNX Runtime since 1.18


def onnx_model(graph: Graph, sizes: Mapping[str, int]) -> bytes:
    """Returns the serialized model with symbolic sizes replaced by numbers.

    A runtime that knows the sizes plans better.
    Raises NoCounterpart.
    """
    from onnx import helper

    writer = _Writer(graph, sizes)
    for node in graph.nodes:
        writer.add(node)
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

    def add(self, node: Node) -> None:
        entry = counterpart(node.op, "onnx")
        given = OnnxNode(node.inputs, node.result, self.name, self.emit, self.array, self.shape,
                         self.data.get)
        attrs = {k: at_sizes(v, self.sizes) for k, v in node.attrs.items()}
        self.names[node.result] = (entry(given, **attrs) if callable(entry)
                                   else self.emit(entry, *given.names))

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

    def shape(self, value: Value) -> tuple[int, ...]:
        shape: tuple[int, ...] = at_sizes(value.type.shape, self.sizes)
        return shape
