"""A child that is forked while other threads are in the middle of something works as any other."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nncompile
from ir.records import cached_property, dataclass
from nncompile import forks, nn

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
              pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]
ROOT = Path(__file__).parents[1]

# Each name is what other threads do over and over while the process forks.
WORK = {
    "draw": "nn.init.normal_(np.empty(3_000_000, np.float32))",
    "seed": "torch.manual_seed(3); torch.rand(100_000)",
    "trace": "torch.trace(made(16), 'f32[B, 16]')",
    "compile": "torch.compile(made(next(widths)), 'f32[B, 16]')",
    "load": "fast.load_weights(model.state_dict())",
    "njit": "numba.njit(lambda x: x + 1.5)(next(widths))",
}
SCRIPT = """
import faulthandler, itertools, os, sys, threading, time
import numpy as np
import nncompile as torch
from nncompile import nn
work = compile(sys.argv[1], "work", "exec")
widths = itertools.count(17)
def made(width):
    return nn.Sequential(nn.Linear(16, width), nn.LayerNorm(width), nn.Linear(width, 4)).eval()
model = made(16)
x = np.ones((3, 16), np.float32)
if "fast" in sys.argv[1]:
    fast = torch.compile(model, "f32[B, 16]")
if "numba" in sys.argv[1]:
    import numba
begun, stop = threading.Event(), threading.Event()
def busy():
    while not stop.is_set():
        exec(work)
        begun.set()
others = [threading.Thread(target=busy) for _ in range(2)]
for other in others: other.start()
begun.wait()
for i in range(5):
    time.sleep(0.017 * i)
    child = os.fork()
    if not child:
        faulthandler.dump_traceback_later(60, exit=True)        # ends a child that waits forever
        nn.init.normal_(np.empty(10, np.float32))
        again = made(1000 + i)
        compiled = torch.compile(again, "f32[B, 16]")
        compiled.load_weights(made(1000 + i).state_dict())
        import gc
        right = compiled(x).shape == (3, 4) and gc.isenabled()
        os._exit(0 if right else 2)
    status = os.waitpid(child, 0)[1]
    if status:
        print("child", i, "ended with", status, flush=True)
        os._exit(1)
stop.set()
for other in others: other.join()
print("right")
"""


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_children_of_a_busy_process(work: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, work], cwd=ROOT,
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NNCOMPILE_CACHE_DIR": str(tmp_path / "cache")})
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stdout + done.stderr


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    """A thread in the middle of a cached property of one record."""
    thread = threading.Thread(target=lambda: Slow(1).value)
    thread.start()
    Slow.begun.wait()
    yield thread
    Slow.go_on.set()
    thread.join()


@dataclass(frozen=True)
class Slow:
    number: int
    begun, go_on = threading.Event(), threading.Event()

    @cached_property
    def value(self) -> int:
        """Half of the number."""
        if self.number:
            Slow.begun.set()
            Slow.go_on.wait(60)
        return self.number // 2


def test_a_cached_property_holds_no_lock(thread: threading.Thread) -> None:
    done: list[int] = []
    other = threading.Thread(target=lambda: done.append(Slow(0).value), daemon=True)
    other.start()
    other.join(20)
    assert done == [0]
    assert Slow.value.__doc__ == "Half of the number."


def test_a_cached_property_is_computed_once() -> None:
    counts = []

    class Counting:
        @cached_property
        def value(self) -> object:
            counts.append(1)
            return object()

    one = Counting()
    assert one.value is one.value and len(counts) == 1
    del one.value
    assert one.value is not Counting().value and len(counts) == 3


def exit_status(child: int) -> int:
    return os.waitpid(child, 0)[1]


def test_a_fork_waits_and_blocks_nobody_in_any_order() -> None:
    """Threads take two locks in opposite orders, each of which a fork needs too."""
    first, second, stop = forks.lock(), forks.lock(), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            with first, second:
                half.append(1)
                half.pop()

    half: list[int] = []
    others = [threading.Thread(target=busy) for _ in range(3)]
    for other in others:
        other.start()
    for _ in range(30):
        if (child := os.fork()) == 0:
            free = first.acquire(timeout=5) and second.acquire(timeout=5)
            os._exit(0 if free and not half else 1)
        assert exit_status(child) == 0
    stop.set()
    for other in others:
        other.join()


def test_a_thread_may_fork_while_it_holds_a_lock_itself() -> None:
    mine = forks.lock()
    with mine:
        if (child := os.fork()) == 0:
            mine.release()
            os._exit(0)
        assert exit_status(child) == 0


def test_the_locks_of_others_are_found() -> None:
    """The names are private ones of numba and llvmlite, which may go with a version."""
    import numba
    fast = nncompile.compile(nn.Linear(3, 2).eval(), "f32[B, 3]")
    assert fast(np.ones((1, 3), np.float32)).shape == (1, 2) and numba.__version__
    assert forks._numba_compiles() is not None and forks._llvm_works() is not None
