"""How arrays are nested: in tuples, lists, dicts, named tuples and dataclasses.

    leaves, structure = flatten({"a": x, "b": (y, None)})       [x, y], and where they belong
    structure.unflatten([x, y])                                 the same again
    structure.flatten({"a": p, "b": (q, None)})                 [p, q], or an InputError

Anything that is no array is part of the structure, and has to be the same in every call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ir.records import dataclass
from nncompile.errors import InputError


@dataclass(frozen=True)
class Structure:
    """How one value is nested: an array, a constant, or a container of such.

    A constant is anything else; it is the same in every call.
    """

    container: type | None = None                # None for an array and for anything else
    keys: tuple[Any, ...] = ()                   # an index, a key or the name of a field for each
    children: tuple[Structure, ...] = ()
    constant: tuple[Any, ...] = ()               # (the value,) where it is neither

    @property
    def is_array(self) -> bool:
        """Whether the value is an array."""
        return self.container is None and not self.constant

    @property
    def count(self) -> int:
        """The number of arrays in the value."""
        return 1 if self.is_array else sum(child.count for child in self.children)

    def names(self, prefix: str) -> Iterator[str]:
        """Yields a name for each array: `pair`, `pair.0`, `batch.ids`."""
        if self.is_array:
            yield prefix
        for key, child in zip(self.keys, self.children, strict=True):
            yield from child.names(f"{prefix}.{key}" if prefix else str(key))

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Returns the nested value with these arrays in it, of which there are `count`."""
        return self._built(iter(leaves))

    def _built(self, leaves: Iterator[Any]) -> Any:
        if self.constant:
            return self.constant[0]
        if self.container is None:
            return next(leaves)
        return _rebuilt(self.container, self.keys, [c._built(leaves) for c in self.children])

    def flatten(self, tree: Any, name: str = "the input") -> list[Any]:
        """Returns the arrays in a value that is nested in this way.

        name: what messages call the value.
        Raises InputError, which says where the value is nested differently or has another constant.
        """
        if self.constant:
            if not _alike(tree, self.constant[0]):
                raise InputError(f"{name} was {self.constant[0]!r} when the model was traced, and "
                                 f"cannot be {tree!r} now: trace the model again")
            return []
        if self.container is None:
            return [tree]
        parts = _parts_of(tree)
        if parts is None or not issubclass(parts[0], self.container):
            raise InputError(f"{name} is a {self.container.__name__}, not {type(tree).__name__}")
        given = dict(zip(parts[1], parts[2], strict=True))
        if set(given) != set(self.keys):
            raise InputError(f"{name} has the parts {', '.join(map(str, self.keys))}, not "
                             f"{', '.join(map(str, given)) or 'none'}")
        return [leaf for key, child in zip(self.keys, self.children, strict=True)
                for leaf in child.flatten(given[key], f"{name}.{key}")]


ARRAY = Structure()


@dataclass(frozen=True)
class Inputs:
    """The arguments of a call: the structure of each, and the name of the forward's parameter.

    The first `positional` of them can be given by position; all can be given by name.
    """

    names: tuple[str, ...]
    parts: tuple[Structure, ...]
    positional: int

    @property
    def is_flat(self) -> bool:
        """Whether every argument is one array that can go by position: nothing is to flatten."""
        return self.positional == len(self.parts) and all(part.is_array for part in self.parts)

    @property
    def leaf_names(self) -> tuple[str, ...]:
        """A name for each array, in order."""
        return tuple(leaf for name, part in zip(self.names, self.parts, strict=True)
                     for leaf in part.names(name))

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """Returns the arrays of a call, in order. An argument without arrays may be left out.

        Raises InputError for arguments that are missing, unexpected or nested differently.
        """
        if len(args) > self.positional:
            raise InputError(f"{self.positional} arguments go by position, {len(args)} were given")
        if wrong := kwargs.keys() - set(self.names[len(args) :]):
            raise InputError(f"there is no argument {min(wrong)}, or it was given by position; "
                             f"there are {', '.join(self.names)}")
        leaves = []
        for position, (name, part) in enumerate(zip(self.names, self.parts, strict=True)):
            if position < len(args) or name in kwargs:
                value = args[position] if position < len(args) else kwargs[name]
                leaves += part.flatten(value, name)
            elif part.count:
                raise InputError(f"the argument {name} is missing")
        return leaves

    def unflatten(self, leaves: Sequence[Any], count: int) -> tuple[list[Any], dict[str, Any]]:
        """Returns the first `count` arguments, and the others by name, with these arrays in them.
        """
        rest = iter(leaves)
        values = [part._built(rest) for part in self.parts]
        return values[:count], dict(zip(self.names[count:], values[count:], strict=True))


@dataclass(frozen=True)
class Nesting:
    """How the arrays of a model's graph are nested in its arguments and its result."""

    inputs: Inputs
    outputs: Structure

    @property
    def is_flat(self) -> bool:
        """Whether a call takes the arrays themselves, and returns one or a tuple of several."""
        several = self.outputs.container is tuple and len(self.outputs.children) > 1 and all(
            child.is_array for child in self.outputs.children)
        return self.inputs.is_flat and (self.outputs.is_array or several)


def flatten(tree: Any, is_array: Callable[[Any], bool]) -> tuple[list[Any], Structure]:
    """Returns the arrays in a value, and how they are nested in it."""
    if is_array(tree):
        return [tree], ARRAY
    parts = _parts_of(tree)
    if parts is None:
        return [], Structure(constant=(tree,))
    container, keys, values = parts
    flat = [flatten(value, is_array) for value in values]
    leaves = [leaf for found, _ in flat for leaf in found]
    return leaves, Structure(container, keys, tuple(child for _, child in flat))


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Returns the same containers with the function applied to everything else."""
    parts = _parts_of(tree)
    if parts is None:
        return function(tree)
    container, keys, values = parts
    return _rebuilt(container, keys, [mapped(function, value) for value in values])


def _parts_of(tree: Any) -> tuple[type, tuple[Any, ...], list[Any]] | None:
    """The type of a container, its keys and its elements; None for anything else."""
    if isinstance(tree, (tuple, list)):
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return type(tree), tree._fields, list(tree)
        return tuple if isinstance(tree, tuple) else list, tuple(range(len(tree))), list(tree)
    if isinstance(tree, dict):
        ordered = isinstance(tree, OrderedDict)
        return OrderedDict if ordered else dict, tuple(tree), list(tree.values())
    if hasattr(type(tree), "__dataclass_fields__"):
        from dataclasses import fields
        names = tuple(field.name for field in fields(tree) if field.init)
        return type(tree), names, [getattr(tree, name) for name in names]
    return None


def _rebuilt(container: type, keys: Sequence[Any], values: list[Any]) -> Any:
    if container in (tuple, list):
        return container(values)
    if issubclass(container, tuple):
        return container(*values)
    pairs = zip(keys, values, strict=True)
    return container(pairs) if issubclass(container, dict) else container(**dict(pairs))


def _alike(a: Any, b: Any) -> bool:
    """Returns whether two constants are the same: 0.0 is not -0.0, and NaN is NaN."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, float | complex) or hasattr(a, "dtype"):
        return repr(a) == repr(b)                # which tells all numbers apart
    return bool(a == b)
