"""The numbers of a compiled model: held once, and the same bits wherever they are read."""
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest

import ir
import nncompile
import nncompile.nn.functional as F
from nncompile import nn


class Everything(nn.Module):
    """Weights in every layout, some that are folded, turned or used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 24)
        self.up, self.down = nn.Linear(24, 40), nn.Linear(40, 24, bias=False)
        self.norm, self.batch_norm = nn.LayerNorm(24), nn.BatchNorm1d(24)
        self.turned = nn.Parameter(nncompile.randn(24, 32))
        self.tied, self.one = nn.Linear(24, 11), nn.Linear(11, 1)
        self.tied.weight = self.table.weight
        self.register_buffer("offsets", nncompile.arange(24))

    def forward(self, ids, x):
        x = self.table(ids) + x + self.offsets
        x = self.batch_norm(self.down(F.gelu(self.up(self.norm(x)))))
        y = (x @ self.turned).tanh()
        return self.one(self.tied(x).relu()), y


TYPES = ("i64[B]", "f32[B, 24]")


def made(seed: int) -> nn.Module:
    nn.manual_seed(seed)
    model = Everything().eval()
    with nncompile.no_grad():
        for array in model.state_dict().values():
            if array.dtype == np.float32:
                array[...] = np.random.default_rng(seed).uniform(0.5, 1.5, array.shape)
    return model


def inputs(rows: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 11, rows), rng.standard_normal((rows, 24), np.float32)]


def given(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in model.state_dict().items()}


@pytest.mark.parametrize("jit", ["0", "1"])
def test_every_stage_has_the_model_s_own_bits(jit, monkeypatch):
    monkeypatch.setenv("NNCOMPILE_JIT", jit)
    for seed in (0, 1):
        model = made(seed)
        own, wanted = given(model), [np.array(y) for y in model(*inputs())]
        fast = nncompile.compile(model, *TYPES)
        for p in model.parameters():                       # later changes do not reach it
            p.data[...] = 0
        for stage in fast.stages:
            graph = fast.ir(stage)
            for value, array in graph.data.items():
                assert (array.dtype, array.shape) == (own.get(value.name, array).dtype,
                                                      value.type.shape)
                if value.kind == "parameter":
                    np.testing.assert_array_equal(array, own[value.name])
            for got, want in zip(ir.interpret(graph, inputs()), wanted, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_other_weights_are_read_in_every_stage():
    fast, other = nncompile.compile(made(0), *TYPES), made(7)
    fast.load_weights(other.state_dict())
    again = nncompile.compile(other, *TYPES)
    for stage in fast.stages:
        for value, array in fast.ir(stage).data.items():
            if value.kind == "parameter":
                np.testing.assert_array_equal(array, given(other)[value.name])
    for got, want in zip(fast(*inputs()), again(*inputs()), strict=True):
        np.testing.assert_array_equal(got, want)
    for got, want in zip(pickle.loads(pickle.dumps(fast))(*inputs()), again(*inputs()),
                         strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_is_read_cannot_change_what_runs():
    fast = nncompile.compile(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)).eval(), "f32[B, 8]")
    graph = fast.ir()
    before = fast(np.ones((2, 8), np.float32))
    for array in graph.data.values():
        if array.flags.writeable:
            array[...] = 0
    np.testing.assert_array_equal(fast(np.ones((2, 8), np.float32)), before)


def test_weights_are_held_once():
    """As memory that NumPy asks for: what the allocator keeps behind is not the model's."""
    model = nn.Sequential(*(nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 256), nn.ReLU(),
                                          nn.Linear(256, 128)) for _ in range(8))).eval()
    size = sum(p.numel() * 4 for p in model.parameters())
    weight = weakref.ref(model[0][1].weight._payload)
    nncompile.compile(model, "f32[B, 128]")                # what is made once a process
    tracemalloc.start()
    try:
        fast = nncompile.compile(model, "f32[B, 128]")
        held = sum(t.size for t in tracemalloc.take_snapshot().traces if t.size > 10_000)
    finally:
        tracemalloc.stop()
    del model
    gc.collect()
    assert weight() is None
    assert size <= held < 1.1 * size
    assert fast(np.ones((1, 128), np.float32)).shape == (1, 128)


PROCESS = """
import gc, sys
import numpy as np
import nncompile
from nncompile import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(256), nn.Linear(256, 512), nn.Linear(512, 256)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())

model = nn.Sequential(*(Block() for _ in range(int(sys.argv[1])))).eval()
weights = sum(4 * p.numel() for p in model.parameters())
fast = nncompile.compile(model, "f32[B, 256]")
fast(np.ones((2, 256), np.float32))
del model
gc.collect()
with open("/proc/self/statm") as file:
    print(weights, 4096 * int(file.read().split()[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_holds_weights_once():
    """The source model is gone; the process takes little more than its weights beside it."""
    few, many = (list(map(int, subprocess.run(
        [sys.executable, "-c", PROCESS, count], check=True, capture_output=True, text=True
    ).stdout.split())) for count in ("3", "96"))
    assert (many[1] - few[1]) / (many[0] - few[0]) < 1.3


def test_loads_of_two_threads_are_one_after_the_other(monkeypatch):
    """What the program reads and what is kept beside it come from the same load."""
    fast, states = nncompile.compile(made(0), *TYPES), [given(made(seed)) for seed in (1, 2)]
    load, first = fast._loaded.load, threading.Event()

    def slow(constants):
        load(constants)
        if not first.is_set():
            first.set()
            time.sleep(0.2)                   # the other thread would overtake this one

    monkeypatch.setattr(fast._loaded, "load", slow)
    threads = [threading.Thread(target=fast.load_weights, args=(state,)) for state in states]
    threads[0].start()
    first.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    graph = fast.ir("traced")
    for value in graph.params:
        if value.name in states[1]:
            assert np.array_equal(graph.data[value], states[1][value.name]), value.name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_during_a_load_can_load(monkeypatch):
    fast, state = nncompile.compile(made(0), *TYPES, threads=1), given(made(1))
    load, begun = fast._loaded.load, threading.Event()

    def slow(constants):
        begun.set()
        time.sleep(0.2)
        load(constants)

    monkeypatch.setattr(fast._loaded, "load", slow)
    thread = threading.Thread(target=fast.load_weights, args=(state,))
    thread.start()
    begun.wait()
    if (child := os.fork()) == 0:
        signal.alarm(20)                      # ends a child that waits forever
        fast.load_weights(state)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()


def test_a_load_that_fails_changes_nothing(monkeypatch):
    fast, before = nncompile.compile(made(0), *TYPES), given(made(0))
    want = [y.tobytes() for y in fast(*inputs())]

    def fails(constants):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(fast._loaded, "load", fails)
        with pytest.raises(MemoryError):
            fast.load_weights(given(made(1)))
    assert [y.tobytes() for y in fast(*inputs())] == want
    graph = fast.ir("traced")
    for value in graph.params:
        if value.name in before:
            assert np.array_equal(graph.data[value], before[value.name]), value.name


class _Copies(nn.Module):
    """A model that uses copies of its parameters and buffers, made in every way."""

    def __init__(self, seed):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.w = nn.Parameter(rng.standard_normal(3).astype(np.float32))
        self.register_buffer("b", rng.standard_normal(3).astype(np.float32))

    def forward(self, x):
        filled, assigned, given = (nncompile.zeros(3) for _ in range(3))
        filled.copy_(self.w)
        assigned[...] = self.b
        given.data = self.b
        copies = [self.w.clone(), self.w.new_tensor(self.b), nncompile.tensor(self.w),
                  self.b.to(nncompile.float32, copy=True), self.w.flip(0), self.b.repeat(1)]
        return [x + copy for copy in [filled, assigned, given, *copies]]


def test_a_copy_of_a_parameter_takes_the_weights_that_are_loaded():
    fast, other = nncompile.compile(_Copies(0), "f32[B, 3]"), _Copies(1)
    fast.load_weights(other.state_dict())
    x = np.ones((2, 3), np.float32)
    for got, wanted in zip(fast(x), other(x), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_negative_indices_of_a_buffer_cannot_be_loaded_in_silence():
    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("i", np.array([-1, 0]))

        def forward(self, x):
            return x[:, self.i]

    fast = nncompile.compile(Picks(), "f32[B, 3]")
    with pytest.raises(nncompile.InputError, match="'i' cannot change"):
        fast.load_weights({"i": np.array([1, 1])})
