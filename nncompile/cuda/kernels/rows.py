"""Work along rows: a block takes rows one by one, reading each once.

A thread goes over every so manieth element of its row, and the threads' results are put together
in shared memory, in pairs, so a row's bits depend on its own length alone.
"""
from __future__ import annotations

import re

from nncompile.cuda.kernels.kernel import Kernel, Lines, filled, make, typed

# Of each row a result is made, and `@write` is what is done with it.
BODY = """
    @shared
    thread = cuda.threadIdx.x
    row = int64(cuda.blockIdx.x)
    while row < rows:
        @result
        @write
        cuda.syncthreads()
        row += cuda.gridDim.x"""

# The row's result, which the first thread has: `@start` before the row, `@read` for each of its
# elements; `@share` and `@join` put two threads' results together.
FOLD = """
@start
for i in range(int64(thread), N, THREADS):
    @read
@share
cuda.syncthreads()
half = HALF
while half > 0:                                 # in pairs: the other half is `there`
    if thread < half:
        there = thread + half
        @join
    cuda.syncthreads()
    half //= 2"""

ONCE = "@fold"

# The same where squares may overflow: then once more, scaled by a power of two, which is exact.
# `@fits` is whether they did not.
TWICE = """
scale = T(1)
while True:
    @fold
    if @fits or scale < T(1):
        break
    cuda.syncthreads()
    # the squares were infinite or NaN
    scale = T(SMALL)"""
SMALL = {"f32": 2.0**-80, "f64": 2.0**-600}


def row_kernel(name: str, arguments: dict[str, str], about: list[str], dtype: str, threads: int,
               parts: dict[str, str], result: str = ONCE) -> Kernel:
    """`parts` are the texts of the words of BODY and FOLD, and of `result`, which is ONCE or TWICE;
    T( in them is the type."""
    words: dict[str, str | Lines] = {
        "THREADS": str(threads), "HALF": str(threads // 2), "SMALL": str(SMALL.get(dtype))}
    for word, part in parts.items():
        text = in_type(part, dtype).strip("\n")
        words[word] = text if word == "@fits" else text.split("\n")
    for word, template in {"@fold": FOLD, "@result": result}.items():
        words[word] = filled(in_type(template, dtype), words)
    return make(f"{name}_{threads}_{dtype}", arguments, about,
                filled(in_type(BODY, dtype), words), threads)


def in_type(text: str, dtype: str) -> str:
    """The text with the dtype's name for T( in it."""
    return re.sub(r"\bT\(", typed("", dtype)[:-1], text)
