"""Elementwise steps become one with several results, where nothing is read or written otherwise."""

import numpy as np
import pytest

import ir
from nncompile.compiler import compile_graph
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.schedule import schedule

UPDATE = """
graph step(%x: f32[1, 4], %rate: f32[]) -> f32[] {
  &w: f32[4]
  &m: f32[4]
  %0: f32[4] = reshape(%x) {shape = [4]}
  %1: f32[4] = mul(&m, 0.5)
  %2: f32[4] = add(%1, %0)
  %3: f32[4] = mul(%2, %rate)
  %4: f32[4] = sub(&w, %3)
  %5: f32[] = sum(%4) {axes = [0], keepdims = false}
  &w = %4
  &m = %2
  return %5
}
"""


def kinds(text):
    return [(s.kind, len(s.results)) for s in schedule(ir.parse(text)).steps]


def compiled(text):
    return compile_graph(ir.parse(text), None, {}, 1, "cpu", False, DEFAULT_PIPELINE)


def test_an_update_is_one_step_with_a_result_for_each_state():
    assert kinds(UPDATE) == [("group", 2), ("reduce", 1)]


def test_graphs_without_states_have_no_groups():
    text = UPDATE.replace("&w: f32[4]", "@w: f32[4]").replace("&m: f32[4]", "@m: f32[4]")
    text = text.replace("  &w = %4\n  &m = %2\n", "").replace("&w", "@w").replace("&m", "@m")
    assert all(kind != "group" for kind, _ in kinds(text))


def test_a_value_that_is_read_elsewhere_is_kept():
    text = UPDATE.replace("sum(%4)", "sum(%3)")
    assert kinds(text)[0] == ("group", 3)


def test_what_may_find_a_wrong_number_is_before_all_that_write_states():
    text = """
    graph step(%x: f32[B, 4], %i: i64[B, 1]) -> f32[] {
      &w: f32[4]
      %0: f32[4] = sum(%x) {axes = [0], keepdims = false}
      %1: f32[4] = mul(%0, 0.5)
      %2: f32[4] = sub(&w, %1)
      %3: f32[B, 1] = take_along(%x, %i) {axis = 1}
      %4: f32[] = sum(%3) {axes = [0, 1], keepdims = false}
      &w = %2
      return %4
    }
    """
    steps = schedule(ir.parse(text)).steps
    writer = next(i for i, s in enumerate(steps)
                  if any(v.place.kind == "input" for v in s.results))
    assert writer > max(i for i, s in enumerate(steps) if s.kind == "take_along")


@pytest.mark.parametrize("first,second", [("B", "B, 1"), ("B, 1", "B"), ("1, B, 1", "B")])
def test_axes_of_size_1_make_no_difference_to_who_joins(first, second):
    """A column and a row of the same numbers, as a loss of chosen scores has them."""
    text = f"""
    graph step(%x: f32[{first}]) -> f32[] {{
      &w: f32[1]
      %0: f32[{first}] = mul(%x, 0.5)
      %1: f32[{second}] = reshape(%0) {{shape = [{second}]}}
      %2: f32[{second}] = add(%1, 1.0)
      %7: f32[{second}] = mul(%2, %1)
      %3: f32[] = sum(%7) {{axes = {list(range(second.count(",") + 1))}, keepdims = false}}
      %4: f32[] = sum(%0) {{axes = {list(range(first.count(",") + 1))}, keepdims = false}}
      %5: f32[] = add(%3, %4)
      %6: f32[1] = add(&w, %5)
      &w = %6
      return %5
    }}
    """
    graph, x = ir.parse(text), np.arange(6, dtype=np.float32)
    x = x.reshape([6 if d.strip() == "B" else 1 for d in first.split(",")])
    w = np.zeros(1, np.float32)
    expected = (x / 2).sum() + ((x / 2 + 1) * (x / 2)).sum()
    assert compiled(text)._loaded.call_into(x, w) == expected == w
    assert schedule(graph).steps[0].kind == "group"


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("width", [0, 1, 3, 17, 64, 5000])
def test_numbers_are_those_of_single_steps(width, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    text = UPDATE.replace("4]", f"{width}]").replace("mul(&m, 0.5)", "sqrt(&m)")
    random = np.random.default_rng(width)
    x = random.standard_normal((1, width)).astype("f4")
    rate = np.float32(0.25)
    w, m = random.standard_normal(width).astype("f4"), random.random(width).astype("f4")
    new_w, new_m = w.copy(), m.copy()
    compiled(text)(x, np.asarray(rate), new_w, new_m)
    np.testing.assert_allclose(new_m, np.sqrt(m) + x.sum(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(new_w, w - new_m * rate)


def test_dtypes_may_be_mixed():
    text = """
    graph step(%x: f32[B, 5], %i: i64[B]) -> f32[B, 5] {
      &n: f32[3, 5]
      %0: bool[B] = ne(%i, 3.0)
      %1: f32[B] = cast(%0) {dtype = f32}
      %2: bool[B] = logical_not(%0)
      %3: i64[B] = where(%2, %i, 0.0)
      %4: f32[B] = cast(%3) {dtype = f32}
      %5: f32[B] = add(%4, %1)
      %6: f32[B, 1] = reshape(%5) {shape = [B, 1]}
      %7: f32[B, 5] = mul(%x, %6)
      %8: f32[3, 5] = neg(&n)
      &n = %8
      return %7
    }
    """
    assert [kind for kind, _ in kinds(text)].count("group") == 1
    x = np.ones((7, 5), "f4")
    i, n = np.arange(7), np.ones((3, 5), "f4")
    y = compiled(text)(x, i, n)
    np.testing.assert_array_equal(y[:, 2], np.where(i == 3, 3.0, 1.0))
    np.testing.assert_array_equal(n, -np.ones((3, 5)))
