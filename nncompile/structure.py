"""How arrays are nested: in tuples, lists, dicts and subclasses of these, and in dataclasses.

    leaves, structure = flatten({"a": x, "b": (y, None)})       [x, y], and where they belong
    structure.unflatten([x, y])                                 the same again
    structure.flatten({"a": p, "b": (q, None)})                 [p, q], or an InputError

Anything that is no array is part of the structure, and has to be the same in every call. A size
that is only known in a call is a leaf, too: `structure.sizes` lists these, and `unflatten` takes
their numbers behind the arrays.
"""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from operator import itemgetter
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

from ir import DimExpr
from ir.records import dataclass
from nncompile.errors import InputError


@dataclass(frozen=True)
class Structure:
    """How one value is nested: an array, a size, a constant, or a container of such.

    A constant is anything else; it is the same in every call.
    """

    container: type | None = None                # None for what is none
    keys: tuple[Any, ...] = ()                   # an index, a key or an attribute for each item
    children: tuple[Structure, ...] = ()         # the items, then what only attributes hold
    constant: tuple[Any, ...] = ()               # (the value,) where it is a constant
    size: DimExpr | None = None                  # where it is a size
    attributes: tuple[tuple[str, int], ...] = () # of a subclass's instance: (name, which child)

    @property
    def is_array(self) -> bool:
        """Whether the value is an array."""
        return self.container is None and not self.constant and self.size is None

    @property
    def is_leaf(self) -> bool:
        """Whether the value is an array or a size."""
        return self.container is None and not self.constant

    @property
    def count(self) -> int:
        """The number of arrays in the value."""
        return 1 if self.is_array else sum(child.count for child in self.children)

    @property
    def sizes(self) -> tuple[DimExpr, ...]:
        """The sizes in the value, which each call evaluates."""
        own = () if self.size is None else (self.size,)
        return (*own, *(size for child in self.children for size in child.sizes))

    @property
    def labels(self) -> tuple[Any, ...]:
        """What tells the children apart: the keys, and the attributes that hold something else."""
        return (*self.keys, *(name for name, i in self.attributes if i >= len(self.keys)))

    def names(self, prefix: str) -> Iterator[str]:
        """Yields a name for each array: `pair`, `pair.0`, `batch.ids`."""
        if self.is_array:
            yield prefix
        for key, child in zip(self.labels, self.children, strict=True):
            yield from child.names(f"{prefix}.{key}" if prefix else str(key))

    def constants(self) -> Iterator[Any]:
        """Yields the constants and the keys in the value."""
        yield from (*self.constant, *self.keys)
        for child in self.children:
            yield from child.constants()

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Returns the nested value with these leaves in it: all arrays, then all sizes."""
        return self.builder()(leaves)

    def builder(self) -> Callable[[Sequence[Any]], Any]:
        """Returns what `unflatten` is as a function that is quick to call."""
        return self._builder(count(), count(self.count))

    def _builder(self, arrays: Iterator[int], sizes: Iterator[int]
                 ) -> Callable[[Sequence[Any]], Any]:
        """arrays, sizes: yield the positions in the leaves."""
        if self.constant:
            value, = self.constant
            return lambda leaves: value
        if self.is_leaf:
            return itemgetter(next(arrays if self.is_array else sizes))
        make = _maker(self.container or tuple, self.keys, self.attributes)
        if self.children and all(child.is_leaf for child in self.children):
            places = [next(arrays if c.is_array else sizes) for c in self.children]
            take = itemgetter(*places)
            return (lambda leaves: make(take(leaves))) if len(places) > 1 else (
                lambda leaves: make((take(leaves),)))
        parts = [child._builder(arrays, sizes) for child in self.children]
        return lambda leaves: make([part(leaves) for part in parts])

    def flatten(self, tree: Any, name: str = "the input") -> list[Any]:
        """Returns the arrays in a value that is nested in this way.

        name: what messages call the value. Whatever is in the place of a size is left out.
        Raises InputError, which says where the value is nested differently or has another constant.
        """
        if self.constant:
            if not _alike(tree, self.constant[0]):
                raise InputError(f"{name} was {self.constant[0]!r} when the model was traced, and "
                                 f"cannot be {tree!r} now: trace the model again")
            return []
        if self.container is None:
            return [tree] if self.is_array else []
        parts = _parts_of(tree)
        if parts is None or not isinstance(tree, self.container):
            raise InputError(f"{name} is a {self.container.__name__}, not {type(tree).__name__}")
        given = dict(zip(parts.keys, parts.values, strict=True))
        if set(given) != set(self.keys):
            raise InputError(f"{name} has the parts {', '.join(map(str, self.keys))}, not "
                             f"{', '.join(map(str, given)) or 'none'}")
        if missing := [label for label in self.labels[len(self.keys):]
                       if label not in parts.attributes]:
            raise InputError(f"{name} has the attribute {missing[0]}, and it is missing now")
        found = [*(given[key] for key in self.keys),
                 *(parts.attributes[label] for label in self.labels[len(self.keys):])]
        return [leaf for key, child, value in zip(self.labels, self.children, found, strict=True)
                for leaf in child.flatten(value, f"{name}.{key}")]

    def reader(self) -> _Reader:
        """Returns a quick `flatten` for what calls usually give; it raises _Unusual for the rest.

        It appends the arrays to a list.
        """
        if self.is_array:
            return list.append
        named = self.container is not None and _is_named(self.container)
        if not self.children or not (named or self.container in (tuple, list, dict)):
            return self._read_any
        container, number = self.container, len(self.keys)
        take: Callable[[Any], Any] = itemgetter(*(range(number) if named else self.keys))
        readers = [child.reader() for child in self.children]
        only_arrays = number > 1 and all(child.is_array for child in self.children)

        def read(leaves: list[Any], tree: Any) -> None:
            if type(tree) is not container or len(tree) != number:  # type: ignore[arg-type]
                raise _Unusual
            try:
                parts = take(tree)
            except KeyError:
                raise _Unusual from None
            if only_arrays:
                leaves += parts
                return
            for reader, part in zip(readers, parts if number > 1 else (parts,), strict=True):
                reader(leaves, part)
        return read

    def _read_any(self, leaves: list[Any], tree: Any) -> None:
        try:
            leaves += self.flatten(tree)
        except InputError:
            raise _Unusual from None


_Reader = Callable[[list[Any], Any], None]


class _Unusual(Exception):
    """A call gave something that a quick reader does not take."""


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

    def reader(self) -> Callable[[Sequence[Any], Mapping[str, Any]], list[Any]]:
        """Returns `flatten` as a function that is quick for what calls usually give."""
        readers = [part.reader() for part in self.parts]
        most, least = self.positional, max(
            (i for i, part in enumerate(self.parts, 1) if part.count), default=0)

        def by_position(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[Any]:
            given = len(args) + len(kwargs)
            if given > len(self.names):
                raise _Unusual
            return (*args, *(kwargs[name] for name in self.names[len(args):given]))

        def read(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
            leaves: list[Any] = []
            try:
                given = args if not kwargs else by_position(args, kwargs)
                if len(args) > most or len(given) < least:
                    raise _Unusual
                for reader, value in zip(readers, given):   # noqa: B905  constants may be left out
                    reader(leaves, value)
            except (_Unusual, KeyError):
                return self.flatten(args, kwargs)
            return leaves
        return read

    def unflatten(self, leaves: Sequence[Any], count: int) -> tuple[list[Any], dict[str, Any]]:
        """Returns the first `count` arguments, and the others by name, with these arrays in them.
        """
        whole = Structure(tuple, self.names, self.parts)
        values = list(whole.unflatten(leaves))
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


def output_names(outputs: Structure, count: int) -> list[str]:
    """Returns a name for each of this many outputs: the keys of a dict, and numbers elsewhere."""
    names = list(outputs.names(""))
    if len(names) != count or outputs.container is None or names[0][:1].isdigit():
        names = [f"output.{i}" for i in range(count)] if count > 1 else ["output"]
    return names


def flatten(tree: Any, is_array: Callable[[Any], bool]) -> tuple[list[Any], Structure]:
    """Returns the arrays in a value, and how they are nested in it."""
    if is_array(tree):
        return [tree], ARRAY
    if isinstance(tree, DimExpr):
        return [], Structure(size=DimExpr(tree.terms))
    parts = _parts_of(tree)
    if parts is None:
        return [], Structure(constant=(tree,))
    places = {id(value): i for i, value in enumerate(parts.values)}
    values, attributes = list(parts.values), []
    for name, value in parts.attributes.items():
        attributes.append((name, places.get(id(value), len(values))))
        if id(value) not in places:
            values.append(value)
    flat = [flatten(value, is_array) for value in values]
    leaves = [leaf for found, _ in flat for leaf in found]
    return leaves, Structure(type(tree), parts.keys, tuple(child for _, child in flat),
                             attributes=tuple(attributes))


def mapped(function: Callable[[Any], Any], tree: Any, in_place: bool = False,
           copies: list[Copy] | None = None) -> Any:
    """Returns the value with the function applied to everything but the containers.

    A container in which nothing changes is returned itself, so that what is done to it is seen by
    all that have it. in_place: lists, dicts and dataclasses are changed, otherwise they are copied.
    copies: notes the copies.
    """
    parts = _parts_of(tree)
    if parts is None:
        return function(tree)
    values = [mapped(function, value, in_place, copies) for value in parts.values]
    attributes = {name: mapped(function, value, in_place, copies)
                  for name, value in parts.attributes.items()}
    if _same_objects(values, parts.values) and _same_objects(
            attributes.values(), parts.attributes.values()):
        return tree
    if in_place and not isinstance(tree, tuple):
        _fill(tree, parts.keys, values, attributes)
        return tree
    places = tuple((name, len(values) + i) for i, name in enumerate(attributes))
    copy = _maker(type(tree), parts.keys, places)([*values, *attributes.values()])
    if copies is not None and not isinstance(tree, tuple):
        copies.append(Copy(tree, copy, parts.keys, values))
    return copy


class Copy(NamedTuple):
    """A copy of a container with other values in it, and the keys and values that it got."""

    original: Any
    copy: Any
    keys: tuple[Any, ...]
    values: list[Any]

    def write_back(self, function: Callable[[Any], Any]) -> None:
        """Changes the original as the copy was changed since.

        function: is applied to what is new, as by `mapped`.
        """
        parts = _parts_of(self.copy)
        assert parts is not None
        if parts.keys == self.keys and _same_objects(parts.values, self.values):
            return
        before = dict(zip(self.keys, self.values, strict=True))
        own = _parts_of(self.original)
        assert own is not None
        originals = dict(zip(own.keys, own.values, strict=True))
        values = [originals[key] if key in before and before[key] is value
                  else mapped(function, value)
                  for key, value in zip(parts.keys, parts.values, strict=True)]
        _empty(self.original)
        _fill(self.original, parts.keys, values, {})


def holds(value: Any, is_wanted: Callable[[Any], bool]) -> bool:
    """Returns whether an object is one of those that are wanted, or refers to one.

    What classes, modules and the global variables of functions refer to does not count.
    """
    seen: set[int] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        if id(one) in seen or isinstance(one, type | ModuleType):
            continue
        seen.add(id(one))
        if is_wanted(one):
            return True
        if isinstance(one, FunctionType):
            pending += (one.__closure__, one.__defaults__, one.__kwdefaults__, vars(one))
        else:
            pending += gc.get_referents(one)
    return False


# -- containers ------------------------------------------------------------------------------------

class _Parts(NamedTuple):
    """The items of a container, and the attributes of an instance of a subclass."""

    keys: tuple[Any, ...]
    values: list[Any]
    attributes: dict[str, Any]


_PLAIN = (tuple, list, dict, OrderedDict)
_BASES = (tuple, list, defaultdict, OrderedDict, dict, object)


def _parts_of(tree: Any) -> _Parts | None:
    """The parts of a container; None for anything else."""
    container = type(tree)
    is_record = hasattr(container, "__dataclass_fields__") and not issubclass(container, DimExpr)
    if not is_record and not issubclass(container, tuple | list | dict):
        return None                              # as most are: first, since it is asked most often
    attributes = {} if container in _PLAIN else _state(tree)
    if issubclass(container, tuple):
        keys = getattr(container, "_fields", None) or range(len(tree))
        return _Parts(tuple(keys), list(tree), attributes)
    if issubclass(container, list):
        return _Parts(tuple(range(len(tree))), list(tree), attributes)
    if issubclass(container, dict):
        return _Parts(tuple(tree), list(tree.values()), attributes)
    return _Parts(tuple(attributes), list(attributes.values()), {})


def _is_named(container: type) -> bool:
    return issubclass(container, tuple) and hasattr(container, "_fields")


def _state(instance: Any) -> dict[str, Any]:
    """The attributes of an instance; of a defaultdict also what makes its values."""
    slots = [name for cls in type(instance).__mro__ if cls not in _BASES
             for name in _slots(cls) if hasattr(instance, name)]
    if isinstance(instance, defaultdict):
        slots.append("default_factory")
    return {**getattr(instance, "__dict__", {}),
            **{name: getattr(instance, name) for name in slots}}


def _slots(cls: type) -> Iterable[str]:
    """The attributes of a class that lie in slots."""
    return [name for name, member in vars(cls).items() if isinstance(member, MemberDescriptorType)]


def _maker(container: type, keys: Sequence[Any], attributes: Sequence[tuple[str, int]]
           ) -> Callable[[Sequence[Any]], Any]:
    """Returns what makes the container of its items, followed by what its attributes hold."""
    if container in (tuple, list):
        return container
    if container in (dict, OrderedDict):
        return lambda values: container(zip(keys, values))   # noqa: B905  as many, and quicker
    if _is_named(container) and not attributes:
        return container._make                   # type: ignore[attr-defined, no-any-return]

    def make(values: Sequence[Any]) -> Any:
        # what the class's own __init__ makes of its items is in the items and attributes already
        base: Any = next(base for base in _BASES if issubclass(container, base))
        items = values[:len(keys)]
        made = base.__new__(container, items) if base is tuple else base.__new__(container)
        _fill(made, keys, items, {name: values[i] for name, i in attributes})
        return made
    return make


def _fill(container: Any, keys: Sequence[Any], values: Sequence[Any],
          attributes: Mapping[str, Any]) -> None:
    """Sets the items and attributes of a container, past whatever its class does then."""
    if isinstance(container, list):
        list.__setitem__(container, slice(None), values)
    elif isinstance(container, OrderedDict):
        for key, value in zip(keys, values, strict=True):
            OrderedDict.__setitem__(container, key, value)
    elif isinstance(container, dict):
        for key, value in zip(keys, values, strict=True):
            dict.__setitem__(container, key, value)
    elif not isinstance(container, tuple):
        attributes = dict(zip(keys, values, strict=True))
    own = getattr(container, "__dict__", None)
    for name, value in attributes.items():
        if own is not None and not isinstance(
                getattr(type(container), name, None), MemberDescriptorType):
            own[name] = value
        else:
            object.__setattr__(container, name, value)


def _empty(container: Any) -> None:
    """Takes all items away."""
    if isinstance(container, list):
        list.clear(container)
    elif isinstance(container, OrderedDict):
        OrderedDict.clear(container)
    elif isinstance(container, dict):
        dict.clear(container)
    else:
        getattr(container, "__dict__", {}).clear()


def _same_objects(some: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))


def _alike(a: Any, b: Any) -> bool:
    """Returns whether two constants are the same: 0.0 is not -0.0, and NaN is NaN."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, float | complex) or hasattr(a, "dtype"):
        return repr(a) == repr(b)                # which tells all numbers apart
    return bool(a == b)
