"""torch.Generator, on a generator of NumPy's; it is imported when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nncompile.array.array import Array
from nncompile.array.core import Device, check_device
from nncompile.array.generator import default_generator, first_seed, manual_seed

if TYPE_CHECKING:
    from numpy import random as numpy_random

_DEFAULT_SEED = 67280421310721                   # torch's


class Generator:
    """A generator of random numbers with torch.Generator's methods, on one of NumPy's.

    Every argument `generator` takes it, as it takes a numpy.random.Generator.
    """

    def __init__(self, device: Any = "cpu") -> None:
        check_device(device)
        self.device = Device("cpu")
        self.manual_seed(_DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Begins anew from a seed, and returns the generator."""
        self._seed = seed
        self._draws: numpy_random.Generator = np.random.default_rng(seed % 2**64)
        return self

    def seed(self) -> int:
        """Begins anew from a seed that the system chooses, and returns it."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self._seed

    def initial_seed(self) -> int:
        """Returns the seed that the generator began with."""
        return self._seed

    def get_state(self) -> Array:
        """Returns the state as an array of bytes, for set_state."""
        text = json.dumps([self._seed, self._draws.bit_generator.state])
        return Array(np.frombuffer(text.encode(), np.uint8).copy())

    def set_state(self, new_state: Any) -> None:
        """Takes a state that get_state returned."""
        values = new_state.numpy() if isinstance(new_state, Array) else new_state
        seed, state = json.loads(values.tobytes())
        self.manual_seed(seed)._draws.bit_generator.state = state

    def clone_state(self) -> Generator:
        """Returns another generator in the same state."""
        made = Generator()
        made.set_state(self.get_state())
        return made


# -- of the generator that draws where none is given -----------------------------------------------

def initial_seed() -> int:
    """Returns the seed that random numbers began with."""
    return first_seed()


def seed() -> int:
    """Begins anew from a seed that the system chooses, and returns it."""
    chosen = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    manual_seed(chosen)
    return chosen


def get_rng_state() -> Array:
    """Returns the state of the generator as an array of bytes, for set_rng_state."""
    text = json.dumps([first_seed(), default_generator().bit_generator.state])
    return Array(np.frombuffer(text.encode(), np.uint8).copy())


def set_rng_state(new_state: Any) -> None:
    """Takes a state that get_rng_state returned."""
    values = new_state.numpy() if isinstance(new_state, Array) else new_state
    begun, state = json.loads(values.tobytes())
    manual_seed(begun).bit_generator.state = state


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, _caller: str = "fork_rng",
             _devices_kw: str = "devices", device_type: str = "cpu") -> Iterator[None]:
    """Restores the state of the generator at the end of a block."""
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)
