"""ComposeViews: two views that are one, and what must stay two."""
import pytest

from nncompile.passes import ComposeViews
from tests.passes.common import becomes, stays


def test_a_reshape_of_a_reshape():
    becomes(ComposeViews(), """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
        %2: f32[B, 4, 2] = reshape(%1) {shape = [B, 4, 2]}
        return %2""", """
        %0: f32[B, 4, 2] = reshape(%x) {shape = [B, 4, 2]}
        return %0""")


def test_a_reshape_there_and_back_is_nothing():
    becomes(ComposeViews(), """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 8] = reshape(%0) {shape = [B, 8]}
        %2: f32[B, 8] = exp(%1)
        return %2""", """
        %0: f32[B, 8] = exp(%x)
        return %0""")


def test_a_view_of_a_view_with_other_users():
    becomes(ComposeViews(), """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 2, 4] = reshape(%0) {shape = [B, 2, 4]}
        return %0, %1""", """
        %0: f32[8*B] = reshape(%x) {shape = [8*B]}
        %1: f32[B, 2, 4] = reshape(%x) {shape = [B, 2, 4]}
        return %0, %1""")


def test_transposes_are_composed():
    # axis i of %1 is axis [2, 0, 1][[1, 0, 2][i]] of %q
    becomes(ComposeViews(), """
        %0: f32[8, B, 4] = transpose(%q) {axes = [2, 0, 1]}
        %1: f32[B, 8, 4] = transpose(%0) {axes = [1, 0, 2]}
        return %1""", """
        %0: f32[B, 8, 4] = transpose(%q) {axes = [0, 2, 1]}
        return %0""")
    becomes(ComposeViews(), """
        %0: f32[8, B, 4] = transpose(%q) {axes = [2, 0, 1]}
        %1: f32[B, 4, 8] = transpose(%0) {axes = [1, 2, 0]}
        %2: f32[B, 4, 8] = exp(%1)
        return %2""", """
        %0: f32[B, 4, 8] = exp(%q)
        return %0""")


def test_a_reshape_of_a_transpose_stays():
    stays(ComposeViews(), """
        %0: f32[8, B] = transpose(%x) {axes = [1, 0]}
        %1: f32[8*B] = reshape(%0) {shape = [8*B]}
        return %1""")


def test_slices_are_composed():
    becomes(ComposeViews(), """
        %0: f32[B, 6] = slice(%x) {axis = 1, start = 1, stop = 7}
        %1: f32[B, 3] = slice(%0) {axis = 1, start = 0, stop = 5, step = 2}
        %2: f32[B, 2] = slice(%1) {axis = 1, start = 2, stop = 0, step = -1}
        %3: f32[B, 2] = slice(%2) {axis = 0, start = 0, stop = B}
        return %3, %2, %1""", """
        %0: f32[B, 3] = slice(%x) {axis = 1, start = 1, stop = 6, step = 2}
        %1: f32[B, 2] = slice(%x) {axis = 1, start = 5, stop = 2, step = -2}
        %2: f32[B, 2] = slice(%1) {axis = 0, start = 0, stop = B}
        return %2, %1, %0""")


def test_an_axis_turned_twice_is_as_it_was():
    becomes(ComposeViews(), """
        %0: f32[B, 8] = slice(%x) {axis = 1, start = 7, stop = -1, step = -1}
        %1: f32[B, 8] = slice(%0) {axis = 1, start = 7, stop = -1, step = -1}
        %2: f32[B, 8] = exp(%1)
        return %2""", """
        %0: f32[B, 8] = exp(%x)
        return %0""")


def test_slices_of_a_symbolic_axis():
    becomes(ComposeViews(), """
        %0: f32[B - 1, 8] = slice(%x) {axis = 0, start = 1, stop = B}
        %1: f32[B - 3, 8] = slice(%0) {axis = 0, start = 1, stop = B - 2}
        return %1""", """
        %0: f32[B - 3, 8] = slice(%x) {axis = 0, start = 2, stop = B - 1}
        return %0""")
    stays(ComposeViews(), """
        %0: f32[B, 8] = slice(%x) {axis = 0, start = B - 1, stop = -1, step = -1}
        %1: f32[B, 8] = slice(%0) {axis = 0, start = B - 1, stop = -1, step = -1}
        return %1""")


def test_slices_of_nothing_and_of_two_axes_stay():
    stays(ComposeViews(), """
        %0: f32[B, 6] = slice(%x) {axis = 1, start = 1, stop = 7}
        %1: f32[B, 0] = slice(%0) {axis = 1, start = 3, stop = 3, step = 2}
        return %1""")
    stays(ComposeViews(), """
        %0: f32[8, 4] = slice(%m) {axis = 1, start = 0, stop = 4}
        %1: f32[4, 4] = slice(%0) {axis = 0, start = 0, stop = 4}
        return %1""")


def test_expands_are_composed():
    becomes(ComposeViews(), """
        %0: f32[8, 8] = expand(%k) {shape = [8, 8]}
        %1: f32[B, 8, 8] = expand(%0) {shape = [B, 8, 8]}
        return %1""", """
        %0: f32[B, 8, 8] = expand(%k) {shape = [B, 8, 8]}
        return %0""")


CASTS = {"f64": "f32", "i64": None, "i8": None}


@pytest.mark.parametrize("between, after", CASTS.items())
def test_a_cast_that_keeps_every_value_is_skipped(between, after):
    before = f"""
        %0: {between}[B, 8] = cast(%x) {{dtype = {between}}}
        %1: f32[B, 8] = cast(%0) {{dtype = f32}}
        %2: f32[B, 8] = exp(%1)
        return %2"""
    if after is None:
        stays(ComposeViews(), before)
    else:
        becomes(ComposeViews(), before, """
            %0: f32[B, 8] = exp(%x)
            return %0""")


def test_a_longer_way_to_a_type():
    becomes(ComposeViews(), """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: u8[B, 8] = cast(%0) {dtype = u8}
        %2: i64[B, 8] = cast(%1) {dtype = i64}
        %3: f32[B, 8] = cast(%2) {dtype = f32}
        %4: i8[B, 8] = cast(%1) {dtype = i8}
        return %3, %4""", """
        %0: bool[B, 8] = lt(%x, 0.0)
        %1: f32[B, 8] = cast(%0) {dtype = f32}
        %2: i8[B, 8] = cast(%0) {dtype = i8}
        return %1, %2""")
    stays(ComposeViews(), """
        %0: i64[B, 8] = cast(%x) {dtype = i64}
        %1: f64[B, 8] = cast(%0) {dtype = f64}
        %2: f32[B, 8] = cast(%1) {dtype = f32}
        return %2""")


def test_slices_of_a_concat_are_of_its_parts():
    becomes(ComposeViews(), """
        %0: f32[B, 17] = concat(%x, %s, %r) {axis = 1}
        %1: f32[B, 8] = slice(%0) {axis = 1, start = 9, stop = 17}
        %2: f32[B, 3] = slice(%0) {axis = 1, start = 2, stop = 8, step = 2}
        %3: f32[B, 8] = neg(%1)
        return %3, %2""", """
        %0: f32[B, 3] = slice(%x) {axis = 1, start = 2, stop = 8, step = 2}
        %1: f32[B, 8] = neg(%r)
        return %1, %0""")
    becomes(ComposeViews(), """
        %0: f32[2*B, 8] = concat(%x, %r) {axis = 0}
        %1: f32[B, 8] = slice(%0) {axis = 0, start = B, stop = 2*B}
        %2: f32[B, 8] = neg(%1)
        return %2""", """
        %0: f32[B, 8] = neg(%r)
        return %0""")


def test_a_slice_of_two_parts_stays():
    stays(ComposeViews(), """
        %0: f32[B, 16] = concat(%x, %r) {axis = 1}
        %1: f32[B, 2] = slice(%0) {axis = 1, start = 7, stop = 9}
        %2: f32[B, 2] = slice(%0) {axis = 1, start = 8, stop = 6, step = -1}
        %3: f32[2, 16] = slice(%0) {axis = 0, start = 0, stop = 2}
        return %1, %2, %3""")


def test_a_concat_of_slices_side_by_side_is_one():
    becomes(ComposeViews(), """
        %0: f32[8, 3] = slice(@w) {axis = 1, start = 0, stop = 3}
        %1: f32[8, 5] = slice(@w) {axis = 1, start = 3, stop = 8}
        %2: f32[8, 8] = concat(%0, %1) {axis = 1}
        %3: f32[B, 8] = linear(%x, %2)
        return %3""", """
        %0: f32[B, 8] = linear(%x, @w)
        return %0""")
    becomes(ComposeViews(), """
        %0: f32[8, 2] = slice(%m) {axis = 1, start = 1, stop = 3}
        %1: f32[8, 5] = slice(%m) {axis = 1, start = 3, stop = 8}
        %2: f32[8, 7] = concat(%0, %1) {axis = 1}
        return %2""", """
        %0: f32[8, 7] = slice(%m) {axis = 1, start = 1, stop = 8}
        return %0""")


APART = {
    "a gap": ("axis = 1, start = 4, stop = 8", "f32[8, 4]", "f32[8, 7]", 1),
    "an overlap": ("axis = 1, start = 2, stop = 8", "f32[8, 6]", "f32[8, 9]", 1),
    "another axis": ("axis = 1, start = 3, stop = 6", "f32[8, 3]", "f32[16, 3]", 0),
    "a step": ("axis = 1, start = 3, stop = 8, step = 2", "f32[8, 3]", "f32[8, 6]", 1),
}


@pytest.mark.parametrize("attrs, part, whole, axis", APART.values(), ids=APART)
def test_slices_that_are_not_side_by_side_stay(attrs, part, whole, axis):
    stays(ComposeViews(), f"""
        %0: f32[8, 3] = slice(%m) {{axis = 1, start = 0, stop = 3}}
        %1: {part} = slice(%m) {{{attrs}}}
        %2: {whole} = concat(%0, %1) {{axis = {axis}}}
        return %2""")


def test_a_concat_of_concats():
    becomes(ComposeViews(), """
        %0: f32[B, 16] = concat(%x, %r) {axis = 1}
        %1: f32[B, 17] = concat(%0, %s) {axis = 1}
        return %1""", """
        %0: f32[B, 17] = concat(%x, %r, %s) {axis = 1}
        return %0""")
    stays(ComposeViews(), """
        %0: f32[B, 16] = concat(%x, %r) {axis = 1}
        %1: f32[B, 17] = concat(%0, %s) {axis = 1}
        return %1, %0""")
    stays(ComposeViews(), """
        %0: f32[B, 16] = concat(%x, %r) {axis = 1}
        %1: f32[2*B, 16] = concat(%0, %0) {axis = 0}
        return %1""")


def test_a_reshape_of_a_reduction_is_its_keepdims():
    becomes(ComposeViews(), """
        %0: f32[B, 8] = mean(%q) {axes = [1], keepdims = false}
        %1: f32[B, 1, 8] = reshape(%0) {shape = [B, 1, 8]}
        %2: i64[B, 1] = argmax(%x) {axis = 1, keepdims = true}
        %3: i64[B] = reshape(%2) {shape = [B]}
        return %1, %3""", """
        %0: f32[B, 1, 8] = mean(%q) {axes = [1], keepdims = true}
        %1: i64[B] = argmax(%x) {axis = 1, keepdims = false}
        return %0, %1""")
    stays(ComposeViews(), """
        %0: f32[B, 8] = mean(%q) {axes = [1], keepdims = false}
        %1: f32[B, 8, 1] = reshape(%0) {shape = [B, 8, 1]}
        %2: f32[B, 4] = max(%q) {axes = [2], keepdims = false} then relu
        %3: f32[B, 4, 1] = reshape(%2) {shape = [B, 4, 1]}
        return %1, %3""")
    stays(ComposeViews(), """
        %0: f32[B, 8] = mean(%q) {axes = [1], keepdims = false}
        %1: f32[B, 1, 8] = reshape(%0) {shape = [B, 1, 8]}
        return %0, %1""")
