"""The kernels cumsum and topk, with one block for each row."""
from __future__ import annotations

from ir.types import FLOATS
from nncompile.cuda.kernels.kernel import Kernel, filled, make, typed, word

_CUMSUM = """
    sums = cuda.shared.array(THREADS, @wide)
    thread = cuda.threadIdx.x
    row = int64(cuda.blockIdx.x)
    while row < rows:
        before = @wide(0)                               # the sum of the pieces so far
        start = int64(0)
        while start < N:                                # pieces of as many numbers as threads
            i = start + thread
            total = @wide(0)
            if i < N:
                total = @wide(x[x_at + row * ldx + i])
            sums[thread] = total
            cuda.syncthreads()
            reach = 1
            while reach < THREADS:                      # Hillis and Steele's scan
                left = @wide(0)
                if thread >= reach:
                    left = sums[thread - reach]
                cuda.syncthreads()
                total = left + total
                sums[thread] = total
                cuda.syncthreads()
                reach *= 2
            if i < N:
                y[y_at + row * ldy + i] = @result
            before = before + sums[THREADS - 1]
            cuda.syncthreads()
            start += THREADS
        row += cuda.gridDim.x"""

_TOPK = """
    values = cuda.shared.array(THREADS, @type)
    places = cuda.shared.array(THREADS, int64)
    thread = cuda.threadIdx.x
    row = int64(cuda.blockIdx.x)
    while row < rows:
        last, last_at = @type(0), int64(-1)             # what the round before has found
        turn = int64(0)
        while turn < k:
            value, at = @type(0), int64(-1)             # nothing found
            for i in range(int64(thread), N, THREADS):
                s = x[x_at + row * ldx + i]
                left = turn == 0 or @behind_last or (@like_last and i > last_at)
                if left and (at < 0 or @before):
                    value, at = s, i
            values[thread], places[thread] = value, at
            cuda.syncthreads()
            half = HALF
            while half > 0:                             # in pairs: the other half is `there`
                if thread < half:
                    there = thread + half
                    s, i = values[there], places[there]
                    value, at = values[thread], places[thread]
                    sooner = at < 0 or @before or (@alike and i < at)
                    if i >= 0 and sooner:
                        values[thread], places[thread] = s, i
                cuda.syncthreads()
                half //= 2
            last, last_at = values[0], places[0]
            if thread == 0:
                y[y_at + row * ldy + turn] = last_at
            cuda.syncthreads()
            turn += 1
        row += cuda.gridDim.x"""


def cumsum(dtype: str, threads: int) -> Kernel:
    """y[i, n] = x[i, 0] + ... + x[i, n]; y may be x.

    Floats are added in double precision, as in torch; integers modulo 2^bits.
    """
    wide = "float64" if dtype in FLOATS else "int64"
    body = filled(_CUMSUM, {"THREADS": str(threads), "@wide": wide,
                            "@result": typed("before + total", dtype)})
    return make(f"cumsum_{threads}_{dtype}", f"x:{dtype}[] ldx y:{dtype}[] ldy rows N",
                [f"Sums up to each element of a row, a block of {threads} threads a row, in "
                 f"{wide}."], body, threads)


def topk(largest: bool, dtype: str, threads: int) -> Kernel:
    """y[i, :k] = the indices of the k largest or smallest elements of x[i], in order; 0 <= k <= N.

    Of equal elements the first comes first; NaN counts as the largest. The row is read k times:
    each time for the first element in order that comes after the one found last.
    """
    body = filled(_TOPK, {
        "THREADS": str(threads), "HALF": str(threads // 2), "@type": word(dtype),
        "@behind_last": _before("last", "s", largest), "@before": _before("s", "value", largest),
        "@like_last": _alike("s", "last"), "@alike": _alike("s", "value")})
    name = "largest" if largest else "smallest"
    return make(f"topk_{name}_{threads}_{dtype}",
                f"x:{dtype}[] ldx y:i64[] ldy rows N k",
                [f"Where the k {name} of each row are, in order, a block of {threads} threads a "
                 "row: k readings."], body, threads)


def _before(a: str, b: str, largest: bool) -> str:
    """Returns whether one number comes before another; a != a is true of NaN alone, the largest."""
    return (f"({a} > {b} or ({a} != {a} and {b} == {b}))" if largest else
            f"({a} < {b} or ({b} != {b} and {a} == {a}))")


def _alike(a: str, b: str) -> str:
    return f"({a} == {b} or ({a} != {a} and {b} != {b}))"
