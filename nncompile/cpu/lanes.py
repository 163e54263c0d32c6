"""Vectors of float32 lanes, loops and addresses as LLVM IR: what kernels are written with.

`Emit` is an llvmlite IRBuilder that knows its target's lane width.  Sizes and offsets are int64
counted in elements; a Python int stands for a constant.  Data need only be 4-byte aligned.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir

from nncompile.cpu.target import Target

Value: TypeAlias = Any                            # an llvmlite value
Int: TypeAlias = Any                              # an int64 value, or a Python int

F32, I1, I32, I64 = ir.FloatType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
PTR, VOID = ir.PointerType(), ir.VoidType()


def declare(module: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """The module's function of that name, declared where it is not there yet."""
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    function.attributes.add("nounwind")
    return function


def define(module: Any, name: str, arguments: dict[str, Any], *,
           internal: bool = False) -> tuple[Any, dict[str, Value]]:
    """A new function without result, and its arguments by name."""
    function = declare(module, name, VOID, list(arguments.values()))
    if internal:
        function.linkage = "internal"
        function.attributes.add("noinline")
    for argument, argument_name in zip(function.args, arguments, strict=True):
        argument.name = argument_name
    return function, dict(zip(arguments, function.args, strict=True))


class Loop:
    """A loop being emitted.  Inside it: `index`, and `values` carried into this turn; set `next`
    to what the turn leaves.  After it: `values` are final."""

    def __init__(self, index: Value, values: list[Value]):
        self.index, self.values, self.next = index, values, list(values)


class Emit:
    """Emits one function, from its entry block on."""

    def __init__(self, function: Any, target: Target, element: Any = F32):
        self.function, self.target, self.module = function, target, function.module
        self.b = ir.IRBuilder(function.append_basic_block("entry"))
        self.element = element
        self.width = target.width
        self.vector = ir.VectorType(element, self.width)
        self.ints = ir.VectorType(I32, self.width)

    # -- integers, addresses, control --------------------------------------------------

    def i64(self, value: Int) -> Value:
        return I64(value) if isinstance(value, int) else value

    def at(self, pointer: Value, *offsets: Int) -> Value:
        """pointer + the sum of offsets, counted in elements."""
        for offset in offsets:
            pointer = self.b.gep(pointer, [self.i64(offset)], source_etype=self.element)
        return pointer

    def word(self, pointer: Value, offset: Int) -> Value:
        """pointer + offset, counted in int64 words."""
        return self.b.gep(pointer, [self.i64(offset)], source_etype=I64)

    def call(self, name: str, result: Any, *arguments: Value) -> Value:
        function = declare(self.module, name, result, [a.type for a in arguments])
        return self.b.call(function, arguments)

    def least(self, x: Value, y: Value) -> Value:
        """The smaller of two int64."""
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def greatest(self, x: Value, y: Value) -> Value:
        """The larger of two int64."""
        return self.b.select(self.b.icmp_signed(">", x, y), x, y)

    def quotient_up(self, x: Value, divisor: int) -> Value:
        """x / divisor rounded up, for x >= 0."""
        return self.b.udiv(self.b.add(x, I64(divisor - 1)), I64(divisor))

    def whole(self, x: Value, step: int) -> Value:
        """The largest multiple of `step` that is not above x, for x >= 0."""
        return self.b.mul(self.b.udiv(x, I64(step)), I64(step))

    @contextmanager
    def loop(self, start: Int, stop: Int, step: Int = 1,
             carried: Sequence[Value] = ()) -> Iterator[Loop]:
        """for index in range(start, stop, step), with values carried from turn to turn."""
        b = self.b
        head, body, done = (self.function.append_basic_block(n) for n in ("head", "body", "done"))
        before = b.block
        b.branch(head)
        b.position_at_end(head)
        index = b.phi(I64)
        index.add_incoming(self.i64(start), before)
        phis = [b.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        b.cbranch(b.icmp_signed("<", index, self.i64(stop)), body, done)
        b.position_at_end(body)
        loop = Loop(index, phis)
        yield loop
        index.add_incoming(b.add(index, self.i64(step)), b.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)

    def pause(self) -> None:
        """Tell the CPU that this is a spinning loop."""
        if self.target.x86:
            self.call("llvm.x86.sse2.pause", VOID)
        elif self.target.aarch64:
            self.call("llvm.aarch64.hint", VOID, I32(1))              # yield

    def give_way(self) -> None:
        """Let another thread have this CPU, where the system can; otherwise a pause."""
        if self.target.has_sched_yield:
            self.call("sched_yield", I32)
        else:
            self.pause()

    # -- vectors -----------------------------------------------------------------------

    def const(self, value: float) -> Value:
        return ir.Constant(self.vector, [float(np.float32(value))] * self.width)

    def const_ints(self, value: int) -> Value:
        return ir.Constant(self.ints, [value] * self.width)

    def splat(self, scalar: Value) -> Value:
        """The scalar in every lane."""
        vector = ir.VectorType(scalar.type, self.width)
        undefined = ir.Constant(vector, ir.Undefined)
        lane0 = self.b.insert_element(undefined, scalar, I32(0))
        return self.b.shuffle_vector(lane0, undefined, self.const_ints(0))

    def broadcast(self, pointer: Value) -> Value:
        """The element at pointer, in every lane."""
        return self.splat(self.b.load(pointer, typ=self.element))

    def mask(self, lanes: Value) -> Value:
        """True in the first `lanes` lanes (in all of them where lanes >= width)."""
        count = self.b.trunc(self.least(lanes, I64(self.width)), I32)
        numbers = ir.Constant(self.ints, list(range(self.width)))
        return self.b.icmp_signed("<", numbers, self.splat(count))

    def load(self, pointer: Value, mask: Value | None = None, other: float = 0.0) -> Value:
        """A vector from memory; lanes outside the mask are not read, and hold `other`."""
        if mask is None:
            return self.b.load(pointer, typ=self.vector, align=4)
        return self.call(f"llvm.masked.load.{self._suffix}.p0", self.vector,
                         pointer, I32(4), mask, self.const(other))

    def store(self, value: Value, pointer: Value, mask: Value | None = None) -> None:
        """A vector to memory; lanes outside the mask are not written."""
        if mask is None:
            self.b.store(value, pointer, align=4)
        else:
            self.call(f"llvm.masked.store.{self._suffix}.p0", VOID, value, pointer, I32(4), mask)

    def gather(self, pointer: Value, stride: Value, lanes: Value | None = None) -> Value:
        """Elements at pointer, pointer + stride, ...; of the first `lanes` >= 1 only, if given: the
        other lanes repeat the last of them."""
        vector = ir.Constant(self.vector, ir.Undefined)
        for lane in range(self.width):
            element = self.b.load(pointer, typ=self.element)
            vector = self.b.insert_element(vector, element, I32(lane))
            step = stride
            if lanes is not None:
                more = self.b.icmp_signed("<", I64(lane + 1), lanes)
                step = self.b.select(more, stride, I64(0))
            pointer = self.at(pointer, step)
        return vector

    def prefetch(self, pointer: Value, level: int) -> None:
        """Ask for the cache line at pointer in the cache of that level; any address is allowed."""
        self.call("llvm.prefetch.p0", VOID, pointer, I32(0), I32(4 - level), I32(1))

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, rounded once where the target can."""
        if not self.target.fma:
            return self.b.fadd(self.b.fmul(x, y), z)
        return self.intrinsic("fma", x, y, z)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """llvm.<name> on vectors: sqrt, fabs, copysign."""
        return self.call(f"llvm.{name}.{self._suffix}", self.vector, *arguments)

    def larger(self, x: Value, y: Value) -> Value:
        """One instruction; y where either is NaN, so put the value that may be NaN second."""
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def smaller(self, x: Value, y: Value) -> Value:
        """One instruction; y where either is NaN, so put the value that may be NaN second."""
        return self.b.select(self.b.fcmp_ordered("<", x, y), x, y)

    def maximum(self, x: Value, y: Value) -> Value:
        """NaN where either is NaN."""
        return self.b.select(self.b.fcmp_unordered("uno", x, x), x, self.larger(x, y))

    def minimum(self, x: Value, y: Value) -> Value:
        """NaN where either is NaN."""
        return self.b.select(self.b.fcmp_unordered("uno", x, x), x, self.smaller(x, y))

    def combine_lanes(self, x: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes combined in a fixed tree; every lane holds the result."""
        distance = self.width // 2
        while distance:
            turned = [(lane + distance) % self.width for lane in range(self.width)]
            x = combine(x, self.b.shuffle_vector(x, x, ir.Constant(self.ints, turned)))
            distance //= 2
        return x

    @property
    def _suffix(self) -> str:
        return f"v{self.width}f{32 if self.element == F32 else 64}"
