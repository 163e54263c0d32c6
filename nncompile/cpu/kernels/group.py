"""Several elementwise ops with several results, which read and write memory once."""
from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ir import ops as ir_ops
from ir.types import DTYPES, NDArray
from nncompile.cpu.kernels.chain import LANE_OPS, result_dtype
from nncompile.cpu.kernels.kernel import Kernel, make
from nncompile.cpu.kernels.operands import Arguments, OuterAxes, Values
from nncompile.cpu.kernels.rows import element_units, for_row
from nncompile.cpu.vector import Emit, Int, Value, math

_DIVISIONS = ir_ops.with_trait("division")


class ElementOp(Protocol):
    """A line of a group: see nncompile.schedule.program.ElementOp."""

    @property
    def op(self) -> str:
        """The elementwise op."""
    @property
    def operands(self) -> tuple[str, ...]:
        """Names of operands of the group, and of results of earlier lines."""
    @property
    def source(self) -> str:
        """The dtype of its operands."""
    @property
    def dtype(self) -> str:
        """The dtype of its result."""
    @property
    def along(self) -> bool:
        """Of a line of a row group: whether it has a value for each element of a row."""


@functools.cache
def group(ops: tuple[ElementOp, ...], outputs: tuple[int, ...], kinds: str, outer: int) -> Kernel:
    """y0[o, :N], y1[o, :N], ... = the results of lines of `ops`, for indices o of `outer` axes.

        group_sub_mul_add_7c5f02d1(N, d0, y0, y0_d0, y1, y1_d0, r0, r0_d0, r1, r1_d0)

    Each line is an elementwise op of operands r0, r1, ... and of results t0, t1, ... of lines
    before; `outputs` are the lines whose results are y0, y1, ... An operand of the kind v has
    stride 1 along the last axis, as the y have; of the kind s it is one element. Each y may be
    one of the v operands of its dtype, with the same strides. The name has the first ops, and a
    number that tells the lines. A unit is one outer index, or CHUNK elements where there is no
    outer axis.
    """
    dtypes = group_dtypes(ops, len(kinds))
    names = [f"r{i}" for i in range(len(kinds))]
    results = [f"y{i}" for i in range(len(outputs))]
    types = dict(zip(names, dtypes, strict=True)) | {
        y: ops[i].dtype for y, i in zip(results, outputs, strict=True)}
    check_lines(ops)
    axes = OuterAxes(outer)
    signature = " ".join(["N", axes.signature(), *(
        f"{name}:{types[name]} {axes.strides(name)}" for name in (*results, *names))])

    def span(e: Emit, a: Arguments, start: Int, count: Value) -> None:
        def body(index: Value, mask: Value | None) -> None:
            place = e.b.add(e.i64(start), index)
            values: dict[str, Value] = {}
            for name, kind in zip(names, kinds, strict=True):
                at = a[name] if kind == "s" else e.at(a[name], place, dtype=types[name])
                values[name] = (e.broadcast(at, types[name]) if kind == "s" else
                                e.load(at, mask, dtype=types[name]))
            emit_lines(e, ops, values)
            for y, number in zip(results, outputs, strict=True):
                e.store(values[f"t{number}"], e.at(a[y], place, dtype=types[y]), mask, types[y])

        for_row(e, count, body)

    def plain(a: Values) -> None:
        values: dict[str, NDArray] = {
            name: axes.view(a, name, (1 if kind == "s" else a["N"],), (1,))
            for name, kind in zip(names, kinds, strict=True)}
        evaluate_lines(ops, values)
        made = [np.array(values[f"t{number}"]) for number in outputs]     # an r may be a y
        for y, value in zip(results, made, strict=True):
            axes.view(a, y, (a["N"],), (1,))[...] = value

    every = [*types.values(), *(line.dtype for line in ops)]
    widest = max(every, key=lambda dtype: DTYPES[dtype].itemsize)
    return make(group_name(ops, outputs, kinds, outer), signature,
                element_units(axes, types, span), plain, widest)


def group_dtypes(ops: Sequence[ElementOp], count: int) -> list[str]:
    """Returns the dtype of each of the `count` operands, as the lines read them."""
    found = dict.fromkeys((f"r{i}" for i in range(count)), "f32")
    for line in ops:
        for place, operand in enumerate(line.operands):
            condition = line.op == "where" and place == 0
            if operand in found:
                found[operand] = "bool" if condition else line.source
    return list(found.values())


def check_lines(ops: Sequence[ElementOp]) -> None:
    """Raises ValueError for an op that a group cannot have, and for a wrong number of operands."""
    for line in ops:
        if line.op not in LANE_OPS or (line.op in _DIVISIONS and line.dtype not in ("f32", "f64")):
            raise ValueError(f"no op of a group: {line.op!r} of {line.dtype}")
        if len(line.operands) != LANE_OPS[line.op].arity:
            raise ValueError(
                f"{line.op} takes {LANE_OPS[line.op].arity} operands, not {line.operands}")
        free = line.op in ("cast", "where", "copy")
        if not free and result_dtype(line.op, line.source) != line.dtype:
            raise ValueError(f"{line.op} of {line.source} is not {line.dtype}")


def emit_lines(e: Emit, ops: Sequence[ElementOp], values: dict[str, Value]) -> None:
    """Emits the lines of a group; adds to `values` what each computes."""
    for number, line in enumerate(ops):
        values[f"t{number}"] = emit_line(e, line, [values[o] for o in line.operands])


def evaluate_lines(ops: Sequence[ElementOp], values: dict[str, NDArray]) -> None:
    """Computes the lines of a group in NumPy; adds to `values` what each computes."""
    with np.errstate(all="ignore"):
        for number, line in enumerate(ops):
            values[f"t{number}"] = evaluate_line(line, [values[o] for o in line.operands])


def group_name(ops: Sequence[ElementOp], outputs: Sequence[int], kinds: str, outer: int,
               kind: str = "group") -> str:
    """Returns a name that tells a group from all others: its first ops, and a digest of it."""
    text = repr([[*map(tuple, map(_parts, ops))], [*outputs], kinds, outer])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return "_".join([kind, *(line.op for line in ops[:3]), digest])


def _parts(line: ElementOp) -> Sequence[Any]:
    return line.op, line.operands, line.source, line.dtype, *([True] if line.along else [])


def emit_line(e: Emit, line: ElementOp, operands: Sequence[Value]) -> Value:
    """Emits what a line computes of these operands."""
    if line.op == "cast":
        return math.cast(e, operands[0], line.source, line.dtype)
    return LANE_OPS[line.op].emit(e.of(line.source), *operands)


def evaluate_line(line: ElementOp, operands: Sequence[NDArray]) -> NDArray:
    """Returns what a line computes of these operands, in NumPy."""
    if line.op == "copy":
        return operands[0]
    attrs = {"dtype": line.dtype} if line.op == "cast" else {}
    made: NDArray = ir_ops.OPS[line.op].reference(*operands, **attrs)
    return made
