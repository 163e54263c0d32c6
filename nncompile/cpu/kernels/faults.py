"""Faults: what a kernel may find wrong with the values that it is given."""
from __future__ import annotations

from ir.types import NDArray
from nncompile.cpu.kernels.operands import Arguments, Values
from nncompile.cpu.vector import I64, Emit, Value


def report(e: Emit, a: Arguments, value: Value, limit: Value) -> None:
    """Writes step + 1, value, limit to the arguments' fault, unless another fault is there.

    The thread that changes fault[0] from 0, by compare-and-exchange, writes the other words.
    """
    b = e.b
    mine = b.cmpxchg(a["fault"], I64(0), b.add(a["step"], I64(1)), "acq_rel", "acquire")
    with b.if_then(b.extract_value(mine, 1)):
        b.store(value, e.word(a["fault"], 1))
        b.store(limit, e.word(a["fault"], 2))


def report_plain(a: Values, values: NDArray, limit: int) -> None:
    """Reports the first of these values in NumPy, if there is one; see report."""
    if values.size and a["fault"][0] == 0:
        a["fault"][:3] = a["step"] + 1, values.ravel()[0], limit
