"""Schedules, workers, concurrent calls, and how many threads there are."""
import ctypes
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncompile.cpu import kernels, layout
from nncompile.cpu.layout import NEXT_BASE, QUEUE_BASE, QUEUE_CLAIMED, QUEUE_DONE
from nncompile.cpu.machine import L2, L3, MEMORY, caches, granted_cpus
from nncompile.cpu.objects.library import load_kernels
from nncompile.cpu.objects.link import Linker
from nncompile.cpu.runtime import POOL, launch, pool
from nncompile.cpu.vector.target import host
from nncompile.errors import Error
from tests.cpu.kernel_harness import compiled, worker_queues
from tests.cpu.runtime_models import BIG, WIDTHS, mlp, mlp_arena, mlp_float64, rows_of

WAYS = {                                      # how a batch is worked on
    "row blocks, alone": {"cache": L2, "threads": 1},
    "row blocks, shared": {"cache": L2, "threads": 3},
    "phases or row blocks": {"cache": L3, "threads": 2},
    "phases or row blocks of tiles": {"cache": MEMORY, "threads": 2},
    "phases, alone": {"by_rows": False, "threads": 1},
    "phases, shared": {"by_rows": False, "threads": 3},
}


def wait_until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def together(*functions):
    """Run them at the same time; the errors they raised."""
    errors = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("widths", [WIDTHS, BIG])
def test_every_way_gives_the_same_bits(widths):
    ways = {name: mlp(widths, **options) for name, options in WAYS.items()}
    for batch in (*range(9), 12, 13, 48, 97, 200, 1024):
        x = rows_of(widths, batch)
        results = {name: fast.call(x) for name, fast in ways.items()}
        want = results["phases, alone"]
        np.testing.assert_allclose(want, mlp_float64(x, widths), rtol=2e-5, atol=1e-6)
        assert {n for n, y in results.items() if y.tobytes() != want.tobytes()} == set(), batch


def test_rows_do_not_depend_on_the_batch():
    fast = mlp(BIG, threads=2)
    x = rows_of(BIG, 200)
    whole = fast.call(x)
    for start, stop in ((0, 1), (5, 6), (100, 113), (150, 200)):
        assert fast.call(x[start:stop]).tobytes() == whole[start:stop].tobytes()


def test_blocks_of_rows_are_shared_evenly():
    shared = launch.block_rows.python
    assert shared(0, 96, 6, 2) == 1
    for rows in (*range(1, 40), 64, 96, 97, 1000, 1024, 12345):
        for most, tile, workers in ((96, 6, 1), (96, 6, 2), (96, 4, 16), (1, 6, 3), (10, 6, 2)):
            block = shared(rows, most, tile, workers)
            blocks = math.ceil(rows / block)
            assert 1 <= block <= most
            assert blocks <= max(workers, 2 * math.ceil(rows / most) + workers)
            if workers == 1:
                assert block % tile == 0 or block == most or blocks == 1
            else:
                heaviest = math.ceil(blocks / workers) * block
                assert heaviest < rows / workers + math.ceil(blocks / workers)
    assert shared(1000, 96, 6, 2) == 84       # 12 blocks, 6 for each
    assert shared(64, 96, 6, 2) == 32         # not 36, which leaves 28 to the other
    assert shared(6, 96, 6, 2) == 3           # not 4, which leaves 2
    assert shared(7, 96, 6, 1) == 7 and shared(97, 96, 6, 1) == 54


@pytest.mark.parametrize("path", ["", "portable"])
def test_one_model_from_many_threads(path, monkeypatch):
    """Those who find its memory in use take their own."""
    monkeypatch.setenv("NNCOMPILE_CALL", path)
    for options in WAYS.values():
        fast = mlp(BIG, **options)
        inputs = [rows_of(BIG, batch) for batch in (1, 3, 8, 40)]
        want = [fast.call(x).tobytes() for x in inputs]

        def work(fast=fast, inputs=inputs, want=want):
            for i in range(100):
                assert fast.call(inputs[i % 4]).tobytes() == want[i % 4]

        assert together(*[work] * 8) == []


def test_several_models_share_the_workers():
    models = [mlp(widths, threads=2, seed=i) for i, widths in enumerate((WIDTHS, BIG, WIDTHS))]
    inputs = [rows_of(m, 64) for m in (WIDTHS, BIG, WIDTHS)]
    want = [m.call(x).tobytes() for m, x in zip(models, inputs, strict=True)]

    def work(i):
        for _ in range(150):
            assert models[i].call(inputs[i]).tobytes() == want[i]

    assert together(*[lambda i=i: work(i % 3) for i in range(6)]) == []


def test_more_threads_than_cpus():
    fast, x = mlp(BIG, by_rows=False, threads=9), rows_of(BIG, 50)
    want = mlp(BIG, threads=1).call(x).tobytes()
    for _ in range(30):
        assert fast.call(x).tobytes() == want
    assert POOL.words[layout.STARTED] >= 8


OVERSUBSCRIBED = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from tests.cpu.runtime_models import BIG, mlp, rows_of
x = rows_of(BIG, 50)
fast, alone = mlp(BIG, by_rows=False, threads=6), mlp(BIG, by_rows=False, threads=1)
want = alone.call(x).tobytes()
print(all(fast.call(x).tobytes() == want for _ in range(40)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_many_threads_of_many_processes_on_one_cpu():
    """Whoever waits for a unit gives way to who has it."""
    mlp(BIG, by_rows=False).call(rows_of(BIG, 1))           # compiled once, for all of them
    root = Path(__file__).resolve().parents[2]
    processes = [subprocess.Popen([sys.executable, "-c", OVERSUBSCRIBED], cwd=root, text=True,
                                  stdout=subprocess.PIPE) for _ in range(3)]
    assert [p.communicate()[0].strip() for p in processes] == ["True"] * 3


def test_who_finds_nothing_to_claim_waits_until_all_is_done():
    """Other workers have claimed both units, and one of them is not done for a long time."""
    kernel, target = kernels.reduce("sum"), host()
    loaded = Linker(target)
    load_kernels([kernel], target, loaded)
    types = [ctypes.c_int64 if t == "i" else ctypes.c_void_p for t in kernel.shared.types]
    code = ctypes.CFUNCTYPE(None, *types)(loaded.address(kernel.shared.symbol))
    x, y = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    queues = worker_queues(2)
    queues[:, QUEUE_CLAIMED], queues[0, QUEUE_DONE] = 1, 1
    waiting = threading.Thread(
        target=code, args=(queues[1].ctypes.data, x.ctypes.data, 3, y.ctypes.data, 2, 3))
    waiting.start()
    waiting.join(0.05)                        # far more than YIELD_AFTER pauses
    assert waiting.is_alive()
    queues[0, QUEUE_DONE] = 2
    waiting.join(20)
    assert not waiting.is_alive()
    assert y.tolist() == [0, 0]               # the units were not its own


@given(st.integers(1, 6).flatmap(lambda workers: st.tuples(st.just(workers), st.lists(
    st.sets(st.integers(0, workers - 1), max_size=workers - 1), min_size=1, max_size=3))),
    st.lists(st.integers(0, 200), min_size=3, max_size=3))
def test_every_unit_is_done_once_whoever_comes(workers_missing, rows):
    """Sums written over their terms: a row that is done twice would be summed twice. The queues
    still say what was done in the calls before, of other sizes and by others."""
    workers, calls = workers_missing
    queues = worker_queues(workers)
    for missing, count in zip(calls, rows, strict=False):
        x = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
        want = x.cumsum(axis=1)
        queues[:, QUEUE_BASE] += NEXT_BASE
        compiled(kernels.cumsum(), host().level).shared(
            workers, x, 3, x, 3, count, 3, missing=missing, queues=queues)
        assert x.tolist() == want.tolist()


def test_parked_workers_wake_again():
    fast, x = mlp(BIG, threads=2), rows_of(BIG, 8)
    want = fast.call(x).tobytes()
    for _ in range(5):
        wait_until(lambda: POOL.words[layout.SLEEPERS] == POOL.words[layout.STARTED])
        assert fast.call(x).tobytes() == want


def test_few_operations_stay_on_one_thread():
    def useful(flops, rows, by_rows=1, cache=L2, tile=6, workers=8, most=96, steps=4):
        state, facts = np.zeros(layout.SPECS, np.int64), np.zeros(8, np.int64)
        state[layout.ROW_BLOCKS], state[layout.CACHE] = by_rows, cache
        state[layout.TILE_ROWS] = tile
        state[layout.QUEUE_WORDS] = 16 * steps
        facts[layout.FLOPS], facts[layout.MOST_ROWS] = flops, most
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launch, "load", lambda words, i: int(words[i]))
            patch.setattr(launch, "load_pointer", lambda *_: {layout.WORTH: 150_000})
            count = launch.useful_workers.python(state, np.array([rows]), facts, workers)
            return count, "rows" if launch.in_row_blocks.python(
                state, np.array([rows]), facts, count) else "phases"

    assert useful(0, 0) == useful(149_999, 1000) == (1, "rows")
    assert useful(150_000, 1000) == (2, "rows") and useful(10 ** 9, 1000) == (8, "rows")
    assert [useful(600_000, rows) for rows in (2, 3, 4, 5)] == [       # one or two rows each
        (5, "phases"), (2, "rows"), (2, "rows"), (3, "rows")]
    assert useful(600_000, 2, most=1) == useful(600_000, 2, most=6) == (2, "rows")  # one, if large
    assert useful(10 ** 9, 3) == (8, "phases")                         # a lot a row
    assert [useful(600_000, 1, steps=steps, workers=2)[1] for steps in (6, 7)] == ["phases", "rows"]
    assert [useful(10 ** 9, rows, cache=L3)[1] for rows in (1, 17, 24, 97)] == [
        "phases", "phases", "rows", "rows"]              # 17 rows are not 8 times as many
    assert [useful(10 ** 9, rows, cache=MEMORY)[1] for rows in (1, 96, 97)] == [
        "phases", "phases", "rows"]
    assert useful(10 ** 9, 1000, by_rows=0) == (8, "phases")
    assert [useful(flops, 1000, by_rows=0, steps=4) for flops in (1_799_999, 1_800_000)] == [
        (1, "phases"), (2, "phases")]                                  # 4 steps, 3 meetings each


def test_a_model_tells_how_its_calls_are_shared():
    def sharing(rows, **options):
        return mlp(BIG, **options).sharing(np.array([rows]))

    assert sharing(1, cache=L3, threads=1) == (1, 1) and sharing(1, cache=L3, threads=2) == (2, 0)
    assert sharing(64, cache=L3, threads=2) == (2, 32)
    assert sharing(1000, cache=L2, threads=2) == (2, 84)
    assert sharing(9, by_rows=False, threads=2) == (2, 0)


def test_swapped_weights_are_the_old_or_the_new():
    fast, x = mlp(BIG, threads=2), rows_of(BIG, 120)
    arenas = [mlp_arena(BIG, seed) for seed in (0, 1)]
    allowed = {mlp(BIG, seed=seed).call(x).tobytes() for seed in (0, 1)}
    assert len(allowed) == 2
    done = threading.Event()

    def call():
        for _ in range(60):
            assert fast.call(x).tobytes() in allowed
        done.set()

    def swap():
        while not done.is_set():
            for arena in arenas:
                fast.swap_weights(arena.copy() if arena.ctypes.data % 64 else mlp_copy(arena))

    def mlp_copy(arena):                      # one that only the model holds
        copy = np.empty(arena.size + 16, np.float32)
        start = -copy.ctypes.data % 64 // 4
        copy[start:start + arena.size] = arena
        return copy[start:start + arena.size]

    assert together(call, call, swap) == []


def test_workers_take_no_signals():
    mlp(BIG, threads=2).call(rows_of(BIG, 64))
    numbers = POOL.words[layout.THREADS:layout.THREADS + int(POOL.words[layout.STARTED])]
    wait_until(numbers.all)
    blocked = []
    for number in numbers:
        status = Path(f"/proc/self/task/{number}/status").read_text()
        mask = int(status.split("SigBlk:")[1].split()[0], 16)
        blocked.append(mask >> (signal.SIGINT - 1) & 1)
    assert blocked and all(blocked)


# -- how many threads ------------------------------------------------------------------------------

def test_default_threads(monkeypatch):
    monkeypatch.delenv("NNCOMPILE_THREADS", raising=False)
    monkeypatch.setattr(pool, "usable_cpus", lambda: set(range(6)))
    monkeypatch.setattr(pool, "granted_cpus", lambda: math.inf)
    assert pool.default_threads() == 6
    monkeypatch.setattr(pool, "granted_cpus", lambda: 2.5)
    assert pool.default_threads() == 3
    monkeypatch.setenv("NNCOMPILE_THREADS", "5")
    assert pool.default_threads() == mlp().threads == 5
    for wrong in ("0", "-2", "many", "2.5", "99999"):
        monkeypatch.setenv("NNCOMPILE_THREADS", wrong)
        with pytest.raises(Error, match=f"NNCOMPILE_THREADS={wrong}"):
            pool.default_threads()


def test_elsewhere_there_is_one_thread(monkeypatch):
    monkeypatch.delenv("NNCOMPILE_THREADS", raising=False)
    monkeypatch.setattr(pool.platform, "machine", lambda: "riscv64")
    assert pool.default_threads() == 1 and mlp(threads=1).call(rows_of(WIDTHS, 1)).shape == (1, 6)
    with pytest.raises(Error, match="riscv64; use threads=1"):
        mlp(threads=2)


@pytest.mark.parametrize(("group", "files", "granted"), [
    ("0::/\n", {}, math.inf),
    ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
    ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
    ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "200000 100000",
                   "a/b/cpu.max": "300000 100000"}, 2),
    ("0::/not/there\n", {"cpu.max": "50000 100000"}, 1),
    ("4:cpu,cpuacct:/\n3:memory:/\n",
     {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 2.5),
    ("4:cpu,cpuacct:/x\n",
     {"cpu,cpuacct/x/cpu.cfs_quota_us": "-1", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
     math.inf),
    ("0::/\n", {"cpu.max": "nonsense"}, math.inf),
    ("", {"cpu.max": "100 100"}, math.inf),
])
def test_control_groups(tmp_path, group, files, granted):
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text + "\n")
    (tmp_path / "group").write_text(group)
    assert granted_cpus(tmp_path / "root", tmp_path / "group") == granted
    assert granted_cpus(tmp_path, tmp_path / "none") == math.inf


def test_cache_sizes(tmp_path):
    for index, (level, kind, size) in enumerate((
            ("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M"),
            ("3", "Unified", "64M"))):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    assert caches.cache_bytes(tmp_path) == {1: 48 << 10, 2: 2 << 20, 3: 64 << 20}
    assert caches.cache_bytes(tmp_path / "none") == {}
    assert [caches.cache_of(size, tmp_path) for size in (0, 2 << 20, 3 << 20, 64 << 20, 1 << 30)
            ] == [L2, L2, L3, L3, MEMORY]
    assert [caches.cache_of(size, tmp_path / "none") for size in (1 << 20, 2 << 20)] == [L2, MEMORY]
