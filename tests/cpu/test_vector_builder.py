"""What Emit emits: masks, lanes, gathers, folds, integer helpers."""
from __future__ import annotations

import ctypes

import numpy as np
import pytest
from llvmlite import ir as ll

from ir.types import DTYPES, FLOATS
from nncompile.cpu.objects.link import Linker
from nncompile.cpu.vector import target as targets
from nncompile.cpu.vector.builder import I64, PTR, Emit, define
from nncompile.cpu.vector.builder import lanes as lanes_of
from tests.cpu.kernel_harness import CANARY, LEVELS, TARGETS, normal

LEVEL = pytest.mark.parametrize("level", LEVELS)


def function(level, body, pointers, integers, dtype="f32"):
    """A function of pointers p0, p1, ... and then integers i0, i1, ... that `body` emits."""
    module = ll.Module("test")
    types = {f"p{i}": PTR for i in range(pointers)} | {f"i{i}": I64 for i in range(integers)}
    fn, a = define(module, "test", types)
    e = Emit(fn, TARGETS[level], dtype)
    body(e, *a.values())
    e.b.ret_void()
    linker = Linker(TARGETS[level])
    linker.add(targets.object_code(module, TARGETS[level]))
    kinds = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * integers
    call = ctypes.CFUNCTYPE(None, *kinds)(linker.address("test"))

    def run(*arguments, keep=linker):
        call(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))
    return run


@LEVEL
def test_masks_load_and_store_the_first_lanes(level):
    W = TARGETS[level].width

    def body(e, y, x, lanes):
        mask = e.mask(lanes)
        e.store(e.load(x, mask, other=-5.0), y)
        e.store(e.load(x), e.at(y, W), mask)
    run = function(level, body, 2, 1)
    x = normal(1, W + 1)[1:]                                       # off every vector boundary
    for lanes in (0, 1, W - 1, W, W + 1, 1 << 40):
        y = np.full(2 * W, CANARY)
        run(y, x, lanes)
        inside = np.arange(W) < lanes
        assert np.array_equal(y[:W], np.where(inside, x, -5))
        assert np.array_equal(y[W:][inside], x[inside]) and np.isnan(y[W:][~inside]).all()


@LEVEL
def test_gather_stays_at_the_last_element(level):
    W = TARGETS[level].width

    def body(e, y, x, stride, lanes):
        e.store(e.gather(x, stride), y)
        e.store(e.gather(x, stride, lanes), e.at(y, W))
    run = function(level, body, 2, 2)
    x, y, places = normal(1, 6 * W), np.empty(2 * W, np.float32), np.arange(W)
    for stride in (0, 1, 3, -2):
        for lanes in (1, 2, W - 1, W):
            run(y, x[2 * W:], stride, lanes)
            assert np.array_equal(y[:W], x[2 * W + stride * places])
            assert np.array_equal(y[W:], x[2 * W + stride * np.minimum(places, lanes - 1)])


@LEVEL
def test_lanes_combine_in_a_tree(level):
    W = TARGETS[level].width
    run = function(level, lambda e, y, x: e.store(
        e.combine_lanes(e.load(x), e.b.fadd), y), 2, 0)
    x, y = normal(1, W), np.empty(W, np.float32)
    run(y, x)
    tree = x
    while tree.size > 1:
        tree = tree[:tree.size // 2] + tree[tree.size // 2:]
    assert (y == tree[0]).all()


@LEVEL
def test_broadcast_and_loop(level):
    """Loops carry values; a loop without turns leaves them as they were."""
    def body(e, y, x, start, stop):
        with e.loop(start, stop, 3, [e.const(1.0)]) as loop:
            loop.next = [e.b.fadd(loop.values[0], e.broadcast(e.at(x, loop.index)))]
        e.store(loop.values[0], y)
    run = function(level, body, 2, 2)
    x, y = np.arange(20, dtype=np.float32), np.empty(16, np.float32)
    for start, stop in ((0, 0), (5, 2), (0, 1), (1, 10), (2, 20)):
        run(y, x, start, stop)
        assert (y[:TARGETS[level].width] == 1 + sum(range(start, stop, 3))).all()


@LEVEL
def test_integer_helpers(level):
    def body(e, out, x, y):
        results = (e.least(x, y), e.greatest(x, y), e.quotient_up(x, 6), e.whole(x, 6))
        for place, value in enumerate(results):
            e.b.store(value, e.word(out, place))
    run = function(level, body, 1, 2)
    out = np.zeros(4, np.int64)
    for x, y in ((0, 0), (5, 3), (6, 6), (7, 1 << 50)):
        run(out, x, y)
        assert out.tolist() == [min(x, y), max(x, y), -(-x // 6), x // 6 * 6]


@LEVEL
def test_order_of_nan(level):
    """larger and smaller keep the second operand where either is NaN; maximum, minimum keep NaN."""
    def body(e, out, x, y):
        a, b = e.load(x), e.load(y)
        for place, op in enumerate((e.larger, e.smaller, e.maximum, e.minimum)):
            e.store(op(a, b), e.at(out, place * e.width))
    W = TARGETS[level].width
    run, out = function(level, body, 3, 0), np.empty((4, W), np.float32)
    nan, one = np.full(W, np.nan, np.float32), np.ones(W, np.float32)
    run(out, nan, one)
    assert (out[:2] == 1).all() and np.isnan(out[2:]).all()
    run(out, one, nan)
    assert np.isnan(out).all()
    run(out, one, 2 * one)
    assert out[:, 0].tolist() == [2, 1, 2, 1]


@LEVEL
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_loaded_and_stored(level, dtype):
    """Whole vectors, masked ones, gathered ones and single elements, off every alignment but their
    own; of bools any byte but 0 is true, and 0 or 1 is stored."""
    W = lanes_of(TARGETS[level], dtype)

    def body(e, y, x, count):
        mask = e.mask(count)
        e.store(e.load(x), y)
        e.store(e.load(x, mask, other=1), e.at(y, W))
        e.store(e.load(x), e.at(y, 2 * W), mask)
        e.store(e.gather(x, I64(2), count), e.at(y, 3 * W))
        e.store(e.broadcast(e.at(x, 1)), e.at(y, 4 * W))
    run = function(level, body, 2, 1, dtype)
    kind = DTYPES[dtype]
    x = np.random.default_rng(5).integers(0, 256, (2 * W + 3) * kind.itemsize, np.uint8)
    x = normal(1, x.size).astype(kind) if dtype in FLOATS else x.view(kind)
    x = x[1:2 * W + 3]
    y = np.zeros(5 * W, kind)
    for count in (1, W - 1, W):
        y.view(np.uint8)[...] = 0
        run(y, x, count)
        seen, inside = x.view(np.uint8) != 0 if dtype == "bool" else x, np.arange(W) < count
        assert np.array_equal(y[:W], seen[:W])
        assert np.array_equal(y[W:2 * W], np.where(inside, seen[:W], 1))
        assert np.array_equal(y[2 * W:3 * W], np.where(inside, seen[:W], 0))
        assert np.array_equal(y[3 * W:4 * W], seen[2 * np.minimum(np.arange(W), count - 1)])
        assert (y[4 * W:] == seen[1]).all() and (dtype != "bool" or y.view(np.uint8).max() <= 1)


@LEVEL
@pytest.mark.parametrize("dtype", ["f64", "i8", "u8", "i32", "i64"])
def test_order_in_every_dtype(level, dtype):
    def body(e, out, x, y):
        a, b = e.load(x), e.load(y)
        for place, op in enumerate((e.larger, e.smaller, e.maximum, e.minimum)):
            e.store(op(a, b), e.at(out, place * e.width))
    W = lanes_of(TARGETS[level], dtype)
    run = function(level, body, 3, 0, dtype)
    bits = np.random.default_rng(6).integers(0, 256, (2, W * DTYPES[dtype].itemsize), np.uint8)
    x, y = bits.view(DTYPES[dtype]) if dtype != "f64" else normal(1, 2, W).astype(float)
    out = np.empty((4, W), DTYPES[dtype])
    run(out, x, y)
    assert np.array_equal(out, [np.maximum(x, y), np.minimum(x, y)] * 2)


@LEVEL
def test_any_and_each(level):
    W = TARGETS[level].width

    def body(e, y, x, count):
        e.store(e.each(e.b.fsub, e.load(x), e.const(1.0)), y)
        with e.b.if_then(e.any(e.mask(count))):
            e.store_one(e.b.extract_element(e.load(x), I64(0)), e.at(y, W))
    run = function(level, body, 2, 1)
    x, y = normal(1, W), np.zeros(W + 1, np.float32)
    run(y, x, 0)
    assert np.array_equal(y, np.append(x - 1, 0).astype(np.float32))
    run(y, x, 1)
    assert y[W] == x[0]
