"""What a driver is made of, as values: calls of kernels and their arguments.

    Call(kernel, (Pointer(Place("input", 0), "f32"), 64, Pointer(Place("constant", 1), "f32"), ...))

prints as

    linear_relu(x, 64, at(weights, W1), h0, 128, rows, 64, 128)

An argument that is a size is a `Dim` of the IR: the batch size in it is written `rows` in the
function that takes blocks of rows, and by its own name in the other one.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ir.records import dataclass
from ir.types import Dim
from nncompile.cpu.kernels import Kernel
from nncompile.cpu.layout import PHASE_WORDS
from nncompile.schedule import Place


class Number(NamedTuple):
    """A plain number of the model, which kernels read from memory.

    text: its `repr`, because 0.0 equals -0.0, and NaN does not equal itself.
    """

    text: str
    dtype: str


class Formal(NamedTuple):
    """A formal parameter of an outlined function.

    kind: "p": a place.  "w": a constant or a plain number.  "n": a step's number, or an offset.
    """

    kind: str
    number: int


Base = Place | Number | Formal


class Pointer(NamedTuple):
    """The address of element number `offset` of an array of this dtype."""

    base: Base
    dtype: str
    offset: Dim | Formal = 0


class StepNumber(NamedTuple):
    """The number of a step: its kernel reports it together with a fault."""

    number: int


class WholeSize(NamedTuple):
    """A size of the whole call, in which the batch size is not that of a block of rows."""

    dim: Dim


class Variable(NamedTuple):
    """A variable that a function gets from its caller."""

    name: str


WEIGHTS, FAULT = Variable("weights"), Variable("fault")

Argument = Pointer | Base | StepNumber | WholeSize | Variable | Dim


@dataclass(frozen=True)
class Call:
    """A kernel and the arguments of one call of it."""

    kernel: Kernel
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Line:
    """A call in a function of the driver.

    phase:    the number of its step, or of the first step of several.
    layer:    the path of the layer that it computes.
    result:   the name of the value that it computes.
    comment:  the line of the graph that it comes from.
    function: the name of a kernel or of an outlined function; "" where a worker stops if a step
              before has found a wrong number among the data.
    """

    phase: int
    layer: str
    result: str
    comment: str
    function: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Outlined:
    """An outlined function: what repetitions have in common. Its phases count from 0."""

    name: str
    about: str
    parameters: tuple[Argument, ...]
    lines: tuple[Line, ...]

    @property
    def letters(self) -> str:
        """The types of its parameters, which are pointers or int64; see primitives.py."""
        return "".join(map(_letter, self.parameters))


def _letter(parameter: Argument) -> str:
    is_pointer = isinstance(parameter, Variable) or (
        isinstance(parameter, Formal) and parameter.kind == "p")
    return "p" if is_pointer else "i"


class Function(NamedTuple):
    """A function of generated source.

    letters: the types of its arguments; see primitives.py.
    """

    name: str
    letters: str
    text: str


@dataclass(frozen=True)
class Driver:
    """Generated source, function by function, and what loading it takes.

    functions: a function stands behind those that it calls.
    kernels:   both entry points of each kernel, by the names that the source uses.
    phases:    how many steps claim their work from a worker's queue.
    """

    header: str
    functions: Sequence[Function]
    kernels: dict[str, Kernel]
    phases: int

    @property
    def queue_words(self) -> int:
        """Words of the queue of one worker."""
        return PHASE_WORDS * self.phases

    @property
    def text(self) -> str:
        """All of the source."""
        return "\n\n".join([self.header, *(function.text for function in self.functions)])
