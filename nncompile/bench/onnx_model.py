"""A graph as an ONNX model, for ONNX Runtime to run.  `onnx` is imported when one is written."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ir import Error, Graph, Value
from ir.ops import at_sizes
from ir.types import DTYPES, NDArray, TensorType

_OPSET, _IR_VERSION = 20, 10                  # the first with Gelu; ONNX Runtime since 1.18


def onnx_model(graph: Graph, sizes: Mapping[str, int]) -> bytes:
    """The serialized model, its symbolic sizes replaced by these: a runtime that knows them plans
    better.  Raises Error for an op without a counterpart."""
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
    """Collects the nodes and the initializers; every value gets a name of its own."""

    def __init__(self, graph: Graph, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Value, str] = {v: f"x{i}" for i, v in enumerate(graph.inputs)}
        self.data = {p: np.asarray(graph.data[p]) for p in graph.params}

    def add(self, op: str, inputs: tuple[Any, ...], attrs: Mapping[str, Any],
            result: Value) -> None:
        if op not in ONNX:
            raise Error(f"it has no counterpart of {op}")
        own = {k: at_sizes(v, self.sizes) for k, v in attrs.items()}
        self.names[result] = ONNX[op](_Operation(self, inputs, result), **own)

    def name(self, value: Value) -> str:
        """The name of a value; a parameter's array is written where it is used first."""
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
    """One node of the graph on its way to ONNX: its operands by position, as names."""

    def __init__(self, writer: _Writer, inputs: tuple[Any, ...], result: Value) -> None:
        self.writer, self.inputs, self.result = writer, inputs, result
        self.emit = writer.emit

    def __getitem__(self, index: int) -> str:
        operand = self.inputs[index]
        return self.writer.name(operand) if isinstance(operand, Value) else self.number(operand)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def names(self) -> list[str]:
        return [self[i] for i in range(len(self))]

    def number(self, value: float) -> str:
        """A scalar of the result's dtype."""
        return self.writer.array(np.asarray(value, DTYPES[self.result.type.dtype]))

    def integers(self, *values: int) -> str:
        return self.writer.array(np.array(values, np.int64))


def _node(kind: str, **attrs: Any) -> Callable[..., str]:
    """The same operands, the same meaning."""
    return lambda op: op.emit(kind, *op.names, **attrs)


def _linear(op: _Operation) -> str:
    x, weight, *bias = op.inputs
    if x.type.ndim == 2:
        return op.emit("Gemm", *op.names, transB=1)
    transposed = op.emit("Transpose", op[1], perm=[1, 0])
    if weight in op.writer.data:
        transposed = op.writer.array(op.writer.data[weight].T)    # a constant, which it can pack
    product = op.emit("MatMul", op[0], transposed)
    return op.emit("Add", product, op[2]) if bias else product


def _softmax(op: _Operation, *, axis: int, scale: float) -> str:
    x = op[0] if scale == 1 else op.emit("Mul", op[0], op.number(scale))
    return op.emit("Softmax", x, axis=axis)


def _layer_norm(op: _Operation, *, axes: tuple[int, ...], eps: float) -> str:
    names = op.names
    if len(names) == 1:                       # ONNX wants a weight
        shape = at_sizes(op.inputs[0].type.shape[axes[0]:], op.writer.sizes)
        names.append(op.writer.array(np.ones(shape, DTYPES[op.result.type.dtype])))
    return op.emit("LayerNormalization", *names, axis=axes[0], epsilon=eps)


def _reduction(kind: str) -> Callable[..., str]:
    def write(op: _Operation, *, axes: tuple[int, ...], keepdims: bool) -> str:
        return op.emit(kind, op[0], op.integers(*axes), keepdims=int(keepdims))
    return write


def _slice(op: _Operation, *, axis: int, start: int, stop: int, step: int) -> str:
    bounds = [op.integers(n) for n in (start, stop if stop >= 0 else -2**63, axis, step)]
    return op.emit("Slice", op[0], *bounds)


ONNX: dict[str, Callable[..., str]] = {
    "add": _node("Add"),
    "sub": _node("Sub"),
    "mul": _node("Mul"),
    "div": _node("Div"),
    "maximum": _node("Max"),
    "minimum": _node("Min"),
    "neg": _node("Neg"),
    "abs": _node("Abs"),
    "exp": _node("Exp"),
    "log": _node("Log"),
    "sqrt": _node("Sqrt"),
    "tanh": _node("Tanh"),
    "sigmoid": _node("Sigmoid"),
    "relu": _node("Relu"),
    "gelu": _node("Gelu"),
    "gelu_tanh": _node("Gelu", approximate="tanh"),
    "identity": _node("Identity"),
    "dropout": lambda op, *, p: op[0],
    "linear": _linear,
    "matmul": _node("MatMul"),
    "embedding": lambda op: op.emit("Gather", op[1], op[0], axis=0),
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "max": _reduction("ReduceMax"),
    "reshape": lambda op, *, shape: op.emit("Reshape", op[0], op.integers(*shape), allowzero=1),
    "transpose": lambda op, *, axes: op.emit("Transpose", op[0], perm=list(axes)),
    "slice": _slice,
    "concat": lambda op, *, axis: op.emit("Concat", *op.names, axis=axis),
}
