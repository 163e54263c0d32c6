"""The benchmark suite: models that are right, rows that are kept, a page that is honest."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ir
import nncompile
from benchmarks import __main__ as command
from benchmarks import run as running
from benchmarks.models import SUITE
from benchmarks.plot import draw
from benchmarks.results import Conditions, Measured, conditions, load, save, source_digest
from benchmarks.run import Plan, is_done, run, too_large
from benchmarks.table import at_ceilings, cells, markdown, misses
from nncompile.bench import Result, Row
from nncompile.bench.expected import check, expected_outputs
from nncompile.bench.inputs import random_inputs
from nncompile.bench.measure import batch_sizes
from nncompile.bench.work import weight_bytes

NOW = Conditions("a machine", "0123", {"numpy": "2"}, 9, 0.02)
SMALL = [name for name, model in SUITE.items()
         if name not in ("wide", "classes", "head", "encoder")]


@pytest.mark.parametrize("name", SMALL)
def test_models_are_right(name: str) -> None:
    model = SUITE[name]
    compiled = nncompile.compile(model.build(), *model.inputs)
    graph = compiled.ir("traced")
    arrays = random_inputs(graph, batch_sizes(graph, 3, model.sizes))
    check([compiled(*arrays)], *expected_outputs(graph, [arrays]))


def test_weights_do_not_differ_from_run_to_run() -> None:
    one, two = (SUITE["policy"].build().state_dict() for _ in range(2))
    assert all(np.array_equal(one[k], two[k]) for k in one)


def test_what_is_too_large() -> None:
    wide = nncompile.trace(nncompile.nn.Linear(4096, 50_000).eval(), "f32[B, 4096]")
    assert too_large(wide, {"B": 64}) == ""
    assert too_large(wide, {"B": 1024}) == "419 GFLOP a call, above 200"
    table = nncompile.trace(nncompile.nn.Embedding(10, 1000).eval(), "i64[B]")
    assert too_large(table, {"B": 300_000}) == "1.1 GiB of results, above 1"


def test_weights_that_a_call_reads() -> None:
    graph = nncompile.trace(SUITE["text"].build(), *SUITE["text"].inputs)
    assert weight_bytes(graph) == 4 * (2 * 512 + 512 * 256 + 256 + 256 * 256 + 256 + 256 * 20 + 20)


# -- rows ------------------------------------------------------------------------------------------

def measured(model: str = "digits", batch: int = 1, ours: float = 1e-5, busy: float = 0.0,
             **peers: float) -> Measured:
    """A row in which everybody took the same time in each of three rounds."""
    seconds = {"nncompile": ours, **peers}
    results = {name: Result((s, s, s)) if s else Result(note="missing: not installed")
               for name, s in seconds.items()}
    return Measured(model, Row(batch, 1, 10**6, busy, results), 10**5, NOW)


def test_rows_come_back_from_disk(tmp_path: Path) -> None:
    rows = [measured(torch=2e-5), replace(measured(batch=8, torch=0.0), skipped="too large")]
    save(tmp_path, "digits", rows)
    assert load(tmp_path, "digits") == rows
    assert load(tmp_path, "policy") == []


@pytest.mark.parametrize("text", ["", "{", "[{}]", "3"])
def test_a_damaged_file_is_not_used(text: str, tmp_path: Path,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "digits.json").write_text(text)
    assert load(tmp_path, "digits") == []
    assert "digits.json is not used" in capsys.readouterr().err


def test_which_rows_are_done() -> None:
    assert is_done(measured(torch=2e-5), ["torch"])
    assert not is_done(None, [])
    assert not is_done(measured(torch=2e-5), ["torch", "jax"])
    assert not is_done(measured(torch=2e-5, busy=0.2), ["torch"])
    assert is_done(replace(measured(), skipped="too large"), ["torch"])


def test_conditions_are_of_this_machine_and_these_sources() -> None:
    now = conditions(3, 0.01)
    assert now == conditions(3, 0.01) != conditions(4, 0.01)
    assert now.source == source_digest() and now.libraries["numpy"] == np.__version__


def test_a_run_measures_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(graph: ir.Graph, sizes: Any, batch: int, threads: int, *_: Any) -> Row:
        asked.append((batch, threads))
        return replace(measured(batch=batch, numpy=3e-5, busy=batch / 100).row, threads=threads)

    monkeypatch.setattr(running, "measure", fake)
    monkeypatch.setattr(running, "started", lambda *_, **__: __import__("contextlib").nullcontext())
    plan = Plan(["policy"], [1, 64], [1, 2], ["numpy"], 3, 0.001, 2, 0.0, False, tmp_path)
    run(plan)
    busy = [(64, 1), (64, 1)]                          # tried twice: others kept the machine busy
    assert asked == [(1, 1), *busy, (1, 2), (64, 2), (64, 2)]
    run(plan)
    assert asked[6:] == [*busy, (64, 2), (64, 2)]      # the others are kept
    assert {(m.row.batch, m.row.threads, m.valid) for m in load(tmp_path, "policy")} == {
        (1, 1, True), (1, 2, True), (64, 1, False), (64, 2, False)}


def test_waiting_for_a_quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([0.0, 1.5, 2.0, 3.0, 3.0, 3.1])            # CPU seconds of others, before and after
    monkeypatch.setattr(running, "others_seconds", lambda: next(used))
    monkeypatch.setattr(running.time, "sleep", lambda _: None)
    monkeypatch.setattr(running.time, "monotonic", iter(range(0, 100, 2)).__next__)
    running.wait_for_quiet(30.0)
    assert list(used) == []
    running.wait_for_quiet(0.0)                            # does not look at all


def test_one_real_row(tmp_path: Path) -> None:
    pytest.importorskip("threadpoolctl")
    page = tmp_path / "page.md"
    status = command.main(["--quick", "--models", "policy", "--batch", "2", "--threads", "1",
                           "--peers", "numpy", "--results", str(tmp_path), "--page", str(page)])
    assert status == 0
    row, = load(tmp_path, "policy")
    assert len(row.ours.seconds) == 3 and row.best == "numpy"
    assert row.row.flops == 2 * 2 * (17 * 64 + 64 * 64 + 64 * 6)
    assert 0 < row.shares["peak"] < 10 and 0 < row.shares["reads"] < 10
    assert "| policy | 2 |" in page.read_text()


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--models", "digits,nothing"]) == 2
    assert "there is no nothing; there are policy, " in capsys.readouterr().err


# -- the page --------------------------------------------------------------------------------------

def test_ratios_best_peer_and_shares() -> None:
    row = measured(torch=3e-5, jax=2e-5, numpy=0.0, peak=2e-12, reads=5e-11)
    assert row.best == "jax" and row.ratio("jax") == (2.0, 2.0, 2.0)
    assert row.shares == pytest.approx({"peak": 0.2, "reads": 0.5})
    assert cells(row, ["numpy", "torch", "jax"]) == [
        "digits", "1", "10", "100", "50% reads", "missing", "3.00 (3.00-3.00)", "2.00 (2.00-2.00)",
        "jax **2.00**", "0.00"]


def test_rows_below_a_bar_are_named() -> None:
    slower = measured(batch=8, jax=0.9e-5)
    assert list(misses(slower)) == ["digits, batch 8, 1 thread: slower than jax, 0.90 (0.90-0.90)"]
    assert list(misses(measured(batch=8, jax=1.1e-5, peak=1e-12, reads=1e-11))) == []
    large = measured(batch=1024, jax=1.1e-5, peak=9.2e-12, reads=1e-11)
    assert list(misses(large)) == ["digits, batch 1024, 1 thread: 92% of the multiply-adds, "
                                   "below 93%"]
    assert list(misses(replace(large, model="policy"))) == []
    assert list(misses(measured(jax=1.1e-5, peak=1e-12, reads=8e-11))) == [
        "digits, batch 1, 1 thread: 80% of the bandwidth, below 85%"]


def test_what_the_geometric_mean_would_be_at_the_ceilings() -> None:
    half = measured(torch=2e-5, peak=1e-12, reads=5e-11)
    assert max(half.shares.values()) == pytest.approx(0.5)
    assert at_ceilings([half]) == pytest.approx(4.0)
    assert at_ceilings([measured(torch=2e-5, peak=1e-12, reads=2e-10)]) == pytest.approx(2.0)


def test_a_row_on_a_busy_machine_does_not_count() -> None:
    rows = [measured(torch=2e-5), measured(batch=8, torch=8e-5, busy=0.11)]
    page = markdown(rows, "plot.svg")
    assert "1 rows count, 1 do not" in page
    assert "Geometric mean over the best peer of each row: **2.00**; if every row" in page
    assert "0.11 (does not count)" in page
    assert "No row counts yet." in markdown(rows[1:], "plot.svg")
    assert "No row counts yet." in markdown([], "plot.svg")


def test_the_page_says_who_has_no_time_and_why() -> None:
    page = markdown([measured(torch=2e-5, jax=0.0), replace(measured(), skipped="too large")], "p")
    assert "- digits: jax: missing: not installed" in page
    assert "left out: too large" in page


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.svg"
    draw([measured(torch=2e-5, jax=3e-5)], path)
    text = path.read_bytes()
    assert b"<svg" in text
    draw([measured(torch=2e-5, jax=3e-5)], path)
    assert path.read_bytes() == text
