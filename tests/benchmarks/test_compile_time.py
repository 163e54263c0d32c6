"""The page on compile time: what is measured, with what in the cache."""
from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import compile_time
from benchmarks.compile_time import DRIVERS, MODELS, NUMBA


def test_what_is_cached_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compilation with nothing cached, one without the driver, one with everything."""
    model, found = next(iter(MODELS)), []

    def in_process(what: str, cache: str) -> float:
        if what == NUMBA:
            assert cache == "off"
            return 0.5
        drivers = len(list(Path(cache).glob(DRIVERS)))
        others = len(list(Path(cache).iterdir())) - drivers
        found.append((drivers, others > 0))
        return measure(what, cache)

    measure = compile_time.in_process
    monkeypatch.setattr(compile_time, "in_process", in_process)
    monkeypatch.setattr(compile_time, "ROUNDS", 1)
    cells = compile_time.row(model).strip("| ").split(" | ")
    assert cells[0] == model and len(cells) == 5
    assert float(cells[1]) - float(cells[2]) == pytest.approx(0.5, abs=0.011)
    assert found == [(0, False), (0, True), (1, True)]


def test_shapes_of_one_example() -> None:
    assert compile_time.shape("f32[B, 64, 256]") == (1, 64, 256)
