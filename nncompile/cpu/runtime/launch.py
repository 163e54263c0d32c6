"""One run of a model, compiled: it chooses how the work is shared, finds memory, and does the work.

A model's *state* describes it to compiled code (layout.py). What a call needs is computed by the
generated `plan(sizes, facts)`; the work is done by one of two schedules:

* `row_blocks`: a worker claims a block of rows and takes it through all steps, and so reads all
  weights. It is used for large batches, and for most if the weights fit in one core's L2 cache.
* `phases`: all workers share each step, each with its part of the weights. It is used where the
  rows depend on each other, and for few rows, which are computed as fast as their weights are read.

Rows have the same bits either way. A run that finds the model's own memory in use by another thread
allocates its own and works alone.
"""
from __future__ import annotations

from nncompile.cpu import layout
from nncompile.cpu.machine import L2, L3
from nncompile.cpu.objects import runtime
from nncompile.cpu.objects.primitives import (
    Pointer,
    atomic_load,
    atomic_store,
    exchange,
    load,
    load_pointer,
    null,
    publish,
    same,
    store,
    store_pointer,
    symbol,
    words,
)
from nncompile.cpu.runtime.float_mode import BITS, STANDARD, float_mode, set_float_mode
from nncompile.cpu.runtime.pool import call_driver, enter, share

DONE, NO_MEMORY, NO_WORKERS = 0, 1, 2         # what a run returns

_MOST_FLOATS = 1 << 50                        # no machine has as many; 4 times that is an int64
_ROWS_L2, _ROWS_L3 = 2, 3                     # see rows_to_read
# What a phase of a training step costs a second worker, in the time of a meeting: steps of 64 rows
# took 0.5 to 1.0 us for each phase beyond half of the time, where a meeting takes 0.18.
_EXCHANGE = 3

_aligned_alloc = symbol("aligned_alloc", "ii", "p")
_free = symbol("free", "p", "n")


@runtime
def run(state: Pointer, weights: Pointer, args: Pointer, sizes: Pointer, facts: Pointer,
        fault: Pointer, threads: int) -> int:
    """Computes the outputs. Returns DONE, or NO_MEMORY or NO_WORKERS, if nothing was computed.

    weights: the arena.       args:  pointers to the inputs, then the outputs.
    sizes, facts: the named sizes, and what `plan` wrote for them.
    fault:   words, 0 before; a step that meets a wrong index writes them.
    threads: the most that may work.
    The floating-point mode of the calling thread does not matter, and is restored.
    """
    mode = float_mode()
    other = mode & BITS != STANDARD
    if other:
        set_float_mode(STANDARD)
    status = compute(state, weights, args, sizes, facts, fault, threads)
    if other:
        set_float_mode(mode)
    return status


@runtime
def compute(state: Pointer, weights: Pointer, args: Pointer, sizes: Pointer, facts: Pointer,
            fault: Pointer, threads: int) -> int:
    """`run` in the mode that this thread is in."""
    if exchange(state, layout.LOCK, 1) != 0:
        return run_apart(state, weights, args, sizes, facts, fault)
    pool = load_pointer(state, layout.POOL_ADDRESS)
    workers = useful_workers(state, sizes, facts, threads)
    if workers > 1 and atomic_load(pool, layout.STARTED) + 1 < workers:
        publish(state, layout.LOCK, 0)
        return NO_WORKERS
    if workers > 1 and exchange(pool, layout.BUSY, 1) != 0:
        workers = 1                           # they work for another model: alone, then
    rows = load(sizes, 0)
    by_rows = in_row_blocks(state, sizes, facts, workers)
    floats = (workers if by_rows else 1) * scratch_floats(facts, by_rows)
    block = block_rows(rows, most_rows(rows, facts), load(state, layout.TILE_ROWS), workers)
    driver = load_pointer(state, layout.ROW_BLOCKS if by_rows else layout.PHASES)
    stride = 0 if by_rows else load(state, layout.QUEUE_WORDS)
    scratch = grown(state, layout.SCRATCH, 4 * floats, 0)
    queue = empty_queues(state, workers * stride)
    status = DONE
    if same(queue, null()) or (floats != 0 and same(scratch, null())):
        status = NO_MEMORY
    if status == DONE:
        base = load(state, layout.QUEUES_BASE)
        if workers > 1:
            share(pool, workers, driver, args, sizes, weights, scratch, block, queue, stride, base,
                  fault)
        else:
            enter(queue, stride, 0, 1, base)
            call_driver(driver, args, sizes, weights, scratch, block, queue, fault, 0)
    if workers > 1:
        publish(pool, layout.BUSY, 0)
    publish(state, layout.LOCK, 0)
    return status


@runtime
def run_apart(state: Pointer, weights: Pointer, args: Pointer, sizes: Pointer, facts: Pointer,
              fault: Pointer) -> int:
    """Computes the outputs on this thread alone, in memory of this call's own; see run."""
    rows = load(sizes, 0)
    most = most_rows(rows, facts)
    by_rows = in_row_blocks(state, sizes, facts, 1)
    floats = scratch_floats(facts, by_rows)
    count = layout.PHASE_WORDS if by_rows else load(state, layout.QUEUE_WORDS)
    queue = _aligned_alloc(64, whole_lines(8 * count + 4 * floats))
    if same(queue, null()):
        return NO_MEMORY
    for i in range(count):
        store(queue, i, 0)
    driver = load_pointer(state, layout.ROW_BLOCKS if by_rows else layout.PHASES)
    block = block_rows(rows, most, load(state, layout.TILE_ROWS), 1)
    call_driver(driver, args, sizes, weights, words(queue, count), block, queue, fault, 0)
    _free(queue)
    return DONE


@runtime
def useful_workers(state: Pointer, sizes: Pointer, facts: Pointer, threads: int) -> int:
    """Returns how many of so many threads finish this call soonest.

    Where there are phases alone, workers meet behind each, and read what others have written.
    """
    if threads == 1:
        return 1
    worth = load(load_pointer(state, layout.POOL_ADDRESS), layout.WORTH)
    if load(state, layout.ROW_BLOCKS) == 0:
        worth = worth * _EXCHANGE * phases_of(state)
    workers = max(1, min(threads, 1 + load(facts, layout.FLOPS) // worth))
    if in_row_blocks(state, sizes, facts, workers):
        workers = min(workers, row_workers(state, sizes, facts))
    return workers


@runtime
def row_workers(state: Pointer, sizes: Pointer, facts: Pointer) -> int:
    """Returns how many threads there are rows for."""
    least = fewest_rows(load(facts, layout.MOST_ROWS), load(state, layout.TILE_ROWS))
    return max(1, (load(sizes, 0) + least - 1) // least)


@runtime
def in_row_blocks(state: Pointer, sizes: Pointer, facts: Pointer, workers: int) -> int:
    """Returns 1 for row_blocks and 0 for phases.

    For a batch of one block it is the schedule that takes less time, counted in operations of one
    thread. A worker's part of a step takes as long as its multiply-adds, or as long as reading its
    weights: all of them in row_blocks, and its share of them in phases. To start the workers, or to
    meet at the end of a step, takes about half of WORTH, since that is what two of them save.
    """
    if load(state, layout.ROW_BLOCKS) == 0:
        return 0
    rows = max(1, load(sizes, 0))
    if workers == 1 or rows > load(facts, layout.MOST_ROWS):
        return 1
    row, reading = load(facts, layout.FLOPS) // rows, rows_to_read(state, facts, workers)
    busy = min(workers, row_workers(state, sizes, facts))
    meeting = load(load_pointer(state, layout.POOL_ADDRESS), layout.WORTH) // 2
    blocks = row * max((rows + busy - 1) // busy, reading) + meeting * min(busy - 1, 1)
    phases = row * max(rows, reading) // workers
    return 1 if blocks <= phases + meeting * (1 + phases_of(state)) else 0


@runtime
def phases_of(state: Pointer) -> int:
    """Returns the number of steps that workers share."""
    return load(state, layout.QUEUE_WORDS) // layout.PHASE_WORDS


@runtime
def rows_to_read(state: Pointer, facts: Pointer, workers: int) -> int:
    """Returns the number of rows whose multiply-adds take a thread as long as reading all weights.

    The constants were measured on a CPU whose cores each get the full speed of its L3 cache however
    many of them read, while they share the bandwidth of memory.
    """
    if load(facts, layout.MOST_ROWS) <= load(state, layout.TILE_ROWS):
        return 1                              # rows of many products' rows each
    cache = load(state, layout.CACHE)
    if cache == L2:
        return _ROWS_L2
    return _ROWS_L3 if cache == L3 else workers * load(state, layout.TILE_ROWS)


@runtime
def block_rows(rows: int, most: int, tile: int, workers: int) -> int:
    """Returns the number of rows of a block, never above `most`.

    For one worker they are whole tiles. Several workers get an even share each, to the row: a
    worker with more rows than the others costs more than tiles that are not full. One worker that
    can take all rows at once does so; its calls may be too short for divisions.
    """
    if workers == 1 and rows <= most:
        return max(1, rows)
    blocks = (rows + most - 1) // most
    blocks = max(1, (blocks + workers - 1) // workers * workers)
    even = (rows + blocks - 1) // blocks
    whole = tile if workers == 1 else 1
    return max(1, min(most, (even + whole - 1) // whole * whole))


@runtime
def most_rows(rows: int, facts: Pointer) -> int:
    """Returns the most rows of a block: all of them where they have no elements to compute.

    Then they need no scratch memory either, and no time is spent on one block after the other.
    """
    most = load(facts, layout.MOST_ROWS)
    if load(facts, layout.FLOPS) == 0 and load(facts, layout.BLOCK_SCRATCH) == 0:
        return max(rows, most)
    return most


@runtime
def fewest_rows(most: int, tile: int) -> int:
    """Returns the number of rows that are worth a worker.

    It is 2, as a product's tile of 1 row takes as long as one of 2; it is 1 where rows are so large
    that a block has less than a tile of them.
    """
    return 2 if most > tile else 1


@runtime
def scratch_floats(facts: Pointer, by_rows: int) -> int:
    """Returns the scratch memory of a worker's block, or of all phases, in float32."""
    stated = load(facts, layout.BLOCK_SCRATCH if by_rows else layout.PHASES_SCRATCH)
    return min(stated, _MOST_FLOATS)


@runtime
def empty_queues(state: Pointer, count: int) -> Pointer:
    """Returns queues of `count` words of which nothing is claimed or done, or null without memory.

    The first PHASE_WORDS words count the claimed blocks of rows in the schedule of blocks; then
    count is 0.
    """
    size = layout.PHASE_WORDS + count
    queues = grown(state, layout.QUEUES, 8 * size, size)
    if same(queues, null()):
        return queues
    store(state, layout.QUEUES_BASE, load(state, layout.QUEUES_BASE) + layout.NEXT_BASE)
    if count > 0:
        return words(queues, layout.PHASE_WORDS)
    store(queues, 0, 0)
    return queues


@runtime
def grown(state: Pointer, memory: int, size: int, zeros: int) -> Pointer:
    """Returns SCRATCH or QUEUES, made larger if it has fewer bytes; null without memory.

    New memory begins with so many words of zeros. While it is replaced the state says that there is
    none, so that a child forked at that moment finds nothing half done.
    """
    if size > load(state, memory + 1) or size < 0:         # below 0: more than there can be
        before = load_pointer(state, memory)
        atomic_store(state, memory + 1, 0)
        atomic_store(state, memory, 0)
        _free(before)
        store_pointer(state, memory, _aligned_alloc(64, whole_lines(size)))
        if load(state, memory) != 0:
            for i in range(zeros):
                store(load_pointer(state, memory), i, 0)
            atomic_store(state, memory + 1, whole_lines(size))
    return load_pointer(state, memory)


@runtime
def whole_lines(size: int) -> int:
    """Returns bytes rounded up to whole cache lines."""
    return (size + 63) // 64 * 64


@runtime
def sharing(state: Pointer, sizes: Pointer, facts: Pointer, threads: int, answer: Pointer) -> None:
    """Returns what `run` would choose: the workers, and the rows of a block or 0 for shared steps.
    """
    workers = useful_workers(state, sizes, facts, threads)
    store(answer, 0, workers)
    store(answer, 1, 0)
    if in_row_blocks(state, sizes, facts, workers):
        rows = load(sizes, 0)
        store(answer, 1, block_rows(rows, most_rows(rows, facts), load(state, layout.TILE_ROWS),
                                    workers))


_DECIDING = (useful_workers, phases_of, row_workers, in_row_blocks, rows_to_read, block_rows,
             most_rows, fewest_rows)
COMPILED = (run, compute, run_apart, *_DECIDING, scratch_floats, empty_queues, grown, whole_lines)
EXPLAINING = (sharing, *_DECIDING)
