"""How a model on the CUDA target is called: host arrays as on the CPU, arrays on the device."""
import copy
import importlib
import pickle
import sys
import threading

import numpy as np
import pytest

import nncompile
from nncompile import nn
from nncompile.cli import main
from nncompile.cuda import arrays, shim

CUDA = shim.load()
cuda = CUDA.module


@pytest.fixture(scope="module")
def model():
    nn.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


@pytest.fixture
def fast(model):
    return nncompile.compile(model, "f32[B, 8]", target="cuda")


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)


# -- host arrays -----------------------------------------------------------------------------------

def test_layouts_give_the_same_bits(fast, x):
    want = fast(x)
    wide = np.zeros((10, 16), np.float32)
    wide[::2, ::2] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    for given in (wide[::2, ::2], np.asfortranarray(x), readonly, x[::-1][::-1], x.astype(">f4")):
        np.testing.assert_array_equal(fast(given), want)
    np.testing.assert_array_equal(fast(np.broadcast_to(x[0], (5, 8))), fast(np.tile(x[0], (5, 1))))
    np.testing.assert_array_equal(fast(x.tolist()), want)


@pytest.mark.parametrize("given, message", [
    (np.zeros((5, 7), np.float32), r"f32\[B, 8\].*\(5, 7\)"),
    (np.zeros(8, np.float32), r"f32\[B, 8\]"),
    (np.zeros((5, 8)), "float64.*astype"),
    (np.zeros((5, 8), np.int64), "int64"),
])
def test_refused_inputs(fast, given, message):
    with pytest.raises(nncompile.InputError, match=message):
        fast(given)


def test_out_and_bind(fast, x):
    want = fast(x)
    out = np.full((5, 4), np.nan, np.float32)
    assert fast(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    strided = np.full((10, 8), np.nan, np.float32)[::2, ::2]
    assert fast(x, out=strided) is strided
    np.testing.assert_array_equal(strided, want)
    run = fast.bind(x, out=out)
    x[...] = 0.5
    assert run() is out
    np.testing.assert_array_equal(out, fast(x))
    for wrong in (np.zeros((5, 5), np.float32), np.zeros((5, 4)), [1.0]):
        with pytest.raises(nncompile.InputError, match="out must be"):
            fast(x, out=wrong)


def test_results_are_separate_arrays(fast, x):
    first = fast(x)
    kept = first.copy()
    fast(x + 1)
    np.testing.assert_array_equal(first, kept)


def test_weights_pickle_threads(model, fast, x):
    want = fast(x)
    old = {name: np.array(value) for name, value in model.state_dict().items()}
    fast.load_weights({name: 2 * value for name, value in old.items()})
    changed = fast(x)
    assert not np.array_equal(changed, want)
    copy = pickle.loads(pickle.dumps(fast))
    np.testing.assert_array_equal(copy(x), changed)
    assert copy.source == fast.source
    fast.load_weights(old)
    np.testing.assert_array_equal(fast(x), want)
    fast.threads = 2
    assert fast.threads == 2
    np.testing.assert_array_equal(fast(x), want)
    with pytest.raises(nncompile.Error, match="threads must be"):
        fast.threads = 0


def test_several_outputs_and_keywords():
    class Two(nn.Module):
        def forward(self, left, right):
            return left + right, left

    fast = nncompile.compile(Two().eval(), "f32[B, 3]", "f32[B, 3]", target="cuda")
    a, b = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    total, left = fast(a, b)
    np.testing.assert_array_equal(total, a + b)
    np.testing.assert_array_equal(left, a)
    outs = np.empty_like(a), np.empty_like(a)
    assert fast(a, b, out=outs)[1] is outs[1]
    np.testing.assert_array_equal(fast(left=a, right=b)[0], total)
    with pytest.raises(nncompile.InputError, match="B"):
        fast(a, b[:1])


def test_concurrent_calls(fast, x):
    inputs = [x + i for i in range(4)]
    want = [fast(i) for i in inputs]
    wrong = []

    def work(number):
        for _ in range(3):
            if not np.array_equal(fast(inputs[number]), want[number]):
                wrong.append(number)

    callers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_memory_is_planned_once(fast, x):
    """It grows to the largest call, and is then the same arrays for ever."""
    fast(np.tile(x, (3, 1)))
    memory = fast._loaded._memory(0)
    grown = memory.grown
    for rows in (1, 5, 15, 0, 7):
        fast(np.tile(x, (3, 1))[:rows])
    assert memory.grown == grown
    fast(np.tile(x, (4, 1)))
    assert memory.grown > grown
    assert len(fast._loaded._plans) <= 64


# -- arrays on the device --------------------------------------------------------------------------

def test_device_arrays_in_device_arrays_out(fast, x):
    given = cuda.to_device(x)
    result = fast(given)
    assert type(result) is type(given) and arrays.is_device_array(result, CUDA)
    np.testing.assert_array_equal(result.copy_to_host(), fast(x))
    np.testing.assert_array_equal(given.copy_to_host(), x)
    out = cuda.device_array((5, 4), np.float32)
    assert fast(given, out=out) is out
    np.testing.assert_array_equal(out.copy_to_host(), fast(x))
    assert fast(input=given, out=[out]) is out
    stream = cuda.stream()
    again = fast(given, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(again.copy_to_host(), fast(x))
    np.testing.assert_array_equal(fast(x, stream=stream), fast(x))
    empty = fast(cuda.device_array((0, 8), np.float32))
    assert tuple(empty.shape) == (0, 4)


def test_device_arrays_are_read_where_they_are(fast, x, monkeypatch):
    """Nothing is staged: the kernels are given the user's own memory."""
    given, fetched = cuda.to_device(x), fast(x)
    for name in ("staged", "fetch"):
        monkeypatch.setattr("nncompile.cuda.memory.Memory." + name, lambda *_: 1 / 0)
    np.testing.assert_array_equal(fast(given).copy_to_host(), fetched)


def test_refused_device_arrays(fast, x):
    on_device = cuda.to_device
    for given, message in ((on_device(x[:, :7].copy()), r"f32\[B, 8\].*\(5, 7\)"),
                           (on_device(x.astype(np.float64)), "float64"),
                           (on_device(np.zeros((5, 16), np.float32))[:, ::2], "strides"),
                           (on_device(np.asfortranarray(x)), "strides")):
        with pytest.raises(nncompile.InputError, match=message):
            fast(given)
    good = on_device(x)
    for out in (np.zeros((5, 4), np.float32), on_device(np.zeros((5, 5), np.float32))):
        with pytest.raises(nncompile.InputError, match="out must be"):
            fast(good, out=out)
    out = on_device(np.zeros((5, 4), np.float32))
    for call in (lambda: fast(good, out), lambda: fast(good, out, out=out), lambda: fast(x, out),
                 lambda: fast(x, np.zeros((5, 4), np.float32))):
        with pytest.raises(nncompile.InputError, match="takes 1 input, got 2; outputs are given"):
            call()
    with pytest.raises(nncompile.InputError, match="one array for each of 1 outputs, not 0"):
        fast(good, out=[])
    with pytest.raises(nncompile.InputError, match="takes input, out= and stream=; got 0"):
        fast(x=good)
    assert not out.copy_to_host().any()
    with pytest.raises(nncompile.InputError, match="got 1 by position, other="):
        fast(good, other=1)


def test_out_that_overlaps_an_input_is_refused():
    fast = nncompile.compile(nn.Sequential(nn.Linear(8, 8)).eval(), "f32[B, 8]", target="cuda")
    given = cuda.to_device(np.zeros((5, 8), np.float32))
    with pytest.raises(nncompile.InputError, match="overlap"):
        fast(given, out=given)


def test_arrays_in_containers():
    class Named(nn.Module):
        def forward(self, pair):
            return {"sum": pair[0] + pair[1], "ids": pair[2]}

    fast = nncompile.compile(Named().eval(), ("f32[B, 3]", "f32[B, 3]", "i32[B]"), target="cuda")
    given = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32), np.arange(2, dtype="i4")
    stream = cuda.stream()
    for pair in (given, tuple(map(cuda.to_device, given))):
        made = fast(pair, stream=stream)
        stream.synchronize()
        host = {k: v if isinstance(v, np.ndarray) else v.copy_to_host() for k, v in made.items()}
        np.testing.assert_array_equal(host["sum"], given[0] + given[1])
        np.testing.assert_array_equal(host["ids"], given[2])


def test_no_other_precision(model):
    with pytest.raises(nncompile.CompileError, match="precision='tf32' cannot be had of the cuda"):
        nncompile.compile(model, "f32[B, 8]", target="cuda", precision="tf32")


def test_arrays_of_both_kinds_are_refused():
    class Two(nn.Module):
        def forward(self, left, right):
            return left + right

    fast = nncompile.compile(Two().eval(), "f32[B, 3]", "f32[B, 3]", target="cuda")
    a = np.ones((2, 3), np.float32)
    for given in ((cuda.to_device(a), a), (a, cuda.to_device(a))):
        with pytest.raises(nncompile.InputError, match="all of them, or none"):
            fast(*given)


def test_an_index_outside_the_embedding_names_the_layer():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)).eval()
    fast = nncompile.compile(model, "i64[B, 3]", target="cuda")
    good = np.zeros((4, 3), np.int64)
    want = fast(good)
    for index in (10, -1, 2**40):
        bad = good.copy()
        bad[2, 1] = index
        for given in (bad, cuda.to_device(bad)):
            with pytest.raises(nncompile.InputError, match=rf"(?s){index}.*10.*Embedding"):
                fast(given)
        np.testing.assert_array_equal(fast(good), want)


# -- other libraries' arrays -----------------------------------------------------------------------

@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_the_same_kind_out(fast, x, library):
    if CUDA.simulated:
        pytest.skip("the simulator has no device memory that another library could share")
    module = pytest.importorskip(library)
    given = module.tensor(x, device="cuda") if library == "torch" else module.asarray(x)
    result = fast(given)
    assert type(result) is type(given)
    host = result.cpu().numpy() if library == "torch" else module.asnumpy(result)
    np.testing.assert_array_equal(host, fast(x))


# -- what a model tells ----------------------------------------------------------------------------

def test_explain_source_asm_and_profile(fast, x):
    text = fast.explain()
    assert "weights: 1 KiB on the device" in text and "a call launches 2" in text
    assert "y, sizes, weights, scratch, buffers, fault, stream):" in fast.source
    if CUDA.simulated:
        for refused in (lambda: fast.profile(x), fast.asm):
            with pytest.raises(nncompile.InputError, match="simulator"):
                refused()
    else:
        assert ".entry" in fast.asm()
        assert len(fast.profile(x).seconds) == 2


def test_show_prints_the_source_of_a_device(tmp_path, capsys):
    path = tmp_path / "file.py"
    path.write_text("from nncompile import nn\nnet = nn.Linear(3, 2)\n")
    assert main(["show", f"{path}:net", "--target", "cuda", "--source"]) == 0
    assert "@cuda.jit" in capsys.readouterr().out


def test_a_traceback_shows_the_generated_line(fast, x, monkeypatch):
    import traceback

    class Broken:
        def __getitem__(self, _):
            raise ZeroDivisionError

    for name in fast._loaded._source.kernels:
        monkeypatch.setitem(fast._loaded._run.__globals__, name, Broken())
    try:
        fast(x)
    except ZeroDivisionError:
        assert "product_few" in traceback.format_exc()


def test_a_model_moved_to_cuda_is_compiled_for_it(model, x, fast):
    moved = copy.deepcopy(model).to("cuda")
    assert moved.state_dict().keys() == model.state_dict().keys()
    on_cuda = nncompile.compile(moved, "f32[B, 8]")
    assert "@cuda.jit" in on_cuda.source
    np.testing.assert_array_equal(on_cuda(x), fast(x))
    assert "@cuda.jit" not in nncompile.compile(moved.to("cpu"), "f32[B, 8]").source
    assert "@cuda.jit" not in nncompile.compile(copy.deepcopy(model), "f32[B, 8]").source


def test_devices_are_named_as_in_torch(model):
    moved = copy.deepcopy(model)
    for device in ("cuda", "cuda:0", nncompile.device("cuda")):
        assert "@cuda.jit" in nncompile.compile(moved.to(device), "f32[B, 8]").source
        assert "@cuda.jit" in nncompile.compile(moved[0], "f32[B, 8]").source
        assert "@cuda.jit" not in nncompile.compile(moved.cpu(), "f32[B, 8]").source
    for device in ("cuda:1", "abacus"):
        with pytest.raises(nncompile.InputError, match=f"device='{device}': there are cpu, cuda"):
            moved.to(device)


@pytest.mark.skipif(not CUDA.simulated, reason="a device has shared memory of its own")
def test_threads_of_a_simulated_block_share_one_array():
    """numba's simulator made two, now and then (shim.repair)."""
    kernelapi = importlib.import_module(cuda.jit.__module__.replace(".api", ".kernelapi"))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            shared, found = kernelapi.FakeCUDAShared(0), []
            start = threading.Barrier(8)

            def work(shared=shared, found=found, start=start):
                start.wait()
                found.append(id(shared.array((4, 4), np.float32)))

            block = [threading.Thread(target=work) for _ in range(8)]
            for thread in block:
                thread.start()
            for thread in block:
                thread.join()
            assert len(found) == 8 and len(set(found)) == 1
    finally:
        sys.setswitchinterval(before)


def test_a_model_without_inputs_writes_to_an_array_on_the_device():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.arange(4, dtype=np.float32))

        def forward(self):
            return self.weight.exp()

    fast = nncompile.compile(Constant().eval(), target="cuda")
    out = CUDA.module.device_array(4, np.float32)
    with pytest.raises(nncompile.InputError, match="takes 0 inputs, got 1; outputs are given"):
        fast(out)
    assert fast(out=out) is out
    np.testing.assert_allclose(out.copy_to_host(), np.exp(np.arange(4, dtype=np.float32)),
                               rtol=1e-6)
