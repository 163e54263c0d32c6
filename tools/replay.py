"""What the compiler makes of many models, as files: to compare two versions of it with `diff -r`.

    python -m tools.replay FOLDER                 each stage, the source, the bits of results
    python -m tools.replay FOLDER --level avx2    the texts for another level of CPU target
    python -m tools.replay FOLDER --cuda          the texts for the CUDA target

A change that is to keep behaviour leaves all files as they were. Everything goes through the
public API, so that the same tool runs in an older checkout.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import nncompile
from benchmarks.models import SUITE
from nncompile import nn
from nncompile.nn import Module
from tests.end_to_end.models import CASES

BATCHES = (0, 1, 3, 17, 64)
SECONDS = re.compile(r" +\d+\.\d\d$", re.MULTILINE)      # of passes, in explain()


def models() -> Iterator[tuple[str, Module, tuple[str, ...], Any]]:
    """Yields a name, a model, the types of its inputs, and a function that makes inputs."""
    for name, case in CASES.items():
        nn.manual_seed(0)
        yield name, case.model().eval(), case.types, case.inputs
    for model in SUITE.values():
        yield f"benchmark {model.name}", model.build(), model.inputs, drawn(model)


def drawn(model: Any) -> Any:
    def inputs(batch: int) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        arrays = []
        for text in model.inputs:
            dtype, _, dims = text.rstrip("]").partition("[")
            shape = [int(d) if d.isdigit() else model.sizes.get(d, batch) for d in dims.split(", ")]
            arrays.append(rng.integers(0, 10, shape) if dtype.startswith("i")
                          else rng.standard_normal(shape).astype(np.float32))
        return arrays
    return inputs


def bits(results: Any) -> str:
    arrays = results if isinstance(results, tuple) else (results,)
    return " ".join(f"{a.dtype}{list(a.shape)} {hashlib.sha256(a.tobytes()).hexdigest()[:16]}"
                    for a in arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--level", help="of the CPU target: avx512, avx2 or generic")
    parser.add_argument("--cuda", action="store_true", help="the CUDA target's texts")
    options = parser.parse_args()
    texts_only = bool(options.level or options.cuda)
    if options.level:
        os.environ["NNCOMPILE_TARGET"] = options.level
        os.environ["NNCOMPILE_JIT"] = "0"                 # nothing has to be compiled for a text
    if options.cuda:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    for name, model, types, inputs in models():
        fast = nncompile.compile(model, *types, threads=2,
                                 target="cuda" if options.cuda else None)
        folder = options.folder / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        for number, stage in enumerate(fast.stages):
            (folder / f"{number:02} {stage}.ir".replace(":", "-")).write_text(f"{fast.ir(stage)}\n")
        (folder / "source.py").write_text(fast.source)
        if texts_only:
            continue
        (folder / "explain.txt").write_text(SECONDS.sub("TIME", fast.explain()) + "\n" + "\n")
        lines = [f"batch {batch}, {threads} threads: {bits(fast(*inputs(batch), threads=threads))}"
                 for batch in BATCHES for threads in (1, 2)]
        (folder / "bits.txt").write_text("\n".join([*lines, ""]))
        print(name, flush=True)


if __name__ == "__main__":
    main()
