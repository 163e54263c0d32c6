"""The results of a benchmark as JSON and CSV. docs/benchmarking.md describes what is in them."""
from __future__ import annotations

import csv
import io
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from nncompile.bench.laps import clock_seconds
from nncompile.bench.report import Report, Result, Row
from nncompile.bench.samples import histogram
from nncompile.errors import InputError
from nncompile.version import nncompile as own_version

SCHEMA = 1
_COLUMNS = ("batch", "threads", "copies", "contender", "note", "min", "median", "p50", "p50 low",
            "p50 high", "p90", "p99", "p99.9", "items_per_second", "flops_per_second",
            "bytes_per_second", "cpu_seconds_per_1000_items", "peak_bytes", "passed")


def as_dict(report: Report) -> dict[str, Any]:
    """Returns the report as dicts, lists, numbers and texts; all times are in seconds."""
    return {"schema": SCHEMA, "title": report.title, "machine": report.machine,
            "versions": _versions(report), "scenario": report.scenario, "load": dict(report.load),
            "rounds": report.rounds, "compile_seconds": report.compile_seconds,
            "clock_seconds": clock_seconds(), "rows": [_row(row) for row in report.rows]}


def _versions(report: Report) -> dict[str, str]:
    packages = {name.partition(".")[0] for name in report.peers} | {"numpy"}
    found = {"python": sys.version.split()[0], "nncompile": own_version}
    for name in sorted(packages):
        try:
            found[name] = metadata.version({"sklearn": "scikit-learn"}.get(name, name))
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _row(row: Row) -> dict[str, Any]:
    return {"batch": row.batch, "threads": row.threads, "copies": row.copies, "flops": row.flops,
            "bytes": row.bytes, "busy": row.busy, "facts": dict(row.facts),
            "layers": [{"layer": name, "seconds": seconds} for name, seconds in row.layers],
            "results": {name: _result(row, result) for name, result in row.results.items()}}


def _result(row: Row, result: Result) -> dict[str, Any]:
    if not result.seconds:
        return {"note": result.note, "seconds": []}
    found: dict[str, Any] = {
        "note": result.note, "seconds": list(result.seconds), "min": result.least,
        "median": result.median,
        "quantiles": {name: q._asdict() for name, q in result.quantiles.items()},
        "samples": sum(map(len, result.samples)), "rate": result.rate, "passed": result.passed,
        "calls_per_second": 1 / result.a_call, "items_per_second": row.batch / result.a_call,
        "flops_per_second": row.flops / result.a_call,
        "bytes_per_second": row.bytes / result.a_call,
        "cpu_seconds_per_1000_items": 1000 * result.cpus * result.median / row.batch,
        "peak_bytes": result.peak_bytes or None}
    if result.samples:
        edges, counts = histogram(result.samples)
        found["histogram"] = {"edges": edges, "counts": counts}
    return found


def as_json(found: dict[str, Any]) -> str:
    """Returns the text of a file of a report."""
    return json.dumps(found, indent=1) + "\n"


def as_csv(found: dict[str, Any]) -> str:
    """Returns a table with a line for each contender in each row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in found["rows"]:
        for name, result in row["results"].items():
            quantiles = result.get("quantiles", {})
            values = {q: of["value"] for q, of in quantiles.items()}
            if "p50" in quantiles:
                values |= {f"p50 {edge}": quantiles["p50"][edge] for edge in ("low", "high")}
            writer.writerow({**row, **result, **values, "contender": name})
    return text.getvalue()


def as_trace(report: Report) -> str:
    """Returns the steps of one call of each row as JSON text that Perfetto and Chrome show.

    A row is a process there, with the name of the row.
    """
    events = []
    for number, row in enumerate(report.rows):
        if row.profile is None:
            continue
        name = {"name": "process_name", "ph": "M", "pid": number, "args": {"name": row.title}}
        found = json.loads(row.profile.to_chrome_trace())["traceEvents"]
        events += [name, *({**event, "pid": number} for event in found)]
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns",
                       "otherData": {"model": report.title}}) + "\n"


def load(path: Path) -> dict[str, Any]:
    """Returns the report in a file. Raises InputError for a file that has none of this schema."""
    try:
        found = json.loads(path.read_text())
    except (ValueError, UnicodeDecodeError):
        raise InputError(f"{path} is no JSON file, as nncompile bench --save x.json writes one"
                         ) from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or "rows" not in found:
        raise InputError(f"{path} is no report of nncompile bench with the schema {SCHEMA}; "
                         "measure again with --save")
    return found
