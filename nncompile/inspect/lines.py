"""Lines of a view: what a terminal shows in columns, and a notebook as a table."""
from __future__ import annotations

from typing import NamedTuple

from ir.records import dataclass


class Cell(NamedTuple):
    """A text and its style: "bold", "dim", a colour, "heading", or none."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table: its cells, behind an indent. A line of one cell has no columns."""

    cells: tuple[Cell, ...]
    indent: int = 0
