"""Work along rows: a block takes rows one by one, and reads each once.

The threads take every THREADS-th element of a row, and their results are combined in shared memory,
in pairs, so that a row's bits depend on its own length alone.
"""
from __future__ import annotations

import re

from nncompile.cuda.kernels.kernel import Kernel, Lines, filled, make, typed

# Of each row a result is made, and `@write` is what is done with it.
_BODY = """
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
_FOLD = """
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

_ONCE = "@fold"

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
_SMALL = {"f32": 2.0**-80, "f64": 2.0**-600}


def row_kernel(name: str, signature: str, about: list[str], dtype: str, threads: int,
               parts: dict[str, str], result: str = _ONCE) -> Kernel:
    """Returns a kernel of rows.

    parts: the texts of the words of `_BODY` and `_FOLD`, in which T( is the dtype. result: how a
    row's result is made, `_ONCE` or `TWICE`.
    """
    words: dict[str, str | Lines] = {
        "THREADS": str(threads), "HALF": str(threads // 2), "SMALL": str(_SMALL.get(dtype))}
    for word, part in parts.items():
        text = _in_type(part, dtype).strip("\n")
        words[word] = text if word == "@fits" else text.split("\n")
    for word, template in {"@fold": _FOLD, "@result": result}.items():
        words[word] = filled(_in_type(template, dtype), words)
    return make(f"{name}_{threads}_{dtype}", signature, about,
                filled(_in_type(_BODY, dtype), words), threads)


def _in_type(text: str, dtype: str) -> str:
    """Returns the text with the dtype's name for T( in it."""
    return re.sub(r"\bT\(", typed("", dtype)[:-1], text)
