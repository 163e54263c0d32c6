"""Progress: one line on a terminal for a compilation that takes more than a moment."""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeAlias

PATIENCE = 1.0                    # seconds in which nothing is shown


class Task:
    """Object code that is being made."""

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do but to fetch the result."""
        raise NotImplementedError

    def result(self) -> bytes:
        """Returns the object code, once it is made, or raises the error that prevents it."""
        raise NotImplementedError


class Known(Task):
    """Object code that is there from the beginning."""

    done = True

    def __init__(self, code: bytes) -> None:
        self._code = code

    def result(self) -> bytes:
        return self._code


class _Failed(Task):
    """Object code that cannot be made."""

    done = True

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> bytes:
        raise self._error


Job: TypeAlias = tuple[str, Callable[[], Task]]       # a task's name, and what begins it


def do_all(jobs: Sequence[Job]) -> list[bytes]:
    """Begins all tasks, in order, and returns their results.

    An error of one is raised when the others are done.
    Once PATIENCE is over, one line of stderr, if that is a terminal, says which of them this thread
    works on, how many are done, and how long the others take if they take as long as those.
    """
    with _Line(len(jobs)) as line:
        tasks: list[Task] = []
        for name, begin in jobs:
            line.show(name, tasks)
            try:
                tasks.append(begin())
            except Exception as error:
                tasks.append(_Failed(error))
        results, errors = [], []
        for (name, _), task in zip(jobs, tasks, strict=True):
            line.show(name, tasks)
            try:
                results.append(task.result())
            except Exception as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return results


class _Line:
    """The line of so many tasks. It is a context manager, at whose end the line is gone."""

    def __init__(self, count: int) -> None:
        self._count, self._start, self._width = count, perf_counter(), 0

    def __enter__(self) -> _Line:
        return self

    def show(self, name: str, tasks: Sequence[Task]) -> None:
        """Says what this thread works on, once PATIENCE is over."""
        spent = perf_counter() - self._start
        if spent <= PATIENCE or sys.stderr is None or not sys.stderr.isatty():
            return
        done = sum(task.done for task in tasks)
        line = f"nncompile: compiling {name}, {done} of {self._count} done"
        if done:
            line += f", about {spent / done * (self._count - done):.0f} s left"
        sys.stderr.write(f"\r{line:<{self._width}}")
        sys.stderr.flush()
        self._width = len(line)

    def __exit__(self, *error: object) -> None:
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
