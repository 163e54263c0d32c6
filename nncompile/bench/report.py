"""The results of a benchmark, as data and as text."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, ClassVar

OURS = "nncompile"


@dataclass(frozen=True)
class Result:
    """One contender's result in one row.

    seconds: of a call, one number a round; empty where `note` says why. cpus: CPU time over time.
    """

    seconds: tuple[float, ...] = ()
    cpus: float = 0.0
    note: str = ""

    @classmethod
    def of(cls, laps: Sequence[tuple[float, float]]) -> Result:
        """Returns the result of laps: seconds and CPU seconds of a call, one pair a round."""
        seconds = tuple(lap[0] for lap in laps)
        return cls(seconds, sum(lap[1] for lap in laps) / (sum(seconds) or 1.0))

    @property
    def median(self) -> float:
        """The median of seconds."""
        return median(self.seconds)


@dataclass(frozen=True)
class Row:
    """All contenders at one batch size and thread count.

    flops: of the matrix products, a multiply-add counted as two. busy: CPUs that other processes
    used during the measurement.
    """

    batch: int
    threads: int
    flops: int
    busy: float
    results: Mapping[str, Result]

    @property
    def key(self) -> tuple[str, str]:
        """What the row is about: the cells of its first two columns."""
        return str(self.batch), str(self.threads)


@dataclass(frozen=True)
class Report:
    """A whole benchmark.

    compile_seconds: the time of compile(), with whatever the disk cache held.
    """

    keys: ClassVar[tuple[str, str]] = ("batch", "threads")       # the first two columns

    title: str
    machine: str
    compile_seconds: float
    peers: tuple[str, ...]
    rounds: int
    rows: list[Row] = field(default_factory=list)

    @property
    def correct(self) -> bool:
        """Whether the compiled model's outputs were right in every row."""
        return all(row.results[OURS].seconds for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as dicts and lists."""
        return asdict(self)

    def header(self) -> str:
        """Returns the lines above the table, and its head."""
        return "\n".join([
            self.title, self.machine, f"compiled in {self.compile_seconds:.2f} s", "",
            line([*self.keys, OURS, "GFLOP/s", *self.peers, "busy"])])

    def row(self, row: Row) -> str:
        """Returns a row's line of the table."""
        ours = row.results[OURS]
        rate = f"{row.flops / ours.median / 1e9:.1f}" if ours.seconds and row.flops else "-"
        peers = [_beside(row.results[name], ours) for name in self.peers]
        return line([*row.key, micros(ours), rate, *peers, f"{row.busy:.1f}"])

    def notes(self) -> str:
        """Returns why contenders have no time, each reason once, and how to read the table."""
        reasons = {f"{name}: {result.note}": None for row in self.rows
                   for name, result in row.results.items() if result.note}
        return "\n".join([*reasons, "", _LEGEND.format(rounds=self.rounds)]).strip()


_LEGEND = """\
Microseconds a call, the median of {rounds} rounds. Beside a peer's: how many times as long as ours
it takes, and the spread over the rounds; "=" where the spread includes 1: indistinguishable.
GFLOP/s: matrix products only. busy: CPUs that other processes used; above 0.1, measure again."""


def ratio(peer: Result, ours: Result) -> tuple[float, float, float]:
    """Returns how many times as long as ours the peer takes: (median, low, high) over the rounds.

    low and high are the second least and second largest; of fewer than four rounds, the least and
    the largest.
    """
    each = sorted(a / b for a, b in zip(peer.seconds, ours.seconds, strict=True))
    edge = 1 if len(each) > 3 else 0
    return median(each), each[edge], each[-1 - edge]


def _beside(peer: Result, ours: Result) -> str:
    if not (peer.seconds and ours.seconds):
        return micros(peer)
    middle, low, high = ratio(peer, ours)
    same = "=" if low <= 1 <= high else ""
    return f"{micros(peer)}  {same}{middle:.2f} ({low:.2f}-{high:.2f})"


def micros(result: Result) -> str:
    """Returns microseconds in four digits, or the first word of the note."""
    if not result.seconds:
        return result.note.partition(":")[0]
    value = result.median * 1e6
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def line(cells: Sequence[str]) -> str:
    """Returns cells as a line of the table."""
    widths = [5, 7, 9, 8, *[26] * (len(cells) - 5), 5]
    return "  ".join(c.rjust(width) for c, width in zip(cells, widths, strict=True)).rstrip()
