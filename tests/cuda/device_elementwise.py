"""Every elementwise op for every dtype that its type rule allows, on pairs of special numbers."""
import numpy as np
import pytest

import ir
import nncompile
from ir.types import DTYPES, FLOATS, INTEGERS
from tests.cuda.cases import CASES, castable, check_cast, check_elementwise, operand_types, operands
from tests.cuda.common import B, Net, compiled, outputs


@pytest.mark.parametrize("op, dtype", CASES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_an_elementwise_op(op, dtype):
    """Each result is near its own exact one, not only near the largest; integers and truth are
    exact."""
    arrays = operands(op, dtype)
    net = Net(dtype)
    values = [net.input(B, dtype=t.dtype) for t in operand_types(op, dtype)]
    got = compiled(net.graph(net.add(op.name, *values)))(*arrays)
    check_elementwise(op, got, arrays)


@pytest.mark.parametrize("source", DTYPES)
def test_casts(source):
    """From one dtype to all: one graph."""
    x = castable(source)
    net = Net(source)
    given = net.input(B)
    others = [d for d in DTYPES if d != source]
    fast = compiled(net.graph(*[net.add("cast", given, dtype=d) for d in others]))
    for got in outputs(fast(x)):
        check_cast(x, got)
    if source in FLOATS:
        np.testing.assert_array_equal(outputs(fast(np.array([np.nan, np.inf], x.dtype)))[
            others.index("bool")], [True, True])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("op", ["floor_div", "remainder"])
def test_an_integer_divided_by_zero(op, dtype):
    """An error with the layer, and none for the next call; of a divisor in the model, too."""
    net = Net(dtype)
    x, y = net.input(B), net.input(B)
    fast = compiled(net.graph(net.add("add", net.add(op, x, y), 1.0)))
    good = np.arange(1, 12).astype(DTYPES[dtype])
    want = fast(good, good)
    bad = good.copy()
    bad[7] = 0
    with pytest.raises(nncompile.InputError, match=r"(?s)divided by zero.*model.py"):
        fast(good, bad)
    np.testing.assert_array_equal(fast(good, good), want)


def test_types_mixed_in_one_program():
    """Floats, truth, bytes and integers after each other in one memory."""
    net = Net()
    x, n = net.input(B, 5), net.input(B, 5, dtype="i64")
    wide = net.add("cast", x, dtype="f64")
    small = net.add("cast", n, dtype="u8")
    mask = net.add("logical_and", net.add("lt", wide, 0.5), net.add("ne", small, 3.0))
    chosen = net.add("where", mask, net.add("exp", wide), -1.0)
    total = net.add("cumsum", net.add("cast", mask, dtype="i32"), axis=1)
    back = net.add("mul", net.add("cast", net.add("cumsum", chosen, axis=1), dtype="f32"), x)
    graph = net.graph(back, net.add("transpose", mask, axes=(1, 0)), total,
                      net.add("where", mask, small, 7.0), net.add("where", mask, False, mask))
    fast = compiled(graph)
    assert "scratch_" in fast.source
    for rows in (0, 1, 7):
        random = np.random.default_rng(rows)
        given = (random.standard_normal((rows, 5)).astype(np.float32),
                 random.integers(0, 600, (rows, 5)))
        for got, want in zip(outputs(fast(*given)), ir.interpret(graph, given), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bool"])
def test_numbers_of_the_model(dtype):
    net = Net(dtype)
    x = net.input(B)
    graph = net.graph(net.add("maximum", net.add("mul", x, 3.0), 2.0), net.add("gt", x, 5.0))
    given = np.arange(9).astype(DTYPES[dtype])
    got = outputs(compiled(graph)(given))
    np.testing.assert_array_equal(got[0], np.maximum(given * DTYPES[dtype].type(3), 2))
    np.testing.assert_array_equal(got[1], given > 5)
