"""Row kernels and gathers of every dtype against the interpreter, at rows that are empty, one long,
and longer than a block; rows bit-identical for any batch size and position."""
import numpy as np
import pytest

import ir
import nncompile
from ir.types import DTYPES, FLOATS, INTEGERS
from tests.cuda.common import B, Net, T, bits, check, compiled, outputs

NUMBERS = (*FLOATS, *INTEGERS)
LENGTHS = (1, 2, 7, 8, 9, 21)                # short blocks have 2 threads, long ones 4, from 9 on


def numbers(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    if dtype in FLOATS:
        return random.standard_normal(shape).astype(DTYPES[dtype])
    if dtype == "bool":
        return random.random(shape) < 0.3
    limits = np.iinfo(DTYPES[dtype])
    few, any_ = random.integers(max(limits.min, -3), 4, shape), random.integers(
        limits.min, limits.max, shape, endpoint=True)
    return np.where(random.random(shape) < 0.7, few, any_).astype(DTYPES[dtype])


def exactly(graph: ir.Graph, *inputs: np.ndarray, fast=None) -> None:
    for got, want in zip(outputs((fast or compiled(graph))(*inputs)), ir.interpret(graph, inputs),
                         strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


def matches(dtype: str, graph: ir.Graph, *inputs: np.ndarray, fast=None) -> None:
    """Exactly, but for floats."""
    if dtype in FLOATS:
        check(graph, inputs, fast=fast)
    else:
        exactly(graph, *inputs, fast=fast)


# -- reductions ------------------------------------------------------------------------------------

@pytest.mark.parametrize(("source", "dtype", "ops"), [
    ("u8", "i64", ("sum", "prod", "max", "min")), ("bool", "i64", ("sum", "max")),
    ("i64", "f32", ("mean", "min")), ("f32", "f64", ("sum", "mean", "max")),
    ("u8", "bool", ("any", "all")), ("f64", "bool", ("any", "all"))])
def test_reductions_convert_what_they_read(source, dtype, ops):
    """A cast that only reductions read is no step."""
    net = Net(source)
    cast = net.add("cast", net.input(B, T), dtype=dtype)
    graph = net.graph(*[net.add(op, cast, axes=(1,), keepdims=False) for op in ops])
    fast = compiled(graph)
    assert not [line for line in fast.source.splitlines() if "cast" in line and "def " in line]
    for length in LENGTHS:
        matches(dtype, graph, numbers(source, 3, length), fast=fast)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_reductions_to_numbers(dtype):
    """All of them in one graph; over the rows' length, which is dynamic, and over other axes."""
    net = Net(dtype)
    x = net.input(B, T)
    ops = ["sum", "prod", "max", "min", *["mean"] * (dtype in FLOATS)]
    graph = net.graph(*[net.add(op, x, axes=(1,), keepdims=op == "sum") for op in ops])
    fast = compiled(graph)
    for length in LENGTHS:
        matches(dtype, graph, numbers(dtype, 3, length), fast=fast)
    matches(dtype, graph, numbers(dtype, 0, 3), fast=fast)
    for op in ("min", "prod"):
        other = Net(dtype)
        x = other.input(B, 3, 5)
        graph = other.graph(other.add(op, x, axes=(0, 2), keepdims=False))
        matches(dtype, graph, numbers(dtype, 2, 3, 5))


def test_reductions_of_truth():
    net = Net("bool")
    x = net.input(B, T)
    graph = net.graph(net.add("any", x, axes=(1,), keepdims=False),
                      net.add("all", x, axes=(0,), keepdims=True))
    fast = compiled(graph)
    for shape in ((0, 3), (3, 0), (2, 9), (7, 21)):
        exactly(graph, numbers("bool", *shape), fast=fast)
        exactly(graph, np.ones(shape, bool), fast=fast)
        exactly(graph, np.zeros(shape, bool), fast=fast)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_places_of_extremes(dtype):
    """The first of equal ones, the first NaN; an axis in the middle; none of nothing."""
    net = Net(dtype)
    x = net.input(B, T, 2)
    graph = net.graph(net.add("argmax", x, axis=1, keepdims=False),
                      net.add("argmin", x, axis=1, keepdims=True))
    fast = compiled(graph)
    for length in LENGTHS:
        given = numbers(dtype, 3, length, 2)
        exactly(graph, given, fast=fast)
        exactly(graph, np.zeros_like(given), fast=fast)
        if dtype in FLOATS:
            given[0, length // 2] = given[0, -1] = np.nan
            given[1, 0, 0], given[2] = -np.inf, np.inf
            exactly(graph, given, fast=fast)
    with pytest.raises(nncompile.InputError, match="arg"):
        fast(numbers(dtype, 3, 0, 2))


# -- along rows ------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", NUMBERS)
def test_cumsum(dtype):
    net = Net(dtype)
    x = net.input(B, T)
    graph = net.graph(net.add("cumsum", x, axis=1), net.add("cumsum", x, axis=0))
    fast = compiled(graph)
    for length in (0, *LENGTHS):
        matches(dtype, graph, numbers(dtype, 3, length), fast=fast)


def test_a_cumsum_of_floats_is_exact_to_a_rounding():
    net = Net()
    graph = net.graph(net.add("cumsum", net.input(B, 60), axis=1))
    given = np.random.default_rng(0).uniform(0.5, 1.0, (2, 60)).astype(np.float32)
    np.testing.assert_array_equal(compiled(graph)(given),
                                  np.cumsum(given, 1, np.float64).astype(np.float32))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", ["f32", "f64", "i8", "u8", "i64"])
def test_topk(dtype, largest):
    net = Net(dtype)
    x = net.input(B, 11)
    graph = net.graph(*[net.add("topk_ids", x, axis=1, k=k, largest=largest, sorted=True)
                        for k in (0, 1, 3, 11)],
                      net.add("topk_ids", x, axis=0, k=2, largest=largest, sorted=True))
    fast = compiled(graph)
    given = numbers(dtype, 4, 11)
    given[1] = given[1, 0]                                       # all alike
    if dtype in FLOATS:
        given[2, [3, 7]], given[3, [0, 10]], given[3, 4] = np.nan, np.inf, -np.inf
    exactly(graph, given, fast=fast)


@pytest.mark.parametrize("dtype", FLOATS)
def test_log_softmax(dtype):
    net = Net(dtype)
    x = net.input(B, T)
    graph = net.graph(net.add("log_softmax", x, axis=1), net.add("log_softmax", x, axis=0))
    fast = compiled(graph)
    for length in LENGTHS:
        check(graph, [numbers(dtype, 3, length)], fast=fast)
    check(graph, [numbers(dtype, 2, 0)], fast=fast)
    hard = np.array([[1000.0, 1001.0, 999.0], [np.inf, 1, 2], [np.nan, 1, 2], [-np.inf] * 3,
                     [-np.inf, 1, 2], [1e30, -1e30, 0.0]], DTYPES[dtype])
    rows = net.graph(net.add("log_softmax", x, axis=1))
    check(rows, [hard])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("affine", [0, 1])
def test_rms_norm(affine, dtype):
    net = Net(dtype)
    x = net.input(B, 2, 5)
    params = [net.param(2, 5)] * affine
    graph = net.graph(net.add("rms_norm", x, *params, axes=(1, 2), eps=1e-6))
    fast = compiled(graph)
    for rows in (0, 1, 5):
        check(graph, [numbers(dtype, rows, 2, 5)], fast=fast)
    hard = numbers(dtype, 4, 2, 5)
    hard[0, 0, 1], hard[1, 1, 1], hard[2] = np.nan, np.inf, 0
    check(graph, [hard], fast=fast)


@pytest.mark.parametrize("dtype, large", [("f32", 1e20), ("f32", 3e38), ("f64", 1e200)])
@pytest.mark.parametrize("op", ["rms_norm", "layer_norm"])
def test_norms_whose_squares_overflow(op, dtype, large):
    net = Net(dtype)
    graph = net.graph(net.add(op, net.input(B, 9), axes=(1,), eps=1e-5))
    given = (np.random.default_rng(0).uniform(-1, 1, (3, 9)) * large).astype(DTYPES[dtype])
    given[1] /= DTYPES[dtype].type(large)                        # not this one
    got = compiled(graph)(given)
    wide = given.astype(np.longdouble)
    wide -= wide.mean(1, keepdims=True) * (op == "layer_norm")
    want = wide / np.sqrt((wide * wide).mean(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, want.astype(np.float64),
                               atol=2e-6 if dtype == "f32" else 1e-14)


def test_rows_are_the_same_bits_at_any_place_and_batch_size():
    net = Net()
    x = net.input(B, 19)
    ids = net.add("topk_ids", x, axis=1, k=3, largest=True, sorted=True)
    fast = compiled(net.graph(
        net.add("rms_norm", x, net.param(19), axes=(1,), eps=1e-6),
        net.add("log_softmax", x, axis=1), net.add("cumsum", x, axis=1), ids,
        net.add("take_along", x, ids, axis=1), net.add("prod", x, axes=(1,), keepdims=True),
        net.add("argmin", x, axis=1, keepdims=True)))
    given = numbers("f32", 9, 19)
    want = outputs(fast(given))
    for start, stop in ((0, 1), (4, 5), (8, 9), (0, 4), (3, 9)):
        for got, whole in zip(outputs(fast(given[start:stop])), want, strict=True):
            np.testing.assert_array_equal(bits(got), bits(whole[start:stop]))


# -- by index --------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", ["i32", "i64"])
def test_take_and_take_along(dtype, index):
    """Along the first, a middle and the last axis, with ids of several axes and of none."""
    net = Net(dtype)
    x, ids = net.input(B, 4, 3), net.input(2, T, dtype=index)
    one, along = net.input(dtype=index), net.input(B, 2, 3, dtype=index)
    moved = net.add("transpose", x, axes=(1, 2, 0))
    graph = net.graph(
        net.add("take", x, ids, axis=1), net.add("take", x, one, axis=2),
        net.add("take", moved, ids, axis=1), net.add("take", moved, one, axis=0),
        net.add("take_along", x, along, axis=1),
        net.add("take_along", moved, net.add("transpose", along, axes=(1, 2, 0)), axis=0))
    fast = compiled(graph)
    integer = DTYPES[index].type
    for rows, length in ((3, 5), (0, 2), (1, 0)):
        random = np.random.default_rng(rows)
        given = (numbers(dtype, rows, 4, 3), random.integers(0, 3, (2, length)).astype(integer),
                 np.array(2, integer), random.integers(0, 4, (rows, 2, 3)).astype(integer))
        exactly(graph, *given, fast=fast)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("index", ["i32", "i64"])
def test_scatter_add(dtype, index):
    """Rows and single elements, along the first, a middle and the last axis."""
    net, integer = Net(dtype), DTYPES[index].type
    x, ids = net.input(B, 4, 3), net.input(B, 1, 1, dtype=index)
    each = net.input(B, 4, 3, dtype=index)
    graph = net.graph(
        net.add("scatter_add", ids, x, axis=0, size=5),
        *(net.add("scatter_add", each, x, axis=axis, size=6) for axis in range(3)))
    fast = compiled(graph)
    for rows in (3, 0, 1):
        random = np.random.default_rng(rows)
        given = (numbers(dtype, rows, 4, 3), random.integers(0, 5, (rows, 1, 1)).astype(integer),
                 random.integers(0, 6, (rows, 4, 3)).astype(integer))
        exactly(graph, *given, fast=fast)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", ["i32", "i64"])
def test_put_rows(dtype, index):
    """Equal ids, and ids outside of the array."""
    net, integer = Net(dtype), DTYPES[index].type
    ids, rows, x = net.input(B, dtype=index), net.input(B, 2, 3), net.input(4, 2, 3)
    fast = compiled(graph := net.graph(net.add("put_rows", ids, rows, x),
                                       net.add("first_equal", ids)))
    for count in (9, 0, 1):
        given = (np.random.default_rng(count).integers(-1, 6, count).astype(integer),
                 numbers(dtype, count, 2, 3), numbers(dtype, 4, 2, 3))
        exactly(graph, *given, fast=fast)


def test_ids_outside():
    """The Python error with the id and the layer; nothing is read, and the next call is good."""
    net = Net()
    x, ids = net.input(B, 4), net.input(B, 2, dtype="i64")
    taken = net.add("take", x, net.input(2, dtype="i64"), axis=1)
    fast = compiled(net.graph(net.add("take_along", x, ids, axis=1), taken))
    good = numbers("f32", 3, 4), np.zeros((3, 2), np.int64), np.zeros(2, np.int64)
    want = outputs(fast(*good))
    for wrong in (4, -1, 2**40, -2**63):
        for place in (1, 2):
            bad = [a.copy() for a in good]
            bad[place].reshape(-1)[-1] = wrong
            with pytest.raises(nncompile.InputError, match=rf"(?s)index {wrong} .*4.*model.py"):
                fast(*bad)
        for again, before in zip(outputs(fast(*good)), want, strict=True):
            np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize("mode", ["sum", "mean", "max", "weighted"])
@pytest.mark.parametrize("dtype, index, offsets", [("f32", "i64", "i64"), ("f64", "i32", "i64")])
def test_embedding_bag(mode, dtype, index, offsets):
    net = Net(dtype)
    ids, starts = net.input(T, dtype=index), net.input(B, dtype=offsets)
    table = net.param(6, 5)
    weights = [net.input(T)] if mode == "weighted" else []
    attrs = {"mode": mode.replace("weighted", "sum"), "padding": 2 if mode == "max" else -1}
    graph = net.graph(net.add("embedding_bag", ids, starts, table, *weights, **attrs,
                              include_last=False))
    fast = compiled(graph)
    for given, edges in (([1, 2, 5, 2, 0, 3], [0, 2, 2, 3]), ([2, 2, 4], [0]), ([], [0, 0]),
                         ([], [])):
        inputs = [np.array(given, DTYPES[index]), np.array(edges, DTYPES[offsets]),
                  *[numbers(dtype, len(given))] * len(weights)]
        check(graph, inputs, fast=fast)
    if not weights:
        for given, edges, said in (([1, 6], [0, 1], "index 6 is"), ([-1, 0], [0], "index -1 is"),
                                   ([1, 2], [1], "offset 1 .* 2,"), ([1, 2], [0, 3], "offset 3 "),
                                   ([1, 2, 3], [0, 2, 1], "offset 1 .* 3,")):
            with pytest.raises(nncompile.InputError, match=said):
                fast(np.array(given, DTYPES[index]), np.array(edges, DTYPES[offsets]))


def test_embedding_bag_with_the_last_offset():
    net = Net()
    ids, starts = net.input(T, dtype="i64"), net.input(B, dtype="i64")
    graph = net.graph(net.add("embedding_bag", ids, starts, net.param(4, 2), mode="mean",
                              include_last=True, padding=-1))
    check(graph, [np.array([0, 3, 1, 1]), np.array([0, 1, 3])])


# -- made of nothing, moved ------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", NUMBERS)
def test_iota_full_pad(dtype):
    net = Net(dtype)
    x = net.input(B, 3)
    rows = net.add("iota", shape=(B, 3), axis=0, dtype=dtype)
    graph = net.graph(
        net.add("add", net.add("iota", shape=(B, 3), axis=1, dtype=dtype), x), rows,
        net.add("full", 5.0, shape=(B, 2), dtype=dtype),
        net.add("pad", x, low=(1, 0), high=(0, 2), value=7.0),
        net.add("slice", net.add("dropout", net.add("detach", net.add("identity", x)), p=0.5),
                axis=1, start=2, stop=-1, step=-1),
        net.add("expand", net.add("reshape", x, shape=(B, 1, 3)), shape=(B, 2, 3)),
        net.add("mul", x, net.add("cast", net.add("size", dim=2 * B + 1), dtype=dtype)),
        net.add("size", dim=B * B),
        net.add("uniform", net.add("iota", shape=(2,), axis=0, dtype="i64"), shape=(B, 70),
                dtype=dtype if dtype in FLOATS else "f32", stream=2))
    fast = compiled(graph)
    for size in (0, 1, 5):
        exactly(graph, numbers(dtype, size, 3), fast=fast)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("width", [3, 4])
def test_walks(dtype, width):
    """Full trees of depth 4, whose links repeat at the leaves; with NaN and infinities."""
    random, inner = np.random.default_rng(0), np.arange(15)
    nodes = np.repeat(np.arange(31)[:, None], width, 1)
    nodes[:, 0] = random.integers(0, 5, 31)
    nodes[:15, 1:3] = np.stack([2 * inner + 2, 2 * inner + 1], 1)
    nodes[:15, 3:] = (2 * inner + 1 + random.integers(0, 2, 15))[:, None]
    net = Net(dtype)
    x = net.input(B, 5)
    tables = [net.builder.declare("constant", name, ir.type_of(data), data) for name, data in (
        ("nodes", nodes.astype(np.int32)), ("thresholds", numbers(dtype, 31, seed=2)),
        ("roots", np.int32([0, 1, 2, 0, 30])))]
    graph = net.graph(net.add("tree_walk", x, *tables, steps=4))
    fast = compiled(graph)
    for rows in (0, 1, 9):
        given = numbers(dtype, rows, 5, seed=rows)
        given[:, 2] = [np.nan, np.inf, -np.inf, 0, 1, np.nan, -1, 2, 0.5][:rows]
        exactly(graph, given, fast=fast)
