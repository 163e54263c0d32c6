"""What stands for what in generated source: the variables of sizes and places, operands as text.

Names are taken over from the user only where they are plain and cannot mean anything else.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from keyword import iskeyword

from ir.graph import named_sizes
from ir.ops import OPS
from ir.types import Dim, DimExpr, same
from nncompile.cpu.arena import Arena
from nncompile.cpu.target import Target
from nncompile.cpu.words import WORDS
from nncompile.schedule import Operand, Program, Step, View

LOCALS = ("args", "sizes", "weights", "scratch", "block", "queue", "fault", "worker", "facts",
          "row", "rows", "plan", "row_blocks", "phases", "min")


class Scope:
    """The names of one program, and its weights' places; `names` are the sizes' variables in the
    function being written."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program, self.target, self.arena = program, target, Arena(target)
        self.sizes = size_names(program)
        self.places = place_names(program, set(self.sizes.values()))
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


def fixed(shape: Sequence[Dim]) -> list[int]:
    """The shape of a constant, which has no named sizes."""
    return [dim.__index__() for dim in shape]


def at_word(dtype: str) -> str:
    return "at" if dtype == "f32" else f"at_{dtype}"


def size_names(program: Program) -> dict[str, str]:
    """A variable for each named size: its own name if that is plain, or else S0, S1, ..."""
    named = named_sizes(program.graph)
    plain = re.compile(r"[A-Z][A-Za-z]{0,15}")
    return {name: name if plain.fullmatch(name) and not iskeyword(name) else f"S{i}"
            for i, name in enumerate(named)}


def place_names(program: Program, taken: set[str]) -> dict[str, str]:
    """A variable for each input, output and buffer.  Names of inputs are the user's: they are
    taken over only if they cannot mean anything else here."""
    taken = {*taken, *LOCALS, *WORDS, *OPS}
    names = {}
    for i, (view, value) in enumerate(zip(program.inputs, program.graph.inputs, strict=True)):
        plain = re.fullmatch(r"[a-z][a-z_]{0,15}", value.name) and not iskeyword(value.name)
        name = value.name if plain and value.name not in taken else f"in{i}"
        names[view.place] = name
        taken.add(name)
    single = len(program.outputs) == 1 and "y" not in taken
    return (names | {v.place: "y" if single else v.place for v in program.outputs}
            | {place: place for place in program.buffers})


def number_text(dim: Dim, names: Mapping[str, str]) -> str:
    """A size as Python: B * 784, or 2 * T + 1."""
    if not isinstance(dim, DimExpr):
        return str(dim)
    parts = []
    for monomial, coefficient in dim.terms:
        factors = [names[name] for name in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.append(str(abs(coefficient)))
        parts.append(("- " if coefficient < 0 else "+ ") + " * ".join(factors))
    first, *rest = sorted(parts, key=lambda part: part[0] == "-")     # 10 - T, not -T + 10
    return " ".join([first.removeprefix("+ ").replace("- ", "-"), *rest])


def factor_text(dim: Dim, names: Mapping[str, str]) -> str:
    text = number_text(dim, names)
    return text if re.fullmatch(r"\w+", text) else f"({text})"
