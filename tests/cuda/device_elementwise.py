"""Every elementwise op for every dtype that its type rule allows, on pairs of special numbers."""
import numpy as np
import pytest

import ir
import nncompile
from ir import Error, TensorType
from ir.ops import OPS
from ir.types import DTYPES, FLOATS, INTEGERS
from tests.cuda.common import B, Net, compiled, outputs

FLOAT = [0.0, -0.0, 1.0, -1.0, 0.5, -3.25, 10.0, -10.0, 88.0, -88.0, 110.0, -110.0, 1e-30, -1e-30,
         1e-41, 1e30, -1e30, np.inf, -np.inf, np.nan, np.pi, 1e-6, -1e-6, 20.0, 2.5, -2.5, 0.3]
INTEGER = [0, 1, 2, 3, 5, 7, 100, 127, -1, -2, -3, -7, -100, -128]
# The further operands of an activation are its parameters: not any number makes sense.
PARAMETERS = {"softplus": ([1.0, 2.0, 0.25], [20.0, 1.0]), "elu": ([1.0, 0.3],),
              "celu": ([1.0, 0.3],), "leaky_relu": ([0.01, 2.0],), "threshold": ([0.5], [-1.0]),
              "hardshrink": ([0.5, 0.0],), "softshrink": ([0.5, 0.0],)}
# One rounding of x costs |x| roundings of exp(x); these have one inside.
EXPONENTIALS = ("sigmoid", "gelu", "gelu_tanh", "exp", "exp2", "silu", "mish", "softplus",
                "log_sigmoid", "pow", "sinh", "cosh")


def allowed(op, dtype: str) -> bool:
    try:
        op.infer(*operand_types(op, dtype), **({"dtype": dtype} if op.name == "cast" else {}))
    except Error:
        return False
    return True


def operand_types(op, dtype: str) -> list[TensorType]:
    types = [TensorType(dtype, ())] * int(op.arity[0])
    return [TensorType("bool", ()), *types[1:]] if op.name == "where" else types


CASES = [(op, dtype) for op in OPS.values() if op.elementwise and op.name != "cast"
         for dtype in DTYPES if allowed(op, dtype)]


def special(dtype: str) -> np.ndarray:
    if dtype in FLOATS:
        return np.array(FLOAT, DTYPES[dtype])
    if dtype == "bool":
        return np.array([False, True])
    limits = np.iinfo(DTYPES[dtype])
    inside = [n for n in INTEGER if limits.min <= n <= limits.max]
    return np.array([*inside, limits.max, limits.min, limits.max - 1], DTYPES[dtype])


def operands(op, dtype: str) -> list[np.ndarray]:
    columns = [special(t.dtype) for t in operand_types(op, dtype)]
    for i, values in enumerate(PARAMETERS.get(op.name, ())):
        columns[i + 1] = np.array(values, DTYPES[dtype])
    grids = [np.ascontiguousarray(g.ravel()) for g in np.meshgrid(*columns)]
    if op.name in ("floor_div", "remainder") and dtype in INTEGERS:
        grids = [g[grids[1] != 0] for g in grids]
    return grids


@pytest.mark.parametrize("op, dtype", CASES, ids=lambda v: v if isinstance(v, str) else v.name)
def test_an_elementwise_op(op, dtype):
    """Each result is near its own exact one, not only near the largest; integers and truth are
    exact."""
    arrays = operands(op, dtype)
    net = Net(dtype)
    values = [net.input(B, dtype=t.dtype) for t in operand_types(op, dtype)]
    got = compiled(net.graph(net.add(op.name, *values)))(*arrays)
    with np.errstate(all="ignore"):
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, op.reference(*arrays))
            return
        exact = np.asarray(op.reference(*[
            a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]))
        rounded = exact.astype(got.dtype)
    check_floats(op.name, got, exact, rounded, arrays[0])


def check_floats(name, got, exact, rounded, x) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    info = np.finfo(got.dtype)
    plain = np.isfinite(rounded) & (np.abs(rounded) > info.tiny)
    units = 200 if name in EXPONENTIALS else 8
    size = np.abs(x if name == "tanhshrink" else exact)           # tanhshrink is a difference
    error = np.abs(got[plain].astype(np.float64) - exact[plain])
    assert (error <= units * info.eps * size[plain]).all(), (x[plain], got[plain], exact[plain])
    infinite = np.isinf(rounded)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    if name != "tanhshrink":
        zero = exact == 0
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(exact[zero]))


@pytest.mark.parametrize("source", DTYPES)
def test_casts(source):
    """From one dtype to all: one graph.  A float that no such integer can hold is left out."""
    x = special(source)
    if source in FLOATS:
        x = np.concatenate([x[np.isfinite(x)], np.array([0.9, -0.9, 63.5, 2.5e9], x.dtype)])
    net = Net(source)
    given = net.input(B)
    others = [d for d in DTYPES if d != source]
    fast = compiled(net.graph(*[net.add("cast", given, dtype=d) for d in others]))
    for got, dtype in zip(outputs(fast(x)), others, strict=True):
        keep = np.ones(len(x), bool)
        if source in FLOATS and dtype in INTEGERS:
            limits = np.iinfo(DTYPES[dtype])
            keep = (np.trunc(x) >= limits.min) & (np.trunc(x) <= float(limits.max) * 0.999)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got[keep], x.astype(DTYPES[dtype])[keep])
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
