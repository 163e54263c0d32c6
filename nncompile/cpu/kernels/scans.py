"""The kernels cumsum and topk, which go along a row, or down columns, element by element."""
from __future__ import annotations

from typing import Any

import numpy as np

from ir.types import DTYPES, FLOATS, NUMBERS
from nncompile.cpu.kernels.columns import Panel, column_signature, column_units
from nncompile.cpu.kernels.kernel import Kernel, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values, strided
from nncompile.cpu.kernels.rows import row_units
from nncompile.cpu.vector import F64, I64, PTR, Emit, Value, define

_PANEL = 4            # vectors of a panel of columns


def cumsum(dtype: str = "f32") -> Kernel:
    """y[i, n] = x[i, 0] + ... + x[i, n]; y may be x itself.

        cumsum(x, ldx, y, ldy, rows, N)

    Floats are added in double precision, as in torch, and integers modulo 2^bits. A unit is a row.
    """
    check_dtype("cumsum", dtype, NUMBERS)
    floats = dtype in FLOATS

    def row(e: Emit, a: Arguments) -> None:
        b, one = e.b, e.element
        zero = F64(0.0) if floats else one(0)
        with e.loop(0, a["N"], 1, [zero]) as loop:
            value = e.load_one(e.at(a["x"], loop.index))
            value = b.fpext(value, F64) if dtype == "f32" else value
            total = (b.fadd if floats else b.add)(loop.values[0], value)
            loop.next = [total]
            total = b.fptrunc(total, one) if dtype == "f32" else total
            e.store_one(total, e.at(a["y"], loop.index))

    def plain(a: Values) -> None:
        rows, N = a["rows"], a["N"]
        x, y = (strided(a[r], (rows, N), (a[f"ld{r}"], 1)) for r in "xy")
        with np.errstate(all="ignore"):
            y[...] = np.cumsum(x, 1, np.float64 if floats else DTYPES[dtype])

    return make(name_for("cumsum", dtype), f"x:{dtype} ldx y:{dtype} ldy rows N", row_units(row),
                plain, dtype)


def cumsum_columns(outer: int, dtype: str = "f32") -> Kernel:
    """y[o, k, n] = x[o, 0, n] + ... + x[o, k, n], for outer indices o of `outer` axes; y may be x.

        cumsum_columns_1(x, ldx, y, ldy, K, N, d0, x_d0, y_d0)

    A unit is `_PANEL` vectors of columns.
    """
    check_dtype("cumsum", dtype, NUMBERS)
    axes, wide = OuterAxes(outer), "f64" if dtype in FLOATS else dtype

    def column(panel: Panel) -> None:
        e, b = panel.e, panel.e.b
        with e.loop(0, panel.a["K"], 1, [e.const(0, wide)] * panel.vectors) as loop:
            values = panel.load(loop.index)
            if dtype == "f32":
                values = [b.fpext(value, e.vector_of(wide)) for value in values]
            loop.next = list(map(b.fadd if dtype in FLOATS else b.add, loop.values, values))
            totals = loop.next
            if dtype == "f32":
                totals = [b.fptrunc(total, e.vector) for total in totals]
            panel.store(loop.index, totals)

    def plain(a: Values) -> None:
        x, y = (axes.view(a, r, (a["K"], a["N"]), (a[f"ld{r}"], 1)) for r in "xy")
        with np.errstate(all="ignore"):
            y[...] = np.cumsum(x, -2, np.float64 if dtype in FLOATS else DTYPES[dtype])

    return make(name_for(f"cumsum_columns_{outer}", dtype),
                column_signature(dtype, axes, rows=True),
                column_units(column, axes, _PANEL, rows=True), plain,
                dtype)


# -- topk -----------------------------------------------------------------------------------------

def topk(largest: bool, dtype: str = "f32") -> Kernel:
    """y[i, :k] = the indices of the k largest or smallest elements of x[i], in order; 0 <= k <= N.

        topk_largest(x, ldx, y, ldy, rows, N, k)

    Of equal elements the first comes first; NaN counts as the largest. y is a heap of the k best
    indices so far, with the worst on top. Each further element that is better replaces the top. At
    the end the heap is sorted in place. A unit is a row.
    """
    check_dtype("topk", dtype, NUMBERS)

    def row(e: Emit, a: Arguments) -> None:
        b, k, x, y = e.b, a["k"], a["x"], a["y"]
        function = _sift(e, largest)

        def sift(size: Value, hole: Value, place: Value) -> None:
            b.call(function, [x, y, size, hole, place])

        with e.loop(0, k) as loop:
            b.store(loop.index, e.word(y, loop.index))
        half = b.lshr(k, I64(1))
        with e.loop(0, half) as loop:
            hole = b.sub(b.sub(half, I64(1)), loop.index)
            sift(k, hole, b.load(e.word(y, hole), typ=I64))

        def offer(place: Value) -> None:
            with b.if_then(_before(e, largest, x, place, b.load(y, typ=I64))):
                sift(k, I64(0), place)

        stop = b.select(b.icmp_signed("==", k, I64(0)), I64(0), a["N"])
        whole = b.add(k, e.whole(e.greatest(b.sub(stop, k), I64(0)), e.width))
        with e.loop(k, whole, e.width) as block:        # few vectors have an element for the heap
            top = e.broadcast(e.at(x, b.load(y, typ=I64)))
            better = _better(e, largest, e.load(e.at(x, block.index)), top)
            end = b.add(block.index, I64(e.width))
            with b.if_then(e.any(better)), e.loop(block.index, end) as loop:
                offer(loop.index)
        with e.loop(whole, stop) as loop:
            offer(loop.index)
        with e.loop(1, k) as loop:
            size = b.sub(k, loop.index)
            end = e.word(y, size)
            moved = b.load(end, typ=I64)
            b.store(b.load(y, typ=I64), end)
            sift(size, I64(0), moved)

    def plain(a: Values) -> None:
        rows, N, k = a["rows"], a["N"], a["k"]
        x = strided(a["x"], (rows, N), (a["ldx"], 1))
        if largest:
            ids = N - 1 - np.argsort(x[:, ::-1], axis=1, kind="stable")[:, ::-1]
        else:
            ids = np.argsort(x, axis=1, kind="stable")
        strided(a["y"], (rows, k), (a["ldy"], 1))[...] = ids[:, :k]

    name = name_for("topk_largest" if largest else "topk_smallest", dtype)
    return make(name, f"x:{dtype} ldx y:i64 ldy rows N k", row_units(row, y="i64"), plain, dtype)


def _sift(e: Emit, largest: bool) -> Any:
    """Returns the function that inserts an index into a hole of the heap y[:size].

    It moves the hole down while one of its two children comes later in order than the index to
    insert: in the heap a parent comes after both of its children.
    """
    function, a = define(e.module, "sift", {"x": PTR, "y": PTR, "size": I64, "hole": I64,
                                            "place": I64}, internal=True)
    e = Emit(function, e.target, e.dtype)
    b, x, y, size, place = e.b, a["x"], a["y"], a["size"], a["place"]
    head, look, down, done = (function.append_basic_block(n)
                              for n in ("head", "look", "down", "done"))
    start = b.block
    b.branch(head)

    b.position_at_end(head)
    hole = b.phi(I64)
    hole.add_incoming(a["hole"], start)
    child = b.add(b.shl(hole, I64(1)), I64(1))
    b.cbranch(b.icmp_signed("<", child, size), look, done)

    b.position_at_end(look)
    other = e.least(b.add(child, I64(1)), b.sub(size, I64(1)))
    first, second = (b.load(e.word(y, i), typ=I64) for i in (child, other))
    is_first = _before(e, largest, x, first, second)
    last, at = b.select(is_first, second, first), b.select(is_first, other, child)
    b.cbranch(_before(e, largest, x, place, last), down, done)

    b.position_at_end(down)
    b.store(last, e.word(y, hole))
    hole.add_incoming(at, down)
    b.branch(head)

    b.position_at_end(done)
    b.store(place, e.word(y, hole))
    b.ret_void()
    return function


def _before(e: Emit, largest: bool, x: Value, i: Value, j: Value) -> Value:
    """Returns whether x[i] comes before x[j] in order."""
    b = e.b
    p, q = (e.load_one(e.at(x, place)) for place in (i, j))
    return b.or_(_better(e, largest, p, q),
                 b.and_(b.not_(_better(e, largest, q, p)), b.icmp_signed("<", i, j)))


def _better(e: Emit, largest: bool, p: Value, q: Value) -> Value:
    """Returns whether p comes before q whatever their indices; NaN counts as the largest.

    p and q are elements or vectors.
    """
    high, low = (p, q) if largest else (q, p)
    if e.dtype not in FLOATS:
        return e.compare(">", high, low)
    return e.b.and_(e.b.fcmp_unordered(">", high, low), e.compare("==", low, low))
