"""UseMax: an element instead of its index and what is there."""
import pytest

import nncompile
from nncompile import nn
from nncompile.passes import UseMax
from tests.passes.common import becomes, becomes_in_double, stays

BEFORE = """
    %0: i64[B, 1] = argmax(%x) {axis = 1, keepdims = true}
    %1: f32[B, 1] = take_along(%x, %0) {axis = 1}
    return %1"""


@pytest.mark.parametrize("kind", ["max", "min"])
def test_an_extreme(kind):
    before = BEFORE.replace("max", kind)
    after = f"""
        %0: f32[B, 1] = {kind}(%x) {{axes = [1], keepdims = true}}
        return %0"""
    becomes(UseMax(), before, after)
    becomes_in_double(UseMax(), before, after)


STAY = {
    "the index is returned": ("return %1", "return %1, %0"),
    "another array": ("take_along(%x, %0)", "take_along(%r, %0)"),
    "another index": ("argmax(%x)", "argmax(%r)"),
}


@pytest.mark.parametrize("old, new", STAY.values(), ids=STAY)
def test_an_index_that_stays(old, new):
    assert old in BEFORE
    stays(UseMax(), BEFORE.replace(old, new))


def test_values_alone_are_found_without_indices():
    class Pooled(nn.Module):
        def forward(self, x):
            return x.max(1).values, x.min(-1, keepdim=True)[0]

    ops = [n.op for n in nncompile.compile(Pooled(), "f32[B, T, 4]").ir().nodes]
    assert "max" in ops and "min" in ops and not {"argmax", "argmin", "take_along"} & {*ops}
