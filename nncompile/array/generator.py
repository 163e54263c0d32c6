"""The generator that draws random numbers where none is given."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

_default = np.random.default_rng()


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator, and returns it."""
    global _default
    _default = np.random.default_rng(seed)
    return _default


def default_generator() -> Generator:
    """Returns the generator that draws where none is given."""
    return _default
