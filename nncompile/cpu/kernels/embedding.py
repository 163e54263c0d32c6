"""Rows of a table, by number."""
from __future__ import annotations

from typing import Any

import numpy as np

from nncompile.cpu.kernels.kernel import (
    Arguments,
    Array,
    Kernel,
    Units,
    emit_entry_points,
    outer_count,
    outer_names,
    outer_places,
    strided,
)
from nncompile.cpu.kernels.rows import for_row
from nncompile.cpu.lanes import I32, I64, Emit, Value
from nncompile.cpu.target import Target


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
    kind = I64 if index == "i64" else I32
    arguments = ("ids", "table", "V", "D", "y", "ldy", "fault", "step", *outer_names(outer, "ids"))
    name = f"embedding_{index}_{outer}"

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b = e.b
        zero = e.const(0.0)
        with e.loop(first, stop) as unit:
            offset = outer_places(e, a, outer, unit.index, ["ids"])["ids"]
            place = b.gep(a["ids"], [offset], source_etype=kind)
            number = b.load(place, typ=kind, align=4)
            number = b.sext(number, I64) if kind is I32 else number
            y = e.at(a["y"], b.mul(unit.index, a["ldy"]))
            known = b.icmp_unsigned("<", number, a["V"])               # a negative id is above V
            with b.if_else(known) as (inside, outside):
                with inside:
                    source = e.at(a["table"], b.mul(number, a["D"]))
                    for_row(e, a["D"], lambda i, mask: e.store(
                        e.load(e.at(source, i), mask), e.at(y, i), mask))
                with outside:
                    for_row(e, a["D"], lambda i, mask: e.store(zero, e.at(y, i), mask))
                    _report(e, a, number)

    def emit(module: Any, target: Target) -> None:
        emit_entry_points(module, target, kernel, Units(
            lambda e, a: outer_count(e, a, outer), run))

    def python(ids: Array, table: Array, V: int, D: int, y: Array, ldy: int, fault: Array,
               step: int, *axes: int) -> None:
        numbers = strided(ids, axes[:outer], axes[outer:]).ravel()
        good = (numbers >= 0) & (numbers < V)
        rows = strided(table, (V, D), (D, 1))
        strided(y, (numbers.size, D), (ldy, 1))[...] = np.where(
            good[:, None], rows[np.where(good, numbers, 0)] if V else np.float32(0), np.float32(0))
        if not good.all() and fault[0] == 0:
            fault[:3] = step + 1, numbers[~good][0], V

    kernel = Kernel(name, arguments, "ppiipiwi" + "i" * 2 * outer, emit, python)
    return kernel


def _report(e: Emit, a: Arguments, number: Value) -> None:
    """Write the fault, unless another one is there: who changes fault[0] from 0 writes the rest."""
    b = e.b
    mine = b.cmpxchg(a["fault"], I64(0), b.add(a["step"], I64(1)), "acq_rel", "acquire")
    with b.if_then(b.extract_value(mine, 1)):
        b.store(number, e.word(a["fault"], 1))
        b.store(a["V"], e.word(a["fault"], 2))
