"""The command line: python -m benchmarks [--quick] [--models ...] [--report]."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.models import SUITE
from benchmarks.plot import draw
from benchmarks.results import ROOT, load_all
from benchmarks.run import Plan, run
from benchmarks.table import markdown
from nncompile.bench import PEERS
from nncompile.cli.values import names, positives

_BATCHES, _THREADS = [1, 8, 64, 1024, 4096], [1, 2]
_QUICK_BATCHES = [1, 64]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the command line asks for, and writes the page; returns the exit status."""
    args = _parser().parse_args(argv)
    for given, known in ((args.models, SUITE), (args.peers, PEERS)):
        if unknown := set(given) - set(known):
            print(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}",
                  file=sys.stderr)
            return 2
    folder = args.results or (ROOT / "build/benchmarks" if args.quick
                              else ROOT / "benchmarks/results")
    page = args.page or (folder / "benchmarks.md" if args.quick else ROOT / "docs/benchmarks.md")
    if not args.report:
        run(Plan(models=args.models, threads=args.threads, peers=args.peers, folder=folder,
                 batches=args.batch or (_QUICK_BATCHES if args.quick else _BATCHES),
                 rounds=3 if args.quick else 9, seconds=0.005 if args.quick else 0.02,
                 tries=1 if args.quick else 3, wait=60.0 * args.wait, again=args.again))
    _write(folder, page)
    return 0


def _write(folder: Path, page: Path) -> None:
    """The page, and its picture beside it."""
    rows = list(load_all(folder, list(SUITE)))
    page.parent.mkdir(parents=True, exist_ok=True)
    picture = page.with_suffix(".svg")
    page.write_text(markdown(rows, picture.name))
    try:
        draw(rows, picture)
    except ImportError:
        print("no picture: matplotlib is not installed", file=sys.stderr)
    print(f"\n{page}")


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Times compiled models beside every peer, and writes docs/benchmarks.md. Rows "
                    "that are there already, of this machine and these sources, are kept: it can "
                    "be stopped and started again.")
    top.add_argument("--models", type=names, default=list(SUITE), metavar="NAME,NAME",
                     help=f"of {', '.join(SUITE)}")
    top.add_argument("--batch", type=positives, metavar="N,N",
                     help=f"{','.join(map(str, _BATCHES))}")
    top.add_argument("--threads", type=positives, default=_THREADS, metavar="N,N", help="1,2")
    top.add_argument("--peers", type=names, default=list(PEERS), metavar="NAME,NAME",
                     help=f"of {', '.join(PEERS)}; or none")
    top.add_argument("--quick", action="store_true",
                     help=f"batches {','.join(map(str, _QUICK_BATCHES))} in few short rounds, "
                          "written to build/: to try the harness, not to quote")
    top.add_argument("--again", action="store_true", help="measure rows that are there, too")
    top.add_argument("--wait", type=float, default=0.0, metavar="MINUTES",
                     help="before each row, wait at most so long for a machine without other work")
    top.add_argument("--report", action="store_true", help="measure nothing, write the page anew")
    top.add_argument("--results", type=Path, metavar="DIR", help="benchmarks/results")
    top.add_argument("--page", type=Path, metavar="FILE.md", help="docs/benchmarks.md")
    return top


if __name__ == "__main__":
    sys.exit(main())
