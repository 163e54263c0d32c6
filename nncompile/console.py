"""Where tables and text go: a terminal in its width and colours, or plain text. By rich.

rich is imported when something is printed, and not before: a model that is compiled needs none.
"""
from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from ir.records import dataclass

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.segment import Segment
    from rich.table import Table

WIDTH = 80                            # of tables where there is no terminal
UNLIMITED = 10**6                     # of text that is to have the lines that it has


def console_of(stream: TextIO, width: int = WIDTH) -> Console:
    """Returns the console of a stream. width: where the stream is a file or a pipe.

    NO_COLOR, FORCE_COLOR and TERM=dumb mean what they mean to other programs; without colour there
    are no other styles either.
    """
    from rich.console import Console

    found = Console(file=stream, highlight=False, markup=False, emoji=False)
    if found.is_terminal and not found.no_color:
        return found
    return Console(file=stream, highlight=False, markup=False, emoji=False, color_system=None,
                   no_color=True, width=found.width if found.is_terminal else width)


def write(stream: TextIO, *parts: RenderableType, width: int = WIDTH) -> None:
    """Prints parts to a stream, each on lines of its own, without spaces at the end of a line."""
    console = console_of(stream, width)
    for part in parts:
        console.print(_Trimmed(part), soft_wrap=False)
    stream.flush()


def text_of(*parts: RenderableType, width: int = WIDTH) -> str:
    """Returns what `write` prints to a file."""
    stream = io.StringIO()
    write(stream, *parts, width=width)
    return stream.getvalue().rstrip("\n")


@dataclass(frozen=True)
class _Trimmed:
    """A part without the spaces that rich fills lines and the last column with."""

    part: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for line in console.render_lines(self.part, options, pad=False):
            yield from _trimmed(line)
            yield Segment.line()


def _trimmed(line: list[Segment]) -> list[Segment]:
    while line and not line[-1].text.strip(" "):
        line = line[:-1]
    return [*line[:-1], line[-1]._replace(text=line[-1].text.rstrip(" "))] if line else []


@dataclass(frozen=True)
class Fitted:
    """A table that leaves columns out until it fits.

    table:   makes it of the numbers of the columns that stay.
    columns: how many there are. dropped: the numbers of those that may go, the first one first.
    """

    table: Callable[[Sequence[int]], Table]
    columns: int
    dropped: Sequence[int] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        kept = list(range(self.columns))
        for column in (*self.dropped, None):
            made = self.table(kept)
            if column is None or Measurement.get(console, options.update_width(UNLIMITED), made
                                                 ).maximum <= options.max_width:
                break
            kept.remove(column)
        yield made
