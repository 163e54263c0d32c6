"""Graphs with states: what a run writes in place is what the graph says, whatever it reads when."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
import nncompile
from nncompile.compiler import compile_graph
from nncompile.errors import InputError
from nncompile.passes import DEFAULT_PIPELINE

HEAD = "graph step(%x: f32[B, 4], %ids: i64[B]) -> f32[B, 4] {\n  &a: f32[4]\n  &b: f32[4]\n"

# what each computes: the update of &a may or may not be made in place
BODIES = {
    "in place": """
  %0: f32[4] = mul(&a, 0.5)
  %1: f32[B, 4] = add(%x, %0)
  &a = %0
  &b = &b
  return %1""",
    "the old value is read later": """
  %0: f32[4] = mul(&a, 0.5)
  %1: f32[B, 4] = add(%x, &a)
  %2: f32[B, 4] = mul(%1, %0)
  &a = %0
  &b = &b
  return %2""",
    "swapped": """
  %0: f32[B, 4] = add(%x, &a)
  &a = &b
  &b = &a
  return %0""",
    "one value for both": """
  %0: f32[4] = add(&a, &b)
  %1: f32[B, 4] = mul(%x, %0)
  &a = %0
  &b = %0
  return %1""",
    "a product": """
  %0: f32[4, B] = transpose(%x) {axes = [1, 0]}
  %1: f32[4, 4] = matmul(%0, %x)
  %2: f32[4] = sum(%1) {axes = [0], keepdims = false}
  %3: f32[4] = mul(%2, 0.125)
  %4: f32[4] = sub(&a, %3)
  %5: f32[4] = mul(%4, &b)
  &a = %4
  &b = %5
  return %x""",
    "reversed": """
  %0: f32[4] = slice(&a) {axis = 0, start = 3, stop = -1, step = -1}
  %1: f32[4] = mul(%0, 2.0)
  %2: f32[4] = add(%1, &b)
  &a = %1
  &b = %2
  return %x""",
    "a chain": """
  %0: f32[4] = mul(&b, 2.0)
  %1: f32[4] = exp(%0)
  %2: f32[4] = mul(&a, 0.25)
  %3: f32[4] = add(%2, %1)
  %4: f32[B, 4] = add(%x, %3)
  &a = %3
  &b = %1
  return %4""",
    "a gather behind it": """
  %0: f32[4] = mul(&a, 0.5)
  %1: f32[B, 4] = take(%x, %ids) {axis = 0}
  %2: f32[B, 4] = add(%1, %0)
  &a = %0
  &b = %0
  return %2""",
}


def compiled(body, threads=1):
    graph = ir.parse(f"{HEAD}{body}\n}}")
    ir.verify(graph)
    return graph, compile_graph(graph, None, {}, threads, "cpu", True, DEFAULT_PIPELINE)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", BODIES)
def test_a_run_writes_what_the_graph_says(name, threads):
    graph, fast = compiled(BODIES[name], threads)
    random = np.random.default_rng(0)
    a, b = random.random((2, 4), "f4")
    expected_a, expected_b = a.copy(), b.copy()
    for rows in (3, 1, 0, 17):
        x = random.standard_normal((rows, 4)).astype("f4")
        ids = np.arange(rows)[::-1].copy()
        y, expected_a, expected_b = ir.interpret(graph, [x, ids, expected_a, expected_b])
        made = fast._loaded.call_into(x, ids, a, b)
        np.testing.assert_allclose(made, y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(a, expected_a, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(b, expected_b, rtol=1e-5, atol=1e-6)


def test_no_state_is_written_where_an_index_is_wrong():
    for threads in (1, 4):
        _, fast = compiled(BODIES["a gather behind it"], threads)
        a, b = np.ones((2, 4), "f4")
        x = np.ones((5, 4), "f4")
        with pytest.raises(InputError, match="index 7 is outside"):
            fast._loaded.call_into(x, np.array([0, 1, 7, 0, 1]), a, b)
        assert (a == 1).all() and (b == 1).all()
        assert "if size(fault, 0):" in fast.source


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_program_of_updates(data):
    """Random chains of elementwise ops on two states, whose values are also read late."""
    lines, values = [], ["&a", "&b"]
    for number in range(data.draw(st.integers(1, 6))):
        op = data.draw(st.sampled_from(["add", "sub", "mul", "maximum"]))
        left, right = (data.draw(st.sampled_from(values)) for _ in range(2))
        lines.append(f"  %{number}: f32[4] = {op}({left}, {right})")
        values.append(f"%{number}")
    new = [data.draw(st.sampled_from(values)) for _ in range(2)]
    last, count = data.draw(st.sampled_from(values)), len(lines)
    lines += [f"  %{count}: f32[B, 4] = add(%x, {last})", f"  &a = {new[0]}", f"  &b = {new[1]}",
              f"  return %{count}"]
    graph, fast = compiled("\n".join(lines))
    x, a, b = np.float32([[1, -2, 3, 0.5]]), np.float32([1, 2, -3, 4]), np.float32([0.5, -1, 2, 3])
    ids = np.zeros(1, np.int64)
    expected = ir.interpret(graph, [x, ids, a, b])
    made = [fast._loaded.call_into(x, ids, a, b), a, b]
    for one, other in zip(made, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_compile_itself_refuses_states():
    graph = ir.parse(f"{HEAD}{BODIES['in place']}\n}}")
    with pytest.raises(InputError, match="writes states, &a first"):
        nncompile.compile(graph)
