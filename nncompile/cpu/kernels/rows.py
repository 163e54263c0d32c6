"""Work along rows: the units of kernels that take rows, and loops over a row's vectors.

The order of every sum over a row depends on the row's length alone.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from nncompile.cpu.kernels.kernel import Units
from nncompile.cpu.kernels.operands import Arguments, OuterAxes
from nncompile.cpu.vector import I64, Emit, Int, Value

Combine: TypeAlias = Callable[[Value, Value], Value]
Term: TypeAlias = Callable[[Int, Value | None], Value]        # (position, mask) -> vector

WAYS = 4              # independent sums of a row, which hide the latency of addition
CHUNK = 4096          # elements of a unit, where a single row is divided into units
SPAN = 64             # vectors that each sum adds before it joins the total, for accuracy


def row_units(row: Callable[[Emit, Arguments], None], *, x: str | None = None,
              y: str | None = None) -> Units:
    """Returns the units of what `row` emits for one row.

    `row` gets the arguments with x and y moved to the row; x, y: their dtypes, where they are
    others than that of the kernel. Where y has rows (ldy), rows without elements have no units.
    """
    def count(e: Emit, a: Arguments) -> Value:
        if "ldy" not in a:
            return a["rows"]
        return e.b.select(e.b.icmp_signed(">", a["N"], I64(0)), a["rows"], I64(0))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as loop:
            row(e, a | {"x": e.at(a["x"], e.b.mul(loop.index, a["ldx"]), dtype=x),
                        "y": e.at(a["y"], e.b.mul(loop.index, a.get("ldy", I64(1))), dtype=y)})

    return Units(count, run)


def element_units(axes: OuterAxes, dtypes: Mapping[str, str],
                  elements: Callable[[Emit, Arguments, Int, Value], None]) -> Units:
    """Returns the units of what `elements` emits for elements start..start+count of a row.

    A unit is the row of an outer index, to which the operands, of these dtypes, are moved; or CHUNK
    elements where there is no outer axis.
    """
    def rows(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as unit:
            places = axes.places(e, a, unit.index, [*dtypes])
            moved = {r: e.at(a[r], place, dtype=dtypes[r]) for r, place in places.items()}
            elements(e, a | moved, 0, a["N"])

    def chunks(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as unit:
            start = e.b.mul(unit.index, I64(CHUNK))
            elements(e, a, start, e.least(I64(CHUNK), e.b.sub(a["N"], start)))

    def count(e: Emit, a: Arguments) -> Value:
        """There are none where rows have no elements, however many rows there are."""
        return e.b.select(e.b.icmp_signed("==", a["N"], I64(0)), I64(0), axes.count(e, a))

    if axes.rank:
        return Units(count, rows)
    return Units(lambda e, a: e.quotient_up(a["N"], CHUNK), chunks)


def for_row(e: Emit, N: Int, body: Callable[[Int, Value | None], None]) -> None:
    """Emits body(position, mask) for every vector of a row; only the last one may have a mask.

    Where N is a Python int, so is each position, and there is no loop.
    """
    b = e.b
    if isinstance(N, int):
        for start in range(0, N, e.width):
            body(start, e.mask(I64(N - start)) if N - start < e.width else None)
        return
    whole = b.and_(N, I64(-e.width))
    with e.loop(0, whole, e.width) as loop:
        body(loop.index, None)
    with b.if_then(b.icmp_signed("<", whole, N)):
        body(whole, e.mask(b.sub(N, whole)))


def fold_row(e: Emit, N: Int, term: Term, combine: Combine, neutral: Value, *,
             ways: int) -> Value:
    """Returns the terms of a row's vectors combined into one number, in every lane of the result.

    `ways` vectors are combined independently, over spans whose results are then combined. Where N
    is no multiple of the vector, the lanes outside of the last mask keep their value.
    """
    [result] = fold_rows(e, N, lambda index, mask: [term(index, mask)], [combine], [neutral],
                         ways=ways)
    return result


def fold_rows(e: Emit, N: Int, terms: Callable[[Int, Value | None], list[Value]],
              combines: Sequence[Combine], neutrals: Sequence[Value], *, ways: int) -> list[Value]:
    """Returns several folds of a row, each as fold_row does it, in one loop; `terms` emits theirs.

    Where N is a Python int, which is less than a span, there is no loop: see for_row.
    """
    if isinstance(N, int):
        return _unrolled_folds(e, N, terms, combines, neutrals, ways)
    b, W, count = e.b, e.width, len(combines)
    start = [*neutrals] * ways
    stride, span = W * ways, W * ways * SPAN
    main, whole = b.and_(N, I64(-stride)), b.and_(N, I64(-W))

    def combined(values: Sequence[Value], others: Sequence[Value]) -> list[Value]:
        return [combine(value, other) for combine, value, other in
                zip(combines, values, others, strict=True)]

    def each_way(values: Sequence[Value]) -> list[list[Value]]:
        return [[*values[i:i + count]] for i in range(0, len(values), count)]

    with e.loop(0, main, span, start) as spans:
        end = e.least(main, b.add(spans.index, I64(span)))
        with e.loop(spans.index, end, stride, start) as loop:
            loop.next = [new for way, values in enumerate(each_way(loop.values)) for new in
                         combined(values, terms(b.add(loop.index, I64(way * W)), None))]
        spans.next = [new for totals, values in
                      zip(each_way(spans.values), each_way(loop.values), strict=True)
                      for new in combined(totals, values)]
    first, *others = each_way(spans.values)
    if others:
        with e.loop(main, whole, W, first) as loop:
            loop.next = combined(loop.values, terms(loop.index, None))
        first = loop.values
    before = b.block
    with b.if_then(b.icmp_signed("<", whole, N)):
        mask = e.mask(b.sub(N, whole))
        masked = [b.select(mask, new, old) for new, old in
                  zip(combined(first, terms(whole, mask)), first, strict=True)]
        inside = b.block
    results = []
    for neutral, old, new in zip(neutrals, first, masked, strict=True):
        result = b.phi(neutral.type)
        result.add_incoming(old, before)
        result.add_incoming(new, inside)
        results.append(result)
    for total in others:
        results = combined(results, total)
    return [e.combine_lanes(result, combine) for result, combine in
            zip(results, combines, strict=True)]


def _unrolled_folds(e: Emit, N: int, terms: Callable[[Int, Value | None], list[Value]],
                    combines: Sequence[Combine], neutrals: Sequence[Value], ways: int
                    ) -> list[Value]:
    """The folds of a row of this length without a loop, in the same order.

    To combine with a neutral element twice is the same as once.
    """
    def combined(values: Sequence[Value], others: Sequence[Value]) -> list[Value]:
        return [combine(value, other) for combine, value, other in
                zip(combines, values, others, strict=True)]

    totals = [[*neutrals] for _ in range(ways)]
    main = N - N % (e.width * ways)

    def add(start: int, mask: Value | None) -> None:
        way = start // e.width % ways if start < main else 0
        made = combined(totals[way], terms(start, mask))
        totals[way] = made if mask is None else [
            e.b.select(mask, new, old) for new, old in zip(made, totals[way], strict=True)]

    for_row(e, N, add)
    results = totals[0]
    for other in totals[1:]:
        results = combined(results, other)
    return [e.combine_lanes(result, combine) for result, combine in
            zip(results, combines, strict=True)]
