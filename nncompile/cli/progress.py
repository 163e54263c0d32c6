"""A line on a terminal that says what is done now, how much is done, and how much time is left."""
from __future__ import annotations

import sys
import time
from types import TracebackType

_QUIET, _OFTEN, _BAR = 1.0, 0.1, 20      # seconds before the first line, between two; characters


class Progress:
    """Counts steps and shows the line on stderr, if that is a terminal, from the first second on.

    total: about how many steps there are.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = max(total, 1), 0
        self.begin = self.last = time.monotonic()
        self.shown = False

    def step(self, what: str) -> None:
        """Says that the step before is done, and what is next."""
        self.done += 1
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self.begin < _QUIET or now - self.last < _OFTEN:
            return
        self.last, self.shown = now, True
        share = min(self.done / self.total, 0.99)
        left = (now - self.begin) * (1 / share - 1)
        bar = "#" * round(_BAR * share)
        line = f"[{bar:<{_BAR}}] {100 * share:3.0f} %, {_duration(left)} left: {what}"
        print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the line away, so that something else can be printed."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.clear()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
