"""What each step could take at least on this machine, beside what it takes, and what to try next.

A step computes `flops` operations and reads and writes `bytes`. It cannot be quicker than the
machine does the one, nor than it moves the other; the larger of the two times is the bound. See
Williams, Waterman, Patterson: Roofline (2009).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from ir.records import dataclass
from ir.types import DTYPES, Dim, evaluate_dim
from nncompile.backend import Machine
from nncompile.inspect.profile import Profile
from nncompile.schedule import Program, Step, View
from nncompile.schedule.cost import work
from nncompile.schedule.ops import KINDS

_FEW_ROWS = 32                        # a weight that is read for fewer is hardly used again
_SMALL = 2e-6                         # seconds: a step of less is mostly the call of its kernel
_TOLERANCE = 1.1                      # a core that is cool runs quicker for a moment
_CLOSE = 0.7                          # of the bound


@dataclass(frozen=True)
class Cost:
    """The work of one step of one call.

    weights: bytes of constants that it reads. data: bytes of everything else it reads or writes.
    rows: of the matrix that a product multiplies by its weight or by another matrix; else 0.
    """

    flops: int
    weights: int
    data: int
    rows: int
    kind: str
    dtype: str

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product, whose operations are counted exactly."""
        return KINDS[self.kind].product

    @property
    def bytes(self) -> int:
        """All bytes that it reads and writes."""
        return self.weights + self.data


class Bound(NamedTuple):
    """The least seconds of a step, and what they are the time of: "arithmetic", "L2", ..."""

    seconds: float
    by: str


def costs_of(program: Program, sizes: Mapping[str, int]) -> list[Cost]:
    """Returns the work of each step of a call with these sizes."""
    return [_cost(step, sizes) for step in program.steps]


def _cost(step: Step, sizes: Mapping[str, int]) -> Cost:
    kind = KINDS[step.kind]
    rows = _sized(step.result.shape[:-1], sizes) if kind.product else 0
    weights = data = 0
    reads, results = step.reads, step.results
    if kind.puts_in_place and step.views[-1].place == step.result.place:
        reads, results = step.views[:-1], step.views[:1]     # it copies the rows that it puts
    for view in dict.fromkeys(_Read.of(view, sizes) for view in reads):
        size = view.bytes
        if kind.gathers and view.is_stored:      # a few rows of a table: as many as it writes
            size = min(size, _bytes(step.result, sizes))
        weights, data = (weights + size, data) if view.is_constant else (weights, data + size)
    data += sum(_bytes(view, sizes) for view in results)
    return Cost(evaluate_dim(work(step), sizes), weights, data, rows, step.kind,
                step.result.dtype)


class _Read(NamedTuple):
    """What a step reads: equal ones are read once."""

    place: str
    offset: int
    bytes: int
    is_constant: bool
    is_stored: bool                              # a weight, or an input: a state, for instance

    @staticmethod
    def of(view: View, sizes: Mapping[str, int]) -> _Read:
        return _Read(str(view.place), evaluate_dim(view.offset, sizes), _bytes(view, sizes),
                     view.place.kind == "constant", view.place.kind in ("constant", "input"))


def _bytes(view: View, sizes: Mapping[str, int]) -> int:
    """The bytes of a view's elements; along a stride of 0 they are the same."""
    dims = [dim for dim, stride in zip(view.shape, view.strides, strict=True)
            if evaluate_dim(stride, sizes) != 0]
    return _sized(dims, sizes) * DTYPES[view.dtype].itemsize


def _sized(dims: Sequence[Dim], sizes: Mapping[str, int]) -> int:
    return prod(evaluate_dim(dim, sizes) for dim in dims)


def bound_of(cost: Cost, machine: Machine, weights_at: str, data_at: str = "L2") -> Bound:
    """Returns the bound of a step.

    weights_at, data_at: the levels of memory that constants, and everything else, come from.
    """
    most = peak(machine, cost.dtype)
    most = most if cost.is_product else most / 2         # an addition counts as one
    times = {"arithmetic": cost.flops / most}
    for level, size in ((weights_at, cost.weights), (data_at, cost.data)):
        times[level] = times.get(level, 0.0) + size / machine.bytes[level]
    by = max(times, key=lambda name: times[name])
    return Bound(times[by], by)


def peak(machine: Machine, dtype: str) -> float:
    """Returns the most operations a second; whole numbers go through the same units as float32."""
    return machine.flops.get(dtype, machine.flops["f32"])


def exceeded(machine: Machine, profile: Profile) -> bool:
    """Returns whether a product was quicker than a machine with these limits can be."""
    costs = costs_of(profile.program, profile.sizes)
    return any(cost.is_product and cost.flops > _TOLERANCE * peak(machine, cost.dtype) * seconds > 0
               for cost, seconds in zip(costs, profile.seconds, strict=True)
               if seconds >= _SMALL)


def level_of(size: int, levels: Mapping[str, int]) -> str:
    """Returns the first level that so many bytes fit in; `levels` has the bytes of each cache."""
    return next((level for level in ("L2", "L3") if size <= levels.get(level, 0)), "memory")


def hint(cost: Cost, bound: Bound, seconds: float) -> str:
    """Returns the next thing to try for a step that takes so many seconds, as a sentence."""
    share = bound.seconds / seconds if seconds else 1.0
    if seconds < _SMALL:
        return "Takes less than the clock resolves well; a larger batch would hide its call."
    if bound.by == "arithmetic":
        return _hint_of_arithmetic(cost, share)
    if cost.weights > cost.data:
        return (f"Waits for its weights from {bound.by}: more rows a call use each weight more "
                "often.")
    if KINDS[cost.kind].gathers:
        return "Looks rows up in a table: their places in memory decide, and not this step."
    if share >= _CLOSE:
        return f"As quick as {bound.by} gives the data: only fusing it into a neighbour helps."
    return "Moves data and computes little: see below the graph whether it was nearly fused."


def _hint_of_arithmetic(cost: Cost, share: float) -> str:
    if share >= _CLOSE:
        return "Near the most that one core computes: use more threads, or a smaller layer."
    if cost.is_product and cost.rows < _FEW_ROWS:
        return f"A product of {cost.rows} rows: a larger batch fills the kernel's tiles."
    if cost.is_product:
        return "Tiles are not full or data are laid out with gaps: try other sizes of the layer."
    if cost.kind in ("elementwise", "group"):
        return "Computes functions element by element: a cheaper function, or more threads."
    return "Goes over each row several times: more threads, or a smaller width."
