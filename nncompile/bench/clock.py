"""The clock of a benchmark: rounds of alternating order, so that nobody has the better moment."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeAlias

from nncompile.bench.laps import Lap

Key: TypeAlias = tuple[str, int]              # a contender, and which of its ways
Timed: TypeAlias = Callable[[int], Lap]       # a number of calls -> what one took
Step: TypeAlias = Callable[[str], None]       # is told what comes next


def no_step(what: str) -> None:
    """Tells nobody."""


class Clock:
    """Times callables against each other.

    rounds: how often each is timed. seconds: about how long in a round. park: seconds of rest
    before. step: is told whose turn is next. Where a contender can be called in several ways, the
    one that is fastest in two rounds of trial takes part. Calls of 0.2 s and more are timed once a
    round, in at most five rounds.
    """

    def __init__(self, rounds: int, seconds: float, park: float, step: Step = no_step) -> None:
        self.rounds, self.seconds, self.park, self.step = rounds, seconds, park, step

    def interleaved(self, ways: Mapping[Key, Timed]) -> dict[Key, list[Lap]]:
        """Returns the time of a call for each round."""
        counts, slow = self.counts(ways)
        chosen = {key: ways[key] for key in self.fastest(ways, counts)}
        return self.turns(chosen, counts, min(5, self.rounds) if slow else self.rounds)

    def counts(self, ways: Mapping[Key, Timed]) -> tuple[dict[Key, int], bool]:
        """Returns how many calls of each fill a round, and whether any call is slow."""
        once = {key: timed(1).seconds for key, timed in ways.items()}
        return ({key: max(1, int(self.seconds / max(seconds, 1e-7)))
                 for key, seconds in once.items()}, max(once.values(), default=0.0) > 0.2)

    def fastest(self, ways: Mapping[Key, Timed], counts: Mapping[Key, int]) -> list[Key]:
        """Returns the fastest way of each contender, by a trial of those that have several."""
        several = [key for key in ways if (key[0], 1) in ways]
        trial = self.turns({key: ways[key] for key in several}, counts, min(2, self.rounds))
        best = {key: min(lap.seconds for lap in laps) for key, laps in trial.items()}
        return [key for key in ways if key not in best
                or best[key] == min(s for (name, _), s in best.items() if name == key[0])]

    def turns(self, ways: Mapping[Key, Timed], counts: Mapping[Key, int],
              rounds: int) -> dict[Key, list[Lap]]:
        """Returns the time of a call for each round; each round starts with another way."""
        laps: dict[Key, list[Lap]] = {key: [] for key in ways}
        keys = list(ways)
        for turn in range(rounds if keys else 0):
            first = turn % len(keys)
            for key in keys[first:] + keys[:first]:
                self.step(f"round {turn + 1} of {rounds}, {key[0]}")
                time.sleep(self.park)
                laps[key].append(ways[key](counts[key]))
        return laps
