"""Which interval of its column's edges a number is in, and what is computed from that."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir import NDArray
from nncompile.array import Array
from nncompile.importers.sklearn.fitted import Fitted, apply
from nncompile.importers.trees import Trees, walked

_COMPARED = 16        # of up to so many edges in a column, each is compared with every element


def counted(f: Fitted, x: Array, edges: Sequence[NDArray], included: bool) -> Array:
    """Returns how many of its column's edges are below each element, [N, columns] in i64.

    included: whether those that are equal to it count, too.
    """
    most = max([len(of) for of in edges])
    if most > _COMPARED:
        return _searched(x, edges, included)
    table = np.full((len(edges), most), np.inf)
    for row, of in zip(table, edges, strict=True):
        row[:len(of)] = of
    above = apply("ge" if included else "gt", x.unsqueeze(2), f.constant(table))
    count: Array = f.result(above).sum(2)._cast("i64")
    return count


def _searched(x: Array, edges: Sequence[NDArray], included: bool) -> Array:
    """Returns the same by a binary search: a tree for each column, with a leaf for each count."""
    starts = np.cumsum([0, *(2 * len(of) + 1 for of in edges)])
    size = int(starts[-1])
    true, false, value = np.arange(size), np.arange(size), np.zeros(size)
    feature, mode, roots = np.zeros(size, np.int64), ["LEAF"] * size, []
    for column, (start, of) in enumerate(zip(starts, edges, strict=False)):
        count, inner = len(of), int(start) + len(of) + 1

        def node(low: int, high: int, start: int = int(start), inner: int = inner) -> int:
            """Returns the node that tells counts from low to high: a leaf, or that of an edge."""
            return start + low if low == high else inner + (low + high) // 2

        rest = [(0, count)] if count else []
        while rest:
            low, high = rest.pop()
            own, middle = node(low, high), (low + high) // 2
            feature[own], value[own] = column, of[middle]
            mode[own] = "BRANCH_LT" if included else "BRANCH_LEQ"
            true[own], false[own] = node(low, middle), node(middle + 1, high)
            rest += [part for part in ((low, middle), (middle + 1, high)) if part[0] < part[1]]
        roots.append(node(0, count))
    steps = int(max(len(of) for of in edges)).bit_length()
    trees = Trees(feature, value, mode, np.zeros(size, bool), true, false, np.array(roots), steps)
    result: Array = walked(trees, x)._cast("i64") - Array(starts[:-1].astype(np.int64))
    return result


def interpolated(f: Fitted, x: Array, at: Sequence[NDArray], values: Sequence[NDArray]) -> Array:
    """Returns the values between those at some points of each column, constant beyond them.

    at: the points of each column, ascending. values: those at the points.
    """
    parts: list[tuple[NDArray, ...]] = []
    for points, of in zip(at, values, strict=True):
        points, of = np.asarray(points, np.float64), np.asarray(of, np.float64)
        # One more interval on each side, in which nothing changes.
        low, first = np.concatenate([points[:1], points]), np.concatenate([of[:1], of])
        with np.errstate(all="ignore"):
            slope = np.concatenate([[0.0], np.diff(of) / np.diff(points), [0.0]])
        parts.append((low, first, slope))
    starts = np.cumsum([0, *(len(part[0]) for part in parts[:-1])])
    place = counted(f, x, [np.asarray(points) for points in at], False) + Array(
        starts.astype(np.int64))
    low_of, first_of, slope_of = (apply("take", f.constant(np.concatenate(tables)), place, axis=0)
                                  for tables in zip(*parts, strict=True))
    result: Array = first_of + slope_of * (x - low_of)
    return result
