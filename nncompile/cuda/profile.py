"""The time of each step on the device: the driver runs with an event before and after each launch.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nncompile.cuda.build import Source
from nncompile.cuda.load import execute, function
from nncompile.cuda.primitives import primitives
from nncompile.cuda.shim import Cuda
from nncompile.cuda.target import Target

_RUNS = 7


def profile(source: Source, cuda: Cuda, target: Target, steps: int,
            arguments: Sequence[Any]) -> list[float]:
    """Returns the seconds of each step, the least of several runs; each step is one launch."""
    laps: list[tuple[Any, Any]] = []
    timed = {name: _Timed(function(kernel), cuda.module, laps)
             for name, kernel in source.kernels.items()}
    run = execute(source.driver, primitives(cuda, target) | timed)["run"]
    best = np.full(steps, np.inf)
    for _ in range(_RUNS):
        laps.clear()
        run(*arguments)
        cuda.module.synchronize()
        milliseconds = [start.elapsed_time(end) for start, end in laps]
        best = np.minimum(best, milliseconds)
    return [float(ms) / 1e3 for ms in best]


class _Timed:
    """A kernel whose launches are enclosed by two events."""

    def __init__(self, kernel: Any, module: Any, laps: list[tuple[Any, Any]]) -> None:
        self.kernel, self.module, self.laps = kernel, module, laps

    def __getitem__(self, configuration: tuple[Any, ...]) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            start, end = self.module.event(), self.module.event()
            start.record(configuration[2])
            self.kernel[configuration](*arguments)
            end.record(configuration[2])
            self.laps.append((start, end))
        return launch
