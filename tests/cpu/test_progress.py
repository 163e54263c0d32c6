"""What a terminal shows of a long compilation."""
from __future__ import annotations

import io

import pytest

from nncompile.cpu.objects import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO | None) -> list[str]:
    """Two jobs are done, in order."""
    done: list[str] = []

    def job(name: str) -> str:
        done.append(name)
        return name.upper()
    monkeypatch.setattr("sys.stderr", stderr)
    results = progress.do_all([("linear", lambda: job("a")), ("it", lambda: job("b"))])
    assert done == ["a", "b"] and results == ["A", "B"]
    return stderr.getvalue().split("\r") if stderr is not None else []


def test_a_terminal_shows_what_is_compiled_and_forgets_it(
        monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    first = "nncompile: compiling linear, 1 of 2"
    second = "nncompile: compiling it, 2 of 2, about 0 s left"
    assert shown(monkeypatch, Terminal()) == ["", first, second, " " * len(second), ""]


def test_the_time_left_is_that_of_the_jobs_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four jobs of three seconds each."""
    moments = iter([0.0, 0.0, 3.0, 6.0, 9.0])
    monkeypatch.setattr(progress, "perf_counter", lambda: next(moments))
    monkeypatch.setattr("sys.stderr", stderr := Terminal())
    progress.do_all([(name, lambda: None) for name in "abcd"])
    lines = [line.strip() for line in stderr.getvalue().split("\r")]
    assert lines == ["", "nncompile: compiling b, 2 of 4, about 9 s left",
                     "nncompile: compiling c, 3 of 4, about 6 s left",
                     "nncompile: compiling d, 4 of 4, about 3 s left", "", ""]


def test_nothing_is_shown_elsewhere(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    assert shown(monkeypatch, io.StringIO()) == [""]
    shown(monkeypatch, None)


def test_nothing_is_shown_of_a_short_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", float("inf"))
    assert shown(monkeypatch, Terminal()) == [""]


def test_an_error_leaves_a_clean_line(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    with pytest.raises(ZeroDivisionError):
        progress.do_all([("it", lambda: print(1 // 0))])
    assert stderr.getvalue().endswith("\r")
