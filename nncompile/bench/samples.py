"""Quantiles of single calls' times, each with the interval that it is known to lie in."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ir import NDArray

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_BLOCKS, _RESAMPLES, _LEVEL = 10, 200, 0.95


class Quantile(NamedTuple):
    """A quantile, and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def quantiles(rounds: Sequence[Sequence[float]]) -> dict[str, Quantile]:
    """Returns the quantiles that so many samples tell, by name.

    There are at least as many samples as a quantile needs to have one above it: 100 for p99.
    The interval is that of a bootstrap in which whole rounds are drawn, since calls that follow
    each other are alike and tell less than as many independent ones would (Efron and Tibshirani,
    An Introduction to the Bootstrap, section 8.6); few rounds are cut into blocks first.
    """
    blocks = _blocks([np.asarray(r, np.float64) for r in rounds if len(r)])
    count = sum(map(len, blocks))
    known = {name: q for name, q in QUANTILES.items() if count * (1 - q) > 1 - 1e-9}
    if not known:
        return {}
    random = np.random.default_rng(0)
    drawn = [np.concatenate([blocks[i] for i in random.integers(0, len(blocks), len(blocks))])
             for _ in range(_RESAMPLES)]
    at = list(known.values())
    values = np.quantile(np.concatenate(blocks), at)
    edges = np.quantile([np.quantile(d, at) for d in drawn], [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2],
                        axis=0)
    return {name: Quantile(float(v), min(float(v), float(low)), max(float(v), float(high)))
            for name, v, low, high in zip(known, values, *edges, strict=True)}


def _blocks(rounds: Sequence[NDArray]) -> list[NDArray]:
    """Returns the rounds, cut into consecutive pieces where there are few of them."""
    if len(rounds) >= _BLOCKS // 2:
        return list(rounds)
    pieces = -(-_BLOCKS // max(len(rounds), 1))
    return [part for r in rounds for part in np.array_split(r, min(pieces, len(r)))]


def histogram(rounds: Sequence[Sequence[float]], bins: int = 40) -> tuple[list[float], list[int]]:
    """Returns edges that are evenly spaced on a logarithmic scale, and the counts between them.

    The last of the bins has all calls above p99, so that a few slow calls do not flatten the rest.
    """
    samples = np.concatenate([np.asarray(r, np.float64) for r in rounds])
    low, high = max(samples.min(), 1e-9), max(np.quantile(samples, 0.99), 1e-9)
    edges = np.geomspace(low, max(high, low * 1.01), bins + 1)
    counts, _ = np.histogram(np.clip(samples, edges[0], edges[-1]), edges)
    return [float(e) for e in edges], [int(c) for c in counts]
