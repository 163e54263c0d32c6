"""The rewrite driver: rules, single use, dead code, limits."""
from dataclasses import replace

import numpy as np
import pytest

import ir
from ir import Node, Value, parse, rewrite, verify
from ir.check import check_same
from ir.graph import use_counts
from ir.rewrite import Producer, remove_dead


def graph(body: str) -> ir.Graph:
    return parse(f"graph g(%x: f32[B], %y: f32[B]) -> f32[B] {{\n{body}\n}}")


def body(g: ir.Graph) -> list[str]:
    return [line.strip() for line in str(g).splitlines()[1:-1]]


def double_negation(node: Node, producer: Producer) -> Value | None:
    match node.op, producer(node.inputs[0]):
        case "neg", Node(op="neg", inputs=(Value() as x,)):
            return x
    return None


def exp_into_add(node: Node, producer: Producer) -> Node | None:
    """add(exp(a), b) --> maximum(a, b): wrong, but easy to see."""
    if node.op == "add" and (made := producer(node.inputs[0])) is not None and made.op == "exp":
        return replace(node, op="maximum", inputs=(made.inputs[0], node.inputs[1]))
    return None


def test_a_chain_collapses() -> None:
    for count in (1, 2, 3, 50, 51):
        lines = ["%0: f32[B] = neg(%x)"]
        lines += [f"%{i}: f32[B] = neg(%{i - 1})" for i in range(1, count)]
        before = graph("\n".join([*lines, f"return %{count - 1}"]))
        after = rewrite(before, double_negation)
        verify(after)
        check_same("double_negation", before, after)
        assert len(after.nodes) == count % 2


def test_nothing_to_do_is_the_same_graph() -> None:
    before = graph("%0: f32[B] = exp(%x)\nreturn %0")
    assert rewrite(before, double_negation) is before


def test_a_shared_producer_is_not_offered() -> None:
    shared = graph("""
        %0: f32[B] = neg(%x)
        %1: f32[B] = neg(%0)
        %2: f32[B] = add(%1, %0)
        return %2""")
    assert rewrite(shared, double_negation) is shared
    twice = graph("%0: f32[B] = exp(%x)\n%1: f32[B] = add(%0, %0)\nreturn %1")
    assert rewrite(twice, exp_into_add) is twice


def test_an_output_is_a_use() -> None:
    before = parse("graph g(%x: f32[B]) -> f32[B], f32[B] {\n%0: f32[B] = neg(%x)\n"
                   "%1: f32[B] = neg(%0)\nreturn %0, %1\n}")
    assert rewrite(before, double_negation) is before


def test_params_inputs_and_numbers_have_no_producer() -> None:
    seen = []

    def rule(node: Node, producer: Producer) -> None:
        seen.extend(producer(o) for o in node.inputs)

    rewrite(graph("%0: f32[B] = add(%x, 2.0)\nreturn %0"), rule)
    assert seen == [None, None]


def test_counts_are_right_at_every_step() -> None:
    """After a node took in its producer, the producer's operand has one user again."""
    before = graph("""
        %0: f32[B] = exp(%x)
        %1: f32[B] = exp(%0)
        %2: f32[B] = add(%1, %y)
        return %2""")
    walks = []

    def rule(node: Node, producer: Producer) -> Node | None:
        walks.append(node.op)
        if node.op == "maximum" and producer(node.inputs[0]) is not None:
            return replace(node, op="mul")
        return exp_into_add(node, producer)

    after = rewrite(before, rule)
    assert body(after) == ["%0: f32[B] = exp(%x)", "%1: f32[B] = mul(%0, %y)", "return %1"]
    assert walks == ["exp", "exp", "add", "exp", "maximum", "exp", "mul"]


def test_what_a_rule_leaves_behind_is_removed() -> None:
    before = graph("""
        @w: f32[1]
        %0: f32[B] = add(%x, @w)
        %1: f32[B] = sub(%y, %y)
        %2: f32[B] = mul(%0, %1)
        return %2""")
    before = replace(before, data={before.params[0]: np.ones(1, np.float32)})

    def rule(node: Node, producer: Producer) -> Value | None:
        return before.inputs[1] if node.op == "mul" else None

    after = rewrite(before, rule)
    assert body(after) == ["return %y"] and after.params == () and after.data == {}
    assert after.inputs == before.inputs


def test_an_endless_rule_is_stopped() -> None:
    def swap(node: Node, producer: Producer) -> Node:
        return replace(node, inputs=node.inputs[::-1])

    with pytest.raises(ir.Error, match=r"swap still changes g after 100 walks"):
        rewrite(graph("%0: f32[B] = add(%x, %y)\nreturn %0"), swap)
    with pytest.raises(ir.Error, match="after 7 walks"):
        rewrite(graph("%0: f32[B] = add(%x, %y)\nreturn %0"), swap, walks=7)


def test_a_replacement_has_the_same_result_and_type() -> None:
    before = parse("graph g(%x: f32[B], %s: f32[]) -> f32[B] {\n%0: f32[B] = mul(%x, %s)\n"
                   "return %0\n}")

    def other_result(node: Node, producer: Producer) -> Node:
        return replace(node, result=Value(node.result.type))

    def other_type(node: Node, producer: Producer) -> Value:
        return before.inputs[1]

    with pytest.raises(ir.Error, match="other_result put a node with another result in place of"):
        rewrite(before, other_result)
    with pytest.raises(ir.Error, match=r"a value of type f32\[\] in place of mul, which is f32\[B"):
        rewrite(before, other_type)


def test_a_long_graph_is_no_problem() -> None:
    lines = ["%0: f32[B] = neg(%x)"]
    lines += [f"%{i}: f32[B] = neg(%{i - 1})" for i in range(1, 5000)]
    after = rewrite(graph("\n".join([*lines, "return %4999"])), double_negation)
    assert body(after) == ["return %x"]


def test_remove_dead() -> None:
    before = graph("""
        @w: f32[1]
        @v: f32[1]
        %0: f32[B] = add(%x, @w)
        %1: f32[B] = add(%x, @v)
        %2: f32[B] = exp(%1)
        return %0""")
    data = {p: np.ones(1, np.float32) for p in before.params}
    after = remove_dead(replace(before, data=data))
    assert body(after) == ["@w: f32[1]", "%0: f32[B] = add(%x, @w)", "return %0"]
    assert set(after.data) == set(after.params) == {before.params[0]}
    assert use_counts(after)[after.inputs[1]] == 0
