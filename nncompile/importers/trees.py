"""Decision trees as tables of their nodes, which gathers walk.

One step takes all rows, in all trees, one level down. A leaf is its own successor.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ir import DTYPES, DimExpr, Error, NDArray
from ir.records import dataclass
from nncompile.array import Array, apply

COMPARISONS = {"BRANCH_LEQ": "le", "BRANCH_LT": "lt", "BRANCH_GTE": "ge", "BRANCH_GT": "gt",
               "BRANCH_EQ": "eq", "BRANCH_NEQ": "ne"}
_MOST_STEPS = 1024                               # from a root to a leaf


@dataclass(frozen=True)
class Trees:
    """The nodes of all trees in one table each, and where the walk begins.

    A node compares the column `feature` of a row with `value` in the way of `mode`, one of
    COMPARISONS or "LEAF", and leads to the node `true` or `false`; NaN leads to `true` where
    nan_is_true. depth: the most steps to a leaf.
    """

    feature: NDArray
    value: NDArray
    mode: Sequence[str]
    nan_is_true: NDArray
    true: NDArray
    false: NDArray
    roots: NDArray
    depth: int


def depth(roots: NDArray, true: NDArray, false: NDArray, leaf: NDArray) -> int:
    """Returns the most steps from a root to a leaf. Raises Error where there is no end."""
    level, steps = np.unique(roots), 0
    while not leaf[level].all():
        inner = level[~leaf[level]]
        level, steps = np.unique(np.concatenate([true[inner], false[inner]])), steps + 1
        if steps > _MOST_STEPS:
            raise Error(f"its trees are more than {_MOST_STEPS} deep, or no trees")
    return steps


def walked(trees: Trees, x: Array) -> Array:
    """Returns the leaf that each row of x, [N, C], reaches in each tree, [N, trees].

    Raises Error where a node looks at a column that there is not.
    """
    if x.ndim != 2 or isinstance(x.type.shape[1], DimExpr):
        raise Error(f"it takes [N, C] with a C that is a number, not {x.type}")
    width = int(x.type.shape[1])
    if trees.feature.size and not 0 <= trees.feature.min() <= trees.feature.max() < width:
        raise Error(f"a node looks at the column {trees.feature.max()}, and there are {width}")
    rows = x.type.shape[0]
    at = Array(trees.roots).expand(rows, len(trees.roots))
    values = trees.value.astype(DTYPES[x.type.dtype])
    tables = [Array(t) for t in (trees.feature, values, trees.true, trees.false)]
    kinds = sorted({mode for mode in trees.mode if mode != "LEAF"})
    for _ in range(trees.depth):
        feature, value, true, false = (apply("take", t, at, axis=0) for t in tables)
        found = apply("take_along", x, feature, axis=1)
        yes = _compared(trees, kinds, found, value, at)
        if trees.nan_is_true.any():
            tracks = apply("take", Array(trees.nan_is_true), at, axis=0)
            yes = apply("logical_or", yes, apply("logical_and", tracks, apply("isnan", found)))
        at = apply("where", yes, true, false)
    return at


def _compared(trees: Trees, kinds: Sequence[str], found: Array, value: Array, at: Array) -> Array:
    results = [apply(COMPARISONS[kind], found, value) for kind in kinds]
    yes: Array = results[0]
    for kind, result in zip(kinds[1:], results[1:], strict=True):
        of_kind = Array(np.array([mode == kind for mode in trees.mode]))
        yes = apply("where", apply("take", of_kind, at, axis=0), result, yes)
    return yes
