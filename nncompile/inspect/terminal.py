"""Tables for a terminal of some width, in colour; and as plain text where there is no terminal."""
from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from ir.records import dataclass

_STYLES = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33",
           "blue": "34", "magenta": "35", "cyan": "36", "heading": "1;34"}
_WIDEST = 120                                    # what a longer cell does not widen its column by
_NARROWEST = 28                                  # of the column that is wrapped, beside the others


class Cell(NamedTuple):
    """A text and its style, a key of the table of styles."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table: its cells, behind an indent. A line of one cell has no columns."""

    cells: tuple[Cell, ...]
    indent: int = 0


@dataclass(frozen=True)
class Terminal:
    """Where text goes: columns, None for as many as are needed; whether there is colour."""

    width: int | None = None
    colour: bool = False

    @staticmethod
    def of(stream: TextIO) -> Terminal:
        """Returns what a stream is: a terminal, or a file or pipe that takes plain text.

        NO_COLOR and TERM=dumb mean what they mean to other programs.
        """
        if not stream.isatty():
            return Terminal()
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        return Terminal(max(20, shutil.get_terminal_size().columns), not plain)

    def text(self, lines: Sequence[Line], wrapped: int = 2, dropped: Sequence[int] = ()) -> str:
        """Returns lines as text with their columns aligned, in each part up to an empty line.

        wrapped: the column that takes what is left of the width, and is wrapped to it.
        dropped: the columns that are left out, in this order, where the width is too small; the
                 texts of those behind the first one become headings.
        """
        parts: list[list[Line]] = [[]]
        for line in lines:
            parts[-1].append(line)
            if not any(cell.text for cell in line.cells):
                parts.append([])
        return "\n".join(self._part(part, wrapped, dropped) for part in parts if part)

    def _part(self, lines: Sequence[Line], wrapped: int, dropped: Sequence[int]) -> str:
        tables = [line for line in lines if len(line.cells) > 1]
        count = max((len(line.cells) for line in tables), default=0)
        widths = {i: max((len(line.cells[i].text) for line in tables if i < len(line.cells)
                          and len(line.cells[i].text) <= _WIDEST), default=0)
                  for i in range(count)}
        indent = max((line.indent for line in tables), default=0)
        named: int | None = None                 # the column that became headings
        for column in dropped:
            if self.width is None or self._room(widths, wrapped, indent) >= min(
                    widths.get(wrapped, 0), 2 * _NARROWEST):
                break
            if widths.pop(column, 0):
                named = column
        if self.width is not None and wrapped in widths:
            widths[wrapped] = min(widths[wrapped], max(0, self._room(widths, wrapped, indent)))
        lines = _headed(lines, named) if named is not None and named != dropped[0] else lines
        return "\n".join(part for line in lines for part in self._lines(line, widths, wrapped))

    def _room(self, widths: dict[int, int], wrapped: int, indent: int) -> int:
        """What the other columns leave to the one that is wrapped."""
        assert self.width is not None
        return self.width - indent - sum(w + 1 for i, w in widths.items() if i != wrapped and w)

    def _lines(self, line: Line, widths: dict[int, int], wrapped: int) -> list[str]:
        if len(line.cells) == 1:
            return self._whole(line.cells[0], line.indent)
        if self.width is None:
            return [self._row(line, widths, {})]
        if widths.get(wrapped, 0) < _NARROWEST and \
                len(line.cells) > wrapped and len(line.cells[wrapped].text) > widths[wrapped]:
            first = Cell(" ".join(c.text for i, c in enumerate(line.cells)
                                   if i != wrapped and i in widths and c.text))
            return [*self._whole(first, line.indent),
                    *self._whole(line.cells[wrapped], line.indent + 4)]
        pieces = {wrapped: _wrapped(line.cells[wrapped].text, widths[wrapped])} \
            if wrapped < len(line.cells) else {}
        height = max((len(p) for p in pieces.values()), default=1)
        found = []
        for k in range(max(1, height)):
            now = {i: (p[k] if k < len(p) else "") for i, p in pieces.items()}
            if k:
                now |= {i: "" for i in range(len(line.cells)) if i != wrapped}
            found.append(self._row(line, widths, now))
        return found

    def _row(self, line: Line, widths: dict[int, int], instead: dict[int, str]) -> str:
        """One line of text: the cells, or what stands there instead, in their columns."""
        cells = [(instead.get(i, c.text), c.style, widths[i])
                 for i, c in enumerate(line.cells) if widths.get(i)]
        end = max((k for k, (text, _, _) in enumerate(cells) if text), default=-1) + 1
        parts = [self.styled(text, style) + " " * (width - len(text)) * (k < end - 1)
                 for k, (text, style, width) in enumerate(cells[:end])]
        return " " * line.indent * bool(parts) + " ".join(parts)

    def _whole(self, cell: Cell, indent: int) -> list[str]:
        if self.width is None or indent + len(cell.text) <= self.width:
            return [" " * indent * bool(cell.text) + self.styled(cell.text, cell.style)]
        return [" " * indent + self.styled(part, cell.style)
                for part in _wrapped(cell.text, self.width - indent)]

    def styled(self, text: str, style: str) -> str:
        """Returns the text with the codes of its style around it, where there is colour."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour and style and text else text


def _headed(lines: Sequence[Line], column: int) -> list[Line]:
    """The lines with the texts of a column as headings, each where it changes."""
    found: list[Line] = []
    last = ""
    for line in lines:
        cell = line.cells[column] if len(line.cells) > column else Cell(last)
        if cell.text and cell.text != last:
            found.append(Line((cell,), line.indent))
            last = cell.text
        found.append(line)
    return found


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(10, width), subsequent_indent="  ",
                         break_on_hyphens=False) or [""]
