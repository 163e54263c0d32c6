"""python -m benchmarks.train: training steps beside those of other libraries.

It can be run in pieces: each row is saved when it is measured, and the page is made of all rows.

    python -m benchmarks.train --nets policy digits --optimizers Adam --threads 1
    python -m benchmarks.train --report
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.results import ROOT, libraries
from benchmarks.train.contenders import CONTENDERS, NetPlan
from benchmarks.train.nets import NETS
from nncompile.bench.machine import describe
from nncompile.bench.training import OURS, STEPS, measure_steps, ratio_of

_RESULTS = ROOT / "benchmarks/results/train.json"
_PAGE = ROOT / "docs/training_benchmarks.md"

_INTRODUCTION = """\
# Training benchmarks

A whole training step (forward, loss, gradients, and the optimizer's update) beside that of other
libraries, all in float32, on one batch that is in memory. `python -m benchmarks.train` measures
this page; `--help` tells how to measure a part of it.

- All contenders begin with the same weights. Before any time is taken, the losses of the first
  {steps} steps and the weights after them are compared with ours, which tests compare with torch;
  one that differs is marked "differs" and gets no time.
- Each contender runs in a process of its own, which may use as many CPUs as the row has threads.
  They take turns in rounds. A time is the least of all rounds, because the machine is shared: with
  one thread of the CPU seconds, with more of those by the clock. The column *others* has the CPUs
  that other processes kept busy meanwhile; where it is not about 0, caches and cores were shared.
- Ours is `loss = step(x, y)`, with the checks of its arguments.
- The column *products* is what the multiply-adds of the products alone would take, of our step,
  at the rate of multiply-adds in registers that a thread reaches in the same rounds. Nothing that
  computes the same products can take less.

| peer | settings |
|---|---|
| torch | eager, the fused optimizer, `zero_grad(set_to_none=True)` |
| torch.compile | forward and backward compiled with static sizes, the fused optimizer |
| jax | one `jit` of `value_and_grad` and the update, with donated weights and states |
| scikit-learn | `MLPClassifier.partial_fit` of the batch, where the model is the same |
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for, and writes the page."""
    args = _parser().parse_args(argv)
    rows = json.loads(args.results.read_text()) if args.results.exists() else {}
    if not args.report:
        for net in args.nets:
            for batch in NETS[net].batches:
                for optimizer in args.optimizers:
                    for threads in args.threads:
                        row = measure_steps(NetPlan(net), batch, optimizer, threads, args.peers,
                                            args.rounds, args.seconds)
                        row |= {"machine": describe(), "libraries": libraries()}
                        key = f"{net} {batch} {optimizer} {threads}"
                        rows[key] = row
                        print(_line(key, row), flush=True)
                        args.results.write_text(json.dumps(rows, indent=1) + "\n")
    if args.page:
        args.page.write_text(_page(rows))
    return 0


def _line(key: str, row: dict[str, Any]) -> str:
    seconds = row["seconds"]
    cells = [f"{name} {s * 1e6:.1f}" for name, s in seconds.items()]
    cells += [f"{name}: {note}" for name, note in row["notes"].items()]
    return f"{key:<26} {ratio_of(row) or 0:5.2f}x  " + ", ".join(cells)


def _page(rows: dict[str, Any]) -> str:
    """The page of all rows."""
    lines = [_INTRODUCTION.format(steps=STEPS)]
    found = [row for row in rows.values() if ratio_of(row)]
    for where in dict.fromkeys(f"{row['machine']}. " + ", ".join(
            f"{k} {v}" for k, v in row["libraries"].items()) for row in found):
        lines.append(f"Measured on: {where}.\n")
    names = list(CONTENDERS)
    lines += ["Microseconds a step; *x* is the time of the best peer divided by ours.\n",
              "| model | batch | optimizer | threads | products | " + " | ".join(names)
              + " | x | others |", "|---" * (len(names) + 7) + "|"]
    for key, row in rows.items():
        net, batch, optimizer, threads = key.split()
        cells = [f"{row['seconds'][n] * 1e6:,.1f}" if n in row["seconds"]
                 else "differs" if row["notes"].get(n) == "differs" else "" for n in names]
        ratio = ratio_of(row)
        products = f"{row['products'] * 1e6:,.1f}" if "products" in row else ""
        lines.append(f"| {NETS[net].about} | {batch} | {optimizer} | {threads} | {products} | "
                     + " | ".join(cells)
                     + f" | {ratio:.2f} | {row.get('others', '')} |" if ratio else "")
    if found:
        ratios = [ratio_of(row) or 1.0 for row in found]
        lines.append(f"\nGeometric mean: {geometric_mean(ratios):.2f} times; least "
                     f"{min(ratios):.2f}, most {max(ratios):.2f}.")
    return "\n".join(line for line in lines if line) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = [name for name in CONTENDERS if name != OURS]
    parser.add_argument("--nets", nargs="+", choices=[*NETS], default=[*NETS])
    parser.add_argument("--optimizers", nargs="+", default=["Adam", "SGD"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.02, help="of a contender, a round")
    parser.add_argument("--results", type=Path, default=_RESULTS)
    parser.add_argument("--page", type=Path, default=_PAGE)
    parser.add_argument("--report", action="store_true", help="only write the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
