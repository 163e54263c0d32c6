"""Operands for every elementwise op and dtype, and how near its results have to be."""
from __future__ import annotations

import numpy as np

from ir import Error, TensorType, type_of
from ir.ops import OPS, evaluate
from ir.types import DTYPES, FLOATS, INTEGERS

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


def check_elementwise(op, got: np.ndarray, arrays: list[np.ndarray]) -> None:
    """Each result is near its own exact one, not only near the largest; integers and truth are
    exact."""
    with np.errstate(all="ignore"):
        if got.dtype.kind != "f":
            np.testing.assert_array_equal(got, op.reference(*arrays))
            return
        exact = np.asarray(op.reference(*[
            a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]))
        check_floats(op.name, got, exact, exact.astype(got.dtype), arrays[0])


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


def castable(dtype: str) -> np.ndarray:
    x = special(dtype)
    if dtype not in FLOATS:
        return x
    beyond = [0.9, -0.9, 63.5, 300.7, -300.7, 2.5e9, -2147483648.5, 2.0 ** 31, -2.0 ** 31,
              2.0 ** 63, -2.0 ** 63, -1e19]
    return np.concatenate([x, np.array(beyond, x.dtype)])


def check_cast(x: np.ndarray, got: np.ndarray) -> None:
    """Of floats that no such integer can hold, too."""
    dtype = type_of(got).dtype
    np.testing.assert_array_equal(got, evaluate("cast", [x], {"dtype": dtype}))
