"""Our workers beside numba's threading layers: python -m benchmarks.layers writes docs/threads.md.

All of them share the same job between two threads: two pieces, each a chain of multiplications that
takes as long as it is told to, compiled by numba for everybody. Each is measured in a process of
its own; what makes it crash is tried in a process, too.
"""
from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.results import ROOT, libraries
from nncompile.bench.machine import describe
from nncompile.cpu.objects.compile import compile_functions, runtime, runtime_function
from nncompile.cpu.objects.link import linker
from nncompile.cpu.objects.primitives import Pointer, atomic_add, atomic_store, null, store
from nncompile.cpu.runtime.load import load_runtime
from nncompile.cpu.runtime.pool import POOL, share
from nncompile.cpu.vector.target import host

_OURS, _LAYERS = "nncompile", ("nncompile", "omp", "tbb", "workqueue")
_STEPS = {"nothing": 0, "5 us": 5_000, "50 us": 50_000}    # of a piece; a step takes about 1 ns
_TIMES, _ROUNDS, _PAUSE = 100, 40, 0.01

_Region = Callable[[int, int], None]          # so many steps a piece, so many times
_Alone = Callable[[int], None]                # both pieces on one thread


# -- the job ---------------------------------------------------------------------------------------

@runtime
def pieces(args: Pointer, sizes: Pointer, weights: Pointer, scratch: Pointer, steps: int,
           queue: Pointer, fault: Pointer, me: int) -> None:
    """Runs two pieces, which the workers claim one by one."""
    piece = atomic_add(queue, 0, 1)
    while piece < 2:
        x = piece
        for _ in range(steps):
            x = x * 6364136223846793005 + 1442695040888963407
        store(queue, 8 + 8 * piece, x)
        piece = atomic_add(queue, 0, 1)


@runtime
def regions(pool: Pointer, queue: Pointer, job: Pointer, steps: int, times: int) -> None:
    """Runs so many regions one after the other, each of two pieces."""
    for _ in range(times):
        atomic_store(queue, 0, 0)
        share(pool, 2, job, null(), null(), null(), null(), steps, queue, 0, 0, null())


def our_region() -> tuple[_Region, _Alone]:
    """Returns calls of our pool: of regions, and of both pieces on one thread."""
    target = host()
    load_runtime(target)
    code = linker(target)
    ours = [runtime_function(pieces), runtime_function(regions)]
    code.add(compile_functions(ours, target, [f.symbol for f in ours]))
    POOL.start(2, code.address("nnc_worker"))
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    call = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, word, word)(
        code.address("nnc_regions"))
    job = code.address("nnc_pieces")
    body = ctypes.CFUNCTYPE(None, *[pointer] * 4, word, pointer, pointer, word)(job)
    queue = np.zeros(64, np.int64)

    def region(steps: int, times: int) -> None:
        call(POOL.address, queue.ctypes.data, job, steps, times)

    def both(steps: int) -> None:
        queue[0] = 0
        body(None, None, None, None, steps, queue.ctypes.data, None, 0)

    return region, both


def _numba_region() -> tuple[_Region, _Alone]:
    """The layer is chosen by the variable NUMBA_THREADING_LAYER."""
    import numba

    @numba.njit(parallel=True, nogil=True)  # type: ignore[untyped-decorator]
    def once(steps: int, out: Any) -> None:
        for piece in numba.prange(2):
            x = piece
            for _ in range(steps):
                x = x * 6364136223846793005 + 1442695040888963407
            out[8 * piece] = x

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def regions(steps: int, times: int, out: Any) -> None:
        for _ in range(times):
            once(steps, out)

    def region(steps: int, times: int) -> None:
        numba.set_num_threads(2)
        regions(steps, times, np.zeros(16, np.int64))

    def both(steps: int) -> None:
        numba.set_num_threads(1)
        regions(steps, 1, np.zeros(16, np.int64))

    return region, both


# -- what is measured ------------------------------------------------------------------------------

def measure(layer: str) -> dict[str, float]:
    """Microseconds of a region, beyond the work of a piece: the median of many rounds."""
    region, both = our_region() if layer == _OURS else _numba_region()
    region(0, 1)
    found = {}
    for name, steps in _STEPS.items():
        pieces = (median(lambda: both(steps)) - median(lambda: both(0))) / 2       # noqa: B023
        found[name] = median(lambda: region(steps, _TIMES)) / _TIMES - pieces     # noqa: B023
    found["after a pause"] = median(lambda: region(0, 1), lambda: time.sleep(_PAUSE))
    region(0, _TIMES)
    busy = time.process_time()
    time.sleep(1)
    found["idle"] = time.process_time() - busy
    return found


def median(call: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Returns the median microseconds of a call over many rounds, with another call before each."""
    taken = []
    for _ in range(_ROUNDS):
        before()
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(taken)


def _sharing(layer: str) -> Callable[[], object]:
    """A call that shares work, and has done so once."""
    if layer == _OURS:
        call = _our_model()
    else:
        region, _ = _numba_region()
        call = partial(region, 1000, 20)
    call()
    return call


def two_callers(layer: str) -> None:
    """Lets two threads share work at the same time; ours do so through models, as users do."""
    call = _sharing(layer)
    threads = [threading.Thread(target=lambda: [call() for _ in range(500)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def after_fork(layer: str) -> None:
    """Lets the child of a process that has shared work share work, too."""
    call = _sharing(layer)
    child = os.fork()
    if child == 0:
        call()
        os._exit(0)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            sys.exit(os.waitstatus_to_exitcode(status) != 0)
        time.sleep(0.01)
    os.kill(child, 9)
    sys.exit("it hangs")


def _our_model() -> Callable[[], object]:
    import nncompile
    from nncompile import nn

    fast = nncompile.compile(nn.Linear(256, 256), "f32[B, 256]", threads=2)
    x = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    return lambda: fast(x)


# -- all of it -------------------------------------------------------------------------------------

def _in_process(layer: str, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks.layers", what, layer], cwd=ROOT,
                          env=os.environ | {"NUMBA_THREADING_LAYER": layer} if layer != _OURS
                          else None, capture_output=True, text=True, timeout=300)


def _row(layer: str) -> str:
    measured = _in_process(layer, "measure")
    if measured.returncode:
        reason = (measured.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"| {layer} | not there: {reason} |" + " |" * 6
    found = json.loads(measured.stdout)
    times = [f"{found[name]:.2f}" for name in (*_STEPS, "after a pause")]
    outcomes = ["yes" if _in_process(layer, what).returncode == 0 else "**crashes**"
                for what in ("two_callers", "after_fork")]
    return f"| {layer} | " + " | ".join([*times, f"{found['idle']:.2f}", *outcomes]) + " |"


_PAGE = """\
# Threads

[Use threads](how-to/threads.md) and the head of `nncompile/cpu/runtime/pool.py` say how a call is
shared among threads. This page compares our pool of worker threads with the three threading layers
of numba; `python -m benchmarks.layers` measures it anew.

Two threads share two equal pieces of work. A piece is the same loop, compiled by numba, for every
layer. The columns are:

- **nothing, 5 us, 50 us**: the microseconds that a parallel region takes longer than one piece of
  work, where a piece takes no time, 5 us or 50 us, and one region follows the other. The time of a
  piece is half of what both pieces take in the same code on one thread.
- **after a pause**: the same for an empty region after 10 ms of rest.
- **idle**: the CPU seconds that the process uses in one second of rest.
- **two callers**: whether two threads may share work at the same time.
- **after fork**: whether a forked child can share work.

| layer | nothing, us | 5 us | 50 us | after a pause | idle, CPU s | two callers | after fork |
|---|---|---|---|---|---|---|---|
{rows}

Measured on: **{machine}**. {libraries}.

A second caller does not wait for the workers while the first one uses them: it computes alone, and
its rows have the same bits. Our workers spin for half a millisecond after a job, which makes the
next call cheap, and then sleep; numba's OpenMP layer spins or sleeps as its runtime is told to
(`OMP_WAIT_POLICY`).
"""


def main() -> None:
    """Measures every layer and writes the page."""
    if len(sys.argv) == 3:
        result = {"measure": measure, "two_callers": two_callers, "after_fork": after_fork}[
            sys.argv[1]](sys.argv[2])
        print(json.dumps(result))
        return
    rows = [_row(layer) for layer in _LAYERS]
    known = ", ".join(f"{name} {version}" for name, version in libraries().items()
                      if name in ("numba", "llvmlite", "numpy"))
    (ROOT / "docs/threads.md").write_text(_PAGE.format(
        rows="\n".join(rows), machine=describe(), libraries=known))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
