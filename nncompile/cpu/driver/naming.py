"""What stands for what in generated source: the variables of sizes and places, operands as text."""
from __future__ import annotations

from collections.abc import Sequence

from ir.types import Dim, same
from nncompile.cpu.driver.arena import Arena
from nncompile.cpu.objects.primitives import WORDS
from nncompile.cpu.vector.target import Target
from nncompile.schedule import Operand, Program, Step, View
from nncompile.schedule.names import factor_text, fixed, number_text, place_names, size_names

LOCALS = ("args", "sizes", "weights", "scratch", "block", "queue", "fault", "worker", "facts",
          "row", "rows", "plan", "row_blocks", "phases", "min")


class Scope:
    """The names of one program, and its weights' places; `names` are the sizes' variables in the
    function being written."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program, self.target, self.arena = program, target, Arena(target)
        self.sizes = size_names(program)
        self.places = place_names(program, {*self.sizes.values(), *LOCALS, *WORDS})
        self.names = self.sizes

    def number(self, dim: Dim) -> str:
        return number_text(dim, self.names)

    def factor(self, dim: Dim) -> str:
        return factor_text(dim, self.names)

    def pointer(self, operand: Operand, dtype: str = "f32") -> str:
        """Where an operand starts; a plain number is one of the dtype among the weights."""
        if not isinstance(operand, View):
            return f"at(weights, {self.arena.scalar(operand, dtype)})"
        if operand.place in self.program.constants:
            number = self.program.constants[operand.place]
            type_ = self.program.preparation.outputs[number].type
            place = self.arena.array(number, fixed(type_.shape), type_.dtype)
            base = f"at(weights, {place})"
        else:
            base = self.places[operand.place]
        if same(operand.offset, 0):
            return base
        return f"{at_word(operand.dtype)}({base}, {self.number(operand.offset)})"

    def fault(self, step: Step) -> list[str]:
        """What a kernel needs to report a wrong number among its data."""
        return ["fault", str(self.program.steps.index(step))]

    def numbers(self, dims: Sequence[Dim]) -> list[str]:
        return [self.number(d) for d in dims]


def at_word(dtype: str) -> str:
    return "at" if dtype == "f32" else f"at_{dtype}"
