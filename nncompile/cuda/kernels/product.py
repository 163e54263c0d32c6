"""Products of matrices: y[o, m] = then(x[o, m] @ w[o]), for outer indices o.

    tiled    a block computes tiles of the result through shared memory, a thread a block of sums
    few      for few rows: a block's threads divide the sums over k

The next part of the operands is loaded from memory while a tile, or a chunk, is added up. Where an
index is made uint64, numba does not check whether it is negative and counts from the end; that, and
rows of a multiple of 4, let the compiler read shared memory in vectors of four.

A sum is taken in chunks of `target.chunk` steps of k: each starts from zero, adds one fused
multiply-add a step, and is then added to the total, in order. All kernels here do the same for
every element, so that the bits of a row depend neither on the number of rows nor on which kernel
ran. Zeros that pad a tile change no sum.

linear is the same product: w is the weight transposed, the bias the first step of the chain.
y must not overlap any operand.
"""
from __future__ import annotations

import nncompile.cuda.kernels.chain as chains
from nncompile.cuda.kernels.axes import Axes
from nncompile.cuda.kernels.chain import Chain
from nncompile.cuda.kernels.kernel import Kernel, filled, make, word, zero
from nncompile.cuda.target import Target, Tile

_MOST_CALLS = 16                   # of functions, written out for all sums of a thread
_ORDER = "Sums run over k in chunks, the same for any number of rows."


def _signature(then: Chain, axes: Axes, dtype: str) -> str:
    """Returns the signature of a product.

    x[o] is M rows of K elements, w[o] K rows of N, contiguous and ldx or ldw from one row to the
    next; a further operand of the chain has its own strides along rows, columns and o.
    """
    further = " ".join(f"r{i}:{dtype}[] r{i}_m r{i}_n {axes.strides(f'r{i}')}" if kind == "v"
                       else f"r{i}:{dtype}" for i, kind in enumerate(chains.kinds(then)))
    return (f"x:{dtype}[] ldx w:{dtype}[] ldw y:{dtype}[] ldy M K N {axes.sizes} "
            f"{axes.strides('x', 'w', 'y')} {further}")


def _places(then: Chain, axes: Axes) -> list[str]:
    """Returns statements for where the operands with outer index `o` begin; `o` is consumed."""
    if not axes.rank:
        return []
    read = [f"r{i}" for i, kind in enumerate(chains.kinds(then)) if kind == "v"]
    return [*axes.indices("o"), *(f"{r}_o = {axes.place(r)}" for r in ("x", "w", "y", *read))]


def _start(operand: str, axes: Axes) -> str:
    return f"{operand}_o" if axes.rank else f"{operand}_at"


def _finish(then: Chain, axes: Axes, dtype: str, loop: str, total: str, sums: int) -> list[str]:
    """Returns statements that apply the chain to each of a thread's sums, and store it at y[m, n].

    A loop that is too long to be unrolled would keep the sums in memory from the first step of k
    on. In that case they are stored first, and the chain is applied to what is stored.
    """
    kinds, head = chains.kinds(then), loop.split("\n")
    indent = " " * (len(head[-1]) - len(head[-1].lstrip()) + 4)

    def operand(number: int) -> str:
        r = f"r{number}"
        return r if kinds[number] == "s" else f"{r}[{_start(r, axes)} + m * {r}_m + n * {r}_n]"

    twice = sums * chains.calls(then) > _MOST_CALLS
    stored = [*head, f"{indent}{_result(axes)} = {total}"] if twice else []
    return [*stored, *head, f"{indent}value = {_result(axes) if twice else total}",
            *chains.statements(then, operand, dtype, indent), f"{indent}{_result(axes)} = value"]


def _result(axes: Axes) -> str:
    return f"y[{_start('y', axes)} + m * ldy + n]"


def tiled(then: Chain, outer: int, dtype: str, target: Target, tile: Tile) -> Kernel:
    """Returns the kernel that computes tiles of this shape through shared memory.

    Two halves of the shared arrays alternate: one is read while the other is written, with `depth`
    steps of k each.
    """
    rows, columns, depth = tile.rows, tile.columns, tile.depth
    threads, tm, tn = tile.threads, tile.thread_rows, tile.thread_columns
    across = columns // tn                                     # threads along a row of the tile
    axes = Axes(outer)
    matrices = f" * {axes.count}" * bool(outer)
    about = [f"y = {chains.about(then, 'x @ w')}: a block computes tiles of {rows} x {columns}, "
             f"a thread {tm} x {tn} of each.", "", _ORDER]
    nothing, number, shared = zero(dtype), word(dtype), word(dtype) + target.aligned
    pitch = rows + 4                                        # of a row of xs; no bank conflicts
    x_rows, w_rows = threads // depth, threads // columns   # that all threads read at a time
    turns_x, turns_w = rows // x_rows, depth // w_rows
    body = f"""\
    # two sides, the one read while the other is written: {depth} steps of k, one a row
    xs = cuda.shared.array({2 * depth * pitch}, {shared})
    ws = cuda.shared.array({2 * depth * columns}, {shared})
    ahead_x = cuda.local.array({turns_x}, {number})
    ahead_w = cuda.local.array({turns_w}, {number})
    part = cuda.local.array(({tm}, {tn}), {number})
    total = cuda.local.array(({tm}, {tn}), {number})
    thread = cuda.threadIdx.x
    down, right = thread // {across} % {threads // across}, thread % {across}
    x_row, x_column = thread // {depth}, thread % {depth}       # what it reads of x
    w_row, w_column = thread // {columns}, thread % {columns}       # and of w
    tiles_down, tiles_right = (M + {rows - 1}) // {rows}, (N + {columns - 1}) // {columns}
    tile = int64(cuda.blockIdx.x)
    while tile < tiles_down * tiles_right{matrices}:
        n0 = tile % tiles_right * {columns}
        m0 = tile // tiles_right % tiles_down * {rows}
        o = tile // tiles_right // tiles_down
        @places
        for i in range({tm}):
            for j in range({tn}):
                part[i, j] = {nothing}
                total[i, j] = {nothing}
        side = 1
        for k1 in range(0, K + {depth}, {depth}):       # reads a step, adds up the one before
            k = k1 + x_column
            for turn in range({turns_x}):
                m = m0 + x_row + turn * {x_rows}
                at = @x + m * ldx + k
                ahead_x[turn] = x[uint64(at)] if m < M and k < K else {nothing}
            n = n0 + w_column
            for turn in range({turns_w}):
                k = k1 + w_row + turn * {w_rows}
                at = @w + k * ldw + n
                ahead_w[turn] = w[uint64(at)] if k < K and n < N else {nothing}
            k = side * {depth}
            stop = k + {depth} if k1 > 0 else k         # nothing before the first
            while k < stop:
                for i in range({tm}):
                    for j in range({tn}):
                        part[i, j] = cuda.fma(
                            xs[uint64(k * {pitch} + @row)],
                            ws[uint64(k * {columns} + @column)], part[i, j])
                k += 1
            if k1 % {target.chunk} == 0 or k1 >= K:                 # a chunk of k ends
                for i in range({tm}):
                    for j in range({tn}):
                        total[i, j] += part[i, j]
                        part[i, j] = {nothing}
            side = 1 - side
            for turn in range({turns_x}):
                row = side * {depth} + x_column
                xs[uint64(row * {pitch} + x_row + turn * {x_rows})] = ahead_x[turn]
            for turn in range({turns_w}):
                row = side * {depth} + w_row + turn * {w_rows}
                ws[uint64(row * {columns} + w_column)] = ahead_w[turn]
            cuda.syncthreads()
@ends
        tile += cuda.gridDim.x"""
    row, column = _position(tile)
    ends = _finish(then, axes, dtype, f"""\
        for i in range({tm}):
            for j in range({tn}):
                m, n = m0 + {row}, n0 + {column}
                if m < M and n < N:""", "total[i, j]", tm * tn)
    text = filled(body, {
        "@places": _places(then, axes), "@ends": ends,
        "@x": _start("x", axes), "@w": _start("w", axes),
        "@row": row, "@column": column})
    return make(f"product_{tile}{chains.name(then)}_{outer}_{dtype}", _signature(then, axes, dtype),
                about, text, threads)


def few(then: Chain, outer: int, dtype: str, target: Target) -> Kernel:
    """Returns the kernel for few rows: the groups of a block's threads take one chunk of k each."""
    shape, chunk = target.few[dtype], target.chunk
    axes = Axes(outer)
    matrices = f" * {axes.count}" * bool(outer)
    rows, lanes, groups, depth = shape.rows, shape.lanes, shape.groups, shape.depth
    about = [f"y = {chains.about(then, 'x @ w')}, of few rows: a block computes {lanes} columns of "
             f"{rows} rows; its {groups} groups of threads take one chunk of k each.", "", _ORDER]
    nothing, number, shared = zero(dtype), word(dtype), word(dtype) + target.aligned
    body = f"""\
    xs = cuda.shared.array({groups * chunk * rows}, {shared})     # a step's rows side by side
    parts = cuda.shared.array(({groups}, {rows}, {lanes}), {number})
    ahead = cuda.local.array({depth}, {number})
    part = cuda.local.array({rows}, {number})
    lane, group = cuda.threadIdx.x % {lanes}, cuda.threadIdx.x // {lanes} % {groups}
    units_down, units_right = (M + {rows - 1}) // {rows}, (N + {lanes - 1}) // {lanes}
    unit = int64(cuda.blockIdx.x)
    while unit < units_down * units_right{matrices}:
        n = unit % units_right * {lanes} + lane
        m0 = unit // units_right % units_down * {rows}
        o = unit // units_right // units_down
        @places
        total = {nothing}
        turn = int64(0)
        while turn < K:                                 # {groups} chunks of k
            first = turn + group * {chunk}
            for e in range(lane, {rows * chunk}, {lanes}):
                m, k = m0 + e // {chunk}, first + e % {chunk}
                at = @x + m * ldx + k
                value = x[uint64(at)] if m < M and k < K else {nothing}
                xs[uint64((group * {chunk} + e % {chunk}) * {rows} + e // {chunk})] = value
            cuda.syncthreads()
            for i in range({rows}):
                part[i] = {nothing}
            stop = {chunk} if first + {chunk} < K else K - first
            for done in range(0, stop, {depth}):
                at = @w + (first + done) * ldw + n
                for k in range({depth}):
                    ahead[k] = w[uint64(at)] if done + k < stop and n < N else {nothing}
                    at += ldw
                for k in range({depth}):
                    step = (group * {chunk} + done + k) * {rows}
                    for i in range({rows}):
                        part[i] = cuda.fma(xs[uint64(step + i)], ahead[k], part[i])
            for i in range({rows}):
                parts[group, i, lane] = part[i]
            cuda.syncthreads()
            if group < {rows}:                                # from here on, group i has row i
                for g in range({groups}):
                    total += parts[g, group, lane]
            turn += {groups * chunk}
        m = m0 + group
@ends
        unit += cuda.gridDim.x"""
    ends = _finish(then, axes, dtype, f"""\
        if group < {rows} and m < M and n < N:""", "total", 1)
    text = filled(body, {
        "@places": _places(then, axes), "@ends": ends,
        "@x": _start("x", axes), "@w": _start("w", axes)})
    return make(f"product_few{chains.name(then)}_{outer}_{dtype}", _signature(then, axes, dtype),
                about, text, shape.threads)


def _position(tile: Tile) -> tuple[str, str]:
    """Returns the row and the column in its tile of a thread's sum i, j."""
    down, right = tile.rows // tile.thread_rows, tile.columns // tile.thread_columns
    return (_within("down", "i", tile.thread_rows, down),
            _within("right", "j", tile.thread_columns, right))


def _within(thread: str, turn: str, count: int, threads: int) -> str:
    """Returns the position of a thread's element number `turn`.

    Four elements are adjacent, and the next four follow those of all threads, so that adjacent
    threads read adjacent parts of shared memory.
    """
    if count <= 4:
        return f"{thread} * {count} + {turn}"
    return f"{thread} * 4 + {turn} // 4 * {4 * threads} + {turn} % 4"
