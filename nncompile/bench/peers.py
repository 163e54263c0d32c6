"""The same graph run by others: plain NumPy, torch eager, ONNX Runtime.

A peer is a function (graph, arrays, threads) -> ways: one or more callables that do the same work
and are called differently, of which the fastest counts.  Each answers with new arrays, as a
compiled model does.  The graph is a traced one, before any pass, so that no peer profits from ours.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import chain
from math import isfinite
from typing import Any

import numpy as np

from ir import Error, Graph, Value
from ir.ops import at_sizes
from ir.types import NDArray, bind_sizes
from nncompile.bench.onnx_model import onnx_model

Way = Callable[[], Sequence[NDArray]]
Peer = Callable[[Graph, Sequence[NDArray], int], list[Way]]
Template = Callable[..., str]                 # (*operands, **attributes) -> an expression


class Unavailable(Error):
    """A peer that is not installed, or that has no counterpart of something in the graph."""


def _numpy_ways(graph: Graph, arrays: Sequence[NDArray], threads: int) -> list[Way]:
    """What a person writes by hand: x @ w.T + b, and so on.  Its threads are those of its BLAS,
    and only threadpoolctl can set them."""
    needed("threadpoolctl")
    names = {"np": np, "softmax": _softmax, "layer_norm": _layer_norm}
    if any(node.op == "gelu" for node in graph.nodes):
        names["ndtr"] = needed("scipy.special").ndtr         # NumPy has no erf
    run = load_python(write_python(graph, sizes_of(graph, arrays), NUMPY), names, data_of(graph))
    return [lambda: run(*arrays)]


def _torch_ways(graph: Graph, arrays: Sequence[NDArray], threads: int) -> list[Way]:
    """torch's own functions, eagerly, in inference mode."""
    torch = needed("torch")
    torch.set_num_threads(threads)
    functional = needed("torch.nn.functional")
    data, inputs = ([torch.tensor(a) for a in given] for given in (data_of(graph), arrays))
    source = write_python(graph, sizes_of(graph, arrays), TORCH)
    eager = load_python(source, {"torch": torch, "F": functional}, data)

    def run() -> Sequence[NDArray]:
        with torch.inference_mode():
            return [y.numpy() for y in eager(*inputs)]

    return [run]


def _onnxruntime_ways(graph: Graph, arrays: Sequence[NDArray], threads: int) -> list[Way]:
    """A session with every optimization, the sizes fixed: `run`, and `run_with_iobinding`, which
    writes to arrays that are bound once and is the faster one for small models."""
    needed("onnx")
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    model = onnx_model(graph, sizes_of(graph, arrays))
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {i.name: a for i, a in zip(session.get_inputs(), arrays, strict=True)}
    outputs = {o.name: np.full_like(a, -1) for o, a in
               zip(session.get_outputs(), session.run(None, feed), strict=True)}
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run_bound() -> Sequence[NDArray]:
        session.run_with_iobinding(binding)
        return list(outputs.values())

    return [lambda: session.run(None, feed), run_bound]


PEERS: dict[str, Peer] = {
    "numpy": _numpy_ways,
    "torch": _torch_ways,
    "onnxruntime": _onnxruntime_ways,
}


def needed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise Unavailable(f"{module.partition('.')[0]} is not installed") from None


def sizes_of(graph: Graph, arrays: Sequence[NDArray]) -> Mapping[str, int]:
    return bind_sizes([v.type for v in graph.inputs], arrays)


def data_of(graph: Graph) -> list[NDArray]:
    return [np.asarray(graph.data[p]) for p in graph.params]


# -- a graph as Python text ------------------------------------------------------------------------

def write_python(graph: Graph, sizes: Mapping[str, int], table: Mapping[str, Template],
                 params: str = "p{}") -> str:
    """A function `run` of the graph's inputs, a line a node; its params are the globals p0, p1...,
    or what `params` calls them.

    Each value is dropped after its last use, as in code that names its results x again and again:
    an allocator that has to find new memory for every layer would be slower.
    """
    inputs = [f"x{i}" for i in range(len(graph.inputs))]
    names: dict[Value, str] = dict(zip(graph.inputs, inputs, strict=True))
    names |= {p: params.format(i) for i, p in enumerate(graph.params)}
    names |= {n.result: f"v{i}" for i, n in enumerate(graph.nodes)}
    last = {o: n for n in graph.nodes for o in (*n.inputs, n.result) if isinstance(o, Value)}
    lines = [f"def run({', '.join(inputs)}):"]
    for node in graph.nodes:
        if node.op not in table:
            raise Unavailable(f"it has no counterpart of {node.op}")
        operands = [names[o] if isinstance(o, Value) else _literal(o) for o in node.inputs]
        attrs = {k: at_sizes(v, sizes) for k, v in node.attrs.items()}
        lines.append(f"{names[node.result]} = {table[node.op](*operands, **attrs)}")
        dead = [names[v] for v, user in last.items()
                if user is node and v not in graph.outputs and names[v][0] == "v"]
        lines += [f"del {', '.join(dead)}"] if dead else []
    lines.append(f"return [{', '.join(names[v] for v in graph.outputs)}]")
    return "\n    ".join(lines) + "\n"


def _literal(number: float) -> str:
    """In parentheses, which no name starts with."""
    return f"({number!r})" if isfinite(number) else f"(float('{number}'))"


def _is_literal(operand: str) -> bool:
    return operand.startswith("(")


def load_python(source: str, names: Mapping[str, Any], data: Sequence[Any]) -> Callable[..., Any]:
    namespace = dict(names) | {f"p{i}": array for i, array in enumerate(data)}
    exec(compile(source, "<peer>", "exec"), namespace)
    run: Callable[..., Any] = namespace["run"]
    return run


def _infix(operator: str) -> Template:
    return lambda a, b: f"{a} {operator} {b}"


def call(function: str) -> Template:
    return lambda *operands: f"{function}({', '.join(operands)})"


def _same_value(x: str, **_: Any) -> str:
    return x


def _linear(x: str, w: str, b: str | None = None) -> str:
    return f"{x} @ {w}.T" if b is None else f"{x} @ {w}.T + {b}"


def _slice(x: str, *, axis: int, start: int, stop: int, step: int) -> str:
    if step != 1:
        raise Unavailable(f"no counterpart of a slice with the step {step}")
    return f"{x}[{':, ' * axis}{start}:{stop}]"


COMMON: dict[str, Template] = {
    "add": _infix("+"),
    "sub": _infix("-"),
    "mul": _infix("*"),
    "div": _infix("/"),
    "neg": lambda x: f"-{x}",
    "identity": _same_value,
    "dropout": _same_value,
    "matmul": _infix("@"),
    "slice": _slice,
    "reshape": lambda x, *, shape: f"{x}.reshape({shape})",
}

NUMPY: dict[str, Template] = COMMON | {
    "maximum": call("np.maximum"),
    "minimum": call("np.minimum"),
    "abs": call("np.abs"),
    "exp": call("np.exp"),
    "log": call("np.log"),
    "sqrt": call("np.sqrt"),
    "tanh": call("np.tanh"),
    "sigmoid": lambda x: f"1 / (1 + np.exp(-{x}))",
    "relu": lambda x: f"np.maximum({x}, 0)",
    "gelu": lambda x: f"{x} * ndtr({x})",
    "gelu_tanh": lambda x: f"0.5 * {x} * (1 + np.tanh(0.7978845608028654"
                           f" * ({x} + 0.044715 * {x} * {x} * {x})))",
    "linear": _linear,
    "embedding": lambda ids, w: f"{w}[{ids}]",
    "softmax": lambda x, *, axis, scale: f"softmax({scaled(x, scale)}, {axis})",
    "layer_norm": lambda *operands, axes, eps:
        f"layer_norm({', '.join(operands)}, axes={axes}, eps={eps})",
    "sum": lambda x, *, axes, keepdims: f"{x}.sum({axes}, keepdims={keepdims})",
    "mean": lambda x, *, axes, keepdims: f"{x}.mean({axes}, keepdims={keepdims})",
    "max": lambda x, *, axes, keepdims: f"{x}.max({axes}, keepdims={keepdims})",
    "transpose": lambda x, *, axes: f"{x}.transpose({axes})",
    "concat": lambda *xs, axis: f"np.concatenate([{', '.join(xs)}], {axis})",
}


def scaled(x: str, scale: float) -> str:
    return x if scale == 1 else f"{x} * {scale}"


def _softmax(x: NDArray, axis: int) -> NDArray:
    e: NDArray = np.exp(x - x.max(axis, keepdims=True))
    e /= e.sum(axis, keepdims=True)
    return e


def _layer_norm(x: NDArray, weight: NDArray | None = None, bias: NDArray | None = None, *,
                axes: tuple[int, ...], eps: float) -> NDArray:
    centred = x - x.mean(axes, keepdims=True)
    y: NDArray = centred / np.sqrt((centred * centred).mean(axes, keepdims=True) + eps)
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y


def _torch_extremum(function: str, bound: str) -> Template:
    """torch.maximum takes no plain number."""
    def template(a: str, b: str) -> str:
        number, array = (a, b) if _is_literal(a) else (b, a)
        if _is_literal(number):
            return f"torch.clamp({array}, {bound}={number})"
        return f"torch.{function}({a}, {b})"
    return template


def _torch_layer_norm(x: str, *affine: str, axes: tuple[int, ...], eps: float) -> str:
    operands = chain((x, f"{x}.shape[{axes[0]}:]"), affine)
    return f"F.layer_norm({', '.join(operands)}, eps={eps})"


def _torch_reduction(function: str) -> Template:
    return lambda x, *, axes, keepdims: f"torch.{function}({x}, {axes}, keepdim={keepdims})"


TORCH: dict[str, Template] = COMMON | {
    "maximum": _torch_extremum("maximum", "min"),
    "minimum": _torch_extremum("minimum", "max"),
    "abs": call("torch.abs"),
    "exp": call("torch.exp"),
    "log": call("torch.log"),
    "sqrt": call("torch.sqrt"),
    "tanh": call("torch.tanh"),
    "sigmoid": call("torch.sigmoid"),
    "relu": call("torch.relu"),
    "gelu": call("F.gelu"),
    "gelu_tanh": lambda x: f"F.gelu({x}, approximate='tanh')",
    "linear": call("F.linear"),
    "embedding": call("F.embedding"),
    "softmax": lambda x, *, axis, scale: f"torch.softmax({scaled(x, scale)}, {axis})",
    "layer_norm": _torch_layer_norm,
    "sum": _torch_reduction("sum"),
    "mean": _torch_reduction("mean"),
    "max": _torch_reduction("amax"),
    "transpose": lambda x, *, axes: f"{x}.permute({axes})",
    "concat": lambda *xs, axis: f"torch.cat([{', '.join(xs)}], {axis})",
}
