"""Results as text: a line on the console, and docs/benchmarks.md."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import geometric_mean

from benchmarks.models import SUITE
from benchmarks.results import BUSY, Measured
from nncompile.bench.contender import PEAK, PEERS, READS
from nncompile.bench.table import micros

# The bars. Large batches of dense models: the multiply-adds; their batch 1: the bandwidth.
_GEOMETRIC_MEAN, _PEAK_SHARE, _READS_SHARE, _LARGE = 1.5, 0.93, 0.85, 1024

_FINDINGS = Path(__file__).with_name("findings.md")     # why, where a row is below a bar
_INTRODUCTION = """\
# Benchmarks

Compiled models beside every peer, each at its best documented settings, all in float32. `make
bench` measures this page anew, which takes some hours; `python -m benchmarks --help` tells how to
measure a part of it.

## How it is measured

- The outputs are first compared with the float64 interpreter. A contender that is off by more than
  2e-5 of the largest value, and by more than rounding explains, is marked "wrong" and gets no time.
  The inputs are random numbers.
- Each contender runs in a process of its own, which may use as many CPUs as the row has threads,
  because some libraries respect nothing else. Only one contender works at a time. They take turns,
  in another order in each round; with two threads there is a pause of 150 ms before each turn, so
  that the threads of the previous contender have gone to sleep.
- Ours is the plain call `y = fast(x)`, which checks its arguments and allocates its result. A peer
  that can be called in several ways is called in the fastest of them.
- Every ratio is the time of the peer divided by ours, in the same round. The table shows the
  median, and in brackets the second smallest and the second largest ratio; `=` marks rows where
  that range includes 1.
- *share* compares a row with the machine's ceiling, measured by kernels of our own in the same
  rounds. "peak" is the rate of multiply-adds. "reads" is the bandwidth of reading as many bytes as
  the model has weights, again and again, on as many threads, so it is the bandwidth of the cache
  that they fit into. The larger of the two shares is shown.
- A row during which other processes used more than {busy} CPUs does not count, and is marked.
- Rows of more than 200 GFLOP or 1 GiB of results per call are left out.

| peer | settings |
|---|---|
| numpy | plain expressions, as one writes them by hand; threadpoolctl sets the threads of BLAS |
| torch | eager, `inference_mode`, `set_num_threads` |
| torch.compile | freezing, static sizes, full graph; mode `default` or `max-autotune` |
| onnxruntime | all graph optimizations, static sizes; `run` or `run_with_iobinding` |
| openvino | hint LATENCY or THROUGHPUT, float32, static sizes, tensors in shared memory; where it \
crashes, `SNIPPETS_MODE` DISABLE |
| jax | `jit`, static sizes, weights as arguments or as constants; `block_until_ready` |
"""


def markdown(rows: Sequence[Measured], plot: str) -> str:
    """Returns the page: `rows` of all models; `plot` names the picture's file."""
    peers = [name for name in PEERS if any(name in m.peers for m in rows)]
    return "\n".join([_INTRODUCTION.format(busy=BUSY), *_where(rows), *_summary(rows, peers),
                      f"![ratios to the peers]({plot})\n", _FINDINGS.read_text(),
                      *_tables(rows, peers), *_notes(rows)])


def _where(rows: Sequence[Measured]) -> Iterator[str]:
    for now in dict.fromkeys(repr(m.conditions) for m in rows):
        known = next(m.conditions for m in rows if repr(m.conditions) == now)
        yield (f"Measured on: **{known.machine}**. "
               + ", ".join(f"{k} {v}" for k, v in known.libraries.items())
               + f"; sources {known.source}; {known.rounds} rounds of "
               + f"{known.seconds * 1e3:.0f} ms.")
        yield ""


def _summary(rows: Sequence[Measured], peers: Sequence[str]) -> Iterator[str]:
    counted = [m for m in rows if m.valid and m.best is not None]
    yield "## Result\n"
    if not counted:
        yield "No row counts yet.\n"
        return
    best = [m.ratio(str(m.best))[0] for m in counted]
    yield f"{len(counted)} rows count, {sum(not m.valid for m in rows)} do not (busy machine). "
    yield (f"Geometric mean over the best peer of each row: **{geometric_mean(best):.2f}**; if "
           f"every row were at the machine's ceiling, it would be {at_ceilings(counted):.2f}.\n")
    yield "| over | rows | geometric mean | least | fastest peer in |"
    yield "|---|---|---|---|---|"
    for peer in peers:
        each = [m.ratio(peer)[0] for m in counted if peer in m.peers and m.peers[peer].seconds]
        if each:
            first = sum(m.best == peer for m in counted)
            yield (f"| {peer} | {len(each)} | {geometric_mean(each):.2f} | {min(each):.2f} "
                   f"| {first} rows |")
    yield "\n### Rows below a bar\n"
    lines = [f"- {miss}" for m in counted for miss in misses(m)]
    if geometric_mean(best) < _GEOMETRIC_MEAN:
        lines.append(f"- the geometric mean over the best peer is below {_GEOMETRIC_MEAN}")
    yield "\n".join(lines or ["None."]) + "\n"


def at_ceilings(rows: Sequence[Measured]) -> float:
    """Returns the geometric mean that nothing can exceed on this machine."""
    return geometric_mean([m.ratio(str(m.best))[0] / min(1.0, max(m.shares.values(), default=1.0))
                           for m in rows])


def misses(measured: Measured) -> Iterator[str]:
    """Yields the bars that a row misses, in words."""
    row, best = measured.row, measured.best
    name = f"{measured.model}, batch {row.batch}, {row.threads} thread{'s' * (row.threads > 1)}"
    if best is not None and measured.ratio(best)[2] < 1:
        yield f"{name}: slower than {best}, {_spread(measured, best)}"
    if not SUITE[measured.model].dense:
        return
    shares = measured.shares
    if row.batch >= _LARGE and shares.get(PEAK, 1.0) < _PEAK_SHARE:
        yield f"{name}: {shares[PEAK]:.0%} of the multiply-adds, below {_PEAK_SHARE:.0%}"
    if row.batch == 1 and shares.get(READS, 1.0) < _READS_SHARE:
        yield f"{name}: {shares[READS]:.0%} of the bandwidth, below {_READS_SHARE:.0%}"


def _tables(rows: Sequence[Measured], peers: Sequence[str]) -> Iterator[str]:
    for threads in sorted({m.row.threads for m in rows}):
        yield f"## {threads} thread{'s' * (threads > 1)}\n"
        yield "| " + " | ".join(["model", "batch", "us", "GFLOP/s", "share", *peers, "best peer",
                                 "busy"]) + " |"
        yield "|---" * (7 + len(peers)) + "|"
        for m in rows:
            if m.row.threads == threads:
                yield "| " + " | ".join(cells(m, peers)) + " |"
        yield ""


def cells(measured: Measured, peers: Sequence[str]) -> list[str]:
    """Returns the cells of a row."""
    row = measured.row
    if measured.skipped:
        return [measured.model, str(row.batch), f"left out: {measured.skipped}",
                *[""] * (len(peers) + 4)]
    best = measured.best
    each = [_spread(measured, peer) if peer in measured.peers else "" for peer in peers]
    return [measured.model, str(row.batch), micros(measured.ours), _rate(measured),
            _share(measured), *each,
            f"{best} **{measured.ratio(best)[0]:.2f}**" if best is not None else "",
            f"{row.busy:.2f}" + " (does not count)" * (not measured.valid)]


def _rate(measured: Measured) -> str:
    if not measured.ours.seconds:
        return ""
    return f"{measured.row.flops / measured.ours.median / 1e9:.4g}"


def _share(measured: Measured) -> str:
    shares = measured.shares
    if not shares:
        return ""
    larger = max(shares, key=lambda name: shares[name])
    return f"{shares[larger]:.0%} {larger}"


def _spread(measured: Measured, peer: str) -> str:
    if not (measured.peers[peer].seconds and measured.ours.seconds):
        return measured.peers[peer].note.partition(":")[0]
    middle, low, high = measured.ratio(peer)
    return f"{'=' * (low <= 1 <= high)}{middle:.2f} ({low:.2f}-{high:.2f})"


def console(measured: Measured) -> str:
    """Returns a row as a line for the terminal."""
    row = measured.row
    if measured.skipped:
        return f"  {row.threads} x {row.batch:5d}  left out: {measured.skipped}"
    peers = [f"{peer} {_spread(measured, peer)}" for peer in measured.peers]
    return (f"  {row.threads} x {row.batch:5d} {micros(measured.ours):>9} us {_rate(measured):>6} "
            f"GFLOP/s {_share(measured):>9}  {'  '.join(peers)}  busy {row.busy:.2f}"
            f"{'' if measured.valid else ' DOES NOT COUNT'}")


def _notes(rows: Sequence[Measured]) -> Iterator[str]:
    """Why a contender has no time, each reason once."""
    reasons = sorted({f"- {m.model}: {name}: {result.note}" for m in rows
                      for name, result in m.row.results.items() if result.note})
    if reasons:
        yield "\n".join(["## Who has no time, and why\n", *reasons, ""])
