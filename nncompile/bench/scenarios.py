"""What is measured: one call after the other, concurrent callers, calls that arrive by chance.

A scenario gets the contenders whose outputs are right, and returns a result for each.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from statistics import fmean, median
from typing import Any

import numpy as np

from nncompile.bench.clock import Clock, Key, Timed
from nncompile.bench.contender import Contender, reason
from nncompile.bench.laps import Lap
from nncompile.bench.report import Result
from nncompile.bench.samples import quantiles

_MOST_SAMPLES = 5000     # of a contender and round
_LEAST_CALLS = 200       # of which p99 leaves two
_TRIALS = 7              # of find-peak: to less than a hundredth of the highest rate


class Guarded:
    """The contenders that are right; one that fails while it is timed has that as its result."""

    def __init__(self, contenders: Mapping[str, Contender], keys: Sequence[Key],
                 results: dict[str, Result]) -> None:
        self.contenders, self.keys, self.results = contenders, list(keys), results

    def call(self, key: Key, method: str, argument: Any) -> Lap:
        """Returns what the contender's method says of this way; endless times once it has failed.
        """
        name, way = key
        if name not in self.results:
            try:
                found: Lap = getattr(self.contenders[name], method)(way, argument)
                return found
            except Exception as error:
                self.results[name] = Result(note=reason(error))
        return Lap(inf, inf)

    def ways(self, method: str) -> dict[Key, Timed]:
        """Returns each way's clock."""
        return {key: partial(self.call, key, method) for key in self.keys}

    def failed(self, key: Key) -> bool:
        """Returns whether the contender of this way has failed."""
        return key[0] in self.results


@dataclass(frozen=True)
class Scenario:
    """A scenario and its numbers.

    callers: threads that call at the same time. seconds: of each measurement of a load.
    qps: calls that arrive a second. p99: seconds that 99 of 100 calls have to be done within.
    """

    name: str
    run: Callable[[Scenario, Guarded, Clock], dict[str, Result]]
    callers: int = 1
    seconds: float = 1.0
    qps: float = 0.0
    p99: float = 0.0

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by name."""
        return {"callers": self.callers, "seconds": self.seconds, "qps": self.qps,
                "p99_seconds": self.p99}


def _means(scenario: Scenario, entrants: Guarded, clock: Clock) -> dict[str, Result]:
    """Times many calls in a row, and no single one."""
    laps = clock.interleaved(entrants.ways("time"))
    return {name: Result.of(taken) for (name, _), taken in laps.items()}


def _latency(scenario: Scenario, entrants: Guarded, clock: Clock) -> dict[str, Result]:
    """Times calls one by one; a round's time is their median, which no interruption moves."""
    def median_of(key: Key, count: int) -> Lap:
        lap = entrants.call(key, "sample", min(count, _MOST_SAMPLES))
        return Lap(median(lap.samples), lap.cpu, lap.samples) if lap.samples else lap

    laps = clock.interleaved({key: partial(median_of, key) for key in entrants.keys})
    return {name: Result.of(taken) for (name, _), taken in laps.items()}


def _throughput(scenario: Scenario, entrants: Guarded, clock: Clock) -> dict[str, Result]:
    """Has all callers call as fast as they can, in at most three rounds."""
    chosen = _fastest(entrants, clock)
    laps = clock.turns({key: partial(_offer, scenario, entrants, key) for key in chosen},
                       dict.fromkeys(chosen, 1), min(3, clock.rounds))
    return {name: Result.of(taken) for (name, _), taken in laps.items()}


def _offer(scenario: Scenario, entrants: Guarded, key: Key, count: int) -> Lap:
    return entrants.call(key, "offer", scenario.seconds)


def _server(scenario: Scenario, entrants: Guarded, clock: Clock) -> dict[str, Result]:
    """Lets calls arrive by chance at a rate, and says whether 99 of 100 are done in time."""
    found = {}
    for key in _fastest(entrants, clock):
        lap = _arriving(scenario, entrants, clock, key, scenario.qps)
        if not entrants.failed(key):
            found[key[0]] = _served(lap, scenario)
    return found


def _find_peak(scenario: Scenario, entrants: Guarded, clock: Clock) -> dict[str, Result]:
    """Halves the interval of rates until the highest is found at which `_server` passes."""
    found = {}
    for key in _fastest(entrants, clock):
        once = entrants.call(key, "time", 10).seconds
        low, high = 0.0, scenario.callers / once if once < inf else 0.0
        best: Result | None = None
        for trial in range(_TRIALS if high else 0):
            rate = high if trial == 0 else (low + high) / 2
            result = _served(_arriving(scenario, entrants, clock, key, rate), scenario)
            if result.passed:
                low, best = rate, result
            else:
                high = rate
            if low == high:                      # the first trial passed: no faster than it can
                break
        if not entrants.failed(key):
            found[key[0]] = best or Result(note="failed: no rate has 99 of 100 calls in time")
    return found


def _served(lap: Lap, scenario: Scenario) -> Result:
    p99 = quantiles([lap.samples]).get("p99")
    rate = 1 / lap.seconds if 0 < lap.seconds < inf else 0.0
    mean = fmean(lap.samples) if lap.samples else inf
    return Result((mean,), lap.cpu / mean, samples=(lap.samples,), rate=rate,
                  passed=p99 is not None and p99.value <= scenario.p99)


def _arriving(scenario: Scenario, entrants: Guarded, clock: Clock, key: Key, rate: float) -> Lap:
    """Returns the lap of Poisson arrivals, the same for every contender."""
    clock.step(f"{rate:.0f} calls a second, {key[0]}")
    seconds = max(scenario.seconds, _LEAST_CALLS / rate)
    random = np.random.default_rng(0)
    gaps = random.exponential(1 / rate, int(rate * seconds))
    return entrants.call(key, "serve", [float(t) for t in np.cumsum(gaps)])


def _fastest(entrants: Guarded, clock: Clock) -> list[Key]:
    ways = entrants.ways("time")
    counts, _ = clock.counts(ways)
    return [key for key in clock.fastest(ways, counts) if not entrants.failed(key)]


MEANS = Scenario("means", _means)
SCENARIOS = {name: Scenario(name, run) for name, run in (
    ("latency", _latency), ("throughput", _throughput), ("server", _server),
    ("find-peak", _find_peak))}
