"""How the lines of a row group are emitted: of one row, or of a vector of columns.

RowPlan says which loops over a row that takes, and what each of them folds and stores; a value
along the row that no loop stores exists in registers alone. A short row has no loops: each of its
elements is loaded once, and whatever is computed of it stays in registers as far as there are some.
Columns are rows that lie side by side: as many are computed at a time as vectors have lanes, and a
loop goes down from element to element.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from llvmlite import ir as ll

from ir.records import cached_property, dataclass
from ir.types import FLOATS
from nncompile.cpu.kernels.chain import LANE_OPS
from nncompile.cpu.kernels.faults import report
from nncompile.cpu.kernels.group import emit_line
from nncompile.cpu.kernels.norms import NORMS_OF_ROWS, affine
from nncompile.cpu.kernels.operands import Arguments
from nncompile.cpu.kernels.reductions import combine_of, neutral_of
from nncompile.cpu.kernels.rows import SPAN, WAYS, Combine, fold_rows, for_row
from nncompile.cpu.kernels.softmax import (
    ColumnTerm,
    log_softmax_of_columns,
    log_softmax_of_row,
    softmax_of_columns,
    softmax_row,
)
from nncompile.cpu.vector import I32, I64, Emit, Int, Value
from nncompile.cpu.vector.math import cast
from nncompile.schedule.program import ONE_HOT, PICK, ElementOp
from nncompile.schedule.row_lines import FUNCTIONS, NORMS, REDUCTIONS, RowPlan

# Vectors of lines along a row, of which a function counts several times: longer code without loops
# would take long to compile.
_MOST_UNROLLED, _LONG = 220, 6
_LONG_OPS = {*FUNCTIONS, *(name for name, op in LANE_OPS.items() if op.long)}


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a kernel, and its operands and results, by their names.

    kinds: of the operands. results: the line that is each result. dtypes: of both. length: of a
    row; 0 where it is not known before a call.
    """

    ops: tuple[ElementOp, ...]
    plan: RowPlan
    kinds: Mapping[str, str]
    results: Mapping[str, int]
    dtypes: Mapping[str, str]
    length: int

    @cached_property
    def places(self) -> dict[int, str]:
        """The result that is a line."""
        return {line: y for y, line in reversed([*self.results.items()])}

    def unrolls(self, width: int) -> bool:
        """Whether a row has no loops; width: its elements in a step of one."""
        steps = -(-self.length // width)
        along = sum(_LONG if line.op in _LONG_OPS else 1 for line in self.ops
                    if line.along or line.op in REDUCTIONS)
        return 0 < steps * along <= _MOST_UNROLLED and steps < SPAN


class _Position:
    """A place along a row: a vector of elements with a mask, or a single one for all lanes."""

    def __init__(self, index: Int, mask: Value | None = None, single: bool = False) -> None:
        self.index, self.mask, self.single = index, mask, single


class _Emitter(ABC):
    """Emits the lines of one row, or of several rows side by side.

    numbers:   what lines and operands are that belong to a whole row.
    functions: for a line, what makes its results of elements of its operand.
    known:     without loops, the values along the row at each position, which stay in registers.
    N:         the length of a row, a Python int where there are no loops.
    """

    def __init__(self, lines: Lines, e: Emit, a: Arguments, width: int) -> None:
        self.lines, self.ops, self.plan, self.e, self.a = lines, lines.ops, lines.plan, e, a
        # Numbers are read first, because a result may be written where they are.
        self.numbers = {name: self.load_number(name) for name, kind in lines.kinds.items()
                        if kind in "ns"}
        self.functions: dict[str, Callable[[Value], Value]] = {}
        self.known: dict[int, dict[str, Value]] = {}
        self.N: Int = lines.length if lines.unrolls(width) else a["N"]

    def emit(self) -> None:
        """Emits all lines."""
        for stage in range(max(self.plan.stages) + 1):
            for number, line in enumerate(self.ops):
                if self.plan.stages[number] == stage:
                    self._number(number, line, stage)
            for loop in self.plan.loops:
                if loop.stage == stage:
                    self.loop(loop.stage, loop.folds, loop.stores)
        for y, result in self.lines.results.items():
            if not self.ops[result].along:
                self.store_number(self.numbers[f"t{result}"], y)

    @abstractmethod
    def load_number(self, name: str) -> Value:
        """Returns an operand that is one number a row."""

    @abstractmethod
    def store_number(self, value: Value, y: str) -> None:
        """Stores a result that is one number a row."""

    @abstractmethod
    def load(self, name: str, at: _Position) -> Value:
        """Returns elements of an operand or of a result."""

    @abstractmethod
    def loop(self, stage: int, folds: Sequence[int], stores: Sequence[int]) -> None:
        """Emits a loop over a row, or all of it without one."""

    @abstractmethod
    def function(self, number: int, line: ElementOp) -> None:
        """Emits the statistics of a row for a softmax or a norm, and a softmax as a whole."""

    @abstractmethod
    def pick(self, name: str, line: ElementOp, stage: int) -> None:
        """Emits what a pick needs before the loops of its stage."""

    @abstractmethod
    def one_hot(self, line: ElementOp, at: _Position) -> Value:
        """Returns 0 + the number where the position is the index, and 0 elsewhere."""

    def _number(self, number: int, line: ElementOp, stage: int) -> None:
        """Emits what is computed of a line before the loops of its stage."""
        name = f"t{number}"
        if line.op in FUNCTIONS:
            self.function(number, line)
        elif line.op == ONE_HOT:
            self.check(line.operands[0], line.source)
        elif line.op == PICK:
            self.pick(name, line, stage)
        elif not line.along and line.op not in REDUCTIONS:
            self.numbers[name] = emit_line(self.e, line, [self.numbers[o] for o in line.operands])

    @abstractmethod
    def check(self, name: str, dtype: str) -> None:
        """Reports an index where the row has no such element."""

    def body(self, at: _Position, stage: int, folds: Sequence[int], stores: Sequence[int]
             ) -> list[Value]:
        """Stores what is stored of a position, and returns what is folded of it."""
        known = self.known.setdefault(at.index, {}) if isinstance(at.index, int) else {}
        terms = [self._term(self.ops[i], at, stage, known) for i in folds]
        made = [(i, self.value(f"t{i}", at, stage, known)) for i in stores]
        for i, value in made:
            y = self.lines.places[i]
            self.e.store(value, self.place(y, at.index), at.mask, self.lines.dtypes[y])
        return terms

    @abstractmethod
    def place(self, name: str, index: Int) -> Value:
        """Returns where an element of an operand or of a result is."""

    def _term(self, line: ElementOp, at: _Position, stage: int, known: dict[str, Value]) -> Value:
        """Returns what a reduction combines, in the dtype of its result."""
        value = self.value(line.operands[0], at, stage, known)
        return value if line.source == line.dtype or line.op == PICK else cast(
            self.e, value, line.source, line.dtype)

    def folded(self, number: int, value: Value) -> None:
        """Notes the result of a fold, in all lanes."""
        if self.ops[number].op == "mean":
            length = self.e.b.sitofp(self.e.i64(self.N), value.type.element)
            value = self.e.b.fdiv(value, self.e.splat(length))
        self.numbers[f"t{number}"] = value

    def combine(self, number: int) -> tuple[Combine, Value]:
        """Returns what a reduction combines with, and its neutral element."""
        line = self.ops[number]
        return (combine_of(self.e.of(line.dtype), line.op),
                self.e.const(neutral_of(line.op, line.dtype), line.dtype))

    def value(self, name: str, at: _Position, stage: int, known: dict[str, Value]) -> Value:
        """Returns the elements of an operand or a line at a position; known: those that are there.
        """
        if name in self.numbers:
            return self.numbers[name]
        if name not in known:
            known[name] = (self.load(name, at) if name[0] == "r" else
                           self._computed(int(name[1:]), at, stage, known))
        return known[name]

    def _computed(self, number: int, at: _Position, stage: int, known: dict[str, Value]) -> Value:
        line, name = self.ops[number], f"t{number}"
        if number in self.plan.stored and (line.op == "softmax"
                                           or self.plan.stages[number] < stage):
            return self.load(self.lines.places[number], at)
        if line.op == ONE_HOT:
            return self.one_hot(line, at)
        operands = [self.value(o, at, stage, known) for o in line.operands]
        if line.op in NORMS:
            x, *further = operands[:-1]
            gamma, beta = (*further, None, None)[:2]
            return affine(self.e, self.functions[name](x), gamma, beta)
        if line.op in FUNCTIONS:
            return self.functions[name](operands[0])
        return emit_line(self.e, line, operands)

    def memory(self, name: str) -> str:
        """Returns the operand or result in which a value along the row is."""
        return name if name[0] == "r" else self.lines.places[int(name[1:])]


class RowEmitter(_Emitter):
    """Emits the lines of one row, whose elements have stride 1."""

    def __init__(self, lines: Lines, e: Emit, a: Arguments) -> None:
        super().__init__(lines, e, a, e.width)

    def load_number(self, name: str) -> Value:
        return self.e.broadcast(self.a[name], self.lines.dtypes[name])

    def store_number(self, value: Value, y: str) -> None:
        self.e.store_one(self.e.b.extract_element(value, I64(0)), self.a[y], self.lines.dtypes[y])

    def place(self, name: str, index: Int) -> Value:
        return self.e.at(self.a[name], index, dtype=self.lines.dtypes[name])

    def load(self, name: str, at: _Position) -> Value:
        place, dtype = self.place(name, at.index), self.lines.dtypes[name]
        return (self.e.broadcast(place, dtype) if at.single else
                self.e.load(place, at.mask, dtype=dtype))

    def loop(self, stage: int, folds: Sequence[int], stores: Sequence[int]) -> None:
        def body(index: Int, mask: Value | None) -> list[Value]:
            return self.body(_Position(index, mask), stage, folds, stores)

        if not folds:
            for_row(self.e, self.N, lambda index, mask: (body(index, mask), None)[1])
            return
        combines, neutrals = zip(*map(self.combine, folds), strict=True)
        found = fold_rows(self.e, self.N, body, combines, neutrals, ways=WAYS)
        for i, value in zip(folds, found, strict=True):
            self.folded(i, value)

    def function(self, number: int, line: ElementOp) -> None:
        x, *further = line.operands
        own = {"N": self.N, "x": self.a[self.memory(x)]}
        if line.op in NORMS:
            own["eps"] = self.a[further[-1]]
            self.functions[f"t{number}"] = NORMS_OF_ROWS[line.op](self.e, own)
            return
        if further:
            own["scale"] = self.a[further[-1]]
        if line.op == "softmax":
            softmax_row(self.e, own | {"y": self.a[self.lines.places[number]]})
        else:
            self.functions[f"t{number}"] = log_softmax_of_row(self.e, own)

    def pick(self, name: str, line: ElementOp, stage: int) -> None:
        index, is_known = self._known_index(line.operands[1], line.source)
        at = _Position(self.e.b.select(is_known, index, I64(0)), single=True)
        value = self.value(line.operands[0], at, stage, {})
        self.numbers[name] = self.e.b.select(is_known, value, self.e.const(0, line.dtype))

    def one_hot(self, line: ElementOp, at: _Position) -> Value:
        e, zero = self.e, self.e.const(0, line.dtype)
        index, value = (self.numbers[o] for o in line.operands)
        places = e.splat(e.i64(at.index))
        wide = ll.VectorType(I64, e.width)
        if not at.single:
            places = e.b.add(places, ll.Constant(wide, list(range(e.width))))
        index = e.b.sext(index, wide) if line.source == "i32" else index
        add = e.b.fadd if line.dtype in FLOATS else e.b.add
        return e.b.select(e.b.icmp_signed("==", places, index), add(zero, value), zero)

    def check(self, name: str, dtype: str) -> None:
        self._known_index(name, dtype)

    def _known_index(self, name: str, dtype: str) -> tuple[Value, Value]:
        """Returns an index, and whether the row has such an element; reports it where not."""
        b = self.e.b
        index = b.extract_element(self.numbers[name], I64(0))
        index = b.sext(index, I64) if dtype == "i32" else index
        is_known = b.icmp_unsigned("<", index, self.a["N"])
        with b.if_then(b.not_(is_known), likely=False):
            report(self.e, self.a, index, self.a["N"])
        return index, is_known


class ColumnEmitter(_Emitter):
    """Emits the lines of a vector of columns, of which the mask tells those that there are."""

    def __init__(self, lines: Lines, e: Emit, a: Arguments, mask: Value | None) -> None:
        self._mask = mask
        super().__init__(lines, e, a, 1)

    def load_number(self, name: str) -> Value:
        dtype = self.lines.dtypes[name]
        if self.lines.kinds[name] == "s":
            return self.e.broadcast(self.a[name], dtype)
        return self.e.load(self.a[name], self._mask, dtype=dtype)

    def store_number(self, value: Value, y: str) -> None:
        self.e.store(value, self.a[y], self._mask, self.lines.dtypes[y])

    def place(self, name: str, index: Int) -> Value:
        distance = self.a["rows"] if name in self.lines.results else self.a[f"{name}_ld"]
        return self.e.at(self.a[name], self.e.b.mul(self.e.i64(index), distance),
                         dtype=self.lines.dtypes[name])

    def load(self, name: str, at: _Position) -> Value:
        place, dtype = self.place(name, at.index), self.lines.dtypes[name]
        if self.lines.kinds.get(name) == "k":
            return self.e.broadcast(place, dtype)
        return self.e.load(place, at.mask, dtype=dtype)

    def loop(self, stage: int, folds: Sequence[int], stores: Sequence[int]) -> None:
        def step(k: Int, values: Sequence[Value]) -> list[Value]:
            terms = self.body(self._at(k), stage, folds, stores)
            return [self._step(i, k, value, term)
                    for i, value, term in zip(folds, values, terms, strict=True)]

        start = [self.e.const(0, self.ops[i].dtype) if self.ops[i].op == PICK else
                 self.combine(i)[1] for i in folds]
        for i, value in zip(folds, self._in_spans(step, start, folds), strict=True):
            self.folded(i, value)

    def _in_spans(self, step: Callable[[Int, Sequence[Value]], list[Value]],
                  start: Sequence[Value], folds: Sequence[int]) -> list[Value]:
        """Emits step(k, values) for every element k, in spans whose values are then combined.

        A column of a pick, or without loops, is less than a span.
        """
        if isinstance(self.N, int) or any(self.ops[i].op == PICK for i in folds):
            return self._each(step, start)
        e = self.e
        with e.loop(0, self.N, SPAN, start) as spans:
            end = e.least(self.N, e.b.add(spans.index, I64(SPAN)))
            with e.loop(spans.index, end, 1, start) as loop:
                loop.next = step(loop.index, loop.values)
            spans.next = [self.combine(i)[0](total, value) for i, total, value in
                          zip(folds, spans.values, loop.values, strict=True)]
        return spans.values

    def _step(self, number: int, k: Int, value: Value, term: Value) -> Value:
        """Returns the value of a fold with the next term."""
        line = self.ops[number]
        if line.op != PICK:
            return self.combine(number)[0](value, term)
        is_there = self._is_at(self.numbers[line.operands[1]], k, line.source)
        return self.e.b.select(is_there, term, value)

    def function(self, number: int, line: ElementOp) -> None:
        x, *further = line.operands
        scale = self.numbers[further[-1]] if further else None
        stage = self.plan.stages[number]

        def scaled(value: Value) -> Value:
            return value if scale is None else self.e.b.fmul(value, scale)

        def score(k: Int) -> list[Value]:
            known = self.known.setdefault(k, {}) if isinstance(k, int) else {}
            return [scaled(self.value(x, self._at(k), stage, known))]

        def fold(term: ColumnTerm, combine: Combine, neutral: Value) -> list[Value]:
            return self._each(lambda k, values: [combine(values[0], term(k)[0])], [neutral])

        if line.op == "log_softmax":
            logarithms_of = log_softmax_of_columns(self.e, score, fold)
            self.functions[f"t{number}"] = lambda value: logarithms_of([scaled(value)])[0]
            return
        y = self.lines.places[number]

        def store(k: Int, values: list[Value]) -> None:
            self.e.store(values[0], self.place(y, k), self._mask)

        def load(k: Int) -> list[Value]:
            return [self.load(y, self._at(k))]

        softmax_of_columns(self.e, score, fold, store, load,
                           lambda body: self._for_each(body))

    def pick(self, name: str, line: ElementOp, stage: int) -> None:
        self.check(line.operands[1], line.source)        # it is folded; a wrong index finds 0

    def one_hot(self, line: ElementOp, at: _Position) -> Value:
        zero = self.e.const(0, line.dtype)
        index, value = (self.numbers[o] for o in line.operands)
        add = self.e.b.fadd if line.dtype in FLOATS else self.e.b.add
        return self.e.b.select(self._is_at(index, at.index, line.source), add(zero, value), zero)

    def check(self, name: str, dtype: str) -> None:
        e, b, index = self.e, self.e.b, self.numbers[name]
        limit = e.splat(self._index(self.a["N"], dtype))
        wrong = b.icmp_unsigned(">=", index, limit)
        wrong = wrong if self._mask is None else b.and_(wrong, self._mask)
        with b.if_then(e.any(wrong), likely=False):
            bits = ll.IntType(e.width)
            first = b.cttz(b.bitcast(wrong, bits), ll.Constant(ll.IntType(1), 1))
            found = b.extract_element(index, first)
            report(e, self.a, b.sext(found, I64) if dtype == "i32" else found, self.a["N"])

    def _is_at(self, index: Value, k: Int, dtype: str) -> Value:
        return self.e.b.icmp_signed("==", index, self.e.splat(self._index(k, dtype)))

    def _index(self, k: Int, dtype: str) -> Value:
        k = self.e.i64(k)
        return self.e.b.trunc(k, I32) if dtype == "i32" else k

    def _at(self, k: Int) -> _Position:
        return _Position(k, self._mask)

    def _for_each(self, body: Callable[[Int], None]) -> None:
        def step(k: Int, _: Sequence[Value]) -> list[Value]:
            body(k)
            return []
        self._each(step, [])

    def _each(self, step: Callable[[Int, Sequence[Value]], list[Value]], start: Sequence[Value]
              ) -> list[Value]:
        """Emits step(k, values) for every element k of a column; returns the last values."""
        values = [*start]
        if isinstance(self.N, int):
            for k in range(self.N):
                values = step(k, values)
            return values
        with self.e.loop(0, self.N, 1, values) as loop:
            loop.next = step(loop.index, loop.values)
        return loop.values
