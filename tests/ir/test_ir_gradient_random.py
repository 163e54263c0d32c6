"""Gradients of random graphs: beside torch's autograd, central differences, and taken twice."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import ir
from ir.ops.gradients import NO_GRADIENT
from ir.records import replace
from ir.types import FLOATS, NDArray, symbol_name
from nncompile.bench.peers import load_python, write_python
from nncompile.counterparts import NoCounterpart
from tests.strategies import all_finite, feed, graphs, seeds

torch = pytest.importorskip("torch")
F = torch.nn.functional

# What all other ops compute has gradients everywhere, and gradients of these.
ROUGH = {"maximum", "minimum", "abs", "relu", "max", "min", *NO_GRADIENT}

random_graphs = settings(max_examples=40, deadline=None,
                         suppress_health_check=[HealthCheck.filter_too_much])


def floats_of(graph: ir.Graph) -> list[ir.Value]:
    return [v for v in (*graph.inputs, *graph.params) if v.type.dtype in FLOATS]


def in_torch(graph: ir.Graph, arrays: Sequence[NDArray]) -> tuple[Any, list[Any]]:
    """Output 0 and all floats that it is computed from, as torch's tensors."""
    sizes = {"B": next(a.shape[0] for a, v in zip(arrays, graph.inputs, strict=True)
                       if str(v.type.shape[:1]) == "(B,)")}
    source = write_python(graph, sizes, "torch")
    data = [torch.tensor(graph.data[p]) for p in graph.params]
    given = [torch.tensor(a) for a in arrays]
    floats = [t.requires_grad_() for t in (*given, *data) if t.is_floating_point()]
    return load_python(source, {"torch": torch, "F": F}, data)(*given)[0], floats


def by_torch(out: Any, floats: Sequence[Any], g: Any, create: bool = False) -> list[Any]:
    """The gradients of a result, by torch's autograd; zeros where it does not depend on a value."""
    if not out.requires_grad:
        return [torch.zeros_like(t) for t in floats]
    found = torch.autograd.grad(out, floats, torch.as_tensor(g), create_graph=create,
                                allow_unused=True)
    return [torch.zeros_like(t) if a is None else a
            for t, a in zip(floats, found, strict=True)]


def seed_for(graph: ir.Graph, arrays: Sequence[NDArray]) -> NDArray:
    shape = ir.interpret(graph, arrays)[0].shape
    return np.random.default_rng(5).standard_normal(shape)


def drawn(graph: ir.Graph, seed: int, size: int) -> tuple[ir.Graph, list[NDArray]]:
    """The graph with output 0 of floats, and inputs for it; refused where a value is not finite."""
    type_ = graph.outputs[0].type
    assume(type_.dtype in FLOATS)
    assume(all(isinstance(d, int) or symbol_name(d) for d in type_.shape))    # so is a seed's
    arrays = feed(graph, seed, size)
    assume(all_finite(graph, arrays))
    return graph, arrays


@random_graphs
@given(st.one_of(graphs(dtype="f64"), graphs(dtype="f64", wide=True)), seeds,
       st.sampled_from([1, 3]))
def test_beside_torch(graph: ir.Graph, seed: int, size: int) -> None:
    graph, arrays = drawn(graph, seed, size)
    assume(all(node.op != "floor_div" for node in graph.nodes))      # torch has no gradient of it
    made = ir.gradient(graph, wrt=floats_of(graph), seed="g")
    ir.verify(made)
    assert str(ir.parse(str(made))) == str(made)
    g = seed_for(graph, arrays)
    try:
        out, floats = in_torch(graph, arrays)
    except (NoCounterpart, TypeError):           # torch's logical_and takes no plain number
        assume(False)
    wanted = [a.numpy() for a in by_torch(out, floats, g)]
    found = ir.interpret(made, [*arrays, g])[len(graph.outputs):]
    for value, ours, theirs in zip(floats_of(graph), found, wanted, strict=True):
        # torch's pow(-0.0, -0.5) is -inf
        ours, theirs = (np.where(np.isinf(a), np.inf, a) for a in (ours, theirs))
        scale = max(1.0, np.abs(np.nan_to_num(theirs, posinf=0)).max(initial=0))
        np.testing.assert_allclose(ours / scale, theirs / scale, 1e-7, 1e-9,
                                   err_msg=f"{value.name}\n{made}")


@random_graphs
@given(graphs(dtype="f64"), seeds, st.sampled_from([1, 3]))
def test_beside_central_differences(graph: ir.Graph, seed: int, size: int) -> None:
    """Along a random direction; where two steps disagree, the graph has a kink near by."""
    graph, arrays = drawn(graph, seed, size)
    assume(all(node.op not in ROUGH for node in graph.nodes))        # at 0 both steps are wrong
    floats = floats_of(graph)
    made = ir.gradient(graph, wrt=floats, seed="g")
    g, random = seed_for(graph, arrays), np.random.default_rng(seed)
    found = ir.interpret(made, [*arrays, g])[len(graph.outputs):]
    directions = {v: random.standard_normal(a.shape) for v, a in zip(floats, found, strict=True)}

    def along(step: float) -> float:
        moved = [a + step * directions[v] if v in directions else a
                 for v, a in zip(graph.inputs, arrays, strict=True)]
        data = {p: a + step * directions[p] if p in directions else a
                for p, a in graph.data.items()}
        return float((ir.interpret(replace(graph, data=data), moved)[0] * g).sum())

    one, two = ((along(h) - along(-h)) / (2 * h) for h in (1e-5, 2e-5))
    assume(np.isfinite([one, two]).all() and abs(one - two) < 1e-5 * max(1.0, abs(one)))
    ours = sum(float((a * directions[v]).sum()) for v, a in zip(floats, found, strict=True))
    assert abs(ours - one) < 1e-3 * max(1.0, abs(one)), f"{ours} {one}\n{made}"


@random_graphs
@given(graphs(dtype="f64", max_steps=6), seeds)
def test_twice_beside_torch(graph: ir.Graph, seed: int) -> None:
    """The gradient of the gradient's product with a vector."""
    graph, arrays = drawn(graph, seed, 3)
    assume(all(node.op not in ROUGH for node in graph.nodes))
    floats = floats_of(graph)
    made = ir.gradient(replace(graph, outputs=graph.outputs[:1]), wrt=floats, seed="g")
    g = seed_for(graph, arrays)
    first = ir.interpret(made, [*arrays, g])
    assume(all(np.isfinite(a).all() for a in first))
    twice = ir.gradient(made, of=1, wrt=floats, seed="h")
    ir.verify(twice)
    h = np.random.default_rng(6).standard_normal(first[1].shape)
    found = ir.interpret(twice, [*arrays, g, h])[len(made.outputs):]
    out, tensors = in_torch(graph, arrays)
    once = by_torch(out, tensors, g, create=True)
    wanted = [a.detach().numpy() for a in by_torch(once[0], tensors, h)]
    for value, ours, theirs in zip(floats, found, wanted, strict=True):
        scale = max(1.0, np.abs(np.nan_to_num(theirs, posinf=0, neginf=0)).max(initial=0))
        np.testing.assert_allclose(ours / scale, theirs / scale, 1e-6, 1e-8,
                                   err_msg=f"{value.name}\n{made}")
