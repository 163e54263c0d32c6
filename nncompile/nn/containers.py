"""Containers of modules and of parameters, in order or by name."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import chain, groupby
from typing import Any, NoReturn, Self, SupportsIndex, overload

import numpy as np

from nncompile.array import Array
from nncompile.nn.module import Module, layout
from nncompile.nn.parameter import Parameter


class _Numbered(Module):
    """Modules in order, found by index: what Sequential and ModuleList share."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def append(self, module: Module) -> Self:
        """Adds a module at the end, and returns self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Adds modules at the end, and returns self. Raises TypeError where it gets no iterable."""
        _check_iterable(f"{type(self).__name__}.extend", modules)
        for module in list(modules):
            self.append(module)
        return self

    def _insert(self, index: int, module: Module) -> None:
        modules = list(self)
        modules.insert(index, module)
        self._renumber(modules)

    def _renumber(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        self._modules.clear()
        self.extend(modules)

    def pop(self, key: int | slice) -> Any:
        """Removes and returns the module at an index, or those of a slice."""
        module = self[key]
        del self[key]
        return module

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    @overload
    def __getitem__(self, index: slice) -> Self: ...
    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    def __getitem__(self, index: slice | SupportsIndex) -> Module:
        """Returns the module at an index, or a container of the same class with those of a slice.
        """
        if isinstance(index, slice):
            return self._slice(index)
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def __delitem__(self, index: slice | SupportsIndex) -> None:
        """Removes modules; those behind move up, and all are renumbered."""
        modules = list(self)
        del modules[index if isinstance(index, slice) else self._position(index)]
        self._renumber(modules)

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def _slice(self, index: slice) -> Self:
        raise NotImplementedError

    def _position(self, index: SupportsIndex) -> int:
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"index {at} is out of range")
        return at

    def _name_at(self, index: SupportsIndex) -> str:
        return list(self._modules)[self._position(index)]


class Sequential(_Numbered):
    """Calls modules one after the other, each on the result of the one before.

    They are given in order, or as one mapping of names to modules.
    """

    def __init__(self, *args: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            self.extend(args)  # type: ignore[arg-type]

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def insert(self, index: int, module: Module) -> Self:
        """Inserts a module before the one at index, which may be the length, and returns self.

        Raises AssertionError where it gets no module, IndexError for an index out of range.
        """
        if not isinstance(module, Module):
            raise AssertionError(f"a Sequential holds modules, not {type(module).__name__}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"index out of range: {index}")
        self._insert(index, module)
        return self

    def _slice(self, index: slice) -> Self:
        return type(self)(OrderedDict(list(self._modules.items())[index]))

    def __add__(self, other: Sequential) -> Sequential:
        _check_sequential("+", other)
        return Sequential(*self, *other)

    def __iadd__(self, other: Iterable[Module]) -> Self:
        _check_sequential("+=", other)
        return self.extend(other)

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * _checked_times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(list(self) * (_checked_times(times) - 1))


class ModuleList(_Numbered):
    """A list of modules that are part of the model that holds it; it has no forward."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend([] if modules is None else modules)

    def insert(self, index: int, module: Module) -> None:
        """Inserts a module before the one at index."""
        self._insert(index, module)

    def _slice(self, index: slice) -> Self:
        return type(self)(list(self)[index])

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))

    def __repr__(self) -> str:
        """Returns the text, in which equal neighbours stand once: `(0-5): 6 x Linear(...)`."""
        lines, start = [], 0
        for text, group in groupby(map(repr, self)):
            stop = start + len(list(group))
            many = f"({start}-{stop - 1}): {stop - start} x {text}"
            lines.append(many if stop - start > 1 else f"({start}): {text}")
            start = stop
        return layout(type(self).__name__, [], lines)


class ModuleDict(Module):
    """Modules by name, in order of insertion; it has no forward."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Removes all modules."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Removes and returns the module of that name. Raises KeyError where there is none."""
        return self._modules.pop(key)

    def keys(self) -> KeysView[str]:
        """Returns the names."""
        return self._modules.keys()

    def items(self) -> ItemsView[str, Module]:
        """Returns the pairs of name and module."""
        return self._modules.items()

    def values(self) -> ValuesView[Module]:
        """Returns the modules."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Adds modules from a mapping or from pairs, in place of those of the same name."""
        for key, module in _pairs("ModuleDict.update", modules):
            self[key] = module


class ParameterList(Module):
    """A list of parameters that are part of the model that holds it.

    Arrays become Parameters; other objects are kept as they are.
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _name_at(self, index: SupportsIndex) -> str:
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"index {at} is out of range")
        return str(at % len(self))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)([self[i] for i in range(len(self))[index]])
        return getattr(self, self._name_at(index))

    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        setattr(self, self._name_at(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def append(self, value: Any) -> Self:
        """Adds a value at the end, and returns self."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Adds values at the end, and returns self. Raises TypeError where it gets no iterable."""
        _check_iterable("ParameterList.extend", values)
        for value in values:
            self.append(value)
        return self

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_summary(value)}" for i, value in enumerate(self))

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("a ParameterList is not called: it has no forward")


class ParameterDict(Module):
    """Parameters by name, in order of insertion; a plain dict's are sorted by name, as in torch.

    Arrays become Parameters; other objects are kept as they are.
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"the keys of a ParameterDict are strings, not {type(key).__name__}")
        setattr(self, key, _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """Returns another ParameterDict of the same values."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Returns the value of a name, which is the default if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Removes all values."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Any:
        """Removes and returns the value of a name. Raises KeyError where there is none."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Removes and returns the last pair. Raises KeyError where there is none."""
        if not self._keys:
            raise KeyError("the ParameterDict is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a name, or the default."""
        return self[key] if key in self else default  # noqa: SIM401

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Returns a ParameterDict of these names, all with one value."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> KeysView[str]:
        """Returns the names."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Returns the pairs of name and value."""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        """Returns the values."""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Adds values from a mapping or from pairs, in place of those of the same name."""
        given = _pairs("ParameterDict.update", parameters)
        unordered = isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict)
        for key, value in sorted(given, key=lambda pair: pair[0]) if unordered else given:
            self[key] = value

    def extra_repr(self) -> str:
        return "\n".join(f"  ({key}): {_summary(value)}" for key, value in self.items())

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("a ParameterDict is not called: it has no forward")

    def __or__(self, other: ParameterDict) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other)
        return self


def _check_iterable(name: str, given: Any) -> None:
    if not isinstance(given, Iterable) or isinstance(given, Array | np.ndarray):
        raise TypeError(f"{name} takes an iterable, not {type(given).__name__}")


def _pairs(name: str, given: Any) -> list[tuple[Any, Any]]:
    """Returns the items of a mapping or of an iterable of pairs."""
    if isinstance(given, Mapping | ModuleDict | ParameterDict):
        return list(given.items())
    _check_iterable(name, given)
    for number, pair in enumerate(given := list(given)):
        _check_iterable(f"{name}: item {number}", pair)
        if len(pair) != 2:
            raise ValueError(f"{name}: item {number} has the length {len(pair)}, a pair has 2")
    return [(key, value) for key, value in given]


def _check_sequential(sign: str, other: Any) -> None:
    if not isinstance(other, Sequential):
        raise ValueError(f"`{sign}` takes another Sequential, not {type(other).__name__}")


def _checked_times(times: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"a Sequential is repeated an integer of times, not {times!r}")
    if times <= 0:
        raise ValueError(f"a Sequential is repeated once or more often, not {times} times")
    return times


def _as_parameter(value: Any) -> Any:
    is_array = isinstance(value, Array | np.ndarray) and not isinstance(value, Parameter)
    return Parameter(value) if is_array else value


def _summary(value: Any) -> str:
    if isinstance(value, Parameter):
        return f"Parameter containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}]"
    return f"Object of type: {type(value).__name__}"
