"""Chains of elementwise ops over tensors of any strides."""
from __future__ import annotations

from typing import Any

from nncompile.cpu.kernels import chain as chains
from nncompile.cpu.kernels.chain import Chain
from nncompile.cpu.kernels.kernel import (
    Arguments,
    Array,
    Kernel,
    Units,
    emit_entry_points,
    outer_count,
    outer_names,
    outer_places,
    strided,
)
from nncompile.cpu.kernels.rows import for_row
from nncompile.cpu.lanes import I64, Emit, Value
from nncompile.cpu.target import Target

CHUNK = 4096          # elements of a unit where there are no outer axes


def elementwise(chain: Chain, outer: int) -> Kernel:
    """y[o, :N] = chain(operands), for outer indices o of `outer` axes.

        add_relu_vs_1(y, N, d0, y_d0, r0, r0_d0, r1, r1_d0)
        copy_g_1(y, N, d0, y_d0, r0, r0_inner, r0_d0)

    The kinds of the chain's first op are of *all* its operands.  y has stride 1 along the last dim,
    as has a v operand; an s operand is one number along it; a g operand has the stride r_inner.
    y may be one of the v operands, place for place.
    A unit is one outer index, or CHUNK elements where there is no outer axis.
    """
    chains.check(chain, "vsg", starts=True)
    kinds = chains.kinds(chain)
    operands = [f"r{i}" for i in range(len(kinds))]
    arguments = ("y", "N", *outer_names(outer, "y"))
    types = "pi" + "i" * 2 * outer
    for r, kind in zip(operands, kinds, strict=True):
        own = [f"{r}_inner"] * (kind == "g") + [*outer_names(outer, r)[outer:]]
        arguments += (r, *own)
        types += "p" + "i" * len(own)
    name = "_".join((*chains.names(chain), str(outer)))

    def row(e: Emit, a: Arguments, start: Value, count: Value) -> None:
        """Elements start..start+count of one outer index, whose operands begin at a[...]."""
        last = e.b.sub(a["N"], I64(1))

        def body(index: Value, mask: Value | None) -> None:
            place = e.b.add(start, index)

            def operand(number: int) -> Value:
                pointer = a[operands[number]]
                if kinds[number] == "s":
                    return e.broadcast(pointer)
                if kinds[number] == "g":
                    return e.gather(pointer, a[f"{operands[number]}_inner"], place, last)
                return e.load(e.at(pointer, place), mask)

            e.store(chains.emit(e, chain, None, operand), e.at(a["y"], place), mask)

        for_row(e, count, body)

    def count(e: Emit, a: Arguments) -> Value:
        return outer_count(e, a, outer) if outer else e.quotient_up(a["N"], CHUNK)

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b = e.b
        with e.loop(first, stop) as unit:
            if outer:
                offsets = outer_places(e, a, outer, unit.index, ["y", *operands])
                moved = {name: e.at(a[name], offset) for name, offset in offsets.items()}
                row(e, a | moved, I64(0), a["N"])
            else:
                start = b.mul(unit.index, I64(CHUNK))
                row(e, a, start, e.least(I64(CHUNK), b.sub(a["N"], start)))

    def emit(module: Any, target: Target) -> None:
        emit_entry_points(module, target, kernel, Units(count, run))

    def python(*values: Any) -> None:
        a = dict(zip(arguments, values, strict=True))
        dims = [a[f"d{i}"] for i in range(outer)]

        def view(of: str, length: int, stride: int) -> Array:
            own = [a[f"{of}_d{i}"] for i in range(outer)]
            return strided(a[of], (*dims, length), (*own, stride))
        arrays = [view(r, 1 if kind == "s" else a["N"], a.get(f"{r}_inner", 1))
                  for r, kind in zip(operands, kinds, strict=True)]
        view("y", a["N"], 1)[...] = chains.evaluate(chain, None, arrays)

    kernel = Kernel(name, arguments, types, emit, python)
    return kernel
