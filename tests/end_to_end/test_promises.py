"""What every compiled model promises: safe in threads and processes, readable, portable."""
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import nncompile
from nncompile import nn
from tests.end_to_end.models import CASES

ROOT = Path(__file__).parents[2]


def compiled(name: str, **options):
    nn.manual_seed(0)
    return nncompile.compile(CASES[name].model().eval(), *CASES[name].types, **options)


def python(code: str, **environment: str) -> str:
    """Run code in a fresh process; what it prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_source_runs_without_numba(tmp_path):
    """NNCOMPILE_JIT=0: every model, in plain Python, beside the compiled results."""
    names = [name for name in CASES if name != "larger than a cache"]
    for name in names:
        fast, inputs = compiled(name), CASES[name].inputs(5)
        results = fast(*inputs)
        arrays = results if isinstance(results, tuple) else (results,)
        np.savez(tmp_path / f"{name}.npz", *arrays)
        (tmp_path / f"{name}.txt").write_text(fast.source)
    code = f"""
import sys, numpy as np
from pathlib import Path
from tests.end_to_end.models import CASES
from tests.end_to_end.test_promises import compiled
for name in {names!r}:
    fast, inputs = compiled(name), CASES[name].inputs(5)
    results = fast(*inputs)
    saved = np.load(Path({str(tmp_path)!r}) / (name + ".npz"))
    for got, key in zip(results if isinstance(results, tuple) else (results,), saved.files):
        np.testing.assert_allclose(got, saved[key], rtol=2e-4, atol=2e-5)
    assert fast.source == (Path({str(tmp_path)!r}) / (name + ".txt")).read_text()
assert "numba" not in sys.modules
print("same")
"""
    assert python(code, NNCOMPILE_JIT="0").strip() == "same"


def test_a_traceback_of_plain_python_shows_the_generated_line():
    code = """
import traceback, numpy as np, nncompile
from nncompile import nn
from nncompile.cpu.kernels import product
fast = nncompile.compile(nn.Sequential(nn.Linear(3, 2)).eval(), "f32[B, 3]")
fast._loaded._executable._scope["linear"] = lambda *a: 1 / 0
try:
    fast(np.zeros((2, 3), np.float32))
except ZeroDivisionError:
    print(traceback.format_exc())
"""
    assert "linear(input, 3, at(weights, W0), y, 2, rows, 3, 2)" in python(code, NNCOMPILE_JIT="0")


def test_a_second_process_needs_no_numba(tmp_path):
    code = """
import sys, numpy as np, nncompile
from nncompile import nn
fast = nncompile.compile(nn.Sequential(nn.Linear(3, 2), nn.Tanh()).eval(), "f32[B, 3]")
fast(np.zeros((2, 3), np.float32))
print("numba" in sys.modules)
"""
    cache = {"NNCOMPILE_CACHE_DIR": str(tmp_path / "cache")}
    assert python(code, **cache).strip() == "True"
    assert python(code, **cache).strip() == "False"


def test_threads_calling_several_models():
    models = {name: compiled(name, threads=2) for name in ("tanh policy", "residual", "encoder",
                                                           "larger than a cache")}
    inputs = {name: CASES[name].inputs(9) for name in models}
    want = {name: fast(*inputs[name]).tobytes() for name, fast in models.items()}
    wrong: list[str] = []

    def work(offset: int) -> None:
        names = list(models)
        for i in range(120):
            name = names[(i + offset) % len(names)]
            if models[name](*inputs[name]).tobytes() != want[name]:
                wrong.append(name)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def in_child(fast, x, want, queue):
    queue.put(fast(x).tobytes() == want)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes(method):
    """A model that has run with workers goes on in children: by fork as it is, else by pickle."""
    fast, (x,) = compiled("larger than a cache", threads=2), CASES["larger than a cache"].inputs(8)
    want = fast(x).tobytes()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=in_child, args=(fast, x, want, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=120) for _ in children] == [True, True]
    for child in children:
        child.join()
    assert fast(x).tobytes() == want


def test_structures_share_their_code():
    """Two models of one structure have one source: only weights differ."""
    a, b = (nncompile.compile(nn.Sequential(nn.Linear(5, 7), nn.ReLU()).eval(), "f32[B, 5]")
            for _ in range(2))
    x = np.ones((2, 5), np.float32)
    assert a.source == b.source
    assert not np.array_equal(a(x), b(x))


def test_compiling_a_parsed_graph():
    graph = compiled("digits").ir("traced")
    again = nncompile.compile(graph)
    inputs = CASES["digits"].inputs(3)
    np.testing.assert_array_equal(again(*inputs), compiled("digits")(*inputs))


def test_compiling_the_text_of_a_graph_in_a_file(tmp_path):
    file = tmp_path / "model.ir"
    file.write_text("graph g(%x: f32[B, 4]) -> f32[B, 4] {\n  %0: f32[B, 4] = exp(%x)\n"
                    "  return %0\n}\n")
    for path in (file, str(file)):
        fast = nncompile.compile(path, passes=())
        np.testing.assert_array_equal(fast(np.zeros((2, 4), np.float32)), 1)
    with pytest.raises(nncompile.InputError, match=r"there is no file .*other\.ir"):
        nncompile.compile(tmp_path / "other.ir")
    file.write_text("graph g(")
    with pytest.raises(nncompile.InputError, match=r"model\.ir, line 1"):
        nncompile.compile(file)


def test_pickles_hold_no_code():
    """What is pickled is the traced graph and options; the code is made again."""
    data = pickle.dumps(compiled("digits"))
    assert b"row_blocks" not in data and b"ELF" not in data


def test_sizes_that_a_slice_does_not_allow():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(np.arange(10, dtype=np.float32).reshape(5, 2))

        def forward(self, x):
            return x + self.position[:x.shape[1]]

    fast = nncompile.compile(Last().eval(), "f32[B, T, 2]")
    assert fast(np.zeros((1, 5, 2), np.float32)).sum() == 45
    with pytest.raises(nncompile.InputError, match=r"(?s)slice needs .*T = 6.*layer: *Last"):
        fast(np.zeros((1, 6, 2), np.float32))


def test_sizes_that_no_memory_could_hold():
    class Outer(nn.Module):
        def forward(self, a, b):
            return (a @ b.T).sum(dim=0)

    fast = nncompile.compile(Outer().eval(), "f32[B, 0]", "f32[T, 0]")
    with pytest.raises((nncompile.InputError, MemoryError)):
        fast(np.zeros((2**40, 0), np.float32), np.zeros((2**40, 0), np.float32))


@pytest.mark.parametrize("forward", [
    lambda x: x.transpose(1, 2) * 1, lambda x: nncompile.cat([x, x], 1), lambda x: x + 1,
    lambda x: nncompile.stack([x, x], 1), lambda x: x.repeat(1, 2, 1), lambda x: x.flip(2),
    lambda x: x.sort(2)[0], lambda x: x @ x.transpose(1, 2), lambda x: x.softmax(1)],
    ids=["transpose", "cat", "add", "stack", "repeat", "flip", "sort", "matmul", "softmax"])
def test_rows_without_elements_take_no_time(forward):
    """So many that a loop over them would not end."""
    class Model(nn.Module):
        def forward(self, x):
            return forward(x)

    fast = nncompile.compile(Model().eval(), "f32[A, B, C]")
    assert fast(np.zeros((2**45, 0, 3), np.float32)).size == 0
    assert fast(np.zeros((2, 5, 3), np.float32)).size > 0
