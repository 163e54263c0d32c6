"""Vectors of lanes, loops and addresses as LLVM IR: what kernels are written with.

`Emit` is an llvmlite IRBuilder that knows how many lanes its vectors have and the dtype of most of
them; where a method takes a `dtype`, that is the default.  Sizes and offsets are int64 counted in
elements; a Python int stands for a constant.  Data are aligned to their element's size.

A bool is a byte in memory, 0 or 1 (anything but 0 is read as true), and an i1 in a lane.
"""
from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from llvmlite import ir as ll

from ir.types import DTYPES
from nncompile.cpu.vector.target import Target

Value: TypeAlias = Any                            # an llvmlite value
Int: TypeAlias = Any                              # an int64 value, or a Python int

F32, F64 = ll.FloatType(), ll.DoubleType()
I1, I8, I32, I64 = ll.IntType(1), ll.IntType(8), ll.IntType(32), ll.IntType(64)
PTR, VOID = ll.PointerType(), ll.VoidType()

LANE_TYPES = {"f32": F32, "f64": F64, "i8": I8, "u8": I8, "i32": I32, "i64": I64, "bool": I1}
MEMORY_TYPES = LANE_TYPES | {"bool": I8}


def lanes(target: Target, *dtypes: str) -> int:
    """Lanes of the vectors of a function that works on these dtypes: of 64-bit elements as many as
    fill a register, of all others as many as there are float32."""
    wide = any(DTYPES[dtype].itemsize == 8 for dtype in dtypes)
    return target.width // 2 if wide else target.width


def declare(module: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """The module's function of that name, declared where it is not there yet."""
    if name in module.globals:
        return module.globals[name]
    function = ll.Function(module, ll.FunctionType(result, arguments), name)
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


def retyped(pointer: Value, kind: Any) -> Value:
    """The pointer as another of llvmlite's pointer types; LLVM reads `ptr` for all of them.

    llvmlite 0.50 asks for a typed pointer in `call` and `store_atomic`, numba has typed ones too.
    """
    pointer = copy.copy(pointer)
    pointer.type = kind
    return pointer


class Loop:
    """A loop being emitted.  Inside it: `index`, and `values` carried into this turn; set `next`
    to what the turn leaves.  After it: `values` are final."""

    def __init__(self, index: Value, values: list[Value]):
        self.index, self.values, self.next = index, values, list(values)


class Emit:
    """Emits one function, from its entry block on.

    All its vectors have `width` lanes, whatever they hold: by default as many as suit its dtype.
    """

    def __init__(self, function: Any, target: Target, dtype: str = "f32",
                 width: int | None = None):
        self.function, self.target, self.module = function, target, function.module
        self.b = ll.IRBuilder(function.append_basic_block("entry"))
        self.width = lanes(target, dtype) if width is None else width
        self.dtype = dtype

    def of(self, dtype: str) -> Emit:
        """The same function and place in it, with another default dtype."""
        other = copy.copy(self)
        other.dtype = dtype
        return other

    @property
    def element(self) -> Any:
        return LANE_TYPES[self.dtype]

    @property
    def vector(self) -> Any:
        return self.vector_of(self.dtype)

    @property
    def ints(self) -> Any:
        """Vectors of integers as large as the elements: of their bits."""
        return ll.VectorType(ll.IntType(8 * DTYPES[self.dtype].itemsize), self.width)

    def vector_of(self, dtype: str) -> Any:
        return ll.VectorType(LANE_TYPES[dtype], self.width)

    # -- integers, addresses, control --------------------------------------------------

    def i64(self, value: Int) -> Value:
        return I64(value) if isinstance(value, int) else value

    def at(self, pointer: Value, *offsets: Int, dtype: str | None = None) -> Value:
        """pointer + the sum of offsets, counted in elements."""
        element = MEMORY_TYPES[dtype or self.dtype]
        for offset in offsets:
            pointer = self.b.gep(pointer, [self.i64(offset)], source_etype=element)
        return pointer

    def word(self, pointer: Value, *offsets: Int) -> Value:
        """pointer + the sum of offsets, counted in int64 words."""
        return self.at(pointer, *offsets, dtype="i64")

    def call(self, name: str, result: Any, *arguments: Value) -> Value:
        function = declare(self.module, name, result, [a.type for a in arguments])
        return self.b.call(function, arguments)

    def least(self, x: Value, y: Value) -> Value:
        """The smaller of two int64."""
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def greatest(self, x: Value, y: Value) -> Value:
        """The larger of two int64."""
        return self.b.select(self.b.icmp_signed(">", x, y), x, y)

    def quotient_up(self, x: Value, divisor: Int) -> Value:
        """x / divisor rounded up, for x >= 0."""
        less = I64(divisor - 1) if isinstance(divisor, int) else self.b.sub(divisor, I64(1))
        return self.b.udiv(self.b.add(x, less), self.i64(divisor))

    def whole(self, x: Value, step: int) -> Value:
        """The largest multiple of `step` that is not above x, for x >= 0."""
        return self.b.mul(self.b.udiv(x, I64(step)), I64(step))

    def loop(self, start: Int, stop: Int, step: Int = 1,
             carried: Sequence[Value] = ()) -> AbstractContextManager[Loop]:
        """for index in range(start, stop, step), with values carried from turn to turn."""
        return self.loop_while(lambda loop: self.b.icmp_signed("<", loop.index, self.i64(stop)),
                               carried, start, step)

    @contextmanager
    def loop_while(self, condition: Callable[[Loop], Value], carried: Sequence[Value] = (),
                   start: Int = 0, step: Int = 1) -> Iterator[Loop]:
        """for index in count(start, step), as long as the condition, of index and values, holds."""
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
        loop = Loop(index, phis)
        b.cbranch(condition(loop), body, done)
        b.position_at_end(body)
        yield loop
        index.add_incoming(b.add(index, self.i64(step)), b.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)

    def publish(self, word: Value, pointer: Value) -> None:
        """Store an int64 word; who loads it, acquiring, sees all that was stored before."""
        self.b.store_atomic(word, retyped(pointer, I64.as_pointer()), "release", 8)

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

    def const(self, value: float, dtype: str | None = None) -> Value:
        return ll.Constant(self.vector_of(dtype or self.dtype),
                           [number(value, dtype or self.dtype)] * self.width)

    def const_ints(self, value: int) -> Value:
        return ll.Constant(self.ints, [value] * self.width)

    def splat(self, scalar: Value) -> Value:
        """The scalar in every lane."""
        vector = ll.VectorType(scalar.type, self.width)
        undefined = ll.Constant(vector, ll.Undefined)
        lane0 = self.b.insert_element(undefined, scalar, I32(0))
        return self.b.shuffle_vector(lane0, undefined, self.numbers([0] * self.width))

    def broadcast(self, pointer: Value, dtype: str | None = None) -> Value:
        """The element at pointer, in every lane."""
        return self.splat(self.load_one(pointer, dtype))

    def load_one(self, pointer: Value, dtype: str | None = None) -> Value:
        """The element at pointer, a scalar."""
        dtype = dtype or self.dtype
        element = self.b.load(pointer, typ=MEMORY_TYPES[dtype])
        return self.b.icmp_unsigned("!=", element, I8(0)) if dtype == "bool" else element

    def store_one(self, scalar: Value, pointer: Value, dtype: str | None = None) -> None:
        """A scalar to memory."""
        scalar = self.b.zext(scalar, I8) if (dtype or self.dtype) == "bool" else scalar
        self.b.store(scalar, pointer)

    def mask(self, lanes: Value) -> Value:
        """True in the first `lanes` lanes (in all of them where lanes >= width)."""
        count = self.b.trunc(self.least(lanes, I64(self.width)), I32)
        return self.b.icmp_signed("<", self.numbers(range(self.width)), self.splat(count))

    def load(self, pointer: Value, mask: Value | None = None, other: float = 0.0,
             dtype: str | None = None) -> Value:
        """A vector from memory; lanes outside the mask are not read, and hold `other`."""
        dtype = dtype or self.dtype
        if dtype == "bool":
            return self.b.icmp_unsigned("!=", self.load(pointer, mask, other, "u8"),
                                        self.const(0, "u8"))
        vector, size = self.vector_of(dtype), DTYPES[dtype].itemsize
        if mask is None:
            return self.b.load(pointer, typ=vector, align=size)
        return self.call(f"llvm.masked.load.{suffix(vector)}.p0", vector,
                         pointer, I32(size), mask, self.const(other, dtype))

    def store(self, value: Value, pointer: Value, mask: Value | None = None,
              dtype: str | None = None) -> None:
        """A vector to memory; lanes outside the mask are not written."""
        dtype = dtype or self.dtype
        if dtype == "bool":
            self.store(self.b.zext(value, self.vector_of("u8")), pointer, mask, "u8")
            return
        size = DTYPES[dtype].itemsize
        if mask is None:
            self.b.store(value, pointer, align=size)
        else:
            self.call(f"llvm.masked.store.{suffix(value.type)}.p0", VOID,
                      value, pointer, I32(size), mask)

    def gather(self, pointer: Value, stride: Value, lanes: Value | None = None,
               dtype: str | None = None) -> Value:
        """Elements at pointer, pointer + stride, ...; of the first `lanes` >= 1 only, if given: the
        other lanes repeat the last of them."""
        vector = ll.Constant(self.vector_of(dtype or self.dtype), ll.Undefined)
        for lane in range(self.width):
            vector = self.b.insert_element(vector, self.load_one(pointer, dtype), I32(lane))
            step = stride
            if lanes is not None:
                more = self.b.icmp_signed("<", I64(lane + 1), lanes)
                step = self.b.select(more, stride, I64(0))
            pointer = self.at(pointer, step, dtype=dtype)
        return vector

    def any(self, mask: Value) -> Value:
        """Whether the mask is true in any lane: an i1."""
        bits = ll.IntType(self.width)
        return self.b.icmp_unsigned("!=", self.b.bitcast(mask, bits), bits(0))

    def each(self, function: Callable[..., Value], *vectors: Value) -> Value:
        """function(*scalars) of every lane."""
        results = [function(*(self.b.extract_element(v, I32(lane)) for v in vectors))
                   for lane in range(self.width)]
        vector = ll.Constant(ll.VectorType(results[0].type, self.width), ll.Undefined)
        for lane, result in enumerate(results):
            vector = self.b.insert_element(vector, result, I32(lane))
        return vector

    def prefetch(self, pointer: Value, level: int, to_write: bool = False) -> None:
        """Ask for the cache line at pointer in the cache of that level; any address is allowed."""
        self.call("llvm.prefetch.p0", VOID, pointer, I32(int(to_write)), I32(4 - level), I32(1))

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x * y + z, rounded once where the target can."""
        if not self.target.fma:
            return self.b.fadd(self.b.fmul(x, y), z)
        return self.intrinsic("fma", x, y, z)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """llvm.<name> on vectors of one type: sqrt, fabs, copysign."""
        vector = arguments[0].type
        return self.call(f"llvm.{name}.{suffix(vector)}", vector, *arguments)

    def compare(self, sign: str, x: Value, y: Value, dtype: str | None = None) -> Value:
        """x sign y for one of < <= > >= == !=, as IEEE says: where either is NaN, only != is true.
        Integers are signed but where the dtype is u8."""
        if is_float(x):
            compare = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
        elif (dtype or self.dtype) in ("u8", "bool"):
            compare = self.b.icmp_unsigned
        else:
            compare = self.b.icmp_signed
        return compare(sign, x, y)

    def larger(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """One instruction; y where either is NaN, so put the value that may be NaN second."""
        return self.b.select(self.compare(">", x, y, dtype), x, y)

    def smaller(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """One instruction; y where either is NaN, so put the value that may be NaN second."""
        return self.b.select(self.compare("<", x, y, dtype), x, y)

    def maximum(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """NaN where either is NaN."""
        return self._nan_first(x, self.larger(x, y, dtype))

    def minimum(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """NaN where either is NaN."""
        return self._nan_first(x, self.smaller(x, y, dtype))

    def _nan_first(self, x: Value, y: Value) -> Value:
        """x where it is NaN, else y."""
        if not is_float(x):
            return y
        return self.b.select(self.b.fcmp_unordered("uno", x, x), x, y)

    def combine_lanes(self, x: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes combined in a fixed tree; every lane holds the result."""
        distance = self.width // 2
        while distance:
            turned = [(lane + distance) % self.width for lane in range(self.width)]
            x = combine(x, self.b.shuffle_vector(x, x, self.numbers(turned)))
            distance //= 2
        return x

    def numbers(self, values: Iterable[int]) -> Value:
        """One i32 a lane."""
        return ll.Constant(ll.VectorType(I32, self.width), list(values))


def number(value: float, dtype: str) -> float | int:
    """A Python number as a constant of that dtype is written."""
    return DTYPES[dtype].type(value).item() if dtype != "bool" else int(bool(value))


def is_float(value: Value) -> bool:
    return value.type in (F32, F64) or getattr(value.type, "element", None) in (F32, F64)


def suffix(vector: Any) -> str:
    """How the names of intrinsics on that type end: v16f32."""
    names = {F32: "f32", F64: "f64", I1: "i1", I8: "i8", I32: "i32", I64: "i64"}
    return f"v{vector.count}{names[vector.element]}"
