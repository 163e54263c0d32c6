"""What notebooks show of a graph, a model or a profile: tables that need nothing from elsewhere.

All text is escaped, so that the name of a layer is never markup.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from nncompile.inspect.lines import Line

_PLAIN = "border:0;padding:0 .6em 0 0;text-align:left;vertical-align:top;white-space:pre-wrap"
_NUMBER = "border:0;padding:0 .6em 0 0;text-align:right;vertical-align:top;white-space:nowrap"
# colours that can be read on a light page and on a dark one
_STYLES = {"": "", "bold": "font-weight:bold", "dim": "opacity:.7", "red": "color:#d33",
           "green": "color:#2a8c3c", "yellow": "color:#b07d00", "blue": "color:#3b78c9",
           "magenta": "color:#a64ca6", "cyan": "color:#16889b",
           "heading": "font-weight:bold;color:#3b78c9"}


def section(title: str, *parts: str) -> str:
    """Returns parts of a page under a title, in the font of code."""
    return (f'<div style="font-family:monospace;font-size:.9em"><b>{escape(title)}</b>'
            f"{''.join(parts)}</div>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; its last column is text, those before are numbers."""
    def row(cells: Sequence[str], tag: str) -> str:
        styles = [_NUMBER] * (len(cells) - 1) + [_PLAIN]
        inside = "".join(f'<{tag} style="{style}">{escape(cell)}</{tag}>'
                         for cell, style in zip(cells, styles, strict=True))
        return f"<tr>{inside}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return (f'<table style="border-collapse:collapse;margin:.5em 0"><thead>{row(head, "th")}'
            f"</thead><tbody>{body}</tbody></table>")


def of_lines(lines: Sequence[Line]) -> str:
    """Returns the lines of a view as a table."""
    width = max((len(line.cells) for line in lines), default=1)
    rows = []
    for line in lines:
        alone = f' colspan="{width}"' if len(line.cells) == 1 else ""
        cells = "".join(
            f'<td{alone} style="{_PLAIN};{_STYLES[cell.style]}">{escape(cell.text)}</td>'
            for cell in line.cells)
        rows.append(f"<tr>{cells}</tr>")
    return f'<table style="border-collapse:collapse;margin:.5em 0">{"".join(rows)}</table>'
