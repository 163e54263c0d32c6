"""Reductions of rows or of columns, and arg for the index of an extreme."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir as ll

from ir.ops import OPS
from ir.types import DTYPES, FLOATS, NUMBERS, NDArray
from nncompile.cpu.kernels.columns import Panel, column_signature, column_units
from nncompile.cpu.kernels.kernel import Kernel, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values, stored, strided
from nncompile.cpu.kernels.rows import WAYS, Combine, fold_row, row_units
from nncompile.cpu.vector import I64, Emit, Value
from nncompile.cpu.vector.math import cast

REDUCTIONS = {"sum": NUMBERS, "prod": NUMBERS, "mean": FLOATS, "max": NUMBERS, "min": NUMBERS,
              "any": ("bool",), "all": ("bool",)}
_EXTREMES = {"argmax": "max", "argmin": "min"}
_PANEL = 8            # vectors of a panel of columns


def reduce(op: str, dtype: str = "f32", source: str | None = None) -> Kernel:
    """y[i] = the sum, prod, mean, max, min, any or all of x[i] over the last axis; y has stride 1.

        reduce_sum(x, ldx, y, rows, N)
        reduce_sum_i64_of_u8(x, ldx, y, rows, N)

    source: the dtype of x, where it is another than that of y; each element is converted as it is
    read.
    Sums and products of integers are modulo 2^bits. Without elements the result is the neutral
    element (0, 1, the lowest or highest number), and the mean is NaN. The max and the min of a row
    with a NaN are NaN; of 0.0 and -0.0 the max is 0.0 and the min -0.0. A unit is a row.
    """
    _check(op, dtype)
    source = None if source == dtype else source

    def row(e: Emit, a: Arguments) -> None:
        b, N = e.b, a["N"]

        def element(index: Value, mask: Value | None) -> Value:
            return _converted(e, e.load(e.at(a["x"], index, dtype=source), mask, dtype=source),
                              source, dtype)

        def fold(combine: Combine) -> Value:
            return fold_row(e, N, element, combine, e.const(neutral_of(op, dtype)), ways=WAYS)

        if op in ("max", "min") and dtype in FLOATS:
            value = _of_zeros(e, fold(e.maximum if op == "max" else e.minimum),
                              lambda: fold(combine_of(e, op)))
        else:
            value = fold(combine_of(e, op))
        if op == "mean":
            value = b.fdiv(value, e.splat(b.sitofp(N, e.element)))
        e.store_one(b.extract_element(value, I64(0)), a["y"])

    def plain(a: Values) -> None:
        x = strided(a["x"], (a["rows"], a["N"]), (a["ldx"], 1))
        with np.errstate(all="ignore"):
            a["y"][:a["rows"]] = reduced(op, x, dtype)

    return make(_name(f"reduce_{op}", dtype, source), f"x:{source or dtype} ldx y:{dtype} rows N",
                row_units(row, x=source), plain, stored(dtype))


def reduce_columns(op: str, outer: int, dtype: str = "f32", source: str | None = None) -> Kernel:
    """y[o, n] = the reduction of x[o, :K, n], for outer indices o of `outer` axes; y has stride 1.

        reduce_columns_sum_1(x, ldx, y, K, N, d0, x_d0, y_d0)

    source: as in `reduce`. A unit is `_PANEL` vectors of columns.
    """
    _check(op, dtype)
    axes, source = OuterAxes(outer), None if source == dtype else source

    def column(panel: Panel) -> None:
        e = panel.e

        def load(k: Value) -> list[Value]:
            return [_converted(e, value, source, dtype) for value in panel.load(k)]

        values = panel.fold(load, combine_of(e, op), e.const(neutral_of(op, dtype)))
        if op == "mean":
            length = e.splat(e.b.sitofp(panel.a["K"], e.element))
            values = [e.b.fdiv(value, length) for value in values]
        panel.store(I64(0), values)

    def plain(a: Values) -> None:
        x = axes.view(a, "x", (a["N"], a["K"]), (1, a["ldx"]))
        y = axes.view(a, "y", (a["N"],), (1,))
        with np.errstate(all="ignore"):
            y[...] = reduced(op, x.reshape(y.size, a["K"]), dtype).reshape(y.shape)

    return make(_name(f"reduce_columns_{op}_{outer}", dtype, source),
                column_signature(dtype, axes, rows=False, source=source),
                column_units(column, axes, _PANEL, rows=False, source=source),
                plain, stored(dtype))


def _name(name: str, dtype: str, source: str | None) -> str:
    return name_for(name, dtype) + (f"_of_{source}" if source else "")


def _converted(e: Emit, x: Value, source: str | None, dtype: str) -> Value:
    """Returns what was read as `source` in the dtype, a bool as the u8 that it is stored as."""
    if source is None:
        return x
    value = cast(e, x, source, dtype)
    return e.b.zext(value, e.vector) if dtype == "bool" else value


def _check(op: str, dtype: str) -> None:
    if op not in REDUCTIONS:
        raise ValueError(f"no reduction {op!r}; there are {', '.join(REDUCTIONS)}")
    check_dtype(op, dtype, REDUCTIONS[op])


def combine_of(e: Emit, op: str) -> Combine:
    """Returns what a reduction combines two vectors with, in any order where it is an extreme."""
    b = e.b
    floats = e.dtype in FLOATS
    return {"sum": b.fadd if floats else b.add, "mean": b.fadd,
            "prod": b.fmul if floats else b.mul, "max": e.highest, "min": e.lowest,
            "any": b.or_, "all": b.and_}[op]


def _of_zeros(e: Emit, value: Value, again: Callable[[], Value]) -> Value:
    """Returns an extreme; where it is a zero, which is rare, that of a second fold, `again`.

    The second one finds the sign of the zero. In every fold that would take half as long again.
    """
    b = e.b
    is_zero = b.extract_element(e.compare("==", value, e.const(0)), I64(0))
    before = b.block
    with b.if_then(is_zero, likely=False):
        zero = again()
        inside = b.block
    result = b.phi(e.vector)
    result.add_incoming(value, before)
    result.add_incoming(zero, inside)
    return result


def neutral_of(op: str, dtype: str) -> float:
    """Returns the neutral element of the reduction."""
    if op in ("max", "min"):
        if dtype in FLOATS:
            return -math.inf if op == "max" else math.inf
        limits = np.iinfo(DTYPES[dtype])
        return int(limits.min if op == "max" else limits.max)
    return 1 if op in ("prod", "all") else 0


def reduced(op: str, x: NDArray, dtype: str) -> NDArray:
    """Returns the reduction of x along its last axis in NumPy."""
    x = OPS["cast"].reference(x, dtype=dtype) if x.dtype != DTYPES[dtype] else x
    if op in ("sum", "mean"):
        total = x.sum(axis=1, dtype=x.dtype)
        return np.asarray(total / x.dtype.type(x.shape[1]) if op == "mean" else total)
    if op == "prod":
        return np.asarray(x.prod(axis=1, dtype=x.dtype))
    if op in ("any", "all"):
        return np.asarray(getattr(x, op)(axis=1))
    if not x.shape[1]:
        return np.full(len(x), neutral_of(op, dtype), x.dtype)
    return np.asarray(OPS[op].reference(x, axes=(1,), keepdims=False))


def arg(op: str, dtype: str = "f32") -> Kernel:
    """y[i] = the index of the first largest (argmax) or smallest (argmin) element of x[i].

        argmax(x, ldx, y, rows, N)

    It is that of the first NaN where there is one, and 0 without elements. y has stride 1. The
    extreme is found first, then its index. A unit is a row.
    """
    if op not in _EXTREMES:
        raise ValueError(f"no reduction to a place {op!r}; there are {', '.join(_EXTREMES)}")
    check_dtype(op, dtype, NUMBERS)
    extreme = _EXTREMES[op]

    def row(e: Emit, a: Arguments) -> None:
        b, N = e.b, a["N"]

        def element(index: Value, mask: Value | None) -> Value:
            return e.load(e.at(a["x"], index), mask)

        neutral = e.const(neutral_of(extreme, dtype))
        combine = e.maximum if extreme == "max" else e.minimum      # any zero equals the other
        value = fold_row(e, N, element, combine, neutral, ways=WAYS)
        places = ll.Constant(ll.VectorType(I64, e.width), list(range(e.width)))
        nowhere = e.splat(N)

        def place(index: Value, mask: Value | None) -> Value:
            return b.select(_is_extreme(e, element(index, mask), value),
                            b.add(e.splat(index), places), nowhere)

        def first(p: Value, q: Value) -> Value:
            return e.smaller(p, q, "i64")

        found = fold_row(e, N, place, first, nowhere, ways=1)
        e.store_one(b.extract_element(found, I64(0)), a["y"], "i64")

    def plain(a: Values) -> None:
        x = strided(a["x"], (a["rows"], a["N"]), (a["ldx"], 1))
        a["y"][:a["rows"]] = getattr(np, op)(x, axis=1) if a["N"] else 0

    return make(name_for(op, dtype), f"x:{dtype} ldx y:i64 rows N", row_units(row, y="i64"), plain,
                dtype)


def _is_extreme(e: Emit, x: Value, extreme: Value) -> Value:
    """Returns whether x equals the extreme or is NaN, in which case the extreme is NaN."""
    found = e.compare("==", x, extreme)
    return e.b.or_(found, e.b.fcmp_unordered("uno", x, x)) if e.dtype in FLOATS else found
