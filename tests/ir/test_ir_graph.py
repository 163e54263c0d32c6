"""Values, nodes and graphs, and the builder that makes them."""
import copy
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import ir
from ir import Builder, Where, parse_type
from ir.graph import joined, named_sizes, substitute, types_of
from ir.types import symbol

F32 = parse_type("f32[B, 4]")


def small() -> tuple[ir.Graph, ir.Value, ir.Value]:
    builder = Builder()
    x = builder.declare("input", "x", F32)
    y = builder.add("add", builder.add("mul", x, 2), x, where=Where("act", "a.py:1"))
    return builder.build("small", [y, y]), x, y


def test_the_builder_infers_types_and_normalises() -> None:
    graph, _, y = small()
    assert str(graph) == (
        "graph small(%x: f32[B, 4]) -> f32[B, 4], f32[B, 4] {\n"
        "  %0: f32[B, 4] = mul(%x, 2.0)\n"
        "  %1: f32[B, 4] = add(%0, %x)   # act  a.py:1\n"
        "  return %1, %1\n"
        "}")
    assert repr(graph) == "<Graph small: 2 nodes>"
    assert y.type == F32 and y.kind == "result"
    assert [type(o) for o in graph.nodes[0].inputs] == [ir.Value, float]


def test_the_builder_keeps_one_form_of_attributes() -> None:
    builder = Builder()
    x = builder.declare("input", "x", F32)
    builder.add("softmax", x, scale=1, axis=np.int64(1), then=())
    builder.add("reshape", x, shape=[4, symbol("B")])
    softmax, reshape = builder.nodes
    assert repr(dict(softmax.attrs)) == "{'axis': 1, 'scale': 1.0}"
    assert repr(dict(reshape.attrs)) == "{'shape': (4, B)}"


@pytest.mark.parametrize("number", [2, np.float32(2), np.int64(2), Fraction(2)])
def test_numbers_of_any_kind_become_floats(number: Any) -> None:
    builder = Builder()
    builder.add("add", builder.declare("input", "x", F32), number)
    assert builder.nodes[0].inputs[1] == 2.0 and type(builder.nodes[0].inputs[1]) is float


@pytest.mark.parametrize("truth", [True, np.bool_(True)])
def test_truth_values_become_floats(truth: Any) -> None:
    builder = Builder()
    builder.add("logical_and", builder.declare("input", "x", parse_type("bool[B]")), truth)
    assert builder.nodes[0].inputs[1] == 1.0 and type(builder.nodes[0].inputs[1]) is float


def test_nodes_without_operands() -> None:
    builder = Builder()
    builder.declare("input", "x", F32)
    places = builder.add("iota", shape=[symbol("B"), 4], axis=1, dtype="i64")
    half = builder.add("full", 0.5, shape=[symbol("B"), 4], dtype="f32")
    graph = builder.build("g", [places, half])
    ir.verify(graph)
    assert str(ir.parse(str(graph))) == str(graph)
    got = ir.interpret(graph, [np.zeros((2, 4), np.float32)])
    assert got[0].tolist() == [[0, 1, 2, 3]] * 2 and got[1].tolist() == [[0.5] * 4] * 2
    assert all(array.flags.writeable for array in got)


@pytest.mark.parametrize("use, message", [
    (lambda b, x: b.add("add", x, np.ones(4)), "not ndarray; declare an array as a constant"),
    (lambda b, x: b.add("add", x, None), "a value or a number, not NoneType"),
    (lambda b, x: b.add("add", x, 2**53 + 1), "9007199254740993 is no float: declare it as a"),
    (lambda b, x: b.add("add", x, symbol("B")), "a value or a number, not DimExpr"),
    (lambda b, x: b.add("add", x, 10**400), "is too large for a float"),
    (lambda b, x: b.add("add", x), "add takes 2 operands, not 1"),
    (lambda b, x: b.add("softmax", x), "softmax has the attributes axis, scale"),
    (lambda b, x: b.declare("input", "x", F32), "there are two inputs named 'x'"),
    (lambda b, x: b.declare("result", "y", F32), "can be declared, not a 'result'"),
    (lambda b, x: b.declare("weights", "y", F32), "can be declared, not a 'weights'"),
    (lambda b, x: b.declare("parameter", "w", parse_type("f32[3]"), np.ones(3)),
     r"parameter 'w' is f32\[3\], its data are f64\[3\]"),
])
def test_what_the_builder_refuses(use: Callable[[Builder, ir.Value], object], message: str) -> None:
    builder = Builder()
    with pytest.raises(ir.Error, match=message):
        use(builder, builder.declare("input", "x", F32))


def test_declared_data_and_kinds() -> None:
    builder = Builder()
    data = np.ones(4, np.float32)
    w = builder.declare("parameter", "a", parse_type("f32[4]"), data)
    c = builder.declare("constant", "a", parse_type("f32[4]"))
    x = builder.declare("input", "a", F32)
    graph = builder.build("g", [builder.add("mul", x, w)])
    assert graph.inputs == (x,) and graph.params == (w, c)
    assert graph.data[w] is data and c not in graph.data


def test_uses_substitution_and_types() -> None:
    graph, x, y = small()
    product = graph.nodes[0].result
    assert graph.uses == {x: 2, product: 1, y: 2}
    assert types_of(graph.nodes[0].inputs) == [F32, 2.0]
    changed = substitute(graph.nodes[1], {product: x})
    assert changed.inputs == (x, x) and changed.result is y and changed.where.layer == "act"
    assert substitute(graph.nodes[0], {product: x}) is graph.nodes[0]


def test_named_sizes_in_the_order_of_the_inputs() -> None:
    graph = ir.parse("graph g(%a: f32[4, T], %b: i64[B, T]) {\nreturn\n}")
    a, b = graph.inputs
    assert list(named_sizes(graph).items()) == [("T", (a, 1)), ("B", (b, 0))]


def test_origins_are_joined() -> None:
    first, second = Where("0 Linear", "a.py:1"), Where("1 ReLU", "a.py:2")
    assert joined(first, second) == Where("0 Linear, 1 ReLU", "a.py:2")
    assert joined(first, first) == first
    assert joined(first, Where()) == first and joined(Where(), first) == first


def test_copies_are_whole() -> None:
    graph, _, _ = small()
    for twin in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        ir.verify(twin)
        assert str(twin) == str(graph) and twin.inputs[0] is not graph.inputs[0]
        [y, _] = ir.interpret(twin, [np.ones((2, 4), np.float32)])
        assert y.tolist() == [[3.0] * 4] * 2
