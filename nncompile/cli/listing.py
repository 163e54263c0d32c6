"""The lines of a view in a terminal: columns that fit its width, the longest of them wrapped."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ir.records import dataclass
from nncompile.inspect.lines import Cell, Line

_STYLES = {"heading": "bold blue"}               # all others are rich's own
_WIDEST = 120                                    # what a longer cell does not widen its column by
_NARROWEST = 28                                  # of the column that is wrapped, beside the others


@dataclass(frozen=True)
class Listing:
    """Lines with their columns aligned, in each part up to an empty line.

    wrapped: the column that takes what is left of the width, and is wrapped to it.
    dropped: the columns that are left out, in this order, where the width is too small; the texts
             of those behind the first one become headings.
    """

    lines: Sequence[Line]
    wrapped: int
    dropped: Sequence[int]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        part: list[Line] = []
        for line in self.lines:
            part.append(line)
            if not any(cell.text for cell in line.cells):
                yield from self._part(part, options.max_width)
                part = []
        yield from self._part(part, options.max_width)

    def _part(self, lines: Sequence[Line], width: int) -> Iterator[RenderableType]:
        tables = [line for line in lines if len(line.cells) > 1]
        widths = _widths(tables)
        indent = max((line.indent for line in tables), default=0)
        wanted = widths.get(self.wrapped, 0)

        def room() -> int:
            return width - indent - sum(w + 1 for i, w in widths.items() if i != self.wrapped and w)

        for column in self.dropped:
            if room() >= min(wanted, 2 * _NARROWEST):
                break
            if widths.pop(column, 0) and column != self.dropped[0]:
                lines = _headed(lines, column)
        most = max(1, room())
        if self.wrapped in widths:
            widths[self.wrapped] = min(wanted, most)
        for line in lines:
            yield from self._line(line, widths, most)

    def _line(self, line: Line, widths: dict[int, int], most: int) -> Iterator[RenderableType]:
        if len(line.cells) == 1:
            [cell] = line.cells
            yield Padding(_text(cell), (0, 0, 0, line.indent), expand=False) if cell.text else ""
            return
        cells = {i: cell for i, cell in enumerate(line.cells) if widths.get(i)}
        long = cells.get(self.wrapped, Cell(""))
        free = most - widths.get(self.wrapped, 0)    # for cells that are longer than their column
        for i, cell in cells.items():
            if (more := min(len(cell.text) - widths[i], free)) > 0:
                widths = {**widths, i: widths[i] + more}
                free -= more
        if widths.get(self.wrapped, 0) < min(_NARROWEST, len(long.text)):
            others = [c.text for i, c in cells.items() if i != self.wrapped and c.text]
            yield Padding(Text(" ".join(others)), (0, 0, 0, line.indent), expand=False)
            yield Padding(_text(long), (0, 0, 0, line.indent + 4), expand=False)
            return
        row = Table.grid(padding=(0, 1), pad_edge=False)
        for i in cells:
            row.add_column(width=widths[i], overflow="fold")
        row.add_row(*(_hanging(cell, widths[i]) if i == self.wrapped else _text(cell)
                      for i, cell in cells.items()))
        yield Padding(row, (0, 0, 0, line.indent), expand=False)


def _widths(lines: Sequence[Line]) -> dict[int, int]:
    """The width that each column needs; a cell that is longer than all is as long as it is."""
    widths: dict[int, int] = {}
    for line in lines:
        for i, cell in enumerate(line.cells):
            if len(cell.text) <= _WIDEST:
                widths[i] = max(widths.get(i, 0), len(cell.text))
    return widths


def _text(cell: Cell) -> Text:
    return Text(cell.text, _STYLES.get(cell.style, cell.style))


def _hanging(cell: Cell, width: int) -> Text:
    """The text in lines of this width, all but the first behind two spaces."""
    if len(cell.text) <= width:
        return _text(cell)
    lines = _text(cell).wrap(Console(width=width), width - 2)
    return Text("\n  ").join(lines)


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
