"""A driver's values as Python source: the one place where they become text."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ir.types import Dim, same
from nncompile.cpu.driver.values import (
    Argument,
    Base,
    Block,
    Line,
    Number,
    Parameter,
    Pointer,
    StepNumber,
    Variable,
)
from nncompile.cpu.driver.weights import Arena
from nncompile.cpu.objects.primitives import PRIMITIVES
from nncompile.schedule import Place, Program
from nncompile.schedule.names import factor_text, number_text, place_names, size_names

LOCALS = ("args", "sizes", "weights", "scratch", "block", "queue", "fault", "worker", "facts",
          "row", "rows", "plan", "row_blocks", "phases", "min")
COLUMNS = 99


class Names:
    """The variables of one program's driver.

    sizes: the variable of each named size.
    places: those of inputs, outputs and slots of scratch memory.
    """

    def __init__(self, program: Program, arena: Arena) -> None:
        self.sizes = size_names(program)
        self.places = place_names(program, {*self.sizes.values(), *LOCALS, *PRIMITIVES})
        self._arena = arena

    def constant(self, key: Place | Number) -> str:
        return self._arena.entries[key].name


class Printer:
    """Prints values inside a function in which the named sizes have these variables."""

    def __init__(self, names: Names, sizes: Mapping[str, str]) -> None:
        self._names, self._sizes = names, sizes

    def number(self, dim: Dim) -> str:
        return number_text(dim, self._sizes)

    def factor(self, dim: Dim) -> str:
        """A size that may stand beside * and //."""
        return factor_text(dim, self._sizes)

    def argument(self, argument: Argument) -> str:
        match argument:
            case Pointer(base, dtype, offset):
                start = self._start(base)
                return start if same(offset, 0) else at(dtype, start, self.number(offset))
            case Place(kind="constant") | Number():
                return self._names.constant(argument)
            case Place():
                return self._names.places[argument]
            case Parameter(kind, number):
                return f"{kind}{number}"
            case StepNumber(number):
                return str(number)
            case Variable(name):
                return name
        return self.number(argument)

    def _start(self, base: Base) -> str:
        """A pointer to where an array starts.  Of a constant the source has the offset."""
        constant = isinstance(base, Number) or base.kind in ("constant", "w")
        text = self.argument(base)
        return f"at(weights, {text})" if constant else text

    def lines(self, lines: Sequence[Line], indent: str, shared: bool) -> list[str]:
        """The calls, each under its comment; of all workers together, where they are shared."""
        texts = []
        for line in lines:
            name, arguments = line.function, list(map(self.argument, line.arguments))
            if shared:
                name, arguments = f"shared_{name}", [f"phase(queue, {line.phase})", *arguments]
            texts += ["", f"{indent}{line.comment}", *wrapped(indent, name, arguments)]
        return texts

    def block(self, block: Block, shared: bool) -> str:
        """The function of steps that repeat; like a kernel, it is shared_<name>(queue, ...) for all
        workers together."""
        queue, prefix = (["queue"], "shared_") if shared else ([], "")
        parameters = [*queue, *map(self.argument, block.parameters)]
        head = wrapped("def ", prefix + block.name, parameters)
        return "\n".join([*head[:-1], head[-1] + ":", f'    """{block.about}"""',
                          *self.lines(block.lines, "    ", shared), ""])


def at(dtype: str, start: str, offset: str) -> str:
    """The address of an element of a dtype; float32 goes without saying."""
    return f"{'at' if dtype == 'f32' else f'at_{dtype}'}({start}, {offset})"


def wrapped(indent: str, name: str, arguments: Sequence[str]) -> list[str]:
    """The call, broken behind commas at 100 columns."""
    lines, line = [], f"{indent}{name}("
    hang = " " * len(line)
    for i, argument in enumerate(arguments):
        piece = argument + (")" if i == len(arguments) - 1 else ",")
        if len(line) + len(piece) > COLUMNS and line.strip() and line != hang:
            lines.append(line.rstrip())
            line = hang
        line += piece + " "
    return [*lines, line.rstrip()]
