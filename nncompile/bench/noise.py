"""How much the machine itself varies: the same work again and again, and who else is at work."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nncompile.bench.machine import busy_since_now
from nncompile.cpu.machine.ceilings import peak, seconds_of

_CALLS, _SECONDS = 300, 0.001


@dataclass(frozen=True)
class Noise:
    """The time of one piece of work, a millisecond of multiply-adds, over the least that it took.

    middle, p99, most: of 300 pieces. lost: the share of time above the least. busy: CPUs that other
    processes used meanwhile.
    """

    middle: float
    p99: float
    most: float
    lost: float
    busy: float


def noise() -> Noise:
    """Measures the noise of one thread, which takes part of a second."""
    call, _ = peak(1, _SECONDS)
    call()
    busy = busy_since_now()
    taken = np.array([seconds_of(call) for _ in range(_CALLS)])
    middle, p99, most = np.quantile(taken / taken.min(), [0.5, 0.99, 1.0])
    return Noise(float(middle), float(p99), float(most),
                 float(1 - len(taken) * taken.min() / taken.sum()), busy())
