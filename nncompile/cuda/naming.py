"""The names in a driver: variables of sizes and places, and operands as text."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir.types import DTYPES, FLOATS, Dim, product, same
from nncompile.cuda.kernels import FUNCTIONS
from nncompile.cuda.kernels.kernel import typed
from nncompile.cuda.target import Target
from nncompile.cuda.weights import constant_name
from nncompile.schedule import Operand, Program, Step, View
from nncompile.schedule.names import factor_text, number_text, place_names, size_names

_LOCALS = ("sizes", "weights", "scratch", "buffers", "fault", "stream", "run", "cuda", "inf",
           "blocks", "ceil_div", "bool", *map(str, DTYPES.values()))


class Scope:
    """The names of one program, and the dtypes that it reads scratch memory as."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program, self.target = program, target
        self.scratch: list[str] = []
        self.sizes = size_names(program)
        self.places = place_names(program, {*self.sizes.values(), *_LOCALS, *FUNCTIONS})

    def number(self, dim: Dim) -> str:
        """Returns a size as text."""
        return number_text(dim, self.sizes)

    def numbers(self, dims: Sequence[Dim]) -> list[str]:
        """Returns sizes as texts."""
        return [self.number(d) for d in dims]

    def factor(self, dim: Dim) -> str:
        """Returns a size as the text of a factor."""
        return factor_text(dim, self.sizes)

    def elements(self, dims: Sequence[Dim]) -> str:
        """Returns the product of sizes as text."""
        return self.number(product(dims))

    def array(self, view: View) -> list[str]:
        """Returns the texts of the array that the view lies in, and of where in it the view begins.
        """
        if view.place.kind == "constant":
            return [constant_name(view.place), self.number(view.offset)]
        if view.place in self.program.buffers:
            if view.dtype not in self.scratch:
                self.scratch.append(view.dtype)
            offset = "" if same(view.offset, 0) else f" + {self.number(view.offset)}"
            return [f"scratch_{view.dtype}", f"{_in_elements(view)}{offset}"]
        return [self.places[view.place], self.number(view.offset)]

    def scalar(self, value: float, dtype: str) -> str:
        """Returns a number of the model as kernels take it.

        A float has its dtype, and is an infinity beyond the dtype's range; any other number is an
        int.
        """
        if dtype not in FLOATS:
            return str(int(value))
        with np.errstate(over="ignore"):
            rounded = float(DTYPES[dtype].type(value))
        return typed(repr(value if np.isfinite(rounded) else str(rounded)), dtype)

    def operand(self, operand: Operand, strides: Sequence[Dim], dtype: str) -> list[str]:
        """Returns a further operand of a chain: a number, or an array and its strides."""
        if not isinstance(operand, View):
            return [self.scalar(operand, dtype)]
        return [*self.array(operand), *self.numbers(strides)]

    def fault(self, step: Step) -> list[str]:
        """Returns the arguments by which a kernel reports a wrong number among its data."""
        return ["fault", str(self.program.steps.index(step))]


def _in_elements(view: View) -> str:
    """Returns where a buffer begins in scratch memory, which counts words of 4 bytes."""
    size = DTYPES[view.dtype].itemsize
    return str(view.place) + {1: " * 4", 4: "", 8: " // 2"}[size]
