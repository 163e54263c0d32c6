"""The loops that time calls: many in a row, one by one, from several threads, as they arrive."""
from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

_SPIN = 0.0005           # seconds before an arrival in which the clock is watched, not slept


class Lap(NamedTuple):
    """The time of a call.

    seconds: by the clock; of concurrent callers, the time of all over the number of calls.
    cpu: CPU seconds of all threads of the process, a call. samples: the seconds of single calls.
    """

    seconds: float
    cpu: float
    samples: tuple[float, ...] = ()


def lap(way: Callable[[], object], count: int) -> Lap:
    """Returns the mean time of `count` calls, after calls that wake threads and fill caches."""
    for _ in range(count // 4 + 1):
        way()
    cpu, begin = time.process_time(), time.perf_counter()
    for _ in range(count):
        way()
    seconds = time.perf_counter() - begin
    return Lap(seconds / count, (time.process_time() - cpu) / count)


def sampled(way: Callable[[], object], count: int) -> Lap:
    """Returns the time of each of `count` calls, from one reading of the clock to the next."""
    now = time.perf_counter
    for _ in range(count // 4 + 1):
        way()
    cpu = time.process_time()
    marks = [now()]
    for _ in range(count):
        way()
        marks.append(now())
    cpu = time.process_time() - cpu
    samples = tuple(b - a for a, b in pairwise(marks))
    return Lap((marks[-1] - marks[0]) / count, cpu / count, samples)


def clock_seconds() -> float:
    """Returns what one reading of the clock adds to a sample: the least of several rounds."""
    return min(sampled(_nothing, 1000).seconds for _ in range(5))


def _nothing() -> None:
    pass


def offered(ways: Sequence[Callable[[], object]], seconds: float) -> Lap:
    """Returns the time of calls that each way makes in a thread of its own, for so many seconds.

    Each thread calls once before the clock starts. Calls that begin in time are completed.
    """
    found: list[list[float]] = [[] for _ in ways]
    errors: list[BaseException] = []
    ready = threading.Barrier(len(ways) + 1)

    def caller(way: Callable[[], object], samples: list[float]) -> None:
        try:
            way()
            ready.wait()
            begin = last = time.perf_counter()
            while last - begin < seconds:
                way()
                now = time.perf_counter()
                samples.append(now - last)
                last = now
        except BaseException as error:                       # the starting thread raises it
            errors.append(error)
            ready.abort()

    threads = [threading.Thread(target=caller, args=pair)
               for pair in zip(ways, found, strict=True)]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):             # by an error of a caller
        ready.wait()
    cpu, begin = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - begin, time.process_time() - cpu
    _raise_first(errors)
    samples = tuple(sample for own in found for sample in own)
    return Lap(elapsed / len(samples), cpu / len(samples), samples)


def served(ways: Sequence[Callable[[], object]], arrivals: Sequence[float]) -> Lap:
    """Returns the time of calls from the moment of their arrival, free or not as a way is then.

    ways: one for each server, each in a thread of its own. arrivals: seconds from the start, in
    order. A call that has to wait for a server has waited by its sample, too, so that a slow call
    is not hidden by those that it delays ("coordinated omission").
    """
    for way in ways:
        way()
    cpu, begin = time.process_time(), time.perf_counter()
    samples = (_serve_alone if len(ways) == 1 else _serve_together)(
        ways, [begin + arrival for arrival in arrivals])
    elapsed, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return Lap(elapsed / len(samples), cpu / len(samples), tuple(samples))


def _serve_alone(ways: Sequence[Callable[[], object]], arrivals: Sequence[float]) -> list[float]:
    samples = []
    for arrival in arrivals:
        _wait_until(arrival)
        ways[0]()
        samples.append(time.perf_counter() - arrival)
    return samples


def _serve_together(ways: Sequence[Callable[[], object]], arrivals: Sequence[float]
                    ) -> list[float]:
    waiting: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    samples: list[float] = []                                # list.append is atomic
    errors: list[BaseException] = []

    def server(way: Callable[[], object]) -> None:
        try:
            while (arrival := waiting.get()) is not None:
                way()
                samples.append(time.perf_counter() - arrival)
        except BaseException as error:                       # the starting thread raises it
            errors.append(error)

    threads = [threading.Thread(target=server, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for arrival in arrivals:
        _wait_until(arrival)
        waiting.put(arrival)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()
    _raise_first(errors)
    return samples


def _wait_until(moment: float) -> None:
    if (rest := moment - time.perf_counter() - _SPIN) > 0:
        time.sleep(rest)
    while time.perf_counter() < moment:
        time.sleep(0)                                        # lets the servers run


def _raise_first(errors: Sequence[BaseException]) -> None:
    if errors:
        raise errors[0]
