"""Notices random numbers that a forward draws by other means than nncompile's functions.

A graph would have them as constants, in silence. What is compared is the state of generators before
and after: NumPy's and Python's global ones, and those that the model's modules, and the files of
their forwards, have as attributes and variables.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from nncompile.nn.module import Module


class Draws:
    """The states of the generators that a model can reach easily, as they are now."""

    def __init__(self, model: Module) -> None:
        self._model = model
        self._states = dict(_states(model))

    def drawn(self) -> str:
        """Returns the name of a generator whose state has changed since, or "".

        One that was loaded since counts as changed, because its state before is unknown.
        """
        now = _states(self._model)
        return next((name for name, state in now if self._states.get(name) != state), "")


def _states(model: Module) -> Iterator[tuple[str, Any]]:
    """Yields the name and the state of each generator."""
    numpy_random, python_random = sys.modules.get("numpy.random"), sys.modules.get("random")
    if numpy_random is not None:
        yield "numpy.random", _comparable(numpy_random.get_state(legacy=False))
    if python_random is not None:
        yield "random", python_random.getstate()
    for name, generator in _variables(model):
        if numpy_random is not None and isinstance(generator, numpy_random.Generator):
            yield name, _comparable(generator.bit_generator.state)
        elif numpy_random is not None and isinstance(generator, numpy_random.RandomState):
            yield name, _comparable(generator.get_state(legacy=False))
        elif (python_random is not None and isinstance(generator, python_random.Random)
              and not isinstance(generator, python_random.SystemRandom)):
            yield name, generator.getstate()


def _variables(model: Module) -> Iterator[tuple[str, Any]]:
    """Yields the attributes of the modules, and the variables that the forwards' functions see."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            yield f"{path}.{name}".lstrip("."), value
        forward = inspect.unwrap(type(module).forward)
        variables = getattr(forward, "__globals__", {})
        if id(variables) not in seen and not variables.get("__name__", "").startswith("nncompile."):
            yield from list(variables.items())
        seen.add(id(variables))
        if getattr(forward, "__closure__", None):
            yield from inspect.getclosurevars(forward).nonlocals.items()


def _comparable(state: Any) -> Any:
    """Returns a generator's state, of dicts and arrays, as a value that compares."""
    if isinstance(state, dict):
        return tuple((key, _comparable(value)) for key, value in state.items())
    return state.tobytes() if isinstance(state, np.ndarray) else state
