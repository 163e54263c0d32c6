"""What each entry of a state dict is to a compiled model.

An entry is recognised by the array that it holds, and not by its name alone: hooks and a model's
own state_dict may rename entries, copy them or make others.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ir import DTYPES, Graph, NDArray
from ir.records import dataclass
from ir.types import digest
from nncompile.conversion import numbers

if TYPE_CHECKING:
    from nncompile.nn import Module

_MADE = ("it is none of the model's arrays, but was made by a hook or by the model's own "
         "state_dict, and differs from what it was when the model was compiled")
_READ = "the forward read its numbers at {} when it was traced, and the compiled model is for those"


@dataclass(frozen=True)
class Entry:
    """One entry of the state dicts that `load_weights` takes.

    parameter: the graph's parameter that it holds, or "". kept: a digest of its numbers in `dtype`,
    where these cannot be others, and `why` that is so; otherwise all three are empty.
    """

    parameter: str
    dtype: str = ""
    kept: str = ""
    why: str = ""

    def problem(self, given: Any) -> str:
        """Returns why these numbers cannot be loaded, or "".

        Raises InputError where there are no numbers.
        """
        if not self.kept or _digest(numbers(given)[0], self.dtype) == self.kept:
            return ""
        return f"{self.why}: load the state into the model and compile that"


def entries_of_graph(graph: Graph) -> dict[str, Entry]:
    """Returns an entry for each parameter of a graph, and for each that was read to make it."""
    names = [v.name for v in graph.params if v.kind == "parameter"]
    return {name: Entry(name) for name in names} | {
        each.name: Entry(each.name if each.name in names else "", str(DTYPES[each.type.dtype]),
                         each.digest, _READ.format(each.where.line)) for each in graph.readings}


def entries_of(model: Module, graph: Graph) -> dict[str, Entry]:
    """Returns an entry for each name in the model's state dict.

    Tied weights have several names and are one parameter. A parameter that the compiled model needs
    and the state dict does not hold has an entry under its path in the model.
    """
    own = {path: array.numpy() for path, array in model._arrays_in_state().items()}
    used = {id(array): v.name for v, array in graph.data.items() if v.kind == "parameter"}
    read = {id(own[each.name]): _READ.format(each.where.line) for each in graph.readings}
    recognised = _recognised(model, own)
    found = {name: _entry(array, used.get(id(array), ""), why or read.get(id(array), ""))
             for name, (array, why) in recognised.items()}
    reached = {id(array) for array, _ in recognised.values()}
    for path, array in own.items():
        needed = id(array) in used or id(array) in read
        if needed and id(array) not in reached and path not in found:
            found[path] = _entry(array, used.get(id(array), ""), read.get(id(array), ""))
    return found


def _entry(array: NDArray, parameter: str, why: str) -> Entry:
    if not why:
        return Entry(parameter)
    dtype = str(array.dtype)
    return Entry(parameter, dtype, _digest(array, dtype), why)


def _recognised(model: Module, own: Mapping[str, NDArray]) -> dict[str, tuple[NDArray, str]]:
    """Returns for each name in the model's state dict the model's array that it holds, and "".

    For what is none of the model's arrays it is the entry's own, and why it is kept; what holds no
    numbers is left out. Where the model gives no state dict the names are the paths of its arrays.
    """
    try:
        state = model.state_dict()
    except Exception:                            # the user's own: nothing else here needs it
        state = None
    if not isinstance(state, Mapping):
        return {path: (array, "") for path, array in own.items()}
    places = {_place(array): array for array in own.values() if array.size}
    found = {}
    for name, value in state.items():
        array, mine = np.asarray(value), own.get(name)
        if mine is not None and (_place(array) == _place(mine) or _equal(array, mine)):
            found[name] = mine, ""
        elif array.size and _place(array) in places:
            found[name] = places[_place(array)], ""
        elif array.dtype.kind in "fiub":
            found[name] = array, _MADE
    return found


def _place(array: NDArray) -> tuple[Any, ...]:
    """Returns what two arrays have in common if they are the same elements of the same memory."""
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def _equal(array: NDArray, other: NDArray) -> bool:
    """Returns whether both have the same shape and numbers: one is a copy of the other."""
    return array.shape == other.shape and array.dtype.kind in "fiub" and (
        _digest(array, str(other.dtype)) == _digest(other, str(other.dtype)))


def _digest(array: NDArray, dtype: str) -> str:
    """Returns a digest of the shape and the bits that the numbers have in a dtype."""
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        return "another kind"
    return digest(np.asarray(array, dtype))
