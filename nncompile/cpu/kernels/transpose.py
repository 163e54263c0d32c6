"""Copies that exchange rows and columns."""
from __future__ import annotations

from ir.types import DTYPES
from nncompile.cpu.kernels.kernel import Kernel, Units, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values, stored
from nncompile.cpu.vector import I64, Emit, Value

_TILES = 4            # side by side in a unit, which then reads several cache lines of a row


def transpose(outer: int, dtype: str = "f32") -> Kernel:
    """y[o, :M, :N] = the transpose of x[o, :N, :M], for outer indices o of `outer` axes.

        transpose_1(y, ldy, x, ldx, M, N, d0, y_d0, x_d0)

    x has N rows, ldx from one to the next, and y has M rows, ldy apart. Square tiles of as many
    rows as a vector has lanes are transposed in registers. A unit is `_TILES` tiles of x in width,
    with all of its rows; there is none where x has no rows.
    """
    check_dtype("transpose", dtype, tuple(DTYPES))
    axes = OuterAxes(outer)
    signature = f"y:{dtype} ldy x:{dtype} ldx M N {axes.signature('y', 'x')}"

    def blocks(e: Emit, a: Arguments) -> Value:
        return e.quotient_up(a["M"], _TILES * e.width)

    def count(e: Emit, a: Arguments) -> Value:
        units = e.b.mul(axes.count(e, a), blocks(e, a))
        return e.b.select(e.b.icmp_signed("==", a["N"], I64(0)), I64(0), units)

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, W = e.b, e.width
        in_matrix = blocks(e, a)
        with e.loop(first, stop) as unit:
            index, block = b.udiv(unit.index, in_matrix), b.urem(unit.index, in_matrix)
            places = axes.places(e, a, index, ("y", "x"))
            start = b.mul(block, I64(_TILES * W))
            end = e.least(a["M"], b.add(start, I64(_TILES * W)))
            with e.loop(0, a["N"], W) as row, e.loop(start, end, W) as column:
                tile = a | {"x": e.at(a["x"], places["x"], b.mul(row.index, a["ldx"]),
                                      column.index),
                            "y": e.at(a["y"], places["y"], b.mul(column.index, a["ldy"]),
                                      row.index)}
                transpose_tile(e, tile, b.sub(a["N"], row.index), b.sub(a["M"], column.index))

    def plain(a: Values) -> None:
        M, N = a["M"], a["N"]
        y = axes.view(a, "y", (M, N), (a["ldy"], 1))
        y[...] = axes.view(a, "x", (M, N), (1, a["ldx"]))

    return make(name_for(f"transpose_{outer}", dtype), signature, Units(count, run), plain,
                stored(dtype))


def transpose_tile(e: Emit, a: Arguments, rows: Value, columns: Value) -> None:
    """Emits the copy of a tile of x to y, where x has at least one more row and column."""
    whole = e.b.icmp_signed(">=", e.least(rows, columns), I64(e.width))
    with e.b.if_else(whole) as (inside, edge):
        with inside:
            _whole_tile(e, a)
        with edge:
            _edge_tile(e, a, rows, columns)


def _whole_tile(e: Emit, a: Arguments) -> None:
    vectors = [e.load(e.at(a["x"], e.b.mul(a["ldx"], I64(i)))) for i in range(e.width)]
    for i, vector in enumerate(_turned(e, vectors)):
        e.store(vector, e.at(a["y"], e.b.mul(a["ldy"], I64(i))))


def _edge_tile(e: Emit, a: Arguments, rows: Value, columns: Value) -> None:
    """Emits a tile at an edge.

    Where it has fewer rows, the last one is read again in their place.
    """
    b = e.b
    last, mask = b.sub(rows, I64(1)), e.mask(columns)
    vectors = [e.load(e.at(a["x"], b.mul(a["ldx"], e.least(I64(i), last))), mask)
               for i in range(e.width)]
    mask = e.mask(rows)
    for i, vector in enumerate(_turned(e, vectors)):
        with b.if_then(b.icmp_signed("<", I64(i), columns)):
            e.store(vector, e.at(a["y"], b.mul(a["ldy"], I64(i))), mask)


def _turned(e: Emit, vectors: list[Value]) -> list[Value]:
    """Returns the transpose of as many vectors as they have lanes.

    Blocks of 1, 2, 4, ... lanes are exchanged across the diagonal: log2(lanes) rounds of shuffles.
    """
    W = e.width
    size = 1
    while size < W:
        upper = e.numbers(lane + W - size if lane & size else lane for lane in range(W))
        lower = e.numbers(lane + W if lane & size else lane + size for lane in range(W))
        for i in range(W):
            if not i & size:
                p, q = vectors[i], vectors[i + size]
                vectors[i] = e.b.shuffle_vector(p, q, upper)
                vectors[i + size] = e.b.shuffle_vector(p, q, lower)
        size *= 2
    return vectors
