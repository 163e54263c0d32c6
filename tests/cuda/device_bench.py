"""`nncompile bench --target cuda`. In the simulator, which has nothing to time, the clock is the
host's: what is measured in which order, what is checked, and what stands in the table."""
import time

import numpy as np
import pytest

from nncompile import bench, nn
from nncompile.bench.table import block, legend
from nncompile.console import text_of
from nncompile.cuda import backend, shim
from nncompile.errors import CompileError
from nncompile.model import CompiledModel
from tests.fences import Watched

CUDA = shim.load()


class HostClock:
    device = "a simulator"

    def to_device(self, array):
        return CUDA.module.to_device(array)

    def to_host(self, array):
        return array.copy_to_host()

    def seconds_a_call(self, call, count):
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - begin) / count


@pytest.fixture
def clock(monkeypatch):
    if CUDA.simulated:
        monkeypatch.setattr(backend, "Stopwatch", HostClock)


@pytest.fixture
def model():
    nn.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.GELU()).eval()


def measured(model, **options):
    return bench.bench_device(model, ["f32[B, 4]"], target="cuda", batches=[1, 3],
                              peers=list(bench.DEVICE_PEERS), rounds=3, seconds=1e-4, **options)


def test_each_batch_with_arrays_there_and_with_copies(clock, model):
    rows = []
    report = measured(model, watch=lambda report, row: rows.append(text_of(block(report, row))))
    assert report.correct
    assert [(r.batch, r.copies) for r in report.rows] == [(1, False), (1, True), (3, False),
                                                          (3, True)]
    assert all(len(r.results["nncompile"].seconds) == 3 for r in report.rows)
    assert [row.split(", others")[0].splitlines()[1] for row in rows] == [
        "batch 1, arrays on the device", "batch 1, copied to the device and back",
        "batch 3, arrays on the device", "batch 3, copied to the device and back"]
    if CUDA.simulated:
        assert "torch: missing: torch finds no GPU" in text_of(legend(report))


def test_it_is_called_as_its_users_call_it(clock, model, monkeypatch):
    """Nothing is allocated in a timed call: results are written where they were, and host arrays
    are staged."""
    calls = []

    def watch(model, call, x, **options):
        calls.append((isinstance(x, np.ndarray), "out" in options))
        return call(x, **options)

    monkeypatch.setattr(CompiledModel, "__call__", Watched(watch))
    assert measured(model).correct
    assert set(calls) == {(False, False), (False, True), (True, False)}
    assert calls.count((False, False)) == 2                  # one a batch, that makes `out`


def test_a_wrong_result_gets_no_time(clock, model, monkeypatch):
    def wrong(model, call, x, out=None):
        zeros = np.zeros((x.shape[0], 3), "f4")
        return zeros if isinstance(x, np.ndarray) else CUDA.module.to_device(zeros)

    monkeypatch.setattr(CompiledModel, "__call__", Watched(wrong))
    report = measured(model)
    assert not report.correct
    assert text_of(legend(report)).count("nncompile: wrong: output 0 is off by") >= 1
    assert all(not row.results["nncompile"].seconds for row in report.rows)


@pytest.mark.skipif(not CUDA.simulated, reason="there is a device to time")
def test_the_simulator_is_refused(model):
    with pytest.raises(CompileError, match="nothing to time"):
        measured(model)
