"""Rows of a table, by number."""
from __future__ import annotations

from nncompile.cuda.kernels.kernel import (
    Kernel,
    definition,
    dims,
    indices,
    place,
    signature,
    strides,
)
from nncompile.cuda.target import Target


def embedding(index: str, rank: int, dtype: str, target: Target) -> Kernel:
    """Row u of y = table[ids[o]], for the u-th index o of `rank` dims; a thread a number of y.

    ids are int64 or int32 (`index` is "i64" or "i32").  An id outside 0..V-1 reads nothing of the
    table: its row is filled with zeros, and the first one found is written to fault as step + 1,
    id, V.  fault[0] is 0 where all ids are good, if it was before.
    """
    ids = {"i64": "l", "i32": "j"}[index]
    letters = signature(f"ids:{ids} table:p V D y:p rows fault:w step {dims(rank)} "
                        f"{strides(rank, 'ids')}")
    kernel = f"embedding_{index}_{rank}_{dtype}"
    body = ["    element = int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x",
            "    while element < rows * D:",
            "        row = element // D",
            "        column = element % D",
            *indices("row", rank, " " * 8),
            f"        number = int64(ids[{place('ids', rank)}])",
            "        if 0 <= number < V:",
            "            y[y_at + element] = table[table_at + number * D + column]",
            "        else:",
            f"            y[y_at + element] = {dtype}(0)",
            "            if cuda.atomic.compare_and_swap(fault, int64(0), step + 1) == 0:",
            "                fault[1] = number",
            "                fault[2] = V",
            "        element += int64(cuda.gridDim.x) * cuda.blockDim.x"]
    text = definition(kernel, letters, [
        "Rows of table[V, D] by number, a thread a number of y.  A wrong number reads nothing and "
        "is reported: fault = step + 1, number, V."], body)
    return Kernel(kernel, tuple(letters), "".join(letters.values()), text, dtype,
                  target.threads)
