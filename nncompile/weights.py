"""The numbers of a compiled model, held once.

A loaded program has its own copy of what it reads, laid out as its kernels read it. The graphs of
the compilation's stages do not keep another: their data are read back from the loaded program, bit
for bit, when somebody asks for them. What cannot be read back is kept beside it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ir import Graph, NDArray, Value
from ir.float_mode import StandardFloats
from ir.interpret import outputs_of
from ir.records import replace
from nncompile import forks
from nncompile.backend import Loaded
from nncompile.schedule import Program

_Undo = Callable[[NDArray], NDArray]
_Source = tuple[int, Sequence[_Undo]]    # an output of the preparation, and the way back from it

_loading = forks.lock()                  # held while a model is given other weights


class Weights:
    """The data of graphs whose values a loaded program was given.

    graphs:      of all stages, the traced one first; they share values.
    preparation: computes what the program is made of from the values; its outputs are `loaded`'s.
    """

    def __init__(self, graphs: Sequence[Graph], preparation: Graph, loaded: Loaded) -> None:
        self._preparation, self._loaded = preparation, loaded
        data = {value: array for graph in graphs for value, array in graph.data.items()}
        # NumPy's matrix product rounds otherwise for another layout, and only this one comes back
        self._sources = {value: source for value, source in _sources(preparation).items()
                         if data[value].flags.c_contiguous}
        theirs = graphs[0].data                  # arrays of the model, which may go on to change
        self._kept = {value: np.array(array, order="K") if value in theirs else array
                      for value, array in data.items() if value not in self._sources}

    def __getitem__(self, value: Value) -> NDArray:
        """Returns the numbers of a parameter or constant; they are only to be read."""
        if value in self._kept:
            return self._kept[value]
        number, back = self._sources[value]
        array = self._loaded.constant(number)
        for undo in back:
            array = undo(array)
        return array

    def of(self, graph: Graph) -> Graph:
        """Returns the graph with its data read from here."""
        return replace(graph, data=_Data(self, tuple(graph.data)))

    def load(self, new: Mapping[Value, NDArray]) -> None:
        """Uses these numbers for some parameters. Calls that run meanwhile keep the old ones."""
        params = self._preparation.params
        with _loading, StandardFloats():
            data = {value: new[value] if value in new else self[value] for value in params}
            kept = {value: np.array(array, order="K") for value, array in new.items()
                    if value in self._kept}
            self._loaded.load(outputs_of(replace(self._preparation, data=data), []))
            self._kept |= kept                   # last: what can fail is behind us


class _Data(Mapping[Value, NDArray]):
    """The `data` of a graph."""

    def __init__(self, weights: Weights, values: Sequence[Value]) -> None:
        self._weights, self._values = weights, dict.fromkeys(values)

    def __getitem__(self, value: Value) -> NDArray:
        if value not in self._values:
            raise KeyError(value)
        return self._weights[value]

    def __contains__(self, value: object) -> bool:
        return value in self._values

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def without_data(program: Program) -> Program:
    """Returns the program with graphs that do not keep the model's arrays alive."""
    return replace(program, graph=replace(program.graph, data={}),
                   preparation=replace(program.preparation, data={}))


def _sources(preparation: Graph) -> dict[Value, _Source]:
    """Which parameters and constants can be computed back from an output of the preparation.

    The output is the parameter itself, or the parameter under another shape or order of axes.
    """
    makers = {node.result: node for node in preparation.nodes}
    found: dict[Value, _Source] = {}
    for number, output in enumerate(preparation.outputs):
        value, back = output, []
        while value in makers and makers[value].op in ("transpose", "reshape", "identity"):
            node = makers[value]
            operand = node.inputs[0]
            assert isinstance(operand, Value)
            back.append(_undo(node.op, operand.type.shape, node.attrs))
            value = operand
        if value not in makers:
            found.setdefault(value, (number, back))
    return found


def _undo(op: str, shape: Sequence[Any], attrs: Mapping[str, Any]) -> _Undo:
    if op == "transpose":
        return lambda array: np.ascontiguousarray(array.transpose(np.argsort(attrs["axes"])))
    return lambda array: array.reshape(tuple(shape))
