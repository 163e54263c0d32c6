"""Modules that hold modules."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Self, SupportsIndex, overload

from nncompile.nn.module import Module, layout


class Numbered(Module):
    """What Sequential and ModuleList share: modules in order, found by number."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def append(self, module: Module) -> Self:
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        for module in modules:
            self.append(module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: slice) -> Self: ...
    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    def __getitem__(self, index: slice | SupportsIndex) -> Module:
        """A module; for a slice, a container of the same kind around the same modules."""
        if isinstance(index, slice):
            return self._slice(index)
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def _slice(self, index: slice) -> Self:
        raise NotImplementedError

    def _name_at(self, index: SupportsIndex) -> str:
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"index {at} is out of range")
        return list(self._modules)[at]


class Sequential(Numbered):
    """Modules one after the other, given in order or as one mapping of names to modules."""

    def __init__(self, *args: Module | Mapping[str, Module]) -> None:
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self.extend(args)  # type: ignore[arg-type]

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def _slice(self, index: slice) -> Self:
        return type(self)(OrderedDict(list(self._modules.items())[index]))


class ModuleList(Numbered):
    """A list of modules, which the model that holds it sees; it has no forward."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        self.extend([] if modules is None else modules)

    def insert(self, index: int, module: Module) -> None:
        modules = list(self)
        modules.insert(index, module)
        self._modules.clear()
        self.extend(modules)

    def _slice(self, index: slice) -> Self:
        return type(self)(list(self)[index])

    def __repr__(self) -> str:
        """Equal neighbours stand once: `(0-5): 6 x Linear(...)`."""
        lines, start = [], 0
        for text, group in groupby(map(repr, self)):
            stop = start + len(list(group))
            many = f"({start}-{stop - 1}): {stop - start} x {text}"
            lines.append(many if stop - start > 1 else f"({start}): {text}")
            start = stop
        return layout(type(self).__name__, [], lines)
