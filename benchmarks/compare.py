"""Times this checkout beside another one, call by call in turn: what a refactoring cost.

    python -m benchmarks.compare ../nncompile-before
    python -m benchmarks.compare ../nncompile-before --models digits,deep --batches 1 --rounds 40

A row is a model, a batch size and a number of threads; its figure is the time of the other checkout
divided by the time of this one, so that 1.05 means that this one is faster. It is the median over
rounds, in each of which both were timed right after each other; behind it stand the lower and the
upper quartile.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

HERE = Path(__file__).resolve().parent.parent
SECONDS = 0.015                # of one measurement; many calls where one takes less
FIELDS = ("model", "threads", "batch")


class Contender:
    """A process that times the models of one checkout."""

    def __init__(self, checkout: Path) -> None:
        environment = {name: value for name, value in os.environ.items()
                       if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--serve"], cwd=checkout, text=True,
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **question: Any) -> Any:
        """Returns its answer to one question; see `serve`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:                                # closes the pipes, and waits
            pass


def serve() -> None:
    """Answers questions on standard input: the bits of a row's results, or the time of its call."""
    import numpy as np

    import nncompile
    from benchmarks.models import SUITE

    compiled: dict[str, Any] = {}
    for line in sys.stdin:
        question = json.loads(line)
        name, batch = question["model"], question["batch"]
        model = SUITE[name]
        if name not in compiled:
            compiled[name] = nncompile.compile(model.build(), *model.inputs)
        fast = compiled[name]
        fast.threads = question["threads"]
        inputs = list(drawn(model, batch, np.random.default_rng(0)))
        if question["what"] == "bits":
            result = fast(*inputs)
            arrays = result if isinstance(result, tuple) else (result,)
            answer: Any = [sha256(array.tobytes()).hexdigest() for array in arrays]
        else:
            answer = seconds(lambda: fast(*inputs))            # noqa: B023  used at once
        print(json.dumps(answer), flush=True)


def drawn(model: Any, batch: int, random: Any) -> Iterator[Any]:
    """Yields random inputs for a model of the suite."""
    for text in model.inputs:
        dtype, _, dims = text.rstrip("]").partition("[")
        shape = [int(d) if d.isdigit() else model.sizes.get(d, batch) for d in dims.split(", ")]
        yield (random.integers(0, 10, shape) if dtype.startswith("i")
               else random.standard_normal(shape, "f4"))


def seconds(call: Any) -> float:
    """Returns the seconds of one call, from a series that is long enough to be timed."""
    call()
    start = time.perf_counter()
    call()
    count = max(1, round(SECONDS / max(1e-7, time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def compare(row: dict[str, Any], ours: Contender, other: Contender, rounds: int) -> list[float]:
    """Returns the ratio of each round. Raises SystemExit where the results differ."""
    if ours.ask(what="bits", **row) != other.ask(what="bits", **row):
        raise SystemExit(f"{row}: the results differ")
    ratios = []
    for number in range(rounds):
        both = (ours, other) if number % 2 else (other, ours)
        times = {contender: contender.ask(what="time", **row) for contender in both}
        ratios.append(times[other] / times[ours])
    return ratios


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for each measurement, and the geometric mean of all."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.compare",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of the other checkout")
    parser.add_argument("--models", help="names with commas between; all if not given")
    parser.add_argument("--batches", default="1,64,1024")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args(arguments)
    from benchmarks.models import SUITE
    names = options.models.split(",") if options.models else list(SUITE)
    rows = product(names, map(int, options.threads.split(",")),
                   map(int, options.batches.split(",")))
    medians = []
    with Contender(HERE) as ours, Contender(options.checkout.resolve()) as other:
        for values in rows:
            ratios = compare(dict(zip(FIELDS, values, strict=True)), ours, other, options.rounds)
            low, _, high = quantiles(ratios, n=4)
            medians.append(median(ratios))
            print(f"{values[0]:12} {values[1]} threads, batch {values[2]:5}: {medians[-1]:.3f} "
                  f"({low:.3f} to {high:.3f})", flush=True)
    mean = math.exp(sum(map(math.log, medians)) / len(medians))
    print(f"geometric mean of {len(medians)} rows: {mean:.3f}; least {min(medians):.3f}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
