"""The generator that draws random numbers where none is given.

`numpy.random` is imported when somebody draws: that takes a sixth of the time NumPy itself takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.forks import also, lock

if TYPE_CHECKING:
    from numpy.random import Generator

_default: Generator | None = None
_seed = 0                                 # that it began with
_making = lock()                          # held while numpy.random is imported


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator, and returns it."""
    global _default, _seed
    with _making:
        _seed = int(seed)
        _default = np.random.default_rng(_seed % 2**64)          # torch's may be negative
    return _default


def first_seed() -> int:
    """Returns the seed that the default generator began with."""
    default_generator()
    return _seed


def default_generator() -> Generator:
    """Returns the generator that draws where none is given."""
    global _default, _seed
    if _default is None:
        with _making:
            if _default is None:
                _seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
                _default = np.random.default_rng(_seed)
    return _default


def drawing(generator: Any = None) -> Generator:
    """Returns NumPy's generator that draws: of a torch.Generator, the given one, or the default."""
    if generator is None:
        return default_generator()
    return getattr(generator, "_draws", generator)


def _drawing() -> Any:
    """The lock that NumPy holds while this generator draws; None where nothing was drawn yet."""
    return _default and _default.bit_generator.lock


also(_drawing)
