"""Chains of elementwise ops over tensors of any strides."""
from __future__ import annotations

import nncompile.cpu.kernels.chain as chains
from nncompile.cpu.kernels.chain import Chain
from nncompile.cpu.kernels.kernel import (
    Arguments,
    Kernel,
    Units,
    Values,
    make,
    outer_axes,
    outer_count,
    outer_places,
    outer_strides,
    outer_view,
    signature,
)
from nncompile.cpu.kernels.rows import for_row
from nncompile.cpu.lanes import I64, Emit, Int, Value

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
    further = " ".join(f"{r}:f32 {r + '_inner' if kind == 'g' else ''} {outer_strides(outer, r)}"
                       for r, kind in zip(operands, kinds, strict=True))
    types = signature(f"y:f32 N {outer_axes(outer, 'y')} {further}")
    name = "_".join((*chains.names(chain), str(outer)))

    def plain(a: Values) -> None:
        arrays = [outer_view(a, outer, r, (1 if kind == "s" else a["N"],),
                             (a.get(f"{r}_inner", 1),))
                  for r, kind in zip(operands, kinds, strict=True)]
        y = outer_view(a, outer, "y", (a["N"],), (1,))
        y[...] = chains.evaluate(chain, None, arrays)

    return make(name, types, _outer_units(chain, outer) if outer else _chunk_units(chain), plain)


def _outer_units(chain: Chain, outer: int) -> Units:
    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        operands = ["y", *(f"r{i}" for i in range(len(chains.kinds(chain))))]
        with e.loop(first, stop) as unit:
            offsets = outer_places(e, a, outer, unit.index, operands)
            moved = {name: e.at(a[name], offset) for name, offset in offsets.items()}
            _span(e, chain, a | moved, 0, a["N"])

    return Units(lambda e, a: outer_count(e, a, outer), run)


def _chunk_units(chain: Chain) -> Units:
    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        with e.loop(first, stop) as unit:
            start = e.b.mul(unit.index, I64(CHUNK))
            _span(e, chain, a, start, e.least(I64(CHUNK), e.b.sub(a["N"], start)))

    return Units(lambda e, a: e.quotient_up(a["N"], CHUNK), run)


def _span(e: Emit, chain: Chain, a: Arguments, start: Int, count: Value) -> None:
    """Elements start..start+count of a row whose operands begin at a[...]."""
    kinds = chains.kinds(chain)

    def body(index: Value, mask: Value | None) -> None:
        place = e.b.add(e.i64(start), index)

        def operand(number: int) -> Value:
            r, kind = f"r{number}", kinds[number]
            if kind == "s":
                return e.broadcast(a[r])
            if kind == "g":
                stride = a[f"{r}_inner"]
                lanes = None if mask is None else e.b.sub(count, index)
                return e.gather(e.at(a[r], e.b.mul(place, stride)), stride, lanes)
            return e.load(e.at(a[r], place), mask)

        e.store(chains.emit(e, chain, None, operand), e.at(a["y"], place), mask)

    for_row(e, count, body)
