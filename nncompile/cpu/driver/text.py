"""A driver's values as Python source: the one place where they become text."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ir.types import Dim, same
from nncompile.cpu.driver.values import (
    FAULT,
    Argument,
    Base,
    Formal,
    Line,
    Number,
    Outlined,
    Pointer,
    StepNumber,
    Variable,
    WholeSize,
)
from nncompile.cpu.driver.weights import Arena
from nncompile.cpu.layout import DRIVER_ARGUMENTS, FAULT_STEP, PLAN_ARGUMENTS
from nncompile.cpu.objects.primitives import PRIMITIVES
from nncompile.schedule import Place, Program
from nncompile.schedule.names import factor_text, number_text, place_names, size_names

_LOCALS = (*PLAN_ARGUMENTS, *DRIVER_ARGUMENTS, "row", "rows", "plan", "row_blocks", "phases")
_COLUMNS = 99


class Names:
    """The variables of one program's driver, none of which hides a kernel or a primitive.

    sizes:  for each named size.
    places: for each input, output and slot of scratch memory.
    """

    def __init__(self, program: Program, arena: Arena, kernels: Iterable[str]) -> None:
        self.sizes = size_names(program)
        self.places = place_names(program, {*self.sizes.values(), *_LOCALS, *PRIMITIVES, *kernels})
        self._arena = arena

    def constant(self, key: Place | Number) -> str:
        """The name of the place of a constant or plain number."""
        return self._arena.entries[key].name


class Printer:
    """Prints values inside a function in which the named sizes have these variables."""

    def __init__(self, names: Names, sizes: Mapping[str, str]) -> None:
        self._names, self._sizes = names, sizes

    def number(self, dim: Dim) -> str:
        """A size as an expression."""
        return number_text(dim, self._sizes)

    def factor(self, dim: Dim) -> str:
        """A size as an expression that can be an operand of * and //."""
        return factor_text(dim, self._sizes)

    def argument(self, argument: Argument) -> str:
        """An argument of a call."""
        match argument:
            case Pointer(base, dtype, offset):
                start = self._start(base)
                if isinstance(offset, Formal):
                    return at(dtype, start, self.argument(offset))
                return start if same(offset, 0) else at(dtype, start, self.number(offset))
            case Place(kind="constant") | Number():
                return self._names.constant(argument)
            case Place():
                return self._names.places[argument]
            case Formal(kind, number):
                return f"{kind}{number}"
            case StepNumber(number):
                return str(number)
            case WholeSize(dim):
                return number_text(dim, self._names.sizes)
            case Variable(name):
                return name
        return self.number(argument)

    def _start(self, base: Base) -> str:
        """A pointer to the start of an array. A constant's name is its offset in the weights."""
        constant = isinstance(base, Number) or base.kind in ("constant", "w")
        text = self.argument(base)
        return f"at(weights, {text})" if constant else text

    def lines(self, lines: Sequence[Line], indent: str, shared: bool) -> list[str]:
        """Calls, each under its comment.

        shared: all workers make these calls together, and share the work of each.
        """
        texts = []
        for line in lines:
            if not line.function:
                texts += ["", f"{indent}{line.comment}",
                          f"{indent}if size({FAULT.name}, {FAULT_STEP}):", f"{indent}    return"]
                continue
            name, arguments = line.function, list(map(self.argument, line.arguments))
            if shared:
                name, arguments = f"shared_{name}", [f"phase(queue, {line.phase})", *arguments]
            comments = [f"{indent}{comment}" for comment in line.comment.splitlines()]
            texts += ["", *comments, *_wrapped(indent, name, arguments)]
        return texts

    def function(self, function: Outlined, shared: bool) -> str:
        """An outlined function.

        Like that of a kernel, its name for all workers together is shared_<name>(queue, ...).
        """
        queue, prefix = (["queue"], "shared_") if shared else ([], "")
        parameters = [*queue, *map(self.argument, function.parameters)]
        head = _wrapped("def ", prefix + function.name, parameters)
        return "\n".join([*head[:-1], head[-1] + ":", f'    """{function.about}"""',
                          *self.lines(function.lines, "    ", shared), ""])


def at(dtype: str, start: str, offset: str) -> str:
    """An expression for the address of an element; `at` counts float32, `at_i64` int64."""
    return f"{'at' if dtype == 'f32' else f'at_{dtype}'}({start}, {offset})"


def _wrapped(indent: str, name: str, arguments: Sequence[str]) -> list[str]:
    """A call, broken after commas at 100 columns."""
    lines, line = [], f"{indent}{name}("
    hang = " " * len(line)
    for i, argument in enumerate(arguments):
        piece = argument + (")" if i == len(arguments) - 1 else ",")
        if len(line) + len(piece) > _COLUMNS and line.strip() and line != hang:
            lines.append(line.rstrip())
            line = hang
        line += piece + " "
    return [*lines, line.rstrip()]
