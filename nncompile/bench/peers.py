"""The same graph run by others: plain NumPy, torch eager, ONNX Runtime.

A peer is a function (graph, sets, threads) -> ways: one or more callables that do the same work
and are called differently, of which the fastest counts. Each returns new arrays, as a compiled
model does, and takes the next of the sets of input arrays in each call. The graph is a traced one,
before any pass, so that no peer profits from ours.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import cycle
from typing import Any

import numpy as np

from ir import Error, Graph, Node, Value
from ir.composites import plain_nodes
from ir.ops import at_sizes
from ir.types import DTYPES, NDArray, bind_sizes
from nncompile.bench.onnx_model import onnx_model
from nncompile.counterparts import Language, expression, literal

Way = Callable[[], Sequence[NDArray]]
Sets = Sequence[Sequence[NDArray]]       # of input arrays, all of the same shapes
Peer = Callable[[Graph, Sets, int], list[Way]]


class Unavailable(Error):
    """A peer that is not installed, or that finds no device."""


def _numpy_ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
    """The code that one writes by hand in NumPy: x @ w.T + b, and so on.

    Its threads are those of NumPy's BLAS, which only threadpoolctl can limit.
    """
    needed("threadpoolctl")
    run = numpy_like(graph, sets[0], np, "scipy.special", np.asarray)
    return [in_turn([partial(run, *arrays) for arrays in sets])]


def _torch_ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
    """The functions of torch, eager, in inference mode."""
    torch = needed("torch")
    torch.set_num_threads(threads)
    functional = needed("torch.nn.functional")
    data, *inputs = ([torch.tensor(a) for a in given] for given in (data_of(graph), *sets))
    source = write_python(graph, sizes_of(graph, sets[0]), "torch")
    eager = load_python(source, {"torch": torch, "F": functional}, data)

    def run(tensors: Sequence[Any]) -> Sequence[NDArray]:
        with torch.inference_mode():
            return [y.numpy() for y in eager(*tensors)]

    return [in_turn([partial(run, tensors) for tensors in inputs])]


def _onnxruntime_ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
    """An ONNX Runtime session with all optimizations and fixed sizes.

    Of the two ways, run_with_iobinding writes to arrays that are bound once, and is faster for
    small models.
    """
    needed("onnx")
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    model = onnx_model(graph, sizes_of(graph, sets[0]))
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = [{i.name: a for i, a in zip(session.get_inputs(), arrays, strict=True)}
             for arrays in sets]
    outputs = {o.name: np.full_like(a, -1) for o, a in
               zip(session.get_outputs(), session.run(None, feeds[0]), strict=True)}

    def bound(feed: Mapping[str, NDArray]) -> Way:
        binding = session.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        def run(_: Any = feed) -> Sequence[NDArray]:             # a binding does not own its arrays
            session.run_with_iobinding(binding)
            return list(outputs.values())

        return run

    return [in_turn([partial(session.run, None, feed) for feed in feeds]),
            in_turn([bound(feed) for feed in feeds])]


PEERS: dict[str, Peer] = {
    "numpy": _numpy_ways,
    "torch": _torch_ways,
    "onnxruntime": _onnxruntime_ways,
}


def in_turn(calls: Sequence[Way]) -> Way:
    """Returns a callable that calls the next of these each time, from the first on."""
    if len(calls) == 1:
        return calls[0]
    following = cycle(calls).__next__
    return lambda: following()()


def needed(module: str) -> Any:
    """Returns the module of that name. Raises Unavailable where it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise Unavailable(f"{module.partition('.')[0]} is not installed") from None


def sizes_of(graph: Graph, arrays: Sequence[NDArray]) -> Mapping[str, int]:
    """Returns the symbolic sizes that these inputs give the graph."""
    return bind_sizes([v.type for v in graph.inputs], arrays)


def data_of(graph: Graph) -> list[NDArray]:
    """Returns the arrays of the graph's parameters, in order."""
    return [np.asarray(graph.data[p]) for p in graph.params]


# -- a graph as Python text ------------------------------------------------------------------------

def write_python(graph: Graph, sizes: Mapping[str, int], language: Language,
                 params: str = "p{}") -> str:
    """Returns the source of a function `run` of the graph's inputs, one line for each node.

    The parameters are global names p0, p1, ..., or as `params` formats them. Each value is deleted
    after its last use, as in code that reuses one name for all results: without that, an allocator
    would need new memory for every layer.
    Raises NoCounterpart.
    """
    inputs = [f"x{i}" for i in range(len(graph.inputs))]
    names: dict[Value, str] = dict(zip(graph.inputs, inputs, strict=True))
    names |= {p: params.format(i) for i, p in enumerate(graph.params)}
    nodes = list(plain_nodes(graph.nodes))
    names |= {n.result: f"v{i}" for i, n in enumerate(nodes)}
    last = {o: n for n in nodes for o in (*n.inputs, n.result) if isinstance(o, Value)}
    lines = [f"def run({', '.join(inputs)}):"]
    for node in nodes:
        operands = [names[o] if isinstance(o, Value) else literal(_of_integers(node, o))
                    for o in node.inputs]
        attrs = {k: at_sizes(v, sizes) for k, v in node.attrs.items()}
        lines.append(f"{names[node.result]} = {expression(node.op, language, operands, attrs)}")
        dead = [names[v] for v, user in last.items()
                if user is node and v not in graph.outputs and names[v][0] == "v"]
        lines += [f"del {', '.join(dead)}"] if dead else []
    lines.append(f"return [{', '.join(names[v] for v in graph.outputs)}]")
    return "\n    ".join(lines) + "\n"


def _of_integers(node: Node, number: float) -> float:
    """Returns a number as an int where it stands among integers, which a float would widen."""
    kinds = {DTYPES[o.type.dtype].kind for o in node.inputs if isinstance(o, Value)} - {"b"}
    whole = bool(kinds) and kinds <= {"i", "u"} and float(number).is_integer()
    return int(number) if whole else number


def load_python(source: str, names: Mapping[str, Any], data: Sequence[Any]) -> Callable[..., Any]:
    """Returns the function `run` of a source, with these globals and the parameters p0, p1, ..."""
    namespace = dict(names) | {f"p{i}": array for i, array in enumerate(data)}
    exec(compile(source, "<peer>", "exec"), namespace)
    run: Callable[..., Any] = namespace["run"]
    return run


NUMPY_FUNCTIONS = """\
def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    e /= e.sum(axis, keepdims=True)
    return e


def layer_norm(x, *affine, axes, eps):
    centred = x - x.mean(axes, keepdims=True)
    y = centred / np.sqrt((centred * centred).mean(axes, keepdims=True) + eps)
    if affine:
        y *= affine[0]
    if affine[1:]:
        y += affine[1]
    return y
"""                              # what NumPy lacks, as one writes it by hand


def numpy_like(graph: Graph, arrays: Sequence[NDArray], library: Any, special: str,
               upload: Callable[[NDArray], Any]) -> Callable[..., Any]:
    """Returns the graph as code for NumPy, run by a library that has NumPy's functions.

    special: the module that has ndtr, which NumPy lacks as it lacks erf. upload: makes the
    library's array of a parameter.
    """
    names: dict[str, Any] = {"np": library}
    exec(compile(NUMPY_FUNCTIONS, "<peer>", "exec"), names)
    if any(node.op == "gelu" for node in graph.nodes):
        names["ndtr"] = needed(special).ndtr
    source = write_python(graph, sizes_of(graph, arrays), "numpy")
    return load_python(source, names, [upload(a) for a in data_of(graph)])
