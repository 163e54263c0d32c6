"""CUDA graphs. In the simulator the driver is a recorder: what is called, in which order, and when
a recording is thrown away. On a device it is the driver."""
from types import SimpleNamespace

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.cuda import recording, shim

CUDA = shim.load()
SIMULATED = CUDA.simulated


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
    monkeypatch.delenv("NNCOMPILE_CUDA_GRAPH", raising=False)
    if not SIMULATED:
        found, reason = recording.driver(CUDA)
        if found is None:
            pytest.skip(f"no CUDA graphs: {reason}")
        return None
    recorder = Recorder()
    monkeypatch.setattr(recording, "driver", lambda _: (recorder, ""))
    monkeypatch.setattr(recording, "handle", lambda stream, driver: 0)
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
        assert len(fast._loaded._memory(0).recordings) == 2


def weights(fast):
    graph = fast.ir("traced")
    return {v.name: array for v, array in graph.data.items()}


def test_arrays_on_the_device_are_recorded_by_their_places(driver, fast):
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    want = fast(x)
    there = [(CUDA.module.to_device(x + i), CUDA.module.device_array((5, 2), np.float32))
             for i in range(2)]
    for _ in range(3):
        for given, out in there:
            fast(given, out=out)
        np.testing.assert_array_equal(there[0][1].copy_to_host(), want)
    there[0][0].copy_to_device(x + 1)
    if driver:                               # which replays nothing: the numbers stay as they are
        assert driver.calls == [*RECORD, "cuGraphLaunch"] * 2 + ["cuGraphLaunch"] * 2
    else:
        fast(*there[0])
        np.testing.assert_array_equal(there[0][1].copy_to_host(), there[1][1].copy_to_host())


def test_places_that_do_not_come_again_are_forgotten(driver, fast):
    x = np.ones((5, 3), np.float32)
    kept = [CUDA.module.to_device(x) for _ in range(40)]
    results = [fast(given) for given in kept]
    assert len(fast._loaded._memory(0).recordings) == 16
    np.testing.assert_array_equal(results[-1].copy_to_host(), fast(x))


@pytest.mark.skipif(not SIMULATED, reason="a real driver does not fail when asked to")
@pytest.mark.parametrize("at", ["recording", "replaying"])
def test_a_driver_that_refuses(driver, fast, at):
    """Every call launches then, and explain() says why."""
    x = np.ones((2, 3), np.float32)
    want = [fast(x) for _ in range(2 if at == "replaying" else 1)][-1]
    assert "is one launch" in fast.explain()
    driver.status = 900
    np.testing.assert_array_equal(fast(x), want)
    assert "CUDA graphs: not used: Error: the driver says 900" in fast.explain()
    driver.calls.clear()
    np.testing.assert_array_equal(fast(x), want)
    assert not driver.calls


def test_not_used_where_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("NNCOMPILE_CUDA_GRAPH", "0")
    assert recording.driver(CUDA) == (None, "NNCOMPILE_CUDA_GRAPH=0")
