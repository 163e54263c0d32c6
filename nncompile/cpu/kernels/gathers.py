"""Elements by index: take, take_along, scatter_add, first_equal, put_rows and embedding_bag.

An index is checked before anything is read with it. A wrong one leaves zeros, and the first one
found is written to fault as step + 1, index, V. fault[0] stays 0 where all are right.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ir.types import DTYPES, FLOATS, NUMBERS, NDArray
from nncompile.cpu.kernels.faults import report, report_plain
from nncompile.cpu.kernels.kernel import Kernel, Units, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values, stored, strided
from nncompile.cpu.kernels.rows import element_units, for_row
from nncompile.cpu.vector import I64, Emit, Int, Value

_IDS = ("i64", "i32")
_MODES = ("sum", "mean", "max")


def take(index: str, outer: int, dtype: str = "f32") -> Kernel:
    """y[o, :N] = x[o, ids[o] * ldx + (0..N)], for outer indices o of `outer` axes.

        take_i64_1(y, x, ids, V, ldx, N, fault, step, d0, y_d0, x_d0, ids_d0)

    ids are int64 or int32 (`index` is "i64" or "i32") from 0 to V - 1, with strides counted in ids.
    A unit is one outer index.
    """
    check_dtype("an id", index, _IDS)
    check_dtype("take", dtype, tuple(DTYPES))
    axes = OuterAxes(outer)
    signature = (f"y:{dtype} x:{dtype} ids:{index} V ldx N fault:words step "
                 + axes.signature("y", "x", "ids"))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, N, zero = e.b, a["N"], e.const(0)
        with e.loop(first, stop) as unit:
            places = axes.places(e, a, unit.index, ["y", "x", "ids"])
            y = e.at(a["y"], places["y"])
            number = _id(e, e.at(a["ids"], places["ids"], dtype=index), index)
            with b.if_else(_known(e, number, a)) as (inside, outside):
                with inside:
                    x = e.at(a["x"], places["x"], b.mul(number, a["ldx"]))
                    for_row(e, N, lambda i, mask: e.store(
                        e.load(e.at(x, i), mask), e.at(y, i), mask))
                with outside:
                    for_row(e, N, lambda i, mask: e.store(zero, e.at(y, i), mask))
                    report(e, a, number, a["V"])

    def plain(a: Values) -> None:
        _gather_plain(a, axes, axes.view(a, "ids", (1,), (0,)), 1)

    return make(name_for(f"take_{index}_{outer}", dtype), signature, Units(axes.count, run), plain,
                stored(dtype))


def take_along(index: str, outer: int, dtype: str = "f32") -> Kernel:
    """y[o, n] = x[o, n * x_inner + ids[o, n * ids_inner] * ldx], for outer indices o and n < N.

        take_along_i64_1(y, x, ids, V, ldx, N, x_inner, ids_inner, fault, step, d0, y_d0, x_d0,
                         ids_d0)

    ids are as in take. A unit is one outer index, or CHUNK elements where there is no outer axis.
    """
    check_dtype("an id", index, _IDS)
    check_dtype("take_along", dtype, tuple(DTYPES))
    axes, lanes = OuterAxes(outer), stored(dtype)
    signature = (f"y:{dtype} x:{dtype} ids:{index} V ldx N x_inner ids_inner fault:words step "
                 + axes.signature("y", "x", "ids"))

    def elements(e: Emit, a: Arguments, start: Int, count: Value) -> None:
        b = e.b
        with e.loop(start, b.add(e.i64(start), count)) as loop:
            n = loop.index
            y = e.at(a["y"], n)
            place = e.at(a["ids"], b.mul(n, a["ids_inner"]), dtype=index)
            number = _id(e, place, index)
            with b.if_else(_known(e, number, a)) as (inside, outside):
                with inside:
                    x = e.at(a["x"], b.mul(n, a["x_inner"]), b.mul(number, a["ldx"]))
                    e.store_one(e.load_one(x), y)
                with outside:
                    e.store_one(e.element(0), y)
                    report(e, a, number, a["V"])

    units = element_units(axes, {"y": lanes, "x": lanes, "ids": index}, elements)

    def plain(a: Values) -> None:
        ids = axes.view(a, "ids", (a["N"],), (a["ids_inner"],))
        _gather_plain(a, axes, ids, a["x_inner"])

    return make(name_for(f"take_along_{index}_{outer}", dtype), signature, units, plain, lanes)


def _id(e: Emit, place: Value, index: str) -> Value:
    number = e.load_one(place, index)
    return e.b.sext(number, I64) if index == "i32" else number


def _known(e: Emit, number: Value, a: Arguments) -> Value:
    return e.b.icmp_unsigned("<", number, a["V"])      # as unsigned, a negative id is above V


def _gather_plain(a: Values, axes: OuterAxes, ids: NDArray, inner: int) -> None:
    """Computes y[o, n] = x[o, n * inner + ids[o, n] * ldx] in NumPy, ids broadcast along n."""
    V, N = a["V"], a["N"]
    known = (ids >= 0) & (ids < V)
    y = axes.view(a, "y", (N,), (1,))
    y[...] = 0
    if V:
        x = axes.view(a, "x", (V, N), (a["ldx"], inner))
        chosen = np.take_along_axis(x, np.where(known, ids, 0)[..., None, :], -2)
        np.copyto(y, chosen[..., 0, :], where=known)
    report_plain(a, ids[~known], V)


# -- scatter_add -----------------------------------------------------------------------------------

def scatter_add(index: str, outer: int, rows: bool, dtype: str = "f32") -> Kernel:
    """y[o, ids[o, n] * ldy + (0..D)] += x[o, n * ldx + (0..D)], n = 0, 1, ... N - 1 in this order.

        scatter_add_rows_i64_1(y, x, ids, V, ldy, N, ldx, ids_n, D, fault, step, d0, y_d0, x_d0,
                               ids_d0)

    o are the outer indices of `outer` axes. rows: whether there is a D; it is 1 without. ids are as
    in take, ids_n from one n to the next. A unit is a row of y: whoever has some of the rows reads
    all ids and adds what belongs to these rows, so that the order of a sum is always the same.
    """
    check_dtype("an id", index, _IDS)
    check_dtype("scatter_add", dtype, NUMBERS)
    axes = OuterAxes(outer)
    signature = (f"y:{dtype} x:{dtype} ids:{index} V ldy N ldx ids_n D fault:words step "
                 + axes.signature("y", "x", "ids"))

    def height(e: Emit, a: Arguments) -> Value:
        return e.greatest(a["V"], I64(1))              # ids are checked where y has no rows, too

    def add_one(e: Emit, x: Value, y: Value) -> None:
        add = e.b.fadd if dtype in FLOATS else e.b.add
        e.store_one(add(e.load_one(y), e.load_one(x)), y)

    def add_row(e: Emit, a: Arguments, x: Value, y: Value) -> None:
        add = e.b.fadd if dtype in FLOATS else e.b.add
        for_row(e, a["D"], lambda i, mask: e.store(
            add(e.load(e.at(y, i), mask), e.load(e.at(x, i), mask)), e.at(y, i), mask))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, high = e.b, height(e, a)
        end = b.udiv(b.add(stop, b.sub(high, I64(1))), high)
        with e.loop(b.udiv(first, high), end) as unit:
            before = b.mul(unit.index, high)
            mine, other = b.sub(first, before), b.sub(stop, before)
            places = axes.places(e, a, unit.index, ["y", "x", "ids"])
            with e.loop(0, a["N"]) as loop:
                place = e.at(a["ids"], places["ids"], b.mul(loop.index, a["ids_n"]), dtype=index)
                number = _id(e, place, index)
                inside = b.and_(b.icmp_signed(">=", number, mine),
                                b.icmp_signed("<", number, other))
                with b.if_else(_known(e, number, a)) as (known, unknown):
                    with known, b.if_then(inside):
                        x = e.at(a["x"], places["x"], b.mul(loop.index, a["ldx"]))
                        y = e.at(a["y"], places["y"], b.mul(number, a["ldy"]))
                        if rows:
                            add_row(e, a, x, y)
                        else:
                            add_one(e, x, y)
                    with unknown:
                        report(e, a, number, a["V"])

    def plain(a: Values) -> None:
        V, N, D = a["V"], a["N"], a["D"]
        ids = axes.view(a, "ids", (N,), (a["ids_n"],))
        known = (ids >= 0) & (ids < V)
        report_plain(a, ids[~known], V)
        places = np.nonzero(known)                     # in order along n, the last axis
        x = axes.view(a, "x", (N, D), (a["ldx"], 1))
        y = axes.view(a, "y", (V, D), (a["ldy"], 1))
        np.add.at(y, (*places[:-1], ids[known]), x[places])

    name = f"scatter_add_{'rows_' * rows}{index}_{outer}"
    units = Units(lambda e, a: e.b.mul(axes.count(e, a), height(e, a)), run, searches=True)
    return make(name_for(name, dtype), signature, units, plain, dtype)


# -- first_equal and put_rows ----------------------------------------------------------------------

_EMPTY = -1                       # a place of the hash table that has no number
_MIX = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB          # splitmix64's, so that like ids lie apart


def first_equal(index: str) -> Kernel:
    """y[n] = the least m with ids[m] = ids[n], for n < N.

        first_equal_i64(y, ids, N)

    Behind the N results y has 2 N more elements, each -1: a hash table of the numbers of the ids
    that were first, in which a number is at the first empty place from that of its id's hash on.
    ids are contiguous. There is one unit.
    """
    check_dtype("an id", index, _IDS)

    def id_at(e: Emit, a: Arguments, n: Value) -> Value:
        return _id(e, e.at(a["ids"], n, dtype=index), index)

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, N = e.b, a["N"]
        places, table = b.mul(N, I64(2)), e.at(a["y"], N, dtype="i64")

        def entry(place: Value) -> Value:
            return e.load_one(e.at(table, place, dtype="i64"), "i64")

        def is_empty(found: Value) -> Value:
            return b.icmp_signed("<", found, I64(0))

        with e.loop(first, stop), e.loop(0, N) as loop:
            n = loop.index
            number = id_at(e, a, n)

            def other_is_there(turn: Any, n: Value = n, number: Value = number) -> Value:
                found = entry(turn.values[0])
                known = b.select(is_empty(found), n, found)
                return b.icmp_signed("!=", id_at(e, a, known), number)

            with e.loop_while(other_is_there, [_hashed(e, number, places)]) as turn:
                after = b.add(turn.values[0], I64(1))
                at_end = b.icmp_signed("==", after, places)
                turn.next = [b.select(at_end, I64(0), after)]
            found = entry(turn.values[0])
            least = b.select(is_empty(found), n, found)
            e.store_one(least, e.at(table, turn.values[0], dtype="i64"), "i64")
            e.store_one(least, e.at(a["y"], n, dtype="i64"), "i64")

    def plain(a: Values) -> None:
        _, least, inverse = np.unique(a["ids"][:a["N"]], return_index=True, return_inverse=True)
        a["y"][:a["N"]] = least[inverse.reshape(-1)]

    signature = f"y:i64 ids:{index} N"
    return make(f"first_equal_{index}", signature, Units(lambda e, a: I64(1), run), plain, "i64")


def _hashed(e: Emit, number: Value, places: Value) -> Value:
    """Returns a place below `places`, which is about the same number of times each of them."""
    b = e.b
    for factor in _MIX:
        number = b.mul(b.xor(number, b.lshr(number, I64(30))), I64(factor))
    return b.lshr(b.mul(b.lshr(number, I64(32)), places), I64(32))


def put_rows(index: str, dtype: str = "f32") -> Kernel:
    """y[i] = rows[n] for the least n with ids[n] = i, or x[i] where there is none; rows of D.

        put_rows_i64(y, x, rows, ids, V, N, D)

    ids are as in take, but that those outside of 0 to V - 1 are left out. All is contiguous. y may
    be x, of which no other row is read or written then. A unit is a row of y: whoever has some of
    the rows reads all ids, from the last to the first.
    """
    check_dtype("an id", index, _IDS)
    check_dtype("put_rows", dtype, tuple(DTYPES))

    def copy(e: Emit, source: Value, target: Value, count: Value) -> None:
        for_row(e, count, lambda i, mask: e.store(
            e.load(e.at(source, i), mask), e.at(target, i), mask))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, D = e.b, a["D"]
        with b.if_then(b.icmp_unsigned("!=", a["y"], a["x"])):
            before = b.mul(first, D)
            copy(e, e.at(a["x"], before), e.at(a["y"], before), b.sub(b.mul(stop, D), before))
        with e.loop(1, b.add(a["N"], I64(1))) as loop:
            n = b.sub(a["N"], loop.index)
            number = _id(e, e.at(a["ids"], n, dtype=index), index)
            mine = b.and_(b.icmp_signed(">=", number, first), b.icmp_signed("<", number, stop))
            with b.if_then(mine):
                copy(e, e.at(a["rows"], b.mul(n, D)), e.at(a["y"], b.mul(number, D)), D)

    def plain(a: Values) -> None:
        V, N, D = a["V"], a["N"], a["D"]
        y, rows = strided(a["y"], (V, D), (D, 1)), strided(a["rows"], (N, D), (D, 1))
        if a["y"].ctypes.data != a["x"].ctypes.data:
            y[...] = strided(a["x"], (V, D), (D, 1))
        ids = a["ids"][:N]
        kept = np.flatnonzero((ids >= 0) & (ids < V))
        numbers, least = np.unique(ids[kept], return_index=True)
        y[numbers] = rows[kept[least]]

    signature = f"y:{dtype} x:{dtype} rows:{dtype} ids:{index} V N D"
    units = Units(lambda e, a: a["V"], run, searches=True)
    return make(name_for(f"put_rows_{index}", dtype), signature, units, plain, stored(dtype))


# -- embedding_bag --------------------------------------------------------------------------------

def embedding_bag(mode: str, index: str, weighted: bool, dtype: str = "f32",
                  offsets: str | None = None) -> Kernel:
    """y[i] = the sum, mean or maximum of the rows table[ids[n]], times weights[n], of bag i.

        embedding_bag_sum_i64(ids, offsets, table, V, D, y, ldy, bags, count, padding, fault, step,
                              last)
        embedding_bag_sum_weighted_i64(ids, offsets, table, V, D, y, ldy, bags, count, weights,
                                       padding, fault, step, last)

    Bag i has n from offsets[i] up to offsets[i + 1], and the last bag up to `count`, the number of
    ids; with `last` = 1 there is one more offset instead. Ids equal to `padding` (-1: none) are
    left out; an empty bag gives 0. All operands are contiguous but y, which has a row every ldy
    elements. ids are int64 or int32, and so are offsets, whose dtype is `offsets` where it differs.
    Offsets that do not begin with 0 and rise to at most `count` leave zeros, and the fault step +
    1, offset, -1 - count. A unit is a bag.
    """
    if mode not in _MODES:
        raise ValueError(f"no mode {mode!r} of embedding_bag; there are {', '.join(_MODES)}")
    if weighted and mode != "sum":
        raise ValueError(f"rows with weights are summed; there is no {mode}")
    of_offsets = offsets or index
    check_dtype("an id", index, _IDS)
    check_dtype("an offset", of_offsets, _IDS)
    check_dtype("embedding_bag", dtype, FLOATS)
    signature = (f"ids:{index} offsets:{of_offsets} table:{dtype} V D y:{dtype} ldy bags "
                 f"count {f'weights:{dtype}' * weighted} padding fault:words step last")
    kind = index if of_offsets == index else f"{index}_{of_offsets}"
    name = name_for(f"embedding_bag_{mode}{'_weighted' * weighted}_{kind}", dtype)

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as unit:
            y = e.at(a["y"], e.b.mul(unit.index, a["ldy"]))
            for_row(e, a["D"], lambda i, mask: e.store(e.const(0.0), e.at(y, i), mask))
            start, end = _bag(e, a, unit.index, of_offsets)
            with e.loop(start, end, 1, [I64(0)]) as loop:
                number = _id(e, e.at(a["ids"], loop.index, dtype=index), index)
                loop.next = [_add_row(e, a, mode, y, loop.index, number, loop.values[0])]
            if mode == "mean":
                _divide_by_count(e, a["D"], y, loop.values[0])

    def plain(a: Values) -> None:
        _bags_plain(a, mode)

    return make(name, signature, Units(lambda e, a: a["bags"], run), plain, dtype)


def _bag(e: Emit, a: Arguments, bag: Value, of_offsets: str) -> tuple[Value, Value]:
    """Returns the range of a bag's ids, which is empty where its offsets are wrong, a fault."""
    b, zero = e.b, I64(0)

    def offset(number: Value) -> Value:
        return _id(e, e.at(a["offsets"], number, dtype=of_offsets), of_offsets)

    start, following = offset(bag), b.add(bag, I64(1))
    has_next = b.icmp_signed("<", following, b.add(a["bags"], a["last"]))
    end = b.select(has_next, offset(b.select(has_next, following, bag)), a["count"])
    is_first = b.icmp_signed("==", bag, zero)
    begins = b.select(is_first, b.icmp_signed("==", start, zero), b.icmp_signed(">=", start, zero))
    ends = b.and_(b.icmp_signed("<=", start, end), b.icmp_signed("<=", end, a["count"]))
    right = b.and_(begins, ends)
    with b.if_then(b.not_(right)):
        report(e, a, b.select(begins, end, start), b.not_(a["count"]))
    return b.select(right, start, zero), b.select(right, end, zero)


def _add_row(e: Emit, a: Arguments, mode: str, y: Value, place: Value, number: Value,
             count: Value) -> Value:
    """Combines a row of the table with y, which holds `count` rows; returns the new count."""
    b, known = e.b, _known(e, number, a)
    with b.if_then(b.not_(known)):
        report(e, a, number, a["V"])
    wanted = b.and_(known, b.icmp_signed("!=", number, a["padding"]))
    with b.if_then(wanted):
        row = e.at(a["table"], b.mul(number, a["D"]))
        weight = e.broadcast(e.at(a["weights"], place)) if "weights" in a else None
        is_first = e.splat(b.icmp_signed("==", count, I64(0)))

        def add(i: Value, mask: Value | None) -> None:
            value, before = e.load(e.at(row, i), mask), e.load(e.at(y, i), mask)
            value = value if weight is None else b.fmul(value, weight)
            if mode == "max":
                value = b.select(is_first, value, e.highest(before, value))
            else:
                value = b.fadd(before, value)
            e.store(value, e.at(y, i), mask)

        for_row(e, a["D"], add)
    return b.add(count, b.zext(wanted, I64))


def _divide_by_count(e: Emit, D: Value, y: Value, count: Value) -> None:
    number = e.splat(e.b.sitofp(e.greatest(count, I64(1)), e.element))

    def divide(i: Value, mask: Value | None) -> None:
        place = e.at(y, i)
        e.store(e.b.fdiv(e.load(place, mask), number), place, mask)

    for_row(e, D, divide)


def _bags_plain(a: Values, mode: str) -> None:
    V, D, bags, count = a["V"], a["D"], a["bags"], a["count"]
    edges = [*map(int, a["offsets"][:bags + a["last"]]), *[count] * (1 - a["last"])]
    table, y = strided(a["table"], (V, D), (D, 1)), strided(a["y"], (bags, D), (a["ldy"], 1))
    y[...] = 0
    for bag in range(bags):
        start, stop = edges[bag:bag + 2]
        begins = start >= 0 if bag else start == 0
        if not (begins and start <= stop <= count):
            report_plain(a, np.array([stop if begins else start]), -1 - count)
            continue
        ids = a["ids"][start:stop]
        known = (ids >= 0) & (ids < V)
        report_plain(a, ids[~known], V)
        wanted = known & (ids != a["padding"])
        rows = table[ids[wanted]]
        rows = rows * a["weights"][start:stop][wanted, None] if "weights" in a else rows
        if len(rows):
            y[bag] = getattr(np, mode)(rows, axis=0)
