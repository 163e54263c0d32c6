"""In which order a row group computes its lines: loops over a row, and what is done between them.

A line of a row group belongs to the whole row, as a sum does, or it is `along` the row, one value
for each element. A value along the row is computed in a register where a loop needs it; that is
done again in each loop, unless the value is a result of the step, which later loops read from
memory.

A value is there from a *stage* on. Stage s is what can be computed of whole rows then, and after
that a loop, which stores results and folds reductions; what it folds is there in stage s + 1.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ir.ops import with_trait
from nncompile.schedule.cost import op_cost
from nncompile.schedule.program import CHECKED, PICK, ElementOp

REDUCTIONS = with_trait("reduction") - with_trait("arg_reduction")
NORMS = ("layer_norm", "rms_norm")
FUNCTIONS = ("softmax", "log_softmax", *NORMS)

# Operations of an element that are not computed once more in the next loop, but kept in memory;
# so many that a root, a quotient or a few additions are less.
_HEAVY = 10
_FUNCTION_COST = 3                       # of an element, once its row's statistics are there


class Loop(NamedTuple):
    """One loop over a row: the lines that it folds, and those that it stores."""

    stage: int
    folds: tuple[int, ...]
    stores: tuple[int, ...]


class RowPlan:
    """The stages of lines, and the loops that compute them.

    columns: whether rows lie side by side, so that their elements are met one after the other and a
             pick is folded.
    """

    def __init__(self, ops: Sequence[ElementOp], outputs: Sequence[int], columns: bool) -> None:
        self.ops, self.columns = ops, columns
        self.stored = tuple(dict.fromkeys(i for i in outputs if ops[i].along))
        self._costs: list[int] = []
        self.stages: list[int] = []
        for line in ops:
            self._costs.append(self._cost(line))
            self.stages.append(self._stage(line))
        self.loops = tuple(loop for stage in range(max(self.stages, default=0) + 1)
                           for loop in self._loops(stage))

    def is_folded(self, line: ElementOp) -> bool:
        """Whether a loop over the row combines the elements of the line's operand."""
        return line.op in REDUCTIONS or (self.columns and line.op == PICK)

    def is_heavy(self, line: int) -> bool:
        """Whether a value along the row costs more than to write and to read it."""
        return self.ops[line].along and self._costs[line] >= _HEAVY

    def stored_last(self) -> list[int]:
        """Returns the lines that the last loop stores, if no element of a row is read later."""
        if not self.loops:
            return []
        last = self.loops[-1]
        later = any(stage > last.stage and line.op in (PICK, *FUNCTIONS)
                    for line, stage in zip(self.ops, self.stages, strict=True))
        return [] if later or last.folds else [
            i for i in last.stores if self.ops[i].op != "softmax"]

    def computed_again(self) -> set[int]:
        """Returns the lines that a loop computes though an earlier one did, or their reductions.

        These are heavy lines along the row that are no results of the step.
        """
        found: set[int] = set()
        for loop in self.loops:
            for root in (*(self._operand(i) for i in loop.folds), *loop.stores):
                self._note(root, loop.stage, found)
            found |= {i for i in map(self._operand, loop.folds) if i is not None
                      and self.is_heavy(i) and i not in self.stored}
        for line in self.ops:
            operand = _line(line.operands[0])
            if line.op in FUNCTIONS and operand is not None and operand not in self.stored:
                found.add(operand)                   # a function reads memory
        return found

    def _note(self, line: int | None, stage: int, found: set[int]) -> None:
        if line is None or not self.ops[line].along or (
                line in self.stored and self.stages[line] < stage):
            return
        if self.stages[line] < stage and self.is_heavy(line):
            found.add(line)
        for operand in self.ops[line].operands:
            self._note(_line(operand), stage, found)

    def _operand(self, line: int) -> int | None:
        return _line(self.ops[line].operands[0])

    def _cost(self, line: ElementOp) -> int:
        """The operations of an element of a line, with those of the lines that it reads."""
        if line.op == "softmax" or line.op in REDUCTIONS:
            return 0                                 # read from memory, or from a register
        own = _FUNCTION_COST if line.op in FUNCTIONS else (
            2 if line.op in CHECKED else op_cost(line.op))
        return own + sum(self._costs[i] for i in map(_line, line.operands)
                         if i is not None and self.ops[i].along)

    def _stage(self, line: ElementOp) -> int:
        first, *others = line.operands
        stage = max([0, *map(self._there, others)])
        if line.op in FUNCTIONS:
            return max(stage, 0 if _line(first) is None else self._there(first) + 1)
        if line.op in REDUCTIONS or line.op == PICK:
            return max(stage, self._readable(first)) + self.is_folded(line)
        return max(stage, self._there(first))

    def _there(self, operand: str) -> int:
        line = _line(operand)
        return 0 if line is None else self.stages[line]

    def _readable(self, operand: str) -> int:
        """The first stage in which elements can be read, if need be from memory."""
        line = _line(operand)
        if line is None:
            return 0
        waits = line in self.stored and self.is_heavy(line) and self.ops[line].op != "softmax"
        return self.stages[line] + waits

    def _loops(self, stage: int) -> list[Loop]:
        """One loop, or two: a fold has its terms several times, so what is long is not among them.
        """
        folds = tuple(i for i, line in enumerate(self.ops)
                      if self.is_folded(line) and self.stages[i] == stage + 1)
        stores = [i for i in self.stored
                  if self.stages[i] == stage and self.ops[i].op != "softmax"]
        apart = [i for i in stores if folds and self.is_heavy(i)]
        first = Loop(stage, folds, tuple(i for i in stores if i not in apart))
        found = [first, Loop(stage, (), tuple(apart))]
        return [loop for loop in found if loop.folds or loop.stores]


def _line(operand: str) -> int | None:
    """The number of the line that an operand is, or None for an operand of the step."""
    return int(operand[1:]) if operand[0] == "t" else None
