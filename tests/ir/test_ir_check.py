"""The check of passes: it lets right ones through, catches wrong ones, and never looks away."""
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ir
from ir import Node, parse
from ir.check import PassError, check_same, example_inputs, with_data
from ir.types import bind_sizes
from tests.strategies import graphs

HEADER = """graph g(%x: f32[B, 8], %r: f32[B, 8]) -> f32[B, 8] {
    @w: f32[8, 8]
    $0: f32[8]
"""


def graph(body: str) -> ir.Graph:
    return parse(f"{HEADER}{body}\n}}")


def one(call: str) -> ir.Graph:
    return graph(f"%0: f32[B, 8] = {call}\nreturn %0")


@pytest.mark.parametrize("before, after", [
    ("relu(%x)", "maximum(%x, 0.0)"),
    ("add(%x, %r)", "add(%r, %x)"),
    ("div(%x, 8.0)", "mul(%x, 0.125)"),
    ("neg(%x) then neg", "mul(%x, 1.0)"),
    ("mul(%x, 0.1) then mul(0.3)", "mul(%x, 0.03)"),                  # other roundings
    ("div(%x, 3.0)", "mul(%x, 0.3333333333333333)"),
    ("add(%x, %r) then add($0)", "add(%r, $0) then add(%x)"),
    ("exp(%x) then exp", "exp(%x) then exp, mul(1.0)"),               # infinite nearly everywhere
    ("mul(%x, %r) then div(%r)", "div(%x, %r) then mul(%r)"),         # NaN where %r is 0
    ("exp(%x) then log", "identity(%x)"),                             # it overflows, and need not
    ("mul(%x, nan)", "mul(%r, nan)"),
])
def test_right_passes(before: str, after: str) -> None:
    check_same("right", one(before), one(after))


def test_other_algebra_of_products() -> None:
    before = graph("""
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = mul(%0, 3.0)
        %2: f32[B, 8] = softmax(%1) {axis = 1, scale = 1.0}
        return %2""")
    after = graph("""
        %0: f32[B, 8] = mul(%x, 3.0)
        %1: f32[B, 8] = linear(%0, @w)
        %2: f32[B, 8] = softmax(%1) {axis = 1, scale = 1.0}
        return %2""")
    check_same("move", before, after)
    wrong = graph("""
        %0: f32[B, 8] = mul(%x, 3.00001)
        %1: f32[B, 8] = linear(%0, @w)
        %2: f32[B, 8] = softmax(%1) {axis = 1, scale = 1.0}
        return %2""")
    with pytest.raises(PassError, match="move changed output 0"):
        check_same("move", before, wrong)


@pytest.mark.parametrize("before, after", [
    ("relu(%x)", "exp(%x)"),
    ("relu(%x)", "identity(%x)"),
    ("abs(%x)", "relu(%x)"),
    ("mul(%x, 2.0)", "mul(%x, 2.0000005)"),
    ("add(%x, $0)", "add(%x, 0.0)"),
    ("sub(%x, %r)", "sub(%r, %x)"),
    ("div(%x, 0.0)", "div(%x, -0.0)"),
    ("div(%x, %r)", "mul(%x, %r)"),
    ("maximum(%x, %r)", "add(%x, %r) then maximum(%x)"),
    ("gelu(%x)", "gelu_tanh(%x)"),
    ("softmax(%x) {axis = 0, scale = 1.0}", "softmax(%x) {axis = 1, scale = 1.0}"),
    ("mul(%x, nan)", "mul(%x, inf)"),
])
def test_wrong_passes(before: str, after: str) -> None:
    with pytest.raises(PassError, match=r"^wrong changed output 0 of g at B = "):
        check_same("wrong", one(before), one(after))


@pytest.mark.parametrize("before, after, kind", [
    ("mul(%x, 0.0) then abs", "sub(%r, %r)", "nan|infinite"),
    ("minimum(%x, inf)", "minimum(%x, 3e+38)", "infinite"),
    ("maximum(%x, -1e+37)", "identity(%x)", "infinite|extreme"),
])
def test_wrong_only_where_numbers_are_special(before: str, after: str, kind: str) -> None:
    with pytest.raises(PassError, match=rf"changed output 0 of g at B = [13], ({kind}) inputs"):
        check_same("wrong", one(before), one(after))


def test_the_message_says_what_and_where() -> None:
    before, after = one("relu(%x)"), one("exp(%x)")
    with pytest.raises(PassError) as error:
        check_same("swap", before, after)
    first, *rest = str(error.value).split("\n")
    assert first.startswith("swap changed output 0 of g at B = 1, normal inputs: ")
    assert "8 of 8 elements, the first at (0, 0): " in first and " became " in first
    assert "\n".join(rest) == f"{before}\n-->\n{after}"


def test_a_wrong_second_output() -> None:
    text = "graph g(%x: f32[B]) -> f32[B], f32[B] {{\n%0: f32[B] = exp(%x)\nreturn %0, {}\n}}"
    with pytest.raises(PassError, match="changed output 1"):
        check_same("p", parse(text.format("%0")), parse(text.format("%x")))


def test_mixed_up_sizes_show() -> None:
    text = ("graph g(%x: f32[B, T]) -> f32[T, B] {{\n%0: f32[T, B] = {}\nreturn %0\n}}")
    before = parse(text.format("transpose(%x) {axes = [1, 0]}"))
    with pytest.raises(PassError, match=r"changed output 0 of g at B = \d, T = \d"):
        check_same("p", before, parse(text.format("reshape(%x) {shape = [T, B]}")))


def test_an_illegal_graph_or_another_signature() -> None:
    before = one("relu(%x)")
    [node] = before.nodes
    illegal = replace(before, nodes=(replace(node, op="add"),))
    with pytest.raises(PassError, match=r"^p made an illegal graph: add takes 2 operands, not 1"):
        check_same("p", before, illegal)
    with pytest.raises(PassError, match=r"made an illegal graph: its outputs are \[\], not \[f32"):
        check_same("p", before, replace(before, outputs=()))
    with pytest.raises(PassError, match=r"made an illegal graph: its inputs are \[f32.*, not \["):
        check_same("p", before, replace(before, inputs=before.inputs[:1]))


def test_a_graph_that_fails_only_afterwards() -> None:
    text = "graph g(%x: f32[B]) -> f32[] {{\n{}\n}}"
    before = parse(text.format("%0: f32[] = sum(%x) {axes = [0], keepdims = false}\nreturn %0"))
    after = parse(text.format("%0: f32[] = max(%x) {axes = [0], keepdims = false}\nreturn %0"))
    with pytest.raises(PassError, match="p made a graph that fails at B = 0, normal inputs: "):
        check_same("p", before, after)
    with pytest.raises(PassError, match="p changed output 0 of g at B = 3"):
        check_same("p", after, before)           # which is as it was where B is 0 or 1


def test_sizes_that_the_graph_refuses_are_not_evidence() -> None:
    text = """graph g(%x: f32[B]) -> f32[9] {{
        %0: f32[9] = slice(%x) {{axis = 0, start = 4, stop = 13}}
        %1: f32[9] = {}
        return %1
    }}"""
    before = parse(text.format("exp(%0)"))
    check_same("p", before, parse(text.format("exp(%0) then mul(1.0)")))
    with pytest.raises(PassError, match="changed output 0 of g at B = 16"):
        check_same("p", before, parse(text.format("tanh(%0)")))


def test_a_graph_that_takes_nothing_cannot_be_checked() -> None:
    text = """graph g(%ids: i64[B]) -> f32[B, 3] {{
        @table: f32[0, 3]
        %0: f32[B, 3] = embedding(%ids, @table)
        %1: f32[B, 3] = {}
        return %1
    }}"""
    with pytest.raises(PassError, match="p could not be checked: no inputs without a size of 0"):
        check_same("p", parse(text.format("exp(%0)")), parse(text.format("tanh(%0)")))


def test_graphs_without_named_sizes_or_inputs() -> None:
    text = "graph g() -> f32[3] {{\n$0: f32[3]\n%0: f32[3] = {}($0)\nreturn %0\n}}"
    check_same("p", parse(text.format("exp")), parse(text.format("exp")))
    with pytest.raises(PassError, match="p changed output 0"):
        check_same("p", parse(text.format("exp")), parse(text.format("neg")))
    empty = parse("graph g() {\nreturn\n}")
    check_same("p", empty, empty)


def test_data_are_compared_too() -> None:
    before = with_data(one("linear(%x, @w, $0)"))
    _, b = before.params
    after = replace(before, data={**before.data, b: before.data[b] + 1})
    with pytest.raises(PassError, match="changed output 0"):
        check_same("p", before, after)
    check_same("p", before, replace(before, data={p: a.copy() for p, a in before.data.items()}))
    check_same("p", before, one("linear(%x, @w, $0)"))               # data found by name


def test_embeddings_and_double_graphs() -> None:
    text = """graph g(%ids: i32[B, T]) -> f64[B, T, 3] {{
        @small: f64[4, 3]
        @large: f64[9, 3]
        %0: f64[B, T, 3] = embedding(%ids, @small)
        %1: f64[B, T, 3] = embedding(%ids, @large)
        %2: f64[B, T, 3] = {}
        return %2
    }}"""
    before = parse(text.format("add(%0, %1) then mul(0.1)"))
    check_same("p", before, parse(text.format("add(%1, %0) then mul(0.1)")))
    with pytest.raises(PassError):
        check_same("p", before, parse(text.format("add(%0, %0) then mul(0.1)")))
    with pytest.raises(PassError):
        check_same("p", before, parse(text.format("add(%0, %1) then mul(0.1000001)")))


INTEGER = """graph g(%n: i32[B, 8], %k: i32[B, 8], %m: bool[B, 8], %x: f32[B, 8]) -> bool[B, 8] {{
    %0: i32[B, 8] = {}
    %1: bool[B, 8] = gt(%0, 3.0) then logical_xor(%m)
    return %1
}}"""


@pytest.mark.parametrize("before, after", [
    ("add(%n, %k)", "add(%k, %n)"),
    ("mul(%n, 4.0)", "add(%n, %n) then add(%n), add(%n)"),
    ("floor_div(%n, 2.0)", "sub(%n, 1.0) then add(1.0), floor_div(2.0)"),
    ("where(%m, %n, %k)", "where(%m, %n, %k) then add(0.0)"),
])
def test_right_passes_over_integers_and_bools(before: str, after: str) -> None:
    check_same("right", parse(INTEGER.format(before)), parse(INTEGER.format(after)))


@pytest.mark.parametrize("before, after", [
    ("sub(%n, %k)", "sub(%k, %n)"),
    ("floor_div(%n, 2.0)", "floor_div(%n, 2.0) then abs"),
    ("floor_div(%n, %k)", "floor_div(%k, %n)"),
    ("remainder(%n, 7.0)", "remainder(%n, -7.0)"),
    ("where(%m, %n, %k)", "where(%m, %k, %n)"),
    ("mul(%n, %n)", "mul(%n, %n) then mul(4.0)"),
])
def test_wrong_passes_over_integers_and_bools(before: str, after: str) -> None:
    with pytest.raises(PassError, match=r"^wrong (changed output 0|made a graph that fails)"):
        check_same("wrong", parse(INTEGER.format(before)), parse(INTEGER.format(after)))


PICKED = """graph g(%x: f32[B, T], %ids: i64[B, 3], %at: i64[B], %some: i32[N]) -> f32[{}] {{
    @w: f32[5, 4]
    %0: f32[{}] = {}
    %1: f32[{}] = {}
    return %1
}}"""


@pytest.mark.parametrize("shape, call", [
    ("B, 3", "take_along(%x, %ids) {axis = 1}"),
    ("B, B, 3", "take(%x, %ids) {axis = 1}"),
    ("B, 3, 4", "take(@w, %ids) {axis = 0}"),
    ("B, 4", "embedding_bag(%some, %at, @w) {mode = mean, include_last = false, padding = -1}"),
    ("B - 1, 4", "embedding_bag(%some, %at, @w) {mode = sum, include_last = true, padding = 0}"),
])
def test_graphs_that_pick_by_index_can_be_checked(shape: str, call: str) -> None:
    before, right, wrong = (parse(PICKED.format(shape, shape, call, shape, step)) for step in
                            ("mul(%0, 3.0)", "add(%0, %0) then add(%0)", "mul(%0, 3.00001)"))
    check_same("right", before, right)
    with pytest.raises(PassError, match=r"changed output 0 of g at [BN] = \d, T = "):
        check_same("wrong", before, wrong)


def test_example_integers_and_bools() -> None:
    graph = parse("graph g(%a: i8[B], %b: u8[B], %c: i64[B], %d: bool[B]) {\nreturn\n}")
    a, b, c, d = example_inputs(graph, 500)
    assert [x.dtype.name for x in (a, b, c, d)] == ["int8", "uint8", "int64", "bool"]
    assert a.min() < 0 < a.max() and b.max() > 50 and c.min() < 0 and 100 < d.sum() < 400
    a, b, c, d = example_inputs(graph, 9, kind="positive")
    assert all((x > 0).all() for x in (a, b, c, d))
    assert not any(x.any() for x in example_inputs(graph, 9, kind="zero"))
    filled = with_data(parse("graph g() {\n$0: bool[99]\n@n: u8[99]\nreturn\n}"))
    assert 20 < filled.data[filled.params[0]].sum() < 80


def test_example_inputs() -> None:
    graph = parse("graph g(%x: f32[B, T], %y: f64[T], %ids: i64[B]) {\n@e: f32[7, 2]\n"
                  "%0: f32[B, 2] = embedding(%ids, @e)\nreturn\n}")
    for size in (0, 1, 4):
        arrays = example_inputs(graph, size)
        assert [a.dtype.name for a in arrays] == ["float32", "float64", "int64"]
        assert bind_sizes([v.type for v in graph.inputs], arrays) == {"B": size, "T": size + 1}
    for a, b in zip(example_inputs(graph, 5), example_inputs(graph, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    x, _, ids = example_inputs(graph, 300)
    assert set(ids) == set(range(7)) and np.isfinite(x).all() and (x == 0).any()
    assert not np.array_equal(x, example_inputs(graph, 300, seed=1)[0])
    assert np.isnan(example_inputs(graph, 1, kind="nan")[0]).any()
    assert np.isinf(example_inputs(graph, 1, kind="infinite")[0]).any()
    assert (example_inputs(graph, 9, kind="positive")[0] > 0).all()
    assert not example_inputs(graph, 9, kind="zero")[0].any()
    assert (example_inputs(graph, 9, kind="large")[2] == 6).all()


def test_random_data_depends_on_the_name_only() -> None:
    both, alone = (with_data(parse(f"graph g() {{\n{params}\nreturn\n}}"))
                   for params in ("@v: f32[3]\n@w: f32[4, 64]\n$0: i64[3]", "@w: f32[4, 64]"))
    w = both.data[both.params[1]]
    np.testing.assert_array_equal(w, alone.data[alone.params[0]])
    assert w.dtype == np.float32 and 0.05 < w.std() < 0.3
    kept = with_data(replace(both, data={both.params[1]: w + 1}))
    np.testing.assert_array_equal(kept.data[both.params[1]], w + 1)
    assert kept.data[both.params[2]].dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_a_change_anywhere_is_found(before: ir.Graph, data: st.DataObject) -> None:
    """Any output that has finite numbers, times 1.5 plus 0.25."""
    i = data.draw(st.integers(0, len(before.outputs) - 1))
    value = before.outputs[i]
    assume(value.type.dtype in ("f32", "f64"))
    finite = []
    for kind in ("normal", "positive", "zero", "large"):
        try:
            output = ir.interpret(before, example_inputs(before, 3, kind=kind))[i]
        except ir.Error:
            assume(False)
        finite.append(np.isfinite(output) & (output != -0.5))
    assume(np.any(finite))
    node = Node(ir.Value(value.type), "mul", (value, 1.5, 0.25), {"then": ("add",)})
    outputs = (*before.outputs[:i], node.result, *before.outputs[i + 1:])
    after = replace(before, nodes=(*before.nodes, node), outputs=outputs)
    with pytest.raises(PassError, match=rf"change changed output {i} of "):
        check_same("change", before, after)
