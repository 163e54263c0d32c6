"""Every pass on random graphs, alone, in any order and in the default one: the same function."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
from ir import CSE, DCE, FoldConstants
from ir.check import check_same
from ir.ops import at_sizes, split_then
from nncompile.passes import (
    DEFAULT_PIPELINE,
    ComposeViews,
    FoldBatchNorm,
    FuseAttention,
    FuseElementwise,
    FuseLinear,
    FuseSoftmax,
    JoinLinear,
    MergeLinear,
    ReduceStrength,
    RemoveIdentity,
    SinkViews,
    UseAttention,
    UseGELU,
    UseLayerNorm,
    UseLinear,
    UseLiterals,
    UseLogSoftmax,
    UseMax,
    UseRMSNorm,
    UseSiLU,
)
from tests.passes.common import same_bits
from tests.strategies import feed, graphs, seeds

PASSES = (DCE(), CSE(), FoldConstants(), UseLiterals(), RemoveIdentity(), ComposeViews(),
          ReduceStrength(), UseLayerNorm(), UseRMSNorm(), UseGELU(), UseSiLU(), UseLogSoftmax(),
          FuseSoftmax(), FuseAttention(), SinkViews(), UseLinear(), FoldBatchNorm(), MergeLinear(),
          FuseLinear(), FuseLinear(steps=2), JoinLinear(), FuseElementwise(),
          FuseElementwise(steps=1), UseAttention(), UseMax())
BOUNDED = [step.name for step in PASSES if not getattr(step, "exact", True)]

sizes = st.sampled_from([0, 1, 3])
random_graphs = settings(max_examples=25, deadline=None)


def apply(passes: Sequence[ir.Pass], graph: ir.Graph) -> ir.Graph:
    """Run the passes; what each of them makes is legal, and its text reads back."""
    def watch(step: ir.Pass, before: ir.Graph, after: ir.Graph, seconds: float) -> None:
        ir.verify(after)
        assert str(ir.parse(str(after))) == str(after)

    return ir.run(passes, graph, watch)


def values(graph: ir.Graph, arrays: Sequence[np.ndarray], dtype: type | None = None) -> list | None:
    """The outputs, or None where the graph refuses this size, as max does nothing."""
    try:
        return ir.interpret(graph, arrays, dtype)
    except ir.Error:
        return None


def assert_same_bits(before: ir.Graph, after: ir.Graph, arrays: list[np.ndarray]) -> None:
    expected = values(before, arrays)
    if expected is None:
        return
    for old, new in zip(expected, ir.interpret(after, arrays), strict=True):
        assert same_bits(old, new), f"{before}\n{old}\n-->\n{after}\n{new}"


def assert_close(before: ir.Graph, after: ir.Graph, arrays: list[np.ndarray]) -> None:
    """In float64 the same up to its rounding, in float32 no further from that than before. A
    constant that was folded has the rounding of its own type."""
    folded = not {*after.params} <= {*before.params} and before.inputs[0].type.dtype == "f32"
    exact = values(before, arrays, np.float64)
    if exact is None:
        return
    old, new = ir.interpret(before, arrays), ir.interpret(after, arrays)
    again = ir.interpret(after, arrays, np.float64)
    for e, o, n, a in zip(exact, old, new, again, strict=True):
        if e.dtype.kind != "f":
            assert np.array_equal(n, o) and np.array_equal(a, e), f"{before}\n-->\n{after}"
            continue
        near = 1e-5 * max(1.0, np.abs(e[np.isfinite(e)]).max(initial=0)) if folded else 1e-9
        assert np.allclose(a, e, rtol=1e-9, atol=near, equal_nan=True), f"{before}\n-->\n{after}"
        assert n.shape == o.shape and n.dtype == o.dtype
        known = np.isfinite(e) & np.isfinite(o)
        assert np.array_equal(np.isnan(o), np.isnan(n))
        if known.any():
            e, o, n = e[known], o[known], n[known]
            bound = 4 * np.abs(o - e).max() + 1e-6 * max(1, np.abs(e).max())   # sums may cancel
            assert np.abs(n - e).max() <= bound, f"{before}\n-->\n{after}"


@pytest.mark.parametrize("step", PASSES, ids=repr)
@random_graphs
@given(graph=graphs(wide=True), seed=seeds, size=sizes, special=st.booleans())
def test_one_pass(step, graph, seed, size, special):
    after = apply([step], graph)
    if getattr(step, "exact", True):
        assert_same_bits(graph, after, feed(graph, seed, size, special))
    else:
        assert_close(graph, after, feed(graph, seed, size))


@random_graphs
@given(graph=graphs(wide=True), seed=seeds, size=sizes,
       passes=st.lists(st.sampled_from(PASSES), max_size=8))
def test_passes_in_any_order(graph, seed, size, passes):
    after = apply(passes, graph)
    if {step.name for step in passes}.isdisjoint(BOUNDED):
        assert_same_bits(graph, after, feed(graph, seed, size, special=True))
    else:
        assert_close(graph, after, feed(graph, seed, size))


@random_graphs
@given(graph=graphs(wide=True, max_steps=20), seed=seeds, size=sizes)
def test_the_default_pipeline(graph, seed, size):
    after = apply(DEFAULT_PIPELINE, graph)
    assert_close(graph, after, feed(graph, seed, size))
    assert [v.type for v in after.outputs] == [v.type for v in graph.outputs]
    after = apply([UseLiterals()], after)        # folding may bring a number beside a parameter
    assert str(apply(DEFAULT_PIPELINE, after)) == str(after)


@random_graphs
@given(graphs(wide=True))
def test_no_pass_of_the_default_pipeline_fails_its_check(graph):
    def watch(step: ir.Pass, before: ir.Graph, after: ir.Graph, seconds: float) -> None:
        check_same(step.name, before, after)

    ir.run(DEFAULT_PIPELINE, graph, watch)


@random_graphs
@given(graph=graphs(wide=True, dtype="f64"), seed=seeds, size=sizes)
def test_the_default_pipeline_in_double_precision(graph, seed, size):
    assert_close(graph, apply(DEFAULT_PIPELINE, graph), feed(graph, seed, size))


@random_graphs
@given(graphs(wide=True, max_steps=20))
def test_a_linear_reads_its_further_operands_as_rows_a_stride_apart(graph):
    for node in apply(DEFAULT_PIPELINE, graph).nodes:
        if node.op != "linear":
            continue
        shape = at_sizes(node.result.type.shape, {"B": 3})
        _, _, steps = split_then(node.op, node.inputs, node.attrs)
        for operand in (o for _, others in steps for o in others if isinstance(o, ir.Value)):
            array = np.zeros(at_sizes(operand.type.shape, {"B": 3}))
            rows = np.broadcast_to(array, shape).reshape(-1, shape[-1])
            assert np.shares_memory(rows, array), f"{operand.type} behind {node.result.type}"


@random_graphs
@given(graphs(wide=True))
def test_a_random_graph_is_legal_and_its_text_reads_back(graph):
    ir.verify(graph)
    assert str(ir.parse(str(graph))) == str(graph)
    assert set(graph.data) == set(graph.params)


def test_random_graphs_reach_nearly_every_op_and_every_pass():
    ops, at_work = set(), set()

    @settings(max_examples=700, deadline=None, derandomize=True, database=None)
    @given(graphs(max_steps=20, wide=True))
    def collect(graph):
        ops.update(node.op for node in graph.nodes)
        at_work.update(step for step in PASSES
                       if step not in at_work and str(step(graph)) != str(graph))

    collect()
    assert len(ops) > 0.8 * len(ir.OPS)
    assert at_work == set(PASSES)
    assert {type(step) for step in DEFAULT_PIPELINE} == {type(step) for step in PASSES}
