"""Whether figures are good enough: limits, and a comparison with figures of an earlier time.

Both read the data of record.py, so that what is in a file is judged as what was just measured.
"""
from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from nncompile.bench.report import OURS
from nncompile.bench.table import seconds_text
from nncompile.errors import InputError

_UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "k": 1e3, "M": 1e6, "G": 1e9,
          "B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "%": 0.01}
_SAME = 0.01             # two processes differ by as much, whatever the rounds of each agree on
_RELATIONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_LIMIT = re.compile(r"\s*([\w./]+)\s*(<=|>=|<|>)\s*([\d.]+(?:e-?\d+)?)\s*([A-Za-z%]*)\s*")


def _quantile(name: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]:
    def value(row: Mapping[str, Any], result: Mapping[str, Any]) -> float | None:
        found = result["quantiles"].get(name)
        return found["value"] if found else None

    return value


_METRICS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]] = {
    "min": lambda row, result: result["min"], "median": lambda row, result: result["median"],
    **{name: _quantile(name) for name in ("p50", "p90", "p99", "p99.9")},
    "items/s": lambda row, result: result["items_per_second"],
    "calls/s": lambda row, result: result["calls_per_second"],
    "flop/s": lambda row, result: result["flops_per_second"],
    "bytes/s": lambda row, result: result["bytes_per_second"],
    "cpu": lambda row, result: result["cpu_seconds_per_1000_items"],
    "memory": lambda row, result: result.get("peak_bytes"),
    "allocated": lambda row, result: row["facts"].get("allocated_bytes"),
    "overhead": lambda row, result: row["facts"].get("overhead_seconds"),
}


@dataclass(frozen=True)
class Limit:
    """A limit such as p50<50us, which our own result of every row has to keep."""

    text: str
    metric: str
    relation: str
    number: float

    @staticmethod
    def of(text: str) -> Limit:
        """Returns the limit of a text. Raises InputError for a text that is none."""
        found = _LIMIT.fullmatch(text)
        if found is None or found[1] not in _METRICS or found[4] not in _UNITS:
            raise InputError(f"{text!r} is no limit such as p50<50us or items/s>=10k; the figures "
                             f"are {', '.join(_METRICS)}, and the units "
                             f"{', '.join(filter(None, _UNITS))}")
        try:
            number = float(found[3]) * _UNITS[found[4]]
        except ValueError:
            raise InputError(f"{text!r}: {found[3]} is no number") from None
        return Limit(text, found[1], found[2], number)

    def broken(self, report: Mapping[str, Any]) -> Iterator[str]:
        """Yields a line for each row that does not keep the limit, or that cannot tell."""
        for row in report["rows"]:
            result = row["results"][OURS]
            value = _METRICS[self.metric](row, result) if result["seconds"] else None
            if value is None:
                more = "; more calls tell more: --seconds" if self.metric.startswith("p") else ""
                yield f"{self.text}: {name_of(row)}: {self.metric} is not known{more}"
            elif not _RELATIONS[self.relation](value, self.number):
                yield f"{self.text}: {name_of(row)}: {self.metric} is {value:.4g}"


def name_of(row: Mapping[str, Any]) -> str:
    """Returns what a row is about."""
    copies = {None: "", False: ", on the device", True: ", with copies"}[row["copies"]]
    plural = "s" * (row["threads"] > 1)
    return f"batch {row['batch']}, {row['threads']} thread{plural}{copies}"


@dataclass(frozen=True)
class Change:
    """How our own time of a row has changed. low, high: of the ratio, over the rounds."""

    row: str
    now: float
    before: float
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        verdict = ("indistinguishable" if self.low <= 1 <= self.high or abs(self.ratio - 1) < _SAME
                   else "slower" if self.ratio > 1 else "faster")
        return (f"{self.row}: {seconds_text(self.now)}, was {seconds_text(self.before)}: "
                f"{self.ratio:.2f} ({self.low:.2f}-{self.high:.2f}), {verdict}")

    def slower_than(self, share: float) -> bool:
        """Returns whether the time grew by more than this share, and by more than the noise."""
        return self.ratio > 1 + share and self.low > 1


def changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Change]:
    """Returns the change of every row that both reports have.

    Raises InputError where they have none in common, or another scenario.
    """
    if now["scenario"] != before["scenario"]:
        raise InputError(f"the scenario is {now['scenario']}, and {before['scenario']} in the "
                         "report to compare with")
    old = {name_of(row): row["results"][OURS] for row in before["rows"]}
    found = [_change(name_of(row), row["results"][OURS], old[name_of(row)])
             for row in now["rows"] if name_of(row) in old
             and row["results"][OURS]["seconds"] and old[name_of(row)]["seconds"]]
    if not found:
        raise InputError("the two reports have no row in common: theirs are "
                         + "; ".join(old or ["none"]))
    return found


def _change(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> Change:
    if now["rate"] or before["rate"]:            # of one measurement each
        a, b = 1 / now["calls_per_second"], 1 / before["calls_per_second"]
        return Change(name, a, b, a / b, a / b, a / b)
    a, b = median(now["seconds"]), median(before["seconds"])
    (a_low, a_high), (b_low, b_high) = _spread(now["seconds"]), _spread(before["seconds"])
    return Change(name, a, b, a / b, a_low / b_high, a_high / b_low)


def _spread(seconds: list[float]) -> tuple[float, float]:
    """Returns the second least and second largest; of fewer than four, the least and largest."""
    ordered = sorted(seconds)
    edge = 1 if len(ordered) > 3 else 0
    return ordered[edge], ordered[-1 - edge]
