"""CUDA graphs.  In the simulator the driver is a recorder: what is called, in which order, and when
a recording is thrown away.  On a device it is the driver."""
from types import SimpleNamespace

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.cuda import graph, shim

SIMULATED = shim.load().simulated


class Recorder:
    """Answers as cuda.bindings.driver does; `replays` runs what stood between begin and end."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, status=0):
        self.calls, self.status = [], status

    def CUstream(self, number):
        return number

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            return (self.status, name) if name in (
                "cuStreamEndCapture", "cuGraphInstantiate") else (self.status,)
        return call


@pytest.fixture
def driver(monkeypatch):
    monkeypatch.setenv("NNCOMPILE_CUDA_GRAPH", "1")
    if not SIMULATED:
        if graph.driver() is None:
            pytest.skip("cuda-bindings is not installed")
        return None
    recorder = Recorder()
    monkeypatch.setattr(graph, "driver", lambda: recorder)
    monkeypatch.setattr(graph, "handle", lambda stream, driver: 0)
    return recorder


RECORD = ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphDestroy"]


@pytest.fixture
def fast():
    nn.manual_seed(0)
    return nncompile.compile(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval(),
                             "f32[B, 3]", target="cuda")


def test_recorded_once_and_replayed(driver, fast):
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    want = fast(x)
    for _ in range(3):
        np.testing.assert_array_equal(fast(x), want)
    if driver:
        assert driver.calls == [*RECORD, *["cuGraphLaunch"] * 3]
    for rows in (2, 2, 2, 5):
        np.testing.assert_array_equal(fast(x[:rows]), want[:rows])


def test_other_weights_and_larger_sizes_are_recorded_again(driver, fast):
    x = np.ones((2, 3), np.float32)
    first = [fast(x) for _ in range(3)][-1]
    state = {name: 2 * np.asarray(value) for name, value in weights(fast).items()}
    fast.load_weights(state)
    second = [fast(x) for _ in range(3)]
    assert not np.array_equal(second[-1], first)
    np.testing.assert_array_equal(second[0], second[-1])
    [fast(np.ones((9, 3), np.float32)) for _ in range(3)]
    np.testing.assert_array_equal([fast(x) for _ in range(3)][-1], second[0])
    if driver:
        assert driver.calls.count("cuStreamBeginCapture") == 4
        assert driver.calls.count("cuGraphExecDestroy") == 2
        assert len(fast._engine._memory(0).recordings) == 2


def weights(fast):
    graph = fast.ir("traced")
    return {v.name: array for v, array in graph.data.items()}


@pytest.mark.skipif(not SIMULATED, reason="a real driver does not fail when asked to")
def test_a_driver_that_refuses(driver, fast):
    x = np.ones((2, 3), np.float32)
    fast(x)
    driver.status = 900
    with pytest.raises(nncompile.Error, match=r"driver says 900.*NNCOMPILE_CUDA_GRAPH"):
        fast(x)


def test_off_unless_asked_for(monkeypatch):
    monkeypatch.delenv("NNCOMPILE_CUDA_GRAPH", raising=False)
    assert graph.driver() is None
