"""Rows on disk: one JSON file for each model, with the conditions of each measurement.
"""
from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from nncompile.bench.contender import PEAK, READS
from nncompile.bench.machine import describe
from nncompile.bench.report import OURS, Result, Row, ratio

ROOT = Path(__file__).resolve().parent.parent
_LIBRARIES = ("numpy", "torch", "onnxruntime", "openvino", "jax", "numba", "llvmlite")
BUSY = 0.1                    # CPUs that others used: above it a row does not count


@dataclass(frozen=True)
class Conditions:
    """What a row depends on beside its model.

    The machine, our sources, the libraries, and how long each contender was timed.
    """

    machine: str
    source: str
    libraries: dict[str, str]
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """A row, what it can be compared with, and the conditions.

    weights: bytes of weights that a call reads. skipped: why it was not measured, or "".
    """

    model: str
    row: Row
    weights: int
    conditions: Conditions
    skipped: str = ""

    @property
    def ours(self) -> Result:
        """Our result."""
        return self.row.results.get(OURS, Result(note="not measured"))

    @property
    def valid(self) -> bool:
        """Whether other processes left the machine alone."""
        return self.row.busy <= BUSY

    @property
    def peers(self) -> dict[str, Result]:
        """The results of the peers."""
        return {name: result for name, result in self.row.results.items()
                if name not in (OURS, PEAK, READS)}

    @property
    def best(self) -> str | None:
        """The peer with the least time, or None where there is no time to compare."""
        timed = {name: result.median for name, result in self.peers.items() if result.seconds}
        return min(timed, key=lambda name: timed[name]) if timed and self.ours.seconds else None

    def ratio(self, peer: str) -> tuple[float, float, float]:
        """Returns how many times as long the peer takes: the median, and the spread."""
        return ratio(self.row.results[peer], self.ours)

    @property
    def shares(self) -> dict[str, float]:
        """The shares of the machine's ceilings, which were measured in the same rounds.

        They are of its multiply-adds ("peak"), and of its bandwidth from the cache level or memory
        that these weights fit into ("reads"). The larger share is the one that limits.
        """
        if not self.ours.seconds:
            return {}
        results, work = self.row.results, {PEAK: self.row.flops, READS: self.weights}
        return {name: median(amount * ceiling / ours for ceiling, ours in
                             zip(results[name].seconds, self.ours.seconds, strict=True))
                for name, amount in work.items() if name in results and results[name].seconds}


def conditions(rounds: int, seconds: float) -> Conditions:
    """Returns the conditions of a measurement now."""
    return Conditions(describe(), source_digest(), libraries(), rounds, seconds)


def source_digest() -> str:
    """Returns a digest of the compiler's sources: a row of other sources says nothing about these.
    """
    digest = hashlib.sha256()
    for package in ("ir", "nncompile"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "bench" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def libraries() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def save(folder: Path, model: str, rows: Sequence[Measured]) -> None:
    """Writes the rows of a model in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{model}.partial"
    partial.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    partial.replace(folder / f"{model}.json")


def load(folder: Path, model: str) -> list[Measured]:
    """Returns the rows of a model; none where there is no file, or one in another format."""
    try:
        return [_measured(entry) for entry in json.loads((folder / f"{model}.json").read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        print(f"{folder / model}.json is not used: {error!r}", file=sys.stderr)
        return []


def _measured(entry: dict[str, Any]) -> Measured:
    row = _with_tuples(entry["row"])
    row["results"] = {name: Result(**_with_tuples(result))
                      for name, result in row["results"].items()}
    return Measured(**{**entry, "row": Row(**row),
                       "conditions": Conditions(**entry["conditions"])})


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()}


def load_all(folder: Path, models: Sequence[str]) -> Iterator[Measured]:
    """Yields the rows of the models."""
    for model in models:
        yield from sorted(load(folder, model), key=lambda m: (m.row.threads, m.row.batch))
