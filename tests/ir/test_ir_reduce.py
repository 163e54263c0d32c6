"""The smallest part of a graph that still fails a check."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import ir
from ir.reduce import Case, reduced
from ir.verify import verify
from tests.strategies import feed, graphs, seeds

CHAIN = ir.check.with_data(ir.parse("""
    graph g(%x: f32[B, 4], %y: f32[B, 4]) -> f32[B, 4], f32[B, 2] {
      @w: f32[4, 4]
      @v: f32[2, 4]
      %0: f32[B, 4] = exp(%x)
      %1: f32[B, 4] = add(%0, %y)
      %2: f32[B, 4] = linear(%1, @w)
      %3: f32[B, 4] = tanh(%2)
      %4: f32[B, 4] = mul(%3, %0)
      %5: f32[B, 2] = linear(%4, @v)
      %6: f32[B, 2] = sub(%5, 1.0)
      return %4, %6
    }"""))


def case_of(graph: ir.Graph, *shapes: tuple[int, ...]) -> Case:
    random = np.random.default_rng(0)
    return Case(graph, tuple(random.standard_normal(shape, np.float32) for shape in shapes))


def ops(case: Case) -> list[str]:
    return [node.op for node in case.graph.nodes]


@pytest.mark.parametrize("op", ["exp", "add", "linear", "tanh", "mul", "sub"])
def test_one_node_is_left_where_one_is_to_blame(op: str) -> None:
    left = reduced(case_of(CHAIN, (3, 4), (3, 4)), lambda case: op in ops(case))
    assert ops(left) == [op] and len(left.graph.outputs) == 1
    verify(left.graph)


def test_what_belongs_together_stays_together() -> None:
    """A product, its tanh, and what lies between it and the second product."""
    left = reduced(case_of(CHAIN, (3, 4), (3, 4)),
                   lambda case: ops(case).count("linear") == 2)
    assert ops(left) == ["linear", "linear"], "those between have results of their operand's type"
    pair = reduced(case_of(CHAIN, (3, 4), (3, 4)),
                   lambda case: "tanh" in ops(case) and "exp" in ops(case))
    assert sorted(ops(pair)) == ["exp", "tanh"]


def test_it_computes_on_the_numbers_that_it_had() -> None:
    whole = case_of(CHAIN, (3, 4), (3, 4))
    left = reduced(whole, lambda case: "tanh" in ops(case))
    every = ir.records.replace(CHAIN, outputs=tuple(node.result for node in CHAIN.nodes))
    values = ir.interpret(every, whole.arrays)
    np.testing.assert_array_equal(left.arrays[0], values[2])
    np.testing.assert_array_equal(ir.interpret(left.graph, left.arrays)[0], values[3])


def test_what_does_not_fail_is_refused() -> None:
    with pytest.raises(ir.Error, match="does not fail"):
        reduced(case_of(CHAIN, (3, 4), (3, 4)), lambda case: False)


def test_no_graph_that_cannot_be_evaluated_is_tried() -> None:
    """B is known of %x alone: the node that reads it is not cut off from it."""
    graph = ir.parse("""
        graph g(%x: f32[B, 4]) -> f32[B * 4] {
          %0: f32[B, 4] = exp(%x)
          %1: f32[B * 4] = reshape(%0) {shape = [B * 4]}
          %2: f32[B * 4] = tanh(%1)
          return %2
        }""")
    seen = []

    def fails(case: Case) -> bool:
        seen.append(ir.interpret(case.graph, case.arrays))
        return "tanh" in ops(case)

    assert ops(reduced(case_of(graph, (3, 4)), fails)) == ["reshape", "tanh"] and seen


def test_states_are_inputs_like_others() -> None:
    graph = ir.parse("""
        graph g(%x: f32[4]) -> f32[4] {
          &s: f32[4]
          %0: f32[4] = exp(%x)
          %1: f32[4] = add(&s, %0)
          &s = %1
          return %0
        }""")
    left = reduced(case_of(graph, (4,), (4,)), lambda case: "add" in ops(case))
    assert ops(left) == ["add"] and not left.graph.states


@settings(max_examples=25, deadline=None)
@given(graphs(), seeds)
def test_of_any_graph_one_node_is_left(graph: ir.Graph, seed: int) -> None:
    arrays = tuple(feed(graph, seed, 3))
    with np.errstate(all="ignore"):
        for op in {node.op for node in graph.nodes}:
            left = reduced(Case(graph, arrays), lambda case, op=op: op in ops(case))
            assert ops(left).count(op) == 1
            verify(left.graph)
            ir.interpret(left.graph, left.arrays)
