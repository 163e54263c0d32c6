"""Worker threads that all models of the process share, and how a job is given to them.

Workers are plain pthreads that never run Python: after a job they spin for about half a
millisecond, and then sleep on a futex. The first half of this file is compiled. Its rules:

* BUSY is held by one caller at a time. Another caller does not wait: it computes alone.
* A job is open while OPEN holds its number. A worker joins by ACTIVE += 1 and then reading OPEN;
  the caller closes by exchanging OPEN for 0 and then reading ACTIVE. All of these are full
  barriers: either the worker sees that the job is closed, or the caller sees the worker and waits
  until it has left. (Closing with a mere release store would let a late worker in.)
* What describes the job is written only while it is closed and ACTIVE is 0, and read only by
  workers that have joined.
* Workers that join draw a ticket, so that any of them may help, whichever the system woke; a ticket
  of JOB_WORKERS or more does nothing. If the job is for all of them, each has the same ticket in
  every call, and so the same part of the weights in its cache.
* Work inside a job is claimed in lots, and the caller waits only for workers that have joined. A
  worker that sleeps too long, or gets no CPU, costs its help and nothing else.
* A worker that is about to sleep does SLEEPERS += 1; then the system compares NUMBER with what the
  worker has seen. A caller adds to NUMBER, then reads SLEEPERS. So no wake-up is lost.
* Linux likes to wake a thread on the CPU of the thread that wakes it, where it would wait for
  milliseconds for a caller that spins. So parked workers are kept off that CPU before they are
  woken.
"""
from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from nncompile import options
from nncompile.cpu import layout
from nncompile.cpu.machine import granted_cpus, usable_cpus
from nncompile.cpu.objects import runtime
from nncompile.cpu.objects.primitives import (
    Pointer,
    atomic_add,
    atomic_load,
    atomic_store,
    exchange,
    indirect,
    load,
    load_pointer,
    null,
    publish,
    relax,
    stack,
    store,
    store_pointer,
    symbol,
    words,
)
from nncompile.cpu.runtime.float_mode import STANDARD, set_float_mode
from nncompile.errors import Error, warn_caller

DEFAULT_WORTH = 50_000                        # until the first use, when costs.py measures it
SPINS = 20_000                                # of a worker, about half a millisecond
_YIELD_AFTER = 2_000                          # of a caller: then there are more threads than CPUs
STACK_BYTES = 1 << 20                         # of a worker; kernels use up to 200 KiB
_FUTEX_WAIT, _FUTEX_WAKE = 128, 129           # private to the process

# Numbers of system calls: futex, gettid
_SYSTEM_CALLS = {"x86_64": (202, 186), "aarch64": (98, 178)}
_FUTEX, _GETTID = _SYSTEM_CALLS.get(platform.machine(), (-1, -1))

_system_call = symbol("system_call", "ipiiip", "i", "syscall")
_current_cpu = symbol("current_cpu", "", "c", "sched_getcpu")
_set_affinity = symbol("set_affinity", "iip", "c", "sched_setaffinity")
_yield_cpu = symbol("yield_cpu", "", "c", "sched_yield")
call_driver = indirect("call_driver", layout.DRIVER_LETTERS, "n")


# -- compiled --------------------------------------------------------------------------------------

@runtime
def worker(pool: Pointer) -> Pointer:
    """Runs a worker: it waits for a job, joins it, works, leaves, and begins again."""
    set_float_mode(STANDARD)
    number = atomic_add(pool, layout.NEXT, 1)
    atomic_store(pool, layout.THREADS + number, _system_call(_GETTID, null(), 0, 0, 0, null()))
    seen = 0
    while seen >= 0:                          # jobs count up from 1: this never ends
        spins = 0
        while atomic_load(pool, layout.NUMBER) == seen:
            relax()
            spins += 1
            if spins == SPINS:
                atomic_add(pool, layout.SLEEPERS, 1)
                _system_call(_FUTEX, words(pool, layout.NUMBER), _FUTEX_WAIT, seen, 0, null())
                atomic_add(pool, layout.SLEEPERS, -1)
                spins = 0
        seen = atomic_load(pool, layout.NUMBER)
        atomic_add(pool, layout.ACTIVE, 1)
        if atomic_load(pool, layout.OPEN) == seen:
            ticket = 1 + (number if load(pool, layout.JOB_FOR_ALL) else
                          atomic_add(pool, layout.JOB_JOINED, 1))
            if ticket < load(pool, layout.JOB_WORKERS):
                work(pool, ticket)
        atomic_add(pool, layout.ACTIVE, -1)
    return pool


@runtime
def work(pool: Pointer, me: int) -> None:
    """Takes part in the job as its worker number `me`."""
    stride = load(pool, layout.JOB_STRIDE)
    queue = words(load_pointer(pool, layout.JOB_QUEUE), me * stride)
    enter(queue, stride, me, load(pool, layout.JOB_WORKERS), load(pool, layout.JOB_BASE))
    call_driver(load_pointer(pool, layout.JOB_DRIVER), load_pointer(pool, layout.JOB_ARGS),
                load_pointer(pool, layout.JOB_SIZES), load_pointer(pool, layout.JOB_WEIGHTS),
                load_pointer(pool, layout.JOB_SCRATCH), load(pool, layout.JOB_BLOCK), queue,
                load_pointer(pool, layout.JOB_FAULT), me)


@runtime
def enter(queue: Pointer, stride: int, me: int, workers: int, base: int) -> None:
    """Writes the words of worker `me`'s queue that kernels read, for every phase; see kernel.py."""
    for i in range(0, stride, layout.PHASE_WORDS):
        store(queue, i + layout.QUEUE_ME, me)
        store(queue, i + layout.QUEUE_OTHERS, workers - 1)
        store(queue, i + layout.QUEUE_STRIDE, stride)
        store(queue, i + layout.QUEUE_BASE, base)


@runtime
def share(pool: Pointer, workers: int, driver: Pointer, args: Pointer, sizes: Pointer,
          weights: Pointer, scratch: Pointer, block: int, queue: Pointer, stride: int, base: int,
          fault: Pointer) -> None:
    """Calls a driver on this thread and on up to workers - 1 others. The caller holds BUSY.

    stride: words from the queue of a worker to the next one's; 0 if they share one.
    base: what the queues' counts start from.
    """
    store_pointer(pool, layout.JOB_DRIVER, driver)
    store_pointer(pool, layout.JOB_ARGS, args)
    store_pointer(pool, layout.JOB_SIZES, sizes)
    store_pointer(pool, layout.JOB_WEIGHTS, weights)
    store_pointer(pool, layout.JOB_QUEUE, queue)
    store_pointer(pool, layout.JOB_SCRATCH, scratch)
    store(pool, layout.JOB_BLOCK, block)
    store(pool, layout.JOB_STRIDE, stride)
    store(pool, layout.JOB_BASE, base)
    store_pointer(pool, layout.JOB_FAULT, fault)
    store(pool, layout.JOB_WORKERS, workers)
    store(pool, layout.JOB_FOR_ALL, load(pool, layout.STARTED) + 1 == workers)
    store(pool, layout.JOB_JOINED, 0)
    number = 1 + load(pool, layout.NUMBER)
    publish(pool, layout.OPEN, number)
    atomic_store(pool, layout.NUMBER, number)
    if atomic_load(pool, layout.SLEEPERS) > 0:
        keep_workers_off(pool, _current_cpu())
        _system_call(_FUTEX, words(pool, layout.NUMBER), _FUTEX_WAKE, workers - 1, 0, null())
    work(pool, 0)
    exchange(pool, layout.OPEN, 0)
    spins = 0
    while atomic_load(pool, layout.ACTIVE) > 0:
        spins += 1
        if spins < _YIELD_AFTER:
            relax()
        else:
            _yield_cpu()                      # let the worker finish


@runtime
def keep_workers_off(pool: Pointer, cpu: int) -> None:
    """Lets the workers use every CPU that they may use but this one.

    On a single CPU Linux refuses that, which does no harm.
    """
    if load(pool, layout.AWAY_FROM) == cpu + 1 or cpu < 0 or cpu >= 64 * layout.CPU_WORDS:
        return
    store(pool, layout.AWAY_FROM, cpu + 1)
    allowed = stack(layout.CPU_WORDS)
    for i in range(layout.CPU_WORDS):
        store(allowed, i, load(pool, layout.ALLOWED + i))
    store(allowed, cpu // 64, load(allowed, cpu // 64) & ~(1 << (cpu % 64)))
    for i in range(load(pool, layout.STARTED)):
        thread = atomic_load(pool, layout.THREADS + i)
        if thread > 0:                        # 0 would be the calling thread itself
            _set_affinity(thread, 8 * layout.CPU_WORDS, allowed)


COMPILED = (worker, work, enter, share, keep_workers_off)


# -- Python ----------------------------------------------------------------------------------------

class Pool:
    """The process's workers.

    Its words stay at their address until the process ends, because workers read them until then.
    """

    def __init__(self) -> None:
        size = 8 * layout.POOL_WORDS
        self.address = _allocate(size)
        ctypes.memset(self.address, 0, size)
        memory = (ctypes.c_int64 * layout.POOL_WORDS).from_address(self.address)
        self.words: np.ndarray[Any, np.dtype[np.int64]] = np.asarray(memory)
        self.words[layout.WORTH] = DEFAULT_WORTH
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """In a forked child the threads do not exist; what the words say is the parent's."""
        self._lock = threading.Lock()
        self.words[:layout.WORTH] = 0
        self.words[layout.WORTH + 1:] = 0

    def start(self, workers: int, entry: int) -> bool:
        """Makes `workers` threads, the caller included, run the code at `entry`.

        Returns whether there were none before. Raises Error where the system refuses another
        thread.
        """
        with self._lock:
            first = bool(self.words[layout.STARTED] == 0)
            allowed = self.words.view(np.uint64)[layout.ALLOWED:layout.ALLOWED + layout.CPU_WORDS]
            for cpu in usable_cpus():
                if cpu < 64 * layout.CPU_WORDS:
                    allowed[cpu // 64] |= np.uint64(1 << cpu % 64)
            while self.words[layout.STARTED] < workers - 1:
                _start_thread(entry, self.address)
                self.words[layout.STARTED] += 1
                self.words[layout.AWAY_FROM] = 0     # the new one is not kept off any CPU yet
            return first


def _allocate(size: int) -> int:
    """Address of memory that starts on a cache line and is never freed."""
    address = _c_function("aligned_alloc", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)(
        64, -(-size // 64) * 64)
    if not address:
        raise MemoryError
    return int(address)


def _start_thread(entry: int, argument: int) -> None:
    """Starts a detached pthread that takes no signals: those are for Python's threads."""
    import signal
    attributes = ctypes.create_string_buffer(128)          # pthread_attr_t: 56 to 64 bytes
    size = ctypes.c_size_t(STACK_BYTES)
    thread = ctypes.c_ulong()
    pointer = ctypes.c_void_p
    _c_function("pthread_attr_init", ctypes.c_int, pointer)(attributes)
    _c_function("pthread_attr_setstacksize", ctypes.c_int, pointer, ctypes.c_size_t)(
        attributes, size)
    _c_function("pthread_attr_setdetachstate", ctypes.c_int, pointer, ctypes.c_int)(attributes, 1)
    create = _c_function("pthread_create", ctypes.c_int, pointer, pointer, pointer, pointer)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        failed = create(ctypes.byref(thread), attributes, entry, argument)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _c_function("pthread_attr_destroy", ctypes.c_int, pointer)(attributes)
    if failed:
        raise Error(f"the system refuses another worker thread: {os.strerror(failed)}\n"
                    "  do: set NNCOMPILE_THREADS=1, or pass threads=1 to compile")


def _c_function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = ctypes.CDLL(None)[name]                     # our own object: not shared with others
    function.restype, function.argtypes = result, arguments
    return function


# -- how many threads ------------------------------------------------------------------------------

_warned: set[int] = set()                     # more threads than CPUs: the numbers asked for


def check_threads(threads: int) -> int:
    """Returns the number. Raises Error unless it is an int from 1 to 1024 that is possible here."""
    if not isinstance(threads, int) or isinstance(threads, bool) \
            or not 1 <= threads <= layout.MOST_THREADS:
        raise Error(f"threads must be a whole number from 1 to {layout.MOST_THREADS}, "
                    f"not {threads!r}")
    if threads > 1 and not supported():
        raise Error(f"threads={threads}: more than one thread needs Linux on x86-64 or aarch64, "
                    f"and this is {sys.platform} on {platform.machine()}; use threads=1")
    if threads > 1 and threads not in _warned and threads > (most := most_threads()):
        _warned.add(threads)
        warn_caller(f"threads={threads} is more than the CPUs of this process, {most}: threads "
                    "that wait for each other's CPU make calls slower\n"
                    f"  do: use at most {most} threads, or give the process more CPUs")
    return threads


def takes_threads(threads: object, most: int) -> bool:
    """Returns whether a call may use so many without `check_threads`, which warns and refuses.

    most: what most_threads() said when the model was loaded.
    """
    return threads is None or (type(threads) is int and 0 < threads <= most)


def most_threads() -> int:
    """Returns the number of CPUs that this process may use, from 1 to 1024.

    That is the smaller of its affinity and of what its control groups grant, rounded up: in a
    container the machine's CPU count says little.
    """
    if not supported():
        return 1
    return math.ceil(min(layout.MOST_THREADS, len(usable_cpus()), granted_cpus()))


def supported() -> bool:
    """Returns whether this system can have workers."""
    return sys.platform == "linux" and platform.machine() in _SYSTEM_CALLS


def default_threads() -> int:
    """Returns NNCOMPILE_THREADS, or else the number of CPUs that this process may use.

    Raises Error if the variable is not a count.
    """
    if asked := options.THREADS.value():
        try:
            return check_threads(asked)
        except Error as error:
            raise Error(f"{options.THREADS.variable}={asked}: {error}") from None
    return most_threads()


POOL = Pool()                                 # of this process
