"""Estimates of work and of the bytes that a call reads, by which a schedule is chosen."""
from __future__ import annotations

import math

from ir.ops import with_trait
from ir.types import DTYPES, Dim, product
from nncompile.schedule.ops import KINDS, SCHEDULES
from nncompile.schedule.program import CHECKED, ElementOp, Program, Step

_REDUCTIONS = with_trait("reduction")


def work(step: Step) -> Dim:
    """Returns the floating-point operations of a step: exact for a product, else an estimate."""
    if step.kind == "row_group":
        return product(step.views[0].shape) * sum(map(_line_cost, step.attrs["group"].ops))
    elements = product(step.result.shape)
    ops = [line.op for line in step.attrs["group"].ops] if "group" in step.attrs else (
        [op for op, _ in step.then])
    return elements * sum(map(op_cost, ops)) + _own_work(step, elements)


def _line_cost(line: ElementOp) -> int:
    """The operations of a line of a row group for each element; none if it is a number a row."""
    if line.op in KINDS:
        return KINDS[line.op].cost
    if line.op in CHECKED:
        return 1
    return op_cost(line.op) if line.along or line.op in _REDUCTIONS else 0


def _own_work(step: Step, elements: Dim) -> Dim:
    kind = KINDS[step.kind]
    if kind.product:
        return elements * 2 * step.views[0].shape[-1]
    if step.kind == "elementwise":
        return elements * op_cost(step.attrs["op"])
    if step.kind == "group":
        return 0
    return (product(step.views[0].shape) if kind.counts_operand else elements) * kind.cost


def op_cost(op: str) -> int:
    """Returns the operations per element of an elementwise op; a copy counts as one."""
    return SCHEDULES[op].cost if op != "copy" else 1


def products(step: Step) -> Dim:
    """Returns the floating-point operations of a matrix product; 0 for other steps."""
    return _own_work(step, product(step.result.shape)) if KINDS[step.kind].product else 0


def table_bytes(program: Program) -> int:
    """Returns the bytes of tables, constants of which a call gathers a few rows only."""
    tables = {v.place for step in program.steps if KINDS[step.kind].gathers for v in step.views}
    whole = {v.place for step in program.steps if not KINDS[step.kind].gathers for v in step.reads}
    constants = [program.constants[place.number] for place in tables - whole
                 if place.kind == "constant"]
    return sum(math.prod(c.shape) * DTYPES[c.dtype].itemsize for c in constants)
