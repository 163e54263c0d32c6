"""Steps that work on the same rows become one, which computes the same bits."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ir
import nncompile.schedule
from nncompile import InputError, compiler
from nncompile.compiler import compile_graph
from nncompile.passes import DEFAULT_PIPELINE
from nncompile.plans import new_plan
from nncompile.schedule import planning

LOSS = """
graph step(%x: f32[B, 9], %i: i64[B, 1], %share: f32[B, 1]) -> f32[B, 1], f32[B, 9] {
  &n: f32[]
  %0: f32[B, 9] = log_softmax(%x) {axis = 1}
  %1: bool[B, 1] = ne(%i, -100.0)
  %2: i64[B, 1] = where(%1, %i, 0.0)
  %3: f32[B, 1] = take_along(%0, %2) {axis = 1}
  %4: f32[B, 1] = neg(%3)
  %5: f32[B, 1] = where(%1, %4, 0.0)
  %6: f32[B, 1] = where(%1, %share, 0.0)
  %7: f32[B, 9] = scatter_add(%2, %6) {axis = 1, size = 9}
  %8: f32[B, 1] = sum(%7) {axes = [1], keepdims = true}
  %9: f32[B, 9] = exp(%0)
  %10: f32[B, 9] = mul(%9, %8)
  %11: f32[B, 9] = sub(%7, %10)
  %12: f32[] = add(&n, 1.0)
  &n = %12
  return %5, %11
}
"""
HEAD = """
graph step(%x: f32[6, B], %i: i64[B, 1], %share: f32[1, B], %c: i64[6, 1]) -> f32[B, 1], f32[6, B] {
  &n: f32[]
  %0: f32[6, B] = log_softmax(%x) {axis = 0}
  %1: f32[B, 6] = transpose(%0) {axes = [1, 0]}
  %2: f32[B, 1] = take_along(%1, %i) {axis = 1}
  %3: f32[B, 1] = neg(%2)
  %4: i64[1, B] = reshape(%i) {shape = [1, B]}
  %5: bool[6, B] = eq(%4, %c)
  %6: f32[6, B] = where(%5, %share, 0.0)
  %7: f32[6, B] = exp(%0)
  %8: f32[6, B] = mul(%7, %share)
  %9: f32[6, B] = sub(%6, %8)
  %10: f32[] = add(&n, 1.0)
  &n = %10
  return %3, %9
}
"""
NORM = """
graph step(%x: f32[B, 24], %g: f32[B, 24], %w: f32[24]) -> f32[B, 24], f32[24] {
  &n: f32[]
  %0: f32[B, 24] = mul(%g, %w)
  %1: f32[B, 1] = mean(%x) {axes = [1], keepdims = true}
  %2: f32[B, 24] = sub(%x, %1)
  %3: f32[B, 24] = mul(%2, %2)
  %4: f32[B, 1] = mean(%3) {axes = [1], keepdims = true}
  %5: f32[B, 1] = add(%4, 0.001)
  %6: f32[B, 1] = rsqrt(%5)
  %7: f32[B, 24] = mul(%2, %6)
  %8: f32[B, 24] = mul(%0, %7)
  %9: f32[B, 1] = mean(%8) {axes = [1], keepdims = true}
  %10: f32[B, 24] = mul(%7, %9)
  %11: f32[B, 1] = mean(%0) {axes = [1], keepdims = true}
  %12: f32[B, 24] = sub(%0, %11)
  %13: f32[B, 24] = sub(%12, %10)
  %14: f32[B, 24] = mul(%13, %6)
  %15: f32[B, 24] = rms_norm(%x) {axes = [1], eps = 0.001}
  %16: f32[B, 24] = mul(%g, %15)
  %17: f32[24] = sum(%16) {axes = [0], keepdims = false}
  %18: f32[] = add(&n, 1.0)
  &n = %18
  return %14, %17
}
"""


def kinds(text):
    steps = nncompile.schedule.schedule(ir.parse(text)).steps
    return [s.kind for s in steps if s.kind not in ("elementwise", "group")]


def compiled(text, threads=1):
    return compile_graph(ir.parse(text), None, {}, threads, "cpu", False, DEFAULT_PIPELINE)


def results(text, arrays, threads=1):
    """What a step returns, and how it has changed its state."""
    state = np.zeros((), np.float32)
    found = compiled(text, threads)._loaded.call_into(*arrays, state)
    return [np.array(each) for each in (*(found if isinstance(found, tuple) else [found]), state)]


def bits(array):
    """The bits of an array, of which any NaN is the same: IEEE 754 leaves open which one it is."""
    return np.where(np.isnan(array), np.nan, array).astype(array.dtype).tobytes()


def ungrouped(monkeypatch):
    monkeypatch.setattr(compiler, "kept_plan", new_plan)       # not one that was made with groups
    monkeypatch.setattr(planning, "group_rows", list)


def test_a_cross_entropy_and_its_gradient_are_one_step():
    assert kinds(LOSS) == ["row_group"]


def test_rows_may_lie_side_by_side():
    """As those of a head of few classes, which is computed with a row for each class."""
    assert kinds(HEAD) == ["row_group"]


def test_the_gradient_of_a_norm_is_one_step_before_the_sum_of_columns():
    assert kinds(NORM) == ["row_group", "reduce"]


def test_graphs_without_states_have_none():
    text = LOSS.replace("  &n: f32[]\n", "").replace("  %12: f32[] = add(&n, 1.0)\n", "")
    assert "row_group" not in kinds(text.replace("  &n = %12\n", ""))


def test_what_has_to_be_between_stays_outside():
    """The sum of all rows is read by each of them."""
    text = """
    graph step(%x: f32[B, 8]) -> f32[B, 8] {
      &n: f32[]
      %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
      %1: f32[B, 1] = sum(%0) {axes = [1], keepdims = true}
      %2: f32[] = sum(%1) {axes = [0, 1], keepdims = false}
      %3: f32[B, 8] = mul(%0, %2)
      %4: f32[B, 1] = max(%3) {axes = [1], keepdims = true}
      %5: f32[B, 8] = sub(%3, %4)
      %6: f32[] = add(&n, 1.0)
      &n = %6
      return %5
    }
    """
    assert kinds(text) == ["row_group", "reduce", "row_group"]


def test_the_sum_of_a_single_row_is_joined_with_numbers_alone():
    """Several workers share what is computed of its elements."""
    text = """
    graph step(%x: f32[B], %y: f32[B]) -> f32[] {
      &n: f32[]
      %0: f32[B] = sub(%x, %y)
      %1: f32[B] = mul(%0, %0)
      %2: f32[] = sum(%1) {axes = [0], keepdims = false}
      %3: f32[] = sqrt(%2)
      %4: f32[] = mul(%3, 0.5)
      %5: f32[] = add(&n, 1.0)
      &n = %5
      return %4
    }
    """
    assert kinds(text) == ["row_group"]
    steps = nncompile.schedule.schedule(ir.parse(text)).steps
    assert [len(s.nodes) for s in steps if s.kind == "row_group"] == [3]
    x, y = np.arange(7, dtype="f4"), np.ones(7, "f4")
    assert results(text, [x, y])[0] == np.float32(np.sqrt(((x - y) ** 2).sum()) / 2)


BIASES = """
graph step(%x: f32[B, 40], %y: f32[B, 40], %rate: f32[]) -> f32[B] {
  &a: f32[40]
  &b: f32[40]
  %0: f32[40] = sum(%x) {axes = [0], keepdims = false}
  %1: f32[40] = mul(%0, %rate)
  %2: f32[40] = sub(&a, %1)
  %3: f32[40] = mean(%y) {axes = [0], keepdims = false}
  %4: f32[40] = mul(%3, %2)
  %5: f32[40] = add(&b, %4)
  %6: f32[B] = sum(%x) {axes = [1], keepdims = false}
  &a = %2
  &b = %5
  return %6
}
"""


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 7, 64, 65, 200])
def test_sums_of_columns_are_joined_with_the_updates_of_what_they_are_the_gradients_of(
        rows, threads, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    assert kinds(BIASES) == ["row_group", "reduce"]
    random = np.random.default_rng(rows)
    x, y = (random.standard_normal((rows, 40)).astype("f4") for _ in range(2))
    rate, a, b = np.float32(0.25), *random.standard_normal((2, 40)).astype("f4")
    after = []
    for patched in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if patched:
                ungrouped(patch)
                assert "row_group" not in kinds(BIASES)
            new_a, new_b = a.copy(), b.copy()
            compiled(BIASES, threads)._loaded.call_into(x, y, np.asarray(rate), new_a, new_b)
            after.append((new_a, new_b))
    (a1, b1), (a2, b2) = after
    if jit == "1":
        assert a1.tobytes() == a2.tobytes() and b1.tobytes() == b2.tobytes()
    np.testing.assert_allclose(a1, a - rate * x.sum(0, dtype="f8"), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(b1, b + y.mean(0, dtype="f8") * a1, rtol=1e-5, atol=1e-5)


def test_no_state_is_written_by_a_group_that_may_find_a_wrong_index():
    text = LOSS.replace("&n: f32[]", "&n: f32[B, 1]").replace(
        "%12: f32[] = add(&n, 1.0)", "%12: f32[B, 1] = add(&n, %3)")
    steps = nncompile.schedule.schedule(ir.parse(text)).steps
    assert all(s.kind != "row_group" for s in steps
               if any(view.place.kind == "input" for view in s.results))


def test_steps_that_share_an_operand_alone_are_not_moved_over_a_product():
    text = """
    graph step(%x: f32[B, 8], %w: f32[8, 8]) -> f32[B, 8], f32[B, 1] {
      &n: f32[]
      %0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0}
      %1: f32[B, 8] = matmul(%0, %w)
      %2: f32[B, 1] = max(%x) {axes = [1], keepdims = true}
      %3: f32[] = add(&n, 1.0)
      &n = %3
      return %1, %2
    }
    """
    assert kinds(text) == ["softmax", "matmul", "reduce"]


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("length", [4, 16, 31, 300, 1000])
def test_a_loss_is_that_of_float64(length, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    text = LOSS.replace("9]", f"{length}]").replace("size = 9", f"size = {length}")
    assert "row_group" in kinds(text)
    random = np.random.default_rng(length)
    for rows in (0, 1, 5, 64):
        x = random.standard_normal((rows, length)).astype("f4")
        ids, share = random.integers(0, length, (rows, 1)), random.random((rows, 1)).astype("f4")
        ids[::3] = -100
        expected = ir.interpret(ir.parse(text), [x, ids, share, np.zeros((), "f4")], np.float64)
        for found, wanted in zip(results(text, [x, ids, share]), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("length", [2, 6, 10, 17, 32])
def test_a_loss_of_columns_is_that_of_float64(length, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    text = HEAD.replace("[6", f"[{length}").replace(", 6]", f", {length}]")
    assert kinds(text) == ["row_group"]
    random = np.random.default_rng(length)
    for rows in (0, 1, 5, 16, 70):
        x = random.standard_normal((length, rows)).astype("f4")
        ids, share = random.integers(0, length, (rows, 1)), random.random((1, rows)).astype("f4")
        arrays = [x, ids, share, np.arange(length)[:, None]]
        expected = ir.interpret(ir.parse(text), [*arrays, np.zeros((), "f4")], np.float64)
        for found, wanted in zip(results(text, arrays), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("length", [4, 24, 129, 513])
def test_the_gradient_of_a_norm_is_that_of_float64(length, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    text = NORM.replace("24]", f"{length}]")
    assert "row_group" in kinds(text)
    random = np.random.default_rng(length)
    x, g = (random.standard_normal((37, length)).astype("f4") for _ in range(2))
    w = random.standard_normal(length).astype("f4")
    expected = ir.interpret(ir.parse(text), [x, g, w, np.zeros((), "f4")], np.float64)
    for found, wanted in zip(results(text, [x, g, w]), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("jit", ["1", "0"])
@pytest.mark.parametrize("wrong", [-1, 9, 1 << 40])
def test_an_index_outside_of_its_row_is_refused_before_any_state_is_written(
        wrong, jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    ids = np.zeros((40, 1), "i8")
    ids[39] = wrong
    share, state = np.ones((40, 1), "f4"), np.zeros((), "f4")
    head = HEAD.replace("[6", "[9").replace(", 6]", ", 9]")
    for text, arrays in ((LOSS, [np.ones((40, 9), "f4"), ids, share]),
                         (head, [np.ones((9, 40), "f4"), ids, share.T, np.arange(9)[:, None]])):
        with pytest.raises(InputError, match=f"index {wrong} is outside an axis of 9 elements"):
            compiled(text)._loaded.call_into(*arrays, state)
    assert state == 0


# -- the bits of any program -----------------------------------------------------------------------

UNARY = ["neg", "abs", "exp", "sqrt", "rsqrt", "tanh", "relu", "sigmoid"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum"]
REDUCTIONS = ["sum", "mean", "max", "min", "prod"]


class Program:
    """Lines of a graph; `rows` and `numbers` are names of values f32[B, N] and f32[B, 1].

    columns: they are f32[N, B] and f32[1, B] instead.
    """

    def __init__(self, length, dtype, columns):
        self.length, self.dtype, self.columns, self.lines = length, dtype, columns, []
        self.rows, self.numbers = ["%x", "%y"], ["%v"]

    @property
    def axis(self):
        return 0 if self.columns else 1

    def type(self, along, dtype=None):
        shape = ["B", str(self.length if along else 1)]
        return f"{dtype or self.dtype}[{', '.join(shape[::-1] if self.columns else shape)}]"

    def add(self, call, along, dtype=None):
        name = f"%{len(self.lines)}"
        self.lines.append(f"  {name}: {self.type(along, dtype)} = {call}")
        if dtype is None:
            (self.rows if along else self.numbers).append(name)
        return name

    def text(self, results):
        types = ", ".join(self.type(r in self.rows) for r in results)
        w = f"{self.dtype}[{self.length}{', 1' * self.columns}]"
        return "\n".join([
            f"graph step(%x: {self.type(True)}, %y: {self.type(True)}, %v: {self.type(False)}, "
            f"%w: {w}, %i: {self.type(False, 'i64')}) -> {types} {{", "  &n: f32[]", *self.lines,
            "  %last: f32[] = add(&n, 1.0)", "  &n = %last", f"  return {', '.join(results)}", "}"])

    def arrays(self, random, rows, special):
        dtype = {"f32": np.float32, "f64": np.float64}[self.dtype]
        x, y = (random.standard_normal((rows, self.length)).astype(dtype) for _ in range(2))
        if special:
            for bad in (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e30):
                x[random.random(x.shape) < 0.03] = bad
        v = random.standard_normal((rows, 1)).astype(dtype)
        w = random.standard_normal((1, self.length)).astype(dtype)
        ids = random.integers(0, self.length, (rows, 1))
        if self.columns:
            return [np.ascontiguousarray(a.T) for a in (x, y, v, w, ids)]
        return [x, y, v, w[0], ids]


@st.composite
def programs(draw):
    columns = draw(st.booleans())
    length = draw(st.sampled_from([2, 3, 6, 10, 16, 17, 32] if columns else
                                  [4, 5, 15, 16, 17, 33, 64, 130, 257]))
    program = Program(length, draw(st.sampled_from(["f32", "f32", "f64"])), columns)
    for line in draw(st.lists(st.sampled_from(LINES), min_size=3, max_size=14)):
        line(program, lambda choices: draw(st.sampled_from(choices)))
    made = [name for name in (*program.rows, *program.numbers) if name[1].isdigit()]
    results = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3, unique=True))
    return program, program.text(results)


def unary(program, pick):
    program.add(f"{pick(UNARY)}({pick(program.rows)})", True)


def binary(program, pick):
    other = pick([*program.rows, *program.numbers, "0.5", "%w"])
    program.add(f"{pick(BINARY)}({pick(program.rows)}, {other})", True)


def number(program, pick):
    program.add(f"{pick(BINARY)}({pick(program.numbers)}, {pick([*program.numbers, '0.5'])})",
                False)


def reduction(program, pick):
    program.add(f"{pick(REDUCTIONS)}({pick(program.rows)}) "
                f"{{axes = [{program.axis}], keepdims = true}}", False)


def truth(program, pick):
    less = program.add(f"lt({pick(program.rows)}, {pick(program.numbers)})", True, "bool")
    program.add(f"where({less}, {pick(program.rows)}, {pick(program.numbers)})", True)
    found = program.add(f"{pick(['any', 'all'])}({less}) "
                        f"{{axes = [{program.axis}], keepdims = true}}", False, "bool")
    program.add(f"where({found}, {pick(program.numbers)}, 0.5)", False)


def choice(program, pick):
    program.add(f"take_along({pick(program.rows)}, %i) {{axis = {program.axis}}}", False)


def one_hot(program, pick):
    program.add(f"scatter_add(%i, {pick(program.numbers)}) "
                f"{{axis = {program.axis}, size = {program.length}}}", True)


def function(program, pick):
    op = pick(["softmax", "log_softmax", *(["layer_norm", "rms_norm"] * (not program.columns))])
    attrs = {"softmax": f"axis = {program.axis}, scale = 0.5",
             "log_softmax": f"axis = {program.axis}"}.get(op, "axes = [1], eps = 1e-05")
    program.add(f"{op}({pick(program.rows)}) {{{attrs}}}", True)


LINES = [unary, binary, binary, number, reduction, reduction, truth, choice, one_hot, function]


@settings(max_examples=20, deadline=None)
@given(programs(), st.sampled_from([0, 1, 2, 7, 70]), st.integers(0, 2**32 - 1), st.booleans())
def test_bits_are_those_of_single_steps(made, rows, seed, special):
    program, text = made
    arrays = program.arrays(np.random.default_rng(seed), rows, special)
    found = [results(text, arrays, threads) for threads in (1, 2)]
    with pytest.MonkeyPatch.context() as patch:
        ungrouped(patch)
        assert "row_group" not in kinds(text)
        expected = results(text, arrays)
    for each in found:
        assert [bits(a) for a in each] == [bits(a) for a in expected]
