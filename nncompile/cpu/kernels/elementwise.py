"""Chains of elementwise ops over tensors of any strides, iota, and a number of the call."""
from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir as ll

import nncompile.cpu.kernels.chain as chains
from ir.types import DTYPES, FLOATS, NUMBERS, NDArray
from nncompile.cpu.kernels.chain import Chain
from nncompile.cpu.kernels.faults import report, report_plain
from nncompile.cpu.kernels.kernel import Kernel, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values
from nncompile.cpu.kernels.rows import element_units, for_row
from nncompile.cpu.vector import I64, Emit, Int, Value


@functools.cache
def elementwise(chain: Chain, outer: int, dtype: str = "f32", source: str | None = None) -> Kernel:
    """y[o, :N] = chain(operands), for outer indices o of `outer` axes.

        add_relu_vs_1(y, N, d0, y_d0, r0, r0_d0, r1, r1_d0)
        copy_g_1(y, N, d0, y_d0, r0, r0_inner, r0_d0)
        lt_vs_0_bool_of_f32(y, N, r0, r1)
        floor_div_vv_0_i64(y, N, r0, r1, fault, step)

    The kinds of the chain's first op are those of *all* its operands, whose dtype is `source` where
    it is not that of y. Along the last axis, y and v operands have stride 1, an s operand is one
    element, and a g operand has the stride r_inner. y may be one of the v operands of its dtype,
    with the same strides.

    An integer divided by 0 gives 0, and the first one writes step + 1, 0, 0 to fault, whose first
    word has to be 0 before. A unit is one outer index, or CHUNK elements where there is no outer
    axis.
    """
    source = None if source == dtype else source
    chains.check(chain, "vsg", starts=True, dtype=dtype, source=source)
    return _Elementwise(chain, OuterAxes(outer), dtype, source).kernel()


class _Elementwise:
    """An elementwise kernel, and the kinds and dtypes of its operands r0, r1, ..."""

    def __init__(self, chain: Chain, axes: OuterAxes, dtype: str, source: str | None):
        self.chain, self.axes, self.dtype, self.source = chain, axes, dtype, source
        self.kinds = chains.kinds(chain)
        self.dtypes = chains.operand_dtypes(chain, dtype, source)
        self.operands = chains.operands(chain)
        self.may_fault = chains.may_fault(chain, dtype)

    def kernel(self) -> Kernel:
        further = " ".join(
            f"{r}:{dtype} {r + '_inner' if kind == 'g' else ''} {self.axes.strides(r)}"
            for r, kind, dtype in zip(self.operands, self.kinds, self.dtypes, strict=True))
        signature = (f"y:{self.dtype} N {self.axes.signature('y')} {further}"
                     + " fault:words step" * self.may_fault)
        name = name_for("_".join((*chains.names(self.chain), str(self.axes.rank))), self.dtype)
        name += f"_of_{self.source}" if self.source else ""
        dtypes = dict(zip(self.operands, self.dtypes, strict=True)) | {"y": self.dtype}
        units = element_units(self.axes, dtypes, self._span)
        # There is one lane count for all vectors: that of the largest elements.
        widest = max((self.dtype, *self.dtypes), key=lambda dtype: DTYPES[dtype].itemsize)
        return make(name, signature, units, self.plain, widest)

    def _span(self, e: Emit, a: Arguments, start: Int, count: Value) -> None:
        """Emits the elements start..start+count of a row whose operands begin at a[...]."""
        def body(index: Value, mask: Value | None) -> None:
            place = e.b.add(e.i64(start), index)

            def operand(number: int) -> Value:
                r, kind, dtype = self.operands[number], self.kinds[number], self.dtypes[number]
                if kind == "s":
                    return e.broadcast(a[r], dtype)
                if kind == "g":
                    stride = a[f"{r}_inner"]
                    lanes = None if mask is None else e.b.sub(count, index)
                    first = e.at(a[r], e.b.mul(place, stride), dtype=dtype)
                    return e.gather(first, stride, lanes, dtype)
                return e.load(e.at(a[r], place, dtype=dtype), mask, dtype=dtype)

            def fault(wrong: Value) -> None:
                wrong = wrong if mask is None else e.b.and_(wrong, mask)
                with e.b.if_then(e.any(wrong)):
                    report(e, a, I64(0), I64(0))

            value = chains.emit(e, self.chain, None, operand, self.dtype, self.source, fault)
            e.store(value, e.at(a["y"], place, dtype=self.dtype), mask, self.dtype)

        for_row(e, count, body)

    def plain(self, a: Values) -> None:
        arrays = [self.axes.view(a, r, (1 if kind == "s" else a["N"],),
                             (a.get(f"{r}_inner", 1),))
                  for r, kind in zip(self.operands, self.kinds, strict=True)]
        y = self.axes.view(a, "y", (a["N"],), (1,))

        def fault(wrong: NDArray) -> None:
            report_plain(a, np.zeros(int(wrong.any() and y.size > 0)), 0)

        y[...] = chains.evaluate(self.chain, None, arrays, self.dtype, fault)


def iota(dtype: str = "i64") -> Kernel:
    """y[n] = n for n < N; integers modulo 2^bits.

        iota_i64(y, N)

    A unit is CHUNK elements.
    """
    check_dtype("iota", dtype, NUMBERS)

    def elements(e: Emit, a: Arguments, start: Int, count: Value) -> None:
        lanes = ll.Constant(e.vector_of("i64"), list(range(e.width)))

        def numbers(place: Value) -> Value:
            places = e.b.add(e.splat(place), lanes)
            if dtype in FLOATS:
                return e.b.sitofp(places, e.vector)
            return places if dtype == "i64" else e.b.trunc(places, e.vector)

        def body(index: Value, mask: Value | None) -> None:
            place = e.b.add(start, index)
            e.store(numbers(place), e.at(a["y"], place), mask)

        for_row(e, count, body)

    def plain(a: Values) -> None:
        a["y"][:a["N"]] = np.arange(a["N"]).astype(DTYPES[dtype])

    return make(name_for("iota", dtype), f"y:{dtype} N",
                element_units(OuterAxes(0), {"y": dtype}, elements), plain, dtype)


def number() -> Kernel:
    """y[n] = number for n < N.

        number_i64(y, N, number)

    A unit is CHUNK elements.
    """
    def elements(e: Emit, a: Arguments, start: Int, count: Value) -> None:
        lanes = ll.Constant(e.vector_of("i64"), [0] * e.width)

        def body(index: Value, mask: Value | None) -> None:
            e.store(e.b.add(e.splat(a["number"]), lanes), e.at(a["y"], e.b.add(start, index)), mask)

        for_row(e, count, body)

    def plain(a: Values) -> None:
        a["y"][:a["N"]] = a["number"]

    return make(name_for("number", "i64"), "y:i64 N number",
                element_units(OuterAxes(0), {"y": "i64"}, elements), plain, "i64")
