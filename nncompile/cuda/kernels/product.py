"""Products of matrices: y[o, m] = then(x[o, m] @ w[o]), for outer indices o.

    tiled    a block computes tiles of the result through shared memory, a thread a block of sums
    few      for few rows: a block's threads share the sums over k

A sum is taken in chunks of `target.chunk` steps of k: each from zero, by one fma a step, then added
to the total, in order.  Every kernel here does the same for every element, so the bits of a row
depend on neither the number of rows nor on which kernel ran.  Zeros that pad a tile change no sum.

linear is the same product: w is the weight transposed, the bias the first step of the chain.
y must not overlap any operand.
"""
from __future__ import annotations

import nncompile.cuda.kernels.chain as chains
from nncompile.cuda.kernels.chain import Chain
from nncompile.cuda.kernels.kernel import (
    Kernel,
    dims,
    filled,
    make,
    signature,
    strides,
    word,
    zero,
)
from nncompile.cuda.target import Target, Tile

MOST_CALLS = 16                    # of functions, written out for all sums of a thread
ORDER = "Sums run over k in chunks, the same for any number of rows."


def arguments(then: Chain, outer: int, dtype: str) -> dict[str, str]:
    """x[o] is M rows of K, w[o] K rows of N, each row ldx, ldw from the next, elements side by
    side; a further operand of the chain has strides of its own, along rows, columns and o."""
    further = " ".join(f"r{i}:{dtype}[] r{i}_m r{i}_n {strides(outer, f'r{i}')}" if kind == "v"
                       else f"r{i}:{dtype}" for i, kind in enumerate(chains.kinds(then)))
    return signature(f"x:{dtype}[] ldx w:{dtype}[] ldw y:{dtype}[] ldy M K N {dims(outer)} "
                     f"{strides(outer, 'x', 'w', 'y')} {further}")


def places(then: Chain, outer: int) -> list[str]:
    """Where the operands of the matrices with outer index `o` begin; `o` is used up."""
    read = [f"r{i}" for i, kind in enumerate(chains.kinds(then)) if kind == "v"]
    if not outer:
        return []
    lines = []
    for d in reversed(range(1, outer)):
        lines += [f"i{d} = o % d{d}", f"o = o // d{d}"]
    lines.append("i0 = o")
    for operand in ("x", "w", "y", *read):
        steps = " + ".join(f"i{d} * {operand}_s{d}" for d in range(outer))
        lines.append(f"{operand}_o = {operand}_at + {steps}")
    return lines


def start(operand: str, outer: int) -> str:
    return f"{operand}_o" if outer else f"{operand}_at"


def finish(then: Chain, outer: int, dtype: str, loop: str, total: str, sums: int) -> list[str]:
    """Apply the chain to each of a thread's sums, and store it at row m, column n of y.

    A loop that is too long to unroll would keep the sums in memory, from the first step of k on:
    then they are stored first, and the chain goes over what is stored.
    """
    kinds, head = chains.kinds(then), loop.split("\n")
    indent = " " * (len(head[-1]) - len(head[-1].lstrip()) + 4)

    def operand(number: int) -> str:
        r = f"r{number}"
        return r if kinds[number] == "s" else f"{r}[{start(r, outer)} + m * {r}_m + n * {r}_n]"

    twice = sums * chains.calls(then) > MOST_CALLS
    stored = [*head, f"{indent}{result(outer)} = {total}"] if twice else []
    return [*stored, *head, f"{indent}value = {result(outer) if twice else total}",
            *chains.statements(then, operand, dtype, indent), f"{indent}{result(outer)} = value"]


def result(outer: int) -> str:
    return f"y[{start('y', outer)} + m * ldy + n]"


def matrices(outer: int) -> str:
    return "".join(f" * d{d}" for d in range(outer))


def named(form: str, then: Chain, outer: int, dtype: str) -> str:
    return f"product_{form}{chains.name(then)}_{outer}_{dtype}"


def tiled(then: Chain, outer: int, dtype: str, target: Target, tile: Tile) -> Kernel:
    rows, columns, depth = tile.rows, tile.columns, tile.depth
    threads, tm, tn = tile.threads, tile.thread_rows, tile.thread_columns
    across = columns // tn                                     # threads along a row of the tile
    described = arguments(then, outer, dtype)
    name = named(str(tile), then, outer, dtype)
    about = [f"y = {chains.about(then, 'x @ w')}: a block computes tiles of {rows} x {columns}, "
             f"a thread {tm} x {tn} of each.", "", ORDER]
    nothing, number = zero(dtype), word(dtype)
    body = f"""\
    xs = cuda.shared.array(({depth}, {rows + 4}), {number})       # 4 more: no bank conflicts
    ws = cuda.shared.array(({depth}, {columns}), {number})
    part = cuda.local.array(({tm}, {tn}), {number})
    total = cuda.local.array(({tm}, {tn}), {number})
    thread = cuda.threadIdx.x
    down, right = thread // {across}, thread % {across}
    tiles_down, tiles_right = (M + {rows - 1}) // {rows}, (N + {columns - 1}) // {columns}
    tile = int64(cuda.blockIdx.x)
    while tile < tiles_down * tiles_right{matrices(outer)}:
        n0 = tile % tiles_right * {columns}
        m0 = tile // tiles_right % tiles_down * {rows}
        o = tile // tiles_right // tiles_down
        @places
        for i in range({tm}):
            for j in range({tn}):
                total[i, j] = {nothing}
        first = int64(0)
        while first < K:                                # a chunk of k
            for i in range({tm}):
                for j in range({tn}):
                    part[i, j] = {nothing}
            stop = first + {target.chunk} if first + {target.chunk} < K else K
            for k0 in range(first, stop, {depth}):
                for turn in range({ceil(depth * rows, threads)}):
                    e = turn * {threads} + thread
                    m, k = m0 + e // {depth}, k0 + e % {depth}
                    value = {nothing}
                    if m < M and k < stop:
                        value = x[@x + m * ldx + k]
                    xs[e % {depth}, e // {depth}] = value
                for turn in range({ceil(depth * columns, threads)}):
                    e = turn * {threads} + thread
                    k, n = k0 + e // {columns}, n0 + e % {columns}
                    value = {nothing}
                    if k < stop and n < N:
                        value = w[@w + k * ldw + n]
                    ws[e // {columns}, e % {columns}] = value
                cuda.syncthreads()
                for k in range({depth}):
                    for i in range({tm}):
                        for j in range({tn}):
                            part[i, j] = cuda.fma(
                                xs[k, @row],
                                ws[k, @column], part[i, j])
                cuda.syncthreads()
            for i in range({tm}):
                for j in range({tn}):
                    total[i, j] += part[i, j]
            first += {target.chunk}
@ends
        tile += cuda.gridDim.x"""
    row, column = position(tile)
    ends = finish(then, outer, dtype, f"""\
        for i in range({tm}):
            for j in range({tn}):
                m, n = m0 + {row}, n0 + {column}
                if m < M and n < N:""", "total[i, j]", tm * tn)
    text = filled(body, {
        "@places": places(then, outer), "@ends": ends,
        "@x": start("x", outer), "@w": start("w", outer),
        "@row": row, "@column": column})
    return make(name, described, about, text, threads)


def few(then: Chain, outer: int, dtype: str, target: Target) -> Kernel:
    shape, chunk = target.few, target.chunk
    described = arguments(then, outer, dtype)
    name = named("few", then, outer, dtype)
    rows, lanes, groups = shape.rows, shape.lanes, shape.groups
    about = [f"y = {chains.about(then, 'x @ w')}, of few rows: a block computes {lanes} columns of "
             f"{rows} rows; its {groups} groups of threads take one chunk of k each.", "", ORDER]
    nothing, number = zero(dtype), word(dtype)
    body = f"""\
    parts = cuda.shared.array(({groups}, {rows}, {lanes}), {number})
    part = cuda.local.array({rows}, {number})
    total = cuda.local.array({rows}, {number})
    lane, group = cuda.threadIdx.x % {lanes}, cuda.threadIdx.x // {lanes}
    units_down, units_right = (M + {rows - 1}) // {rows}, (N + {lanes - 1}) // {lanes}
    unit = int64(cuda.blockIdx.x)
    while unit < units_down * units_right{matrices(outer)}:
        n = unit % units_right * {lanes} + lane
        m0 = unit // units_right % units_down * {rows}
        o = unit // units_right // units_down
        @places
        for i in range({rows}):
            total[i] = {nothing}
        turn = int64(0)
        while turn < K:                                 # {groups} chunks of k
            first = turn + group * {chunk}
            stop = first + {chunk} if first + {chunk} < K else K
            for i in range({rows}):
                part[i] = {nothing}
            if n < N:
                for k in range(first, stop):
                    weight = w[@w + k * ldw + n]
                    for i in range({rows}):
                        m = m0 + i if m0 + i < M else M - 1     # below the last: it again
                        part[i] = cuda.fma(x[@x + m * ldx + k], weight, part[i])
            for i in range({rows}):
                parts[group, i, lane] = part[i]
            cuda.syncthreads()
            if group == 0:
                for g in range({groups}):
                    if turn + g * {chunk} < K:
                        for i in range({rows}):
                            total[i] += parts[g, i, lane]
            cuda.syncthreads()
            turn += {groups * chunk}
        if group == 0 and n < N:
@ends
        unit += cuda.gridDim.x"""
    ends = finish(then, outer, dtype, f"""\
            for i in range({rows}):
                m = m0 + i
                if m < M:""", "total[i]", rows)
    text = filled(body, {
        "@places": places(then, outer), "@ends": ends,
        "@x": start("x", outer), "@w": start("w", outer)})
    return make(name, described, about, text, shape.threads)


def position(tile: Tile) -> tuple[str, str]:
    """Row and column in its tile of a thread's sum i, j."""
    down, right = tile.rows // tile.thread_rows, tile.columns // tile.thread_columns
    return (within("down", "i", tile.thread_rows, down),
            within("right", "j", tile.thread_columns, right))


def within(thread: str, turn: str, count: int, threads: int) -> str:
    """Four side by side, the next four behind those of all threads, so that threads side by side
    read shared memory side by side."""
    if count <= 4:
        return f"{thread} * {count} + {turn}"
    return f"{thread} * 4 + {turn} // 4 * {4 * threads} + {turn} % 4"


def ceil(a: int, b: int) -> int:
    return -(-a // b)
