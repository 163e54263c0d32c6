"""The results of a benchmark as one page of HTML, with distributions and layers as pictures."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log
from typing import Any

from nncompile.bench.report import OURS, ratios
from nncompile.bench.table import bytes_text, count_text, ratio_text, ratios_text, seconds_text
from nncompile.bench.verdict import name_of
from nncompile.inspect.layers import first_path, span_of, without_numbers

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #ccc; --ours: #1668b8;
  --peer: #8a8a8a }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #161616; --line: #444;
  --ours: #6db3f2; --peer: #9a9a9a } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 72rem; margin: 0 auto; padding: 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
td, th { padding: .15rem .6rem; white-space: nowrap; text-align: right;
  border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left }
svg { max-width: 100%; height: auto }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif }
.ours { fill: var(--ours) } .peer { fill: var(--peer) } tr.ours td { font-weight: 600 }
"""
_WIDTH, _LEFT, _RIGHT = 640, 200, 100
_QUANTILES = ("p50", "p90", "p99", "p99.9")


def as_html(report: Mapping[str, Any]) -> str:
    """Returns the page; it needs no other file and no script."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    body = "".join(_section(row) for row in report["rows"])
    title = escape(report["title"])
    return (f"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
            f"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            f"<title>{title}: nncompile bench</title><style>{_STYLE}</style></head>\n<body>\n"
            f"<h1>{title}</h1>\n<p>{escape(report['machine'])}<br>{escape(versions)}<br>"
            f"{escape(report['scenario'])}, {report['rounds']} rounds, compiled in "
            f"{report['compile_seconds']:.2f} s</p>\n{body}</body></html>\n")


def _section(row: Mapping[str, Any]) -> str:
    facts = [f"{label} {text(row['facts'][name])}" for name, label, text in (
        ("overhead_seconds", "a call without rows:", seconds_text),
        ("allocated_bytes", "allocated a call:", bytes_text)) if name in row["facts"]]
    return (f"<h2>{escape(name_of(row))}</h2>\n{_table(row)}"
            + (f"<p>{escape('; '.join(facts))}</p>\n" if facts else "")
            + _distributions(row) + _layers(row))


def _table(row: Mapping[str, Any]) -> str:
    heads = ["", "min", *_QUANTILES, "items/s", "of ours", "GFLOP/s", "GB/s", "CPU/1000", "memory"]
    ours = row["results"][OURS]
    lines = ["".join(f"<th>{head}</th>" for head in heads)]
    peers = {name: r["calls_per_second"] for name, r in row["results"].items()
             if r["seconds"] and name != OURS}
    best = max(peers, key=lambda name: peers[name], default="")
    for name, result in row["results"].items():
        if not result["seconds"]:
            cells = f'<td colspan="{len(heads) - 1}">{escape(result["note"])}</td>'
        else:
            tails = [result["quantiles"].get(q) for q in _QUANTILES]
            cells = "".join(f"<td>{cell}</td>" for cell in (
                seconds_text(result["min"]),
                *(seconds_text(tail["value"]) if tail else "-" for tail in tails),
                count_text(result["items_per_second"]),
                _beside(result, ours),
                f"{result['flops_per_second'] / 1e9:.3g}",
                f"{result['bytes_per_second'] / 1e9:.3g}",
                seconds_text(result["cpu_seconds_per_1000_items"]),
                bytes_text(result["peak_bytes"]) if result["peak_bytes"] else ""))
        lines.append(f"<td>{'*' * (name == best)}{escape(name)}</td>{cells}")
    rows = "".join(f"<tr{_class(line)}>{line}</tr>\n" for line in lines)
    return f'<div class="wide"><table>\n{rows}</table></div>\n'


def _beside(result: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """How many times as long as ours a peer takes, with the spread over the rounds."""
    if result is ours or not ours["seconds"]:
        return ""
    if result["rate"]:                           # of one measurement: it has no spread
        return ratio_text(ours["calls_per_second"] / result["calls_per_second"])
    return ratios_text(*ratios(result["seconds"], ours["seconds"]))


def _class(line: str) -> str:
    return ' class="ours"' if line.startswith(f"<td>{OURS}</td>") else ""


def _distributions(row: Mapping[str, Any]) -> str:
    """Draws a histogram for each contender, all with the same logarithmic axis."""
    found = {name: result["histogram"] for name, result in row["results"].items()
             if "histogram" in result}
    if not found:
        return ""
    low = min(h["edges"][0] for h in found.values())
    high = max(h["edges"][-1] for h in found.values())
    each, span = 56, _WIDTH - _LEFT - 20

    def x(seconds: float) -> float:
        return _LEFT + span * log(seconds / low) / (log(high / low) or 1.0)

    parts = []
    for number, (name, h) in enumerate(found.items()):
        base, most = (number + 1) * each, max(h["counts"])
        kind = "ours" if name == OURS else "peer"
        parts.append(f'<text x="0" y="{base - 8}">{escape(name)}</text>')
        for a, b, count in zip(h["edges"], h["edges"][1:], h["counts"], strict=False):
            if count:
                height = max(1.0, (each - 12) * count / most)
                parts.append(f'<rect class="{kind}" x="{x(a):.1f}" y="{base - height:.1f}" '
                             f'width="{max(x(b) - x(a), 0.5):.1f}" height="{height:.1f}">'
                             f"<title>{count} calls, {seconds_text(a)} to {seconds_text(b)}"
                             "</title></rect>")
    foot = len(found) * each + 18
    parts.append(f'<text x="{_LEFT}" y="{foot}">{seconds_text(low)}</text>'
                 f'<text x="{_WIDTH}" y="{foot}" text-anchor="end">{seconds_text(high)}</text>')
    return _figure("Calls by their time (logarithmic; the last bar has all above p99)",
                   foot + 6, parts)


def _layers(row: Mapping[str, Any]) -> str:
    """Draws a bar for each layer, in the order in which they run; one for all that are alike."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for layer in row["layers"]:
        path, kind = first_path(layer["layer"]), _kind(layer["layer"])
        groups.setdefault((without_numbers(path), kind), []).append(layer)
    total = sum(layer["seconds"] for layer in row["layers"])
    layers = [(_name(own), sum(layer["seconds"] for layer in own)) for own in groups.values()]
    most = max((seconds for _, seconds in layers), default=0.0)
    if not most:
        return ""
    each, parts = 20, []
    for number, (name, seconds) in enumerate(layers):
        y, width = number * each, (_WIDTH - _LEFT - _RIGHT) * seconds / most
        short = name if len(name) <= 30 else name[:29] + "…"
        parts.append(f'<text x="0" y="{y + 14}">{escape(short)}<title>{escape(name)}</title></text>'
                     f'<rect class="ours" x="{_LEFT}" y="{y + 3}" width="{width:.1f}" '
                     f'height="{each - 6}"/><text x="{_LEFT + width + 6:.1f}" y="{y + 14}">'
                     f"{seconds_text(seconds)}, {100 * seconds / total:.0f} %"
                     "</text>")
    return _figure("Time of each layer on one thread", len(layers) * each + 4, parts)


def _name(layers: Sequence[Mapping[str, Any]]) -> str:
    """What layers are called that differ in numbers alone: `layer.0-11.up Linear`."""
    names = [str(layer["layer"]) for layer in layers]
    if len(names) == 1:
        return names[0]
    return f"{span_of([*map(first_path, names)])} {_kind(names[0])}".strip() or "the model"


def _kind(layer: str) -> str:
    """The class of a layer."""
    return layer.partition(", ")[0].partition(" ")[2]


def _figure(title: str, height: int, parts: list[str]) -> str:
    return (f'<h3>{escape(title)}</h3>\n<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" aria-label="{escape(title)}">\n'
            + "\n".join(parts) + "\n</svg>\n")
