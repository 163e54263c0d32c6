"""What stands for what in a driver: the variables of sizes and places, operands as text."""
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

LOCALS = ("sizes", "weights", "scratch", "buffers", "fault", "stream", "run", "cuda", "inf",
          "blocks", "ceil_div", "bool", *map(str, DTYPES.values()))


class Scope:
    """The names of one program, and the dtypes that it reads scratch as."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program, self.target = program, target
        self.scratch: list[str] = []
        self.sizes = size_names(program)
        self.places = place_names(program, {*self.sizes.values(), *LOCALS, *FUNCTIONS})

    def number(self, dim: Dim) -> str:
        return number_text(dim, self.sizes)

    def numbers(self, dims: Sequence[Dim]) -> list[str]:
        return [self.number(d) for d in dims]

    def factor(self, dim: Dim) -> str:
        return factor_text(dim, self.sizes)

    def elements(self, dims: Sequence[Dim]) -> str:
        return self.number(product(dims))

    def array(self, view: View) -> list[str]:
        """The array that the view lies in, and where in it it begins."""
        if view.place.kind == "constant":
            return [constant_name(view.place), self.number(view.offset)]
        if view.place in self.program.buffers:
            if view.dtype not in self.scratch:
                self.scratch.append(view.dtype)
            offset = "" if same(view.offset, 0) else f" + {self.number(view.offset)}"
            return [f"scratch_{view.dtype}", f"{in_elements(view)}{offset}"]
        return [self.places[view.place], self.number(view.offset)]

    def scalar(self, value: float, dtype: str) -> str:
        """A number of the model as kernels take it: a float in its type, where one beyond the
        type's range is an infinity, any other as an int."""
        if dtype not in FLOATS:
            return str(int(value))
        with np.errstate(over="ignore"):
            rounded = float(DTYPES[dtype].type(value))
        return typed(repr(value if np.isfinite(rounded) else str(rounded)), dtype)

    def operand(self, operand: Operand, strides: Sequence[Dim], dtype: str) -> list[str]:
        """A further operand of a chain: a number, or an array and its strides."""
        if not isinstance(operand, View):
            return [self.scalar(operand, dtype)]
        return [*self.array(operand), *self.numbers(strides)]

    def fault(self, step: Step) -> list[str]:
        """What a kernel needs to report a wrong number among its data."""
        return ["fault", str(self.program.steps.index(step))]


def in_elements(view: View) -> str:
    """Where a buffer begins in scratch, which counts words of 4 bytes."""
    size = DTYPES[view.dtype].itemsize
    return str(view.place) + {1: " * 4", 4: "", 8: " // 2"}[size]
