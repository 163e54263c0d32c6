"""The interface of a target: a Backend loads programs, and a Loaded runs one.

A CallSpec has the arrays that a program takes and returns. `nncompile.targets` names the modules
that have a back end; nothing else knows which there are. Whether arrays fit a call is decided here,
once, for every target. The CPU's compiled call path is the one other place, and is tested against
this one.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ir.graph import Requirement
from ir.records import cached_property, dataclass
from ir.types import DTYPES, Dim, NDArray, TensorType, evaluate_dim, symbol_name
from nncompile.errors import InputError
from nncompile.schedule import Program, TargetTraits

Shape = tuple[int, ...]
_TOO_MANY = 2**60                  # elements: 8 times as many bytes would overflow an int64


class Fallback(NamedTuple):
    """What a Loaded calls with exactly the arguments of a `call` or `call_into` it does not take.
    """

    call: Callable[..., Any]
    call_into: Callable[..., Any]


class Machine(NamedTuple):
    """What one thread of a machine can do at most, as it was measured.

    flops: floating-point operations a second by dtype, "f32" and "f64"; a multiply-add counts as
    two. bytes: bytes that it reads a second from each level, "L1", "L2", "L3" and "memory".
    caches: the bytes of each cache.
    """

    name: str
    flops: Mapping[str, float]
    bytes: Mapping[str, float]
    caches: Mapping[str, int]


class StepCode(NamedTuple):
    """The generated code of a step: the kernels that it may call, and the lines that call one.

    Where the source has one function for steps that repeat, they are the lines of the first time.
    """

    kernels: tuple[str, ...]
    lines: str


class Loaded(Protocol):
    """A program on a target, with its weights."""

    call: Callable[..., Any]
    """The function that runs the program: call(*inputs), call(*inputs, out=out).

    out is an array where there is one output; the target may leave others to the fallback. Its own
    `options` go by keyword. It returns the output, or a tuple of several. Arrays that `CallSpec`
    takes are read and written where they are; everything else is left to the fallback, see
    `Backend.load`.
    Raises InputError where a number among the data is wrong.
    """

    call_into: Callable[..., Any]
    """The same for arrays that are known to be in their places: call_into(*inputs, *outs).

    Without outs it makes new ones. The options go by keyword. No user calls it: an array too many
    in a user's call would be written over.
    """

    options: Sequence[str]
    """The names of what `call` and `compute` take by keyword, besides out=."""

    threads: int
    """How many threads a call may use. Raises Error where it is set to what the target cannot."""

    def compute(self, inputs: Sequence[NDArray], **options: Any) -> list[NDArray]:
        """Returns new outputs for inputs that `CallSpec.sizes_of` accepts.

        It never calls the fallback.
        Raises InputError for any others, and where a number among the data is wrong.
        """

    def load(self, constants: Sequence[NDArray]) -> None:
        """Uses other constants, of the same number and types, from the next call on.

        Calls that are running keep those they began with. No other load runs meanwhile.
        """

    def constant(self, number: int) -> NDArray:
        """Returns the array that `constants` had at this position, bit for bit, in row-major order.

        It is read from where the program stores it, and must not be written.
        """

    @property
    def source(self) -> str:
        """The generated Python that runs."""

    def asm(self) -> str:
        """Returns the machine code of the kernels as text.

        Raises InputError where there is none.
        """

    def machine(self, again: bool = False) -> Machine | None:
        """Returns the limits of what `profile` times steps on; None where they are not known.

        The first time they are measured, which takes about a second. again: measure them anew.
        """

    def step_codes(self) -> Sequence[StepCode]:
        """Returns the generated code of each step, in order."""

    def notes(self) -> Sequence[str]:
        """Returns lines about the target for `explain`."""

    def profile(self, inputs: Sequence[NDArray], outputs: Sequence[NDArray]) -> list[float]:
        """Returns the seconds of each step of a call with these arrays.

        Raises InputError where the target has no clock for steps.
        """


class Stopwatch(Protocol):
    """Times work on a device that has its own memory."""

    @property
    def device(self) -> str:
        """The device in words."""

    def to_device(self, array: NDArray) -> Any:
        """Returns a copy of the array on the device."""

    def to_host(self, array: Any) -> NDArray:
        """Returns a copy of the device's array as an ndarray."""

    def seconds_a_call(self, call: Callable[[], object], count: int) -> float:
        """Returns the mean seconds of `count` consecutive calls, the host's work included."""


class Slot(Protocol):
    """The place of something that a target keeps for later processes."""

    code: bytes | None
    """What is there, None where there is nothing."""

    def keep(self, code: bytes) -> bytes:
        """Puts this there, and returns it."""


class Backend(Protocol):
    """A target."""

    traits: TargetTraits
    """What `schedule` has to know about the target."""

    def slot(self, kind: str, name: str, sources: Sequence[str]) -> Slot | None:
        """Returns the place of something that a name, in a line or more, and these sources decide.

        sources: modules; of a package all in it. None where nothing is kept.
        """
        return None

    def generate(self, program: Program) -> Any:
        """Returns what the program and the target alone decide of its code, for `load`.

        It can be pickled where the target has slots.
        """
        return None

    def load(self, program: Program, code: Any, spec: CallSpec, constants: Sequence[NDArray],
             threads: int | None, fallback: Fallback) -> Loaded:
        """Loads the program.

        code:      what `generate` returned for it.
        spec:      CallSpec.of(program).
        constants: what `program.preparation` computes, in order.
        threads:   the most threads of a call; None: the target's default.
        fallback:  is called with exactly the arguments of a call, before anything is computed or
                   written, in the calling thread, where
                   - `call` got other positional arguments than the inputs, or a keyword that is
                     neither one of `options` nor `out` for a single output;
                   - `spec.sizes_of` refuses the inputs, or `spec.takes_outputs` the outputs;
                   - the sizes are not legal (`spec.check_sizes`), or larger than the target takes;
                   - an option is given, if the target leaves its options to the fallback.
                   What it returns, or raises, is what the call returns or raises. It may call
                   `compute`, and has to return what the call promises: the arrays given as
                   outputs, written to, or else new ones; one array, or a tuple of several.

        Raises CompileError where the target cannot run the program, or is not available here.
        """

    def describe(self) -> str:
        """Returns one line about the target on this machine, for `nncompile hw`."""

    def stopwatch(self) -> Stopwatch:
        """Returns a stopwatch for the device.

        Raises CompileError where there is no device of its own.
        """


@dataclass(frozen=True)
class CallSpec:
    """The arrays that a program takes and returns.

    names, inputs:  for each input its name and its type; each dim is a number or a named size.
    outputs:        the types; each dim is a polynomial in the inputs' named sizes.
    requirements:   what the sizes have to fulfil, each with the op that needs it, or "".
    dims:           every size that the program computes with; each must be below _TOO_MANY.
    """

    names: tuple[str, ...]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    requirements: tuple[tuple[str, Requirement], ...] = ()
    dims: tuple[Dim, ...] = ()

    @staticmethod
    def of(program: Program) -> CallSpec:
        """Returns the arrays that the program takes and returns."""
        graph = program.graph
        return CallSpec(tuple(v.name for v in graph.inputs), tuple(v.type for v in graph.inputs),
                        tuple(v.type for v in graph.returned), program.requirements, program.dims)

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The named sizes, in the order in which the inputs have them."""
        return tuple(dict.fromkeys(dim for dims in self.input_dims for dim in dims
                                   if isinstance(dim, str)))

    @cached_property
    def input_dims(self) -> tuple[tuple[int | str, ...], ...]:
        """For each input its dims, each a number or the name of a size."""
        return tuple(tuple(symbol_name(dim) or int(dim) for dim in type_.shape)
                     for type_ in self.inputs)

    @cached_property
    def input_dtypes(self) -> tuple[np.dtype[Any], ...]:
        """The dtypes of the inputs."""
        return tuple(DTYPES[type_.dtype] for type_ in self.inputs)

    @cached_property
    def output_dtypes(self) -> tuple[np.dtype[Any], ...]:
        """The dtypes of the outputs."""
        return tuple(DTYPES[type_.dtype] for type_ in self.outputs)

    def shapes(self, sizes: Mapping[str, int]) -> tuple[Shape, ...]:
        """Returns the outputs' shapes."""
        return tuple(tuple(evaluate_dim(dim, sizes) for dim in type_.shape)
                     for type_ in self.outputs)

    # -- do these arrays fit? --------------------------------------------------------------------

    def sizes_of(self, inputs: Sequence[Any]) -> dict[str, int] | None:
        """Returns the named sizes if a call can read these arrays where they are, else None.

        Whether the sizes themselves are legal is decided by `check_sizes`.
        """
        dtypes = self.input_dtypes
        if len(inputs) != len(dtypes) or not all(map(is_plain, inputs, dtypes)):
            return None
        sizes: dict[str, int] = {}
        for array, dims in zip(inputs, self.input_dims, strict=True):
            if array.ndim != len(dims):
                return None
            for size, dim in zip(array.shape, dims, strict=True):
                if size != (sizes.setdefault(dim, size) if isinstance(dim, str) else dim):
                    return None
        return sizes

    def takes_outputs(self, outs: Sequence[Any], shapes: Sequence[Shape],
                      inputs: Sequence[NDArray]) -> bool:
        """Returns whether a call can write outputs of these shapes to `outs`.

        They must not overlap the inputs or each other.
        """
        if len(outs) != len(self.outputs) or not all(
                is_plain(out, dtype) and out.shape == shape and out.flags.writeable
                for out, dtype, shape in zip(outs, self.output_dtypes, shapes, strict=True)):
            return False
        return not any(np.may_share_memory(out, other) for i, out in enumerate(outs)
                       for other in (*inputs, *outs[:i]))

    def check_sizes(self, sizes: Mapping[str, int], who: object = "the program") -> None:
        """Raises InputError where no call can have these sizes."""
        for op, requirement in self.requirements:
            if not requirement.holds(sizes):
                needs = f"{op} needs" if op else f"{who} was traced for"
                raise InputError(f"{needs} {requirement}, and {_in_words(sizes)}"
                                 f"{requirement.where.note}")
        if any((dim if isinstance(dim, int) else evaluate_dim(dim, sizes)) >= _TOO_MANY
               for dim in self.dims):
            raise InputError(f"{who} would need more memory than there is: {_in_words(sizes)}")


def too_many_inputs(who: object, most: int, given: int, by_name: Sequence[str] = ()) -> InputError:
    """The error for a call with more than `most` inputs by position.

    Perhaps the last were meant to be written to: nothing is, unless it was given as out=.
    by_name: the inputs that only go by name.
    """
    more = f" by position and {', '.join(by_name)} by name" if by_name else ""
    return InputError(f"{who} takes {most} input{'s' * (most != 1)}{more}, got {given}; outputs "
                      "are given as out=")


def _in_words(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())


def is_plain(array: Any, dtype: np.dtype[Any]) -> bool:
    """Returns whether it is an ndarray that a call can use where it is.

    It is of no subclass, of this dtype in the machine's byte order, C-contiguous and aligned.
    """
    return (type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous
            and array.flags.aligned)
