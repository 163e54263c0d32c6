"""Why a pass left a node alone: which reason is given, and that none is given without a need."""
from __future__ import annotations

import threading

import numpy as np
import pytest

import ir
import nncompile
from ir.rewrite import reasons
from nncompile import nn
from nncompile.inspect.reasons import lines_of_reasons, standing
from nncompile.passes import (
    DEFAULT_PIPELINE,
    FoldBatchNorm,
    FuseAttention,
    FuseElementwise,
    FuseLinear,
    FuseSoftmax,
    JoinLinear,
    MergeLinear,
    ReduceStrength,
    SinkViews,
    UseAttention,
    UseGELU,
    UseLayerNorm,
    UseLinear,
    UseLogSoftmax,
    UseMax,
    UseRMSNorm,
)
from nncompile.plans import run_passes
from tests.passes.common import graph

ATTENTION = """
    %0: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
    %1: f32[B, 4, 4] = matmul(%q, %0)
    %2: f32[B, 4, 4] = softmax(%1) {axis = 2, scale = 0.5}
    %3: f32[B, 4, 8] = matmul(%2, %q)
    return %3"""

# a pass, nodes, the op that is left alone, and words of the reason
CASES = {
    "a linear that is an output": (FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = relu(%0)
        return %0, %1""", "relu", "linear {}, which has another use"),
    "no room for more steps": (FuseLinear(steps=0), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = relu(%0)
        return %1""", "relu", "there would be 1 steps, and steps = 0"),
    "a step with an attribute": (FuseLinear(), """
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f64[B, 8] = cast(%0) {dtype = f64}
        return %1""", "cast", "it has dtype, and a step has no place for attributes"),
    "a result of another type": (FuseElementwise(), """
        %0: f32[B, 8] = exp(%x)
        %1: bool[B, 8] = gt(%0, 0.5)
        return %1""", "gt", "its result has another type"),
    "an operand that is no row": (FuseLinear(), """
        %0: f32[B, 4, 8] = linear(%q, @w)
        %1: f32[B, 4, 8] = add(%0, @t)
        return %1""", "add", "as rows of the result"),
    "a chain with another user": (FuseElementwise(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 8] = tanh(%0)
        %2: f32[B, 8] = div(%1, %0)
        return %2""", "tanh", "exp {}, which has another use"),
    "a softmax over its exponentials": (FuseSoftmax(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 1] = sum(%0) {axes = [1], keepdims = true}
        %2: f32[B, 8] = div(%0, %1)
        return %2""", "div", "can overflow"),
    "a softmax whose exponentials are returned": (FuseSoftmax(), """
        %0: f32[B, 1] = max(%x) {axes = [1], keepdims = true}
        %1: f32[B, 8] = sub(%x, %0)
        %2: f32[B, 8] = exp(%1)
        %3: f32[B, 1] = sum(%2) {axes = [1], keepdims = true}
        %4: f32[B, 8] = div(%2, %3)
        return %4, %2""", "div", "is not made softmax: {}"),
    "a scale that is an array": (FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, @one)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
        return %1""", "softmax", "known at compile time"),
    "a scale that is used again": (FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, 0.3)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
        return %1, %0""", "softmax", "mul {}, which has another use"),
    "two scales": (FuseSoftmax(), """
        %0: f32[B, 8] = mul(%x, 0.3)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 0.5}
        return %1""", "softmax", "a second one"),
    "two scales around a product": (FuseAttention(), """
        %0: f32[B, 4, 8] = mul(%q, 0.5)
        %1: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %2: f32[B, 4, 4] = matmul(%0, %1)
        %3: f32[B, 4, 4] = softmax(%2) {axis = 2, scale = 0.5}
        return %3""", "softmax", "a second one"),
    "attention whose weights are returned": (
        UseAttention(), ATTENTION.replace("return %3", "return %3, %2"), "matmul",
        "softmax {}, which has another use"),
    "attention whose scores are a tanh": (
        UseAttention(), ATTENTION.replace("softmax(%1)", "softmax(%1)").replace(
            "matmul(%q, %0)", "matmul(%q, %0) then tanh"), "matmul", "are not one product"),
    "a weight of three axes": (UseLinear(), """
        %0: f32[3, B, 8] = matmul(%x, @qw)
        return %0""", "matmul", "its weight has 3 axes"),
    "a bias behind a product that is returned": (UseLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = add(%0, @b)
        return %1, %0""", "add", "linear {}, which has another use"),
    "a scale behind a linear that is returned": (FoldBatchNorm(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = mul(%0, @b)
        return %1, %0""", "mul", "linear {}, which has another use"),
    "a shift before a linear": (FoldBatchNorm(), """
        %0: f32[B, 8] = add(%x, @b)
        %1: f32[B, 8] = linear(%0, @w)
        return %1""", "linear", "lose precision"),
    "two linears over a narrow middle": (MergeLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = linear(%0, @w)
        return %1, %0""", "linear", "another use"),
    "linears with different steps": (JoinLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = linear(%x, @v) then relu
        %2: f32[B, 8] = add(%0, %1)
        return %2""", "linear", "have different steps"),
    "a linear that is an output beside another": (JoinLinear(), """
        %0: f32[B, 8] = linear(%x, @w)
        %1: f32[B, 8] = linear(%x, @v)
        %2: f32[B, 8] = exp(%0)
        return %2, %1""", "linear", "an output of the graph"),
    "a division whose reciprocal is rounded": (ReduceStrength(), """
        %0: f32[B, 8] = div(%x, 3.0)
        return %0""", "div", "ReduceStrength(bounded=True)"),
    "work that has another operand behind a view": (SinkViews(), """
        %0: f32[B, 8] = exp(%x)
        %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
        %2: f32[B, 2, 4] = reshape(%r) {shape = [B, 2, 4]}
        %3: f32[B, 2, 4] = exp(%2)
        %4: f32[B, 2, 4] = add(%1, %3)
        return %4""", "add", "no such form before that view"),
    "a maximum whose index is returned": (UseMax(), """
        %0: i64[B, 1] = argmax(%x) {axis = 1, keepdims = true}
        %1: f32[B, 1] = take_along(%x, %0) {axis = 1}
        return %1, %0""", "take_along", "argmax {}, which has another use"),
    "the logarithm of a softmax": (UseLogSoftmax(), """
        %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
        %1: f32[B, 8] = log(%0)
        return %1""", "log", "underflow=True"),
    "nearly a GELU": (UseGELU(), """
        %0: f32[B, 8] = mul(%x, 0.7071067811865476)
        %1: f32[B, 8] = erf(%0)
        %2: f32[B, 8] = add(%1, 2.0)
        %3: f32[B, 8] = mul(%x, %2)
        return %3""", "mul", "the arithmetic around erf"),
    "a norm without an eps": (UseRMSNorm(), """
        %0: f32[B, 8] = mul(%x, %x)
        %1: f32[B, 1] = mean(%0) {axes = [1], keepdims = true}
        %2: f32[B, 1] = rsqrt(%1)
        %3: f32[B, 8] = mul(%x, %2)
        return %3""", "mean", "no eps"),
    "a norm over the first axis": (UseLayerNorm(), """
        %0: f32[1, 8] = mean(%m) {axes = [0], keepdims = true}
        %1: f32[8, 8] = sub(%m, %0)
        %2: f32[8, 8] = mul(%1, %1)
        %3: f32[1, 8] = mean(%2) {axes = [0], keepdims = true}
        %4: f32[1, 8] = add(%3, 1e-05)
        %5: f32[1, 8] = rsqrt(%4)
        %6: f32[8, 8] = mul(%1, %5)
        return %6""", "mul", "over the last axes"),
    "a constant that is too large to fold": (ir.FoldConstants(max_elements=9), """
        %0: f32[8, 8] = exp($c)
        %1: f32[8, 8] = mul(%m, %0)
        return %1""", "exp", "max_elements = 9"),
}


@pytest.mark.parametrize("step, body, op, words", CASES.values(), ids=CASES)
def test_a_pass_says_why_it_left_a_node(step: ir.Pass, body: str, op: str, words: str) -> None:
    before = graph(body)
    with reasons() as found:
        after = step(before)
    assert [(r.node.op, words in r.why) for r in found if r.node.op == op] == [(op, True)], [
        (r.node.op, r.why) for r in found]
    made = {node.result for node in after.nodes} | set(after.params) | set(after.inputs)
    assert all(r.node.result in made and (r.value is None or r.value in made) for r in found)


def test_every_pass_that_matches_something_can_give_a_reason() -> None:
    """Those that cannot leave nothing that is nearly what they look for: they take it all."""
    silent = {"dce", "cse", "use_literals", "remove_identity", "compose_views", "use_silu",
              "fuse_elementwise"}
    assert {step.name for step in DEFAULT_PIPELINE} - {step.name for step, *_ in CASES.values()
                                                       } - silent == set()


def test_nothing_is_noted_where_the_rule_found_it_another_way() -> None:
    """The second operand of the sum is tried after the first, which another type keeps out."""
    with reasons() as found:
        FuseElementwise()(graph("""
            %0: f32[B, 1] = exp(%s)
            %1: f32[B, 8] = exp(%x)
            %2: f32[B, 8] = add(%0, %1)
            return %2"""))
    assert found == []


def test_a_choice_does_not_work_on_what_it_chooses_by() -> None:
    with reasons() as found:
        FuseElementwise()(graph("""
            %0: bool[B, 8] = gt(%x, 0.5)
            %1: f32[B, 8] = where(%0, %x, %r)
            return %1"""))
    assert found == []


def test_reasons_are_those_of_the_last_walk_alone() -> None:
    """Before the second walk the exponentials had two users, and after it they have one."""
    def rule(node: ir.Node, context: ir.Context) -> ir.Value | ir.Node | None:
        if node.op == "neg":
            made = context.producer(node.inputs[0])
            if made is not None and made.op == "exp" and context.is_only_use(node, made):
                return ir.Node(node.result, "tanh", made.inputs, {}, node.where)
        return node.inputs[0] if node.op == "abs" else None           # type: ignore[return-value]

    with reasons() as found:
        after = ir.rewrite(graph("""
            %0: f32[B, 8] = exp(%x)
            %1: f32[B, 8] = neg(%0)
            %2: f32[B, 8] = abs(%x)
            %3: f32[B, 8] = mul(%1, %2)
            return %3"""), rule)
    assert found == [] and [node.op for node in after.nodes] == ["tanh", "mul"]


def test_each_thread_collects_its_own() -> None:
    step, body, *_ = CASES["two scales"]
    found: dict[int, list[ir.Reason]] = {}
    barrier = threading.Barrier(4)

    def work(i: int) -> None:
        with reasons() as mine:
            barrier.wait()
            for _ in range(i):
                step(graph(body))
            found[i] = mine

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {i: len(mine) for i, mine in found.items()} == {i: i for i in range(4)}


def test_nobody_asks_and_nothing_is_kept() -> None:
    step, body, *_ = CASES["two scales"]
    with reasons() as outer:
        with reasons() as inner:
            step(graph(body))
        assert len(inner) == 1
    assert outer == []
    step(graph(body))
    assert outer == []


class Residual(nn.Module):
    """A block that uses twice what its relu works on, so that nothing fuses the two."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        y = self.fc(x)
        return nn.functional.relu(y) * y


def test_explain_lists_them_by_layer_and_equal_layers_once() -> None:
    model = nn.Sequential(*[Residual() for _ in range(5)]).eval()
    fast = nncompile.compile(model, "f32[B, 8]")
    left, = lines_of_reasons(fast.runs)
    assert left.startswith("0 and 4 layers like it: relu does not take in linear %0, "
                           "which has another use; its uses: relu, mul")
    assert left.endswith("(fuse_linear)")
    assert f"left alone:\n  {left}\n" in fast.explain()
    assert [one.layer for one in standing(fast.runs)] == ["0", "1", "2", "3", "4"]


def test_a_reason_falls_where_a_later_pass_found_it() -> None:
    """FuseSoftmax looks at the scale's producer only; the queries' is what FuseAttention takes."""
    runs = run_passes(graph("""
        %0: f32[B, 4, 8] = div(%q, 3.0)
        %1: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        %2: f32[B, 4, 4] = matmul(%0, %1)
        %3: f32[B, 4, 4] = softmax(%2) {axis = 2, scale = 1.0}
        return %3"""))
    assert any("stays a division" in reason.why for run in runs for reason in run.left)
    assert standing(runs) == []


def test_what_is_computed_when_weights_are_loaded_is_no_reason() -> None:
    runs = run_passes(graph("""
        %0: f32[8] = div(@b, 3.0)
        %1: f32[B, 8] = mul(%x, %0)
        return %1"""))
    assert any("stays a division" in reason.why for run in runs for reason in run.left)
    assert standing(runs) == []


def test_a_reason_names_the_other_users() -> None:
    runs = run_passes(graph("""
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = relu(%0)
        return %0, %1"""))
    line, = lines_of_reasons(runs)
    assert line == ("the model: relu does not take in linear %0, which has another use; its uses: "
                    "relu, the graph's outputs   (fuse_linear)")


def test_results_do_not_depend_on_who_asks() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.Softmax(-1)).eval()
    traced = nncompile.trace(model, "f32[B, 8]")
    asked = run_passes(traced)
    assert str(ir.run(DEFAULT_PIPELINE, traced)) == str(asked[-1].graph)
    assert np.isfinite(nncompile.compile(model, "f32[B, 8]")(np.ones((2, 8), "f4"))).all()
