"""A kernel: functions in an object file that all models share, and their counterpart in NumPy.

A kernel is described once, by the number of *units* of its work and by the code that runs a range
of them. Two entry points are made of that, so that every kernel serves both schedules:

    nnc_<name>(...)                  all units, on this thread
    nnc_shared_<name>(queue, ...)    the same by several workers, each with its own queue; returns
                                     when *all* units are done, by whichever worker

Each worker has a part of the units, the same in every call, so that its part of the weights stays
in its cache and it does not wait for a counter that others write. Within its part it claims lots of
units one after the other. A worker that has finished waits a moment for the others, and then takes
lots that they have not begun, since one of them may start late or lose its CPU. The function that
does this is the same for all kernels: SHARING.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir as ll

from ir.records import dataclass
from ir.types import NDArray
from nncompile.cpu import layout
from nncompile.cpu.kernels.operands import Arguments, Values, typed
from nncompile.cpu.vector import I64, PTR, Emit, Target, Value, define, retyped

_Run: TypeAlias = Callable[[Value], None]  # emits the work on the lot of that number

_MOST_LOTS = 1 << 16    # at most twice as many where they are rounded: below layout.NEXT_BASE
_LOTS = 64              # about so many lots of rows, which are not claimed one by one
_FEW_LOTS = 8           # lots where each reads all of the input
_STEAL_AFTER = 16       # pauses, 0.4 us: about the time that a worker needs to start
_YIELD_AFTER = 2_000    # pauses, some 50 us: a worker with a unit may have lost its CPU

_WORDS, INT = "words", "int"               # types of arguments that are no pointers to elements


@dataclass(frozen=True, eq=False)
class Part:
    """Functions that several kernels call, in an object file of their own.

    Its name tells it from all kernels and other parts. symbol: the name of one of its functions.
    emit: adds them to a module.
    """

    name: str
    symbol: str
    emit: Callable[[Any, Target], None]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A function that generated source calls. Its name tells it from all other kernels.

    types: for each argument the dtype that it points to ("f32", "i64", ...), "words" for a pointer
    to int64 words of the call, or "int" for an int64. emit: adds both entry points to a module.
    python: the same in NumPy; for a pointer it takes a 1-D array that starts where the pointer
    points, of whatever dtype the memory has. parts: what its functions call.
    """

    name: str
    arguments: tuple[str, ...]
    types: tuple[str, ...]
    emit: Callable[[Any, Target], None]
    python: Callable[..., None]
    parts: tuple[Part, ...]

    @property
    def symbol(self) -> str:
        """The name of the entry point that runs all units on the calling thread."""
        return "nnc_" + self.name

    @property
    def llvm_types(self) -> list[Any]:
        """LLVM's types of the arguments."""
        return [I64 if kind == INT else PTR for kind in self.types]

    @property
    def shared(self) -> Kernel:
        """The entry point for several workers; one object file has both."""
        def python(queue: NDArray, *arguments: Any) -> None:
            self.python(*arguments)
        return Kernel("shared_" + self.name, ("queue", *self.arguments), (_WORDS, *self.types),
                      self.emit, python, self.parts)

    def __call__(self, *arguments: Any) -> None:
        self.python(*arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kernel) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Units:
    """How a kernel's work is divided.

    count: emits the number of units. run: emits the units first..stop. lots: whether several units
    are claimed at a time, as with small units such as rows; panels are claimed one by one.
    searches: whether each lot reads all of the input again, so that there should be few of them.
    """

    count: Callable[[Emit, Arguments], Value]
    run: Callable[[Emit, Value, Value, Arguments], None]
    lots: bool = True
    searches: bool = False


def make(name: str, signature: str, units: Units, plain: Callable[[Values], None],
         dtype: str = "f32", parts: Sequence[Part] = ()) -> Kernel:
    """Returns a kernel of its signature, its units, and its body in NumPy.

    signature: the arguments' names and types: "x:f32 ldx" is a pointer x and an int ldx. dtype: the
    dtype whose lanes it computes in. parts: what its units call.
    """
    types = {name: kind or INT for name, _, kind in (a.partition(":") for a in signature.split())}

    def emit(module: Any, target: Target) -> None:
        _emit_entry_points(module, target, kernel, units, dtype)

    def python(*values: Any) -> None:
        plain({name: value if kind == INT else typed(value, "i64" if kind == _WORDS else kind)
               for (name, kind), value in zip(types.items(), values, strict=True)})

    kernel = Kernel(name, tuple(types), tuple(types.values()), emit, python, (SHARING, *parts))
    return kernel


def name_for(name: str, dtype: str) -> str:
    """Returns the name of a kernel for numbers of a dtype, which is left out for float32."""
    return name if dtype == "f32" else f"{name}_{dtype}"


def check_dtype(what: str, dtype: str, allowed: Sequence[str]) -> None:
    """Raises ValueError where there is no kernel for the dtype."""
    if dtype not in allowed:
        raise ValueError(f"{what} is there for {', '.join(allowed)}, not for {dtype!r}")


def _emit_entry_points(module: Any, target: Target, kernel: Kernel, units: Units,
                       dtype: str) -> None:
    """Adds a kernel's two entry points to the module."""
    types = dict(zip(kernel.arguments, kernel.llvm_types, strict=True))
    run, a = define(module, f"{kernel.name}_units", {"first": I64, "stop": I64, **types},
                    internal=True)
    e = Emit(run, target, dtype)
    units.run(e, a.pop("first"), a.pop("stop"), a)
    e.b.ret_void()

    alone, a = define(module, kernel.symbol, types)
    e = Emit(alone, target, dtype)
    e.b.call(run, [I64(0), units.count(e, a), *a.values()])
    e.b.ret_void()

    lot, a = define(module, f"{kernel.name}_lot",
                    {"first": I64, "stop": I64, "arguments": PTR}, internal=True)
    e = Emit(lot, target, dtype)
    values = [e.b.load(e.word(a["arguments"], i), typ=kind) for i, kind in enumerate(
        types.values())]
    e.b.call(run, [a["first"], a["stop"], *values])
    e.b.ret_void()

    shared, a = define(module, kernel.shared.symbol, {"queue": PTR, **types})
    e = Emit(shared, target, dtype)
    arguments = e.of("i64").stack(len(types))
    queue = a.pop("queue")
    count = units.count(e, a)
    most = _FEW_LOTS if units.searches else _LOTS if units.lots else _MOST_LOTS
    others = e.b.load(e.word(queue, layout.QUEUE_OTHERS), typ=I64)
    with e.b.if_else(e.b.icmp_signed("==", others, I64(0))) as (one, several):
        with one:
            e.b.call(run, [I64(0), count, *a.values()])
        with several:
            for i, value in enumerate(a.values()):
                e.b.store(value, e.word(arguments, i))
            e.call(SHARING.symbol, ll.VoidType(), queue, count, I64(most), retyped(lot, PTR),
                   arguments)
    e.b.ret_void()


def _emit_sharing(module: Any, target: Target) -> None:
    """Adds the function in which a worker does its part of a shared call.

    It takes the queue, the number of units, about how many lots they are divided into, a function
    that runs units, run(first, stop, arguments), and the arguments of the call.
    """
    function, a = define(module, SHARING.symbol, {
        "queue": PTR, "count": I64, "most": I64, "run": PTR, "arguments": PTR})
    e = Emit(function, target)
    count, run = a["count"], retyped(a["run"], ll.FunctionType(
        ll.VoidType(), [I64, I64, PTR]).as_pointer())
    lot = e.greatest(I64(1), e.b.udiv(count, a["most"]))

    def run_lot(number: Value) -> None:
        first = e.b.mul(number, lot)
        e.b.call(run, [first, e.least(e.b.add(first, lot), count), a["arguments"]])

    _work_until_done(e, a["queue"], e.quotient_up(count, lot), run_lot)
    e.b.ret_void()


SHARING = Part("work_until_done", "nnc_work_until_done", _emit_sharing)


def _work_until_done(e: Emit, queue: Value, lots: Value, run: _Run) -> None:
    """Emits a worker's part of a shared call.

    It runs the lots of its own part, waits a moment until all are done, then runs the lots that are
    left in the parts of others, and waits until all are done.
    """
    b = e.b
    me, others, stride, base = (b.load(e.word(queue, i), typ=I64) for i in (
        layout.QUEUE_ME, layout.QUEUE_OTHERS, layout.QUEUE_STRIDE, layout.QUEUE_BASE))
    workers = b.add(others, I64(1))

    def word(worker: Value, i: int) -> Value:
        return e.word(queue, b.mul(b.sub(worker, me), stride), i)

    def missing() -> Value:
        with e.loop(0, workers, carried=[I64(0)]) as loop:
            done = b.load_atomic(word(loop.index, layout.QUEUE_DONE), "acquire", 8, typ=I64)
            loop.next = [b.add(loop.values[0], e.greatest(b.sub(done, base), I64(0)))]
        return b.icmp_signed("<", loop.values[0], lots)

    def take(worker: Value) -> None:
        """Claims and runs the lots of a worker's part.

        All parts have the same number of lots, or the last parts one more: a product's last units
        are narrow ones.
        """
        begin, end = (b.udiv(b.mul(lots, number), workers)
                      for number in (worker, b.add(worker, I64(1))))
        mine = _claim(e, word(worker, layout.QUEUE_CLAIMED), base, b.sub(end, begin),
                      lambda number: run(b.add(begin, number)))
        with b.if_then(b.icmp_signed(">", mine, I64(0))):
            done = word(me, layout.QUEUE_DONE)
            e.publish(b.add(e.greatest(b.load(done, typ=I64), base), mine), done)

    def wait(pauses: int) -> None:
        with e.loop_while(lambda turn: b.and_(
                missing(), b.icmp_signed("<", turn.index, I64(pauses)))):
            e.pause()

    take(me)
    wait(_STEAL_AFTER)
    with b.if_then(missing(), likely=False):
        with e.loop(1, workers) as turn, b.if_then(missing()):
            take(b.urem(b.add(me, turn.index), workers))
        wait(_YIELD_AFTER)
        with e.loop_while(lambda _: missing()):
            e.give_way()


def _claim(e: Emit, claimed: Value, base: Value, lots: Value, run: _Run) -> Value:
    """Emits a loop that claims and runs the remaining lots of a part; returns how many it ran.

    `claimed` counts the claimed lots from `base` on. A compare-and-exchange raises it by one: who
    succeeds runs the lot, who fails reads the count that the other worker has written and tries
    again.
    """
    b = e.b

    def count(word: Value) -> Value:
        return e.greatest(b.sub(word, base), I64(0))

    with e.loop_while(lambda loop: b.icmp_signed("<", count(loop.values[0]), lots),
                      [b.load_atomic(claimed, "monotonic", 8, typ=I64), I64(0)]) as loop:
        seen, mine = loop.values
        number = count(seen)
        more = b.add(base, b.add(number, I64(1)))
        found = b.cmpxchg(claimed, seen, more, "acq_rel", "monotonic")
        is_mine = b.extract_value(found, 1)
        with b.if_then(is_mine):
            run(number)
        after = b.select(is_mine, more, b.extract_value(found, 0))
        loop.next = [after, b.add(mine, b.zext(is_mine, I64))]
    return loop.values[1]
