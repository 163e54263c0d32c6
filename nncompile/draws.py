"""Notices random numbers that a forward draws by other means than nncompile's functions.

A graph would have them as constants, in silence. What is compared is the state of generators before
and after: NumPy's and Python's global ones, and those that the model's modules, and the files of
their forwards, have as attributes and variables.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
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
    state_of: dict[type, Callable[[Any], Any]] = {}
    if numpy_random is not None:
        yield "numpy.random", _comparable(numpy_random.get_state(legacy=False))
        state_of[numpy_random.Generator] = lambda g: _comparable(g.bit_generator.state)
        state_of[numpy_random.RandomState] = lambda g: _comparable(g.get_state(legacy=False))
    if python_random is not None:
        yield "random", python_random.getstate()
        state_of[python_random.Random] = lambda g: g.getstate()
    for place, variables in _variables(model):
        for name, value in list(variables.items()):
            if type(value) in state_of:
                yield f"{place}.{name}".lstrip("."), state_of[type(value)](value)


def _variables(model: Module) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the attributes of each module, and the variables that the forwards' functions see."""
    seen: set[type] = set()
    for path, module in model.named_modules():
        yield path, vars(module)
        if type(module) in seen or type(module).__module__.startswith("nncompile."):
            continue
        seen.add(type(module))
        forward = inspect.unwrap(type(module).forward)
        yield "", getattr(forward, "__globals__", {})
        if getattr(forward, "__closure__", None):
            yield "", inspect.getclosurevars(forward).nonlocals


def _comparable(state: Any) -> Any:
    """Returns a generator's state, of dicts and arrays, as a value that compares."""
    if isinstance(state, dict):
        return tuple((key, _comparable(value)) for key, value in state.items())
    return state.tobytes() if isinstance(state, np.ndarray) else state
