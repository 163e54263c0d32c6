"""What the suite of the device shares: graphs of one op, and how far a result may be off."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import ir
import nncompile
from ir import Builder, Graph, TensorType, Where
from ir.types import symbol
from nncompile.cuda import shim

B, T = symbol("B"), symbol("T")
SIMULATED = shim.load().simulated
EPS = {"f32": 2.0**-24, "f64": 2.0**-53}
NUMPY = {"f32": np.float32, "f64": np.float64}


class Net:
    """A graph with the data of its parameters, built in order."""

    def __init__(self, dtype: str = "f32", seed: int = 0) -> None:
        self.dtype, self.builder = dtype, Builder()
        self.random = np.random.default_rng(seed)

    def input(self, *shape, dtype: str | None = None):
        name = f"x{len(self.builder.declared)}"
        return self.builder.declare("input", name, TensorType(dtype or self.dtype, shape))

    def param(self, *shape, values=None):
        name, type_ = f"p{len(self.builder.declared)}", TensorType(self.dtype, shape)
        array = self.random.standard_normal(shape) if values is None else np.asarray(values)
        return self.builder.declare("parameter", name, type_, array.astype(NUMPY[self.dtype]))

    def add(self, op: str, *inputs, **attrs):
        return self.builder.add(op, *inputs, where=Where("0 Layer", "model.py:1"), **attrs)

    def graph(self, *outputs) -> Graph:
        return self.builder.build("net", outputs)


def compiled(graph: Graph, target: str = "cuda"):
    return nncompile.compile(graph, target=target)


def outputs(result) -> list[np.ndarray]:
    return list(result) if isinstance(result, tuple) else [result]


def check(graph: Graph, inputs: Sequence[np.ndarray], *, ulps: float = 8.0, fast=None):
    """The compiled graph is as near to the float64 interpreter as its own precision allows:
    `ulps` units of the largest number of a result."""
    fast = fast or compiled(graph)
    kept = [x.copy() for x in inputs]
    got = outputs(fast(*inputs))
    for x, before in zip(inputs, kept, strict=True):
        np.testing.assert_array_equal(x, before)
    for y, want in zip(got, ir.interpret(graph, inputs, np.float64), strict=True):
        assert y.shape == want.shape
        same(y, want, ulps)
    return got


def same(got: np.ndarray, want: np.ndarray, ulps: float) -> None:
    dtype = "f32" if got.dtype == np.float32 else "f64"
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    with np.errstate(over="ignore"):
        rounded = want.astype(got.dtype)
    infinite = np.isinf(rounded)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    finite = np.isfinite(rounded)
    scale = np.abs(want[finite]).max(initial=np.finfo(got.dtype).tiny)
    error = np.abs(got[finite].astype(np.float64) - want[finite]).max(initial=0.0)
    assert error <= ulps * 2 * EPS[dtype] * scale, f"{error / (2 * EPS[dtype] * scale)} units"


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(np.int32 if array.dtype == np.float32 else np.int64)
