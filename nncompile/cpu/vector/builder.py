"""Vectors, loops and addresses as LLVM IR: what kernels are written with.

`Emit` is an llvmlite IRBuilder that knows the number of lanes of its vectors and the dtype of most
of them; where a method takes a `dtype`, that is the default. Sizes and offsets are int64 counted in
elements; a Python int stands for a constant. Data are aligned to their element's size.

A bool is a byte in memory, 0 or 1 (every other byte is read as true), and an i1 in a lane.
"""
from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from llvmlite import ir as ll

from ir.records import dataclass
from ir.types import DTYPES
from nncompile.cpu.vector.target import Target

Value: TypeAlias = Any                            # an llvmlite value
Int: TypeAlias = Any                              # an int64 value, or a Python int

F32, F64 = ll.FloatType(), ll.DoubleType()
I1, _I8, I32, I64 = ll.IntType(1), ll.IntType(8), ll.IntType(32), ll.IntType(64)
PTR, _VOID = ll.PointerType(), ll.VoidType()

_LINE = 64                                        # bytes of a cache line

_LANE_TYPES = {"f32": F32, "f64": F64, "i8": _I8, "u8": _I8, "i32": I32, "i64": I64, "bool": I1}
_MEMORY_TYPES = _LANE_TYPES | {"bool": _I8}


class _Vector(ll.VectorType):
    """LLVM's type of a vector. A constant with the same number in all lanes is printed in short.

    A kernel has hundreds of them, so that they would be most of its text.
    """

    def format_constant(self, value: Sequence[Any]) -> str:
        lanes = {lane.get_reference().strip() for lane in value}
        if len(lanes) > 1:
            return str(super().format_constant(value))
        lane, = lanes
        return _SHORT.get(lane, f"splat ({self.element} {lane})")


_SHORT = {"undef": "undef", "0": "zeroinitializer", "0x0": "zeroinitializer"}


@functools.cache
def _vector(element: Any, width: int) -> _Vector:
    """Returns the type of vectors of so many elements."""
    return _Vector(element, width)


@functools.lru_cache(1024)
def _constant(vector: _Vector, lane: Any, text: str) -> Value:
    """Returns a constant with the same lane everywhere. The lane's text tells 0.0 from -0.0."""
    return ll.Constant(vector, lane)


@dataclass(frozen=True)
class _Format:
    """IEEE 754's binary32 or binary64."""

    mantissa: int                # stored bits
    bias: int
    round: float                 # 1.5 * 2^mantissa: round + x has round(x) in its last bits
    round_bits: int
    least_exp: float             # exp(x) and x exp(x) are 0 below
    most_exp: float              # exp(x) is inf above


_FORMATS = {"f32": _Format(23, 127, 1.5 * 2.0 ** 23, 0x4B400000, -120.0, 89.0),
           "f64": _Format(52, 1023, 1.5 * 2.0 ** 52, 0x4338000000000000, -760.0, 710.0)}


def lanes(target: Target, *dtypes: str) -> int:
    """Returns the number of lanes of the vectors of a function that works on these dtypes.

    With a 64-bit dtype among them it is the number of those that fill a register, otherwise the
    number of float32.
    """
    wide = any(DTYPES[dtype].itemsize == 8 for dtype in dtypes)
    return target.width // 2 if wide else target.width


def _declare(module: Any, name: str, result: Any, arguments: Sequence[Any]) -> Any:
    """Returns the module's function of that name, declared where it is not there yet."""
    if name in module.globals:
        return module.globals[name]
    function = ll.Function(module, ll.FunctionType(result, arguments), name)
    function.attributes.add("nounwind")
    return function


def declared(module: Any, name: str, arguments: dict[str, Any]) -> Any:
    """Returns the module's function of that name without a result, and with named arguments.

    It is declared where it is not there yet.
    """
    if name in module.globals:
        return module.globals[name]
    function = _declare(module, name, _VOID, list(arguments.values()))
    for argument, argument_name in zip(function.args, arguments, strict=True):
        argument.name = argument_name
    return function


def define(module: Any, name: str, arguments: dict[str, Any], *,
           internal: bool = False) -> tuple[Any, dict[str, Value]]:
    """Returns a new function without a result, and its arguments by name."""
    function = declared(module, name, arguments)
    if internal:
        function.linkage = "internal"
        function.attributes.add("noinline")
    return function, dict(zip(arguments, function.args, strict=True))


def retyped(pointer: Value, kind: Any) -> Value:
    """Returns the pointer as another of llvmlite's pointer types; in LLVM's text all are `ptr`.

    llvmlite 0.50 asks for a typed pointer in `call` and `store_atomic`, and numba uses typed ones.
    """
    pointer = copy.copy(pointer)
    pointer.type = kind
    return pointer


class _Loop:
    """A loop that is being emitted.

    Inside it, `index` and `values`, the values carried into this iteration, can be read, and `next`
    is set to the values that the iteration leaves. After it, `values` are the final ones.
    """

    def __init__(self, index: Value, values: list[Value]):
        self.index, self.values, self.next = index, values, list(values)


class Emit:
    """Emits the body of one function, from its entry block on.

    All vectors have `width` lanes, whatever they hold: by default as many as suit the dtype.
    """

    def __init__(self, function: Any, target: Target, dtype: str = "f32", width: int | None = None):
        self.function, self.target, self.module = function, target, function.module
        self.b = ll.IRBuilder(function.append_basic_block("entry"))
        self.width = lanes(target, dtype) if width is None else width
        self.dtype = dtype

    def of(self, dtype: str) -> Emit:
        """Returns the same function and position in it, with another default dtype."""
        other = copy.copy(self)
        other.dtype = dtype
        return other

    @property
    def element(self) -> Any:
        """LLVM's type of an element."""
        return _LANE_TYPES[self.dtype]

    @property
    def vector(self) -> Any:
        """LLVM's type of a vector of the default dtype."""
        return self.vector_of(self.dtype)

    @property
    def ints(self) -> Any:
        """LLVM's type of vectors of integers as wide as the elements, for their bits."""
        return _vector(ll.IntType(8 * DTYPES[self.dtype].itemsize), self.width)

    @property
    def format(self) -> _Format:
        """The format of the elements, which are floats."""
        return _FORMATS[self.dtype]

    def vector_of(self, dtype: str) -> Any:
        """Returns LLVM's type of a vector of that dtype."""
        return _vector(_LANE_TYPES[dtype], self.width)

    # -- integers, addresses, control --------------------------------------------------

    def i64(self, value: Int) -> Value:
        """Returns an int64 value, which a Python int becomes."""
        return I64(value) if isinstance(value, int) else value

    def at(self, pointer: Value, *offsets: Int, dtype: str | None = None) -> Value:
        """Returns pointer + the sum of offsets, counted in elements."""
        element = _MEMORY_TYPES[dtype or self.dtype]
        for offset in offsets:
            if not isinstance(offset, int) or offset:
                pointer = self.b.gep(pointer, [self.i64(offset)], source_etype=element)
        return pointer

    def word(self, pointer: Value, *offsets: Int) -> Value:
        """Returns pointer + the sum of offsets, counted in int64 words."""
        return self.at(pointer, *offsets, dtype="i64")

    def stack(self, count: int) -> Value:
        """Returns memory for so many elements, for the time of the function; not in a loop."""
        memory = self.b.alloca(self.element, count)
        memory.align = _LINE
        return retyped(memory, PTR)

    def call(self, name: str, result: Any, *arguments: Value) -> Value:
        """Emits a call of the external function of that name, which is declared if need be."""
        function = _declare(self.module, name, result, [a.type for a in arguments])
        return self.b.call(function, arguments)

    def least(self, x: Value, y: Value) -> Value:
        """Returns the smaller of two int64."""
        return self.b.select(self.b.icmp_signed("<", x, y), x, y)

    def greatest(self, x: Value, y: Value) -> Value:
        """Returns the larger of two int64."""
        return self.b.select(self.b.icmp_signed(">", x, y), x, y)

    def quotient_up(self, x: Value, divisor: Int) -> Value:
        """Returns x / divisor rounded up, for x >= 0."""
        less = I64(divisor - 1) if isinstance(divisor, int) else self.b.sub(divisor, I64(1))
        return self.b.udiv(self.b.add(x, less), self.i64(divisor))

    def whole(self, x: Value, step: int) -> Value:
        """Returns the largest multiple of `step` that is not above x, for x >= 0."""
        return self.b.mul(self.b.udiv(x, I64(step)), I64(step))

    def loop(self, start: Int, stop: Int, step: Int = 1,
             carried: Sequence[Value] = ()) -> AbstractContextManager[_Loop]:
        """Emits `for index in range(start, stop, step)`, with values carried between iterations."""
        return self.loop_while(lambda loop: self.b.icmp_signed("<", loop.index, self.i64(stop)),
                               carried, start, step)

    @contextmanager
    def loop_while(self, condition: Callable[[_Loop], Value], carried: Sequence[Value] = (),
                   start: Int = 0, step: Int = 1) -> Iterator[_Loop]:
        """Emits a loop that runs while a condition on its index and values holds."""
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
        loop = _Loop(index, phis)
        b.cbranch(condition(loop), body, done)
        b.position_at_end(body)
        yield loop
        index.add_incoming(b.add(index, self.i64(step)), b.block)
        for phi, value in zip(phis, loop.next, strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(done)

    def publish(self, word: Value, pointer: Value) -> None:
        """Stores an int64 word with release order.

        A thread that loads it with acquire order sees all that was stored before.
        """
        self.b.store_atomic(word, retyped(pointer, I64.as_pointer()), "release", 8)

    def pause(self) -> None:
        """Tells the CPU that this is a spinning loop."""
        if self.target.x86:
            self.call("llvm.x86.sse2.pause", _VOID)
        elif self.target.aarch64:
            self.call("llvm.aarch64.hint", _VOID, I32(1))             # yield

    def give_way(self) -> None:
        """Lets another thread have this CPU, where the system can; otherwise pauses."""
        if self.target.has_sched_yield:
            self.call("sched_yield", I32)
        else:
            self.pause()

    # -- vectors -----------------------------------------------------------------------

    def const(self, value: float, dtype: str | None = None) -> Value:
        """Returns a vector constant with the number in all lanes."""
        lane = number(value, dtype or self.dtype)
        return _constant(self.vector_of(dtype or self.dtype), lane, repr(lane))

    def const_ints(self, value: int) -> Value:
        """Returns a constant of type `ints` with the number in all lanes."""
        return _constant(self.ints, value, repr(value))

    def splat(self, scalar: Value) -> Value:
        """Returns a vector with the scalar in all lanes."""
        undefined = _constant(_vector(scalar.type, self.width), ll.Undefined, "")
        lane0 = self.b.insert_element(undefined, scalar, I32(0))
        return self.b.shuffle_vector(lane0, undefined, _constant(_vector(I32, self.width), 0, "0"))

    def broadcast(self, pointer: Value, dtype: str | None = None) -> Value:
        """Returns a vector with the element at the pointer in all lanes."""
        return self.splat(self.load_one(pointer, dtype))

    def load_one(self, pointer: Value, dtype: str | None = None) -> Value:
        """Returns the element at the pointer as a scalar."""
        dtype = dtype or self.dtype
        element = self.b.load(pointer, typ=_MEMORY_TYPES[dtype])
        return self.b.icmp_unsigned("!=", element, _I8(0)) if dtype == "bool" else element

    def store_one(self, scalar: Value, pointer: Value, dtype: str | None = None) -> None:
        """Stores a scalar."""
        scalar = self.b.zext(scalar, _I8) if (dtype or self.dtype) == "bool" else scalar
        self.b.store(scalar, pointer)

    def mask(self, lanes: Value) -> Value:
        """Returns a mask that is true in the first `lanes` lanes; in all where lanes >= width."""
        count = self.b.trunc(self.least(lanes, I64(self.width)), I32)
        return self.b.icmp_signed("<", self.numbers(range(self.width)), self.splat(count))

    def load(self, pointer: Value, mask: Value | None = None, other: float = 0.0,
             dtype: str | None = None) -> Value:
        """Returns a vector from memory; lanes outside of the mask are not read, and hold `other`.
        """
        dtype = dtype or self.dtype
        if dtype == "bool":
            return self.b.icmp_unsigned("!=", self.load(pointer, mask, other, "u8"),
                                        self.const(0, "u8"))
        vector, size = self.vector_of(dtype), DTYPES[dtype].itemsize
        if mask is None:
            return self.b.load(pointer, typ=vector, align=size)
        return self.call(f"llvm.masked.load.{_suffix(vector)}.p0", vector,
                         pointer, I32(size), mask, self.const(other, dtype))

    def store(self, value: Value, pointer: Value, mask: Value | None = None,
              dtype: str | None = None) -> None:
        """Stores a vector; lanes outside of the mask are not written."""
        dtype = dtype or self.dtype
        if dtype == "bool":
            self.store(self.b.zext(value, self.vector_of("u8")), pointer, mask, "u8")
            return
        size = DTYPES[dtype].itemsize
        if mask is None:
            self.b.store(value, pointer, align=size)
        else:
            self.call(f"llvm.masked.store.{_suffix(value.type)}.p0", _VOID,
                      value, pointer, I32(size), mask)

    def gather(self, pointer: Value, stride: Value, lanes: Value | None = None,
               dtype: str | None = None) -> Value:
        """Returns the elements at pointer, pointer + stride, and so on.

        lanes: only the first so many, at least one, are read, and the other lanes repeat the last
        of them.
        """
        vector = _constant(self.vector_of(dtype or self.dtype), ll.Undefined, "")
        for lane in range(self.width):
            vector = self.b.insert_element(vector, self.load_one(pointer, dtype), I32(lane))
            step = stride
            if lanes is not None:
                more = self.b.icmp_signed("<", I64(lane + 1), lanes)
                step = self.b.select(more, stride, I64(0))
            pointer = self.at(pointer, step, dtype=dtype)
        return vector

    def any(self, mask: Value) -> Value:
        """Returns, as an i1, whether the mask is true in any lane."""
        bits = ll.IntType(self.width)
        return self.b.icmp_unsigned("!=", self.b.bitcast(mask, bits), bits(0))

    def each(self, function: Callable[..., Value], *vectors: Value) -> Value:
        """Returns the vector of function(*scalars) of every lane."""
        results = [function(*(self.b.extract_element(v, I32(lane)) for v in vectors))
                   for lane in range(self.width)]
        vector = _constant(_vector(results[0].type, self.width), ll.Undefined, "")
        for lane, result in enumerate(results):
            vector = self.b.insert_element(vector, result, I32(lane))
        return vector

    def prefetch(self, pointer: Value, level: int, to_write: bool = False) -> None:
        """Prefetches the cache line at the pointer into that level; any address is allowed."""
        self.call("llvm.prefetch.p0", _VOID, pointer, I32(int(to_write)), I32(4 - level), I32(1))

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """Returns x * y + z, rounded once where the target has fused multiply-add."""
        if not self.target.fma:
            return self.b.fadd(self.b.fmul(x, y), z)
        return self.intrinsic("fma", x, y, z)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """Returns llvm.<name> of vectors of one type, for instance sqrt, fabs, copysign."""
        vector = arguments[0].type
        return self.call(f"llvm.{name}.{_suffix(vector)}", vector, *arguments)

    def compare(self, sign: str, x: Value, y: Value, dtype: str | None = None) -> Value:
        """Returns the mask of `x sign y` for one of < <= > >= == !=.

        As IEEE 754 says, only != is true where either is NaN. Integers are signed except for u8.
        """
        if _is_float(x):
            compare = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
        elif (dtype or self.dtype) in ("u8", "bool"):
            compare = self.b.icmp_unsigned
        else:
            compare = self.b.icmp_signed
        return compare(sign, x, y)

    def larger(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """Returns the larger in one instruction, and y where either is NaN.

        A value that may be NaN and is to stay so is therefore passed second.
        """
        return self.b.select(self.compare(">", x, y, dtype), x, y)

    def smaller(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """Returns the smaller in one instruction, and y where either is NaN; see larger."""
        return self.b.select(self.compare("<", x, y, dtype), x, y)

    def maximum(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """Returns the larger, and NaN where either is NaN; of equal zeros y."""
        return self._nan_first(x, self.larger(x, y, dtype))

    def minimum(self, x: Value, y: Value, dtype: str | None = None) -> Value:
        """Returns the smaller, and NaN where either is NaN; of equal zeros y."""
        return self._nan_first(x, self.smaller(x, y, dtype))

    def highest(self, x: Value, y: Value) -> Value:
        """Returns the maximum in any order: NaN where either is NaN, and of 0.0 and -0.0 0.0."""
        return self.maximum(x, self._alike(self.b.and_, x, y))

    def lowest(self, x: Value, y: Value) -> Value:
        """Returns the minimum in any order: NaN where either is NaN, and of 0.0 and -0.0 -0.0."""
        return self.minimum(x, self._alike(self.b.or_, x, y))

    def _alike(self, join: Callable[[Value, Value], Value], x: Value, y: Value) -> Value:
        """Returns y, but where x equals it the bits of both, joined: that changes zeros only."""
        if not _is_float(x):
            return y
        b = self.b
        bits = join(b.bitcast(x, self.ints), b.bitcast(y, self.ints))
        return b.select(b.fcmp_ordered("==", x, y), b.bitcast(bits, self.vector), y)

    def _nan_first(self, x: Value, y: Value) -> Value:
        """Returns x where it is NaN, and y elsewhere."""
        if not _is_float(x):
            return y
        return self.b.select(self.b.fcmp_unordered("uno", x, x), x, y)

    def combine_lanes(self, x: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """Combines all lanes in a fixed tree, and returns the result in every lane."""
        distance = self.width // 2
        while distance:
            turned = [(lane + distance) % self.width for lane in range(self.width)]
            x = combine(x, self.b.shuffle_vector(x, x, self.numbers(turned)))
            distance //= 2
        return x

    # -- vectors of floats -------------------------------------------------------------

    def fabs(self, x: Value) -> Value:
        """Returns |x|."""
        return self.intrinsic("fabs", x)

    def copysign(self, size: Value, x: Value) -> Value:
        """Returns the size with the sign of x, that of a zero included."""
        return self.intrinsic("copysign", size, x)

    def clamp(self, x: Value, low: float, high: float) -> Value:
        """Returns x limited to [low, high]; NaN stays NaN."""
        return self.larger(self.const(low), self.smaller(self.const(high), x))

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Returns coefficients[0] + coefficients[1] x + ..., by Horner's rule."""
        value = self.const(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value = self.fma(value, x, self.const(coefficient))
        return value

    def scale(self, x: Value, n: Value) -> Value:
        """Returns x 2^n for a whole number n, |n| < 2 bias, rounded once if the result is denormal.
        """
        b = self.b
        if self.target.avx512 and self.width == {"f32": 16, "f64": 8}[self.dtype]:
            name = {"f32": "ps", "f64": "pd"}[self.dtype]
            return self.call(f"llvm.x86.avx512.mask.scalef.{name}.512", self.vector, x, n,
                             self.const(0.0), ll.IntType(self.width)(-1), I32(4))
        n = self._whole_bits(n)
        half = b.ashr(n, self.const_ints(1))
        return b.fmul(b.fmul(x, self._power_of_two(half)), self._power_of_two(b.sub(n, half)))

    def power_of_two(self, n: Value) -> Value:
        """Returns 2^n for whole numbers -bias < n <= bias."""
        return self._power_of_two(self._whole_bits(n))

    def _whole_bits(self, n: Value) -> Value:
        """Returns a whole number as an integer."""
        bits = self.b.bitcast(self.b.fadd(n, self.const(self.format.round)), self.ints)
        return self.b.sub(bits, self.const_ints(self.format.round_bits))

    def _power_of_two(self, n: Value) -> Value:
        """Returns 2^n for integers -bias <= n <= bias, by its bits; at -bias it is 0."""
        exponent = self.b.add(n, self.const_ints(self.format.bias))
        return self.b.bitcast(self.b.shl(exponent, self.const_ints(self.format.mantissa)),
                              self.vector)

    # -- lanes -------------------------------------------------------------------------

    def numbers(self, values: Iterable[int]) -> Value:
        """Returns a constant of one i32 for each lane."""
        return ll.Constant(_vector(I32, self.width), list(values))


def number(value: float, dtype: str) -> float | int:
    """Returns a Python number in the form of a constant of that dtype."""
    return DTYPES[dtype].type(value).item() if dtype != "bool" else int(bool(value))


def _is_float(value: Value) -> bool:
    """Returns whether it is a float scalar or a vector of floats."""
    return value.type in (F32, F64) or getattr(value.type, "element", None) in (F32, F64)


def _suffix(vector: Any) -> str:
    """Returns the type's part of the names of intrinsics, such as v16f32."""
    names = {F32: "f32", F64: "f64", I1: "i1", _I8: "i8", I32: "i32", I64: "i64"}
    return f"v{vector.count}{names[vector.element]}"
