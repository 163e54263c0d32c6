"""The interpreter: what it computes, in which precision, and what it refuses."""
from typing import Any

import numpy as np
import pytest

import ir
from ir import interpret, parse
from ir.check import with_data
from ir.interpret import outputs_of

MLP = parse("""graph mlp(%x: f32[B, 3]) -> f32[B, 2], f32[B, 4] {
  @w: f32[4, 3]
  @v: f32[2, 4]
  $0: f32[4]
  %0: f32[B, 4] = linear(%x, @w, $0) then relu
  %1: f32[B, 2] = linear(%0, @v)
  %2: f32[B, 2] = softmax(%1) {axis = 1, scale = 0.1}
  return %2, %0
}""")
W, V, C = MLP.params


def filled(dtype: Any = np.float32) -> ir.Graph:
    random = np.random.default_rng(0)
    data = {p: random.standard_normal(p.type.shape).astype(dtype) for p in MLP.params}
    return ir.Graph(MLP.name, MLP.inputs, MLP.params, MLP.nodes, MLP.outputs, data)


def by_hand(x: np.ndarray, graph: ir.Graph, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    w, v, c = (graph.data[p].astype(dtype) for p in graph.params)
    h = np.maximum(x.astype(dtype) @ w.T + c, 0)
    e = np.exp(h @ v.T * dtype(0.1))
    return e / e.sum(1, keepdims=True), h


@pytest.mark.parametrize("batch", [0, 1, 3, 100])
def test_in_the_graphs_precision_and_in_double(batch: int) -> None:
    graph = filled()
    x = np.random.default_rng(1).standard_normal((batch, 3)).astype(np.float32)
    for got, want in zip(interpret(graph, [x]), by_hand(x, graph, np.float32), strict=True):
        assert got.dtype == np.float32 and got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5)
    double = interpret(graph, [x], np.float64)
    for got, want in zip(double, by_hand(x, graph, np.float64), strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-13)
    for got, want in zip(interpret(graph, [x.astype(np.float64)], "float64"), double, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_double_graph_in_single_precision() -> None:
    graph = parse("graph g(%x: f64[B]) -> f64[B] {\n%0: f64[B] = mul(%x, 0.1)\nreturn %0\n}")
    x = np.array([1 / 3])
    assert interpret(graph, [x])[0] == x * 0.1
    [got] = interpret(graph, [x], np.float32)
    assert got.dtype == np.float32 and got == np.float32(1 / 3) * np.float32(0.1)


def test_plain_numbers_do_not_widen() -> None:
    graph = parse("graph g(%x: f32[]) -> f32[] {\n%0: f32[] = add(%x, 1e-9) then mul(3.0)\n"
                  "return %0\n}")
    [got] = interpret(graph, [np.float32(1)])
    assert got.shape == () and got.dtype == np.float32 and got == 3


def test_inputs_and_params_are_untouched_and_outputs_are_new() -> None:
    graph = with_data(parse("""graph g(%x: f32[B, 4]) -> f32[4, B], f32[B, 4], f32[3], f32[4, B] {
        @w: f32[3]
        %0: f32[4, B] = transpose(%x) {axes = [1, 0]}
        return %0, %x, @w, %0
    }"""))
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    x.flags.writeable = False
    outputs = interpret(graph, [x])
    arrays = [x, *graph.data.values()]
    for i, output in enumerate(outputs):
        assert not any(np.shares_memory(output, a) for a in [*arrays, *outputs[:i]])
        output += 1                              # new, and the caller's own
    assert x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_outputs_of_copies_nothing_that_it_need_not() -> None:
    graph = with_data(parse("graph g() -> f32[3], f32[3] {\n@w: f32[3]\n%0: f32[3] = exp(@w)\n"
                            "return @w, %0\n}"))
    [w] = graph.data.values()
    same, exp = outputs_of(graph, [])
    assert same is w and np.array_equal(exp, interpret(graph, [])[1])


def test_array_likes_are_taken() -> None:
    graph = parse("graph g(%x: i64[B]) -> i64[B, 1] {\n"
                  "%0: i64[B, 1] = reshape(%x) {shape = [B, 1]}\nreturn %0\n}")
    assert interpret(graph, [[1, 2]])[0].tolist() == [[1], [2]]


@pytest.mark.parametrize("arrays, dtype, message", [
    ([], None, r"mlp takes 1 inputs (%x: f32[B, 3]), not 0"),
    ([np.ones((2, 3), "f4")] * 2, None, "takes 1 inputs"),
    ([np.ones((2, 4), "f4")], None, "%x: expected f32[B, 3], got an array of shape (2, 4)"),
    ([np.ones(3, "f4")], None, "%x: expected f32[B, 3], got an array of shape (3,)"),
    ([np.ones((2, 3))], None, "%x: expected f32[B, 3], got an array of float64; "
                              "dtype=numpy.float64 computes in double precision"),
    ([np.ones((2, 3), int)], np.float64, "%x: expected f32[B, 3], got an array of int64"),
    ([np.ones((2, 3), ">f4")], None, "got an array of >f4"),
    ([[["a"] * 3]], None, "got an array of <U1"),
    ([np.ones((2, 3), "f4")], np.float16, "computes in float32 or float64, not float16"),
    ([np.ones((2, 3), "f4")], int, "computes in float32 or float64, not int64"),
])
def test_inputs_that_do_not_fit(arrays: list[Any], dtype: Any, message: str) -> None:
    with pytest.raises(ir.Error) as error:
        interpret(filled(), arrays, dtype)
    assert message in str(error.value)


def test_params_need_data_of_their_type() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ir.Error, match=r"no data for @w, @v, \$0; the text of a graph has"):
        interpret(MLP, [x])
    with pytest.raises(ir.Error, match=r"@w: expected f32\[4, 3\], got an array of float64"):
        interpret(filled(np.float64), [x])
    graph = filled()
    wrong = ir.Graph("g", graph.inputs, graph.params, graph.nodes, graph.outputs,
                     {**graph.data, W: np.ones((4, 4), np.float32)})
    with pytest.raises(ir.Error, match=r"@w: expected f32\[4, 3\], got an array of shape \(4, 4\)"):
        interpret(wrong, [x])


def test_errors_of_values_show_the_node() -> None:
    graph = with_data(parse("""graph g(%ids: i32[B, T]) -> f32[B, T, 2] {
        @table: f32[5, 2]
        %0: f32[B, T, 2] = embedding(%ids, @table)   # emb Embedding  m.py:4
        return %0
    }"""))
    assert interpret(graph, [np.full((2, 3), 4, np.int32)])[0].shape == (2, 3, 2)
    with pytest.raises(ir.Error) as error:
        interpret(graph, [np.full((2, 3), 5, np.int32)])
    assert str(error.value) == (
        "embedding has no row 5: its table has the rows 0..4\n"
        "  node: %0: f32[B, T, 2] = embedding(%ids, @table)  # emb Embedding  m.py:4")
    with pytest.raises(ir.Error, match=r"expected i32\[B, T\], got an array of int64"):
        interpret(graph, [np.zeros((2, 3), np.int64)])


def test_sizes_that_a_graph_refuses() -> None:
    graph = parse("""graph g(%x: f32[B, T]) -> f32[B, T - 1] {
        %0: f32[B, T - 1] = slice(%x) {axis = 1, start = 1, stop = T}
        return %0
    }""")
    assert interpret(graph, [np.ones((2, 1), np.float32)])[0].shape == (2, 0)
    with pytest.raises(ir.Error, match="1:0 is outside axis 1 of an array of shape"):
        interpret(graph, [np.ones((2, 0), np.float32)])


def test_an_illegal_graph_gives_no_wrong_answer() -> None:
    text = "graph g(%x: f32[B, 1]) -> f32[B, 1] {{\n@w: f32[4]\n%0: f32[B, 1] = {}\nreturn %0\n}}"
    graph = parse(text.format("neg(%x)"))
    [x], [w], [node] = graph.inputs, graph.params, graph.nodes
    wrong = ir.Graph("g", (x,), (w,), (ir.Node(node.result, "add", (x, w)),), graph.outputs,
                     {w: np.ones(4, np.float32)})
    with pytest.raises(ir.Error, match=r"add gave float32 of shape \(2, 4\), not float32 of shape"):
        interpret(wrong, [np.ones((2, 1), np.float32)])


def test_no_warning_and_no_change_of_numpys_settings() -> None:
    graph = parse("graph g(%x: f32[B]) -> f32[B] {\n%0: f32[B] = log(%x) then exp, mul(1e38)\n"
                  "return %0\n}")
    with np.errstate(all="raise"):
        [got] = interpret(graph, [np.float32([-1, 0, 3e38, np.inf, np.nan])])
        assert np.geterr()["over"] == "raise"
    np.testing.assert_array_equal(got, np.float32([np.nan, 0, np.inf, np.inf, np.nan]))


def test_only_floats_are_promoted() -> None:
    types = "f32[B], i8[B], bool[B], f32[B], f32[B], i64[]"
    graph = parse("graph g(%n: i8[B], %m: bool[B]) -> " + types + """ {
        %0: f32[B] = cast(%n) {dtype = f32}
        %1: f32[B] = mul(%0, 0.1)
        %2: i8[B] = add(%n, 1.0)
        %3: bool[B] = logical_not(%m)
        %4: f32[B] = full(0.1) {shape = [B], dtype = f32}
        %5: f32[B] = iota {shape = [B], axis = 0, dtype = f32}
        %6: i64[] = argmax(%1) {axis = 0, keepdims = false}
        return %1, %2, %3, %4, %5, %6
    }""")
    n, m = np.array([127, -3, 5], np.int8), np.array([True, False, True])
    own, double = interpret(graph, [n, m]), interpret(graph, [n, m], np.float64)
    assert [a.dtype.name for a in own] == ["float32", "int8", "bool", "float32", "float32", "int64"]
    assert [a.dtype.name for a in double] == [
        "float64", "int8", "bool", "float64", "float64", "int64"]
    np.testing.assert_array_equal(own[0], n.astype(np.float32) * np.float32(0.1))
    np.testing.assert_array_equal(double[0], n * 0.1)
    assert double[1].tolist() == [-128, -2, 6] and double[3].tolist() == [0.1] * 3
    assert double[5] == 0 and own[2].tolist() == [False, True, False]
    with pytest.raises(ir.Error, match=r"%m: expected bool\[B\], got an array of int8"):
        interpret(graph, [n, n])


def test_a_cast_between_floats() -> None:
    graph = parse("graph g(%x: f64[B]) -> f64[B] {\n%0: f32[B] = cast(%x) {dtype = f32}\n"
                  "%1: f64[B] = cast(%0) {dtype = f64}\nreturn %1\n}")
    x = np.array([0.1, 1 / 3])
    np.testing.assert_array_equal(interpret(graph, [x])[0], x.astype(np.float32))
    np.testing.assert_array_equal(interpret(graph, [x], np.float64)[0], x)


def test_an_integer_divided_by_zero_shows_the_node() -> None:
    graph = parse("graph g(%x: i32[B]) -> i32[B] {\n%0: i32[B] = floor_div(6.0, %x)\nreturn %0\n}")
    assert interpret(graph, [np.int32([-4, 5])])[0].tolist() == [-2, 1]
    with pytest.raises(ir.Error, match=r"divided by zero\n  node: %0: i32\[B\] = floor_div"):
        interpret(graph, [np.int32([1, 0])])
