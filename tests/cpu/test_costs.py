"""The cost model's constants: measured, kept, and never out of bounds. None is tested."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nncompile.cpu.layout import BUSY
from nncompile.cpu.runtime import costs as costs_module
from nncompile.cpu.runtime.costs import LEAST, MOST, Costs, costs, costs_here
from nncompile.cpu.runtime.pool import DEFAULT_WORTH, POOL, supported
from nncompile.cpu.vector.target import host
from nncompile.errors import Error

pytestmark = pytest.mark.skipif(not supported(), reason="one thread only")


def test_what_another_worker_is_worth() -> None:
    assert Costs(handoff=1e-6, flops=1e11).worth == 200_000
    assert Costs(handoff=1.0, flops=1e11).worth == MOST
    assert Costs(handoff=1e-12, flops=1e11).worth == LEAST
    assert str(Costs(1e-6, 1e11)) == ("sharing  1.00 us until a worker has begun: worth it from "
                                      "200 thousand operations on")


def test_they_are_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", str(tmp_path / "cache"))
    first = costs_here()
    assert first.handoff > 0 and first.flops > 0
    monkeypatch.setattr(costs_module, "measure", lambda *_: Costs(1e-6, 5e10))
    assert costs_here() == first
    kept, = (tmp_path / "cache").glob("costs-*.json")
    text = kept.read_text()
    assert costs_here(again=True).worth == 100_000
    for figure in (0, -1, None, "1", float("nan"), float("inf")):
        kept.write_text(json.dumps(json.loads(text) | {"handoff": figure}))
        assert costs_here() == Costs(1e-6, 5e10), figure


def test_busy_workers_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNCOMPILE_CACHE_DIR", "off")
    costs_here()
    POOL.words[BUSY] = 1
    try:
        with pytest.raises(Error, match="busy"):
            costs(POOL, host())
    finally:
        POOL.words[BUSY] = 0


def test_the_first_call_that_shares_work_sets_the_constant(tmp_path: Path) -> None:
    program = """if True:
        import numpy as np, nncompile
        from nncompile import nn
        from nncompile.cpu.runtime import costs
        from nncompile.cpu.layout import WORTH
        from nncompile.cpu.runtime import POOL
        costs.measure = lambda *_: costs.Costs(3e-6, 5e10)
        x = np.ones((500, 100), np.float32)
        fast = nncompile.compile(nn.Linear(100, 100), x, threads=2)
        before = POOL.words[WORTH]
        fast(x)
        print(before, POOL.words[WORTH])"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                            env={"NNCOMPILE_CACHE_DIR": str(tmp_path), "PATH": ""}, check=True)
    assert result.stdout.split() == [str(DEFAULT_WORTH), "300000"]
