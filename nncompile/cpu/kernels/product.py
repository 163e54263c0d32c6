"""The products linear and matmul: one register tile over two layouts of the right operand.

A tile is some rows by a panel of columns, whose sums stay in registers. Every sum starts from the
bias, or 0, and adds k = 0, 1, 2, ... by one fused multiply-add each. Along the right edge, where a
panel is one vector wide, an element has SPLIT such sums, which are added at the end. K is divided
into chunks, between which the sums are stored, without loss. A row's bits therefore depend on
K and on its column alone: not on the height of its tile, the rows beside it, or the worker.

y must not overlap x or w. A further operand of a chain may be y itself: until a tile's sums are
complete they are kept elsewhere.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir as ll

import nncompile.cpu.kernels.chain as chains
from ir.records import dataclass
from ir.types import DTYPES, FLOATS
from nncompile.cpu.kernels.chain import Chain
from nncompile.cpu.kernels.epilogue import Epilogue, GroupEnd
from nncompile.cpu.kernels.kernel import Kernel, Part, Units, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values, strided
from nncompile.cpu.kernels.packing import unpack_linear
from nncompile.cpu.kernels.transpose import transpose_tile
from nncompile.cpu.vector import I1, I64, PTR, Emit, Int, Target, Value, declared, define, host

_CHUNK = 512          # steps of k between which sums are stored: a chunk's panel stays in L2
UNROLL = 2            # steps of k in one iteration of a wide tile's loop
SPLIT = 4             # sums of an element in edge tiles, which have too few of them to hide latency
_STREAMED = 1 << 19   # weights above which a panel's first tile waits for memory: 2 MiB in float32
_AHEAD = 16           # the tallest tile prefetches packed weights so many steps of k ahead
_LINE = 64            # bytes of a cache line
_LINEAR_ROWS = 96     # rows of a unit of linear, for which a panel is read once
_MATMUL_TILES = 4     # row tiles of a unit of matmul; each matrix has units of its own
_PACKED_ROWS = 256    # rows of a unit of matmul that packs a panel of the right operand
_KEPT_ROWS = 64       # the same where the unit after it on the same worker finds the panel packed
_PACKED_FROM = 48     # rows of a product from which on it pays to pack what comes from memory


@functools.cache
def linear(then: Chain = (), dtype: str = "f32") -> Kernel:
    """y[i] = then(x[i] @ weight.T + bias), for i in range(rows).

        linear_relu_add_v(x, ldx, w, y, ldy, rows, K, N, r0, ldr0)

    Row i of x is K numbers at x + i*ldx, and of y N numbers at y + i*ldy; w is what pack_linear
    returns. A further operand of the chain is at r + i*ldr: N numbers (kind v) or one (kind s).
    A unit is a panel of columns for up to `_LINEAR_ROWS` rows.
    """
    check_dtype("a product", dtype, FLOATS)
    chains.check(then, "vs", dtype=dtype)
    end, operands = Epilogue(then), chains.operands(then)
    further = " ".join(f"{r}:{dtype} ld{r}" for r in operands)
    signature = f"x:{dtype} ldx w:{dtype} y:{dtype} ldy rows K N {further}"
    name = name_for("_".join(("linear", *chains.names(then))), dtype)

    def plain(a: Values) -> None:
        rows, K, N = a["rows"], a["K"], a["N"]
        weight, bias = unpack_linear(a["w"], N, K, host(), dtype)
        value = strided(a["x"], (rows, K), (a["ldx"], 1)) @ weight + bias
        arrays = [strided(a[r], (rows, N if kind == "v" else 1), (a[f"ld{r}"], 1))
                  for r, kind in zip(operands, chains.kinds(then), strict=True)]
        strided(a["y"], (rows, N), (a["ldy"], 1))[...] = chains.evaluate(then, value, arrays, dtype)

    parts = _shared_tiles(end, packed=True, turned="", dtype=dtype)
    return make(name, signature, _linear_units(name, end), plain, dtype, parts)


@functools.cache
def matmul(then: Chain = (), outer: int = 0, dtype: str = "f32", turned: str = "",
           group: GroupEnd | None = None) -> Kernel:
    """y[o, m] = then(x[o, m] @ w[o]), for outer indices o of `outer` axes and m in range(M).

        matmul_mul_s_1(x, ldx, w, ldw, y, ldy, M, K, N, d0, x_d0, w_d0, y_d0, r0, ldr0, r0_d0)
        matmul_turned_x_0(x, ldx, w, ldw, y, ldy, M, K, N)
        matmul_then_group_mul_sub_mul_7c5f02d1_0(x, ldx, ..., N, r0, ldr0, r1, ldr1, y1, ldy1)

    w[o] is K rows of N numbers, ldw from one to the next. Strides along the outer axes are named
    after their operand; 0 uses the same matrix for all. Further operands are as in linear; one that
    has the elements of y where y has them may be y. An operand that `turned` names, x or w or xw,
    is stored as its transpose: x as K rows of M numbers, and w as N rows of K. A `group` takes the
    place of the chain and may have further results; each of these may also be an operand. A unit is
    `_MATMUL_TILES` row tiles of one matrix, with all columns. Of a right operand that is turned, or
    large, it is one panel, which is packed, and some rows. Units of the same panel are neighbours:
    if it is one chunk of K, it is packed once for all that are run one after the other.
    """
    check_dtype("a product", dtype, FLOATS)
    end = Epilogue(then, group)
    end.check(dtype)
    axes, names = OuterAxes(outer), [*end.operands, *end.results[1:]]
    further = " ".join(f"{r}:{dtype} ld{r} {axes.strides(r)}" for r in names)
    signature = (f"x:{dtype} ldx w:{dtype} ldw y:{dtype} ldy M K N "
                 f"{axes.signature('x', 'w', 'y')} {further}")
    kind = f"matmul_turned_{turned}" if turned else "matmul"
    name = name_for("_".join((kind, *end.names, str(outer))), dtype)

    def plain(a: Values) -> None:
        M, K, N = a["M"], a["K"], a["N"]
        x = axes.view(a, "x", (M, K), (1, a["ldx"]) if "x" in turned else (a["ldx"], 1))
        w = axes.view(a, "w", (K, N), (1, a["ldw"]) if "w" in turned else (a["ldw"], 1))
        arrays = [axes.view(a, r, (M, N if kind == "v" else 1), (a[f"ld{r}"], 1))
                  for r, kind in zip(end.operands, end.kinds, strict=True)]
        made = [np.array(value) for value in end.evaluate(x @ w, arrays, dtype)]  # an r may be a y
        for y, value in zip(end.results, made, strict=True):
            axes.view(a, y, (M, N), (a[f"ld{y}"], 1))[...] = value

    parts = (*_shared_tiles(end, packed=False, turned=turned, dtype=dtype),
             _packing("w" in turned, dtype))
    return make(name, signature, _matmul_units(name, end, axes, turned), plain, dtype, parts)


# -- units --------------------------------------------------------------------------------------

def _linear_units(name: str, end: Epilogue) -> Units:
    def blocks(e: Emit, a: Arguments) -> Value:
        return e.quotient_up(a["rows"], _LINEAR_ROWS)

    def count(e: Emit, a: Arguments) -> Value:
        width = _panel_width(e)
        wide = e.b.udiv(a["N"], I64(width))
        edge = e.quotient_up(e.b.urem(a["N"], I64(width)), e.width)
        return e.b.mul(e.b.add(wide, edge), blocks(e, a))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        product = _Product(e.module, e.target, name, end, True, e.dtype)
        b, N, width = e.b, a["N"], _panel_width(e)
        a |= product.space(e, _LINEAR_ROWS)
        wide, in_panel = b.udiv(N, I64(width)), blocks(e, a)
        columns = b.mul(e.quotient_up(N, e.width), I64(e.width))
        bias = e.at(a["w"], b.mul(a["K"], columns))
        with e.loop(first, stop) as unit:
            panel, block = b.udiv(unit.index, in_panel), b.urem(unit.index, in_panel)
            row = b.mul(block, I64(_LINEAR_ROWS))
            height = e.least(I64(_LINEAR_ROWS), b.sub(a["rows"], row))
            with b.if_else(b.icmp_signed("<", panel, wide)) as (inside, right):
                with inside:
                    at = product.place(e, a, row, b.mul(panel, I64(width)), bias)
                    product.rows(e, at, height, e.target.panel)
                with right:
                    edge = b.mul(b.sub(panel, wide), I64(e.width))
                    column = b.add(b.mul(wide, I64(width)), edge)
                    product.rows(e, product.place(e, a, row, column, bias), height, 1)

    return Units(count, run, lots=False)


def _matmul_units(name: str, end: Epilogue, axes: OuterAxes, turned: str) -> Units:
    operands = ("x", "w", *end.results, *end.operands)

    def packs(e: Emit, a: Arguments) -> Value:
        """Returns whether panels of the right operand are packed, as those of a turned one are.

        Of one that comes from memory it is worth it: a product of 256 rows with 1024 x 1024 took
        0.89 times as long on a Zen 4. One with 512 x 784 took as long as without.
        """
        if "w" in turned:
            return I1(1)
        b = e.b
        return b.and_(b.icmp_signed(">=", a["M"], I64(_PACKED_FROM)),
                      b.icmp_signed(">", b.mul(a["K"], a["N"]), I64(_STREAMED)))

    def is_one_chunk(e: Emit, a: Arguments) -> Value:
        """Returns whether the packed panel is the whole one, which the next unit may need, too."""
        return e.b.icmp_signed("<=", a["K"], I64(_CHUNK))

    def shape(e: Emit, a: Arguments) -> tuple[Value, Value]:
        """Returns the rows and the columns of a unit."""
        b, packed, width = e.b, packs(e, a), I64(_panel_width(e))
        height = b.select(is_one_chunk(e, a), I64(_KEPT_ROWS), I64(_PACKED_ROWS))
        return (b.select(packed, height, I64(_MATMUL_TILES * e.target.tile_rows)),
                b.select(packed, width, e.greatest(a["N"], width)))

    def count(e: Emit, a: Arguments) -> Value:
        height, width = shape(e, a)
        blocks, panels = e.quotient_up(a["M"], height), e.quotient_up(a["N"], width)
        return e.b.mul(axes.count(e, a), e.b.mul(blocks, panels))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        product = _Product(e.module, e.target, name, end, False, e.dtype, turned)
        b, zeros, space = e.b, _zeros(e, _panel_width(e)), product.space(e, _PACKED_ROWS)
        packed = e.stack(_CHUNK * _panel_width(e))
        a |= {"reads_packed": packs(e, a)}
        height, width = shape(e, a)
        blocks, panels = e.quotient_up(a["M"], height), e.quotient_up(a["N"], width)
        with e.loop(first, stop, 1, [I64(-1)]) as unit:
            which, block = b.udiv(unit.index, blocks), b.urem(unit.index, blocks)
            found = b.and_(b.icmp_signed("==", which, unit.values[0]), is_one_chunk(e, a))
            unit.next = [which]
            index, panel = b.udiv(which, panels), b.urem(which, panels)
            offsets = axes.places(e, a, index, operands)
            matrix = a | {operand: e.at(a[operand], offset) for operand, offset in offsets.items()}
            row, column = b.mul(block, height), b.mul(panel, width)
            below, beside = (e.least(b.add(start, size), whole) for start, size, whole in (
                (row, height, a["M"]), (column, width, a["N"])))
            inside = e.whole(beside, _panel_width(e))
            for start, stop_column, vectors in ((column, inside, e.target.panel),
                                                (e.greatest(column, inside), beside, 1)):
                with e.loop(start, stop_column, vectors * e.width) as loop:
                    at = product.place(e, matrix, row, loop.index, zeros) | space
                    at["packs"] = b.and_(a["reads_packed"], b.not_(found))
                    before = b.mul(b.sub(loop.index, column), I64(_CHUNK))
                    at["packed"] = e.at(packed, b.select(a["reads_packed"], before, I64(0)))
                    product.rows(e, at, b.sub(below, row), vectors)

    return Units(count, run, lots=False)


def _panel_width(e: Emit) -> int:
    """Returns the number of columns of a panel of weights."""
    return e.target.panel * e.width


def _zeros(e: Emit, count: int) -> Value:
    """Returns the constant that sums start from in a product without a bias."""
    kind = ll.ArrayType(e.element, count)
    zeros = ll.GlobalVariable(e.module, kind, "zeros")
    zeros.linkage, zeros.global_constant, zeros.initializer = "internal", True, kind(None)
    return zeros


def _line(e: Emit) -> int:
    """Returns the number of elements in a cache line."""
    return _LINE // DTYPES[e.dtype].itemsize


# -- tiles --------------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Product:
    """The tile functions of one kernel, which are emitted into its module when they are asked for.
    """

    module: Any
    target: Target
    name: str
    end: Epilogue
    packed: bool              # whether the right operand is packed, or rows with a stride
    dtype: str
    turned: str = ""          # the operands that are stored as their transposes

    @property
    def _prefetches(self) -> bool:
        """Whether tall tiles prefetch packed weights.

        Without it the tiles of AVX2 take 1.1 times as long on a Zen 4. With AVX-512, whose panels
        are four cache lines wide, the CPU's own prefetcher is better: a tile of 6 rows took 1.2
        times as long with ours where the weights came from memory.
        """
        return self.packed and not self.target.avx512

    @property
    def _ends_in_registers(self) -> bool:
        """Whether there is a chain or a group that is cheap enough to be repeated for each sum."""
        return self.end != Epilogue() and not self.end.is_long

    def space(self, e: Emit, rows: int) -> Arguments:
        """Returns memory for the sums of a panel of so many rows between two chunks."""
        return {"sums": e.stack(rows * _panel_width(e))}

    def place(self, e: Emit, a: Arguments, row: Value, column: Value, start: Value) -> Arguments:
        """Returns the kernel's arguments, moved to the beginning of a panel's rows."""
        b = e.b
        at = dict(a, lanes=b.sub(a["N"], column))
        at["x"] = self._left(e, a, row, 0)
        for y in self.end.results:
            at[y] = e.at(a[y], b.mul(row, a[f"ld{y}"]), column)
        at["w"] = self._right(e, a, 0, column) if not self.packed else (
            e.at(a["w"], b.mul(column, a["K"])))
        at["start"] = e.at(start, column) if self.packed else start
        for r, kind in zip(self.end.operands, self.end.kinds, strict=True):
            at[r] = e.at(a[r], b.mul(row, a[f"ld{r}"]), column if kind == "v" else 0)
        return at

    def rows(self, e: Emit, a: Arguments, count: Value, vectors: int) -> None:
        """Emits all rows of a panel, chunk by chunk, in as few tiles as possible.

        The tiles are of equal height, 4 and 4 rows rather than 6 and 2: the L2 cache delivers half
        a vector of weights a cycle, and a tile of 2 rows uses each vector in only two cycles. But
        where the first tile waits for weights from memory, it is the tallest, so that less work is
        left after it.

        Where panels of a right operand that is not packed are to be, each chunk is packed before.
        """
        b, K = e.b, a["K"]
        tallest = self.target.tile_rows if vectors > 1 else self.target.edge_rows
        tiles = e.quotient_up(count, tallest)
        waits = b.icmp_signed(">", b.mul(K, a["N"]), I64(_STREAMED))
        length = e.greatest(K, I64(1))                                   # K = 0 is one empty chunk
        with e.loop(0, length, _CHUNK) as chunk:
            depth = e.least(I64(_CHUNK), b.sub(K, chunk.index))
            right = self._right_of_chunk(e, a, chunk.index, depth, vectors)
            with e.loop(0, tiles, 1, [I64(0)]) as tile:
                row = tile.values[0]
                left = b.sub(count, row)
                even = e.quotient_up(left, b.sub(tiles, tile.index))
                rows = b.select(waits, e.least(left, I64(tallest)), even)
                for height in range(1, tallest + 1):
                    with b.if_then(b.icmp_signed("==", rows, I64(height))):
                        self._call_tile(e, a | right, height, vectors, tile.index, row,
                                        chunk.index, depth)
                tile.next = [b.add(row, rows)]

    def _right_of_chunk(self, e: Emit, a: Arguments, k: Value, depth: Value, vectors: int
                        ) -> Arguments:
        """Returns the right operand from k on, and the distance of its rows; it may be packed."""
        if self.packed:
            return {"w": e.at(a["w"], e.b.mul(k, I64(vectors * e.width)))}
        b, w, width = e.b, self._right(e, a, k, 0), I64(vectors * e.width)
        values = {"w": w, "ldw": a["ldw"], "depth": depth, "lanes": a["lanes"],
                  "to": a["packed"], "width": width}
        with b.if_then(a["packs"]):
            e.call(_packing("w" in self.turned, e.dtype).symbol, ll.VoidType(),
                   *(values[name] for name in _PACKING_TYPES))
        return {"w": b.select(a["reads_packed"], a["packed"], w),
                "ldw": b.select(a["reads_packed"], width, a["ldw"])}

    def _call_tile(self, e: Emit, a: Arguments, height: int, vectors: int, tile: Value, row: Value,
                   k: Value, depth: Value) -> None:
        """Emits the call of a tile of `height` rows for the chunk of K that begins at k.

        A chain of cheap ops works in the tile's registers. A long one works on sums that were just
        stored, which are still in L1, so that its code is there once and not once for each sum.
        """
        b, width = e.b, I64(_panel_width(e))
        again = b.icmp_signed(">", k, I64(0))                            # continue stored sums
        last = b.icmp_signed("==", b.add(k, depth), a["K"])
        sums = e.at(a["sums"], b.mul(row, width))
        values = a | {
            "depth": depth, "x": self._left(e, a, row, k),
            "start": b.select(again, sums, a["start"]), "lds": b.select(again, width, I64(0)),
            "to": sums, "ldto": width, "sums": sums, "last": last, "rows": I64(height),
        }
        if self.end == Epilogue():
            y = e.at(a["y"], b.mul(row, a["ldy"]))
            values |= {"to": b.select(last, y, sums), "ldto": b.select(last, a["ldy"], width)}
        if self._prefetches:
            # Each tile prefetches its share of the next chunk, a line every UNROLL steps.
            share = b.mul(tile, b.mul(depth, I64(_line(e) // UNROLL)))
            values["ahead"] = e.at(a["w"], b.mul(depth, self._distance(e, a, vectors)), share)
        for r in (*self.end.results, *self.end.operands):
            values[r] = e.at(a[r], b.mul(row, a[f"ld{r}"]))
        function = self.tile(height, vectors)
        b.call(function, [values[argument.name] for argument in function.args])
        if self.end.is_long:
            function = self.after(vectors)
            with b.if_then(last):
                b.call(function, [values[argument.name] for argument in function.args])

    def _left(self, e: Emit, a: Arguments, row: Value, k: Int) -> Value:
        """Returns where the left operand has the element of a row and a k."""
        if "x" in self.turned:
            return e.at(a["x"], row, e.b.mul(e.i64(k), a["ldx"]))
        place = e.b.mul(row, a["ldx"])
        return e.at(a["x"], place) if isinstance(k, int) and k == 0 else e.at(a["x"], place, k)

    def _right(self, e: Emit, a: Arguments, k: Int, column: Int) -> Value:
        """Returns where a right operand that is not packed has the element of a k and a column."""
        row, along = (column, k) if "w" in self.turned else (k, column)
        return e.at(a["w"], e.b.mul(e.i64(row), a["ldw"]), along)

    def _distance(self, e: Emit, a: Arguments, vectors: int) -> Value:
        """Returns the distance in elements from one step of k to the next in the right operand."""
        return I64(vectors * e.width) if self.packed else a["ldw"]

    def tile(self, rows: int, vectors: int) -> Any:
        """Returns the function of a tile of `rows` x `vectors` sums.

        One that is a single vector wide is an edge tile, with masked lanes.
        """
        if self.end == Epilogue():
            part, = _shared_tiles(self.end, self.packed, self.turned, self.dtype)
            return declared(self.module, f"nnc_{part.name}_{rows}x{vectors}", self._tile_types())
        name = f"{self.name}_{rows}x{vectors}"
        return self.module.globals.get(name) or self.emit_tile(name, rows, vectors, internal=True)

    def emit_tile(self, name: str, rows: int, vectors: int, internal: bool) -> Any:
        """Adds the function of a tile, and returns it."""
        function, a = define(self.module, name, self._tile_types(), internal=internal)
        e = Emit(function, self.target, self.dtype)
        mask = e.mask(a["lanes"]) if vectors == 1 else None
        sums = self._accumulate(e, a, rows, vectors, mask)
        self._finish(e, a, sums, mask)
        e.b.ret_void()
        return function

    def _tile_types(self) -> dict[str, Any]:
        types = {"depth": I64, "x": PTR, "ldx": I64, "w": PTR, "start": PTR, "lds": I64,
                 "to": PTR, "ldto": I64, "last": I1, "lanes": I64}
        types |= {"ahead": PTR} if self._prefetches else {}
        types |= {} if self.packed else {"ldw": I64}
        return types | self._end_types()

    def _end_types(self) -> dict[str, Any]:
        """The types of what the end of a tile reads and writes."""
        types: dict[str, Any] = {}
        for r in (*self.end.results, *self.end.operands):
            types |= {r: PTR, f"ld{r}": I64}
        return types

    def _accumulate(self, e: Emit, a: Arguments, rows: int, vectors: int,
                    mask: Value | None) -> list[list[Value]]:
        """Emits start + x @ w over the chunk, and returns the sums, by row and vector."""
        b, W = e.b, e.width
        split = SPLIT if vectors == 1 else 1
        together = SPLIT if vectors == 1 else UNROLL
        weights_mask = None if self.packed else mask                     # packed weights are padded
        # Only the tallest tiles prefetch. Lower ones wait for weights, and the CPU's own prefetcher
        # reads a stream best alone: with ours they took up to 1.3 times as long on a Zen 4, with
        # weights in L3 and in memory.
        fetch = self._prefetches and (rows, vectors) == (self.target.tile_rows, self.target.panel)
        x = [self._left(e, a, I64(i), 0) for i in range(rows)]
        distance = self._distance(e, a, vectors)
        sums = []                                                        # [row][split][vector]
        for i in range(rows):
            start = e.at(a["start"], b.mul(a["lds"], I64(i)))
            sums += [e.load(e.at(start, W * j), mask) for j in range(vectors)]
            sums += [e.const(0.0)] * (split - 1) * vectors

        def step(k: Value, line: Value, sums: list[Value], depth: int) -> list[Value]:
            """Returns sums + x[:, k:k+depth] @ w[k:k+depth]; the weights of k begin at `line`."""
            out = list(sums)
            for d in range(depth):
                part = d if split > 1 else 0
                here = e.at(line, b.mul(distance, I64(d)))
                weights = [e.load(e.at(here, W * j), weights_mask) for j in range(vectors)]
                if fetch:
                    self._prefetch_line(e, here)
                for i in range(rows):
                    value = e.broadcast(self._left(e, a | {"x": x[i]}, I64(0), b.add(k, I64(d)))
                                        if "x" in self.turned else e.at(x[i], k, d))
                    for j in range(vectors):
                        place = (i * split + part) * vectors + j
                        out[place] = e.fma(value, weights[j], out[place])
            return out

        main = b.and_(a["depth"], I64(-together))
        with e.loop(0, main, together, [a["w"], *sums]) as loop:
            line, *now = loop.values
            if self.end.is_long or not self.packed:
                self._prefetch_result(e, a, b.udiv(loop.index, I64(together)), rows, vectors)
            if fetch:
                e.prefetch(e.at(a["ahead"], b.mul(loop.index, I64(_line(e) // UNROLL))), level=2)
            following = e.at(line, b.mul(distance, I64(together)))
            loop.next = [following, *step(loop.index, line, now, together)]
        with e.loop(main, a["depth"], 1, loop.values) as loop:
            line, *now = loop.values
            loop.next = [e.at(line, distance), *step(loop.index, line, now, 1)]
        _, *sums = loop.values
        if split == 1:
            return [sums[i * vectors:(i + 1) * vectors] for i in range(rows)]
        quads = [sums[i * split:(i + 1) * split] for i in range(rows)]
        return [[b.fadd(b.fadd(q[0], q[1]), b.fadd(q[2], q[3]))] for q in quads]

    def _prefetch_line(self, e: Emit, line: Value) -> None:
        distance = _panel_width(e)
        for place in range(0, distance, _line(e)):
            e.prefetch(e.at(line, place + _AHEAD * distance), level=1)

    def _prefetch_result(self, e: Emit, a: Arguments, number: Value, rows: int, vectors: int
                         ) -> None:
        """Emits, in an iteration of a tile, the prefetch of one vector that it is going to write.

        The vector comes from memory where it is a weight that is read, too; and a long chain stores
        the sums and loads them again at once. All prefetches together, before the sums, left none
        of the core's line buffers for the operands: products of 1024 x 256 x 1024 that update a
        weight took 1.06 times as long on a Zen 4.
        """
        number = e.least(number, I64(rows * vectors - 1))
        row, column = e.b.udiv(number, I64(vectors)), e.b.urem(number, I64(vectors))
        for y in self.end.results:
            place = e.at(a[y], e.b.mul(a[f"ld{y}"], row), e.b.mul(column, I64(e.width)))
            e.prefetch(place, level=1, to_write=True)

    def _finish(self, e: Emit, a: Arguments, sums: list[list[Value]], mask: Value | None) -> None:
        """Emits the stores of the sums, with an end of cheap ops where they are complete."""
        def store() -> None:
            for i, row in enumerate(sums):
                for j, value in enumerate(row):
                    e.store(value, e.at(a["to"], e.b.mul(a["ldto"], I64(i)), j * e.width), mask)

        if not self._ends_in_registers:
            return store()
        with e.b.if_else(a["last"]) as (complete, partial):
            with complete:
                for i, row in enumerate(sums):
                    write = self._row_end(e, a, I64(i), mask)
                    for j, value in enumerate(row):
                        write(value, j * e.width)
            with partial:
                store()

    def _row_end(self, e: Emit, a: Arguments, row: Value, mask: Value | None
                 ) -> Callable[[Value, Int], None]:
        """Returns what emits the end of the sums of a row that begin at a column of the tile."""
        end = self.end
        at = {r: e.at(a[r], e.b.mul(a[f"ld{r}"], row)) for r in (*end.results, *end.operands)}
        numbers = {i: e.broadcast(at[r]) for i, (r, kind) in enumerate(
            zip(end.operands, end.kinds, strict=True)) if kind == "s"}

        def write(value: Value, column: Int) -> None:
            def operand(i: int) -> Value:
                return numbers[i] if i in numbers else e.load(
                    e.at(at[end.operands[i]], column), mask)

            for y, result in zip(end.results, end.emit(e, value, operand), strict=True):
                e.store(result, e.at(at[y], column), mask)

        return write

    def after(self, vectors: int) -> Any:
        """Returns the function that ends a tile whose sums were stored."""
        name = f"{self.name}_after_{vectors}"
        if name in self.module.globals:
            return self.module.globals[name]
        types = {"sums": PTR, "rows": I64, "lanes": I64} | self._end_types()
        function, a = define(self.module, name, types, internal=True)
        e = Emit(function, self.target, self.dtype)
        mask = e.mask(a["lanes"]) if vectors == 1 else None
        with e.loop(0, a["rows"]) as row:
            write = self._row_end(e, a, row.index, mask)
            total = e.at(a["sums"], e.b.mul(row.index, I64(_panel_width(e))))
            with e.loop(0, vectors * e.width, e.width) as column:
                write(e.load(e.at(total, column.index), mask), column.index)
        e.b.ret_void()
        return function


# -- what kernels share -------------------------------------------------------------------------

_PACKING_TYPES = {"w": PTR, "ldw": I64, "depth": I64, "lanes": I64, "to": PTR, "width": I64}


@functools.cache
def _packing(turned: bool, dtype: str) -> Part:
    """Returns the part whose function packs rows of a panel, one after the other.

    Columns beside the last one are not written.
    """
    def emit(module: Any, target: Target) -> None:
        function, a = define(module, part.symbol, _PACKING_TYPES)
        e = Emit(function, target, dtype)
        b, columns = e.b, e.least(a["lanes"], a["width"])
        if turned:
            with e.loop(0, columns, e.width) as column, e.loop(0, a["depth"], e.width) as k:
                transpose_tile(e, {
                    "x": e.at(a["w"], b.mul(column.index, a["ldw"]), k.index), "ldx": a["ldw"],
                    "y": e.at(a["to"], b.mul(k.index, a["width"]), column.index), "ldy": a["width"],
                }, b.sub(a["lanes"], column.index), b.sub(a["depth"], k.index))
        else:
            with e.loop(0, a["depth"]) as k, e.loop(0, columns, e.width) as column:
                row, to = (e.at(a[r], b.mul(k.index, distance), column.index) for r, distance in (
                    ("w", a["ldw"]), ("to", a["width"])))
                mask = e.mask(b.sub(a["lanes"], column.index))
                e.store(e.load(row, mask), to, mask)
        e.b.ret_void()

    name = name_for("pack_turned" if turned else "pack", dtype)
    part = Part(name, f"nnc_{name}", emit)
    return part


@functools.cache
def _shared_tiles(end: Epilogue, packed: bool, turned: str, dtype: str) -> tuple[Part, ...]:
    """Returns the part with the tiles of all products that end with their sums, as () or one."""
    if end != Epilogue():
        return ()
    turned = turned.replace("w", "")                       # of which tiles read packed panels

    def emit(module: Any, target: Target) -> None:
        product = _Product(module, target, name, end, packed, dtype, turned)
        for vectors, most in ((target.panel, target.tile_rows), (1, target.edge_rows)):
            for rows in range(1, most + 1):
                product.emit_tile(f"nnc_{name}_{rows}x{vectors}", rows, vectors, internal=False)

    kind = "panel_tiles" if packed else "tiles_turned_x" if turned else "tiles"
    name = name_for(kind, dtype)
    return Part(name, f"nnc_{name}_1x1", emit),
