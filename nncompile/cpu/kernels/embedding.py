"""Rows of a table, by number."""
from __future__ import annotations

from nncompile.cpu.kernels.kernel import (
    Arguments,
    Kernel,
    Units,
    Values,
    make,
    outer_axes,
    outer_count,
    outer_places,
    outer_view,
    signature,
    strided,
)
from nncompile.cpu.kernels.rows import for_row
from nncompile.cpu.lanes import I32, I64, Emit, Value


def embedding(index: str, outer: int) -> Kernel:
    """Row u of y = table[ids[o]], for the u-th outer index o of `outer` axes.

        embedding_i64_1(ids, table, V, D, y, ldy, fault, step, d0, ids_d0)

    ids are int64 or int32 (`index` is "i64" or "i32"), their strides counted in ids; table is
    [V, D] without gaps; y has a row every ldy numbers.  An id outside 0..V-1 reads nothing of the
    table: its row is filled with zeros, and the first one found is written to fault as
    step + 1, id, V.  fault[0] is 0 where all ids are good, if it was before.
    A unit is a row of y.
    """
    if index not in ("i64", "i32"):
        raise ValueError(f"ids are i64 or i32, not {index!r}")
    types = signature(f"ids:{index} table:f32 V D y:f32 ldy fault:words step "
                      + outer_axes(outer, "ids"))

    def plain(a: Values) -> None:
        ids, V, D, fault = outer_view(a, outer, "ids", (), ()).ravel(), a["V"], a["D"], a["fault"]
        known = (ids >= 0) & (ids < V)
        y = strided(a["y"], (ids.size, D), (a["ldy"], 1))
        y[~known] = 0
        y[known] = strided(a["table"], (V, D), (D, 1))[ids[known]]
        if not known.all() and fault[0] == 0:
            fault[:3] = a["step"] + 1, ids[~known][0], V

    return make(f"embedding_{index}_{outer}", types, _units(index, outer), plain)


def _units(index: str, outer: int) -> Units:
    kind = I64 if index == "i64" else I32

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, D, zero = e.b, a["D"], e.const(0.0)
        with e.loop(first, stop) as unit:
            offset = outer_places(e, a, outer, unit.index, ["ids"])["ids"]
            place = b.gep(a["ids"], [offset], source_etype=kind)
            number = b.load(place, typ=kind, align=4)
            number = b.sext(number, I64) if kind is I32 else number
            y = e.at(a["y"], b.mul(unit.index, a["ldy"]))
            known = b.icmp_unsigned("<", number, a["V"])               # a negative id is above V
            with b.if_else(known) as (inside, outside):
                with inside:
                    source = e.at(a["table"], b.mul(number, D))
                    for_row(e, D, lambda i, mask: e.store(
                        e.load(e.at(source, i), mask), e.at(y, i), mask))
                with outside:
                    for_row(e, D, lambda i, mask: e.store(zero, e.at(y, i), mask))
                    _report(e, a, number)

    return Units(lambda e, a: outer_count(e, a, outer), run)


def _report(e: Emit, a: Arguments, number: Value) -> None:
    """Write the fault, unless another one is there: who changes fault[0] from 0 writes the rest."""
    b = e.b
    mine = b.cmpxchg(a["fault"], I64(0), b.add(a["step"], I64(1)), "acq_rel", "acquire")
    with b.if_then(b.extract_value(mine, 1)):
        b.store(number, e.word(a["fault"], 1))
        b.store(a["V"], e.word(a["fault"], 2))
