"""Products with a single vector: matmul and linear with one column."""
from __future__ import annotations

import numpy as np

import nncompile.cpu.kernels.chain as chains
from ir.types import FLOATS
from nncompile.cpu.kernels.chain import Chain
from nncompile.cpu.kernels.kernel import Kernel, Units, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values
from nncompile.cpu.kernels.rows import WAYS, fold_row
from nncompile.cpu.vector import I64, Emit, Value


def dot(then: Chain = (), outer: int = 0, dtype: str = "f32") -> Kernel:
    """y[o, m] = then(the sum of x[o, m] * w[o]), for outer indices o of `outer` axes and m < M.

        dot_add_s_1(x, ldx, w, y, ldy, M, K, d0, x_d0, w_d0, y_d0, r0, ldr0, r0_d0)

    x[o] is M rows of K elements and w[o] one row; y has an element every ldy, and further operands
    have one every ldr. The sum runs along a row in vectors; its order depends on K alone. A unit is
    a row.
    """
    check_dtype("a product", dtype, FLOATS)
    chains.check(then, "s", dtype=dtype)
    axes, further = OuterAxes(outer), chains.operands(then)
    operands = ("x", "w", "y", *further)
    signature = (f"x:{dtype} ldx w:{dtype} y:{dtype} ldy M K {axes.signature('x', 'w', 'y')} "
                 + " ".join(f"{r}:{dtype} ld{r} {axes.strides(r)}" for r in further))
    name = name_for("_".join(("dot", *chains.names(then), str(outer))), dtype)

    def row(e: Emit, a: Arguments, m: Value) -> None:
        b, x = e.b, e.at(a["x"], e.b.mul(m, a["ldx"]))

        def term(index: Value, mask: Value | None) -> Value:
            return b.fmul(e.load(e.at(x, index), mask), e.load(e.at(a["w"], index), mask))

        def operand(number: int) -> Value:
            r = further[number]
            return e.broadcast(e.at(a[r], b.mul(m, a[f"ld{r}"])))

        total = fold_row(e, a["K"], term, b.fadd, e.const(0.0), ways=WAYS)
        value = chains.emit(e, then, total, operand, dtype)
        e.store_one(b.extract_element(value, I64(0)), e.at(a["y"], b.mul(m, a["ldy"])))

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as unit:
            index, m = I64(0), unit.index
            if outer:
                index, m = e.b.udiv(m, a["M"]), e.b.urem(m, a["M"])
            places = axes.places(e, a, index, operands)
            row(e, a | {r: e.at(a[r], place) for r, place in places.items()}, m)

    def plain(a: Values) -> None:
        x = axes.view(a, "x", (a["M"], a["K"]), (a["ldx"], 1))
        w = axes.view(a, "w", (a["K"], 1), (1, 1))
        arrays = [axes.view(a, r, (a["M"],), (a[f"ld{r}"],)) for r in further]
        y = axes.view(a, "y", (a["M"],), (a["ldy"],))
        y[...] = chains.evaluate(then, np.matmul(x, w)[..., 0], arrays, dtype)

    def count(e: Emit, a: Arguments) -> Value:
        return e.b.mul(axes.count(e, a), a["M"])

    return make(name, signature, Units(count, run), plain, dtype)
