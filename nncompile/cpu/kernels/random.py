"""Random numbers by a counter: uniform. See ir.ops.philox for the generator."""
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as ll

from ir.ops import philox
from ir.types import DTYPES, FLOATS
from nncompile.cpu.kernels.kernel import Kernel, Units, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, Values
from nncompile.cpu.vector import I32, I64, Emit, Value

_WORDS = 4


def uniform(dtype: str = "f32") -> Kernel:
    """y[n] = the number of element n of a stream, for n < N; uniform on [0, 1).

        uniform(y, N, seed, stream)

    seed is two int64: the key and the number of the draw. A unit is a group of 64 elements, the
    words of 16 counters; what is in it does not depend on the length of a vector.
    """
    check_dtype("uniform", dtype, FLOATS)

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b, e32 = e.b, e.of("f32")
        key, draw = (b.load(e.word(a["seed"], i), typ=I64) for i in range(2))
        splat = [e.splat(b.trunc(word, I32)) for word in (
            a["stream"], draw, b.lshr(draw, I64(32)), key, b.lshr(key, I64(32)))]
        lanes = ll.Constant(ll.VectorType(I32, e.width), list(range(e.width)))
        with e.loop(first, stop) as unit:
            start = b.mul(unit.index, I64(philox.GROUP))
            counter = b.trunc(b.mul(unit.index, I64(philox.GROUP // _WORDS)), I32)
            for block in range(0, philox.GROUP // _WORDS, e.width):
                counters = b.add(b.add(e.splat(counter), lanes), _constant(e, block))
                made = _philox(e, [counters, *splat[:3]], splat[3:])
                for number, word in enumerate(made):
                    at = number * (philox.GROUP // _WORDS) + block
                    place = b.add(start, I64(at))
                    left = b.sub(a["N"], place)
                    with b.if_then(b.icmp_signed(">", left, I64(0))):
                        e.store(_as_float(e32, word, e.vector), e.at(a["y"], place), e.mask(left))

    def plain(a: Values) -> None:
        N = a["N"]
        a["y"][:N] = philox.uniform(a["seed"][:2], a["stream"], 0, N).astype(DTYPES[dtype])

    units = Units(lambda e, a: e.quotient_up(a["N"], philox.GROUP), run)
    return make(name_for("uniform", dtype), f"y:{dtype} N seed:i64 stream", units, plain, dtype)


def _constant(e: Emit, number: int) -> Value:
    """A vector of 32-bit words with this number in all lanes."""
    return ll.Constant(ll.VectorType(I32, e.width), [number & 0xFFFFFFFF] * e.width)


def _philox(e: Emit, counter: list[Value], key: list[Value]) -> list[Value]:
    b, wide = e.b, ll.VectorType(I64, e.width)

    def multiplied(factor: int, word: Value) -> tuple[Value, Value]:
        whole = b.mul(b.zext(word, wide), ll.Constant(wide, [factor] * e.width))
        high = b.lshr(whole, ll.Constant(wide, [32] * e.width))
        return b.trunc(high, word.type), b.trunc(whole, word.type)

    return philox.philox(counter, key, multiplied, b.xor,
                         lambda word, number: b.add(word, _constant(e, number)))


def _as_float(e: Emit, word: Value, vector: Any) -> Value:
    """The first 24 bits of each word as a number in [0, 1), exactly."""
    b = e.b
    whole = b.sitofp(b.lshr(word, _constant(e, 8)), vector)
    return b.fmul(whole, ll.Constant(vector, [float(np.float32(2.0**-24))] * e.width))
