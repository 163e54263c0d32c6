"""The rewrite driver: rules, single use, dead code, limits."""
from dataclasses import replace

import numpy as np
import pytest

import ir
from ir import Node, Value, parse, rewrite, verify
from ir.check import check_same
from ir.rewrite import Context, remove_dead


def graph(body: str) -> ir.Graph:
    return parse(f"graph g(%x: f32[B], %y: f32[B]) -> f32[B] {{\n{body}\n}}")


def body(g: ir.Graph) -> list[str]:
    return [line.strip() for line in str(g).splitlines()[1:-1]]


def double_negation(node: Node, context: Context) -> Value | None:
    match node.op, context.producer(node.inputs[0], uses=1):
        case "neg", Node(op="neg", inputs=(Value() as x,)):
            return x
    return None


def exp_into_add(node: Node, context: Context) -> Node | None:
    """add(exp(a), b) --> maximum(a, b): wrong, but easy to see."""
    if node.op == "add" and (made := context.producer(node.inputs[0], uses=1)) is not None \
            and made.op == "exp":
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

    def rule(node: Node, context: Context) -> None:
        seen.extend(context.producer(o) for o in node.inputs)

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

    def rule(node: Node, context: Context) -> Node | None:
        walks.append(node.op)
        if node.op == "maximum" and context.producer(node.inputs[0], uses=1) is not None:
            return replace(node, op="mul")
        return exp_into_add(node, context)

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

    def rule(node: Node, context: Context) -> Value | None:
        return before.inputs[1] if node.op == "mul" else None

    after = rewrite(before, rule)
    assert body(after) == ["return %y"] and after.params == () and after.data == {}
    assert after.inputs == before.inputs


def test_an_endless_rule_is_stopped() -> None:
    def swap(node: Node, context: Context) -> Node:
        return replace(node, inputs=node.inputs[::-1])

    with pytest.raises(ir.Error, match=r"swap still changes g after 100 walks"):
        rewrite(graph("%0: f32[B] = add(%x, %y)\nreturn %0"), swap)
    once = rewrite(graph("%0: f32[B] = add(%x, %y)\nreturn %0"), swap, once=True)
    assert body(once) == ["%0: f32[B] = add(%y, %x)", "return %0"]


def test_a_replacement_has_the_same_result_and_type() -> None:
    before = parse("graph g(%x: f32[B], %s: f32[]) -> f32[B] {\n%0: f32[B] = mul(%x, %s)\n"
                   "return %0\n}")

    def other_result(node: Node, context: Context) -> Node:
        return replace(node, result=Value(node.result.type))

    def other_type(node: Node, context: Context) -> Value:
        return before.inputs[1]

    with pytest.raises(ir.Error, match="other_result put nothing that computes the same result"):
        rewrite(before, other_result)
    with pytest.raises(ir.Error, match=r"a value of type f32\[\] in place of mul, which is f32\[B"):
        rewrite(before, other_type)


def node(op: str, *inputs: Value) -> Node:
    return Node(Value(inputs[0].type), op, inputs)


def test_several_nodes_for_one() -> None:
    """Among them each has its producer and its uses, as if it had always been there."""
    before = graph("""
        %0: f32[B] = gelu(%x)
        %1: f32[B] = neg(%0)
        %2: f32[B] = exp(%1)
        return %2""")

    def rule(old: Node, context: Context) -> list[Node] | None:
        if old.op == "gelu":
            sine = node("sin", *old.inputs)
            return [sine, replace(old, op="mul", inputs=(sine.result, sine.result))]
        if old.op == "exp" and (negation := context.producer(old.inputs[0], uses=1)) is not None:
            assert negation.op == "neg"
            product = context.producer(negation.inputs[0], uses=1)
            assert product is not None and product.op == "mul"
            assert context.producer(product.inputs[0], uses=1) is None
            sine = context.producer(product.inputs[0], uses=2)
            assert sine is not None and context.uses(sine.result) == 2
            return [replace(old, op="tanh", inputs=product.inputs[:1])]
        return None

    after = rewrite(before, rule)
    verify(after)
    assert body(after) == ["%0: f32[B] = sin(%x)", "%1: f32[B] = tanh(%0)", "return %1"]


def test_a_replacement_may_compute_later_results_too() -> None:
    before = graph("""
        %0: f32[B] = sin(%x)
        %1: f32[B] = exp(%y)
        %2: f32[B] = cos(%x)
        %3: f32[B] = add(%0, %2)
        %4: f32[B] = add(%3, %1)
        return %4""")
    cosine = before.nodes[2]

    def both(old: Node, context: Context) -> list[Node] | None:
        return [replace(cosine, op="tan"), replace(old, op="tanh")] if old.op == "sin" else None

    after = rewrite(before, both)
    verify(after)
    assert body(after) == ["%0: f32[B] = tan(%x)", "%1: f32[B] = tanh(%x)", "%2: f32[B] = exp(%y)",
                           "%3: f32[B] = add(%1, %0)", "%4: f32[B] = add(%3, %2)", "return %4"]


@pytest.mark.parametrize("asks_first", [True, False])
def test_what_is_known_when_weights_are_loaded(asks_first: bool) -> None:
    """Of nodes that the rule has made, too."""
    before = graph("""
        @w: f32[B]
        %0: f32[B] = exp(@w)
        %1: f32[B] = add(%0, %x)
        %2: f32[B] = mul(%1, %y)
        return %2""".replace("@w: f32[B]", "@w: f32[1]").replace("%0: f32[B] =", "%0: f32[1] ="))
    made = []
    asked = []

    def rule(old: Node, context: Context) -> list[Node] | None:
        if asks_first:
            asked.append(context.at_load(old.result))
        if old.op != "add":
            return None
        made.extend([node("sin", before.params[0]), node("sin", before.inputs[0])])
        return [*made, replace(old, op="sub", inputs=(made[0].result, made[1].result))]

    def check(old: Node, context: Context) -> list[Node] | None:
        new = rule(old, context)
        if old.op == "mul":
            values = [before.params[0], made[0].result, made[1].result, before.inputs[0]]
            assert [context.at_load(v) for v in values] == [True, True, False, False]
            assert not context.at_load(0.5)
        return new

    verify(rewrite(before, check))
    assert not asks_first or asked[:3] == [True, False, False]


def test_fused_nodes_are_for_rules_that_ask_for_them() -> None:
    before = graph("""
        %0: f32[B] = exp(%x) then neg
        %1: f32[B] = sin(%0)
        %2: f32[B] = cos(%1) then relu
        return %2""")
    for fused in (False, True):
        seen = []

        def rule(old: Node, context: Context, seen: list[object] = seen) -> None:
            seen.append((old.op, context.producer(old.inputs[0]) is not None))

        assert rewrite(before, rule, fused=fused) is before
        assert seen == ([("exp", False), ("sin", True), ("cos", True)] if fused else
                        [("sin", False)])


def test_a_rule_is_given_nodes_of_its_ops_and_may_ask_for_all() -> None:
    before = graph("""
        %0: f32[B] = neg(%x)
        %1: f32[B] = exp(%0)
        %2: f32[B] = neg(%1)
        %3: f32[B] = neg(%2)
        %4: f32[B] = sin(%3)
        %5: f32[B] = neg(%4)
        return %5""")
    seen = []

    def rule(old: Node, context: Context) -> Value | None:
        seen.append(old.result)
        return double_negation(old, context)

    after = rewrite(before, rule, {"neg", "cos"})
    assert body(after) == body(rewrite(before, double_negation))
    nodes = before.nodes
    assert seen == [nodes[i].result for i in (0, 2, 3, 5)] + [nodes[i].result for i in (0, 5)]
    assert rewrite(before, rule, ["cos"]) is before


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
    assert after.uses[after.inputs[1]] == 0
