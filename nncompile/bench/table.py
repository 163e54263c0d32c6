"""The results of a benchmark as text of at most 80 columns: a block for each row of the report."""
from __future__ import annotations

from collections.abc import Callable
from textwrap import fill
from typing import NamedTuple

from nncompile.bench.report import OURS, Report, Result, Row, ratio
from nncompile.bench.samples import Quantile

WIDTH = 80
_NAME = 14                       # of the first column, with the mark


class _Column(NamedTuple):
    head: str
    width: int
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
    middle, low, high = ratio(result, ours)
    same = "=" if low <= 1 <= high else ""
    return f"{same}{ratio_text(middle)} ({ratio_text(low)}-{ratio_text(high)})"


def ratio_text(value: float) -> str:
    """Returns a ratio in three digits, or more above 1000."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


_RATIO = _Column("of ours", 18, _beside)
_TAILS = [_Column(name, 8, _quantile(name)) for name in ("p50", "p90", "p99", "p99.9")]
_COLUMNS = {
    "means": [_Column("least", 9, _least), _Column("median", 9, _median),
              _Column("items/s", 9, _items), _Column("CPU/1000", 9, _cpu), _RATIO],
    "latency": [_Column("min", 8, _least), *_TAILS, _Column("items/s", 8, _items), _RATIO],
    "throughput": [_Column("items/s", 8, _items), _Column("CPU/1000", 9, _cpu), *_TAILS[:3],
                   _RATIO],
    "server": [_Column("calls/s", 9, _calls), *_TAILS, _Column("in time", 9, _passed)],
    "find-peak": [_Column("calls/s", 9, _calls), *_TAILS, _Column("of ours", 9, _beside)],
}


# -- lines -----------------------------------------------------------------------------------------

def heading(report: Report) -> str:
    """Returns what stands above all blocks."""
    return "\n".join([report.title, *fill(report.machine, WIDTH).splitlines(),
                      f"compiled in {report.compile_seconds:.2f} s"])


def text(report: Report) -> str:
    """Returns the whole report."""
    return "\n".join([heading(report), *(block(report, row) for row in report.rows), "",
                      legend(report)])


def block(report: Report, row: Row) -> str:
    """Returns a row of the report: a line for each contender, and what is known of our own calls.
    """
    columns = _COLUMNS[report.scenario]
    title = row.title + f", others used {row.busy:.1f} CPUs" * (row.busy >= 0.05)
    best = _best_peer(row)
    lines = ["", title, " " * _NAME + "".join(c.head.rjust(c.width) for c in columns)]
    for name, result in row.results.items():
        mark = "*" if name == best else " "
        label = (mark + name)[:_NAME].ljust(_NAME)
        cells = ("".join(c.cell(report, row, result).rjust(c.width) for c in columns)
                 if result.seconds else "  " + result.note.partition(":")[0])
        lines.append((label + cells).rstrip())
    return "\n".join([*lines, *_details(report, row)])


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
        if work:
            rate = work / ours.a_call
            parts.append(f"{_three(rate / 1e9)} {unit}, {100 * rate / row.facts[limit]:.0f} % of "
                         f"this machine's {_three(row.facts[limit] / 1e9)}")
    if "overhead_seconds" in row.facts:
        parts.append(f"{seconds_text(row.facts['overhead_seconds'])} for a call without rows")
    parts.append(f"{bytes_text(row.facts['allocated_bytes'])} allocated a call")
    parts.append(f"{seconds_text(1000 * cpu_an_item(row, ours))} of CPU a thousand items")
    return fill("; ".join(parts), WIDTH, initial_indent="  ", subsequent_indent="  ").splitlines()


def _interval(quantile: Quantile) -> str:
    return f"{seconds_text(quantile.low, 4)} to {seconds_text(quantile.high, 4)}"


def legend(report: Report) -> str:
    """Returns why contenders have no time, each reason once, and how to read the table."""
    reasons = {f"{name}: {result.note}": None for row in report.rows
               for name, result in row.results.items() if result.note}
    words = fill(f"{_ABOUT[report.scenario].format(**report.load, rounds=report.rounds)} {_LEGEND}",
                 WIDTH)
    lines = [line for text in reasons for line in fill(text, WIDTH).splitlines()]
    return "\n".join([*lines, "", words]).strip()


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
_LEGEND = """\
*: the fastest peer. of ours: how many times as long as nncompile a peer takes, and the spread \
over the rounds; "=": indistinguishable, since the spread has 1 in it. -: too few calls to tell. \
others used: CPUs of other processes; above 0.1, measure again."""
