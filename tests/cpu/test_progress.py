"""What a terminal shows of a long compilation."""
from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from nncompile.cpu.objects import progress
from nncompile.cpu.objects.progress import Job, Known, Task


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)


class Later(Task):
    """What is made when it is asked for."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make, self._done = make, False

    @property
    def done(self) -> bool:
        return self._done

    def result(self) -> bytes:
        self._done = True
        return self._make()


def later(name: str, make: Callable[[], bytes]) -> Job:
    return name, lambda: Later(make)


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO | None) -> list[str]:
    """Two tasks are done, in order."""
    done: list[str] = []

    def make(name: str) -> bytes:
        done.append(name)
        return name.upper().encode()
    monkeypatch.setattr("sys.stderr", stderr)
    results = progress.do_all([later("linear", lambda: make("a")), later("it", lambda: make("b"))])
    assert done == ["a", "b"] and results == [b"A", b"B"]
    return stderr.getvalue().split("\r") if stderr is not None else []


def test_a_terminal_shows_what_is_compiled_and_forgets_it(
        monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    first, second = ("nncompile: compiling linear, 0 of 2 done",
                     "nncompile: compiling it, 0 of 2 done")
    last = "nncompile: compiling it, 1 of 2 done, about 0 s left"
    assert shown(monkeypatch, Terminal()) == ["", first, f"{second:<{len(first)}}", first, last,
                                              " " * len(last), ""]


def test_the_time_left_is_that_of_the_tasks_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four tasks of three seconds each, which were begun at once."""
    moments = iter([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 6.0, 9.0])
    monkeypatch.setattr(progress, "perf_counter", lambda: next(moments))
    monkeypatch.setattr("sys.stderr", stderr := Terminal())
    progress.do_all([later(name, lambda: b"code") for name in "abcd"])
    lines = [line.strip() for line in stderr.getvalue().split("\r")]
    assert lines == ["", "nncompile: compiling b, 1 of 4 done, about 9 s left",
                     "nncompile: compiling c, 2 of 4 done, about 6 s left",
                     "nncompile: compiling d, 3 of 4 done, about 3 s left", "", ""]


def test_what_others_have_done_counts(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    monkeypatch.setattr("sys.stderr", stderr := Terminal())
    progress.do_all([later("the driver", lambda: b"code"), ("add", lambda: Known(b"add"))])
    assert "compiling the driver, 1 of 2 done" in stderr.getvalue()


def test_nothing_is_shown_elsewhere(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    assert shown(monkeypatch, io.StringIO()) == [""]
    shown(monkeypatch, None)


def test_nothing_is_shown_of_a_short_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", float("inf"))
    assert shown(monkeypatch, Terminal()) == [""]


def test_an_error_is_raised_when_the_others_are_done_and_leaves_a_clean_line(
        monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    done: list[str] = []

    def make(name: str, fails: bool) -> bytes:
        done.append(name)
        if fails:
            raise ZeroDivisionError(name)
        return b"code"
    with pytest.raises(ZeroDivisionError, match="b"):
        progress.do_all([later("a", lambda: make("a", False)), later("b", lambda: make("b", True)),
                         later("c", lambda: make("c", True)), later("d", lambda: make("d", False))])
    assert done == ["a", "b", "c", "d"] and stderr.getvalue().endswith("\r")


def test_an_error_of_what_cannot_be_begun_comes_when_the_others_are_done(
        monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def begin() -> Task:
        raise ZeroDivisionError("begin")

    def make() -> bytes:
        done.append("made")
        return b"code"
    with pytest.raises(ZeroDivisionError, match="begin"):
        progress.do_all([later("a", make), ("b", begin), later("c", make)])
    assert done == ["made", "made"]
