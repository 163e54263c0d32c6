"""A line on a terminal that says what is done now, how much is done, and how much time is left."""
from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_QUIET, _OFTEN = 1.0, 0.1                # seconds before the first line, and between two


class Progress:
    """Counts steps and shows the line on stderr, if that is a terminal, from the first second on.

    total: about how many steps there are. Only a step draws the line: a thread that did would
    take time from what is measured.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = max(total, 1), 0
        self.begin = self.last = time.monotonic()
        self.bar: Bar | None = None

    def step(self, what: str) -> None:
        """Says that the step before is done, and what is next."""
        self.done += 1
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self.begin < _QUIET or now - self.last < _OFTEN:
            return
        self.last = now
        share = min(self.done / self.total, 0.99)
        left = _duration((now - self.begin) * (1 / share - 1))
        if self.bar is None:
            self.bar = _bar()
            self.bar.add_task(what, total=self.total, left=left)
            self.bar.start()
        self.bar.update(self.bar.task_ids[0], completed=share * self.total, description=what,
                        left=left)
        self.bar.refresh()

    def clear(self) -> None:
        """Takes the line away, so that something else can be printed."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.clear()


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    return Bar(BarColumn(20), TaskProgressColumn(), TextColumn("{task.fields[left]} left"),
               TextColumn("{task.description}", markup=False), console=Console(stderr=True),
               auto_refresh=False, transient=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
