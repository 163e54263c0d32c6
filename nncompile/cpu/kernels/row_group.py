"""What is computed of each row, several steps at a time: elementwise ops, reductions, functions.

How a row is computed is in row_emitters.py.
"""
from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ir.types import DTYPES, FLOATS, NDArray
from nncompile.cpu.kernels.faults import report_plain
from nncompile.cpu.kernels.group import evaluate_line, group_name
from nncompile.cpu.kernels.kernel import Kernel, Units, make
from nncompile.cpu.kernels.norms import normalized_plain
from nncompile.cpu.kernels.operands import Arguments, Values, strided
from nncompile.cpu.kernels.reductions import reduced
from nncompile.cpu.kernels.row_emitters import ColumnEmitter, Lines, RowEmitter
from nncompile.cpu.kernels.softmax import softmax_plain
from nncompile.cpu.vector import I64, Emit, Value
from nncompile.schedule.program import CHECKED, ONE_HOT, PICK, ElementOp
from nncompile.schedule.row_lines import FUNCTIONS, NORMS, REDUCTIONS, RowPlan


@functools.cache
def row_group(ops: tuple[ElementOp, ...], outputs: tuple[int, ...], kinds: str,
              columns: bool = False, length: int = 0) -> Kernel:
    """y0[i, :N], y1[i], ... = the results of lines of `ops`, for rows i.

        row_group_sum_sub_5c0f7d21(rows, N, y0, r0, r0_ld, r1, r1_ld)

    Each line is an op of operands r0, r1, ... and of results t0, t1, ... of lines before, and
    `outputs` are the lines whose results are y0, y1, ... The kind of an operand is m for a matrix,
    an element for each of a row's; k for one row that is the same for all; n for one number a row;
    and s for one number. Matrices have the distance of their rows, r_ld, and elements of stride 1;
    so have numbers of rows, one after the other. With `columns`, elements of a row are r_ld from
    each other, those of a k too, and rows of stride 1. Each y is contiguous, and y0 may be one of
    the m operands, where RowPlan.stored_last allows it.

    length: N, where the kernel is made for that length alone; its loops may then be unrolled, so
    that what is along a row stays in registers.

    The first index that is outside of a row is written to fault as step + 1, index, N. A unit is a
    row, or a vector of columns.
    """
    return _RowGroup(ops, outputs, kinds, columns, length).kernel()


class _RowGroup:
    """The lines of a kernel, and the names, kinds and dtypes of its operands and results."""

    def __init__(self, ops: tuple[ElementOp, ...], outputs: tuple[int, ...], kinds: str,
                 columns: bool, length: int) -> None:
        self.ops, self.outputs, self.columns, self.length = ops, outputs, columns, length
        self.kinds = {f"r{i}": kind for i, kind in enumerate(kinds)}
        self.results = {f"y{i}": line for i, line in enumerate(outputs)}
        self.dtypes = row_dtypes(ops, len(kinds)) | {
            y: ops[line].dtype for y, line in self.results.items()}
        self.lines = Lines(ops, RowPlan(ops, outputs, columns), self.kinds, self.results,
                           self.dtypes, length)

    def kernel(self) -> Kernel:
        strided_kinds = "mk" if self.columns else "mn"
        signature = " ".join(["rows N", *(f"{y}:{self.dtypes[y]}" for y in self.results), *(
            f"{r}:{self.dtypes[r]}" + f" {r}_ld" * (kind in strided_kinds)
            for r, kind in self.kinds.items())])
        if any(line.op in CHECKED for line in self.ops):
            signature += " fault:words step"
        folded = {line.dtype for line in self.ops if line.op in REDUCTIONS | {*FUNCTIONS}}
        [dtype] = folded & {*FLOATS} or {"f32"}
        name = group_name(self.ops, self.outputs, "".join(self.kinds.values()),
                          self.length, "row_group" + "_columns" * self.columns)
        units = Units(self._count, self._columns if self.columns else self._rows)
        return make(name, signature, units, self.plain, dtype)

    def _count(self, e: Emit, a: Arguments) -> Value:
        return e.quotient_up(a["rows"], e.width) if self.columns else a["rows"]

    def _rows(self, e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as loop:
            RowEmitter(self.lines, e, self._moved(e, a, loop.index)).emit()

    def _columns(self, e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        """Emits the columns of a vector, and the last ones with a mask."""
        with e.loop(first, stop) as loop:
            start = e.b.mul(loop.index, I64(e.width))
            left, moved = e.b.sub(a["rows"], start), self._moved(e, a, start)
            with e.b.if_else(e.b.icmp_signed(">=", left, I64(e.width))) as (whole, edge):
                with whole:
                    ColumnEmitter(self.lines, e, moved, None).emit()
                with edge:
                    ColumnEmitter(self.lines, e, moved, e.mask(left)).emit()

    def _moved(self, e: Emit, a: Arguments, row: Value) -> Arguments:
        """Returns the arguments with all pointers moved to what belongs to a row."""
        return a | {name: e.at(a[name], self._offset(e, a, name, row), dtype=dtype)
                    for name, dtype in self.dtypes.items()}

    def _offset(self, e: Emit, a: Arguments, name: str, row: Value) -> Value:
        """How far a row's part of an operand or result is from its start."""
        if name not in self.results and self.kinds[name] not in "mn":
            return I64(0)
        if self.columns:
            return row
        if name in self.results:
            return e.b.mul(row, a["N"]) if self.ops[self.results[name]].along else row
        return e.b.mul(row, a[f"{name}_ld"])

    def plain(self, a: Values) -> None:
        rows, N = a["rows"], a["N"]
        values: dict[str, NDArray] = {}
        for name, kind in self.kinds.items():
            step = a.get(f"{name}_ld", 1)
            items = (1 if self.columns else step) if kind in "mn" else 0
            along = (step if self.columns else 1) if kind in "mk" else 0
            shape = (rows if items else 1, N if along else 1)
            values[name] = strided(a[name], shape, (items, along))
        with np.errstate(all="ignore"):
            for number, line in enumerate(self.ops):
                values[f"t{number}"] = _evaluate(line, [values[o] for o in line.operands], a)
        made = {y: np.array(values[f"t{line}"]) for y, line in self.results.items()}
        for y, result in made.items():
            along = N if self.ops[self.results[y]].along else 1
            strides = (1, rows) if self.columns else (along, 1)
            strided(a[y], (rows, along), strides)[...] = result


def row_dtypes(ops: Sequence[ElementOp], count: int) -> dict[str, str]:
    """Returns the dtype of each of the `count` operands, as the lines read them."""
    found = dict.fromkeys((f"r{i}" for i in range(count)), "f32")
    for line in ops:
        for operand, dtype in zip(line.operands, _operand_dtypes(line), strict=True):
            if operand in found:
                found[operand] = dtype
    return found


def _operand_dtypes(line: ElementOp) -> list[str]:
    if line.op == "where":
        return ["bool", line.source, line.source]
    if line.op == PICK:
        return [line.dtype, line.source]
    if line.op == ONE_HOT:
        return [line.source, line.dtype]
    return [line.source] * len(line.operands)


# -- in numpy --------------------------------------------------------------------------------------

def _evaluate(line: ElementOp, operands: Sequence[NDArray], a: Values) -> NDArray:
    """Computes a line for all rows, each [rows, N], or [rows, 1] where it is a number a row."""
    x, rows, N = operands[0], a["rows"], a["N"]
    if line.op in REDUCTIONS:
        return reduced(line.op, np.broadcast_to(x, (rows, N)), line.dtype)[:, None]
    if line.op in NORMS:
        gamma, beta = (*operands[1:-1], None, None)[:2]
        return normalized_plain(x, operands[-1], gamma, beta, line.op).astype(DTYPES[line.dtype])
    if line.op in FUNCTIONS:
        scale = operands[1] if len(operands) > 1 else None
        return softmax_plain(x, scale, line.op == "log_softmax")
    if line.op not in CHECKED:
        return evaluate_line(line, operands)
    ids = np.broadcast_to(operands[line.op == PICK], (rows, 1))
    is_known = (ids >= 0) & (ids < N)
    report_plain(a, ids[~is_known], N)
    if line.op == PICK:
        chosen = np.take_along_axis(np.broadcast_to(x, (rows, N)), np.where(is_known, ids, 0), 1)
        return np.where(is_known, chosen, chosen.dtype.type(0))
    zero = DTYPES[line.dtype].type(0)
    return np.where(ids == np.arange(N), zero + operands[1], zero)
