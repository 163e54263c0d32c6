"""DCE, CSE, FoldConstants: a graph before, the graph expected after, and what they must leave."""
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import ir
from ir import CSE, DCE, FoldConstants, parse, verify
from ir.check import check_same, with_data
from tests.strategies import graphs

HEADER = """graph g(%x: f32[B, 8], %r: f32[B, 8]) -> f32[B, 8] {
    @w: f32[8]
    $0: f32[8]
    $7: f32[8]
"""


def graph(body: str) -> ir.Graph:
    return with_data(parse(f"{HEADER}{body}\n}}"))


def nodes(g: ir.Graph) -> list[str]:
    return [line.strip() for line in str(g).splitlines() if line.strip()[0] in "%r"]


def becomes(step: ir.Pass, before: str, after: str) -> ir.Graph:
    source = graph(before)
    result = step(source)
    verify(result)
    check_same(step.name, source, result)
    assert nodes(result) == nodes(graph(after))
    return result


def stays(step: ir.Pass, before: str) -> None:
    becomes(step, before, before)


def test_names() -> None:
    assert [step.name for step in (DCE(), CSE(), FoldConstants())] == ["dce", "cse",
                                                                       "fold_constants"]
    assert FoldConstants() == FoldConstants(2**20) != FoldConstants(1)


def test_dce() -> None:
    result = becomes(DCE(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = add(%0, @w)
        %2: f32[B, 8] = tanh(%x)
        return %2""", """
        %0: f32[B, 8] = tanh(%x)
        return %0""")
    assert result.params == () and len(result.inputs) == 2


def test_dce_keeps_what_is_used_far_away() -> None:
    stays(DCE(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = tanh(%x)
        %2: f32[B, 8] = neg(%1)
        %3: f32[B, 8] = add(%2, %0)
        return %3""")


def test_cse_follows_what_it_merged() -> None:
    becomes(CSE(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = exp(%x)
        %2: f32[B, 8] = tanh(%0)
        %3: f32[B, 8] = tanh(%1)
        %4: f32[B, 8] = mul(%2, %3)
        return %4""", """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 8] = mul(%1, %1)
        return %2""")


def test_cse_of_outputs_and_nan() -> None:
    becomes(CSE(), """
        %0: f32[B, 8] = mul(%x, nan)
        %1: f32[B, 8] = mul(%x, nan)
        %2: f32[B, 8] = add(%0, %1)
        return %2""", """
        %0: f32[B, 8] = mul(%x, nan)
        %1: f32[B, 8] = add(%0, %0)
        return %1""")
    before = parse("graph g(%x: f32[B]) -> f32[B], f32[B] {\n%0: f32[B] = exp(%x)\n"
                   "%1: f32[B] = exp(%x)\nreturn %0, %1\n}")
    after = CSE()(before)
    assert after.outputs[0] is after.outputs[1] and len(after.nodes) == 1


@pytest.mark.parametrize("one, other", [
    ("div(%x, 0.0)", "div(%x, -0.0)"),
    ("sub(%x, %r)", "sub(%r, %x)"),
    ("add(%x, @w)", "add(%x, $0)"),
    ("softmax(%x) {axis = 1, scale = 1.0}", "softmax(%x) {axis = 1, scale = 2.0}"),
    ("softmax(%x) {axis = 1, scale = 0.0}", "softmax(%x) {axis = 1, scale = -0.0}"),
    ("exp(%x)", "exp(%x) then relu"),
    ("exp(%x) then add(%r)", "exp(%x) then sub(%r)"),
])
def test_cse_keeps_what_differs(one: str, other: str) -> None:
    stays(CSE(), f"""
        %0: f32[B, 8] = {one}
        %1: f32[B, 8] = {other}
        %2: f32[B, 8] = add(%0, %1)
        return %2""")


def test_cse_of_constants_by_their_bits() -> None:
    before = graph("""
        %0: f32[B, 8] = add(%x, $0)
        %1: f32[B, 8] = add(%x, $7)
        %2: f32[B, 8] = mul(%0, %1)
        return %2""")
    _, c0, c7 = before.params
    equal = replace(before, data={**before.data, c7: before.data[c0].copy()})
    after = CSE()(equal)
    verify(after)
    check_same("cse", equal, after)
    assert len(after.nodes) == 2 and after.params == (c0,)      # and what nothing uses is gone
    zero = np.zeros(8, np.float32)
    for other in (-zero, zero[:0]):
        if other.size:
            signed = replace(before, data={**before.data, c0: zero, c7: other})
            assert len(CSE()(signed).nodes) == 3
    assert len(CSE()(replace(before, data={})).nodes) == 3      # nothing is known of them
    assert len(CSE()(before).nodes) == 3


def test_fold_constants() -> None:
    before = graph("""
        %0: f32[8] = exp($0)
        %1: f32[8] = mul(%0, 2.0) then add($7)
        %2: f32[2, 4] = reshape(%1) {shape = [2, 4]}
        %3: f32[8] = reshape(%2) {shape = [8]}
        %4: f32[B, 8] = add(%x, %3)
        return %4""")
    after = FoldConstants()(before)
    verify(after)
    check_same("fold_constants", before, after)
    assert nodes(after)[0] == "%0: f32[B, 8] = add(%x, $4)"     # $0 and $7 were taken
    _, c0, c7 = before.params
    [folded] = after.params
    expected = np.exp(before.data[c0]) * 2 + before.data[c7]
    np.testing.assert_array_equal(after.data[folded], expected)
    assert after.data[folded].base is None and [*after.data] == [folded]


def test_fold_constants_keeps_every_rounding() -> None:
    text = """graph g(%x: f32[B, 33]) -> f32[B, 17] {
        $0: f32[17, 33]
        %0: f32[33, 17] = transpose($0) {axes = [1, 0]}
        %1: f32[B, 17] = matmul(%x, %0)
        return %1
    }"""
    before = with_data(parse(text))
    after = FoldConstants()(before)
    assert [n.op for n in after.nodes] == ["matmul"]
    for rows in (1, 2, 5, 64):
        x = np.random.default_rng(rows).standard_normal((rows, 33)).astype(np.float32)
        np.testing.assert_array_equal(*(ir.interpret(g, [x])[0] for g in (before, after)))


def test_a_folded_output() -> None:
    before = parse("graph g() -> f32[4] {\n$0: f32[4]\n%0: f32[4] = neg($0)\nreturn %0\n}")
    before = with_data(before)
    after = FoldConstants()(before)
    verify(after)
    assert after.nodes == () and after.outputs[0].kind == "constant"
    np.testing.assert_array_equal(*(ir.interpret(g, [])[0] for g in (before, after)))


@pytest.mark.parametrize("body", [
    "%0: f32[8] = exp(@w)\n%1: f32[B, 8] = mul(%x, %0)\nreturn %1",
    "%0: f32[8] = add($0, @w)\n%1: f32[B, 8] = mul(%x, %0)\nreturn %1",
    "%0: f32[B, 8] = add(%x, $0)\nreturn %0",
])
def test_fold_constants_leaves_parameters_and_inputs(body: str) -> None:
    stays(FoldConstants(), body)


def test_fold_constants_is_bounded() -> None:
    body = """
        %0: f32[8, 1] = reshape($0) {shape = [8, 1]}
        %1: f32[8, 8] = add(%0, $7)
        %2: f32[8] = sum(%1) {axes = [0], keepdims = false}
        %3: f32[B, 8] = add(%x, %2)
        return %3"""
    stays(FoldConstants(max_elements=7), body)
    partly = FoldConstants(max_elements=63)(graph(body))
    assert [n.op for n in partly.nodes] == ["add", "sum", "add"]
    assert [n.op for n in FoldConstants(max_elements=64)(graph(body)).nodes] == ["add"]


def test_fold_constants_leaves_what_it_cannot_know() -> None:
    text = """graph g(%x: f32[B]) -> f32[2, 4] {
        $0: i64[2]
        $1: f32[3, 4]
        %0: f32[2, 4] = embedding($0, $1)
        return %0
    }"""
    before = parse(text)
    assert FoldConstants()(before) is before     # no data
    ids, table = before.params
    data = {ids: np.array([0, 3]), table: np.ones((3, 4), np.float32)}
    wrong = replace(before, data=data)
    assert FoldConstants()(wrong) is wrong       # an error is for the one who runs it
    right = replace(before, data={**data, ids: np.array([0, 2])})
    assert FoldConstants()(right).nodes == ()


def test_what_is_made_of_nothing_is_constant() -> None:
    """As a causal mask is: within the bound, and where no size is left for the run to know."""
    text = """graph g(%x: f32[B, 4, 4]) -> f32[B, 4, 4], f32[B] {
        %0: i64[4, 4] = iota {shape = [4, 4], axis = 0, dtype = i64}
        %1: i64[4, 4] = iota {shape = [4, 4], axis = 1, dtype = i64}
        %2: i64[4, 4] = iota {shape = [4, 4], axis = 1, dtype = i64}
        %3: bool[4, 4] = lt(%0, %2)
        %4: f32[B, 4, 4] = where(%3, -inf, %x)
        %5: f32[B] = full(0.5) {shape = [B], dtype = f32}
        return %4, %5
    }"""
    before = parse(text)
    alone = CSE()(before)
    assert [n.op for n in alone.nodes] == ["iota", "iota", "lt", "where", "full"]
    after = FoldConstants()(before)
    verify(after)
    check_same("fold_constants", before, after)
    assert [n.op for n in after.nodes] == ["where", "full"]
    [mask] = after.data.values()
    np.testing.assert_array_equal(mask, ~np.tri(4, dtype=bool))
    assert mask.flags.writeable and FoldConstants(max_elements=15)(before) is before


def test_nothing_is_made_too_large() -> None:
    text = """graph g() -> i64[0, 9000000000000000000], f32[9000000000000] {
        %0: i64[0, 9000000000000000000] = iota {shape = [0, 9000000000000000000], axis = 1, dtype = i64}
        %1: f32[9000000000000] = full(0.5) {shape = [9000000000000], dtype = f32}
        return %0, %1
    }"""  # noqa: E501
    before = parse(text)
    assert FoldConstants()(before) is before


def test_run_applies_in_order_and_reports() -> None:
    before = graph("""
        %0: f32[8] = exp($0)
        %1: f32[8] = exp($0)
        %2: f32[B, 8] = add(%x, %0) then mul(%1)
        return %2""")
    seen = []

    def watch(step: ir.Pass, old: ir.Graph, new: ir.Graph, seconds: float) -> None:
        assert seconds >= 0
        check_same(step.name, old, new)
        seen.append((step.name, len(old.nodes), len(new.nodes)))

    after = ir.run([CSE(), FoldConstants(), DCE()], before, watch)
    assert seen == [("cse", 3, 2), ("fold_constants", 2, 1), ("dce", 1, 1)]
    assert str(ir.run([], before)) == str(before) and len(after.nodes) == 1


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_random_graphs_stay_the_same_function(before: ir.Graph) -> None:
    for step in (DCE(), CSE(), FoldConstants()):
        after = step(before)
        verify(after)
        check_same(step.name, before, after)
        assert len(after.nodes) <= len(before.nodes)
        assert str(step(after)) == str(after)    # once is enough


@pytest.mark.parametrize("step", [DCE(), CSE(), FoldConstants()], ids=lambda step: step.name)
def test_a_graph_without_anything_to_do_is_returned_itself(step: ir.Pass) -> None:
    before = graph("""
      %0: f32[B, 8] = mul(%x, @w)
      %1: f32[B, 8] = mul(%0, %r)
      %2: f32[B, 8] = add(%1, $0)
      %3: f32[B, 8] = sub(%2, $7)
      return %3""")
    assert step(before) is before
