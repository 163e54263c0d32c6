"""What compiled code and Python lay out in memory together: each record once, with a name a word.

A record is a block of 64-bit words. Its fields are numbered in the order in which they are
declared, so no two of them can overlap. They are plain integers, which numba takes for constants:
`load(state, WORKERS)` is the word of that name in the state of a model.
"""
from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ir.types import NDArray

LINE_BYTES = 64                               # of a cache line
LINE_WORDS, LINE_FLOATS = LINE_BYTES // 8, LINE_BYTES // 4


def aligned_zeros(count: int, dtype: npt.DTypeLike) -> NDArray:
    """Returns so many zeros, of which the first begins a cache line."""
    size = count * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % LINE_BYTES
    return raw[start:start + size].view(dtype)


class Record:
    """Numbers the words of a record; `size` is how many there are."""

    def __init__(self) -> None:
        self.size = 0

    def words(self, count: int) -> range:
        """The next `count` words."""
        self.size += count
        return range(self.size - count, self.size)

    def line(self, count: int) -> range:
        """The next `count` words, the first of which begins a cache line."""
        self.size = -(-self.size // LINE_WORDS) * LINE_WORDS
        return self.words(count)


# -- generated source ------------------------------------------------------------------------------

# The arguments of a driver's functions, each with the letter of its type (see primitives.py).
PLAN_ARGUMENTS = {"sizes": "p", "facts": "p"}
DRIVER_ARGUMENTS = {"args": "p", "sizes": "p", "weights": "p", "scratch": "p", "block": "i",
                    "queue": "p", "fault": "p", "worker": "i"}
PLAN_LETTERS, DRIVER_LETTERS = "".join(PLAN_ARGUMENTS.values()), "".join(DRIVER_ARGUMENTS.values())

# The facts that `plan` states of a call. FLOPS: its operations. The scratch, in float32, of one
# worker's block of rows, or of all phases. MOST_ROWS: of a block. SLACK: negative where the sizes
# are not legal. From OUTPUT_DIMS on: each dim of each output.
_facts = Record()
FLOPS, BLOCK_SCRATCH, PHASES_SCRATCH, MOST_ROWS, SLACK = _facts.words(5)
OUTPUT_DIMS = _facts.size

# What a step reports of a wrong number among the data: 1 + its own number, 0 where there is none;
# the wrong number; the size that it has to fit.
_fault = Record()
FAULT_STEP, FAULT_NUMBER, FAULT_SIZE, *_ = _fault.line(LINE_WORDS)
FAULT_WORDS = _fault.size

# -- the state of a model --------------------------------------------------------------------------

_state = Record()
# LOCK guards its cache line, which callers write: memory for scratch and for the workers' queues,
# each with its size in bytes, and what the queues' counts start from.
LOCK, SCRATCH, SCRATCH_BYTES, QUEUES, QUEUES_BYTES, QUEUES_BASE = _state.line(6)
# Addresses: of the pool, and of the driver's functions; ROW_BLOCKS is 0 where there is none.
POOL_ADDRESS, PLAN, ROW_BLOCKS, PHASES = _state.line(4)
# Words of a worker's queue; rows of a product's tile; the cache that the weights stay in, a level
# of machine/caches.py; the most workers of a call.
QUEUE_WORDS, TILE_ROWS, CACHE, WORKERS = _state.words(4)
# Python's objects: functions, arrays.
(ARRAY_CLASS, NEW_ARRAY, ARENA, FALLBACK, FALLBACK_INTO, RESTART, ON_FAULT,
 NEW_LARGE) = _state.line(8)
# What calls with keywords need: interned texts, a tuple of the inputs' names, other objects of
# Python; and the most threads that such a call may ask for without Python's help.
OUT_NAME, THREADS_NAME, INPUT_NAMES, NONE, INT_CLASS, TUPLE_CLASS, LIST_CLASS = _state.line(7)
MOST_WORKERS, = _state.words(1)
# How many inputs and outputs there are, and words of the named sizes and the facts. RELEASE: the
# operations from which on a call lets go of the interpreter's lock. LARGE: the bytes from which on
# NEW_LARGE makes an output.
INPUTS, OUTPUTS, SIZE_WORDS, FACT_WORDS, RELEASE, LARGE = _state.line(6)
# The specs of the inputs, then those of the outputs.
SPECS = _state.size

# A spec: the dtype's object, its type number and another of the same layout, its bytes, the rank.
# After an input's come its dims: a size, or -1 - k for named size k. Outputs' dims are facts.
_spec = Record()
SPEC_DESCR, SPEC_TYPE, SPEC_OTHER_TYPE, SPEC_BYTES, SPEC_RANK = _spec.words(5)
SPEC_DIMS = _spec.size

# What calls through the buffer protocol with arrays of certain shapes share: addresses.
_shaped = Record()
SHAPED_STATE, SHAPED_SIZES, SHAPED_FACTS = _shaped.words(3)
SHAPED_WORDS = _shaped.size

# -- the queues of workers -------------------------------------------------------------------------

# What a worker's queue has of each phase, on two cache lines; the worker itself writes the first
# four words in each call. ME: its number. OTHERS: how many other workers there are. STRIDE: the
# words from a worker's queue to the next one's. BASE: what its counts start from; it grows from
# call to call, and a count below it belongs to an earlier call, so that counts need not be cleared.
# CLAIMED: lots of its part that have been claimed. DONE: lots of any part that it has done. A
# queue of zeros is that of a single worker.
_queue = Record()
QUEUE_ME, QUEUE_OTHERS, QUEUE_STRIDE, QUEUE_BASE, QUEUE_CLAIMED = _queue.line(5)
QUEUE_DONE, *_ = _queue.line(LINE_WORDS)
PHASE_WORDS = _queue.size
NEXT_BASE = 1 << 20                           # added to BASE: a part has fewer lots

# -- the pool of workers ---------------------------------------------------------------------------

MOST_THREADS = 1024
CPU_WORDS = 16                                # a bit for each of 1024 CPUs

_pool = Record()
# The job is described where its number is: who sees that has the line. What is written at other
# times lies on a cache line of its own.
NUMBER, OPEN, ACTIVE = _pool.line(3)
(JOB_DRIVER, JOB_ARGS, JOB_SIZES, JOB_WEIGHTS, JOB_QUEUE,
 JOB_SCRATCH, JOB_BLOCK, JOB_STRIDE, JOB_BASE, JOB_FAULT) = _pool.words(10)
JOB_WORKERS, JOB_FOR_ALL, JOB_JOINED = _pool.words(3)
SLEEPERS, = _pool.line(1)
BUSY, = _pool.line(1)
NEXT, = _pool.line(1)
# Threads; 1 + the CPU that they are kept off; operations that are worth another worker.
STARTED, AWAY_FROM, WORTH = _pool.line(3)
ALLOWED, *_ = _pool.line(CPU_WORDS)           # a bit for each CPU that the workers may use
THREADS, *_ = _pool.line(MOST_THREADS)        # their numbers in Linux, 0 until they run
POOL_WORDS = _pool.size
