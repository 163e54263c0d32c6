"""What is computed of each row, several steps at a time: elementwise ops, reductions, functions.

A row goes through all lines while it is in the nearest cache. RowPlan says which loops over the row
that takes, and what each of them folds and stores; a value along the row that no loop stores exists
in registers alone. Where rows lie side by side, as many are computed at a time as vectors have
lanes, and a loop goes down the column of each.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from llvmlite import ir as ll

from ir.types import DTYPES, FLOATS, NDArray
from nncompile.cpu.kernels.faults import report, report_plain
from nncompile.cpu.kernels.group import emit_line, evaluate_line, group_name
from nncompile.cpu.kernels.kernel import Kernel, Units, make
from nncompile.cpu.kernels.norms import NORMS_OF_ROWS, affine, normalized_plain
from nncompile.cpu.kernels.operands import Arguments, Values, strided
from nncompile.cpu.kernels.reductions import combine_of, neutral_of, reduced
from nncompile.cpu.kernels.rows import SPAN, WAYS, fold_rows, for_row
from nncompile.cpu.kernels.softmax import log_softmax_of_row, softmax_plain, softmax_row
from nncompile.cpu.vector import I64, Emit, Int, Value
from nncompile.cpu.vector.math import cast
from nncompile.schedule.program import CHECKED, ONE_HOT, PICK, ElementOp
from nncompile.schedule.row_lines import FUNCTIONS, NORMS, REDUCTIONS, RowPlan

_MOST_UNROLLED = 160          # vectors of lines along a row: longer code would take long to compile


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
    row.
    """
    return _RowGroup(ops, outputs, kinds, columns, length).kernel()


class _RowGroup:
    """The lines of a kernel, and the names, kinds and dtypes of its operands and results."""

    def __init__(self, ops: tuple[ElementOp, ...], outputs: tuple[int, ...], kinds: str,
                 columns: bool, length: int) -> None:
        self.ops, self.outputs, self.columns, self.length = ops, outputs, columns, length
        self.plan = RowPlan(ops, outputs, columns)
        self.kinds = {f"r{i}": kind for i, kind in enumerate(kinds)}
        self.results = {f"y{i}": line for i, line in enumerate(outputs)}
        self.dtypes = row_dtypes(ops, len(kinds)) | {
            y: ops[line].dtype for y, line in self.results.items()}
        self.place = {line: y for y, line in reversed(self.results.items())}

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
        units = Units(lambda e, a: a["rows"], self._rows)
        return make(name, signature, units, self.plain, dtype)

    def unrolls(self, e: Emit) -> bool:
        """Whether there are no loops over a row."""
        along = sum(line.along or line.op in REDUCTIONS for line in self.ops)
        vectors = -(-self.length // e.width)
        return 0 < vectors * along <= _MOST_UNROLLED and vectors < SPAN

    def _rows(self, e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as loop:
            moved = dict(a)
            for name, dtype in self.dtypes.items():
                moved[name] = e.at(a[name], self._offset(e, a, name, loop.index), dtype=dtype)
            _Row(self, e, moved).emit()

    def _offset(self, e: Emit, a: Arguments, name: str, row: Value) -> Value:
        """How far a row's part of an operand or result is from its start."""
        if name in self.results:
            along = self.ops[self.results[name]].along
            return e.b.mul(row, a["N"]) if along else row
        return e.b.mul(row, a[f"{name}_ld"]) if self.kinds[name] in "mn" else I64(0)

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


# -- one row ---------------------------------------------------------------------------------------

class _Position:
    """A place along a row: a vector of elements with a mask, or a single one for all lanes."""

    def __init__(self, index: Int, mask: Value | None = None, single: bool = False) -> None:
        self.index, self.mask, self.single = index, mask, single


class _Row:
    """Emits the lines of one row.

    numbers:   what lines and operands are that belong to the whole row, in all lanes.
    functions: for a line, what makes its results of elements of its operand.
    known:     without loops, the values along the row at each position, which stay in registers.
    """

    def __init__(self, group: _RowGroup, e: Emit, a: Arguments) -> None:
        self.group, self.ops, self.plan, self.e, self.a = group, group.ops, group.plan, e, a
        # Numbers are read first, because a result may be written where they are.
        self.numbers: dict[str, Value] = {
            name: e.broadcast(a[name], group.dtypes[name])
            for name, kind in group.kinds.items() if kind in "ns"}
        self.functions: dict[str, Callable[[Value], Value]] = {}
        self.known: dict[int, dict[str, Value]] = {}
        self.N: Int = group.length if group.unrolls(e) else a["N"]

    def emit(self) -> None:
        for stage in range(max(self.plan.stages) + 1):
            for number, line in enumerate(self.ops):
                if self.plan.stages[number] == stage:
                    self._number(number, line, stage)
            for loop in self.plan.loops:
                if loop.stage == stage:
                    self._loop(loop.stage, loop.folds, loop.stores)
        for y, result in self.group.results.items():
            if not self.ops[result].along:
                value = self.e.b.extract_element(self.numbers[f"t{result}"], I64(0))
                self.e.store_one(value, self.a[y], self.group.dtypes[y])

    # -- what belongs to the whole row

    def _number(self, number: int, line: ElementOp, stage: int) -> None:
        """Emits what is computed of a line before the loops of its stage."""
        name = f"t{number}"
        if line.op in FUNCTIONS:
            self._function(number, line)
        elif line.op == ONE_HOT:
            self._known(line.operands[0], line.source)
        elif line.op == PICK:
            index, is_known = self._known(line.operands[1], line.source)
            at = _Position(self.e.b.select(is_known, index, I64(0)), single=True)
            value = self._value(line.operands[0], at, stage, {})
            zero = self.e.const(0, line.dtype)
            self.numbers[name] = self.e.b.select(is_known, value, zero)
        elif not line.along and line.op not in REDUCTIONS:
            self.numbers[name] = emit_line(self.e, line, [self.numbers[o] for o in line.operands])

    def _function(self, number: int, line: ElementOp) -> None:
        """Emits the statistics of a row for its softmax or norm, and a softmax as a whole."""
        e, x, *further = self.e, *line.operands
        own = {"N": self.N, "x": self.a[self._memory(x)]}
        if line.op in NORMS:
            own["eps"] = self.a[further[-1]]
            self.functions[f"t{number}"] = NORMS_OF_ROWS[line.op](e, own)
            return
        if further:
            own["scale"] = self.a[further[-1]]
        if line.op == "softmax":
            softmax_row(e, own | {"y": self.a[self.group.place[number]]})
        else:
            self.functions[f"t{number}"] = log_softmax_of_row(e, own)

    def _memory(self, name: str) -> str:
        """The operand or result in which a value along the row is."""
        return name if name[0] == "r" else self.group.place[int(name[1:])]

    def _known(self, name: str, dtype: str) -> tuple[Value, Value]:
        """Returns an index, and whether the row has such an element; reports it where not."""
        b = self.e.b
        index = b.extract_element(self.numbers[name], I64(0))
        index = b.sext(index, I64) if dtype == "i32" else index
        is_known = b.icmp_unsigned("<", index, self.a["N"])
        with b.if_then(b.not_(is_known), likely=False):
            report(self.e, self.a, index, self.a["N"])
        return index, is_known

    # -- what is along the row

    def _loop(self, stage: int, folds: Sequence[int], stores: Sequence[int]) -> None:
        e = self.e

        def body(index: Int, mask: Value | None) -> list[Value]:
            at = _Position(index, mask)
            known = self.known.setdefault(index, {}) if isinstance(index, int) else {}
            terms = [self._term(self.ops[i], at, stage, known) for i in folds]
            made = [(i, self._value(f"t{i}", at, stage, known)) for i in stores]
            for i, value in made:
                y = self.group.place[i]
                dtype = self.group.dtypes[y]
                e.store(value, e.at(self.a[y], index, dtype=dtype), mask, dtype)
            return terms

        if not folds:
            for_row(e, self.N, lambda index, mask: (body(index, mask), None)[1])
            return
        lines = [self.ops[i] for i in folds]
        found = fold_rows(e, self.N, body,
                          [combine_of(e.of(line.dtype), line.op) for line in lines],
                          [e.const(neutral_of(line.op, line.dtype), line.dtype)
                           for line in lines], ways=WAYS)
        for i, line, value in zip(folds, lines, found, strict=True):
            self.numbers[f"t{i}"] = self._mean(value) if line.op == "mean" else value

    def _term(self, line: ElementOp, at: _Position, stage: int, known: dict[str, Value]) -> Value:
        """Returns what a reduction combines, in the dtype of its result."""
        value = self._value(line.operands[0], at, stage, known)
        return value if line.source == line.dtype else cast(
            self.e, value, line.source, line.dtype)

    def _mean(self, total: Value) -> Value:
        length = self.e.b.sitofp(self.a["N"], total.type.element)
        return self.e.b.fdiv(total, self.e.splat(length))

    def _value(self, name: str, at: _Position, stage: int, known: dict[str, Value]) -> Value:
        """Returns the elements of an operand or a line at a position; known: those that are there.
        """
        if name in self.numbers:
            return self.numbers[name]
        if name not in known:
            known[name] = (self._load(name, at) if name[0] == "r" else
                           self._computed(int(name[1:]), at, stage, known))
        return known[name]

    def _computed(self, number: int, at: _Position, stage: int, known: dict[str, Value]) -> Value:
        line, name = self.ops[number], f"t{number}"
        if number in self.plan.stored and (line.op == "softmax"
                                           or self.plan.stages[number] < stage):
            return self._load(self.group.place[number], at)
        if line.op == ONE_HOT:
            index, value = (self.numbers[o] for o in line.operands)
            return self._one_hot(line, index, value, at)
        operands = [self._value(o, at, stage, known) for o in line.operands]
        if line.op in NORMS:
            x, *further = operands[:-1]
            gamma, beta = (*further, None, None)[:2]
            return affine(self.e, self.functions[name](x), gamma, beta)
        if line.op in FUNCTIONS:
            return self.functions[name](operands[0])
        return emit_line(self.e, line, operands)

    def _one_hot(self, line: ElementOp, index: Value, value: Value, at: _Position) -> Value:
        """Returns 0 + value where the position is the index, and 0 elsewhere."""
        e, zero = self.e, self.e.const(0, line.dtype)
        places = e.splat(e.i64(at.index))
        if not at.single:
            lanes = ll.VectorType(I64, e.width)
            places = e.b.add(places, ll.Constant(lanes, list(range(e.width))))
        if line.source == "i32":
            index = e.b.sext(index, ll.VectorType(I64, e.width))
        is_there = e.b.icmp_signed("==", places, index)
        add = e.b.fadd if line.dtype in FLOATS else e.b.add
        return e.b.select(is_there, add(zero, value), zero)

    def _load(self, name: str, at: _Position) -> Value:
        dtype = self.group.dtypes[name]
        place = self.e.at(self.a[name], at.index, dtype=dtype)
        return (self.e.broadcast(place, dtype) if at.single else
                self.e.load(place, at.mask, dtype=dtype))


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
