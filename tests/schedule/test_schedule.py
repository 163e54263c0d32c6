"""Fused graph -> Program: which steps, where values live, whether rows are independent."""
import numpy as np
import pytest

import ir
import nncompile
from ir.types import TensorType, symbol
from nncompile.schedule import VECTOR_TRAITS, TargetTraits, schedule
from nncompile.schedule.batch import batch_size
from nncompile.schedule.memory import larger
from nncompile.schedule.program import Place, View, contiguous
from nncompile.schedule.strides import collapsed

B, T = symbol("B"), symbol("T")
SCALAR = TargetTraits(vectors=False)


def graph(body: str, inputs: str = "%x: f32[B, 8], %r: f32[B, 8]") -> ir.Graph:
    """A graph from its nodes; its output types are read off the values it returns."""
    declared = "@w: f32[8, 8]\n@b: f32[8]\n@t: f32[10, 8]\n@ids: i64[8]"
    lines = body.strip().splitlines()
    made = {"%x": "f32[B, 8]", "%r": "f32[B, 8]", "@b": "f32[8]"}
    for line in lines[:-1]:
        name, type_ = line.split("=")[0].split(":")
        made[name.strip()] = type_.strip()
    outputs = ", ".join(made[name.strip()] for name in lines[-1].split("return")[1].split(","))
    return ir.parse(f"graph g({inputs}) -> {outputs} {{\n{declared}\n{body.strip()}\n}}")


def steps(body: str) -> list[str]:
    return [line.strip().split("  ", 1)[1]
            for line in str(schedule(graph(body))).splitlines()
            if line.strip()[0].isdigit()]


INDEPENDENT = {
    "linear": "%0: f32[B, 8] = linear(%x, @w, @b)\nreturn %0",
    "two inputs": "%0: f32[B, 8] = add(%x, %r)\nreturn %0",
    "a reduced row": "%0: f32[B] = sum(%x) {axes = [1], keepdims = false}\nreturn %0",
    "merged dims": "%0: f32[2*B, 4] = reshape(%x) {shape = [2*B, 4]}\nreturn %0",
    "split dims": "%0: f32[B, 2, 4] = reshape(%x) {shape = [B, 2, 4]}\n"
                  "%1: f32[B, 4, 2] = transpose(%0) {axes = [0, 2, 1]}\nreturn %1",
    "divided by how many they are": "%0: i64[] = size {dim = B}\n"
                                    "%1: f32[] = cast(%0) {dtype = f32}\n"
                                    "%2: f32[B, 8] = div(%x, %1)\nreturn %2",
    "a parameter broadcast": "%0: f32[B, 8] = add(%x, @b)\nreturn %0",
    "a parameter expanded": "%0: f32[B, 8] = expand(@b) {shape = [B, 8]}\n"
                            "%1: f32[B, 16] = concat(%0, %x) {axis = 1}\nreturn %1",
    "a constant for each row": "%0: f32[B, 8] = full(1.0) {shape = [B, 8], dtype = f32}\n"
                               "%1: f32[B, 8] = mul(%0, %x)\nreturn %1",
    "padded at the side": "%0: f32[B, 9] = pad(%x) {low = [0, 1], high = [0, 0], value = 0.0}\n"
                          "return %0",
    "the batch moved, and back": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\n"
                                 "%1: f32[8, B] = tanh(%0)\n"
                                 "%2: f32[B, 8] = transpose(%1) {axes = [1, 0]}\nreturn %2",
    "heads": "%0: f32[B, 2, 2, 2] = reshape(%x) {shape = [B, 2, 2, 2]}\n"
             "%1: f32[2, B, 2, 2] = transpose(%0) {axes = [1, 0, 2, 3]}\n"
             "%2: f32[1, B, 2, 2] = slice(%1) {axis = 0, start = 1, stop = 2, step = 1}\n"
             "%3: f32[B, 2, 2] = reshape(%2) {shape = [B, 2, 2]}\n"
             "%4: f32[B, 2, 2] = transpose(%3) {axes = [0, 2, 1]}\n"
             "%5: f32[B, 2, 2] = matmul(%3, %4)\nreturn %5",
    "a sum before the batch": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\n"
                              "%1: f32[B] = sum(%0) {axes = [0], keepdims = false}\nreturn %1",
    "columns by index": "%0: f32[B, 8] = take(%x, @ids) {axis = 1}\nreturn %0",
    "elements by index": "%0: i64[B, 8] = topk_ids(%x) {axis = 1, k = 8, largest = true, "
                         "sorted = true}\n"
                         "%1: f32[B, 8] = take_along(%x, %0) {axis = 1}\nreturn %1",
}
DEPENDENT = {
    "softmax down the batch": "%0: f32[B, 8] = softmax(%x) {axis = 0, scale = 1.0}\nreturn %0",
    "a sum over the batch": "%0: f32[8] = sum(%x) {axes = [0], keepdims = false}\nreturn %0",
    "a mean subtracted": "%0: f32[1, 8] = mean(%x) {axes = [0], keepdims = true}\n"
                         "%1: f32[B, 8] = sub(%x, %0)\nreturn %1",
    "the batch moved": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\nreturn %0",
    "rows among themselves": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\n"
                             "%1: f32[B, B] = matmul(%r, %0)\nreturn %1",
    "joined along the batch": "%0: f32[2*B, 8] = concat(%x, %r) {axis = 0}\nreturn %0",
    "the first row left out": "%0: f32[B - 1, 8] = slice(%x) {axis = 0, start = 1, stop = B}\n"
                              "return %0",
    "a softmax down the batch moved": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\n"
                                      "%1: f32[8, B] = softmax(%0) {axis = 1, scale = 1.0}\n"
                                      "%2: f32[B, 8] = transpose(%1) {axes = [1, 0]}\nreturn %2",
    "columns that become rows": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\n"
                                "%1: f32[B, 8] = reshape(%0) {shape = [B, 8]}\nreturn %1",
    "a product from the left": "%0: f32[8, B] = transpose(%x) {axes = [1, 0]}\n"
                     "%1: f32[8, B] = matmul(@w, %0)\n"
                     "%2: f32[B, 8] = transpose(%1) {axes = [1, 0]}\nreturn %2",
    "rows by index": "%0: f32[8, 8] = take(%x, @ids) {axis = 0}\nreturn %0",
    "numbered rows": "%0: f32[B, 1] = iota() {shape = [B, 1], axis = 0, dtype = f32}\n"
                     "%1: f32[B, 8] = add(%x, %0)\nreturn %1",
    "padded rows": "%0: f32[B + 1, 8] = pad(%x) {low = [0, 0], high = [1, 0], value = 0.0}\n"
                   "return %0",
    "a running sum": "%0: f32[B, 8] = cumsum(%x) {axis = 0}\nreturn %0",
    "every second row": "%0: f32[B, 8] = slice(%x) {axis = 0, start = B - 1, stop = -1, "
                        "step = -1}\nreturn %0",
    "a parameter returned": "%0: f32[B, 8] = add(%x, @b)\nreturn %0, @b",
}


@pytest.mark.parametrize("body", INDEPENDENT.values(), ids=INDEPENDENT)
def test_rows_are_independent(body):
    assert batch_size(graph(body)) == "B"


@pytest.mark.parametrize("body", DEPENDENT.values(), ids=DEPENDENT)
def test_rows_are_not_independent(body):
    assert batch_size(graph(body)) is None


def test_an_input_without_the_batch_is_shared_by_all_rows():
    g = graph("%0: f32[B, 8] = add(%x, %r)\nreturn %0", "%x: f32[B, 8], %r: f32[8]")
    assert batch_size(g) == "B"


def test_chain_of_in_place_steps_ends_in_the_output():
    assert steps("""
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = layer_norm(%0) {axes = [1], eps = 1e-05}
        %2: f32[B, 8] = softmax(%1) {axis = 1, scale = 1.0}
        return %2""") == [
        "out0 [B, 8]  = linear(in0 [B, 8], c0 [8, 8])",
        "out0 [B, 8]  = layer_norm(out0 [B, 8]) {eps = 1e-05}",
        "out0 [B, 8]  = softmax(out0 [B, 8]) {scale = 1.0}"]


def test_a_value_still_needed_is_not_overwritten():
    program = schedule(graph("""
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = softmax(%0) {axis = 1, scale = 1.0}
        %2: f32[B, 8] = add(%1, %0)
        return %2"""))
    linear, softmax, _ = program.steps
    assert linear.result.place != softmax.result.place


def test_a_broadcast_of_itself_is_not_overwritten():
    program = schedule(graph("""
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 1] = slice(%0) {axis = 1, start = 0, stop = 1}
        %2: f32[B, 8] = sub(%0, %1)
        return %2"""))
    linear, sub = program.steps
    assert linear.result.place != sub.result.place


def test_buffers_are_used_again():
    body = "".join(f"%{i}: f32[B, 8] = linear({f'%{i - 1}' if i else '%x'}, @w, @b)\n"
                   for i in range(6))
    assert len(schedule(graph(body + "return %5")).buffers) == 2


def test_views_move_nothing():
    assert steps("""
        %0: f32[B, 2, 4] = reshape(%x) {shape = [B, 2, 4]}
        %1: f32[B, 2, 2] = slice(%0) {axis = 2, start = 1, stop = 3}
        %2: f32[2, B, 2] = transpose(%1) {axes = [1, 0, 2]}
        %3: f32[2, B, 2] = tanh(%2)
        return %3""") == ["out0 [2, B, 2]  = elementwise(in0 [2, B, 2]) {op = tanh}"]


def test_a_reshape_of_what_is_not_in_order_copies():
    assert steps("""
        %0: f32[8, B] = transpose(%x) {axes = [1, 0]}
        %1: f32[8*B] = reshape(%0) {shape = [8*B]}
        %2: f32[8*B] = tanh(%1)
        return %2""") == [
        "out0 [8, B]  = elementwise(in0 [8, B]) {op = copy}",
        "out0 [8*B]   = elementwise(out0 [8*B]) {op = tanh}"]


def test_a_reshape_of_a_part_is_a_view_where_strides_can_walk_it():
    part = View(Place("input", 0), "f32", (B, T, 8), (B * 0 + T * 24, 24, 1), 8)
    split = part.reshaped((B, T, 2, 4))
    assert split == View(Place("input", 0), "f32", (B, T, 2, 4), (T * 24, 24, 4, 1), 8)
    merged = part.reshaped((B * T, 8))
    assert merged is not None and merged.strides == (24, 1)
    assert part.reshaped((B, T * 8)) is None and part.reshaped((8, B, T)) is None
    assert part.reshaped((B, 1, T, 8, 1)).strides == (T * 24, T * 24, 24, 1, 0)
    assert View("a", "f32", (1, 1), (9, 7)).reshaped((1,)).strides == (0,)
    assert View("a", "f32", (0, 4), (9, 1)).reshaped((0, 2, 2)).strides == (9, 2, 1)
    assert steps("""
        %0: f32[B, 4] = slice(%x) {axis = 1, start = 2, stop = 6, step = 1}
        %1: f32[B, 2, 2] = reshape(%0) {shape = [B, 2, 2]}
        %2: f32[B, 2, 2] = tanh(%1)
        return %2""") == ["out0 [B, 2, 2]  = elementwise(in0 [B, 2, 2]) {op = tanh}"]


def test_parameter_arithmetic_is_prepared_once():
    program = schedule(graph("""
        %0: f32[8, 8] = transpose(@w) {axes = [1, 0]}
        %1: f32[8, 8] = mul(%0, 2.0)
        %2: f32[B, 8] = linear(%x, %1, @b)
        return %2"""))
    assert [s.kind for s in program.steps] == ["linear"]
    assert [n.op for n in program.preparation.nodes] == ["transpose", "mul"]


def test_concat_writes_into_its_parts():
    assert steps("%0: f32[B, 16] = concat(%x, %r) {axis = 1}\nreturn %0") == [
        "out0 [B, 8]  = elementwise(in0 [B, 8]) {op = copy}",
        "out0 [B, 8]  = elementwise(in1 [B, 8]) {op = copy}"]


def test_slices_expansions_and_numbers_are_views():
    body = """
        %0: f32[B, 3] = slice(%x) {axis = 1, start = 6, stop = 0, step = -2}
        %1: f32[4, B, 3] = expand(%0) {shape = [4, B, 3]}
        %2: f32[4, B, 3] = iota() {shape = [4, B, 3], axis = 2, dtype = f32}
        %3: f32[4, B, 3] = add(%1, %2)
        return %3"""
    program = schedule(graph(body))
    assert [s.kind for s in program.steps] == ["iota", "elementwise"]
    x, numbers = program.steps[1].views
    assert (str(x.place), x.strides, x.offset) == ("in0", (0, 8, -2), 6)
    assert (numbers.shape, numbers.strides) == ((4, B, 3), (0, 0, 1))


def test_a_chain_behind_a_kernel_that_takes_none_is_a_step():
    assert steps("%0: f32[B, 8] = softmax(%x) {axis = 1, scale = 1.0} then relu"
                 "\nreturn %0"
                 ) == ["out0 [B, 8]  = softmax(in0 [B, 8]) {scale = 1.0}",
                       "out0 [B, 8]  = elementwise(out0 [B, 8]) {op = copy} then relu"]


def test_a_reshaped_result_is_written_where_the_output_is():
    assert steps("""
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
        return %1""") == ["out0 [B, 8]  = linear(in0 [B, 8], c0 [8, 8])"]


def test_values_of_other_types_do_not_share_a_place_in_place():
    program = schedule(graph("""
        %0: f32[B, 8] = tanh(%x)
        %1: bool[B, 8] = lt(%0, 0.0)
        %2: f32[B, 8] = where(%1, %r, 1.0)
        return %2"""))
    first, second, _ = program.steps
    assert first.result.place != second.result.place
    assert [str(size) for size in program.buffers.values()] == ["8*B", "8*B"]


def test_scratch_memory_counts_units_of_four_bytes():
    program = schedule(graph("""
        %0: f64[B, 8] = cast(%x) {dtype = f64}
        %1: f64[B, 8] = tanh(%0)
        %2: f32[B, 8] = cast(%1) {dtype = f32}
        return %2"""))
    assert [str(size) for size in program.buffers.values()] == ["16*B"]


def test_a_weight_computed_at_run_time_is_a_product_of_activations():
    program = schedule(graph("%0: f32[B, B] = linear(%x, %r)\nreturn %0"))
    assert [s.kind for s in program.steps] == ["elementwise", "matmul"]


@pytest.mark.parametrize("outputs", ["%x", "@b", "%0, %0", "%0, %x"])
def test_outputs_that_no_step_writes_are_copied(outputs):
    program = schedule(graph(f"%0: f32[B, 8] = tanh(%x)\nreturn {outputs}"))
    written = [str(s.result.place) for s in program.steps]
    assert {f"out{i}" for i in range(len(program.outputs))} <= set(written)


def test_collapsed_merges_what_all_arrays_walk_alike():
    shape = (B, T, 4, 1, 8)
    full = contiguous(Place("buffer", 0), TensorType("f32", shape))
    rows = View(Place("buffer", 1), "f32", shape, (0, 0, 0, 0, 1))
    assert collapsed(shape, [full.strides]) == ((B * T * 32,), [(1,)])
    assert collapsed(shape, [full.strides, rows.strides]) == (
        (B * T * 4, 8), [(8, 1), (0, 1)])
    assert collapsed((1, 1), [(5, 7)]) == ((), [()])


def test_larger_answers_only_what_holds_for_every_size():
    assert larger(B * 8, B * 4) == B * 8
    assert larger(8, 16) == 16
    assert larger(B * 8, T * 8) is None
    assert larger(B * 8, B * T) is None


DOWN = {
    "a softmax": ("%0: f32[B, T, 8] = softmax(%x) {axis = 1, scale = 2.0}",
                  ["out0 [B, T, 8]  = softmax(in0 [B, T, 8]) {scale = 2.0, columns = True}"]),
    "a sum": ("%0: f32[B, 1, 8] = sum(%x) {axes = [1], keepdims = true}",
              ["out0 [B, 8]  = reduce(in0 [B, T, 8]) {op = sum, columns = True}"]),
    "leading axes": ("%0: f32[8] = max(%x) {axes = [0, 1], keepdims = false}",
                     ["out0 [8]  = reduce(in0 [B*T, 8]) {op = max, columns = True}"]),
    "axes apart": ("%0: f32[T] = sum(%x) {axes = [0, 2], keepdims = false}",
                   ["h0 [B*T]  = reduce(in0 [B*T, 8]) {op = sum}",
                    "out0 [T]  = reduce(h0 [B, T]) {op = sum, columns = True}"]),
    "behind the columns": ("%1: f32[B, 8, T] = transpose(%x) {axes = [0, 2, 1]}\n"
                           "%0: f32[B, 8] = sum(%1) {axes = [2], keepdims = false}",
                           ["out0 [B, 8]  = reduce(in0 [B, T, 8]) {op = sum, columns = True}"]),
}


@pytest.mark.parametrize("body", DOWN)
def test_an_axis_that_is_not_the_last_is_gone_down(body):
    """Or with other targets, moved last by a copy."""
    text, expected = DOWN[body]
    type_ = next(line for line in text.splitlines() if "%0:" in line).split("=")[0].split(":")[1]
    g = ir.parse(f"graph g(%x: f32[B, T, 8]) -> {type_} {{\n{text}\nreturn %0\n}}")
    made = [line.strip().split("  ", 1)[1] for line in str(schedule(g)).splitlines()
            if line.strip()[0].isdigit()]
    assert made == expected
    assert "axis" not in str(schedule(g, SCALAR))


def test_a_narrow_axis_is_not_gone_down():
    g = ir.parse("graph g(%x: f32[B, 8, 2]) -> f32[B, 8, 2] {\n"
                 "%0: f32[B, 8, 2] = softmax(%x) {axis = 1, scale = 1.0}\nreturn %0\n}")
    assert [s.kind for s in schedule(g).steps] == ["elementwise", "softmax", "elementwise"]


def test_what_lies_along_another_axis_is_turned_first():
    g = ir.parse("graph g(%x: f32[T, T], %s: f32[T, 2]) -> f32[T, T], f32[2, T] {\n"
                 "%0: f32[T, T] = transpose(%x) {axes = [1, 0]}\n"
                 "%1: f32[T, T] = add(%x, %0)\n"
                 "%2: f32[2, T] = transpose(%s) {axes = [1, 0]}\n"
                 "%3: f32[2, T] = exp(%2)\nreturn %1, %3\n}")
    assert [s.attrs["op"] for s in schedule(g).steps] == ["copy", "add", "exp"]
    assert [s.attrs["op"] for s in schedule(g, SCALAR).steps] == ["add", "exp"]


DIRECT = {                                     # bodies of a graph, and how many steps they leave
    "a linear": ("%0: f32[B, 8] = linear(%x, @w, @b)\n"
                 "%1: f32[B, 16] = concat(%0, %x) {axis = 1}\nreturn %1", 2),
    "all of a concat": ("%0: f32[B, 8] = linear(%x, @w, @b)\n"
                        "%1: f32[B, 8] = softmax(%r) {axis = 1, scale = 1.0}\n"
                        "%2: f32[B, 16] = concat(%0, %1) {axis = 1}\nreturn %2", 2),
    "one below the other": ("%0: f32[B, 8] = tanh(%x)\n%1: f32[B, 8] = layer_norm(%0) "
                            "{axes = [1], eps = 0.1}\n"
                            "%2: f32[2*B, 8] = concat(%1, %r) {axis = 0}\nreturn %2", 3),
    "heads side by side": ("%0: f32[B, 2, 4] = reshape(%x) {shape = [B, 2, 4]}\n"
                           "%1: f32[2, B, 4] = transpose(%0) {axes = [1, 0, 2]}\n"
                           "%2: f32[2, B, 4] = exp(%1)\n"
                           "%3: f32[B, 2, 4] = transpose(%2) {axes = [1, 0, 2]}\n"
                           "%4: f32[B, 8] = reshape(%3) {shape = [B, 8]}\nreturn %4", 1),
}
COPIED = {
    "read by another": ("%0: f32[B, 8] = linear(%x, @w, @b)\n"
                        "%1: f32[B, 8] = exp(%0)\n"
                        "%2: f32[B, 16] = concat(%0, %1) {axis = 1}\nreturn %2", 3),
    "twice": ("%0: f32[B, 8] = linear(%x, @w, @b)\n"
              "%1: f32[B, 16] = concat(%0, %0) {axis = 1}\nreturn %1", 3),
    "a part of it": ("%0: f32[B, 8] = linear(%x, @w, @b)\n"
                     "%1: f32[B, 4] = slice(%0) {axis = 1, start = 0, stop = 4, step = 1}\n"
                     "%2: f32[B, 12] = concat(%1, %r) {axis = 1}\nreturn %2", 3),
    "an output too": ("%0: f32[B, 8] = linear(%x, @w, @b)\n"
                      "%1: f32[B, 16] = concat(%0, %r) {axis = 1}\nreturn %0, %1", 3),
    "repeated": ("%0: f32[B, 1] = sum(%x) {axes = [1], keepdims = true}\n"
                 "%1: f32[B, 4] = expand(%0) {shape = [B, 4]}\n"
                 "%2: f32[B, 12] = concat(%1, %r) {axis = 1}\nreturn %2", 3),
    "columns": ("%0: f32[B, 8] = exp(%x)\n%1: f32[8, B] = transpose(%0) {axes = [1, 0]}\n"
                "%2: f32[8*B] = reshape(%1) {shape = [8*B]}\nreturn %2", 2),
    "inside a frame": ("%0: f32[B, 8] = exp(%x)\n%1: f32[B, 10] = pad(%0) {low = [0, 1], "
                       "high = [0, 1], value = 0.0}\nreturn %1", 3),
    "numbers apart": ("%0: f32[B, 8] = exp(%x)\n%1: f32[B, 8, 1] = reshape(%0) {shape = "
                      "[B, 8, 1]}\n%2: f32[B, 8, 1] = reshape(%r) {shape = [B, 8, 1]}\n"
                      "%3: f32[B, 8, 2] = concat(%1, %2) {axis = 2}\nreturn %3", 3),
}


def test_a_copy_serves_all_that_need_it():
    text = """
    graph g(%x: f32[40, B], %y: f32[B, 40]) -> f32[B, 40], f32[B] {
      %0: f32[B, 40] = transpose(%x) {axes = [1, 0]}
      %1: f32[B, 40] = mul(%0, %y)
      %2: f32[B, 40] = add(%0, %1)
      %3: f32[B] = sum(%0) {axes = [1], keepdims = false}
      return %2, %3
    }
    """
    kinds = [s.attrs["op"] for s in schedule(ir.parse(text)).steps]
    assert kinds.count("copy") == 1
    x, y = (np.random.default_rng(i).standard_normal(s, np.float32) for i, s in enumerate(
        [(40, 7), (7, 40)]))
    made, total = nncompile.compile(ir.parse(text), passes=())(x, y)
    np.testing.assert_array_equal(made, x.T + x.T * y)
    np.testing.assert_allclose(total, x.sum(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("body", {**DIRECT, **COPIED})
def test_what_is_only_copied_is_written_there(body):
    text, left = {**DIRECT, **COPIED}[body]
    program = schedule(graph(text))
    assert len(program.steps) == left
    if body in DIRECT:
        assert len(schedule(graph(text), SCALAR).steps) > left


def test_a_row_of_a_concat_is_made_in_place():
    program = schedule(graph("""
        %0: f32[B, 8] = linear(%x, @w, @b)
        %1: f32[B, 8] = layer_norm(%0) {axes = [1], eps = 0.1}
        %2: f32[B, 16] = concat(%r, %1) {axis = 1}
        return %2"""))
    linear, norm, copy = program.steps
    assert (str(norm.result.place), norm.result.strides, norm.result.offset) == ("out0", (16, 1), 8)
    assert (str(copy.result.place), copy.result.strides, copy.result.offset) == ("out0", (16, 1), 0)
    assert str(linear.result.place) == "h0" and linear.result.strides == (8, 1)


def layouts(body: str, traits: TargetTraits = VECTOR_TRAITS) -> list[tuple[str, list[str]]]:
    program = schedule(graph(body), traits)
    sources = program.preparation.outputs
    return [(c.layout, [sources[i].name for i in c.sources]) for c in program.constants]


DEVICE = TargetTraits(vectors=False, weight="transposed", column="transposed")
BIASED = "%0: f32[B, 8] = linear(%x, @w, @b)\nreturn %0"


def test_a_bias_is_part_of_its_panels_alone():
    assert layouts(BIASED) == [("panels", ["w", "b"])]
    assert layouts(BIASED, DEVICE) == [("transposed", ["w"]), ("rows", ["b"])]


def test_a_weight_has_each_layout_that_is_read_once():
    body = """%0: i64[8] = add(@ids, 0.0)
        %1: f32[8, 8] = embedding(%0, @w)
        %2: f32[B, 8] = linear(%x, @w)
        %3: f32[B, 8] = linear(%2, @w) then add(@b), mul(@b)
        %4: f32[B, 8] = matmul(%3, %1)
        return %4"""
    assert layouts(body) == [("panels", ["w"]), ("rows", ["b"]), ("rows", [""])]


def test_one_output_is_a_product_with_a_vector():
    text = """graph g(%x: f32[B, 8]) -> f32[B, 1] {
  @w: f32[1, 8]
  @b: f32[1]
  %0: f32[B, 1] = linear(%x, @w, @b)
  return %0
}"""
    program = schedule(ir.parse(text))
    assert [(c.layout, c.shape, c.sources) for c in program.constants] == [
        ("rows", (1, 8), (0,)), ("rows", (1,), (1,))]
    assert [c.layout for c in schedule(ir.parse(text), DEVICE).constants] == ["transposed", "rows"]


def test_a_weight_that_ends_at_a_size_is_none_that_can_be_packed():
    program = schedule(ir.parse("""graph g(%x: f32[B, T]) -> f32[B, 8] {
  @w: f32[8, 16]
  %0: f32[8, T] = slice(@w) {axis = 1, start = 0, stop = T, step = 1}
  %1: f32[B, 8] = linear(%x, %0)
  return %1
}"""))
    assert [s.kind for s in program.steps][-1] == "matmul"
    assert [c.layout for c in program.constants] == ["rows"]


CAST = "%0: i64[B, 8] = cast(%x) {dtype = i64}\n"
TOTAL = "%1: i64[8] = sum(%0) {axes = [0], keepdims = false}\n"


@pytest.mark.parametrize(("body", "casts"), [
    (CAST + TOTAL + "return %1", 0),
    (CAST + TOTAL + "%2: i64[B] = max(%0) {axes = [1], keepdims = false}\nreturn %1, %2", 0),
    (CAST + "%1: i64[8, B] = transpose(%0) {axes = [1, 0]}\n"
     "%2: i64[8] = sum(%1) {axes = [1], keepdims = false}\nreturn %2", 0),
    (CAST + TOTAL + "return %1, %0", 1),
    (CAST + TOTAL + "%2: i64[B, 8] = sub(%0, %1)\nreturn %2", 1),
    (CAST + "%1: i64[8, B] = transpose(%0) {axes = [1, 0]}\n"
     "%2: i64[8] = sum(%1) {axes = [1], keepdims = false}\nreturn %2, %1", 1),
    (CAST + "%1: i64[8] = argmax(%0) {axis = 0, keepdims = false}\nreturn %1", 1),
])
def test_a_cast_that_only_reductions_read_is_no_step(body, casts):
    """Its operand is what they read, so nothing of the cast's size is in scratch memory."""
    program = schedule(graph(body, "%x: u8[B, 8]"))
    assert sum(step.attrs.get("op") == "cast" for step in program.steps) == casts
    if not casts:
        assert not program.buffers
        assert all(view.dtype == "u8" for step in program.steps for view in step.views)
