"""Walks through decision trees: tree_walk.

A walk waits for memory in every step: the next node is known only when the node, then the row's
element, have come from the cache. So `_LANES` walks go on side by side, of as many rows through the
same tree, or, where fewer rows are left, of one row through as many trees. What a walk finds does
not depend on its neighbours.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from ir.types import FLOATS
from nncompile.cpu.kernels.kernel import Kernel, Units, check_dtype, make, name_for
from nncompile.cpu.kernels.operands import Arguments, Values, strided
from nncompile.cpu.vector import I32, I64, Emit, Value

_LANES = 8            # walks side by side
_STEPS = 3            # steps between two looks at whether any walk still goes on
_BLOCK = 64           # rows of a unit, which go through a tree while it is in the cache


def tree_walk(missing: bool, dtype: str = "f32") -> Kernel:
    """y[i, t] = the node that row i of x reaches from the node roots[t], for t < T.

        tree_walk(x, ldx, nodes, thresholds, roots, y, rows, T, steps)
        tree_walk_missing(x, ldx, nodes, thresholds, roots, y, rows, T, steps)

    nodes has three int32 for each node: the column that it looks at, and the nodes that it leads to
    where x's element is above the threshold or NaN, and where it is not; with `missing` a fourth,
    to which NaN leads. A walk ends at a node that leads to itself, after at most `steps` steps.
    What the tables lead to is not checked here. y is contiguous. A unit is a block of rows.
    """
    check_dtype("tree_walk", dtype, FLOATS)
    signature = (f"x:{dtype} ldx nodes:i32 thresholds:{dtype} roots:i32 y:i32 rows T steps")

    width = 3 + missing

    def run(e: Emit, first: Value, stop: Value, a: Arguments) -> None:
        b = e.b
        with e.loop(first, stop) as unit:
            start = b.mul(unit.index, I64(_BLOCK))
            end = e.least(b.add(start, I64(_BLOCK)), a["rows"])
            whole = b.add(start, e.whole(b.sub(end, start), _LANES))
            with e.loop(0, a["T"]) as tree, e.loop(start, whole, _LANES) as row:
                _walk(e, a, width, [(b.add(row.index, I64(i)), tree.index) for i in range(_LANES)])
            last = b.sub(a["T"], I64(1))
            with e.loop(whole, end) as row, e.loop(0, a["T"], _LANES) as tree:
                # Behind the last tree, lanes walk through that one again.
                _walk(e, a, width, [(row.index, e.least(b.add(tree.index, I64(i)), last))
                             for i in range(_LANES)])

    def plain(a: Values) -> None:
        rows, T = a["rows"], a["T"]
        nodes = strided(a["nodes"], (len(a["nodes"]) // width, width), (width, 1))
        at = np.broadcast_to(a["roots"][:T], (rows, T))
        for _ in range(a["steps"]):
            feature, above, up_to, *lost = np.moveaxis(nodes[at], -1, 0)
            value = a["x"][np.arange(rows)[:, None] * a["ldx"] + feature]
            following = np.where(value <= a["thresholds"][at], up_to, above)
            following = np.where(np.isnan(value), lost[0], following) if lost else following
            if (following == at).all():
                break
            at = following
        a["y"][:rows * T] = at.reshape(-1)

    return make(name_for("tree_walk" + "_missing" * missing, dtype), signature,
                Units(lambda e, a: e.quotient_up(a["rows"], _BLOCK), run), plain, dtype)


def _walk(e: Emit, a: Arguments, width: int, lanes: Sequence[tuple[Value, Value]]) -> None:
    """Emits the walks of these (row, tree) side by side, and stores where they end."""
    b = e.b
    rows = [e.at(a["x"], b.mul(row, a["ldx"])) for row, _ in lanes]
    starts = [_number(e, e.at(a["roots"], tree, dtype="i32")) for _, tree in lanes]

    def goes_on(loop: Any) -> Value:
        return b.and_(b.icmp_signed("<", loop.index, a["steps"]),
                      b.icmp_signed("!=", loop.values[-1], I64(0)))

    with e.loop_while(goes_on, [*starts, I64(1)], 0, _STEPS) as loop:
        places: list[Value] = loop.values[:-1]
        for _ in range(_STEPS):
            before = places
            places = [_step(e, a, width, x, at) for x, at in zip(rows, before, strict=True)]
        # A walk that did not move in the last step is at its end.
        moved = reduce(b.or_, [b.xor(at, old) for at, old in zip(places, before, strict=True)])
        loop.next = [*places, moved]
    for (row, tree), at in zip(lanes, loop.values, strict=False):
        place = e.at(a["y"], b.mul(row, a["T"]), tree, dtype="i32")
        e.store_one(b.trunc(at, I32), place, "i32")


def _step(e: Emit, a: Arguments, width: int, x: Value, at: Value) -> Value:
    """Returns the node that a row is led to from the node `at`."""
    b = e.b
    node = e.at(a["nodes"], b.mul(at, I64(width)), dtype="i32")
    value = e.load_one(e.at(x, _number(e, node)))
    threshold = e.load_one(e.at(a["thresholds"], at))
    # An index instead of a choice, which could become a branch that nobody can predict.
    link = b.add(b.zext(b.fcmp_ordered("<=", value, threshold), I64), I64(1))
    if width == 4:
        is_nan = b.zext(b.fcmp_unordered("uno", value, value), I64)
        link = b.add(link, b.shl(is_nan, I64(1)))
    return _number(e, e.at(node, link, dtype="i32"))


def _number(e: Emit, place: Value) -> Value:
    """Returns a number of a table as an int64; none is negative."""
    return e.b.zext(e.load_one(place, "i32"), I64)
