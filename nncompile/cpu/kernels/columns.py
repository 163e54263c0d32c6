"""Work down columns: y[o, :, n] is computed from x[o, :, n], for outer indices o and n < N.

It is what a kernel of rows does along a row, for as many columns at a time as vectors have lanes.
x and y are K rows of N elements, `ldx` and `ldy` from one row to the next. A unit is a panel of
columns of one outer index. Each column has its own sum, which runs down in spans, so that its order
depends on K alone: not on where the column is or how many are beside it.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ir.records import dataclass
from nncompile.cpu.kernels.kernel import Units
from nncompile.cpu.kernels.operands import Arguments, OuterAxes
from nncompile.cpu.kernels.rows import SPAN, Combine
from nncompile.cpu.vector import I64, Emit, Value

Vectors: TypeAlias = list[Value]

_ENOUGH = 4           # vectors whose sums run side by side, so that none waits for the one before


def column_signature(dtype: str, axes: OuterAxes, *, rows: bool, source: str | None = None) -> str:
    """Returns the signature of a kernel's first arguments; y has rows, or is one row itself.

    source: the dtype of x, where it is another than that of y.
    """
    return f"x:{source or dtype} ldx y:{dtype} {'ldy' * rows} K N {axes.signature('x', 'y')}"


@dataclass(frozen=True)
class Panel:
    """Some columns of one outer index; with a mask it is a single vector.

    source: the dtype of x, where it is another than that of the kernel.
    """

    e: Emit
    a: Arguments
    vectors: int
    mask: Value | None
    source: str | None = None

    def load(self, k: Value) -> Vectors:
        """Returns row k of x."""
        e, dtype = self.e, self.source
        row = e.at(self.a["x"], e.b.mul(k, self.a["ldx"]), dtype=dtype)
        return [e.load(e.at(row, i * e.width, dtype=dtype), self.mask, dtype=dtype)
                for i in range(self.vectors)]

    def load_result(self, k: Value) -> Vectors:
        """Returns row k of y."""
        row = self._result(k)
        return [self.e.load(self.e.at(row, i * self.e.width), self.mask)
                for i in range(self.vectors)]

    def store(self, k: Value, values: Sequence[Value]) -> None:
        """Stores row k of y, or y itself where it is one row."""
        row = self._result(k)
        for i, value in enumerate(values):
            self.e.store(value, self.e.at(row, i * self.e.width), self.mask)

    def fold(self, term: Callable[[Value], Vectors], combine: Combine, neutral: Value) -> Vectors:
        """Returns the terms of all rows k combined, in spans that are then combined."""
        e, K, start = self.e, self.a["K"], [neutral] * self.vectors
        with e.loop(0, K, SPAN, start) as spans:
            end = e.least(K, e.b.add(spans.index, I64(SPAN)))
            with e.loop(spans.index, end, 1, start) as loop:
                loop.next = list(map(combine, loop.values, term(loop.index)))
            spans.next = list(map(combine, spans.values, loop.values))
        return spans.values

    def _result(self, k: Value) -> Value:
        return self.e.at(self.a["y"], self.e.b.mul(k, self.a.get("ldy", I64(0))))


def column_units(column: Callable[[Panel], None], axes: OuterAxes, vectors: int, *, rows: bool,
                 source: str | None = None) -> Units:
    """Returns the units of what `column` emits for a panel.

    rows, source: as in column_signature; if y has the rows of x and there are none, there is
    nothing to do, however many columns there are.

    It emits those of panels of `vectors` vectors, of half as many where that is still enough to
    hide the latency of an addition, and of one, by which the right edge ends.
    """
    halves = [vectors // 2] if vectors // 2 >= _ENOUGH else []

    def panels(e: Emit, a: Arguments) -> Value:
        return e.quotient_up(a["N"], vectors * e.width)

    def count(e: Emit, a: Arguments) -> Value:
        units = e.b.mul(axes.count(e, a), panels(e, a))
        return e.b.select(e.b.icmp_signed("==", a["K"], I64(0)), I64(0), units) if rows else units

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, width, in_row = e.b, vectors * e.width, panels(e, a)
        with e.loop(first, stop) as unit:
            index, panel = b.udiv(unit.index, in_row), b.urem(unit.index, in_row)
            places = axes.places(e, a, index, ("x", "y"))
            start = b.mul(panel, I64(width))
            left = b.sub(a["N"], start)

            def at(column: Value) -> Arguments:
                return a | {r: e.at(a[r], place, column, dtype=source if r == "x" else None)
                            for r, place in places.items()}

            with b.if_else(b.icmp_signed(">=", left, I64(width))) as (whole, edge):
                with whole:
                    column(Panel(e, at(start), vectors, None, source))
                with edge:
                    done = I64(0)
                    for half in halves:
                        with e.loop(0, e.whole(left, half * e.width), half * e.width) as loop:
                            column(Panel(e, at(b.add(start, loop.index)), half, None, source))
                        done = e.whole(left, half * e.width)
                    with e.loop(done, left, e.width) as loop:
                        mask = e.mask(b.sub(left, loop.index))
                        column(Panel(e, at(b.add(start, loop.index)), 1, mask, source))

    return Units(count, run)
