"""What is not legal is refused, and the message shows the line."""
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ir
from ir import Node, Value, VerifyError, parse, parse_type, verify
from ir.types import symbol

F32 = parse_type("f32[B, 4]")

GRAPH = parse("""graph g(%x: f32[B, 4]) -> f32[B, 4] {
  @w: f32[4]
  %0: f32[B, 4] = mul(%x, @w)    # 0 Scale  a.py:3
  %1: f32[B, 4] = softmax(%0) {axis = 1, scale = 1.0}
  return %1
}""")
X, W = *GRAPH.inputs, *GRAPH.params
FIRST, SECOND = GRAPH.nodes


def with_first(**changes: Any) -> ir.Graph:
    return replace(GRAPH, nodes=(replace(FIRST, **changes), SECOND))


def test_a_legal_graph() -> None:
    verify(GRAPH)
    verify(replace(GRAPH, data={W: np.ones(4, np.float32)}))


ILLEGAL: dict[str, tuple[ir.Graph, str]] = {
    "a use before the definition": (
        replace(GRAPH, nodes=(SECOND, FIRST)), "uses a value that is not defined before it"),
    "a stranger": (
        with_first(inputs=(X, Value(F32))),
        "uses a value that is not defined before it\n  node: %0: f32[B, 4] = mul(%x, %?)"),
    "its own result": (with_first(inputs=(X, FIRST.result)), "not defined before it"),
    "a definition twice": (
        replace(GRAPH, nodes=(FIRST, FIRST, SECOND)), "its result is defined twice"),
    "a result that is an input": (
        with_first(result=X), "its result is of the kind 'input'"),
    "another type": (
        with_first(result=Value(parse_type("f32[4, B]"))), "mul gives f32[B, 4], not f32[4, B]"),
    "an operand that does not fit": (
        replace(GRAPH, params=(w := Value(parse_type("f32[3]"), "parameter", "w"),),
                nodes=(replace(FIRST, inputs=(X, w)), SECOND)), "4 is not 3\n  node: %0: f32[B"),
    "an integer operand": (with_first(inputs=(X, 2)), "an operand is a value or a float, not int"),
    "a truth value": (with_first(inputs=(X, True)), "not bool"),
    "an array": (with_first(inputs=(X, np.ones(4))), "not ndarray"),
    "an unknown op": (with_first(op="sine"), "there is no op named sine\n  node: %0"),
    "too few operands": (with_first(inputs=(X,)), "mul takes 2 operands, not 1"),
    "an unknown attribute": (with_first(attrs={"axis": 1}), "mul has no attributes, not axis"),
    "attributes in another form": (
        replace(GRAPH, nodes=(FIRST, replace(SECOND, attrs={"axis": 1, "scale": 1}))),
        "attributes are {'axis': 1, 'scale': 1}, in normal form {'axis': 1, 'scale': 1.0}"),
    "attributes in another order": (
        replace(GRAPH, nodes=(FIRST, replace(SECOND, attrs={"scale": 1.0, "axis": 1}))),
        "in normal form {'axis': 1, 'scale': 1.0}"),
    "a step that broadcasts": (
        with_first(inputs=(X, W, Value(parse_type("f32[2, B, 4]"), "parameter", "q")),
                   attrs={"then": ("add",)}), "not defined before it"),
    "an output of nobody": (
        replace(GRAPH, outputs=(Value(F32),)), "g returns a value, which it does not define"),
    "an output that is no more": (
        replace(GRAPH, nodes=(FIRST,)), "g returns a value, which it does not define"),
    "two inputs of one name": (
        replace(GRAPH, inputs=(X, Value(F32, "input", "x"))), "two values of g are named %x"),
    "one input twice": (replace(GRAPH, inputs=(X, X)), "g declares %x twice"),
    "an input that is a result": (
        replace(GRAPH, inputs=(Value(F32),), nodes=(), outputs=()), "is of the kind 'result'"),
    "a param that is an input": (
        replace(GRAPH, params=(Value(F32, "input", "w"),)), "the param %w is of the kind 'input'"),
    "an input with a computed size": (
        replace(GRAPH, inputs=(X, Value(parse_type("f32[2*B]"), "input", "y"))),
        "%y: f32[2*B]: the size 2*B of an input is neither a number nor a name"),
    "a param with a symbolic size": (
        replace(GRAPH, params=(W, Value(F32, "parameter", "v"))),
        "@v: f32[B, 4]: only inputs have symbolic sizes"),
    "data of another shape": (
        replace(GRAPH, data={W: np.ones(3, np.float32)}), "@w is f32[4], its data are f32[3]"),
    "data of another type": (
        replace(GRAPH, data={W: np.ones(4)}), "@w is f32[4], its data are f64[4]"),
    "a size from nowhere": (
        replace(GRAPH, nodes=(*GRAPH.nodes, Node(
            Value(parse_type("f32[1, 4]")), "slice", (X,),
            {"axis": 0, "start": symbol("Q"), "stop": symbol("Q") + 1, "step": 1}))),
        "the size Q is not a size of any input\n  node: %2: f32[1, 4] = slice(%x)"),
}


@pytest.mark.parametrize("like", [None, GRAPH], ids=["alone", "after a legal graph"])
@pytest.mark.parametrize("case", ILLEGAL)
def test_illegal(case: str, like: ir.Graph | None) -> None:
    graph, message = ILLEGAL[case]
    with pytest.raises(VerifyError) as error:
        verify(graph, like)
    assert message in str(error.value)


def test_what_a_legal_graph_has_is_not_looked_into_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(sys.modules["ir.verify"], "_check_node", seen.append)
    new = Node(Value(F32), "exp", (SECOND.result,))
    verify(replace(GRAPH, nodes=(*GRAPH.nodes, new)), like=GRAPH)
    assert seen == [new]


def test_what_a_builder_made_is_not_inferred_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["ir.verify"], "_check_node", pytest.fail)
    verify(GRAPH, built=True)
    for case in ("a use before the definition", "a size from nowhere", "one input twice"):
        graph, message = ILLEGAL[case]
        with pytest.raises(VerifyError) as error:
            verify(graph, built=True)
        assert message in str(error.value)


def test_the_message_says_where_the_node_comes_from() -> None:
    with pytest.raises(VerifyError) as error:
        verify(with_first(inputs=(X, W, W)))
    assert str(error.value) == ("mul takes 2 operands, not 3\n"
                                "  node: %0: f32[B, 4] = mul(%x, @w, @w)  # 0 Scale  a.py:3")
