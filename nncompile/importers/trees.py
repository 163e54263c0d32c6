"""Decision trees as tables of their nodes, for the op tree_walk. A leaf is its own successor."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ir import DTYPES, DimExpr, Error, NDArray
from ir.records import dataclass
from nncompile.array import Array, apply

COMPARISONS = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
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
    """Returns the leaf that each row of x, [N, C], reaches in each tree, i32[N, trees].

    Raises Error where a node looks at a column that there is not.
    """
    if x.ndim != 2 or isinstance(x.type.shape[1], DimExpr):
        raise Error(f"it takes [N, C] with a C that is a number, not {x.type}")
    width = int(x.type.shape[1])
    if trees.feature.size and not 0 <= trees.feature.min() <= trees.feature.max() < width:
        raise Error(f"a node looks at the column {trees.feature.max()}, and there are {width}")
    nodes, thresholds = _at_most(trees, DTYPES[x.type.dtype])
    if len(nodes) > np.iinfo(np.int32).max:
        raise Error(f"{len(nodes)} nodes are too many")
    steps = trees.depth * (1 if len(nodes) == len(trees.feature) else 2)
    found: Array = apply("tree_walk", x, Array(nodes.astype(np.int32)), Array(thresholds),
                         Array(trees.roots.astype(np.int32)), steps=steps)
    return found


def _at_most(trees: Trees, dtype: Any) -> tuple[NDArray, NDArray]:
    """Returns the nodes and thresholds of tree_walk, which compares in one way: x <= threshold.

    x < v is x <= the number before v. x == v takes two nodes, of which the second comes behind all
    that there were: x <= v, and then not x <= the number before v.
    """
    value, mode = trees.value.astype(dtype), np.array(trees.mode)
    # NaN differs from every number.
    missing = np.where(trees.nan_is_true | (mode == "BRANCH_NEQ"), trees.true, trees.false)
    turned = np.isin(mode, ["BRANCH_GT", "BRANCH_GTE", "BRANCH_NEQ"])
    up_to = np.where(turned, trees.false, trees.true)            # where x <= v, < v or == v
    above = np.where(turned, trees.true, trees.false)
    least = value == -np.inf                                     # no number is before it
    with np.errstate(over="ignore"):             # before the least finite number is -infinity
        before = np.nextafter(value, np.array(-np.inf, dtype))
    strict = np.isin(mode, ["BRANCH_LT", "BRANCH_GTE"])
    threshold = np.where(strict, before, value)
    # Nothing is below the least number, and nothing compares with NaN.
    up_to = np.where((strict & least) | np.isnan(value), above, up_to)
    above = np.where(np.isnan(value) & turned & (mode != "BRANCH_NEQ"), trees.false, above)
    up_to = np.where(np.isnan(value) & turned & (mode != "BRANCH_NEQ"), trees.false, up_to)
    twice = np.flatnonzero(np.isin(mode, ["BRANCH_EQ", "BRANCH_NEQ"]) & ~np.isnan(value))
    second = np.stack([trees.feature, up_to, np.where(least, up_to, above), missing], 1)[twice]
    up_to = up_to.copy()
    up_to[twice] = len(mode) + np.arange(len(twice))
    nodes = np.concatenate([np.stack([trees.feature, above, up_to, missing], 1), second])
    if (nodes[:, 1] == nodes[:, 3]).all():
        nodes = nodes[:, :3]                     # NaN goes where all go that are above
    return nodes, np.concatenate([threshold, before[twice]])
