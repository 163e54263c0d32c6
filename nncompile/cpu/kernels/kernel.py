"""A kernel: a symbol in an object file that all models share, and the same in numpy.

A kernel is described once, by how many *units* its work has and by the code that runs a range of
them.  Two entry points are made of that, so that every kernel serves both schedules:

    nnc_<name>(...)                  all units, on this thread
    nnc_shared_<name>(queue, ...)    units claimed by all workers that call it with the same queue;
                                     returns when *all* units are done, whoever did them
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nncompile.cpu.lanes import I64, PTR, Emit, Value, define
from nncompile.cpu.target import Target

Arguments: TypeAlias = dict[str, Value]
Array: TypeAlias = np.ndarray[Any, Any]
Values: TypeAlias = dict[str, Any]         # in numpy: arrays for pointers, ints

CLAIMED, DONE, PHASE_WORDS = 0, 8, 16      # words of a queue: units claimed, units done, size
LOTS = 64                                  # rows are claimed in about so many lots, not one by one
YIELD_AFTER = 2_000                        # pauses, some 50 us: who holds a unit may have no CPU

LLVM_TYPES = {"p": PTR, "w": PTR, "i": I64}


@dataclass(frozen=True)
class Kernel:
    """A function for generated source.

    `types` has one letter an argument: p a pointer to float32, w a pointer to int64 words, i an
    int64.  `emit` adds both entry points to a module.  `python` is the same in numpy: a p argument
    is a 1-D array that starts at the pointer's place, a w argument an int64 array.
    """

    name: str
    arguments: tuple[str, ...]
    types: str
    emit: Callable[[Any, Target], None] = field(compare=False, repr=False)
    python: Callable[..., None] = field(compare=False, repr=False)

    @property
    def symbol(self) -> str:
        return "nnc_" + self.name

    @property
    def llvm_types(self) -> list[Any]:
        return [LLVM_TYPES[letter] for letter in self.types]

    @property
    def shared(self) -> Kernel:
        """The other entry point; both are in the object file of either."""
        def python(queue: Array, *arguments: Any) -> None:
            self.python(*arguments)
        return Kernel("shared_" + self.name, ("queue", *self.arguments), "w" + self.types,
                      self.emit, python)

    def __call__(self, *arguments: Any) -> None:
        self.python(*arguments)


@dataclass(frozen=True)
class Units:
    """How a kernel's work is cut: `count` emits the number of units, `run` the units first..stop.

    Small units, such as rows, are claimed many at a time (`lots`); panels one by one.
    """

    count: Callable[[Emit, Arguments], Value]
    run: Callable[[Emit, Value, Value, Arguments], None]
    lots: bool = True


def make(name: str, types: dict[str, str], units: Units,
         plain: Callable[[Values], None]) -> Kernel:
    """A kernel of its arguments' letters by name, its units, and its body in numpy."""
    def emit(module: Any, target: Target) -> None:
        emit_entry_points(module, target, kernel, units)

    def python(*values: Any) -> None:
        plain(dict(zip(types, values, strict=True)))

    kernel = Kernel(name, tuple(types), "".join(types.values()), emit, python)
    return kernel


def signature(text: str) -> dict[str, str]:
    """The letters of arguments by name: "x:p ldx" is {"x": "p", "ldx": "i"}."""
    return {name: letter or "i" for name, _, letter in (a.partition(":") for a in text.split())}


def emit_entry_points(module: Any, target: Target, kernel: Kernel, units: Units) -> None:
    """Add a kernel's two entry points to the module."""
    types = dict(zip(kernel.arguments, kernel.llvm_types, strict=True))
    run, a = define(module, f"{kernel.name}_units", {"first": I64, "stop": I64, **types},
                    internal=True)
    e = Emit(run, target)
    units.run(e, a.pop("first"), a.pop("stop"), a)
    e.b.ret_void()

    alone, a = define(module, kernel.symbol, types)
    e = Emit(alone, target)
    e.b.call(run, [I64(0), units.count(e, a), *a.values()])
    e.b.ret_void()

    shared, a = define(module, kernel.shared.symbol, {"queue": PTR, **types})
    e = Emit(shared, target)
    queue = a.pop("queue")
    count = units.count(e, a)
    lot = e.greatest(I64(1), e.b.udiv(count, I64(LOTS))) if units.lots else I64(1)
    _claim_until_done(e, queue, count, lot, lambda first, stop: e.b.call(
        run, [first, stop, *a.values()]))


def _claim_until_done(e: Emit, queue: Value, count: Value, lot: Value,
                      run: Callable[[Value, Value], Value]) -> None:
    b = e.b
    claim, work, wait, spin, pause, give_way, leave = (
        e.function.append_basic_block(name) for name in
        ("claim", "work", "wait", "spin", "pause", "give_way", "leave"))
    done = e.word(queue, DONE)
    b.branch(claim)

    b.position_at_end(claim)
    first = b.atomic_rmw("add", e.word(queue, CLAIMED), lot, "acq_rel")
    b.cbranch(b.icmp_signed("<", first, count), work, wait)

    b.position_at_end(work)
    stop = e.least(b.add(first, lot), count)
    run(first, stop)
    b.atomic_rmw("add", done, b.sub(stop, first), "acq_rel")
    b.branch(claim)

    b.position_at_end(wait)
    spins = b.phi(I64)
    finished = b.load_atomic(done, "acquire", 8, typ=I64)
    b.cbranch(b.icmp_signed("<", finished, count), spin, leave)

    b.position_at_end(spin)
    b.cbranch(b.icmp_signed("<", spins, I64(YIELD_AFTER)), pause, give_way)

    b.position_at_end(pause)
    e.pause()
    once_more = b.add(spins, I64(1))
    b.branch(wait)

    b.position_at_end(give_way)
    e.give_way()
    b.branch(wait)

    b.position_at_end(leave)
    b.ret_void()
    spins.add_incoming(I64(0), claim)
    spins.add_incoming(once_more, pause)
    spins.add_incoming(spins, give_way)


# -- outer indices: the axes of a tensor before those that a kernel works along -----------------

def outer_axes(outer: int, *operands: str) -> str:
    """For a signature: the sizes d0, d1, ..., then every operand's strides y_d0, y_d1, ..."""
    axes = [f"d{i}" for i in range(outer)]
    return " ".join([*axes, *(outer_strides(outer, operand) for operand in operands)])


def outer_strides(outer: int, operand: str) -> str:
    return " ".join(f"{operand}_d{i}" for i in range(outer))


def outer_count(e: Emit, a: Arguments, outer: int) -> Value:
    count = I64(1)
    for axis in range(outer):
        count = e.b.mul(count, a[f"d{axis}"])
    return count


def outer_places(e: Emit, a: Arguments, outer: int, index: Value,
                 operands: Sequence[str]) -> dict[str, Value]:
    """Where each operand's part of outer index number `index` starts: its offset in elements."""
    b = e.b
    offsets: dict[str, Value] = dict.fromkeys(operands, I64(0))
    for axis in reversed(range(outer)):
        size = a[f"d{axis}"]
        here = b.urem(index, size) if axis else index      # the first axis has what is left
        index = b.udiv(index, size) if axis else index
        for name in operands:
            offsets[name] = b.add(offsets[name], b.mul(here, a[f"{name}_d{axis}"]))
    return offsets


# -- numpy's side -------------------------------------------------------------------------------

def strided(flat: Array, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """A view of a 1-D array that starts at its first element; strides are counted in elements."""
    size = flat.itemsize
    return as_strided(flat, tuple(shape), tuple(size * s for s in strides))


def outer_view(a: Values, outer: int, operand: str, shape: Sequence[int],
               strides: Sequence[int]) -> Array:
    """An operand with its outer axes in front."""
    dims = [a[f"d{i}"] for i in range(outer)]
    own = [a[f"{operand}_d{i}"] for i in range(outer)]
    return strided(a[operand], (*dims, *shape), (*own, *strides))
