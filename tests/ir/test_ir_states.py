"""States: inputs that a run also writes, in the text, in verify and in interpret."""

import numpy as np
import pytest

import ir
from ir.records import replace

TEXT = """\
graph step(%x: f32[B, 4]) -> f32[] {
  @bias: f32[4]
  &w:    f32[4]
  &"m 1": f32[4]
  %0: f32[B, 4] = mul(%x, &w)
  %1: f32[]     = mean(%0) {axes = [0, 1], keepdims = false}
  %2: f32[4]    = mul(&"m 1", 0.5)
  %3: f32[4]    = add(&w, %2)
  &w      = %3
  &"m 1"  = %2
  return %1
}"""


def test_the_text_is_read_back():
    graph = ir.parse(TEXT)
    ir.verify(graph)
    assert str(ir.parse(str(graph))) == str(graph)
    assert [v.name for v in graph.states] == ["w", "m 1"]
    assert [v.name for v in graph.inputs] == ["x", "w", "m 1"]
    assert [new for _, new in graph.updates] == [graph.nodes[3].result, graph.nodes[2].result]
    assert graph.returned == (graph.nodes[1].result,)


def test_interpret_takes_the_old_values_and_gives_the_new_ones():
    graph = replace(ir.parse(TEXT), data={})
    graph = replace(graph, params=())
    loss, w, m = ir.interpret(graph, [np.ones((2, 4), "f4"), np.full(4, 2, "f4"), np.ones(4, "f4")])
    assert loss == 2
    np.testing.assert_array_equal(w, np.full(4, 2.5))
    np.testing.assert_array_equal(m, np.full(4, 0.5))


def test_passes_keep_what_updates_need():
    graph = replace(ir.parse(TEXT), params=())
    kept = ir.run([ir.DCE(), ir.CSE(), ir.FoldConstants()], graph)
    assert str(kept) == str(graph)


@pytest.mark.parametrize(("old", "new", "message"), [
    ('  &"m 1"  = %2\n', "", "the state &\"m 1\" gets no new value"),
    ('&"m 1"  = %2', '&"m 1"  = %1', "its new value is f32"),
    ('&"m 1"  = %2', "&w = %2", "two new values"),
    ('&"m 1"  = %2', "&v = %2", "&v"),
])
def test_what_is_wrong_is_said(old, new, message):
    assert old in TEXT
    with pytest.raises(ir.Error, match="(?s)" + message.replace("[", r"\[")):
        ir.verify(ir.parse(TEXT.replace(old, new)))


def test_states_are_the_last_inputs():
    graph = ir.parse(TEXT)
    with pytest.raises(ir.VerifyError, match="not its last inputs"):
        ir.verify(replace(graph, inputs=graph.inputs[::-1]))
    with pytest.raises(ir.VerifyError, match="its new value is"):
        ir.verify(replace(graph, outputs=graph.outputs[1:] + graph.outputs[:1]))
    with pytest.raises(ir.VerifyError, match="only 1 outputs"):
        ir.verify(replace(graph, outputs=graph.outputs[:1]))


def test_the_size_of_a_state_is_known():
    text = "graph g(%x: f32[B]) -> f32[B] {\n  &w: f32[B]\n  &w = %x\n  return %x\n}"
    with pytest.raises(ir.VerifyError, match="only inputs have symbolic sizes"):
        ir.verify(ir.parse(text))
