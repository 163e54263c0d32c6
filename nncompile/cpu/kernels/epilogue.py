"""What a product does with its sums once they are complete: a chain of ops, or a group.

A chain has one result, y. A group is lines as in group.py, of which "p" is the sum, and has one or
more results: y, y1, y2, ... So a step of training updates a weight, and the states that belong to
it, with the tile of its gradient that was just computed.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import nncompile.cpu.kernels.chain as chains
from ir.records import dataclass
from ir.types import NDArray
from nncompile.cpu.kernels.chain import LANE_OPS, Chain
from nncompile.cpu.kernels.group import (
    ElementOp,
    check_lines,
    emit_lines,
    evaluate_lines,
    group_name,
)
from nncompile.cpu.vector import Emit, Value


@dataclass(frozen=True)
class GroupEnd:
    """The group at the end of a product.

    ops: its lines. outputs: those whose results are y, y1, ... kinds: as those of a chain, of the
    operands r0, r1, ... All numbers have the dtype of the product.
    """

    ops: tuple[ElementOp, ...]
    outputs: tuple[int, ...]
    kinds: str


@dataclass(frozen=True)
class Epilogue:
    """A chain, or a group in its place."""

    chain: Chain = ()
    group: GroupEnd | None = None

    def check(self, dtype: str) -> None:
        """Raises ValueError for what no product of that dtype can end with."""
        chains.check(self.chain, "vs", dtype=dtype)
        if self.group is not None:
            check_lines(self.group.ops)
            if any({line.source, line.dtype} - {dtype, "bool"} for line in self.group.ops):
                raise ValueError(f"the numbers at the end of a product are {dtype}, as it is")

    @property
    def kinds(self) -> str:
        """The kinds of the operands: v for a row of numbers, s for one number a row."""
        return chains.kinds(self.chain) if self.group is None else self.group.kinds

    @property
    def operands(self) -> list[str]:
        """The names of the operands."""
        return [f"r{i}" for i in range(len(self.kinds))]

    @property
    def results(self) -> list[str]:
        """The names of the results."""
        count = 1 if self.group is None else len(self.group.outputs)
        return ["y", *(f"y{i}" for i in range(1, count))]

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of a kernel's name that tell it."""
        if self.group is None:
            return chains.names(self.chain)
        return ("then", group_name(self.group.ops, self.group.outputs, self.group.kinds, 0))

    @property
    def is_long(self) -> bool:
        """Whether it is too much code to repeat for each sum."""
        if self.group is None:
            return chains.is_long(self.chain)
        return any(LANE_OPS[line.op].long for line in self.group.ops)

    def emit(self, e: Emit, value: Value, operand: Callable[[int], Value]) -> list[Value]:
        """Emits the results of a vector of sums; operand(i) emits that of an operand."""
        if self.group is None:
            return [chains.emit(e, self.chain, value, operand, e.dtype)]
        values = {"p": value} | {r: operand(i) for i, r in enumerate(self.operands)}
        emit_lines(e, self.group.ops, values)
        return [values[f"t{number}"] for number in self.group.outputs]

    def evaluate(self, value: NDArray, operands: Sequence[NDArray], dtype: str) -> list[NDArray]:
        """Returns the results in NumPy."""
        if self.group is None:
            return [chains.evaluate(self.chain, value, list(operands), dtype)]
        values = {"p": value} | dict(zip(self.operands, operands, strict=True))
        evaluate_lines(self.group.ops, values)
        return [values[f"t{number}"] for number in self.group.outputs]
