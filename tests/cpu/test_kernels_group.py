"""group: several elementwise ops with several results, at every level and length."""
import numpy as np
import pytest

from nncompile.cpu.kernels import group
from nncompile.schedule.program import ElementOp
from tests.cpu.kernel_harness import LEVELS, Guarded, compiled, run_python, same_bits

LEVEL = pytest.mark.parametrize("level", LEVELS)
LENGTHS = [0, 1, 3, 15, 16, 17, 33, 4095, 4097]

ADAM = (ElementOp("mul", ("r0", "r1"), "f32", "f32"), ElementOp("add", ("t0", "r2"), "f32", "f32"),
        ElementOp("sqrt", ("t1",), "f32", "f32"), ElementOp("div", ("t1", "t2"), "f32", "f32"))
MIXED = (ElementOp("ne", ("r0", "r1"), "i64", "bool"),
         ElementOp("where", ("t0", "r0", "r1"), "i64", "i64"),
         ElementOp("cast", ("t1",), "i64", "f32"), ElementOp("exp", ("r2",), "f32", "f32"),
         ElementOp("where", ("t0", "t3", "t2"), "f32", "f32"))


@LEVEL
@pytest.mark.parametrize("length", LENGTHS)
def test_results_may_be_written_over_operands(level, length):
    kernel = group(ADAM, (1, 3), "vsv", 0)
    random = np.random.default_rng(length)
    a, b = (np.abs(random.standard_normal((1, length))).astype("f4") for _ in range(2))
    found = []
    for run in (compiled(kernel, level), lambda *values: run_python(kernel, *values)):
        guarded = Guarded()
        r0, r2 = guarded.array(a), guarded.array(b)
        number = np.array([0.5], "f4")
        run(length, r0, r2, r0, number, r2)              # y0 is r0, and y1 is r2
        guarded.check()
        found.append((np.array(r0), np.array(r2)))
    expected = a * np.float32(0.5) + b
    for y0, y1 in found:
        assert same_bits(y0, expected)
        np.testing.assert_allclose(y1, expected / np.sqrt(expected), rtol=3e-7)


@LEVEL
@pytest.mark.parametrize("length", [1, 5, 16, 37])
def test_dtypes_are_mixed_and_rows_have_strides(level, length):
    kernel = group(MIXED, (0, 1, 4), "vsv", 1)
    random = np.random.default_rng(length)
    ids = random.integers(-2, 3, (3, length))
    x = random.standard_normal((3, length)).astype("f4")
    found = []
    for run in (compiled(kernel, level), lambda *values: run_python(kernel, *values)):
        guarded = Guarded()
        r0, r2 = guarded.array(ids, length + 2), guarded.array(x, length + 1)
        y0 = guarded.empty(3, length, length, np.bool_)
        y1 = guarded.empty(3, length, length + 3, np.int64)
        y2 = guarded.empty(3, length, length + 1, np.float32)
        run(length, 3, y0, length, y1, length + 3, y2, length + 1, r0, length + 2,
            np.array([1], "i8"), 0, r2, length + 1)
        guarded.check()
        found.append((np.array(y0), np.array(y1), np.array(y2)))
    for y0, y1, y2 in found:
        assert same_bits(y0, ids != 1) and same_bits(y1, np.where(ids != 1, ids, 1))
        np.testing.assert_allclose(y2, np.where(ids != 1, np.exp(x), 1.0), rtol=2e-7)


def test_the_name_tells_all_lines():
    names = {group(ops, outputs, kinds, outer).name
             for ops in (ADAM, (*ADAM[:3], ElementOp("div", ("t2", "t1"), "f32", "f32")))
             for outputs in ((3,), (2, 3)) for kinds in ("vsv", "vvv") for outer in (0, 1)}
    assert len(names) == 16


def test_what_is_no_line_is_refused():
    with pytest.raises(ValueError, match="floor_div"):
        group((ElementOp("floor_div", ("r0", "r1"), "i64", "i64"),), (0,), "vv", 0)
    with pytest.raises(ValueError, match="takes 2"):
        group((ElementOp("add", ("r0",), "f32", "f32"),), (0,), "v", 0)
    with pytest.raises(ValueError, match="is not f32"):
        group((ElementOp("lt", ("r0", "r0"), "f32", "f32"),), (0,), "v", 0)
