"""Work along rows: the units of kernels that take rows, and what is done with a row's vectors.

The order of every sum over a row depends on the row's length alone.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from nncompile.cpu.kernels.kernel import Arguments, Units
from nncompile.cpu.vector.builder import I64, Emit, Value

Combine: TypeAlias = Callable[[Value, Value], Value]
Term: TypeAlias = Callable[[Value, Value | None], Value]      # (place in the row, mask) -> vector

WAYS = 4              # sums of a row kept side by side, to hide the latency of addition
CHUNK = 4096          # elements of a unit, where a single row is cut into units
SPAN = 64             # vectors a way adds up before its sum joins the total, for accuracy


def row_units(row: Callable[[Emit, Arguments], None], *, x: str = "f32", y: str = "f32") -> Units:
    """Units of what `row` emits for one row, given the arguments with x and y, of these dtypes,
    moved to it.  Where y has rows (ldy), there is nothing to do for rows without elements."""
    def count(e: Emit, a: Arguments) -> Value:
        if "ldy" not in a:
            return a["rows"]
        return e.b.select(e.b.icmp_signed(">", a["N"], I64(0)), a["rows"], I64(0))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as loop:
            row(e, a | {"x": e.at(a["x"], e.b.mul(loop.index, a["ldx"]), dtype=x),
                        "y": e.at(a["y"], e.b.mul(loop.index, a.get("ldy", I64(1))), dtype=y)})

    return Units(count, run)


def chunks(e: Emit, a: Arguments) -> Value:
    """How many chunks there are in a row of N elements, each a unit."""
    return e.quotient_up(a["N"], CHUNK)


def chunk(e: Emit, a: Arguments, index: Value) -> tuple[Value, Value]:
    """Where a chunk starts, and its elements."""
    start = e.b.mul(index, I64(CHUNK))
    return start, e.least(I64(CHUNK), e.b.sub(a["N"], start))


def for_row(e: Emit, N: Value, body: Callable[[Value, Value | None], None]) -> None:
    """body(place, mask) for every vector of a row; the mask is None but for the last lanes."""
    b = e.b
    whole = b.and_(N, I64(-e.width))
    with e.loop(0, whole, e.width) as loop:
        body(loop.index, None)
    with b.if_then(b.icmp_signed("<", whole, N)):
        body(whole, e.mask(b.sub(N, whole)))


def fold_row(e: Emit, N: Value, term: Term, combine: Combine, neutral: Value, *,
             ways: int) -> Value:
    """The terms of a row's vectors combined into one number, in every lane of the result, from a
    neutral vector on.

    `ways` vectors are kept side by side, over spans that are combined in a total.  Where N is not a
    multiple of the vector, the lanes outside the mask keep what they had.
    """
    b, W = e.b, e.width
    start = [neutral] * ways
    stride, span = W * ways, W * ways * SPAN
    main, whole = b.and_(N, I64(-stride)), b.and_(N, I64(-W))
    with e.loop(0, main, span, start) as spans:
        end = e.least(main, b.add(spans.index, I64(span)))
        with e.loop(spans.index, end, stride, start) as loop:
            loop.next = [combine(value, term(b.add(loop.index, I64(way * W)), None))
                         for way, value in enumerate(loop.values)]
        spans.next = [combine(total, value) for total, value in
                      zip(spans.values, loop.values, strict=True)]
    first, *others = spans.values
    if others:
        with e.loop(main, whole, W, [first]) as loop:
            loop.next = [combine(loop.values[0], term(loop.index, None))]
        first = loop.values[0]
    before = b.block
    with b.if_then(b.icmp_signed("<", whole, N)):
        mask = e.mask(b.sub(N, whole))
        masked = b.select(mask, combine(first, term(whole, mask)), first)
        inside = b.block
    result = b.phi(neutral.type)
    result.add_incoming(first, before)
    result.add_incoming(masked, inside)
    for total in others:
        result = combine(result, total)
    return e.combine_lanes(result, combine)
