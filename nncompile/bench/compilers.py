"""Peers that compile the graph before they run it: torch.compile, OpenVINO, JAX.

Each settles the number of its threads when the library starts, so each runs in a process of its own
(see `contender`).
"""
from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ir import Graph, NDArray
from nncompile.bench.onnx_model import onnx_model
from nncompile.bench.peers import (
    Peer,
    Sets,
    Way,
    data_of,
    in_turn,
    load_python,
    needed,
    sizes_of,
    write_python,
)

FALLBACK = "_NNCOMPILE_BENCH_FALLBACK"    # set in a process that replaces one that has crashed


# -- torch.compile ---------------------------------------------------------------------------------

def _torch_compile_ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
    """torch.compile with all sizes fixed: the default mode, and max-autotune.

    Freezing lets Inductor fold and pack the weights; max-autotune tries its own products against
    MKL's.
    """
    torch = needed("torch")
    needed("torch._inductor.config").freezing = True
    torch.set_num_threads(threads)
    torch._dynamo.reset()                                  # the code of the case before
    inputs = [[torch.tensor(a) for a in arrays] for arrays in sets]

    def way(mode: str) -> Way:
        compiled = torch.compile(_torch_module(graph, sets[0]), mode=mode, dynamic=False,
                                 fullgraph=True)

        def run(tensors: Sequence[Any]) -> Sequence[NDArray]:
            with torch.inference_mode():
                return [y.numpy() for y in compiled(*tensors)]

        return in_turn([partial(run, tensors) for tensors in inputs])

    return [way(mode) for mode in ("default", "max-autotune")]


def _torch_module(graph: Graph, arrays: Sequence[NDArray]) -> Any:
    """Returns the graph as a torch Module, since freezing concerns only a Module's parameters."""
    torch = needed("torch")
    source = write_python(graph, sizes_of(graph, arrays), "torch", params="self.p{}")
    source = source.replace("def run(", "def run(self, ", 1)
    names = {"torch": torch, "F": needed("torch.nn.functional")}
    module = type("Peer", (torch.nn.Module,), {"forward": load_python(source, names, [])})()
    for number, array in enumerate(data_of(graph)):
        parameter = torch.nn.Parameter(torch.tensor(array), requires_grad=False)
        module.register_parameter(f"p{number}", parameter)
    return module.eval()


# -- OpenVINO --------------------------------------------------------------------------------------

def _openvino_ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
    """OpenVINO with inputs and outputs in shared memory, under each of its two performance hints.

    It computes in float32; by default it would use bfloat16 where the CPU has it.
    """
    openvino = needed("openvino")
    core = openvino.Core()
    model = core.read_model(io.BytesIO(onnx_model(graph, sizes_of(graph, sets[0]))))
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    if FALLBACK in os.environ:
        settings["SNIPPETS_MODE"] = "DISABLE"    # 2026.4 crashes on some MLPs and one thread
    inputs = [[openvino.Tensor(array, shared_memory=True) for array in arrays] for arrays in sets]
    hints = ["LATENCY", "THROUGHPUT"] if threads > 1 else ["LATENCY"]     # of one thread: the same

    def way(hint: str) -> Way:
        compiled = core.compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": hint})

        def call(tensors: Sequence[Any]) -> Way:
            request = compiled.create_infer_request()
            for number, tensor in enumerate(tensors):
                request.set_input_tensor(number, tensor)

            def run(_: Sequence[Any] = tensors) -> Sequence[NDArray]:    # which it does not own
                return list(request.infer(share_outputs=True).values())

            return run

        return in_turn([call(tensors) for tensors in inputs])

    return [way(hint) for hint in hints]


# -- JAX -------------------------------------------------------------------------------------------

def _jax_ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
    """jax.jit with the sizes fixed: with the weights as arguments, and as constants.

    XLA may fold and pack constants. Each call waits for its result. There are as many threads as
    the process has CPUs.
    """
    jax, jnp = needed("jax"), needed("jax.numpy")
    jax.config.update("jax_enable_x64", any(
        a.dtype == np.float64 for a in (*sets[0], *data_of(graph))))
    names = {"jax": jax, "jnp": jnp}
    source = write_python(graph, sizes_of(graph, sets[0]), "jax")
    params, *inputs = ([jax.device_put(a) for a in given] for given in (data_of(graph), *sets))

    def with_arguments(params: Sequence[Any], *inputs: Any) -> Any:
        return load_python(source, names, params)(*inputs)

    by_arguments = jax.jit(with_arguments)
    by_constants = jax.jit(load_python(source, names, params))

    def way(function: Callable[..., Any], *first: Any) -> Way:
        def run(arrays: Sequence[Any]) -> Any:
            return jax.block_until_ready(function(*first, *arrays))

        return in_turn([partial(run, arrays) for arrays in inputs])

    return [way(by_arguments, params), way(by_constants)]


COMPILERS: dict[str, Peer] = {
    "torch.compile": _torch_compile_ways,
    "openvino": _openvino_ways,
    "jax": _jax_ways,
}
