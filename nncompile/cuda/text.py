"""Launches as text: variables of sizes and places, arguments, lines of the driver."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir.types import DTYPES, FLOATS, Dim, same
from nncompile.cuda.kernels import FUNCTIONS
from nncompile.cuda.kernels.kernel import typed
from nncompile.cuda.steps import Argument, Launch, Scalar
from nncompile.cuda.weights import constant_name
from nncompile.schedule import Program, View
from nncompile.schedule.names import factor_text, number_text, place_names, size_names

_LOCALS = ("sizes", "weights", "scratch", "buffers", "fault", "stream", "run", "cuda", "inf",
           "blocks", "ceil_div", "bool", *map(str, DTYPES.values()))


class Printer:
    """Prints values inside the driver of one program.

    sizes: the variable of each named size. places: that of each input, output and buffer.
    """

    def __init__(self, program: Program) -> None:
        self.sizes = size_names(program)
        self.places = place_names(program, {*self.sizes.values(), *_LOCALS, *FUNCTIONS})

    def number(self, dim: Dim) -> str:
        """Returns a size as text."""
        return number_text(dim, self.sizes)

    def launches(self, choices: Sequence[Launch]) -> list[str]:
        """Returns the lines that launch one of these kernels, which the sizes may choose."""
        if len(choices) == 1:
            return self._launch("    ", choices[0])
        lines = []
        for launch in choices:
            branch = "else:"
            if launch.where is not None:
                size, most = launch.where
                word = "if" if launch is choices[0] else "elif"
                branch = f"{word} {self.number(size)} <= {most}:"
            lines += [f"    {branch}", *self._launch(" " * 8, launch)]
        return lines

    def _launch(self, indent: str, launch: Launch) -> list[str]:
        """Returns a launch with its arguments on lines of their own, broken at 100 columns."""
        grid = f"blocks({self._units(launch)}), {launch.kernel.threads}, stream]("
        lines = [f"{indent}{launch.kernel.name}[{grid}"]
        if len(lines[0]) > 100:
            lines = [f"{indent}{launch.kernel.name}[", f"{indent}    {grid}"]
        line, *others = (text for a in launch.arguments for text in self._texts(a))
        line = f"{indent}    {line}"
        for argument in others:
            if len(line) + len(argument) > 97:
                lines.append(f"{line},")
                line = f"{indent}    {argument}"
            else:
                line += f", {argument}"
        return [*lines, f"{line})"]

    def _units(self, launch: Launch) -> str:
        """Returns the number of blocks; the quotients of numbers are computed here."""
        if len(launch.units) == 1 and launch.units[0][1] == 1:
            return self.number(launch.units[0][0])
        factors = [str(-(-size // count)) if isinstance(size, int) else
                   f"ceil_div({self.number(size)}, {count})" if count > 1 else
                   factor_text(size, self.sizes) for size, count in launch.units]
        return " * ".join(f for f in factors if f != "1") or "1"

    def _texts(self, argument: Argument) -> list[str]:
        if isinstance(argument, View):
            return self._array(argument)
        if isinstance(argument, Scalar):
            return [_scalar(argument)]
        return [argument if isinstance(argument, str) else self.number(argument)]

    def _array(self, view: View) -> list[str]:
        """Returns the array that the view lies in, and where in it the view begins."""
        if view.place.kind == "constant":
            return [constant_name(view.place), self.number(view.offset)]
        if view.place.kind == "slot":
            offset = "" if same(view.offset, 0) else f" + {self.number(view.offset)}"
            return [f"scratch_{view.dtype}", f"{_in_elements(view)}{offset}"]
        return [self.places[view.place], self.number(view.offset)]


def _scalar(scalar: Scalar) -> str:
    """Returns a number of the model as kernels take it.

    A float has its dtype, and is an infinity beyond the dtype's range; any other number is an int.
    """
    value, dtype = scalar
    if dtype not in FLOATS:
        return str(int(value))
    with np.errstate(over="ignore"):
        rounded = float(DTYPES[dtype].type(value))
    return typed(repr(value if np.isfinite(rounded) else str(rounded)), dtype)


def _in_elements(view: View) -> str:
    """Returns where a buffer begins in scratch memory, which counts units of 4 bytes."""
    size = DTYPES[view.dtype].itemsize
    return str(view.place) + {1: " * 4", 4: "", 8: " // 2"}[size]
