"""The results of a benchmark as data."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median
from typing import ClassVar

from ir.records import cached_property
from nncompile.bench.laps import Lap
from nncompile.bench.samples import Quantile, quantiles
from nncompile.inspect.profile import Profile

OURS = "nncompile"


@dataclass(frozen=True)
class Result:
    """One contender's result in one row.

    seconds: of a call, one number a round; empty where `note` says why. cpus: CPU time over time.
    samples: the seconds of single calls in each round, where single ones were timed.
    rate: calls a second that were served, where calls arrived by chance; passed: and in time.
    peak_bytes: the most memory of a process that this contender alone runs in; 0 where unknown.
    """

    seconds: tuple[float, ...] = ()
    cpus: float = 0.0
    note: str = ""
    samples: tuple[tuple[float, ...], ...] = ()
    rate: float = 0.0
    passed: bool | None = None
    peak_bytes: float = 0.0

    @classmethod
    def of(cls, laps: Sequence[Lap]) -> Result:
        """Returns the result of laps, one a round."""
        seconds = tuple(lap.seconds for lap in laps)
        return cls(seconds, sum(lap.cpu for lap in laps) / (sum(seconds) or 1.0),
                   samples=tuple(lap.samples for lap in laps if lap.samples))

    @property
    def median(self) -> float:
        """The median of seconds."""
        return median(self.seconds)

    @property
    def least(self) -> float:
        """The least time of a single call, or of a round without any."""
        return min((min(round_) for round_ in self.samples), default=min(self.seconds))

    @cached_property
    def quantiles(self) -> dict[str, Quantile]:
        """The quantiles of single calls that there are enough samples for."""
        return quantiles(self.samples)

    @property
    def a_call(self) -> float:
        """The seconds that a call keeps the contender busy: what ratios and rates are made of."""
        return 1 / self.rate if self.rate else self.median


@dataclass(frozen=True)
class Row:
    """All contenders at one batch size and thread count.

    flops: of the matrix products, a multiply-add counted as two. busy: CPUs that other processes
    used during the measurement. bytes: what a call reads and writes at least. copies: on a device,
    whether arrays are copied to it and back; None elsewhere. facts, layers, profile: see facts.py.
    """

    batch: int
    threads: int
    flops: int
    busy: float
    results: Mapping[str, Result]
    bytes: int = 0
    copies: bool | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[tuple[str, float], ...] = ()
    profile: Profile | None = None

    @property
    def title(self) -> str:
        """What the row is about."""
        where = {None: f"{self.threads} thread{'s' * (self.threads > 1)}",
                 False: "arrays on the device", True: "copied to the device and back"}
        return f"batch {self.batch}, {where[self.copies]}"


@dataclass(frozen=True)
class Report:
    """A whole benchmark.

    compile_seconds: the time of compile(), with whatever the disk cache held. scenario, load: the
    name of the scenario, and its numbers.
    """

    title: str
    machine: str
    compile_seconds: float
    peers: tuple[str, ...]
    rounds: int
    scenario: str = "means"
    load: Mapping[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    # `table` is written in terms of reports, so the package hands its function over.
    printer: ClassVar[Callable[[Report], str]]

    def __str__(self) -> str:
        return Report.printer(self)

    def __repr__(self) -> str:
        return f"<Report {self.title}: {len(self.rows)} rows of {', '.join((OURS, *self.peers))}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the text, in which nothing is markup."""
        return f"<pre>{escape(str(self))}</pre>"

    @property
    def correct(self) -> bool:
        """Whether the compiled model's outputs were right in every row."""
        return all(row.results[OURS].seconds for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether the compiled model kept what the scenario demands, if it demands anything."""
        return all(row.results[OURS].passed is not False for row in self.rows)


def ratio(peer: Result, ours: Result) -> tuple[float, float, float]:
    """Returns how many times as long as ours the peer takes: (median, low, high) over the rounds.

    low and high are the second least and second largest; of fewer than four rounds, the least and
    the largest.
    """
    return ratios(peer.seconds, ours.seconds)


def ratios(peer: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Returns the same of the seconds of each round."""
    each = sorted(a / b for a, b in zip(peer, ours, strict=True))
    edge = 1 if len(each) > 3 else 0
    return median(each), each[edge], each[-1 - edge]
