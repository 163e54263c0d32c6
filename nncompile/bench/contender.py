"""Contenders: what is timed, a compiled model or a peer, in this process or in one of its own.

A process of its own has as many CPUs as the contender is to have threads before any library is
imported, since some libraries settle the number of their threads then for good. When it ends, its
memory and threads are gone, and a library that crashes does not end the benchmark.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from ir import Graph, NDArray
from nncompile.bench.compilers import COMPILERS, FALLBACK
from nncompile.bench.expected import Expected, Wrong, check
from nncompile.bench.laps import Lap, lap, offered, sampled, served
from nncompile.bench.machine import blas_threads
from nncompile.bench.peers import PEERS as PLAIN_PEERS
from nncompile.bench.peers import Peer, Sets, Unavailable, Way, in_turn
from nncompile.bench.report import OURS
from nncompile.bench.work import weight_bytes
from nncompile.compiler import compile
from nncompile.counterparts import NoCounterpart
from nncompile.cpu.machine import cores
from nncompile.errors import Error
from nncompile.model import CompiledModel

Outputs = Sequence[Sequence[Expected]]
PEERS: dict[str, Peer] = PLAIN_PEERS | COMPILERS
DEFAULT_PEERS = tuple(PLAIN_PEERS)
NEEDS = {"numpy": ("threadpoolctl",), "torch": ("torch",), "onnxruntime": ("onnx", "onnxruntime"),
         "torch.compile": ("torch",), "openvino": ("onnx", "openvino"), "jax": ("jax",)}
OWN_PROCESS = frozenset(COMPILERS)       # whose threads are settled when the library starts

PEAK, READS = _CEILINGS = "peak", "reads"     # see _Ceiling

_TIMEOUT = 900.0         # seconds that a contender in its own process has for an answer


def lacking(peer: str) -> str:
    """Returns the package that a peer needs and that is not installed; "" if it has all."""
    def is_there(module: str) -> bool:
        try:
            return find_spec(module) is not None
        except ValueError:                       # it was taken out of sys.modules
            return False

    return next((module for module in NEEDS.get(peer, ()) if not is_there(module)), "")


class Contender(Protocol):
    """What the benchmark needs of something that it times."""

    def prepare(self, sets: Sets, expected: Outputs, callers: int = 1) -> int:
        """Prepares for these inputs, checks all ways to run them, and returns their number.

        sets, expected: for each call the inputs and the outputs, the first again after the last.
        callers: threads that will call at the same time, each with what it needs of its own.
        Raises Wrong, Unavailable, or whatever error the contender itself meets.
        """

    def time(self, way: int, count: int) -> Lap:
        """Returns the mean time of `count` calls, after a fourth as many that are not timed."""

    def sample(self, way: int, count: int) -> Lap:
        """Returns the same with the time of each call, in which a reading of the clock is."""

    def offer(self, way: int, seconds: float) -> Lap:
        """Returns the time of calls that all callers make one after the other for so long."""

    def serve(self, way: int, arrivals: Sequence[float]) -> Lap:
        """Returns the time of calls that arrive at these moments, from then until they are done."""

    def close(self) -> None:
        """Releases all resources."""


# -- in this process -------------------------------------------------------------------------------

class Here(Contender):
    """A contender that runs in this process and shares its memory with others."""

    def __init__(self, name: str, graph: Graph, threads: int, peer: Peer | None = None) -> None:
        self.peer = peer or (ours(compile(graph)) if name == OURS else PEERS[name])
        self.graph, self.threads = graph, threads
        self.ways: list[list[Way]] = []          # of each caller

    def prepare(self, sets: Sets, expected: Outputs, callers: int = 1) -> int:
        self.ways = []                           # frees the case before
        with blas_threads(self.threads):
            ways = [self.peer(self.graph, sets, self.threads) for _ in range(callers)]
            for way in (way for own in ways for way in own):
                for outputs in expected:
                    check(way(), outputs)
        self.ways = ways
        return len(ways[0])

    def time(self, way: int, count: int) -> Lap:
        with blas_threads(self.threads):
            return lap(self.ways[0][way], count)

    def sample(self, way: int, count: int) -> Lap:
        with blas_threads(self.threads):
            return sampled(self.ways[0][way], count)

    def offer(self, way: int, seconds: float) -> Lap:
        with blas_threads(self.threads):
            return offered([own[way] for own in self.ways], seconds)

    def serve(self, way: int, arrivals: Sequence[float]) -> Lap:
        with blas_threads(self.threads):
            return served([own[way] for own in self.ways], arrivals)

    def close(self) -> None:
        self.ways = []


def ours(compiled: CompiledModel) -> Peer:
    """Returns the compiled model as a peer: only its plain call, which makes new outputs."""
    def ways(graph: Graph, sets: Sets, threads: int) -> list[Way]:
        compiled.threads = threads
        if len(graph.outputs) == 1:
            return [in_turn([partial(_single, compiled, arrays) for arrays in sets])]
        return [in_turn([partial(compiled, *arrays) for arrays in sets])]

    return ways


def _single(compiled: CompiledModel, arrays: Sequence[NDArray]) -> list[NDArray]:
    return [compiled(*arrays)]


class _Ceiling(Contender):
    """A machine limit that is measured in the same rounds as the contenders.

    "peak": seconds a floating-point operation. "reads": seconds a byte read from the cache level or
    memory that the graph's weights fit into.
    """

    def __init__(self, name: str, graph: Graph, threads: int) -> None:
        from nncompile.cpu.machine.ceilings import peak, reader

        self.call, self._work = (peak(threads) if name == PEAK
                                 else reader(max(weight_bytes(graph), 1 << 12), threads))

    def prepare(self, sets: Sets, expected: Outputs, callers: int = 1) -> int:
        return 1

    def time(self, way: int, count: int) -> Lap:
        self.call()
        cpu, begin = time.process_time(), time.perf_counter()
        self.call()
        seconds = time.perf_counter() - begin
        return Lap(seconds / self._work, (time.process_time() - cpu) / self._work)

    def sample(self, way: int, count: int) -> Lap:
        return self.time(way, count)

    def offer(self, way: int, seconds: float) -> Lap:
        return self.time(way, 1)

    def serve(self, way: int, arrivals: Sequence[float]) -> Lap:
        return self.time(way, 1)

    def close(self) -> None:
        self.call = lambda: None


# -- in a process of its own -----------------------------------------------------------------------

class Elsewhere(Contender):
    """A contender in a process of its own, with as many CPUs as it is to have threads.

    Where the process crashes while it prepares, another one tries, with FALLBACK set.
    """

    def __init__(self, name: str, graph: Graph, threads: int) -> None:
        self.name, self.graph, self.threads = name, graph, threads
        self.start()

    def start(self, **variables: str) -> None:
        """Starts the process, with these environment variables beside the inherited ones."""
        self.errors = tempfile.TemporaryFile()                         # noqa: SIM115 (see close)
        self.pipe, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nncompile.bench", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self.errors,
            stderr=self.errors,
            env=environment(self.threads) | variables)
        theirs.close()
        self.pipe.send((self.name, self.graph, self.threads))

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.process.pid

    def prepare(self, sets: Sets, expected: Outputs, callers: int = 1) -> int:
        question = "prepare", [list(s) for s in sets], [list(s) for s in expected], callers
        if self.process.poll() is not None:      # it broke down in the case before
            self._restart()
        try:
            return int(self.ask(*question))
        except Broken:
            self._restart(**{FALLBACK: "1"})
            return int(self.ask(*question))

    def _restart(self, **variables: str) -> None:
        self.close()
        self.start(**variables)

    def time(self, way: int, count: int) -> Lap:
        answer: Lap = self.ask("time", way, count)
        return answer

    def sample(self, way: int, count: int) -> Lap:
        answer: Lap = self.ask("sample", way, count)
        return answer

    def offer(self, way: int, seconds: float) -> Lap:
        answer: Lap = self.ask("offer", way, seconds)
        return answer

    def serve(self, way: int, arrivals: Sequence[float]) -> Lap:
        answer: Lap = self.ask("serve", way, list(arrivals))
        return answer

    def ask(self, *question: Any) -> Any:
        """Sends a question and returns the answer, or raises the error that the process met.

        Raises Broken where the process has ended or does not answer.
        """
        try:
            self.pipe.send(question)
            if not self.pipe.poll(_TIMEOUT):
                self.process.kill()
                raise Broken(f"no answer within {_TIMEOUT:.0f} s")
            answer = self.pipe.recv()
        except (EOFError, OSError):
            raise Broken(f"its process ended: {self._last_words()}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _last_words(self) -> str:
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"

    def close(self) -> None:
        self.pipe.close()                        # its end of file: the process ends by itself
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


def environment(threads: int) -> dict[str, str]:
    """Returns the environment variables that Python and the libraries read when they start."""
    search = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu", "PYTHONPATH": search,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_COMPILE_THREADS": "1"}          # no processes that stay


def serve(pipe: Connection) -> None:
    """Answers the questions of an Elsewhere until it closes the pipe."""
    name, graph, threads = pipe.recv()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])
    contender: Contender | None = None
    while True:
        try:
            method, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            if contender is None:
                contender = (_Ceiling if name in _CEILINGS else Here)(name, graph, threads)
            with np.errstate(all="ignore"):
                answer = getattr(contender, method)(*arguments)
        except Exception as error:               # the other side raises it
            answer = _portable(error)
        pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """Returns an error of which the other process has the class."""
    first = str(error).strip().partition("\n")[0]
    known: Callable[[str], Exception] = next(
        (kind for kind in (Wrong, Unavailable, NoCounterpart) if isinstance(error, kind)), Failed)
    return known(first if known is not Failed else f"{type(error).__name__}: {first}")


class Failed(Error):
    """Any other error of a contender; the text has its class."""


class Broken(Error):
    """A contender's process that has ended or does not answer."""


def reason(error: Exception) -> str:
    """Returns an error as a note: `wrong: ...`, `missing: ...` or `failed: ...`."""
    first = str(error).strip().partition("\n")[0]
    match error:
        case Wrong():
            return f"wrong: {first}"
        case Unavailable() | NoCounterpart():
            return f"missing: {first}"
        case Failed() | Broken():
            return f"failed: {first}"
        case _:
            return f"failed: {type(error).__name__}: {first}"
