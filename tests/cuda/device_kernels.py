"""Every kernel against the interpreter in float64, at sizes that cross the borders of tiles, blocks
and chunks: of the simulator's small ones, so the same sizes are no trouble there."""
from dataclasses import replace

import numpy as np
import pytest

import nncompile
from nncompile.cuda import backend, kernels, load, shim
from nncompile.cuda.target import DEVICE, SIMULATOR
from tests.cuda.common import B, Net, T, bits, check, compiled, outputs, same


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# -- elementwise -----------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 17])
def test_a_chain_is_one_launch(size):
    net = Net()
    x, y = net.input(B, 3), net.input(B, 3)
    last = net.add("sub", net.add("mul", net.add("tanh", net.add("add", x, y)), x), 1.5)
    graph = net.graph(net.add("maximum", last, net.param(3)))
    fast = compiled(graph)
    assert fast.source.count(", stream](") == 1
    check(graph, [normal(size, 3), normal(size, 3, seed=1)], fast=fast)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_strides_and_broadcasts_of_any_rank(size):
    net = Net()
    x, row, one = net.input(B, 2, 3, 5), net.param(3, 1), net.input(1, 2, 1, 5)
    moved = net.add("transpose", x, axes=(3, 0, 2, 1))
    a = net.add("add", net.add("mul", x, row), one)
    b = net.add("div", moved, net.add("transpose", one, axes=(3, 0, 2, 1)))
    c = net.add("slice", net.add("neg", moved), axis=2, start=1, stop=3)
    d = net.add("reshape", moved, shape=(5 * B, 6))
    check(net.graph(a, b, c, d), [normal(size, 2, 3, 5), normal(1, 2, 1, 5, seed=1)])


def test_numbers_of_the_model():
    """Infinities, NaN and numbers beyond float32 are arguments like others."""
    for number in (np.inf, -np.inf, np.nan, 1e300, -0.0, 1e-46):
        net = Net()
        x = net.input(B)
        graph = net.graph(net.add("mul", x, number), net.add("div", number, x))
        got = outputs(compiled(graph)(normal(5)))
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got[0], normal(5) * np.float32(number))
            np.testing.assert_array_equal(got[1], np.float32(number) / normal(5))


@pytest.mark.parametrize("size", [0, 1, 3])
def test_concat(size):
    net = Net()
    x, y = net.input(B, 2), net.input(B, 3)
    graph = net.graph(net.add("concat", x, net.add("exp", y), x, axis=1),
                      net.add("concat", x, x, axis=0))
    check(graph, [normal(size, 2), normal(size, 3)])


# -- products --------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("K", [0, 1, 4, 5, 17])
@pytest.mark.parametrize("N", [1, 4, 9])
def test_linear(K, N, dtype):
    net = Net(dtype)
    x = net.input(B, K)
    fast = compiled(graph := net.graph(net.add("linear", x, net.param(N, K), net.param(N))))
    for rows in (0, 1, 2, 3, 9, 13):
        check(graph, [normal(rows, K, dtype=np.float32 if dtype == "f32" else float)], fast=fast)


def test_linear_with_all_that_it_fuses():
    net = Net()
    x, r, s = net.input(B, 5), net.input(B, 6), net.input(B, 1)
    y = net.add("gelu", net.add("linear", x, net.param(6, 5), net.param(6)))
    y = net.add("mul", net.add("add", y, r), s)
    y = net.add("relu", net.add("sub", y, net.param(6)))
    fast = compiled(graph := net.graph(net.add("mul", y, 0.5)))
    assert fast.source.count("# %") == 1, "one step"
    for rows in (1, 7, 9, 30):
        check(graph, [normal(rows, n, seed=n) for n in (5, 6, 1)], fast=fast)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_rows_of_a_product_are_the_same_bits_on_every_kernel(dtype):
    """few, and both tiles: K has several chunks, and a rest."""
    net = Net(dtype)
    x = net.input(B, 11)
    y = net.add("linear", x, net.param(7, 11), net.param(7))
    fast = compiled(net.graph(net.add("tanh", y)))
    array = normal(40, 11, dtype=np.float32 if dtype == "f32" else float)
    want = fast(array)
    for rows in (1, 2, 3, 5, 8, 9, 10, 12, 40):
        for start in {0, min(1, 40 - rows), 40 - rows}:
            got = fast(array[start:start + rows])
            np.testing.assert_array_equal(bits(got), bits(want[start:start + rows]))


@pytest.mark.parametrize("shapes", [((), ()), ((B,), (B,)), ((B, 2), (2,)), ((1,), (B,)),
                                    ((2, 1), (B,))])
@pytest.mark.parametrize("M", [1, 3, 9])
def test_matmul(shapes, M):
    net = Net()
    x, w = net.input(*shapes[0], M, 5), net.input(*shapes[1], 5, 6)
    graph = net.graph(net.add("relu", net.add("mul", net.add("matmul", x, w), 0.5)))
    for size in (1, 3):
        dims = [[size if d is B else d for d in shape] for shape in shapes]
        check(graph, [normal(*dims[0], M, 5), normal(*dims[1], 5, 6, seed=1)])


def test_matmul_with_further_operands_and_dynamic_sizes():
    net = Net()
    x, mask, scale = net.input(B, 2, T, 3), net.input(T, T), net.input(B, 1, 1, 1)
    scores = net.add("matmul", x, net.add("transpose", x, axes=(0, 1, 3, 2)))
    graph = net.graph(net.add("mul", net.add("add", scores, mask), scale))
    fast = compiled(graph)
    for size, length in ((1, 1), (2, 5), (3, 9), (0, 4), (2, 0)):
        check(graph, [normal(size, 2, length, 3), normal(length, length),
                      normal(size, 1, 1, 1)], fast=fast)


@pytest.mark.skipif(not shim.load().simulated, reason="a device has these tiles anyway")
def test_the_tiles_of_a_device(monkeypatch):
    """The shapes that a device gets, in the simulator: one block of each kernel is a lot here."""
    monkeypatch.setattr(backend, "target_of", lambda _: replace(DEVICE, grid=2, large=9000))
    net = Net()
    x = net.input(B, 13)
    graph = net.graph(net.add("relu", net.add("linear", x, net.param(66, 13), net.param(66))))
    fast = compiled(graph)
    want = check(graph, [normal(140, 13)], fast=fast)[0]
    for rows in (70, 17, 3):
        got = check(graph, [normal(140, 13)[:rows]], fast=fast)[0]
        np.testing.assert_array_equal(bits(got), bits(want[:rows]))


# -- rows ------------------------------------------------------------------------------------------

ROWS = [[1.0], [0.0, 0.0], [np.inf, 1.0, 2.0], [-np.inf, 1.0, 2.0], [-np.inf] * 3,
        [np.nan, 1.0, 2.0], [1e30, -1e30, 0.0], [1.0, np.inf, np.inf], [1000.0, 1001.0, 999.0],
        list(range(17)), list(range(17, 0, -1)), [5.0] * 9, [-np.inf] * 8 + [3.0],
        [3e38, -3e38, 1.0, 2.0, -np.inf]]


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("scale", [1.0, -0.25])
def test_softmax_of_a_row(row, scale):
    net = Net()
    graph = net.graph(net.add("softmax", net.input(B, len(row)), axis=1, scale=scale))
    check(graph, [np.array([row, row[::-1]], np.float32)])


@pytest.mark.parametrize("zeroed", ["none", "undefined"])
@pytest.mark.parametrize("rows, keys", [(0, 3), (1, 1), (2, 0), (5, 17)])
def test_attention(rows, keys, zeroed):
    net = Net()
    q, k, v = net.input(B, 3, 4), net.input(B, keys, 4), net.input(B, keys, 5)
    mask = net.input(B, 1, keys)
    graph = net.graph(net.add("attention", q, k, v, mask, scale=0.3, fill=-np.inf, seen=True,
                              zeroed=zeroed))
    check(graph, [normal(rows, *v.type.shape[1:]) for v in graph.inputs])


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("N", [0, 1, 2, 3, 8, 9, 17])
def test_softmax(N, dtype):
    net = Net(dtype)
    x = net.input(B, N, 2)
    graph = net.graph(net.add("softmax", x, axis=1, scale=1.0),
                      net.add("softmax", x, axis=2, scale=3.0))
    fast = compiled(graph)
    for rows in (0, 1, 5):
        check(graph, [normal(rows, N, 2, dtype=np.float32 if dtype == "f32" else float)], fast=fast)


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("N", [0, 1, 2, 3, 8, 9, 17])
@pytest.mark.parametrize("affine", [0, 1, 2])
def test_layer_norm(N, affine, dtype):
    net = Net(dtype)
    x = net.input(B, N)
    params = [net.param(N) for _ in range(affine)]
    graph = net.graph(net.add("layer_norm", x, *params, axes=(1,), eps=1e-5))
    fast = compiled(graph)
    for rows in (0, 1, 5):
        check(graph, [normal(rows, N, dtype=np.float32 if dtype == "f32" else float)], fast=fast)


def test_layer_norm_of_hard_rows():
    """A large mean, an outlier in front, a constant row (exact zeros), infinities and NaN."""
    net = Net()
    fast = compiled(graph := net.graph(
        net.add("layer_norm", net.input(B, 12), axes=(1,), eps=1e-5)))
    rows = np.stack([normal(12) + 1e5, normal(12), np.full(12, 0.1), normal(12), normal(12),
                     np.full(12, 1e5)]).astype(np.float32)
    rows[1, 0], rows[3, 4], rows[4, 7] = 1e4, np.inf, np.nan
    got = check(graph, [rows[[1, 2, 3, 4, 5]]], fast=fast)[0]
    assert not got[1].any() and not got[4].any()
    check(graph, [rows[:1]], fast=fast, ulps=16)


def test_row_kernels_work_in_place():
    """softmax and layer_norm behind one another share a place, elementwise steps too."""
    net = Net()
    y = net.add("exp", net.input(B, 9))
    y = net.add("layer_norm", y, net.param(9), axes=(1,), eps=1e-5)
    graph = net.graph(net.add("neg", net.add("softmax", y, axis=1, scale=2.0)))
    fast = compiled(graph)
    assert "= scratch" not in fast.source
    check(graph, [normal(5, 9)], fast=fast, ulps=16)


@pytest.mark.parametrize("op", ["sum", "mean", "max"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_reductions(op, dtype):
    net = Net(dtype)
    x = net.input(B, 3, 9)
    graph = net.graph(*[net.add(op, x, axes=axes, keepdims=keep) for axes, keep in
                        (((2,), False), ((1,), True), ((1, 2), False), ((0,), False))])
    fast = compiled(graph)
    float_type = np.float32 if dtype == "f32" else float
    for rows in (1, 2, 11):
        check(graph, [normal(rows, 3, 9, dtype=float_type)], fast=fast)
    special = normal(2, 3, 9, dtype=float_type)
    special[0, 0, 0], special[0, 1, 3], special[1, 2, 8] = np.nan, np.inf, -np.inf
    check(graph, [special], fast=fast)
    nothing = np.zeros((0, 3, 9), float_type)
    if op == "max":
        with pytest.raises(nncompile.InputError, match="max"):
            fast(nothing)
    else:
        check(graph, [nothing], fast=fast)


# -- embedding -------------------------------------------------------------------------------------

@pytest.mark.parametrize("index", ["i64", "i32"])
def test_embedding(index):
    net = Net()
    ids = net.input(B, 3, dtype=index)
    table = net.param(5, 4)
    graph = net.graph(net.add("embedding", ids, table),
                      net.add("embedding", net.add("slice", ids, axis=1, start=1, stop=3), table))
    fast = compiled(graph)
    numpy = {"i64": np.int64, "i32": np.int32}[index]
    for rows in (0, 1, 5):
        check(graph, [np.random.default_rng(0).integers(0, 5, (rows, 3)).astype(numpy)], fast=fast)
    good = np.zeros((4, 3), numpy)
    want = outputs(fast(good))
    for wrong in (5, -1, np.iinfo(numpy).max, np.iinfo(numpy).min):
        bad = good.copy()
        bad[2, 1] = wrong
        with pytest.raises(nncompile.InputError, match=rf"(?s)index {wrong} .*5 rows.*model.py"):
            fast(bad)
        for again, before in zip(outputs(fast(good)), want, strict=True):
            np.testing.assert_array_equal(again, before)


def test_a_wrong_index_is_not_read():
    """Its row is zeros, and the rows beside it are right."""
    kernel = kernels.take("i64", 1, "f32", SIMULATOR)
    cuda = shim.load()
    table, y = normal(3, 4), cuda.module.to_device(np.full(12, 7, np.float32))
    fault = cuda.module.to_device(np.zeros(3, np.int64))
    load.function(kernel)[2, kernel.threads](
        y, 0, cuda.module.to_device(table.ravel()), 0, cuda.module.to_device(np.array([2, 9, 0])),
        0, 3, 4, 4, fault, 6, 3, 0, 1)
    np.testing.assert_array_equal(y.copy_to_host().reshape(3, 4),
                                  [table[2], np.zeros(4), table[0]])
    assert fault.copy_to_host().tolist() == [7, 9, 3]


# -- the same, whatever the graph ------------------------------------------------------------------

def test_both_targets_agree():
    """CPU and CUDA within the sum of their bounds, for a net of many ops."""
    net = Net()
    x = net.input(B, 6)
    y = net.add("gelu", net.add("linear", x, net.param(9, 6), net.param(9)))
    y = net.add("layer_norm", y, net.param(9), net.param(9), axes=(1,), eps=1e-5)
    graph = net.graph(net.add("softmax", net.add("linear", y, net.param(4, 9)), axis=1, scale=1.0))
    array = normal(20, 6)
    for got, want in zip(outputs(compiled(graph)(array)), outputs(compiled(graph, "cpu")(array)),
                         strict=True):
        same(got, want.astype(np.float64), 16)
