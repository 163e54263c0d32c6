"""The results of a benchmark as tables that fit 80 columns: a block for each row of the report.

In a wider terminal they are no wider, in a narrower one the tails of the distribution are left out.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nncompile.bench.report import OURS, Report, Result, Row, ratio
from nncompile.bench.samples import Quantile
from nncompile.console import WIDTH, Fitted, text_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_BAD = "bold red"


class _Column(NamedTuple):
    head: str
    cell: Callable[[Report, Row, Result], str]


# -- numbers ---------------------------------------------------------------------------------------

def seconds_text(value: float, digits: int = 3) -> str:
    """Returns a time in so many digits and its unit: "12.3 us"."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{_digits(value / size, digits)} {unit}"
    return f"{_digits(value * 1e9, digits)} ns"


def count_text(value: float) -> str:
    """Returns a number in three digits and its prefix: "81.3k"."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_three(value / size)}{prefix}"
    return _three(value)


def bytes_text(value: float) -> str:
    """Returns a size: "1.5 KiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{_three(value / size)} {unit}"
    return f"{value:.0f} B"


def _three(value: float) -> str:
    return _digits(value, 3)


def _digits(value: float, digits: int) -> str:
    return f"{value:.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def micros(result: Result) -> str:
    """Returns microseconds in four digits, or the first word of the note."""
    if not result.seconds:
        return result.note.partition(":")[0]
    value = result.median * 1e6
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


# -- columns ---------------------------------------------------------------------------------------

def _quantile(name: str) -> Callable[[Report, Row, Result], str]:
    def cell(report: Report, row: Row, result: Result) -> str:
        found = result.quantiles.get(name)
        return seconds_text(found.value) if found else "-"

    return cell


def _least(report: Report, row: Row, result: Result) -> str:
    return seconds_text(result.least)


def _median(report: Report, row: Row, result: Result) -> str:
    return seconds_text(result.median)


def _items(report: Report, row: Row, result: Result) -> str:
    return count_text(row.batch / result.a_call)


def _calls(report: Report, row: Row, result: Result) -> str:
    return count_text(1 / result.a_call)


def _cpu(report: Report, row: Row, result: Result) -> str:
    return seconds_text(1000 * cpu_an_item(row, result))


def cpu_an_item(row: Row, result: Result) -> float:
    """Returns the CPU seconds of an item."""
    return result.cpus * result.median / row.batch


def _passed(report: Report, row: Row, result: Result) -> str:
    return "pass" if result.passed else "FAIL"


def _beside(report: Report, row: Row, result: Result) -> str:
    ours = row.results[OURS]
    if result is ours or not ours.seconds:
        return ""
    if result.rate:                              # of one measurement: it has no spread
        return ratio_text(result.a_call / ours.a_call)
    return ratios_text(*ratio(result, ours))


def ratios_text(middle: float, low: float, high: float) -> str:
    """Returns a ratio with its spread; "=" before it where the two are indistinguishable."""
    same = "=" if low <= 1 <= high else ""
    return f"{same}{ratio_text(middle)} ({ratio_text(low)}-{ratio_text(high)})"


def ratio_text(value: float) -> str:
    """Returns a ratio in three digits, or more above 1000."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


_RATIO = _Column("of ours", _beside)
_TAILS = [_Column(name, _quantile(name)) for name in ("p50", "p90", "p99", "p99.9")]
_COLUMNS = {
    "means": [_Column("least", _least), _Column("median", _median), _Column("items/s", _items),
              _Column("CPU/1000", _cpu), _RATIO],
    "latency": [_Column("min", _least), *_TAILS, _Column("items/s", _items), _RATIO],
    "throughput": [_Column("items/s", _items), _Column("CPU/1000", _cpu), *_TAILS[:3], _RATIO],
    "server": [_Column("calls/s", _calls), *_TAILS, _Column("in time", _passed)],
    "find-peak": [_Column("calls/s", _calls), *_TAILS, _Column("of ours", _beside)],
}
_DROPPED = ("p99.9", "p90", "min", "least", "CPU/1000", "items/s", "p99")    # the first one first


# -- parts -----------------------------------------------------------------------------------------

def heading(report: Report) -> RenderableType:
    """Returns what stands above all blocks."""
    return titled(report.title, report.machine, f"compiled in {report.compile_seconds:.2f} s")


def titled(title: str, *words: str) -> RenderableType:
    """Returns a title, and words in lines below it."""
    from rich.console import Group

    return Group(_words(title, "bold"), *map(_words, words))


def text(report: Report) -> str:
    """Returns the whole report."""
    return text_of(heading(report), *(block(report, row) for row in report.rows), "",
                   legend(report))


def block(report: Report, row: Row) -> RenderableType:
    """Returns a row of the report: a line for each contender, and what is known of our own calls.
    """
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    columns = _columns(report, row)
    dropped = [1 + i for name in _DROPPED for i, c in enumerate(columns) if c.head == name]
    title = Text(row.title, "bold blue")
    if row.busy >= 0.05:
        title.append(f", others used {row.busy:.1f} CPUs", "yellow" if row.busy < 0.1 else "red")
    details = _details(report, row)
    return Group("", title, Fitted(lambda kept: _table(report, row, kept), 1 + len(columns),
                                   dropped),
                 *([Padding(_words("; ".join(details), "", WIDTH - 2), (0, 0, 0, 2), expand=False)]
                   if details else []))


def _columns(report: Report, row: Row) -> list[_Column]:
    """The columns; a row of ours alone has nothing to compare with."""
    return [c for c in _COLUMNS[report.scenario] if len(row.results) > 1 or c.head != "of ours"]


def _table(report: Report, row: Row, kept: Sequence[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    columns = [_columns(report, row)[i - 1] for i in kept[1:]]
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True, min_width=13)
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    best = _best_peer(row)
    for name, result in row.results.items():
        ours = name == OURS
        label = Text(("*" if name == best else " ") + name,
                     "bold" if ours else "green" if name == best else "")
        if not result.seconds:
            table.add_row(label, Text(result.note.partition(":")[0], _BAD))
            continue
        table.add_row(label, *(_cell(c, report, row, result, ours) for c in columns))
    return table


def _cell(column: _Column, report: Report, row: Row, result: Result, ours: bool) -> Text:
    from rich.text import Text

    said = column.cell(report, row, result)
    return Text(said, _BAD if said == "FAIL" else "bold" if ours else "")


def _best_peer(row: Row) -> str:
    peers = {n: r.a_call for n, r in row.results.items() if n != OURS and r.seconds}
    return min(peers, key=lambda name: peers[name], default="")


def _details(report: Report, row: Row) -> list[str]:
    ours = row.results[OURS]
    if not ours.seconds or not row.facts:
        return []
    parts = []
    if p50 := ours.quantiles.get("p50"):
        parts.append(f"p50 within {_interval(p50)}")
    for work, unit, limit in ((row.flops, "GFLOP/s", "ceiling_flops"),
                              (row.bytes, "GB/s", "ceiling_bytes")):
        if work and not ours.rate:               # the rate of arrivals says nothing of the machine
            rate = work / ours.a_call
            parts.append(f"{_three(rate / 1e9)} {unit}, {100 * rate / row.facts[limit]:.0f} % of "
                         f"this machine's {_three(row.facts[limit] / 1e9)}")
    if "overhead_seconds" in row.facts:
        parts.append(f"{seconds_text(row.facts['overhead_seconds'])} for a call without rows")
    parts.append(f"{bytes_text(row.facts['allocated_bytes'])} allocated a call")
    parts.append(f"{seconds_text(1000 * cpu_an_item(row, ours))} of CPU a thousand items")
    if peaks := {name: r.peak_bytes for name, r in row.results.items() if r.peak_bytes}:
        parts.append("peak memory of a process: " + ", ".join(
            f"{name} {bytes_text(peak)}" for name, peak in peaks.items()))
    return parts


def _interval(quantile: Quantile) -> str:
    return f"{seconds_text(quantile.low, 4)} to {seconds_text(quantile.high, 4)}"


def legend(report: Report) -> RenderableType:
    """Returns why contenders have no time, each reason once, and how to read the table."""
    reasons = {f"{name}: {result.note}": None for row in report.rows
               for name, result in row.results.items() if result.note}
    about = _ABOUT[report.scenario].format(**report.load, rounds=report.rounds)
    compared = _COMPARED if any(len(row.results) > 1 for row in report.rows) else ""
    return notes(reasons, f"{about} {compared}{_LEGEND}")


def notes(reasons: Sequence[str] | dict[str, None], words: str) -> RenderableType:
    """Returns reasons, each on a line of its own, and what is said about a table."""
    from rich.console import Group

    return Group(*map(_words, reasons), *[""] * bool(reasons), _words(words, "dim"))


def _words(words: str, style: str = "", width: int = WIDTH) -> RenderableType:
    """Words in lines of this width at most, in a terminal that is wider too."""
    from rich.constrain import Constrain
    from rich.text import Text

    return Constrain(Text(words, style), width)


_ABOUT = {
    "means": "The median of {rounds} rounds, in each of which many calls are timed together.",
    "latency": "Single calls, one after the other, of {rounds} rounds; items/s and ratios are of "
               "each round's median.",
    "throughput": "{callers} callers at the same time, each as fast as it can for {seconds:g} s.",
    "server": "{qps:g} calls a second arrive by chance; a time is from arrival to completion. In "
              "time: 99 of 100 within {p99_seconds:g} s.",
    "find-peak": "The highest rate of calls that arrive by chance of which 99 of 100 are done "
                 "within {p99_seconds:g} s of their arrival.",
}
_COMPARED = """\
*: the fastest peer. of ours: how many times as long as nncompile a peer takes, and the spread \
over the rounds; "=": indistinguishable, since the spread has 1 in it. """
_LEGEND = ("-: too few calls to tell. others used: CPUs of other processes; above 0.1, measure "
           "again.")
